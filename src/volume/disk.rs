//! A disk, and all BitLocker volumes on it.

use std::path::Path;
use std::sync::Arc;

use super::Volume;
use crate::error::{Candidate, Error, Result};
use crate::source::partition::{self, PartitionTable};
use crate::source::{self, ReadAt, Window};

/// A disk with any number of BitLocker volumes: in partitions, or one that fills it.
///
/// ```no_run
/// # fn main() -> fve::Result<()> {
/// let disk = fve::Disk::open("disk.vhdx")?;
/// for candidate in disk.volumes()? {
///     println!("{candidate}");
///     let volume = disk.open_volume(&candidate)?;
///     for protector in volume.protectors() {
///         println!("  {}", protector.kind().name());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Disk {
    source: Arc<dyn ReadAt>,
    container: Option<&'static str>,
}

impl Disk {
    /// Opens an image file, a block device, or with the feature `containers` a disk-image container,
    /// for reading.
    ///
    /// # Errors
    /// Those of [`source::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let (source, container) = source::open(path)?;
        Ok(Self { source, container })
    }

    /// A disk whose bytes are those of `source`.
    pub fn from_source(source: impl ReadAt + 'static) -> Self {
        Self {
            source: Arc::new(source),
            container: None,
        }
    }

    /// Name of the container format that the disk is in; `None` for a raw image or a device.
    pub fn container(&self) -> Option<&'static str> {
        self.container
    }

    /// The bytes of the disk.
    pub fn source(&self) -> &Arc<dyn ReadAt> {
        &self.source
    }

    /// The partition table; `None` where the disk has none. It says whether it may lack partitions.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read.
    pub fn partitions(&self) -> Result<Option<PartitionTable>> {
        let table = partition::read(self.source.as_ref());
        table.map_err(|error| Error::io("cannot read the partition table", error))
    }

    /// All BitLocker volumes: the one that fills the disk, or those in partitions, in the order of
    /// the table. A partition whose first sector cannot be read is listed too
    /// ([`Candidate::read_error`]): a volume may begin there.
    ///
    /// # Errors
    /// [`Error::Io`] when the first sector of the disk or its partition table cannot be read.
    pub fn volumes(&self) -> Result<Vec<Candidate>> {
        source::candidates(&self.source, &Volume::probe)
    }

    /// Opens one of the volumes, for reading.
    ///
    /// # Errors
    /// Those of [`Volume::from_source`]: [`Error::Io`] for a candidate that cannot be read.
    pub fn open_volume(&self, candidate: &Candidate) -> Result<Volume> {
        let start = u64::try_from(candidate.offset).map_err(|_| {
            Error::not_bitlocker("the volume begins before the source, which lacks its first bytes")
        })?;
        let len = candidate.len.unwrap_or(u64::MAX);
        Volume::from_source(Window::new(self.source.clone(), start, len))
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk")
            .field("size", &self.source.size())
            .field("container", &self.container)
            .finish_non_exhaustive()
    }
}
