//! The options of `fve protector`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use fve::format::protector::ProtectorKind;

use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::new_protectors::NewProtectorArgs;
use crate::cli::options::new_protectors::network::NewNetworkArgs;
use crate::cli::options::new_protectors::tpm::{BindArgs, NewTpmArgs};
use crate::cli::options::parse::parse_protector_id;
use crate::cli::options::source::{ChangedSourceArgs, SourceArgs};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  List the key protectors:
    fve protector list /dev/sda3
  Add a recovery password, and print it:
    fve protector add /dev/sda3 --new-recovery-password
  Suspend protection for one start of Windows:
    fve protector suspend /dev/sda3 --reboots 1")]
pub(crate) struct ProtectorArgs {
    #[command(subcommand)]
    pub(super) command: ProtectorCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum ProtectorCommand {
    /// List the key protectors; needs no credential
    List(ListArgs),
    /// Add key protectors
    Add(AddArgs),
    /// Remove key protectors and replace the volume master key
    Remove(RemoveArgs),
    /// Change the password
    ChangePassword(ChangePasswordArgs),
    /// Replace a startup key by a new one; the old one then no longer unlocks the volume
    ChangeStartupKey(ChangeStartupKeyArgs),
    /// Change the PIN of a TPM protector; --tpm selects the TPM
    ChangePin(ChangePinArgs),
    /// Seal a TPM protector again, to the current state of this computer; --tpm selects the TPM
    Reseal(ResealArgs),
    /// Replace recovery passwords: the new one is saved and tested before the old ones are removed
    RotateRecovery(RotateArgs),
    /// Suspend protection: anyone can read the volume until protection is resumed
    Suspend(SuspendArgs),
    /// Resume protection and replace the volume master key
    Resume(ResumeArgs),
    /// Print the recovery passwords of the volume
    ShowRecovery(ShowRecoveryArgs),
    /// Save the startup keys of the volume as .BEK files
    SaveStartupKey(SaveStartupKeyArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  List the key protectors:
    fve protector list /dev/sda3")]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

/// Options of every command that changes the volume.
#[derive(Debug, Args)]
pub(in crate::cli::commands) struct ChangeArgs {
    #[command(flatten)]
    pub(in crate::cli::commands) source: ChangedSourceArgs,

    #[command(flatten)]
    pub(in crate::cli::commands) credentials: CredentialArgs,

    /// Check everything and print what would change, but write nothing
    #[arg(long)]
    pub(in crate::cli::commands) dry_run: bool,

    /// Save a backup of the old metadata to this new file. Anyone with an old credential can unlock
    /// the volume with it: keep it safe, or delete it once the change has proved good
    #[arg(long, alias = "backup", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(in crate::cli::commands) backup_to: Option<PathBuf>,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(in crate::cli::commands) json: bool,
}

/// The former options for the ID of the key protector that a command acts on.
#[derive(Debug, Args)]
struct FormerIdArgs {
    #[arg(long = "of", aliases = ["only", "replace"], value_name = "ID", hide = true,
        value_parser = parse_protector_id, conflicts_with = "id")]
    former_id: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Add a recovery password, and print it:
    fve protector add /dev/sda3 --new-recovery-password
  Add a TPM protector:
    fve protector add /dev/sda3 --tpm --recovery-password-file key.txt
  Add a startup key on a USB stick:
    fve protector add /dev/sda3 --startup-key-to /media/usb")]
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

/// What to do with key protectors that cannot be given a new volume master key.
#[derive(Debug, Args)]
pub(super) struct DropArgs {
    /// Also remove key protectors that could get the new volume master key only through their TPM,
    /// Network Unlock server or smart card
    #[arg(long)]
    pub(super) drop_bound: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Remove one key protector:
    fve protector remove /dev/sda3 64311DEA
  Show what removing the password would change:
    fve protector remove /dev/sda3 --type password --dry-run
  Let Windows ask for the recovery password at its next start (manage-bde -forcerecovery):
    fve protector remove /dev/sda3 --all-tpm --recovery-password-file key.txt")]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    /// Key protectors to remove: GUIDs, or their first 8 hex digits
    #[arg(value_name = "ID", value_parser = parse_protector_id, required_unless_present_any = ["kind", "all_tpm"])]
    pub(super) ids: Vec<String>,

    /// Remove all key protectors of this type, named as in 'fve protector list --json' or as in
    /// manage-bde
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_kind)]
    pub(super) kind: Option<ProtectorKind>,

    /// Remove all key protectors that use a TPM, so that Windows asks for the recovery password at its
    /// next start. Refused if the volume has no recovery password, startup key or password
    #[arg(long, conflicts_with_all = ["ids", "kind"])]
    pub(super) all_tpm: bool,

    /// Do not ask for a confirmation of --all-tpm
    #[arg(long, requires = "all_tpm")]
    pub(super) yes: bool,

    #[command(flatten)]
    pub(super) drop: DropArgs,

