//! `fve recovery`: checks, searches for, hashes and looks up recovery passwords.

pub(crate) mod check;
mod checkpoint;
pub(crate) mod hash;
mod input;
pub(crate) mod lookup;
pub(crate) mod search;

use clap::Args;

use self::check::CheckArgs;
use self::hash::HashArgs;
use self::lookup::LookupArgs;
use self::search::SearchArgs;
use crate::cli::failure::Failure;
use crate::cli::run::{Run, commands};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Check the digits of a recovery password:
    fve recovery check --file key.txt
  Find the password whose ID the recovery screen shows:
    fve recovery lookup /media/usb --id 64311DEA")]
pub(crate) struct RecoveryArgs {
    #[command(subcommand)]
    pub(crate) command: RecoveryCommand,
}

commands! {
    /// The subcommands of `fve recovery`.
    RecoveryCommand {
        /// Check a recovery password block by block, and suggest corrections
        "check" Check(CheckArgs),
        /// Find unreadable digits of a recovery password by trying them on the volume
        "search" Search(SearchArgs),
        /// Print the hashes of the volume's passwords, for hashcat and John the Ripper
        "hash" Hash(HashArgs),
        /// Find a saved recovery password in files or in Active Directory: by ID, by computer, or
        /// for a volume
        "lookup" Lookup(LookupArgs),
}
}

impl Run for RecoveryArgs {
    fn run(&self) -> Result<(), Failure> {
        self.command.chosen().run()
    }
}
