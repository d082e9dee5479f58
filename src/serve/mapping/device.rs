//! Making a mapping in the kernel.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};
use rustix::fs::{major, minor};
use rustix::io::Errno;

use super::libdevmapper::{self, Failed, Kind, Target};
use super::{KeyText, Table};
use crate::error::{Error, Remedy, Result};
use crate::guid::Guid;
use crate::shown::ShowPath;
use crate::volume::Fvek;

/// What the identifiers of mappings of BitLocker volumes begin with, those of cryptsetup too: so
/// `cryptsetup status` and `cryptsetup close` know the mapping, and `lsblk` says that it decrypts.
pub(super) const BITLOCKER: &str = "CRYPT-BITLK-";

/// Longest name in bytes (DM_NAME_LEN in `linux/dm-ioctl.h`, without the zero at its end), and longest
/// identifier (DM_UUID_LEN).
const MAX_NAME: usize = 127;
pub(super) const MAX_UUID: usize = 128;

/// A mapping to make, read-only unless [`Mapping::writable`] says otherwise.
#[derive(Debug)]
pub struct Mapping<'a> {
    name: &'a str,
    volume: Option<Guid>,
    table: &'a Table,
    device: &'a Path,
    fvek: Option<&'a Fvek>,
    read_only: bool,
}

/// The path of the mapping with this name.
pub fn device_path(name: &str) -> PathBuf {
    PathBuf::from("/dev/mapper").join(name)
}

/// Checks that a mapping can have this name: at most 127 letters, digits and `#+-.:=@_` of ASCII, as in
/// libdevmapper.
///
/// # Errors
/// [`Error::Environment`] with the reason.
pub fn check_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"#+-.:=@_".contains(&byte);
    let is_path = [".", "..", "control"].contains(&name);
    match (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits) && !is_path {
        true => Ok(()),
        false => Err(Error::environment(
            "a mapping cannot have this name: it must consist of 1 to 127 letters, digits and #+-.:=@_",
        )),
    }
}

impl<'a> Mapping<'a> {
    /// A mapping with the name that it gets in /dev/mapper, and what it consists of. `device` is the path of
    /// the device below it.
    pub fn new(name: &'a str, table: &'a Table, device: &'a Path) -> Self {
        Self {
            name,
            volume: None,
            table,
            device,
            fvek: None,
            read_only: true,
        }
    }

    /// The identifier of the volume, which becomes a part of that of the mapping.
    #[must_use]
    pub fn volume(mut self, id: Option<Guid>) -> Self {
        self.volume = id;
        self
    }

    /// The key of the sectors; `None` if nothing is encrypted.
    #[must_use]
    pub fn fvek(mut self, fvek: Option<&'a Fvek>) -> Self {
        self.fvek = fvek;
        self
    }

    /// Whether the mapping can be written to.
    #[must_use]
    pub fn writable(mut self, writable: bool) -> Self {
        self.read_only = !writable;
        self
    }

    /// Makes the mapping, and returns the path of its device. The key is in the kernel's keyring of this
    /// thread until dm-crypt has copied it, and in no text.
    ///
    /// # Errors
    /// [`Error::OutputRefused`] when the name is taken; [`Error::Environment`] when libdevmapper cannot be
    /// loaded, and when the kernel has no device-mapper; [`Error::Io`] when the kernel refuses the mapping,
    /// as when the device is in use; [`Error::Unsupported`] when the key is not one for the table.
    pub fn make(&self) -> Result<PathBuf> {
        check_free(self.name)?;
        let path = device_path(self.name);
        let device = numbers(self.device)?;
        if !self.table.fits(self.fvek) {
            return Err(Error::unsupported(format!(
                "cannot map {}: the key is not one for this table",
                self.device.shown()
            )));
        }
        let description = format!("fve:{}", self.name);
        let _key = self
            .fvek
            .map(|fvek| KeyForThread::add(&description, fvek))
            .transpose()
            .map_err(|error| {
                Error::io(
                    "cannot give the key to the kernel's keyring",
                    io::Error::other(error.to_string()),
                )
            })?;
        let text = KeyText::Keyring {
            kind: "user",
            description: &description,
        };
        let targets: Vec<Target<'_>> = self
            .table
            .targets
            .iter()
            .map(|target| {
                let (kind, parameters) = self.table.parameters(target, &device, text);
                let len = target.range.end - target.range.start;
                (
                    target.range.start,
                    len,
                    kind,
                    parameters.as_str().to_owned(),
                )
            })
            .collect();
        let fail = |failed| {
            self::failed(
                format!("cannot map {} as {}", self.device.shown(), path.shown()),
                failed,
            )
        };
        let kind = match self.read_only {
            true => Kind::ReadOnly,
            false => Kind::Writable,
        };
        libdevmapper::create(self.name, &self.uuid(), kind, &targets).map_err(fail)?;
        Ok(path)
    }

