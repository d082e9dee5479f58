//! A source with changes that are kept in a file; the source itself is not changed.
//!
//! The file has the format of device-mapper's target `snapshot`, so the kernel can use it, too
//! ([`format`]). It holds bytes of the source as a program writes them, so encrypted ones if the source
//! is a BitLocker volume.

mod binding;
mod changes;
mod format;
mod storage;
mod store;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use self::binding::Binding;
use self::format::{Fault, Geometry, HEADER_LEN};
use self::storage::Storage;
use self::store::{Committer, LoadError, Store};
use super::extent::Extent;
use super::gate::{check_overwrite, open_to_overwrite};
use super::{ReadAt, WriteAt};
use crate::error::{Error, Result};
use crate::output::PartialFile;
use crate::shown::ShowPath;

/// Size of the chunks of a new overlay in bytes: the kernel's default. A change of less than a chunk copies
/// the rest of it.
const CHUNK: u64 = 16 << 10;

/// A source with changes that are kept in a file.
///
/// Any number of threads may read and write. A write is in the file when it returns, and it lasts when
/// [`flush`](WriteAt::flush) has returned or a second has passed: a process that is killed before that
/// loses it. After a power failure, each sector of 512 bytes that was written since the last flush is as it
/// was before or after one of the writes.
///
/// The file is locked while this exists. It belongs to one source, of which it knows the size, the time of the
/// last change and a sample of the content.
pub struct FileOverlay {
    source: Arc<dyn ReadAt>,
    store: Arc<Store<File>>,
    committer: Committer,
    path: PathBuf,
    /// A new file that does not have its name yet.
    unnamed: Mutex<Option<PartialFile>>,
}

