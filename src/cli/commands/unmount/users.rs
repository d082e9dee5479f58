//! What keeps a mount busy: programs, loop devices, and file systems that were mounted from the volume.

use std::ffi::OsStr;
use std::fs::read_dir;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fve::shown::ShowPath;
use fve::source::MountEntry;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::cli::output::term::escaped;

/// Most programs and devices that a message names.
const MAX_USERS: usize = 8;

/// What uses a mount.
#[derive(Debug, Default)]
pub(super) struct Users {
    programs: Vec<Program>,
    /// Loop devices on the file.
    devices: Vec<PathBuf>,
    /// Directories with file systems from the volume, and mounts over the file.
    mounts: Vec<PathBuf>,
}

/// A program that uses a mount.
#[derive(Debug)]
struct Program {
    /// Its name, and the number of its process.
    described: String,
    /// Its directory in /proc.
    process: PathBuf,
}

/// A file system that another driver mounted from a volume.
#[derive(Debug, Clone, Copy)]
pub(super) struct Files<'a> {
    /// Where it is, or was, mounted.
    pub(super) directory: &'a Path,
    /// Its entry in the mount table, from before it was unmounted.
    pub(super) mounted: Option<&'a MountEntry>,
}

impl Users {
    /// Everything that is seen to use `mounted`. An ordinary user sees only programs of the same user.
    pub(super) fn of(mounted: &MountEntry) -> Self {
        let directory = &mounted.directory;
        let mut users = Self {
            programs: programs(mounted),
            ..Self::default()
        };
        let mut numbers = Vec::new();
        for entry in read_dir("/sys/block").into_iter().flatten().flatten() {
            let backing = std::fs::read(entry.path().join("loop/backing_file"));
            let backing = backing.unwrap_or_default();
            let path = Path::new(OsStr::from_bytes(backing.trim_ascii_end()));
            if path.starts_with(directory) {
                users
                    .devices
                    .push(Path::new("/dev").join(entry.file_name()));
                numbers.extend(devices_in(&entry.path()));
            }
        }
        let made_from_it = |entry: &MountEntry| {
            let source = Path::new(&entry.source);
            let is_inside = entry.directory != *directory && entry.directory.starts_with(directory);
            is_inside
                || source.starts_with(directory)
                || numbers.contains(&entry.device)
                || users.devices.iter().any(|device| source == device)
        };
        users.mounts = MountEntry::list()
            .unwrap_or_default()
            .into_iter()
            .filter(made_from_it)
            .map(|entry| entry.directory)
            .collect();
        // A mount inside another one ends first.
        users.mounts.reverse();
        users
    }

    /// Those of a volume that are left if the file system, which another driver mounted from it, is
    /// unmounted. `device` is its loop device.
    pub(super) fn beside(mut self, files: Files<'_>, device: Option<&Path>) -> Self {
        self.programs
            .retain(|program| !serves(&program.process, files));
        self.devices.retain(|path| Some(path.as_path()) != device);
        self.mounts.retain(|path| path != files.directory);
        self
    }

    /// Whether the driver of the file system or a loop device uses it.
    pub(super) fn has_driver(&self, files: Files<'_>) -> bool {
        let mut programs = self.programs.iter();
        !self.devices.is_empty() || programs.any(|program| serves(&program.process, files))
    }

    /// Whether nothing is seen to use it.
    pub(super) fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.devices.is_empty() && self.mounts.is_empty()
    }

    /// The sentence that names the users, or that there are some.
    pub(super) fn described(&self, directory: &Path) -> String {
        let devices = self.devices.iter().map(|device| device.shown().to_string());
        let mounts = self
            .mounts
            .iter()
            .map(|mount| format!("the mount on {}", mount.shown()));
        let programs = self
            .programs
            .iter()
            .map(|program| program.described.clone());
        let mut named: Vec<_> = programs.chain(devices).collect();
        named.extend(mounts);
        named.truncate(MAX_USERS);
        match named.is_empty() {
            true => format!("{} is in use", directory.shown()),
            false => format!("{} is in use by {}", directory.shown(), named.join(", ")),
        }
    }

    /// What ends the use.
    pub(super) fn how_to_end(&self) -> String {
        let unmount = self
            .mounts
            .iter()
            .map(|mount| format!("umount {}", mount.shown()));
        // umount(8) also detaches a loop device that mount(8) made.
        let detach = self
            .devices
            .iter()
            .filter(|_| self.mounts.is_empty())
            .map(|device| format!("losetup --detach {}", device.shown()));
        let commands: Vec<_> = unmount.chain(detach).collect();
        match (commands.is_empty(), self.programs.is_empty()) {
            (false, _) => format!("first end what uses it: {}", commands.join("; ")),
            (true, false) => "end these programs, or close their files, then try again".to_owned(),
            (true, true) => {
                "end the programs that use it, then try again; only root sees the programs of other users".to_owned()
            }
        }
    }
}

