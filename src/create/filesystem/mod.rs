//! File systems from which a volume can be created: their properties, their free clusters, and
//! marking the clusters of the metadata so that the file system never uses them.
//!
//! Each kind is a [`FileSystem`] in its own file, with a row in [`PROBES`]. Changes go into an
//! [`MemoryOverlay`]: the image itself is never written to.
//!
//! Windows is said to mark such clusters bad on FAT and exFAT, and gives them to hidden files on
//! NTFS (docs/format.md §2.7). fve marks them bad on all three: creating files in NTFS would need
//! a complete driver, and no driver uses clusters in the list of bad clusters either. A check that
//! tests bad clusters again (`chkdsk /b`) would free them; docs/creating.md warns about it.

mod bitmap;
mod exfat;
mod fat;
mod ntfs;

use std::ops::Range;

use super::free_space::{Clusters, FreeSpace};
use crate::error::{Error, Remedy, Result};
use crate::files::FileError;
use crate::format::FormatError;
use crate::source::{MemoryOverlay, ReadAt};

/// Properties of a file system.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Its kind, such as `NTFS`.
    pub(super) name: &'static str,
    /// Bytes per sector.
    pub(super) sector_size: u32,
    /// Number of sectors before the partition, as its boot sector says.
    pub(super) hidden_sectors: u32,
    /// Its volume label.
    pub(super) label: Option<String>,
    /// Size in bytes, from the start of the image.
    pub(super) size: u64,
    /// The clusters.
    pub(super) clusters: Clusters,
}

/// A file system that was found to be complete and clean.
pub(super) trait FileSystem {
    fn facts(&self) -> &Facts;

    /// Calls the function with all runs of free clusters, numbered from 0, in ascending order.
    fn free(&self, image: &dyn ReadAt, tell: &mut dyn FnMut(Range<u64>)) -> Result<()>;

    /// Marks clusters as bad, so that the file system never uses them.
    fn reserve(&self, image: &mut Image<'_>, clusters: &[Range<u64>]) -> Result<()>;
}

/// An image with changes.
pub(super) type Image<'a> = MemoryOverlay<&'a dyn ReadAt>;

/// Opens a file system of one kind: `None` if the image holds another one, an error if it cannot be
/// used.
type Probe = fn(&dyn ReadAt) -> Result<Option<Box<dyn FileSystem>>>;

/// FAT comes last, because its boot sector has the weakest signature.
const PROBES: &[Probe] = &[ntfs::open, exfat::open, fat::open];

/// The file system in an image, if its kind is supported.
///
/// # Errors
/// [`Error::Uncreatable`] when it is damaged, was not unmounted cleanly, or is larger than the
/// image; [`Error::Io`].
pub(super) fn open(image: &dyn ReadAt) -> Result<Option<Box<dyn FileSystem>>> {
    for probe in PROBES {
        if let Some(found) = probe(image)? {
            let facts = found.facts();
            if facts.size > image.size() {
                return Err(unusable(
                    format!(
                        "the {} file system has {} bytes, and the image only {}",
                        facts.name,
                        facts.size,
                        image.size()
                    ),
                    "the image is truncated: use a complete one",
                ));
            }
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The free space of a file system.
pub(super) fn free_space(system: &dyn FileSystem, image: &dyn ReadAt) -> Result<FreeSpace> {
    let mut free = FreeSpace::new(system.facts().clusters);
    system.free(image, &mut |clusters| free.add(&clusters))?;
    Ok(free)
}

fn read(image: &dyn ReadAt, offset: u64, len: u64) -> Result<Vec<u8>> {
    /// Limit for a structure that is read at once, much larger than needed.
    const MAX_LEN: u64 = 1 << 21;
    let len = usize::try_from(len.min(MAX_LEN)).unwrap_or(0);
    let mut bytes = vec![0; len];
    image
        .read_exact_at(offset, &mut bytes)
        .map_err(|error| Error::io(format!("cannot read the file system at {offset:#x}"), error))?;
    Ok(bytes)
}

fn change(image: &mut Image<'_>, offset: u64, bytes: &[u8]) -> Result<()> {
    image
        .write(offset, bytes)
        .map_err(|error| Error::io(format!("cannot read the file system at {offset:#x}"), error))
}

fn unusable(what: impl Into<String>, remedy: impl Into<Remedy>) -> Error {
    Error::Uncreatable {
        what: what.into(),
        remedy: Some(remedy.into()),
    }
}

/// An error for a damaged file system.
fn broken(name: &str, what: impl std::fmt::Display) -> Error {
    unusable(
        format!("the {name} file system is damaged: {what}"),
        "repair it first (chkdsk in Windows, or the fsck of its kind)",
    )
}

/// Like [`broken`], for an error of the parser.
fn broken_field(name: &'static str) -> impl Fn(FormatError) -> Error {
    move |fault| broken(name, fault)
}

/// Like [`broken`], for an error of the readers of file systems.
fn damaged(name: &'static str) -> impl Fn(FileError) -> Error {
    move |fault| match fault {
        FileError::Io(error) => Error::io("cannot read the file system", error),
        FileError::Damaged { what } => broken(name, what),
        other => broken(name, other),
    }
}

fn dirty(name: &str, why: &str) -> Error {
    unusable(
        format!("the {name} file system was not unmounted cleanly: {why}"),
        "mount it and unmount it again where it was last used, or check it (chkdsk in Windows, or the fsck of its kind)",
    )
}

/// Joins single clusters, in ascending order, to runs.
#[derive(Default)]
struct Runs(Option<Range<u64>>);

impl Runs {
    fn add(&mut self, number: u64, tell: &mut dyn FnMut(Range<u64>)) {
        match &mut self.0 {
            Some(run) if run.end == number => run.end += 1,
            _ => {
                self.finish(tell);
                self.0 = Some(number..number + 1);
            }
        }
    }

    fn finish(&mut self, tell: &mut dyn FnMut(Range<u64>)) {
        if let Some(run) = self.0.take() {
            tell(run);
        }
    }
}
