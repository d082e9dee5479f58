//! `fve network-unlock check-policy`: checks a policy file, and says which addresses are served.
//!
//! `--json` prints `valid`; for an invalid file `line`, `column` and `message`; for a valid one
//! `subnets` (name, range), `certificates` (thumbprint, serves: `everybody`, `nobody` or `listed`,
//! subnets, addresses: address, served; relays: address, believed), `default` (which addresses are
//! served with certificates without a section), `relays` (names of the subnets under `[RELAYS]`) and
//! `remarks` (line, message).

use std::fmt::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::{Value, json};

use super::{PolicyError, read_policy};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::json as documents;
use crate::cli::output::term;
use crate::cli::run::Run;
use fve::network::message::Thumbprint;
use fve::network::policy::{InvalidPolicy, NamedSubnet, Policy, Rule};
use fve::shown::ShowPath;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Check a policy file:
    fve network-unlock check-policy bde-network-unlock.ini
  Say whether a client is served:
    fve network-unlock check-policy policy.ini --address 10.0.0.17")]
pub(crate) struct CheckPolicyArgs {
    /// The policy file
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,

    /// Say whether a client with this address is served; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    address: Vec<IpAddr>,

    /// Say whether a relay with this address is believed (DHCPv4: its address in the clients'
    /// network; DHCPv6: the address that it sends from); may be given several times
    #[arg(long, value_name = "ADDRESS")]
    relay: Vec<IpAddr>,

    /// Report on the certificate with this thumbprint only, even if the file does not name it
    #[arg(long, value_name = "HEX")]
    thumbprint: Vec<Thumbprint>,

    /// Refuse IPv6 link-local addresses that are not listed, unlike Windows servers
    #[arg(long)]
    refuse_link_local: bool,

    /// Answer with one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Run for CheckPolicyArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &CheckPolicyArgs) -> Result<(), Failure> {
    let policy = match read_policy(&args.file) {
        Ok(policy) => policy,
        Err(PolicyError::Unreadable(error)) => return Err(error.into()),
        Err(PolicyError::Invalid(fault)) if args.json => {
            term::print(&invalid(&fault))?;
            return Err(Failure::Silent(Status::Failed));
        }
        Err(PolicyError::Invalid(fault)) => {
            return Err(Failure::Other {
                status: Status::Failed,
                what: format!("the policy file {} is invalid: {fault}", args.file.shown()),
                help: Some("a server with this policy answers no request".to_owned()),
            });
        }
    };
    let report = PolicyReport { args, policy };
    match args.json {
        true => term::print(&report.json()),
        false => term::print(&report.text()),
    }
}

fn invalid(fault: &InvalidPolicy) -> String {
    documents::document(&json!({
        "valid": false,
        "line": fault.line,
        "column": fault.column,
        "message": fault.what,
    }))
}

/// A valid policy, and what to report about it.
struct PolicyReport<'a> {
    args: &'a CheckPolicyArgs,
    policy: Policy,
}

