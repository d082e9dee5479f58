//! `fve metadata`: saves and restores backups of a volume's metadata.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand, ValueHint};
use fve::error::Error;
use fve::manage::{Backup, Change, Restoration};
use fve::output::check_new;
use fve::shown::ShowPath;
use fve::source::WriteAt;
use serde_json::json;

use super::protector::{ChangeArgs, Session};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::backup::save;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source::{self, ChangedSourceArgs, SourceArgs};
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::run::Run;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Save the metadata before a risky change:
    fve metadata backup /dev/sda3 metadata.bak
  Restore it:
    fve metadata restore /dev/sda3 metadata.bak
  Set the identification field (manage-bde -setidentifier):
    fve metadata set-identifier /dev/sda3 example.org")]
pub(crate) struct MetadataArgs {
    #[command(subcommand)]
    command: MetadataCommand,
}

#[derive(Debug, Subcommand)]
enum MetadataCommand {
    /// Save the boot record and all metadata copies to a new file
    Backup(BackupArgs),
    /// Write a backup back to the volume that it was taken from
    Restore(RestoreArgs),
    /// Set or remove the identification field: the identifier of the organization that owns the volume
    SetIdentifier(SetIdentifierArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Save the metadata before a risky change:
    fve metadata backup /dev/sda3 metadata.bak")]
struct BackupArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// New file to write. Anyone with a current credential can unlock the volume with this file,
    /// even after that credential is changed: keep it safe
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    output: PathBuf,

    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Show what would be restored:
    fve metadata restore /dev/sda3 metadata.bak --dry-run
  Restore, and prove the backup with a recovery password:
    fve metadata restore /dev/sda3 metadata.bak --recovery-password-file key.txt")]
struct RestoreArgs {
    #[command(flatten)]
    source: ChangedSourceArgs,

    /// Backup file to restore
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Check everything and print what would be written, but write nothing
    #[arg(long)]
    dry_run: bool,

    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Set the identification field; 'fve unlock' shows it:
    fve metadata set-identifier /dev/sda3 example.org
  Remove it:
    fve metadata set-identifier /dev/sda3 --remove")]
struct SetIdentifierArgs {
    #[command(flatten)]
    change: ChangeArgs,

    /// The identifier, of at most 260 characters
    #[arg(
        value_name = "IDENTIFIER",
        required_unless_present = "remove",
        conflicts_with = "remove"
    )]
    identifier: Option<String>,

    /// Remove the identification field
    #[arg(long)]
    remove: bool,
}

impl Run for MetadataArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &MetadataArgs) -> Result<(), Failure> {
    match &args.command {
        MetadataCommand::Backup(args) => backup(args),
        MetadataCommand::Restore(args) => restore(args),
        MetadataCommand::SetIdentifier(args) => set_identifier(args),
    }
}

fn backup(args: &BackupArgs) -> Result<(), Failure> {
    check_new(&args.output)?;
    let volume = source::open(&args.source).print_notes()?.volume;
    if volume.missing() > 0 {
        return Err(Failure::Other {
            status: Status::Io,
            what: "the source lacks the beginning of the volume, and a backup of the metadata contains the boot record there".to_owned(),
            help: Some("save the keys of the volume with 'fve export key-package'".to_owned()),
        });
    }
    let backup = Backup::of(&volume)?;
    save(&args.output, &backup)?;
    if args.json {
        return term::print(&document(&json!({
            "volume": format!("{:X}", backup.volume_id()),
            "file": args.output.to_string_lossy(),
        })));
    }
    term::note(format_args!(
        "the metadata of volume {:X} was saved to {}; anyone with a current password or key can unlock the volume with this file, even after that password or key is changed: keep it safe",
        backup.volume_id(),
        args.output.shown()
    ));
    Ok(())
}

fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let backup = read(&args.file)?;
    let target = target(&args.source, &backup)?;
    let credentials = args.credentials.read_given()?;
    let restoration = if args.dry_run {
        backup.check(&target, &credentials)?
    } else {
        backup.restore(&target, &credentials)?
    };
    if args.json {
        return term::print(&document(&json!({
            "volume": format!("{:X}", backup.volume_id()),
            "dry_run": args.dry_run,
            "taken": backup.taken().to_string(),
            "restored_copies": restoration.copies,
            "boot_record": restoration.boot_record,
        })));
    }
    print_result(&backup, &restoration, args.dry_run)
}

fn set_identifier(args: &SetIdentifierArgs) -> Result<(), Failure> {
    let identifier = args.identifier.as_deref().unwrap_or("");
    if identifier.is_empty() && !args.remove {
        return Err(Failure::usage(
            "the identifier is empty; --remove removes the identification field",
        ));
    }
    let mut session = Session::open(&args.change)?;
    session.carry_out(Change::new().identify(identifier))
}

/// Opens the volume for writing. If its boot record is lost, opens the place where the volume was.
fn target(args: &SourceArgs, backup: &Backup) -> Result<Arc<dyn WriteAt>, Failure> {
    match source::open_for_writing(args).print_notes() {
        Ok(opened) => Ok(opened.target),
        Err(Failure::Volume(Error::NotBitLocker { .. })) => {
            source::open_lost_for_writing(args, backup.volume_size())
        }
        Err(other) => Err(other),
    }
}

fn read(path: &Path) -> Result<Backup, Failure> {
    let fail = |error| Error::io(format!("cannot read {}", path.shown()), error);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(Backup::MAX_LEN + 1).read_to_end(&mut bytes))
        .map_err(fail)?;
    Backup::parse(&bytes).map_err(|error| Failure::wrong_file(&error))
}

fn print_result(backup: &Backup, restoration: &Restoration, dry_run: bool) -> Result<(), Failure> {
    let word = if dry_run { "would be " } else { "" };
    let mut text = String::new();
    for copy in &restoration.copies {
        text += &format!("metadata copy {copy} {word}restored\n");
    }
    if restoration.boot_record {
        text += &format!("boot record {word}restored\n");
    }
    if text.is_empty() {
        text = "the volume already matches the backup: nothing to restore\n".to_owned();
    } else if !dry_run {
        term::note(format_args!(
            "the volume now has the key protectors that it had on {}; any that were added later are gone",
            backup.taken()
        ));
    }
    term::print(&text)
}
