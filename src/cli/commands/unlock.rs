//! `fve unlock`: says which credential unlocks which key protector.

use clap::Args;
use fve::volume::{OpenedBy, Unlocked};

use crate::cli::every_volume::{self, EveryVolumeArgs};
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source::{self, Opened, SourceArgs};
use crate::cli::output::json;
use crate::cli::output::term;
use crate::cli::run::{FailureDocument, Run};

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

    #[command(flatten)]
    pub(crate) every: EveryVolumeArgs,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

impl Run for UnlockArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }

    fn failure_document(&self) -> FailureDocument {
        crate::cli::output::json::not_unlocked
    }
}

fn run(args: &UnlockArgs) -> Result<(), Failure> {
    if args.every.all {
        return every_volume::run(&args.source, &args.credentials, None, args.json);
    }
    let opened = source::open(&args.source)
        .print_notes()
        .map_err(|failure| args.credentials.name_fitting(failure))?;
    // A sector key unlocks no master key: only the plaintext proves it.
    let has_sector_key = args.credentials.given_for("fvek-file", |_| ()).is_some();
    if opened.piece || (opened.guessed && !has_sector_key) {
        return unlock_without_start(args, &opened);
    }
    print(args, &args.credentials.unlock(&opened.volume)?)
}

fn print(args: &UnlockArgs, unlocked: &Unlocked) -> Result<(), Failure> {
    if args.json {
        return term::print(&json::unlocked(unlocked));
    }
    term::print(&unlocked_text(
        unlocked.opened_by(),
        unlocked.identification(),
    ))
}

/// Tries the credentials on a source that holds metadata but not the start of the volume. They can
/// be checked there, although nothing can be decrypted.
fn unlock_without_start(args: &UnlockArgs, opened: &Opened) -> Result<(), Failure> {
    let key = args.credentials.unlock_master_key(&opened.volume)?;
    if !opened.piece
        && let Ok(unlocked) = opened.volume.unlock_with_master_key(&key)
    {
        let more = unlocked.warnings().iter();
        for warning in more.filter(|warning| !key.warnings().contains(warning)) {
            term::note(format_args!("warning: {}", term::escaped(warning)));
        }
        return print(args, &unlocked);
    }
    term::note(
        "warning: the source holds only a part of the volume, without its first sector: the credential is correct, but nothing can be decrypted",
    );
    if args.json {
        return term::print(&json::unlocked_piece(&key));
    }
    term::print(&unlocked_text(key.opened_by(), key.identification()))
}

fn unlocked_text(by: &OpenedBy, identification: Option<&str>) -> String {
    let mut text = match (&by.credential, &by.protector) {
        (Some(credential), Some((id, kind))) => {
            format!(
                "unlocked with the {credential}: {} {{{id:X}}}\n",
                kind.name()
            )
        }
        (Some(credential), None) => format!("unlocked with the {credential}\n"),
        (None, _) => "not encrypted: no credential is needed\n".to_owned(),
    };
    if let Some(identification) = identification {
        text += &format!("identification field: {}\n", term::escaped(identification));
    }
    text
}