    fn uuid(&self) -> String {
        let volume = self.volume.map_or_else(String::new, |id| {
            format!("{id:X}").replace('-', "").to_lowercase()
        });
        let mut uuid = format!("{BITLOCKER}{volume}-{}", self.name);
        uuid.truncate(MAX_UUID);
        uuid
    }
}

/// Checks that no mapping has this name.
///
/// # Errors
/// Those of [`Mapping::make`].
pub fn check_free(name: &str) -> Result<()> {
    check_name(name)?;
    match known(name)? {
        Some(_) => Err(name_taken(name, "choose another name".into())),
        None => Ok(()),
    }
}

pub(super) fn name_taken(name: &str, remedy: Remedy) -> Error {
    Error::OutputRefused {
        what: format!("there is a device {} already", device_path(name).shown()),
        remedy: Some(remedy),
    }
}

/// The numbers of a device, as tables have them: a path may contain characters that they cannot.
pub(super) fn numbers(device: &Path) -> Result<String> {
    let cannot = |error| Error::io(format!("cannot map {}", device.shown()), error);
    let found = std::fs::metadata(device).map_err(cannot)?;
    if !found.file_type().is_block_device() {
        return Err(cannot(io::Error::other("it is no block device")));
    }
    Ok(format!("{}:{}", major(found.rdev()), minor(found.rdev())))
}

/// What is known of a device. This is the first request to the kernel for each mapping.
pub(super) fn known(name: &str) -> Result<Option<libdevmapper::Known>> {
    let what = "cannot look for the mapping";
    libdevmapper::known(name).map_err(|error| match error {
        Failed::System(error) if lacks_device_mapper(&error) => {
            tracing::debug!("{what}: {error}");
            Error::environment(format!("{what}: this kernel has no device-mapper")).with_remedy(
                "load its module ('modprobe dm-crypt'), or show the volume without the kernel",
            )
        }
        error => failed(what.to_owned(), error),
    })
}

/// Whether the kernel has no device-mapper. The node for requests to it may exist all the same.
fn lacks_device_mapper(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    let has_node = Path::new("/dev/mapper/control").exists();
    !has_node || matches!(code, Some(Errno::NODEV | Errno::NXIO))
}

pub(super) fn failed(what: String, error: Failed) -> Error {
    match error {
        Failed::NoLibrary(why) => Error::environment(format!("{what}: {why}")).with_remedy(
            "install libdevmapper: 'apt install libdevmapper1.02.1', or the package device-mapper-libs",
        ),
        Failed::System(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT) => Error::environment(format!(
                "{what}: the kernel lacks dm-crypt or a cipher that the volume needs"
            ))
            .with_remedy("load the module ('modprobe dm-crypt'), or show the volume without the kernel"),
            Some(Errno::INVAL) => Error::environment(format!("{what}: the kernel refuses the table"))
                .with_remedy("'dmesg' shows the kernel's reason"),
            Some(Errno::NOKEY) => {
                Error::io(format!("{what}: the kernel did not find the key"), error)
            }
            _ => Error::io(what, error),
        },
    }
}

/// A key in the keyring of this thread, which no other program sees. The kernel removes it with this value.
struct KeyForThread {
    keyring: KeyRing,
    key: linux_keyutils::Key,
}

impl KeyForThread {
    fn add(description: &str, fvek: &Fvek) -> Result<Self, KeyError> {
        let keyring = KeyRing::from_special_id(KeyRingIdentifier::Thread, true)?;
        let used = fvek.used();
        let key = keyring.add_key(description, used.expose())?;
        Ok(Self { keyring, key })
    }
}

impl Drop for KeyForThread {
    fn drop(&mut self) {
        // Revoking it wipes its content; it is gone with the last link.
        let _ = self.key.revoke();
        let _ = self.keyring.unlink_key(self.key);
    }
}
