//! `fve mount`: shows the decrypted volume as a file until it is unmounted, by default read-only.
//!
//! Without `--foreground`, the command starts itself again as a child process. The child asks for
//! credentials, unlocks, mounts, reports on a pipe that the mount is ready, and detaches from the
//! terminal. The parent waits for that, or ends with the child's exit status if it fails.
//!
//! The process that serves gives up its capabilities, so another one ([`Unmounter`]) unmounts when a
//! signal arrives. A server in a sandbox has another process mount: see [`apart`].

mod apart;
mod driver;
mod files;
mod server;
mod volume;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, ValueHint};
use fve::error::Error;
use fve::serve::fuse::{FILE_NAME, Mount, MountOptions, Unserved};
use fve::shown::ShowPath;
use rustix::process::{getegid, geteuid};
use serde_json::json;

use crate::cli::commands::unmount::FILE_NAMES;
use crate::cli::every_volume::{self, EveryVolumeArgs};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source::{self, SourceArgs};
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::run::Run;

#[derive(Debug, Clone, Args)]
#[command(
    group = ArgGroup::new("writing").multiple(true),
    visible_alias = "open",
    after_help = "\
Examples:
  Show the files of a volume, read-only:
    fve mount /dev/sda3 /mnt/windows
  End that:
    fve unmount /mnt/windows
  Show every volume of a disk, each in a directory below /mnt/disk:
    fve mount --all /dev/sda /mnt/disk
  Read and write the files, as root:
    fve mount --read-write --uid 1000 /dev/sda3 /mnt/windows
  Show the decrypted volume as the file /mnt/bitlocker/volume, for other programs:
    fve mount --volume /dev/sda3 /mnt/bitlocker"
)]
pub(crate) struct MountArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Empty directory to mount on
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,

    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,

    #[command(flatten)]
    pub(crate) every: EveryVolumeArgs,

    /// Show the decrypted volume as the file DIR/volume, not its files
    #[arg(long)]
    pub(crate) volume: bool,

    /// Write files, with the kernel's driver or ntfs-3g, as root; with --volume: make the file writable.
    /// No other program may use SOURCE meanwhile
    #[arg(long, group = "writing", conflicts_with = "accept-damaged-metadata")]
    pub(crate) read_write: bool,

    /// Like --read-write, but changes go to FILE, encrypted, and SOURCE stays as it is. With the same FILE
    /// again, the changes are there again
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "writing", conflicts_with_all = ["accept-damaged-metadata", "all"])]
    pub(crate) overlay: Option<PathBuf>,

    /// What shows the files: fve itself, or as root another driver. By default it is fve, and with
    /// --read-write the kernel's driver, or ntfs-3g if the kernel has none
    #[arg(
        long,
        value_name = "DRIVER",
        conflicts_with = "volume",
        hide_short_help = true
    )]
    pub(crate) driver: Option<driver::Choice>,

    /// With --volume --read-write: allow file systems other than NTFS, FAT and exFAT, which may write where
    /// BitLocker's own structures are. What they write there is lost
    #[arg(long, requires = "writing", requires = "volume")]
    pub(crate) allow_unaware_file_system: bool,

    /// Let other users read the files too
    #[arg(long)]
    pub(crate) allow_other: bool,

    /// Let root read the files too, and no other user: the group and others get no permission
    #[arg(long, conflicts_with = "allow_other")]
    pub(crate) allow_root: bool,

    /// If the server of the mount is killed, unmount DIR, so that no dead mount is left
    #[arg(long)]
    pub(crate) auto_unmount: bool,

    /// Make this user the owner of the files; by default, it is the user who mounts
    #[arg(long, value_name = "UID")]
    pub(crate) uid: Option<u32>,

    /// Make this group the group of the files, and let it read them
    #[arg(long, value_name = "GID")]
    pub(crate) gid: Option<u32>,

    /// Permissions that the files do not have, as an octal number: with 027, only the owner and the
    /// group can read
    #[arg(long, value_name = "MASK", value_parser = parse_mask)]
    pub(crate) umask: Option<u16>,

    /// With --volume: bypass the page cache: faster for one pass over the whole volume, slower for everything else
    #[arg(long, requires = "volume")]
    pub(crate) direct_io: bool,

    /// Stay in the foreground until unmounted
    #[arg(long)]
    pub(crate) foreground: bool,

    /// Once the mount is ready, print one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    /// With --volume: the name of the file with the decrypted volume
    #[arg(long, hide = true, requires = "volume", value_name = "NAME", value_parser = PossibleValuesParser::new(FILE_NAMES),
        default_value = FILE_NAME)]
    pub(crate) file_name: String,

    /// With --read-write: if the volume cannot be written to, mount it read-only
    #[arg(
        long,
        hide = true,
        requires = "read_write",
        requires = "volume",
        conflicts_with = "overlay"
    )]
    pub(crate) or_read_only: bool,

    /// Let no file be executed; without another driver, none can be in any case
    #[arg(long, hide = true)]
    pub(crate) noexec: bool,

    /// Succeed if SOURCE is mounted on DIR already (`mount -a`)
    #[arg(long, hide = true)]
    pub(crate) unless_mounted: bool,

    /// Check the arguments and the volume, and mount nothing (`mount -f`)
    #[arg(long, hide = true)]
    pub(crate) fake: bool,

    /// Serve from the process that `mount` started, and tell it on standard output
    #[arg(long, hide = true)]
    pub(crate) background_child: bool,

    /// Serve, and let the process that connects to SOCKET mount
    #[arg(long, hide = true, value_name = "SOCKET", requires = "foreground")]
    pub(crate) mounted_by: Option<PathBuf>,

    /// Mount, and let the process that listens on SOCKET serve
    #[arg(
        long,
        hide = true,
        value_name = "SOCKET",
        conflicts_with = "mounted_by"
    )]
    pub(crate) mount_for: Option<PathBuf>,
}

