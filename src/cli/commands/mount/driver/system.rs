//! The file systems that other drivers show, and these drivers.
//!
//! Only NTFS, exFAT and FAT: Windows keeps them from using the places of BitLocker's own structures.

use fve::create::Inside;
use fve::error::Error;
use fve::source::ReadAt;

use crate::cli::exit::Status;
use crate::cli::failure::Failure;

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    Ntfs,
    ExFat,
    Fat,
}

/// A program that shows a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    /// The names that it is installed under.
    pub(super) names: &'static [&'static str],
    /// The package of Debian and of most other distributions.
    pub(super) package: &'static str,
    /// Whether it takes block devices only.
    pub(super) needs_device: bool,
    /// Further mount options.
    pub(super) options: &'static str,
}

impl System {
    /// The file system in the plaintext of a volume.
    pub(super) fn in_volume(plaintext: &dyn ReadAt) -> Result<Self, Failure> {
        let mut sector = [0; 512];
        if plaintext.size() >= 512 {
            plaintext
                .read_exact_at(0, &mut sector)
                .map_err(|error| Error::io("cannot read the volume", error))?;
        }
        let has =
            |at: usize, name: &[u8]| sector.get(at..).is_some_and(|rest| rest.starts_with(name));
        if has(3, b"NTFS    ") {
            return Ok(Self::Ntfs);
        }
        if has(3, b"EXFAT   ") {
            return Ok(Self::ExFat);
        }
        if has(510, b"\x55\xAA") && (has(0x36, b"FAT") || has(0x52, b"FAT32")) {
            return Ok(Self::Fat);
        }
        let found = match Inside::of(plaintext, &[])? {
            Inside::Other { found } | Inside::Unknown { found } => found,
            _ if has(3, b"ReFS") => "a ReFS file system".to_owned(),
            _ => "an unknown file system".to_owned(),
        };
        Err(not_supported(&found))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ntfs => "NTFS",
            Self::ExFat => "exFAT",
            Self::Fat => "FAT",
        }
    }

    /// The kernel's drivers, the best first.
    pub(super) fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Ntfs => &["ntfs3", "ntfs"],
            Self::ExFat => &["exfat"],
            Self::Fat => &["vfat"],
        }
    }

    /// The command on Linux that checks and repairs it, if there is one.
    pub(super) fn checker(self) -> Option<&'static str> {
        match self {
            Self::Ntfs => None,
            Self::ExFat => Some("fsck.exfat -a"),
            Self::Fat => Some("fsck.fat -a"),
        }
    }

    /// Mount options for the kernel's drivers beside those for owners. Older drivers do not know all of
    /// them, so those of the first line are tried first.
    pub(super) fn options(self) -> &'static [&'static str] {
        match self {
            // Names that Windows could not use are refused.
            Self::Ntfs => &[
                ",iocharset=utf8,windows_names",
                ",iocharset=utf8",
                ",nls=utf8",
                "",
            ],
            Self::ExFat => &[",iocharset=utf8", ""],
            Self::Fat => &[",utf8=1", ""],
        }
    }

    /// The program for systems whose kernel has no driver.
    pub(super) fn program(self) -> Option<Program> {
        match self {
            Self::Ntfs => Some(Program {
                names: &["ntfs-3g", "mount.ntfs-3g"],
                package: "ntfs-3g",
                needs_device: false,
                options: ",windows_names",
            }),
            Self::ExFat => Some(Program {
                names: &["mount.exfat-fuse"],
                package: "exfat-fuse",
                needs_device: true,
                options: "",
            }),
            Self::Fat => None,
        }
    }
}

/// The failure for a volume that holds something else.
fn not_supported(found: &str) -> Failure {
    Failure::Other {
        status: Status::NotBitLocker,
        what: format!(
            "unsupported: no NTFS, exFAT or FAT file system was found in the volume: it holds {found}"
        ),
        help: Some(
            "mount the decrypted volume as a file, with --volume and without --driver and --read-write"
                .to_owned(),
        ),
    }
}
