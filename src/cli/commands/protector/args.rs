//! The options of `fve protector`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use fve::format::protector::ProtectorKind;

use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::new_protectors::NewProtectorArgs;
use crate::cli::options::new_protectors::network::NewNetworkArgs;
use crate::cli::options::new_protectors::tpm::{BindArgs, NewTpmArgs};
use crate::cli::options::source::SourceArgs;

#[derive(Debug, Args)]
pub(crate) struct ProtectorArgs {
    #[command(subcommand)]
    pub(super) command: ProtectorCommand,
}

impl ProtectorArgs {
    /// Whether the answer is to be one JSON document.
    pub(crate) fn json(&self) -> bool {
        matches!(&self.command, ProtectorCommand::List(args) if args.json)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum ProtectorCommand {
    /// Show the key protectors; takes no key
    List(ListArgs),
    /// Add key protectors
    Add(AddArgs),
    /// Remove key protectors, and give the volume a new master key
    Remove(RemoveArgs),
    /// Give the volume another password
    ChangePassword(ChangePasswordArgs),
    /// Give a TPM protector another PIN; --tpm names the TPM
    ChangePin(ChangePinArgs),
    /// Seal a TPM protector anew, to the present state of the computer; --tpm names the TPM
    Reseal(ResealArgs),
    /// Replace recovery passwords: the new one is saved and proved before the old go
    RotateRecovery(RotateArgs),
    /// Suspend protection: anybody can open the volume until it is resumed
    Suspend(SuspendArgs),
    /// Resume protection, and give the volume a new master key
    Resume(ResumeArgs),
    /// Print every recovery password of the volume
    ShowRecovery(ShowRecoveryArgs),
    /// Save the startup keys of the volume as .BEK files
    SaveStartupKey(SaveStartupKeyArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// Answer with one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

/// What every command that changes the volume takes.
#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    #[command(flatten)]
    pub(super) credentials: CredentialArgs,

    /// Try everything but the writing, and say what would change
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Keep a backup of the metadata as it was in this new file. It opens with what opened the
    /// volume before: keep it safe, or destroy it once the change has proved itself
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) backup: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    #[command(flatten)]
    pub(super) new: NewProtectorArgs,

    #[command(flatten)]
    pub(super) tpm: NewTpmArgs,

    #[command(flatten)]
    pub(super) network: NewNetworkArgs,
}

/// Whether protectors go that cannot be given a new master key.
#[derive(Debug, Args)]
pub(super) struct DropArgs {
    /// Also remove protectors that only a TPM, a server or a card could give the new master key
    #[arg(long)]
    pub(super) drop_bound: bool,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    /// Which: GUIDs, or the first 8 hex digits of them
    #[arg(value_name = "ID", required_unless_present = "kind")]
    pub(super) ids: Vec<String>,

    /// All of a kind, in the words of 'fve protector list --json' or of manage-bde
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_kind)]
    pub(super) kind: Option<ProtectorKind>,

    #[command(flatten)]
    pub(super) drop: DropArgs,

    /// Allow that only a clear key is left, with which anybody can open the volume
    #[arg(long)]
    pub(super) leave_unprotected: bool,
}

#[derive(Debug, Args)]
pub(super) struct ChangePasswordArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    /// File with the new password; without it, it is asked for twice on the terminal
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) new_password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ChangePinArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    /// File with the new PIN; without it, it is asked for twice on the terminal
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) new_pin_file: Option<PathBuf>,

    /// Of this protector (its GUID, or the first 8 hex digits of it), where there are several
    #[arg(long, value_name = "ID")]
    pub(super) of: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ResealArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    #[command(flatten)]
    pub(super) bind: BindArgs,

    /// This protector (its GUID, or the first 8 hex digits of it), where there are several
    #[arg(long, value_name = "ID")]
    pub(super) only: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    /// New file for the new recovery password, as Windows saves it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) escrow_to: PathBuf,

    /// Replace only this recovery password (its GUID, or the first 8 hex digits of it), not all
    #[arg(long, value_name = "ID")]
    pub(super) replace: Option<String>,

    #[command(flatten)]
    pub(super) drop: DropArgs,
}

#[derive(Debug, Args)]
pub(super) struct SuspendArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    /// Windows resumes protection by itself after this many starts; 0: not by itself
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=15))]
    pub(super) reboots: u8,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    #[command(flatten)]
    pub(super) drop: DropArgs,
}

#[derive(Debug, Args)]
pub(super) struct ShowRecoveryArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    #[command(flatten)]
    pub(super) credentials: CredentialArgs,
}

#[derive(Debug, Args)]
pub(super) struct SaveStartupKeyArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    #[command(flatten)]
    pub(super) credentials: CredentialArgs,

    /// Directory for the .BEK files
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) to: PathBuf,

    /// Only this key (its GUID, or the first 8 hex digits of it)
    #[arg(long, value_name = "ID")]
    pub(super) only: Option<String>,

    /// In the form of Windows 11, which names the volume
    #[arg(long)]
    pub(super) windows11: bool,
}

/// A kind of key protector in our own words or those of `manage-bde -protectors -type`
/// (docs/format-recovery.md §5.2).
fn parse_kind(word: &str) -> Result<ProtectorKind, String> {
    let kind: Option<ProtectorKind> = word.parse().ok();
    // A clear key is added and removed by suspending and resuming protection.
    kind.filter(|kind| *kind != ProtectorKind::ClearKey)
        .ok_or_else(|| {
            "no kind of protector; such as recovery-password, startup-key, password, tpm".to_owned()
        })
}