impl FileOverlay {
    /// Opens the overlay in the file at `path`, or makes a new one, over `source`, which is what the file
    /// or device at `source_path` contains. A new file gets its name from [`FileOverlay::keep`].
    ///
    /// # Errors
    /// [`Error::OutputRefused`] when the file is no overlay or belongs to another source or to one that
    /// was changed since; [`Error::Environment`] when it is in use or on the source;
    /// [`Error::Io`] when it is damaged or cannot be read.
    pub fn open(path: &Path, source: Arc<dyn ReadAt>, source_path: &Path) -> Result<Self> {
        let extents = [Extent::whole(source_path)];
        let now = Binding::of(source_path, source.as_ref())
            .map_err(|error| Error::io(format!("cannot read {}", source_path.shown()), error))?;
        let (file, geometry, unnamed) = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                check_overwrite(path, &extents, 0)?;
                let (new, geometry) = create(path, &now)?;
                let file = new.file().try_clone();
                (
                    file.map_err(|error| fail(path, error))?,
                    geometry,
                    Some(new),
                )
            }
            Ok(meta) if !meta.is_file() => return Err(refused(path, &Fault::NotAnOverlay)),
            _ => {
                let file = open_to_overwrite(path, &extents, 0)?;
                let geometry = check(path, &file, &now, source_path)?;
                (file, geometry, None)
            }
        };
        let store = Store::load(file, geometry, now.size).map_err(|error| match error {
            LoadError::Fault(fault) => refused(path, &fault),
            LoadError::Io(error) => fail(path, error),
        })?;
        Ok(Self {
            source,
            store: Arc::new(store),
            committer: Committer::default(),
            path: path.to_owned(),
            unnamed: Mutex::new(unnamed),
        })
    }

    /// Gives a new file its name. Without this, it is removed.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written or the name is taken.
    pub fn keep(&self) -> Result<()> {
        let mut unnamed = self.unnamed.lock().unwrap_or_else(PoisonError::into_inner);
        unnamed.take().map_or(Ok(()), PartialFile::finish)
    }

    /// The file with the changes, for the kernel's target `snapshot`, which may use it once this value is
    /// gone. The lock on it lasts until the file is closed, too.
    ///
    /// # Errors
    /// [`Error::Io`] when the system has no more file descriptors.
    pub fn file(&self) -> Result<File> {
        self.store
            .file()
            .try_clone()
            .map_err(|error| fail(&self.path, error))
    }

    /// Prepares the file for the kernel, which does not make it longer: afterwards it is long enough for a change of
    /// everything. That takes no space.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system cannot have such a file.
    pub fn make_room(&self) -> Result<()> {
        self.store
            .make_room(self.source.size())
            .map_err(|error| Error::io(format!("cannot make {} longer", self.path.shown()), error))
    }

    /// Bytes of a chunk, the unit in which the file stores changes.
    pub fn chunk_size(&self) -> u64 {
        self.store.chunk_size()
    }

    /// How many bytes of the source have been changed, in whole chunks.
    pub fn changed(&self) -> u64 {
        self.store.changed()
    }

    fn check_range(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.checked_add(len);
        match end.is_some_and(|end| end <= self.source.size()) {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn log(&self, error: &io::Error) {
        tracing::error!("cannot write the changes to {}: {error}", self.path.shown());
    }
}

fn create(path: &Path, binding: &Binding) -> Result<(PartialFile, Geometry)> {
    let new = PartialFile::create(path, false)?;
    let geometry = Geometry::new(CHUNK).ok_or_else(|| refused(path, &Fault::ChunkSize(0)))?;
    Store::create(new.file(), geometry, &format::header(geometry, binding))
        .map_err(|error| Error::io(format!("cannot write {}", path.shown()), error))?;
    Ok((new, geometry))
}

/// Checks that an existing file is an overlay of the source.
fn check(path: &Path, file: &File, now: &Binding, source: &Path) -> Result<Geometry> {
    let mut header = [0; HEADER_LEN];
    if Storage::len(file).map_err(|error| fail(path, error))? < HEADER_LEN as u64 {
        return Err(refused(path, &Fault::NotAnOverlay));
    }
    Storage::read_exact_at(file, 0, &mut header).map_err(|error| fail(path, error))?;
    let (geometry, was) = format::parse(&header).map_err(|fault| refused(path, &fault))?;
    match was.difference(now) {
        None => Ok(geometry),
        Some(difference) => Err(Error::OutputRefused {
            what: format!(
                "{} holds changes to another source than {}, or that was changed since: {difference}",
                path.shown(),
                source.shown()
            ),
            remedy: Some(
                "open the source that the changes belong to; a copy of it needs the same time of its last change; or name a new file for changes"
                    .into(),
            ),
        }),
    }
}

fn fail(path: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot read {}", path.shown()), error)
}

fn refused(path: &Path, fault: &Fault) -> Error {
    if fault.is_damage() {
        let error = io::Error::new(io::ErrorKind::InvalidData, fault.clone());
        return Error::io(format!("{} is damaged", path.shown()), error);
    }
    Error::OutputRefused {
        what: format!("{} cannot be used for changes: {fault}", path.shown()),
        remedy: Some("name a file that does not exist yet".into()),
    }
}

impl ReadAt for FileOverlay {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn sector_size(&self) -> Option<u32> {
        self.source.sector_size()
    }

    fn readable(&self, offset: u64, len: u64) -> u64 {
        self.source.readable(offset, len)
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.check_range(offset, buf.len() as u64)?;
        self.store.read(self.source.as_ref(), offset, buf)
    }
}

impl WriteAt for FileOverlay {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_range(offset, bytes.len() as u64)?;
        self.committer.start(&self.store);
        self.store.write(self.source.as_ref(), offset, bytes)
    }

    fn flush(&self) -> io::Result<()> {
        // The error itself has the number by which programs tell that the disk is full.
        self.store.commit().inspect_err(|error| self.log(error))
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_range(offset, len)?;
        self.store.discard(offset, len, self.source.size())
    }
}

impl Drop for FileOverlay {
    fn drop(&mut self) {
        if let Err(error) = self.committer.close(&self.store) {
            self.log(&error);
        }
    }
}

impl std::fmt::Debug for FileOverlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileOverlay")
            .field("path", &self.path)
            .field("changed", &self.changed())
            .finish_non_exhaustive()
    }
}
