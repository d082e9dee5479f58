//! `fve network-unlock probe`: asks any server, with nothing but its certificate.
//!
//! The keys are made for the one question and worth nothing. `--json` answers with
//!
//! | key | what it says |
//! |---|---|
//! | `answered` | whether a server gave the key back |
//! | `certificate` | `thumbprint`, `subject`, and `doubts`: what Windows may object to |
//! | `transports` | one entry for each that was tried: |
//! | … `transport` | what it is called: `DHCPv4 on eth0` |
//! | … `answered`, `from`, `seconds` | whether, who, how long after the last sending |
//! | … `reason`, `message` | why not: `no-address`, `no-answer`, `not-authentic`, `other-key`, `network-error` |
//! | … `sent`, `refused` | how often the request was sent, how many replies were not authentic |
//! | … `skipped` | other packets: `from`, `what`, `count` |

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use clap::{Args, ValueHint};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use crate::cli::advice;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::network::seconds;
use crate::cli::options::new_protectors::network::read_certificate;
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::run::{FailureDocument, Run};
use fve::crypto::random;
use fve::error::Error;
use fve::network::Request;
use fve::network::certificate::Certificate;
use fve::network::client::{Answer, NoAnswer, ask, named};
use fve::network::crypto::seal_request;
use fve::secret::NetworkKey;
use fve::unlock::network::announcement;

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// How: dhcp (DHCPv6 and DHCPv4), dhcp4 or dhcp6, each with :INTERFACE behind it or without
    #[arg(value_name = "TRANSPORT", default_value = "dhcp")]
    transport: String,

    /// The server's certificate, in DER or PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    certificate: PathBuf,

    /// Wait no longer than this in all
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<PathBuf>,

    /// Answer with one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// One transport, and what came of it.
struct Probe {
    answer: Answer,
    /// Whether the key came back that was sent.
    right: bool,
}

impl Run for ProbeArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }

    fn failure_document(&self) -> Option<FailureDocument> {
        self.json.then_some(crate::cli::output::json::failure)
    }
}

fn run(args: &ProbeArgs) -> Result<(), Failure> {
    let transports =
        named(Some(&args.transport)).map_err(|error| Failure::usage(error.to_string()))?;
    let limit = args.timeout.as_deref().map(seconds).transpose()?;
    let certificate = read_certificate(&args.certificate)?;
    if !args.json {
        term::note(announcement(&transports, limit));
    }
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut probes = Vec::new();
    for transport in &transports {
        let mut bytes = zeroize::Zeroizing::new([0; NetworkKey::LEN]);
        random::fill(&mut bytes[..])?;
        let key = NetworkKey::from_bytes(&bytes);
        let (key_protector, session_key) = seal_request(&certificate, &key)
            .map_err(|_| Error::environment("the system gives no random numbers"))?;
        let request = Request {
            thumbprint: certificate.thumbprint(),
            key_protector,
        };
        // Both are asked, whatever the first says: it is the fleet that is asked about.
        let answer = ask(transport.as_ref(), &request, &[&session_key], deadline);
        let right = answer
            .outcome
            .as_ref()
            .is_ok_and(|delivered| delivered.key.ct_eq(&key).into());
        probes.push(Probe { answer, right });
    }
    if args.json {
        term::print(&document(&json(&certificate, &probes)))?;
    } else {
        term::print(&text(&certificate, &probes))?;
    }
    verdict(&certificate, &probes, args.json)
}

/// The exit status, and what a person does next.
fn verdict(certificate: &Certificate, probes: &[Probe], told: bool) -> Result<(), Failure> {
    if probes.iter().any(|probe| probe.right) {
        return Ok(());
    }
    let refusals = probes
        .iter()
        .filter_map(|probe| probe.answer.outcome.as_ref().err());
    let refusal = NoAnswer::most_telling(refusals);
    let status = match refusal {
        Some(NoAnswer::Socket { .. }) => Status::Io,
        _ => Status::Refused,
    };
    if told {
        return Err(Failure::Silent(status));
    }
    let help = match refusal {
        Some(NoAnswer::Silence { .. }) => format!(
            "a server is silent when it does not have the certificate {}, when its policy refuses this address, and when no relay leads to it; its log says which",
            certificate.thumbprint()
        ),
        Some(NoAnswer::NotAuthentic { .. }) => {
            "somebody else answers in the server's place, or the server does not hold the key of this certificate".to_owned()
        }
        Some(NoAnswer::NoAddress { .. }) => {
            "bring the interface up and give it an address first, or name another: dhcp4:INTERFACE".to_owned()
        }
        Some(NoAnswer::Socket { remedy, .. }) => {
            remedy.as_ref().map(advice::words).unwrap_or_default()
        },
        Some(refusal) => refusal.to_string(),
        None => "the server gives back another key than it was sent: it is not what it should be".to_owned(),
    };
    Err(Failure::Other {
        status,
        what: "no server gave the key back".to_owned(),
        help: Some(help).filter(|help| !help.is_empty()),
    })
}

fn text(certificate: &Certificate, probes: &[Probe]) -> String {
    let mut text = format!("Certificate: {}\n", certificate.thumbprint());
    // Writing to a string cannot fail.
    for Probe { answer, right } in probes {
        let _ = match &answer.outcome {
            Ok(delivered) if *right => writeln!(
                text,
                "{}: {} answered after {:.1} ms, and the key is right",
                answer.place,
                delivered.from,
                delivered.after.as_secs_f64() * 1000.0
            ),
            Ok(delivered) => writeln!(
                text,
                "{}: {} answered, with another key than it was sent",
                answer.place, delivered.from
            ),
            Err(refusal) => writeln!(text, "{}: {refusal}", answer.place),
        };
        for skipped in &answer.skipped {
            let _ = writeln!(
                text,
                "  skipped: {} from {} ({} times)",
                skipped.what, skipped.from, skipped.count
            );
        }
    }
    text
}

fn json(certificate: &Certificate, probes: &[Probe]) -> Value {
    let doubts = certificate.doubts(SystemTime::now());
    let transports: Vec<_> = probes.iter().map(transport_json).collect();
    json!({
        "answered": probes.iter().any(|probe| probe.right),
        "certificate": {
            "thumbprint": certificate.thumbprint().to_string(),
            "subject": certificate.subject(),
            "doubts": doubts.iter().map(|doubt| doubt.word()).collect::<Vec<_>>(),
        },
        "transports": transports,
    })
}

fn transport_json(Probe { answer, right }: &Probe) -> Value {
    let delivered = answer.outcome.as_ref().ok();
    let (reason, message) = match &answer.outcome {
        Ok(_) if *right => (None, None),
        Ok(_) => (
            Some("other-key"),
            Some("the server gives back another key than it was sent".to_owned()),
        ),
        Err(refusal) => (Some(refusal.word()), Some(refusal.to_string())),
    };
    let skipped: Vec<_> = answer
        .skipped
        .iter()
        .map(|one| json!({ "from": one.from, "what": one.what, "count": one.count }))
        .collect();
    json!({
        "transport": answer.place,
        "answered": right,
        "from": delivered.map(|delivered| &delivered.from),
        "seconds": delivered.map(|delivered| delivered.after.as_secs_f64()),
        "reason": reason,
        "message": message,
        "sent": answer.sent,
        "refused": answer.refused,
        "skipped": skipped,
    })
}
