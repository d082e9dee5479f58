//! The file or block device that a new volume is made in.
//!
//! A volume that was not completed must not look like one. A file that was created for the volume is
//! removed when the target is dropped, unless [`Target::keep`] was called. For a file that existed, and
//! for a device, the caller calls [`Target::invalidate`]: dropping the target changes nothing there.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::output;
use crate::shown::ShowPath;
use crate::source::{ExclusiveFile, ReadAt, WriteAt};

/// The unit in which the kernel counts the start of a partition, whatever the sector size of the
/// disk is.
const KERNEL_SECTOR: u64 = 512;

/// Length of the boot record, in bytes. Without it no program finds the volume.
const BOOT_RECORD_LEN: usize = 512;

/// Where a new volume is written.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    kind: TargetKind,
    /// `None` until [`Target::prepare`] has created the file.
    file: Option<ExclusiveFile>,
    /// Whether a new file stays when this is dropped.
    kept: bool,
}

/// What a [`Target`] was when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetKind {
    /// Nothing existed at the path.
    NewFile,
    /// A file whose content is overwritten.
    File,
    /// A block device whose content is overwritten.
    Device,
}

impl Target {
    /// Opens and locks the file or block device at `path`; if nothing exists there, only checks
    /// that a file can be created. Nothing is written yet. Whether an existing file or a device may
    /// be overwritten is for the caller to decide first.
    ///
    /// # Errors
    /// As [`ExclusiveFile::open`] and [`output::check_new`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (kind, file) = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                output::check_new(path)?;
                (TargetKind::NewFile, None)
            }
            Err(error) => {
                return Err(Error::io(format!("cannot open {}", path.shown()), error));
            }
            Ok(metadata) => {
                let file = ExclusiveFile::open(path)?;
                match metadata.file_type().is_block_device() {
                    true => (TargetKind::Device, Some(file)),
                    false => (TargetKind::File, Some(file)),
                }
            }
        };
        Ok(Self {
            path: path.to_owned(),
            kind,
            file,
            kept: false,
        })
    }

    /// What it was when it was opened.
    pub fn kind(&self) -> TargetKind {
        self.kind
    }

    /// Size of a device in bytes; `None` for a file, which can have any size.
    pub fn device_size(&self) -> Option<u64> {
        self.device().map(ReadAt::size)
    }

    /// Bytes in a sector of a device; `None` for a file.
    pub fn sector_size(&self) -> Option<u32> {
        self.device()?.sector_size()
    }

    /// How many sectors of `sector_size` bytes lie before a partition on its disk; `None` for
    /// anything but a partition. The boot record names that number, and only Windows' boot code
    /// uses it.
    pub fn hidden_sectors(&self, sector_size: u32) -> Option<u32> {
        let number = self.device()?.path().metadata().ok()?.rdev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let start = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/start"));
        let start: u64 = start.ok()?.trim().parse().ok()?;
        let bytes = start.checked_mul(KERNEL_SECTOR)?;
        u32::try_from(bytes.checked_div(sector_size.into())?).ok()
    }

    fn device(&self) -> Option<&ExclusiveFile> {
        self.file
            .as_ref()
            .filter(|_| self.kind == TargetKind::Device)
    }

    /// Creates a new file, or gives an existing one `size` bytes; a device keeps its size. Returns
    /// what to write to.
    ///
    /// # Errors
    /// As [`ExclusiveFile::create`] and [`ExclusiveFile::resize`].
    pub fn prepare(&mut self, size: u64) -> Result<&ExclusiveFile> {
        let file = match (self.file.take(), self.kind) {
            (None, _) => ExclusiveFile::create(&self.path, size)?,
            (Some(mut file), TargetKind::File | TargetKind::NewFile) => {
                let resized = file.resize(size);
                let file = self.file.insert(file);
                resized?;
                return Ok(file);
            }
            (Some(file), _) => file,
        };
        Ok(self.file.insert(file))
    }

    /// Overwrites the boot record with zeros, so that an incomplete volume, or one whose keys
    /// were not saved, is not found.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written: there may be a volume now, so its keys must be kept.
    pub fn invalidate(&self) -> Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        file.write_all_at(0, &[0; BOOT_RECORD_LEN])
            .and_then(|()| file.flush())
            .map_err(|error| {
                let what = format!("cannot erase the boot record in {}", self.path.shown());
                Error::io(what, error)
            })
    }

    /// The volume is complete: a new file is not removed when this is dropped.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let created = self.kind == TargetKind::NewFile && self.file.is_some();
        if created && !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_a_new_file_unless_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.img");
        for kept in [false, true] {
            let mut target = Target::open(&path).unwrap();
            assert_eq!(target.kind(), TargetKind::NewFile);
            assert!(!path.exists());
            assert_eq!(target.prepare(4096).unwrap().size(), 4096);
            assert!(path.exists());
            match kept {
                true => target.keep(),
                false => drop(target),
            }
            assert_eq!(path.exists(), kept);
        }
    }

    #[test]
    fn keeps_an_existing_file_and_can_erase_its_boot_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("existing.img");
        std::fs::write(&path, [7; 1024]).unwrap();
        let mut target = Target::open(&path).unwrap();
        assert_eq!(target.kind(), TargetKind::File);
        assert_eq!(target.device_size(), None);
        target.prepare(2048).unwrap();
        target.invalidate().unwrap();
        drop(target);
        let content = std::fs::read(&path).unwrap();
        assert_eq!(content.len(), 2048);
        assert_eq!(content[..512], [0; 512]);
        assert_eq!(content[512..1024], [7; 512]);
    }
}
