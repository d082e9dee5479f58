//! `fve unlock`: which credential opens which protector.

use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source;
use crate::cli::options::source::Opened;
use crate::cli::options::source::SourceArgs;
use crate::cli::output::json;
use crate::cli::output::term;
use crate::cli::run::{FailureDocument, Run};
use clap::Args;
use fve::volume::OpenedBy;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Ask for a credential, and say which key protector it unlocks:
    fve unlock /dev/sda3
  Check a saved recovery password:
    fve unlock /dev/sda3 --recovery-password-file key.txt
  Find the startup key of the volume on a USB stick:
    fve unlock /dev/sda3 --startup-key /media/usb")]
pub(crate) struct UnlockArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

impl Run for UnlockArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }

    fn failure_document(&self) -> Option<FailureDocument> {
        self.json.then_some(crate::cli::output::json::not_unlocked)
    }
}

fn run(args: &UnlockArgs) -> Result<(), Failure> {
    let opened = source::open(&args.source).tell()?;
    if opened.piece {
        return try_on_piece(args, &opened);
    }
    let unlocked = args.credentials.unlock(&opened.volume)?;
    if args.json {
        return term::print(&json::unlocked(&unlocked));
    }
    term::print(&told(unlocked.opened_by()))
}

/// Nothing of the volume can be shown of a piece, but what opens it can be told.
fn try_on_piece(args: &UnlockArgs, opened: &Opened) -> Result<(), Failure> {
    let key = args.credentials.unlock_master_key(&opened.volume)?;
    term::note(
        "warning: the source holds only a part of the volume, without its first sector: the credential is correct, but nothing can be decrypted",
    );
    if args.json {
        return term::print(&json::unlocked_piece(&key));
    }
    term::print(&told(key.opened_by()))
}

fn told(by: &OpenedBy) -> String {
    match (&by.credential, &by.protector) {
        (Some(credential), Some((id, kind))) => {
            format!(
                "unlocked with the {credential}: {} {{{id:X}}}\n",
                kind.name()
            )
        }
        (Some(credential), None) => format!("unlocked with the {credential}\n"),
        (None, _) => "not encrypted: no credential is needed\n".to_owned(),
    }
}
