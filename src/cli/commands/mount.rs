//! `fve mount`: shows the decrypted volume as a file until it is unmounted, by default read-only.
//!
//! Without `--foreground`, the command starts itself again as a child process. The child asks for
//! credentials, unlocks, mounts, reports on a pipe that the mount is ready, and detaches from the
//! terminal. The parent waits for that, or ends with the child's exit status if it fails.
//!
//! The process that serves gives up its capabilities, so another one ([`Unmounter`]) unmounts when a
//! signal arrives.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

use signal_hook::iterator::Signals;

use crate::cli::commands::unmount::Unmounter;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source;
use crate::cli::options::source::SourceArgs;
use crate::cli::output::{keyboard, term};
use crate::cli::run::Run;
use crate::cli::signals;
use clap::{Args, ValueHint};
use fve::create::Inside;
use fve::error::Error;
use fve::privileges::give_up_capabilities;
use fve::serve::fuse::{Mount, MountOptions};
use fve::shown::ShowPath;
use fve::source::{DeviceHold, SharedHold};
use fve::volume::{Unlocked, Writable, is_hibernated};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Mount a volume read-only, and its files with the kernel's driver:
    fve mount /dev/sda3 /mnt/bitlocker
    mount -o ro /mnt/bitlocker/volume /mnt/files
  Unmount both:
    umount /mnt/files
    fve unmount /mnt/bitlocker")]
pub(crate) struct MountArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Empty directory to mount on
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,

    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,

    /// Make the file writable; no other program may use SOURCE meanwhile
    #[arg(long, conflicts_with = "accept-damaged-metadata")]
    pub(crate) read_write: bool,

    /// With --read-write: allow file systems other than NTFS, FAT and exFAT, which may write where
    /// BitLocker's own structures are. What they write there is lost
    #[arg(long, requires = "read_write")]
    pub(crate) allow_unaware_file_system: bool,

    /// Let other users read the file too
    #[arg(long)]
    pub(crate) allow_other: bool,

    /// Make this user the owner of DIR and the file; by default, it is the user who mounts
    #[arg(long, value_name = "UID")]
    pub(crate) uid: Option<u32>,

    /// Make this group the group of DIR and the file, and let it read the file
    #[arg(long, value_name = "GID")]
    pub(crate) gid: Option<u32>,

    /// Permissions that DIR and the file do not have, as an octal number: with 027, only the owner and
    /// the group can read
    #[arg(long, value_name = "MASK", value_parser = parse_mask)]
    pub(crate) umask: Option<u16>,

    /// Bypass the page cache: faster for one pass over the whole volume, slower for everything else
    #[arg(long)]
    pub(crate) direct_io: bool,

    /// Stay in the foreground until unmounted
    #[arg(long)]
    pub(crate) foreground: bool,

    /// Check the arguments and the volume, and mount nothing (`mount -f`)
    #[arg(long, hide = true)]
    pub(crate) fake: bool,

    /// Serve from the process that `mount` started, and tell it on standard output
    #[arg(long, hide = true)]
    pub(crate) background_child: bool,
}

/// Locks that keep other programs from changing the source of a read-only mount.
type Holds = (Option<SharedHold>, Option<DeviceHold>);

/// What the child writes when the mount is ready.
const READY: &[u8] = b"ready\n";

impl Run for MountArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &MountArgs) -> Result<(), Failure> {
    check_order(args)?;
    if args.fake {
        return check_only(args);
    }
    if args.foreground || args.background_child {
        serve(args)
    } else {
        start_in_background()
    }
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
    source::open(&args.source).print_notes()?;
    Ok(())
}