    /// Allow a result in which only a clear key is left, so that anyone can read the volume
    #[arg(long)]
    pub(super) leave_unprotected: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Change the password on the terminal:
    fve protector change-password /dev/sda3
  Replace a forgotten password:
    fve protector change-password /dev/sda3 --recovery-password-file key.txt")]
pub(super) struct ChangePasswordArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    /// File with the new password; if not given, the password is asked for twice on the terminal
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) new_password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Replace the startup key by a new one, which is saved to a USB stick:
    fve protector change-startup-key /dev/sda3 --startup-key-to /media/usb
  Replace a startup key that was lost:
    fve protector change-startup-key v.img --startup-key-to keys --password-file pw")]
pub(super) struct ChangeStartupKeyArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    /// Directory for the .BEK file of the new key
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) startup_key_to: PathBuf,

    /// Replace this startup key if there are several (GUID, or its first 8 hex digits). The key with
    /// which Windows unlocks a data volume automatically is one, too
    #[arg(value_name = "ID", value_parser = parse_protector_id)]
    pub(super) id: Option<String>,

    #[command(flatten)]
    pub(super) drop: DropArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Change the PIN on the terminal:
    fve protector change-pin /dev/sda3 --tpm")]
pub(super) struct ChangePinArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    /// File with the new PIN; if not given, the PIN is asked for twice on the terminal
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) new_pin_file: Option<PathBuf>,

    /// Change the PIN of this key protector if there are several (GUID, or its first 8 hex digits)
    #[arg(value_name = "ID", value_parser = parse_protector_id)]
    id: Option<String>,

    #[command(flatten)]
    former: FormerIdArgs,
}

impl ChangePinArgs {
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref().or(self.former.former_id.as_deref())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Accept the current state of the computer:
    fve protector reseal /dev/sda3 --recovery-password-file key.txt
  Bind the key to other PCRs:
    fve protector reseal /dev/sda3 --pcrs 0,2,4,11 --password-file pw")]
pub(super) struct ResealArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    #[command(flatten)]
    pub(super) bind: BindArgs,

    /// Seal this key protector if there are several (GUID, or its first 8 hex digits)
    #[arg(value_name = "ID", value_parser = parse_protector_id)]
    id: Option<String>,

    #[command(flatten)]
    former: FormerIdArgs,
}

impl ResealArgs {
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref().or(self.former.former_id.as_deref())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Replace all recovery passwords by a new one:
    fve protector rotate-recovery /dev/sda3 --recovery-password-to new-key.txt
  Replace only one of them:
    fve protector rotate-recovery v.img 64311DEA --recovery-password-to key.txt")]
pub(super) struct RotateArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    /// New file for the new recovery password, in the format that Windows uses
    #[arg(long, alias = "escrow-to", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) recovery_password_to: PathBuf,

    /// Replace only this recovery password (GUID, or its first 8 hex digits); the default is all of
    /// them
    #[arg(value_name = "ID", value_parser = parse_protector_id)]
    id: Option<String>,

    #[command(flatten)]
    former: FormerIdArgs,

    #[command(flatten)]
    pub(super) drop: DropArgs,
}

impl RotateArgs {
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref().or(self.former.former_id.as_deref())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Suspend protection until it is resumed:
    fve protector suspend /dev/sda3
  Suspend protection for one start of Windows:
    fve protector suspend /dev/sda3 --reboots 1")]
pub(super) struct SuspendArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    /// Number of Windows starts after which protection resumes automatically; 0 means never
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=15))]
    pub(super) reboots: u8,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Resume protection:
    fve protector resume /dev/sda3")]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,

    #[command(flatten)]
    pub(super) drop: DropArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Print the recovery passwords of a volume whose password is known:
    fve protector show-recovery /dev/sda3 --password-file pw")]
pub(super) struct ShowRecoveryArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    #[command(flatten)]
    pub(super) credentials: CredentialArgs,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Save another copy of the startup key to a USB stick:
    fve protector save-startup-key /dev/sda3 --startup-key-to /media/usb")]
pub(super) struct SaveStartupKeyArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    #[command(flatten)]
    pub(super) credentials: CredentialArgs,

    /// Directory for the .BEK files
    #[arg(long, alias = "to", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(super) startup_key_to: PathBuf,

    /// Save only this key (GUID, or its first 8 hex digits)
    #[arg(value_name = "ID", value_parser = parse_protector_id)]
    id: Option<String>,

    #[command(flatten)]
    former: FormerIdArgs,

    /// Use the format of Windows 11, which also names the volume
    #[arg(long)]
    pub(super) windows11: bool,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl SaveStartupKeyArgs {
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref().or(self.former.former_id.as_deref())
    }
}

/// A kind of key protector in our own words or those of `manage-bde -protectors -type`
/// (docs/format-recovery.md §5.2).
fn parse_kind(word: &str) -> Result<ProtectorKind, String> {
    let kind: Option<ProtectorKind> = word.parse().ok();
    // A clear key is added and removed by suspending and resuming protection.
    kind.filter(|kind| *kind != ProtectorKind::ClearKey)
        .ok_or_else(|| {
            "not a type of key protector; use one such as recovery-password, startup-key, password or tpm".to_owned()
        })
}