/// Device numbers of a block device and its partitions, from its directory in /sys/block.
fn devices_in(device: &Path) -> Vec<(u32, u32)> {
    let number = |directory: &Path| {
        let text = std::fs::read_to_string(directory.join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let partitions = read_dir(device).into_iter().flatten().flatten();
    let mut numbers: Vec<_> = partitions
        .filter(|entry| entry.path().join("partition").exists())
        .filter_map(|entry| number(&entry.path()))
        .collect();
    numbers.extend(number(device));
    numbers
}

/// Other processes with a file of the mount open or mapped, or with a working directory in it.
fn programs(mounted: &MountEntry) -> Vec<Program> {
    let mut programs = Vec::new();
    for entry in read_dir("/proc").into_iter().flatten().flatten() {
        let process = entry.path();
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if id != std::process::id() && uses(&process, mounted) {
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            programs.push(Program {
                described: format!("{} ({id})", escaped(name.trim())),
                process,
            });
        }
    }
    programs
}

/// Whether a process is the driver of a file system: it has the connection of that open. Kernels that do not
/// say which connection a file is are asked whether the process was started for this mount point. Other
/// FUSE servers may use the volume, too.
fn serves(process: &Path, files: Files<'_>) -> bool {
    let mut is_unknown = false;
    for file in read_dir(process.join("fd")).into_iter().flatten().flatten() {
        if std::fs::read_link(file.path()).is_ok_and(|at| at == Path::new("/dev/fuse")) {
            let about = process.join("fdinfo").join(file.file_name());
            match (connection(&about), files.mounted) {
                (Some(number), Some(mounted)) if number == number_of(mounted) => return true,
                (Some(_), Some(_)) => {}
                _ => is_unknown = true,
            }
        }
    }
    is_unknown && was_started_for(process, files.directory)
}

/// The number of the connection that an open file is, where the kernel says that: that of the device
/// of the file system.
fn connection(about: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(about).ok()?;
    let mut lines = text.lines();
    let number = lines.find_map(|line| line.strip_prefix("fuse_connection:"))?;
    number.trim().parse().ok()
}

/// The device number of a file system as the kernel keeps it.
fn number_of(mounted: &MountEntry) -> u64 {
    const MINOR_BITS: u32 = 20;
    let (major, minor) = mounted.device;
    u64::from(major) << MINOR_BITS | u64::from(minor)
}

/// Whether a directory is one of the arguments of a process.
fn was_started_for(process: &Path, directory: &Path) -> bool {
    let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
    arguments
        .split(|byte| *byte == 0)
        .any(|argument| argument == directory.as_os_str().as_bytes())
}

/// A process in another mount namespace in which a file system is mounted, too: its name and number.
pub(super) fn mounted_elsewhere(device: (u32, u32)) -> Option<String> {
    let namespace = |process: &Path| std::fs::read_link(process.join("ns/mnt")).ok();
    let mut seen = vec![namespace(Path::new("/proc/self"))?];
    let number = format!("{}:{}", device.0, device.1);
    for entry in read_dir("/proc").into_iter().flatten().flatten() {
        let process = entry.path();
        let Some(other) = namespace(&process).filter(|other| !seen.contains(other)) else {
            continue;
        };
        seen.push(other);
        let table = std::fs::read(process.join("mountinfo")).unwrap_or_default();
        let mut rows = table.split(|byte| *byte == b'\n');
        let has_number =
            |row: &[u8]| row.split(|byte| *byte == b' ').nth(2) == Some(number.as_bytes());
        if rows.any(has_number) {
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            let id = entry.file_name();
            return Some(format!(
                "{} ({})",
                escaped(name.trim()),
                id.to_string_lossy()
            ));
        }
    }
    None
}

fn uses(process: &Path, mounted: &MountEntry) -> bool {
    let links = ["fd", "map_files"]
        .into_iter()
        .flat_map(|list| read_dir(process.join(list)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .chain([process.join("cwd"), process.join("root")]);
    links.into_iter().any(|link| leads_into(&link, mounted))
}

/// Whether a link in /proc leads to a file of the mount. One that was opened before the volume was
/// mounted has the same path, but is on another device.
fn leads_into(link: &Path, mounted: &MountEntry) -> bool {
    let inside = std::fs::read_link(link).is_ok_and(|at| at.starts_with(&mounted.directory));
    // The server of the mount, which may not answer, is not asked for its attributes.
    let known = AtFlags::STATX_DONT_SYNC;
    inside
        && match statx(CWD, link, known, StatxFlags::empty()) {
            Ok(found) => (found.stx_dev_major, found.stx_dev_minor) == mounted.device,
            Err(_) => true,
        }
}