impl Run for MountArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &MountArgs) -> Result<(), Failure> {
    check_order(args)?;
    if args.every.all {
        let directory = Some(args.directory.as_path());
        return every_volume::run(&args.source, &args.credentials, directory, args.json);
    }
    if let Some(name) = &args.every.one_of_all {
        return mount_one(args, name);
    }
    driver::check(args)?;
    args.check_overlay_place()?;
    if args.fake {
        return check_only(args);
    }
    // mount(8) knows this by itself only where the mount table names SOURCE.
    let is_mounted = match args.volume {
        true => volume::is_mounted,
        false => driver::is_mounted,
    };
    if args.unless_mounted && is_mounted(args) {
        term::note(format_args!(
            "{} is already mounted on {}",
            args.source.source.shown(),
            args.directory.shown()
        ));
        return args.announce();
    }
    if let Some(socket) = &args.mount_for {
        return mount_for(args, socket);
    }
    if !args.foreground && !args.background_child {
        return server::start_in_background(args);
    }
    if args.volume {
        return volume::serve(args);
    }
    match driver::is_wanted(args) {
        true => driver::serve(args),
        false => files::serve(args),
    }
}

/// Mounts one of all volumes on a directory below DIR.
fn mount_one(args: &MountArgs, name: &str) -> Result<(), Failure> {
    let mut own = args.clone();
    own.directory.push(name);
    own.every.one_of_all = None;
    let is_new = std::fs::create_dir(&own.directory).is_ok();
    let result = run(&own);
    if is_new && result.is_err() {
        let _ = std::fs::remove_dir(&own.directory);
    }
    result
}

/// Mounts for the server that listens on `socket`.
fn mount_for(args: &MountArgs, socket: &Path) -> Result<(), Failure> {
    let (server, source) = apart::Server::reach(socket)?;
    if !args.volume && driver::is_wanted(args) {
        return driver::mount_for(args, &server, &source);
    }
    let options = args.options(&source, None);
    let writable = args.volume && args.writes();
    server.hand_over(Unserved::mount(&args.directory, &options, writable)?)?;
    server.ready()
}