fn serve(args: &MountArgs) -> Result<(), Failure> {
    Mount::check_mount_point(&args.directory)?;
    let (volume, options, _holds) = if args.read_write {
        read_write(args)?
    } else {
        read_only(args)?
    };
    keyboard::leave_to_others(&signals::ending());
    // From here on, a signal must not end the process without unmounting.
    let mut signals = Signals::new(signals::ending())
        .map_err(|error| Error::io("cannot watch for signals", error))?;
    let mount = match volume {
        Content::ReadOnly(volume) => Mount::new(Arc::new(volume), &args.directory, &options)?,
        Content::ReadWrite(volume) => {
            Mount::read_write(Arc::new(volume), &args.directory, &options)?
        }
    };
    let unmounter = Unmounter::start(mount.directory(), args.foreground)
        .map_err(|error| Error::io("cannot start the process that unmounts", error))?;
    // The server parses what is on the disk, which may be hostile.
    give_up_capabilities().map_err(|error| Error::io("cannot give up capabilities", error))?;
    let watching = signals.handle();
    let stopping = unmounter.clone();
    let watcher = std::thread::Builder::new()
        .spawn(move || watch(&mut signals, &stopping))
        .map_err(|error| Error::io("cannot start a thread that waits for signals", error))?;
    // Requests that arrive before `serve` wait in the kernel, so the mount is ready now.
    announce(args)?;
    let served = mount.serve();
    if served.is_err() {
        unmounter.detach();
    }
    watching.close();
    let _ = watcher.join();
    unmounter.end();
    Ok(served?)
}

/// An unlocked volume, what to mount it with, and the locks on its source.
type Ready = (Content, MountOptions, Holds);

enum Content {
    ReadOnly(Unlocked),
    ReadWrite(Writable),
}

/// Unlocks a volume to mount it read-only. Other programs must not write to the source, mount it or
/// map it meanwhile: the kernel caches the pages of the mount, and would show old content.
fn read_only(args: &MountArgs) -> Result<Ready, Failure> {
    let shared = SharedHold::take(&args.source.source)?;
    let source::OpenedToShow { opened, hold } = source::open_to_show(&args.source)
        .print_notes()
        .map_err(|failure| args.credentials.name_fitting(failure))?;
    let device = hold?;
    let unlocked = args.credentials.unlock(&opened.volume)?;
    let options = options(args, &opened.path, opened.modified);
    Ok((Content::ReadOnly(unlocked), options, (shared, device)))
}

/// Checks whether the volume can be written to before it asks for a credential.
fn read_write(args: &MountArgs) -> Result<Ready, Failure> {
    let opened = source::open_for_writing(&args.source)
        .print_notes()
        .map_err(|failure| args.credentials.name_fitting(failure))?;
    opened.volume.check_writable()?;
    let writable = args
        .credentials
        .unlock(&opened.volume)?
        .into_writable()
        .map_err(fve::Error::from)?;
    check_inside(&writable, args.allow_unaware_file_system)?;
    let options = options(args, &opened.path, None);
    Ok((Content::ReadWrite(writable), options, (None, None)))
}

/// Checks that the file system in the volume does not use the places of BitLocker's own structures:
/// they read as zeros and cannot be written, so files there would be lost.
fn check_inside(volume: &Writable, allowed: bool) -> Result<(), Failure> {
    let places = volume.reserved();
    let listed = listed(&places);
    match Inside::of(volume, &places)? {
        Inside::Unchecked { why } => warn(&format!(
            "{why}; it was not checked whether files can be where BitLocker's own structures are: \
             bytes {listed}"
        )),
        Inside::Unreserved { name } => warn(&format!(
            "the {name} file system in the volume may put files where BitLocker's own structures are, \
             and those files would be lost: bytes {listed}"
        )),
        Inside::Unknown { found } => warn(&format!(
            "the volume holds {found}; do not use the places of BitLocker's own structures, which \
             read as zeros and cannot be written: bytes {listed}"
        )),
        Inside::Other { found } if allowed => warn(&format!(
            "the volume holds {found}; what it writes where BitLocker's own structures are is lost: \
             bytes {listed}"
        )),
        Inside::Other { found } => {
            return Err(Failure::Other {
                status: Status::Usage,
                what: format!(
                    "the volume holds {found}, which may write where BitLocker's own structures are; \
                     what it writes there is lost: bytes {listed}"
                ),
                help: Some(
                    "mount it read-only, or give --allow-unaware-file-system if it does not use these places"
                        .to_owned(),
                ),
            });
        }
        _ => {}
    }
    if is_hibernated(volume.unlocked()) {
        warn(
            "the Windows in the volume is hibernated (fast startup does that too) and may undo changes \
             that are made now; shut it down with 'shutdown /s /t 0' first",
        );
    }
    Ok(())
}

