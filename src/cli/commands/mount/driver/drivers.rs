//! Choosing a driver, and having it mount the file system.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fve::error::Error;
use fve::serve::fuse::unmount;
use fve::shown::ShowPath;
use fve::source::MountEntry;
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountFlags, fsopen};

use super::Choice;
use super::system::{Program, System};
use crate::cli::commands::unmount::is_from;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::loop_device::LoopDevice;
use crate::cli::options::plaintext::warn;
use crate::cli::output::term::escaped;

/// Where programs of the system are beside those in `$PATH`, which may lack them.
const PLACES: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";

/// A driver that this system has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Driver {
    /// One of the kernel, by its name.
    Kernel(&'static str),
    Program {
        path: PathBuf,
        program: Program,
    },
}

impl Driver {
    fn described(&self) -> String {
        match self {
            Self::Kernel(name) => format!("the kernel's driver {name}"),
            Self::Program { path, .. } => path.shown().to_string(),
        }
    }
}

/// The drivers for a file system that this system has and the user allows, the best first.
pub(super) fn of(system: System, choice: Option<Choice>) -> Result<Vec<Driver>, Failure> {
    let program = system.program();
    if choice == Some(Choice::Ntfs3g) && system != System::Ntfs {
        return Err(Failure::Other {
            status: Status::Usage,
            what: format!(
                "the volume holds {}, and ntfs-3g shows NTFS only",
                system.name()
            ),
            help: Some("leave out --driver".to_owned()),
        });
    }
    let mut drivers = Vec::new();
    if choice != Some(Choice::Ntfs3g) {
        let modules = system.modules().iter().filter(|name| kernel_has(name));
        drivers.extend(modules.map(|name| Driver::Kernel(name)));
    }
    if choice != Some(Choice::Kernel)
        && let Some(program) = program
        && let Some(path) = installed(program.names)
    {
        drivers.push(Driver::Program { path, program });
    }
    match drivers.is_empty() {
        false => Ok(drivers),
        true => Err(lacking(system, choice)),
    }
}

fn lacking(system: System, choice: Option<Choice>) -> Failure {
    let module = system.modules().first().copied().unwrap_or_default();
    let program = system.program().filter(|_| choice != Some(Choice::Kernel));
    let (what, way) = match (choice, program) {
        (Some(Choice::Ntfs3g), Some(program)) => (
            "ntfs-3g is not installed".to_owned(),
            format!("install the package {}", program.package),
        ),
        (_, Some(program)) => (
            format!(
                "no driver for {} was found: the kernel has none, and {} is not installed",
                system.name(),
                program.package
            ),
            format!(
                "install the package {}, or a kernel with the module {module}",
                program.package
            ),
        ),
        (_, None) => (
            format!("the kernel has no driver for {}", system.name()),
            format!("use a kernel with the module {module}"),
        ),
    };
    Failure::Other {
        status: Status::Io,
        what,
        help: Some(format!(
            "{way}; or mount it read-only, without --read-write and --driver"
        )),
    }
}

/// Whether the kernel has a driver, which it loads when it is asked for.
fn kernel_has(name: &str) -> bool {
    match fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(_) => true,
        Err(Errno::NODEV) => false,
        // Kernels before 5.2, or a sandbox.
        Err(_) => {
            let listed = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
            listed.lines().any(|line| line.trim() == name)
        }
    }
}

fn installed(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<_> = std::env::split_paths(&path)
        .chain(std::env::split_paths(PLACES))
        .filter(|place| place.is_absolute())
        .collect();
    names
        .iter()
        .flat_map(|name| places.iter().map(move |place| place.join(name)))
        .find(|path| path.is_file())
}

/// Who may use the files.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Access {
    pub(in super::super) uid: u32,
    pub(in super::super) gid: u32,
    pub(in super::super) umask: u16,
}

impl Access {
    /// The options for owners, which all drivers know.
    fn options(self) -> String {
        let Self { uid, gid, umask } = self;
        format!("uid={uid},gid={gid},umask={umask:03o}")
    }

