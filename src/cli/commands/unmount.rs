//! `fve unmount`: ends a mount; where it is in use, says by whom.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::term::escaped;
use crate::cli::run::Run;
use clap::{Args, ValueHint};
use fve::error::Error;
use fve::serve::fuse::{FILE_NAME, SUBTYPE, unmount};
use fve::shown::ShowPath;
use fve::source::writer_of;

#[derive(Debug, Args)]
pub(crate) struct UnmountArgs {
    /// The directory that the volume is mounted on
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,
}

/// How long a mount may be busy: ntfs-3g lets go of the volume a moment after umount(8) returned.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Most holders that are named.
const MAX_HOLDERS: usize = 8;

impl Run for UnmountArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &UnmountArgs) -> Result<(), Failure> {
    let directory = absolute(&args.directory)?;
    let mounted = MountedAt::find(&directory)?;
    if !mounted.is_ours() {
        return Err(refused(
            format!(
                "{} holds a mount of another kind ({})",
                directory.shown(),
                mounted.kind
            ),
            "end it with umount",
        ));
    }
    let server = mounted.writer();
    let start = Instant::now();
    loop {
        let synced = if mounted.writable {
            sync(&directory)
        } else {
            Ok(())
        };
        match unmount(&directory) {
            Ok(()) => {
                mounted.wait_for_end_of(server);
                return Ok(synced?);
            }
            Err(error) if error.kind() != io::ErrorKind::ResourceBusy => {
                let what = format!("cannot unmount {}", directory.shown());
                return Err(Error::io(what, error).into());
            }
            Err(_) if start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(_) => return Err(busy(&directory, &mounted)),
        }
    }
}

/// Has the server bring everything to the disk while it can still be asked whether it did. One that
/// is gone, or that serves somebody else, cannot.
fn sync(directory: &Path) -> Result<(), Error> {
    let Ok(file) = File::open(directory.join(FILE_NAME)) else {
        return Ok(());
    };
    file.sync_all().map_err(|error| {
        Error::io(
            "the mount is ended, but not everything that was written reached the disk",
            error,
        )
    })
}

fn refused(what: String, help: &str) -> Failure {
    Failure::Other {
        status: Status::Io,
        what,
        help: Some(help.to_owned()),
    }
}

/// The path without links, but without asking the mount itself: its server may be gone.
fn absolute(directory: &Path) -> Result<PathBuf, Failure> {
    let fail = |error| Error::io(format!("cannot find {}", directory.shown()), error);
    let absolute = std::path::absolute(directory).map_err(fail)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize().map_err(fail)?.join(name)),
        _ => Ok(absolute),
    }
}

/// A row of the mount table.
struct MountedAt {
    kind: String,
    device: String,
    source: String,
    writable: bool,
}

impl MountedAt {
    fn find(directory: &Path) -> Result<Self, Failure> {
        let table = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(|error| Error::io("cannot read the mount table", error))?;
        // The last row of a path is the one that is seen.
        table
            .lines()
            .rev()
            .find_map(|row| Self::at(row, directory))
            .ok_or_else(|| {
                refused(
                    format!("nothing is mounted on {}", directory.shown()),
                    "'findmnt -t fuse.fve,fuse' lists what is",
                )
            })
    }

    /// proc(5): device number in column 3, mount point in column 5, options in column 6, and behind
    /// a lone dash type and source of the file system.
    fn at(row: &str, directory: &Path) -> Option<Self> {
        let columns: Vec<_> = row.split(' ').collect();
        let point = unescaped(columns.get(4)?);
        let dash = columns.iter().position(|column| *column == "-")?;
        (Path::new(&point) == directory).then(|| Self {
            kind: columns.get(dash + 1).unwrap_or(&"").to_string(),
            device: columns.get(2).unwrap_or(&"").to_string(),
            source: unescaped(columns.get(dash + 2).unwrap_or(&"")),
            writable: columns
                .get(5)
                .is_some_and(|options| options.split(',').any(|option| option == "rw")),
        })
    }

    /// The process that serves a mount that may be written to, known by its hold on the source.
    fn writer(&self) -> Option<u32> {
        self.writable.then(|| writer_of(&self.source)).flatten()
    }

    /// The kernel lets go of the mount before the server has; whoever pulls the disk out next needs
    /// it to have ended.
    fn wait_for_end_of(&self, server: Option<u32>) {
        while server.is_some() && self.writer() == server {
            std::thread::sleep(PAUSE);
        }
    }

    /// Mounted directly, the subtype does not reach the table.
    fn is_ours(&self) -> bool {
        self.kind == "fuse" || self.kind == format!("fuse.{SUBTYPE}")
    }
}

/// A path of the mount table with its octal escapes undone.
fn unescaped(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let code = behind
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn busy(directory: &Path, mounted: &MountedAt) -> Failure {
    let holders = holders(directory, &mounted.device);
    let what = if holders.is_empty() {
        format!("{} is in use", directory.shown())
    } else {
        format!("{} is in use by {}", directory.shown(), holders.join(", "))
    };
    refused(
        what,
        "end what uses it (a file system mounted from the volume is unmounted first), then try again",
    )
}

/// Processes that hold something below the directory, and loop devices over it.
fn holders(directory: &Path, device: &str) -> Vec<String> {
    let mut holders = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let process = entry.path();
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if holds(&process, directory) {
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            holders.push(format!("{} ({id})", escaped(name.trim())));
        }
    }
    for entry in std::fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten()
    {
        let backing = std::fs::read_to_string(entry.path().join("loop/backing_file"));
        if backing.is_ok_and(|path| Path::new(path.trim_end()).starts_with(directory)) {
            holders.push(format!("/dev/{}", entry.file_name().to_string_lossy()));
        }
    }
    tracing::debug!("device {device} is held by {holders:?}");
    holders.truncate(MAX_HOLDERS);
    holders
}

fn holds(process: &Path, directory: &Path) -> bool {
    let links = std::fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .chain([process.join("cwd"), process.join("root")]);
    links
        .filter_map(|link| std::fs::read_link(link).ok())
        .any(|target| target.starts_with(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_mount_point_with_a_space_in_its_name() {
        let row = r"36 35 0:45 / /mnt/my\040disk ro,nosuid - fuse.fve /dev/sda3 ro";
        let mounted = MountedAt::at(row, Path::new("/mnt/my disk")).unwrap();
        assert!(mounted.is_ours());
        assert_eq!(mounted.device, "0:45");
        assert_eq!(mounted.source, "/dev/sda3");
        assert!(!mounted.writable);
        assert!(MountedAt::at(row, Path::new("/mnt/my")).is_none());
    }
}