fn warn(what: &str) {
    term::note(term::escaped(&format!("warning: {what}")));
}

fn listed(places: &[Range<u64>]) -> String {
    let places: Vec<_> = places
        .iter()
        .map(|place| format!("{} to {}", place.start, place.end))
        .collect();
    places.join(", ")
}

fn options(args: &MountArgs, source: &Path, modified: Option<SystemTime>) -> MountOptions {
    let mut options = MountOptions::new(source.to_string_lossy())
        .allow_other(args.allow_other)
        .modified(modified.unwrap_or_else(SystemTime::now))
        .direct_io(args.direct_io);
    if let Some(uid) = args.uid {
        options = options.uid(uid);
    }
    if let Some(gid) = args.gid {
        options = options.gid(gid);
    }
    if let Some(mask) = args.umask {
        options = options.umask(mask);
    }
    options
}

fn parse_mask(text: &str) -> Result<u16, String> {
    match u16::from_str_radix(text, 8) {
        Ok(mask) if mask <= 0o777 => Ok(mask),
        _ => Err("not an octal number from 000 to 777".to_owned()),
    }
}

/// Has the directory unmounted when a signal arrives.
fn watch(signals: &mut Signals, unmounter: &Unmounter) {
    for _ in signals.forever() {
        // Without a service manager, this does nothing.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        if let Err(error) = unmounter.stop_when_free() {
            term::note(format_args!(
                "still mounted, because the process that unmounts has ended ({error}); use 'fve unmount'"
            ));
        }
    }
}

/// Notifies the parent process or systemd that the mount is ready.
fn announce(args: &MountArgs) -> Result<(), Failure> {
    if args.background_child {
        return leave_terminal()
            .map_err(|error| Error::io("cannot go to the background", error).into());
    }
    // Without a service manager, this does nothing.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    Ok(())
}

fn leave_terminal() -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(READY)?;
    out.flush()?;
    // In a new session, closing the terminal does not end the mount.
    let _ = rustix::process::setsid();
    let nowhere = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    // The file system of the current directory must remain unmountable.
    std::env::set_current_dir("/")
}

fn start_in_background() -> Result<(), Failure> {
    let fail = |error| Error::io("cannot start the server of the mount", error);
    let mut child = Command::new(std::env::current_exe().map_err(fail)?)
        .args(super::super::mount_helper::arguments()?)
        .arg("--background-child")
        .stdout(Stdio::piped())
        .spawn()
        .map_err(fail)?;
    let mut said = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        // The child closes the pipe when it goes to the background or ends.
        pipe.read_to_end(&mut said).map_err(fail)?;
    }
    if said == READY {
        return Ok(());
    }
    let ended = child.wait().map_err(fail)?;
    Err(Failure::Silent(passed_on(ended)))
}

/// The exit status of the child, which has already reported the error.
fn passed_on(ended: ExitStatus) -> Status {
    if let Some(signal) = ended.signal() {
        term::note(format_args!(
            "error: the server of the mount was killed by signal {signal}"
        ));
    }
    match ended.code() {
        Some(2) => Status::Usage,
        Some(3) => Status::NotBitLocker,
        Some(4) => Status::Refused,
        Some(5) => Status::Io,
        Some(6) => Status::Damaged,
        _ => Status::Failed,
    }
}
