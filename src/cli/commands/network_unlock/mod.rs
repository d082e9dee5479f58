//! `fve network-unlock`: keys over the network, and serving them.

#[cfg(feature = "network-server")]
mod certificate;
mod check_policy;
#[cfg(feature = "network-server")]
mod log;
#[cfg(feature = "network-server")]
mod passwords;
#[cfg(feature = "network-server")]
mod privileges;
mod probe;
#[cfg(feature = "network-server")]
mod serve;

use clap::{Args, Subcommand};

use crate::cli::Failure;
use crate::error::Error;
use crate::network::policy::{MAX_FILE, Policy};

#[derive(Debug, Args)]
pub(crate) struct NetworkUnlockArgs {
    #[command(subcommand)]
    command: NetworkUnlockCommand,
}

#[derive(Debug, Subcommand)]
enum NetworkUnlockCommand {
    /// Ask any server, Microsoft's too, with nothing but its certificate, and say what comes back
    Probe(probe::ProbeArgs),
    /// Answer Network Unlock requests, in place of Windows Deployment Services
    #[cfg(feature = "network-server")]
    Serve(Box<serve::ServeArgs>),
    /// Make a key and a certificate for Network Unlock, or show what certificates say
    #[cfg(feature = "network-server")]
    Certificate(certificate::CertificateArgs),
    /// Check a policy file (bde-network-unlock.ini), and say who would be served
    CheckPolicy(check_policy::CheckPolicyArgs),
}

impl NetworkUnlockArgs {
    /// Whether the answer is to be one JSON document.
    pub(crate) fn json(&self) -> bool {
        match &self.command {
            NetworkUnlockCommand::Probe(args) => args.json,
            #[cfg(feature = "network-server")]
            NetworkUnlockCommand::Serve(_) => false,
            #[cfg(feature = "network-server")]
            NetworkUnlockCommand::Certificate(args) => args.json,
            NetworkUnlockCommand::CheckPolicy(args) => args.json,
        }
    }
}

pub(in crate::cli) fn run(args: &NetworkUnlockArgs) -> Result<(), Failure> {
    match &args.command {
        NetworkUnlockCommand::Probe(args) => probe::run(args),
        #[cfg(feature = "network-server")]
        NetworkUnlockCommand::Serve(args) => serve::run(args),
        #[cfg(feature = "network-server")]
        NetworkUnlockCommand::Certificate(args) => certificate::run(args),
        NetworkUnlockCommand::CheckPolicy(args) => check_policy::run(args),
    }
}

/// Why a policy file gives no policy.
enum NoPolicy {
    Unreadable(Error),
    Invalid(crate::network::policy::Invalid),
}

fn read_policy(path: &std::path::Path) -> Result<Policy, NoPolicy> {
    use std::io::Read;
    let failed = |error| {
        NoPolicy::Unreadable(Error::io(
            format!("cannot read the policy file {}", path.display()),
            error,
        ))
    };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    // One byte more than there may be: a longer file is told from one that just fits.
    file.take(MAX_FILE as u64 + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    Policy::parse(&content).map_err(NoPolicy::Invalid)
}
