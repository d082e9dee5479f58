//! `fve network-unlock probe`: tests a server. Only its certificate is needed.
//!
//! The keys in the request are made for the test and protect nothing. docs/json.md describes the
//! output of `--json`.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use clap::{Args, ValueHint};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use crate::cli::advice;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::network::{seconds, seconds_word};
use crate::cli::options::new_protectors::network::read_certificate;
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::run::Run;
use fve::crypto::random;
use fve::error::Error;
use fve::network::Request;
use fve::network::certificate::Certificate;
use fve::network::client::{AskReport, NoAnswer, ask, parse_transports, share_of_time};
use fve::network::crypto::seal_request;
use fve::secret::NetworkKey;
use fve::unlock::network::announcement;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Test the servers that answer on all interfaces:
    fve network-unlock probe --certificate server.cer
  Test over DHCPv4 on one interface:
    fve network-unlock probe dhcp4:eth0 --certificate server.cer")]
pub(crate) struct ProbeArgs {
    /// Transport: dhcp (DHCPv6 and DHCPv4), dhcp4 or dhcp6; add :INTERFACE to use only one
    #[arg(value_name = "TRANSPORT", default_value = "dhcp")]
    transport: String,

    /// The server's certificate, in DER or PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    certificate: PathBuf,

    /// Wait at most so long in all
    #[arg(long = "network-timeout", alias = "timeout", value_name = "SECONDS", value_parser = seconds_word::<PathBuf>)]
    timeout: Option<PathBuf>,

    /// Answer with one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// The result of one transport.
struct Probe {
    report: AskReport,
    /// Whether the server returned the key that was in the request.
    key_matches: bool,
}

impl Run for ProbeArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &ProbeArgs) -> Result<(), Failure> {
    let transports = parse_transports(Some(&args.transport))
        .map_err(|error| Failure::usage(error.to_string()))?;
    let limit = args.timeout.as_deref().map(seconds).transpose()?;
    let certificate = read_certificate(&args.certificate)?;
    if !args.json {
        term::note(announcement(&transports, limit));
    }
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut probes = Vec::new();
    for (at, transport) in transports.iter().enumerate() {
        let mut bytes = zeroize::Zeroizing::new([0; NetworkKey::LEN]);
        random::fill(&mut bytes[..])?;
        let key = NetworkKey::from_bytes(&bytes);
        let (key_protector, session_key) = seal_request(&certificate, &key)
            .map_err(|_| Error::environment("the operating system provides no random numbers"))?;
        let request = Request {
            thumbprint: certificate.thumbprint(),
            key_protector,
        };
        // Every transport is tried, even after an answer: the test is to show which of them work.
        let rest = transports.get(at..).unwrap_or_default();
        let until = share_of_time(rest, deadline);
        let report = ask(transport.as_ref(), &request, &[&session_key], until);
        let key_matches = report
            .outcome
            .as_ref()
            .is_ok_and(|delivered| delivered.key.ct_eq(&key).into());
        probes.push(Probe {
            report,
            key_matches,
        });
    }
    if args.json {
        term::print(&document(&json(&certificate, &probes)))?;
    } else {
        term::print(&text(&certificate, &probes))?;
    }
    result(&certificate, &probes, args.json)
}

/// The exit status, and the help for the user. With `--json`, the document was the whole output.
fn result(certificate: &Certificate, probes: &[Probe], json: bool) -> Result<(), Failure> {
    if probes.iter().any(|probe| probe.key_matches) {
        return Ok(());
    }
    let refusals = probes
        .iter()
        .filter_map(|probe| probe.report.outcome.as_ref().err());
    let refusal = NoAnswer::most_telling(refusals);
    let status = match refusal {
        Some(NoAnswer::Socket { .. }) => Status::Io,
        _ => Status::Refused,
    };
    if json {
        return Err(Failure::Silent(status));
    }
    let help = match refusal {
        Some(NoAnswer::Silence { .. }) => format!(
            "check that a server has the certificate {}, that its policy permits this address, and that a relay forwards to it; its log shows the reason",
            certificate.thumbprint()
        ),
        Some(NoAnswer::NotAuthentic { .. }) => {
            "another host answers in place of the server, or the server does not have the key of this certificate".to_owned()
        }
        Some(NoAnswer::NoAddress { .. }) => {
            "bring the interface up and give it an address, or name another: dhcp4:INTERFACE".to_owned()
        }
        Some(NoAnswer::Socket { remedy, .. }) => {
            remedy.as_ref().map(advice::words).unwrap_or_default()
        },
        Some(NoAnswer::NotAsked { .. }) => "give more time with --network-timeout SECONDS".to_owned(),
        Some(refusal) => refusal.to_string(),
        None => "the server returned another key than it was sent: it does not work correctly".to_owned(),
    };
    Err(Failure::Other {
        status,
        what: "no server returned the key".to_owned(),
        help: Some(help).filter(|help| !help.is_empty()),
    })
}

fn text(certificate: &Certificate, probes: &[Probe]) -> String {
    let mut text = format!("Certificate: {}\n", certificate.thumbprint());
    // Writing to a string cannot fail.
    for Probe {
        report,
        key_matches,
    } in probes
    {
        let _ = match &report.outcome {
            Ok(delivered) if *key_matches => writeln!(
                text,
                "{}: {} answered after {:.1} ms with the right key",
                report.transport,
                delivered.from,
                delivered.after.as_secs_f64() * 1000.0
            ),
            Ok(delivered) => writeln!(
                text,
                "{}: {} answered with another key than it was sent",
                report.transport, delivered.from
            ),
            Err(refusal) => writeln!(text, "{}: {refusal}", report.transport),
        };
        for skipped in &report.skipped {
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
        "answered": probes.iter().any(|probe| probe.key_matches),
        "certificate": {
            "thumbprint": certificate.thumbprint().to_string(),
            "subject": certificate.subject(),
            "doubts": doubts.iter().map(|doubt| doubt.word()).collect::<Vec<_>>(),
        },
        "transports": transports,
    })
}

fn transport_json(probe: &Probe) -> Value {
    let Probe {
        report,
        key_matches,
    } = probe;
    let delivered = report.outcome.as_ref().ok();
    let (reason, message) = match &report.outcome {
        Ok(_) if *key_matches => (None, None),
        Ok(_) => (
            Some("other-key"),
            Some("the server returned another key than it was sent".to_owned()),
        ),
        Err(refusal) => (Some(refusal.word()), Some(refusal.to_string())),
    };
    let skipped: Vec<_> = report
        .skipped
        .iter()
        .map(|one| json!({ "from": one.from, "what": one.what, "count": one.count }))
        .collect();
    json!({
        "transport": report.transport,
        "answered": key_matches,
        "from": delivered.map(|delivered| &delivered.from),
        "seconds": delivered.map(|delivered| delivered.after.as_secs_f64()),
        "reason": reason,
        "message": message,
        "sent": report.sent,
        "refused": report.refused,
        "skipped": skipped,
    })
}
