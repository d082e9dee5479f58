//! `fve network-unlock`: the Network Unlock server, and the commands to set it up and to test it.

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

use clap::Args;
#[cfg(feature = "network-server")]
use fve::error::{Error, Remedy};

#[cfg(feature = "network-server")]
use self::files::{PasswordArgs, PolicyError, read_policy};
use crate::cli::failure::Failure;
use crate::cli::run::{Run, commands};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Make a key and a certificate, and serve them:
    fve network-unlock certificate --to /etc/fve/server
    fve network-unlock serve --certificate /etc/fve/server
  Test a server:
    fve network-unlock probe --certificate network-unlock.cer")]
pub(crate) struct NetworkUnlockArgs {
    #[command(subcommand)]
    command: NetworkUnlockCommand,
}

commands! {
    /// The commands for Network Unlock.
    NetworkUnlockCommand {
        /// Test a server, including those of Microsoft. Only its certificate is needed
        "probe" Probe(probe::ProbeArgs),
        /// Answer Network Unlock requests, in place of Windows Deployment Services
        #[cfg(feature = "network-server")]
        "serve" Serve(Box<serve::ServeArgs>),
        /// Make a key and a certificate for Network Unlock, or show certificates
        #[cfg(feature = "network-server")]
        "certificate" Certificate(certificate::CertificateArgs),
        /// Check a policy file (bde-network-unlock.ini), and say which addresses are served
        #[cfg(feature = "network-server")]
        "check-policy" CheckPolicy(check_policy::CheckPolicyArgs),
    }
}

/// The failure for a file without a certificate. One that only needs another password is a credential
/// that does not fit.
#[cfg(feature = "network-server")]
fn not_a_certificate(error: Error) -> Failure {
    match &error {
        Error::BadCredential {
            remedy: Some(Remedy::GiveKeyFilePassword),
            ..
        } => error.into(),
        Error::BadCredential { .. } => Failure::wrong_file(&error),
        _ => error.into(),
    }
}

impl Run for NetworkUnlockArgs {
    fn run(&self) -> Result<(), Failure> {
        self.command.chosen().run()
    }
}