    /// All options for a program.
    fn options_for(self, program: &Program, read_write: bool, no_programs: bool) -> String {
        let access = if read_write { "rw" } else { "ro" };
        let programs = if no_programs { ",noexec" } else { "" };
        let (owners, more) = (self.options(), program.options);
        format!("{access},{owners},nodev,nosuid{programs}{more}")
    }

    /// Whether a directory with this mode gives no user more access than the mask leaves.
    fn allows(self, mode: u32) -> bool {
        mode & u32::from(self.umask) == 0
    }
}

/// Mounting the file system in a volume.
#[derive(Debug)]
pub(super) struct Task {
    /// The file with the volume.
    pub(super) volume: PathBuf,
    /// Where its files are to be shown.
    pub(super) directory: PathBuf,
    pub(super) read_write: bool,
    pub(super) access: Access,
    /// Whether no file may be executed.
    pub(super) no_programs: bool,
    pub(super) system: System,
    /// These are tried in turn.
    pub(super) drivers: Vec<Driver>,
}

/// Why a driver did not do it.
enum Refusal {
    /// Another one may do it: this one can only read, or needs a loop device, and there is none.
    TryNext(Failure),
    Failed(Failure),
}

fn failed(what: impl Into<String>, error: io::Error) -> Refusal {
    Refusal::Failed(Error::io(what, error).into())
}

impl Task {
    /// Has the first driver that can do it mount the file system.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut last = None;
        for driver in &self.drivers {
            match self.mount_with(driver) {
                Ok(()) => {
                    self.warn_of_access(driver);
                    return Ok(());
                }
                Err(Refusal::Failed(failure)) => return Err(failure),
                Err(Refusal::TryNext(failure)) => last = Some(failure),
            }
        }
        Err(last.unwrap_or_else(|| lacking(self.system, None)))
    }

    fn mount_with(&self, driver: &Driver) -> Result<(), Refusal> {
        let said = match driver {
            Driver::Kernel(name) => self.mount_in_kernel(name),
            Driver::Program { path, program } => self.run_program(path, program),
        }?;
        let mounted = MountEntry::at(&self.directory).ok().flatten();
        if !mounted.is_some_and(|entry| is_from(&entry, &self.volume)) {
            return Err(Refusal::Failed(self.failed(driver, &said)));
        }
        if self.read_write && is_read_only(&self.directory) {
            unmount(&self.directory).map_err(|error| Refusal::Failed(error.into()))?;
            let why = match said.lines().next() {
                Some(first) => format!(": {}", escaped(first)),
                None => String::new(),
            };
            return Err(Refusal::TryNext(Failure::Other {
                status: Status::Io,
                what: format!("{} mounts the file system read-only{why}", driver.described()),
                help: Some(
                    "name another driver with --driver, or mount it read-only, without --read-write"
                        .to_owned(),
                ),
            }));
        }
        Ok(())
    }

    fn failed(&self, driver: &Driver, said: &str) -> Failure {
        let why = match said.lines().next() {
            Some(first) => format!(": {}", escaped(first)),
            None => String::new(),
        };
        Failure::Other {
            status: Status::Io,
            what: format!(
                "{} does not mount the {} file system{why}",
                driver.described(),
                self.system.name()
            ),
            help: Some(match driver {
                Driver::Kernel(_) => {
                    "'dmesg' says why; check the file system with chkdsk in Windows, or name another driver with --driver".to_owned()
                }
                Driver::Program { .. } => {
                    "check the file system with chkdsk in Windows, or name another driver with --driver".to_owned()
                }
            }),
        }
    }

    /// Says that the driver gives others more access than it was told to: ntfs3 lets every user change
    /// the top directory, whatever the mask is.
    fn warn_of_access(&self, driver: &Driver) {
        let Ok(found) = rustix::fs::stat(&self.directory) else {
            return;
        };
        if !self.access.allows(found.st_mode) {
            let verb = if self.read_write { "change" } else { "list" };
            warn(&format!(
                "{} lets every user {verb} the directory {} itself, in spite of its permissions; the directories in it are protected",
                driver.described(),
                self.directory.shown()
            ));
        }
    }

    fn mount_in_kernel(&self, name: &'static str) -> Result<String, Refusal> {
        // It stays attached as long as a file system is mounted from it.
        let device = self.attach()?;
        let flags = flags(self.read_write, self.no_programs);
        let mut refused = Errno::INVAL;
        for more in self.system.options() {
            let data = CString::new(self.access.options() + more).map_err(io::Error::from);
            let data = data.map_err(|error| failed("cannot mount", error))?;
            let mounted =
                rustix::mount::mount(device.path(), &self.directory, name, flags, data.as_c_str());
            match mounted {
                Ok(()) => return Ok(String::new()),
                // An option that this kernel does not know, or a damaged file system.
                Err(Errno::INVAL) => {}
                Err(error) => {
                    refused = error;
                    break;
                }
            }
        }
        let error = io::Error::from(refused).to_string();
        Err(Refusal::Failed(self.failed(&Driver::Kernel(name), &error)))
    }

    /// Runs a program that mounts the file system and serves it in the background. Returns what it said.
    fn run_program(&self, path: &Path, program: &Program) -> Result<String, Refusal> {
        let device = match program.needs_device {
            true => Some(self.attach()?),
            false => None,
        };
        let options = self
            .access
            .options_for(program, self.read_write, self.no_programs);
        let output = Command::new(path)
            .arg("-o")
            .arg(options)
            .arg(
                device
                    .as_ref()
                    .map_or(self.volume.as_path(), LoopDevice::path),
            )
            .arg(&self.directory)
            .env_clear()
            .env("PATH", PLACES)
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed(format!("cannot run {}", path.shown()), error))?;
        Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    fn attach(&self) -> Result<LoopDevice, Refusal> {
        let fail = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Refusal::TryNext(Failure::Other {
                status: Status::Io,
                what: "this system has no loop devices".to_owned(),
                help: Some("load the module for them: modprobe loop".to_owned()),
            }),
            _ => failed("cannot attach a loop device to the volume", error),
        };
        let file = OpenOptions::new()
            .read(true)
            .write(self.read_write)
            .open(&self.volume)
            .map_err(|error| failed("cannot open the volume", error))?;
        LoopDevice::attach(&file, !self.read_write).map_err(fail)
    }
}

