//! `fve serve`: makes the decrypted volume available to other programs without mounting it.

mod nbd;

use clap::Args;

use self::nbd::NbdArgs;
use crate::cli::failure::Failure;
use crate::cli::run::{FailureDocument, Run, commands};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Serve a volume over NBD, for programs of the same user:
    fve serve nbd /dev/sda3")]
pub(crate) struct ServeArgs {
    #[command(subcommand)]
    command: ServeCommand,
}

commands! {
    /// How the volume is served.
    ServeCommand {
        /// Serve the decrypted volume over NBD, the protocol of virtual machines and disk tools
        "nbd" Nbd(NbdArgs),
    }
}

impl Run for ServeArgs {
    fn run(&self) -> Result<(), Failure> {
        self.command.chosen().run()
    }

    fn failure_document(&self) -> FailureDocument {
        self.command.chosen().failure_document()
    }
}