/// Checks that SOURCE and DIR are not swapped.
fn check_order(args: &MountArgs) -> Result<(), Failure> {
    let (source, directory) = (&args.source.source, &args.directory);
    let is_other = |path: &Path| path.metadata().is_ok_and(|meta| !meta.is_dir());
    if source.is_dir() && is_other(directory) {
        return Err(Failure::Other {
            status: Status::Usage,
            what: format!(
                "SOURCE and DIR are swapped: {} is a directory, and {} is not",
                source.shown(),
                directory.shown()
            ),
            help: Some(format!(
                "fve mount {} {}",
                directory.shown(),
                source.shown()
            )),
        });
    }
    Ok(())
}

/// Checks what can be checked without a credential.
fn check_only(args: &MountArgs) -> Result<(), Failure> {
    let directory = &args.directory;
    // Unlike the standard library, this does not trigger an automount.
    rustix::fs::stat(directory).map_err(|error| {
        Error::io(
            format!("cannot use {} as a mount point", directory.shown()),
            error.into(),
        )
    })?;
    match args.volume || args.writes() {
        true => drop(source::open(&args.source).print_notes()?),
        false => drop(source::open_for_files(&args.source).print_notes()?),
    }
    Ok(())
}

fn parse_mask(text: &str) -> Result<u16, String> {
    match u16::from_str_radix(text, 8) {
        Ok(mask) if mask <= 0o777 => Ok(mask),
        _ => Err("not an octal number from 000 to 777".to_owned()),
    }
}

impl MountArgs {
    /// Whether the volume can be written to.
    fn writes(&self) -> bool {
        self.read_write || self.overlay.is_some()
    }

    /// Checks the mount point before anything costly is done, if this process is to mount.
    fn check_mount_point(&self) -> Result<(), Failure> {
        match self.mounted_by {
            Some(_) => Ok(()),
            None => Ok(Mount::check_mount_point(&self.directory)?),
        }
    }

    /// Refuses a file for changes in the directory that the mount hides.
    fn check_overlay_place(&self) -> Result<(), Failure> {
        let Some(file) = &self.overlay else {
            return Ok(());
        };
        let parent = match file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let places = (parent.canonicalize(), self.directory.canonicalize());
        match places {
            (Ok(parent), Ok(directory)) if parent.starts_with(&directory) => {
                Err(Failure::usage(format!(
                    "{} would be hidden by the mount on {}: name a file elsewhere for --overlay",
                    file.shown(),
                    self.directory.shown()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Prints what is mounted now, if that is asked for.
    fn announce(&self) -> Result<(), Failure> {
        self.document().map_or(Ok(()), |text| term::print(&text))
    }

    /// The document about the mount, if it is asked for.
    fn document(&self) -> Option<String> {
        if !self.json {
            return None;
        }
        let file = self.directory.join(&self.file_name);
        Some(document(&json!({
            "source": self.source.source.to_string_lossy(),
            "directory": self.directory.to_string_lossy(),
            "file": self.volume.then(|| file.to_string_lossy()),
            "read_write": self.writes(),
            "overlay": self.overlay.as_deref().map(Path::to_string_lossy),
        })))
    }

    /// Who may use files that another driver shows.
    fn access(&self) -> driver::Access {
        let mask = match (self.gid, self.allow_other) {
            (_, true) => 0o022,
            (Some(_), false) => 0o027,
            (None, false) => 0o077,
        };
        driver::Access {
            uid: self.uid.unwrap_or_else(|| geteuid().as_raw()),
            gid: self.gid.unwrap_or_else(|| getegid().as_raw()),
            umask: self.umask.unwrap_or(mask) | if self.allow_root { 0o077 } else { 0 },
        }
    }

    /// What to mount with: `source` is what the mount table shows.
    fn options(&self, source: &Path, modified: Option<SystemTime>) -> MountOptions {
        let mut options = MountOptions::new(source.to_string_lossy())
            .allow_other(self.allow_other)
            .allow_root(self.allow_root)
            .modified(modified.unwrap_or_else(SystemTime::now))
            .direct_io(self.direct_io)
            .file_name(&self.file_name);
        if let Some(uid) = self.uid {
            options = options.uid(uid);
        }
        if let Some(gid) = self.gid {
            options = options.gid(gid);
        }
        if let Some(mask) = self.umask {
            options = options.umask(mask);
        }
        options
    }
}
