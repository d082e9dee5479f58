//! `fve network-unlock`: asking for Network Unlock, serving it, and what belongs to it.

#[cfg(feature = "network-server")]
mod certificate;
#[cfg(feature = "network-server")]
mod check_policy;
#[cfg(feature = "network-server")]
mod files;
#[cfg(feature = "network-server")]
mod log;
#[cfg(feature = "network-server")]
mod privileges;
mod probe;
#[cfg(feature = "network-server")]
mod serve;

use clap::{Args, Subcommand};

#[cfg(feature = "network-server")]
use self::files::{NoPolicy, PasswordArgs, read_policy};
use crate::cli::Failure;

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
    #[cfg(feature = "network-server")]
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
            #[cfg(feature = "network-server")]
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
        #[cfg(feature = "network-server")]
        NetworkUnlockCommand::CheckPolicy(args) => check_policy::run(args),
    }
}