/// The flags for a driver of the kernel.
fn flags(read_write: bool, no_programs: bool) -> MountFlags {
    let mut flags = MountFlags::NODEV | MountFlags::NOSUID;
    flags.set(MountFlags::RDONLY, !read_write);
    flags.set(MountFlags::NOEXEC, no_programs);
    flags
}

fn is_read_only(directory: &Path) -> bool {
    rustix::fs::statvfs(directory)
        .is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: Access = Access {
        uid: 1000,
        gid: 1001,
        umask: 0o027,
    };

    #[test]
    fn options_of_drivers() {
        assert_eq!(ACCESS.options(), "uid=1000,gid=1001,umask=027");
        let program = System::Ntfs.program().unwrap();
        assert_eq!(
            ACCESS.options_for(&program, true, false),
            "rw,uid=1000,gid=1001,umask=027,nodev,nosuid,windows_names"
        );
        assert_eq!(
            ACCESS.options_for(&program, false, true),
            "ro,uid=1000,gid=1001,umask=027,nodev,nosuid,noexec,windows_names"
        );
        assert_eq!(flags(true, false), MountFlags::NODEV | MountFlags::NOSUID);
        assert!(flags(false, true).contains(MountFlags::RDONLY | MountFlags::NOEXEC));
        // The last try gives the owners alone, which every driver knows.
        for system in [System::Ntfs, System::ExFat, System::Fat] {
            assert_eq!(system.options().last(), Some(&""));
        }
    }

    #[test]
    fn a_driver_may_give_more_access_than_the_mask() {
        assert!(ACCESS.allows(0o040_750));
        // The root directory of ntfs3.
        assert!(!ACCESS.allows(0o040_777));
        assert!(!ACCESS.allows(0o040_755));
    }
}
