//! `fve network-unlock`: keys over the network.

mod probe;

use clap::{Args, Subcommand};

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
}

impl NetworkUnlockArgs {
    /// Whether the answer is to be one JSON document.
    pub(crate) fn json(&self) -> bool {
        matches!(&self.command, NetworkUnlockCommand::Probe(args) if args.json)
    }
}

pub(in crate::cli) fn run(args: &NetworkUnlockArgs) -> Result<(), Failure> {
    match &args.command {
        NetworkUnlockCommand::Probe(args) => probe::run(args),
    }
}
