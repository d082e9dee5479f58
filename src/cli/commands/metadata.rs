//! `fve metadata`: backups of a volume's metadata taken and restored; and the backup that every
//! change has at hand while it is made.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand, ValueHint};

use crate::cli::args::SourceArgs;
use crate::cli::credentials::CredentialArgs;
use crate::cli::{Failure, source, term};
use crate::enroll::save_key;
use crate::error::Error;
use crate::manage::Managed;
use crate::manage::backup::{Backup, MAX_LEN, Restoration};
use crate::output::check_new;
use crate::secret::SecretBytes;
use crate::shown::ShowPath;
use crate::source::WriteAt;
use crate::volume::Volume;

#[derive(Debug, Args)]
pub(crate) struct MetadataArgs {
    #[command(subcommand)]
    command: MetadataCommand,
}

#[derive(Debug, Subcommand)]
enum MetadataCommand {
    /// Save the boot record and all metadata copies in a new file
    Backup(BackupArgs),
    /// Write a backup back to the volume that it was taken of
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
struct BackupArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// New file to write. It opens with what opens the volume now, for ever: keep it safe
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// The backup
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Check everything, write nothing, and say what would be written
    #[arg(long)]
    dry_run: bool,
}

pub(in crate::cli) fn run(args: &MetadataArgs) -> Result<(), Failure> {
    match &args.command {
        MetadataCommand::Backup(args) => backup(args),
        MetadataCommand::Restore(args) => restore(args),
    }
}

fn backup(args: &BackupArgs) -> Result<(), Failure> {
    check_new(&args.file)?;
    let volume = source::open(&args.source)?.volume;
    let backup = Backup::of(&volume)?;
    save(&args.file, &backup)?;
    term::note(format_args!(
        "the metadata of volume {:X} is saved in {}; whatever opens the volume now will always open it with this file: keep it safe",
        backup.volume_id(),
        args.file.shown()
    ));
    Ok(())
}

fn save(path: &Path, backup: &Backup) -> Result<(), Error> {
    save_key(path, &SecretBytes::new(backup.to_bytes())).map_err(|error| match error {
        Error::Io { source, .. } => Error::io(
            format!("cannot save the backup in {}", path.shown()),
            source,
        ),
        other => other,
    })
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
    tell(&backup, &restoration, args.dry_run)
}

/// The volume; or, where its boot record is lost, the place where it was.
fn target(args: &SourceArgs, backup: &Backup) -> Result<Arc<dyn WriteAt>, Failure> {
    match source::open_for_writing(args) {
        Ok(opened) => Ok(opened.target),
        Err(Failure::Volume(Error::NotBitLocker { .. })) => {
            source::open_lost_for_writing(args, backup.volume_size())
        }
        Err(other) => Err(other),
    }
}

fn read(path: &Path) -> Result<Backup, Error> {
    let fail = |error| Error::io(format!("cannot read {}", path.shown()), error);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut bytes))
        .map_err(fail)?;
    Backup::parse(&bytes)
}

fn tell(backup: &Backup, restoration: &Restoration, dry_run: bool) -> Result<(), Failure> {
    let word = if dry_run { "would be " } else { "" };
    let mut text = String::new();
    for copy in &restoration.copies {
        text += &format!("metadata copy {copy} {word}restored\n");
    }
    if restoration.boot_record {
        text += &format!("boot record {word}restored\n");
    }
    if text.is_empty() {
        text = "the volume is as the backup has it: nothing to restore\n".to_owned();
    } else if !dry_run {
        term::note(format_args!(
            "the volume opens with what opened it on {}, and with nothing that was added since",
            backup.taken()
        ));
    }
    term::print(&text)
}

/// A backup that exists while a change is made.
pub(super) struct BeforeChange {
    backup: Backup,
    /// The file, unless none could be written.
    path: Option<PathBuf>,
    /// Whether somebody asked for it.
    keep: bool,
}

/// Takes a backup before the first change: in the file that was named, which stays; else in the
/// user's state directory, from where it goes when the change is made. It would open with
/// credentials that the change may just have removed.
pub(super) fn before_change(volume: &Volume, file: Option<&Path>) -> Result<BeforeChange, Failure> {
    let backup = Backup::of(volume)?;
    if let Some(path) = file {
        save(path, &backup)?;
        return Ok(BeforeChange {
            backup,
            path: Some(path.to_owned()),
            keep: true,
        });
    }
    let saved = state_directory().and_then(|directory| {
        let name = format!("{:X}-{}.fvemeta", backup.volume_id(), std::process::id());
        let path = directory.join(name);
        std::fs::create_dir_all(&directory).ok()?;
        save(&path, &backup).ok().map(|()| path)
    });
    if saved.is_none() {
        term::note(
            "there is no place for a backup of the metadata while it is changed; --backup FILE names one",
        );
    }
    Ok(BeforeChange {
        backup,
        path: saved,
        keep: false,
    })
}

/// Where the command keeps what it needs for a while, or could not put where it was to go.
pub(super) fn state_directory() -> Option<PathBuf> {
    let of = |name| std::env::var_os(name).map(PathBuf::from);
    let absolute = |path: &PathBuf| path.is_absolute();
    of("XDG_STATE_HOME")
        .filter(absolute)
        .or_else(|| {
            of("HOME")
                .filter(absolute)
                .map(|home| home.join(".local/state"))
        })
        .map(|state| state.join("fve"))
}

impl BeforeChange {
    /// The change is made and was read back.
    pub(super) fn done(self) {
        if let Some(path) = self.path.filter(|_| !self.keep) {
            // What is left behind is only an encrypted copy of the old metadata.
            let _ = std::fs::remove_file(path);
        }
    }

    /// The change failed. Where nothing was written, the backup is of no use.
    pub(super) fn failed(self, managed: &Managed) {
        match &self.path {
            Some(path) if !managed.is_as_in(&self.backup) => term::note(format_args!(
                "the metadata as it was is saved in {}; 'fve metadata restore' brings it back",
                path.shown()
            )),
            _ => self.done(),
        }
    }
}