impl PolicyReport<'_> {
    /// The certificates to report: those of `--thumbprint`, or those in the file.
    fn certificates(&self) -> Vec<(Thumbprint, &Rule)> {
        let asked = &self.args.thumbprint;
        match asked.is_empty() {
            true => {
                let rules = self.policy.rules().iter();
                rules
                    .map(|(thumbprint, rule)| (*thumbprint, rule))
                    .collect()
            }
            false => asked
                .iter()
                .map(|thumbprint| (*thumbprint, self.policy.rule(thumbprint)))
                .collect(),
        }
    }

    fn serves(&self, rule: &Rule, address: IpAddr) -> bool {
        let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        match rule {
            Rule::Subnets(_) if link_local && !self.args.refuse_link_local => true,
            _ => rule.lists(address),
        }
    }

    /// Whether requests are answered that a relay with this address forwards for a listed client: for
    /// DHCPv4 the relay's address in the client's network, for DHCPv6 the one that it sends from.
    fn believes(&self, rule: &Rule, relay: IpAddr) -> bool {
        let mut believed = self.policy.relays().iter();
        match relay {
            IpAddr::V4(v4) => rule.lists(relay) && !rule.lists_as_broadcast(v4),
            IpAddr::V6(_) if *rule == Rule::Disabled => false,
            IpAddr::V6(_) => {
                self.serves(rule, relay) || believed.any(|named| named.subnet.contains(relay))
            }
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "valid: {} subnets, {} certificates\n",
            self.policy.subnets().len(),
            self.policy.rules().len()
        );
        for (thumbprint, rule) in self.certificates() {
            line(
                &mut text,
                format_args!("certificate {thumbprint}: served to {}", words(rule)),
            );
            self.addresses(&mut text, rule);
        }
        if self.args.thumbprint.is_empty() {
            line(
                &mut text,
                format_args!("any other certificate: served to every address"),
            );
        }
        if !self.policy.relays().is_empty() {
            let relays = names(self.policy.relays());
            line(
                &mut text,
                format_args!("DHCPv6 relays in {relays} are believed, too"),
            );
        }
        for remark in self.policy.remarks() {
            line(
                &mut text,
                format_args!("warning: line {}: {}", remark.line, remark.what),
            );
        }
        text
    }

    fn addresses(&self, text: &mut String, rule: &Rule) {
        for address in &self.args.address {
            let verdict = match self.serves(rule, *address) {
                true => "served",
                false => "not served",
            };
            line(text, format_args!("  {address}: {verdict}"));
        }
        for relay in &self.args.relay {
            let verdict = match self.believes(rule, *relay) {
                true => "believed",
                false => "not believed: its requests are not answered",
            };
            line(text, format_args!("  relay {relay}: {verdict}"));
        }
    }

    fn json(&self) -> String {
        let certificates: Vec<_> = self
            .certificates()
            .into_iter()
            .map(|(thumbprint, rule)| self.certificate(thumbprint, rule))
            .collect();
        let subnets: Vec<_> = self
            .policy
            .subnets()
            .iter()
            .map(|named| json!({ "name": named.name, "range": named.subnet.to_string() }))
            .collect();
        let remarks: Vec<_> = self
            .policy
            .remarks()
            .iter()
            .map(|remark| json!({ "line": remark.line, "message": remark.what }))
            .collect();
        documents::document(&json!({
            "valid": true,
            "subnets": subnets,
            "certificates": certificates,
            "default": "everybody",
            "relays": self.policy.relays().iter().map(|named| &named.name).collect::<Vec<_>>(),
            "remarks": remarks,
        }))
    }

    fn certificate(&self, thumbprint: Thumbprint, rule: &Rule) -> Value {
        let (serves, subnets) = match rule {
            Rule::Unrestricted => ("everybody", &[][..]),
            Rule::Disabled => ("nobody", &[][..]),
            Rule::Subnets(subnets) => ("listed", &subnets[..]),
        };
        let names: Vec<_> = subnets.iter().map(|named| &named.name).collect();
        let served: Vec<_> = self
            .args
            .address
            .iter()
            .map(|address| {
                json!({
                    "address": address.to_string(),
                    "served": self.serves(rule, *address),
                })
            })
            .collect();
        let relays: Vec<_> = self
            .args
            .relay
            .iter()
            .map(|relay| {
                json!({
                    "address": relay.to_string(),
                    "believed": self.believes(rule, *relay),
                })
            })
            .collect();
        json!({
            "thumbprint": thumbprint.to_string(),
            "serves": serves,
            "subnets": names,
            "addresses": served,
            "relays": relays,
        })
    }
}

fn words(rule: &Rule) -> String {
    match rule {
        Rule::Unrestricted => "every address".to_owned(),
        Rule::Disabled => "no address (DISABLED)".to_owned(),
        Rule::Subnets(subnets) => names(subnets),
    }
}

fn names(subnets: &[NamedSubnet]) -> String {
    let list: Vec<_> = subnets
        .iter()
        .map(|named| format!("{} ({})", named.name, named.subnet))
        .collect();
    list.join(", ")
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}
