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
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use self::binding::Binding;
use self::format::{Fault, Geometry, HEADER_LEN};
use self::storage::Storage;
use self::store::{Committer, LoadError, Store, copy_at};
use super::extent::Extent;
use super::gate::{check_overwrite, open_to_overwrite};
use super::{ReadAt, WriteAt};
use crate::error::{Error, Result};
use crate::output::{PartialFile, check_new};
use crate::shown::ShowPath;

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
    /// `None` until a new file is made.
    store: OnceLock<Arc<Store<File>>>,
    /// What the source is.
    binding: Binding,
    committer: Committer,
    path: PathBuf,
    was_given_up: bool,
}

impl FileOverlay {
    /// Opens the overlay in the file at `path` over `source`, which is what the file
    /// or device at `source_path` contains. If there is no file, [`FileOverlay::keep`] makes it.
    ///
    /// # Errors
    /// [`Error::OutputRefused`] when the file is no overlay or belongs to another source or to one that
    /// was changed since; [`Error::Environment`] when it is in use or on the source;
    /// [`Error::Io`] when it is damaged, cannot be read or could not be made.
    pub fn open(path: &Path, source: Arc<dyn ReadAt>, source_path: &Path) -> Result<Self> {
        let extents = [Extent::whole(source_path)];
        let binding = Binding::of(source.as_ref())
            .map_err(|error| Error::io(format!("cannot read {}", source_path.shown()), error))?;
        let mut overlay = Self {
            source,
            store: OnceLock::new(),
            binding,
            committer: Committer::default(),
            path: path.to_owned(),
            was_given_up: false,
        };
        match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                check_overwrite(path, &extents, 0)?;
                check_new(path)?;
            }
            Ok(meta) if !meta.is_file() => return Err(refused(path, &Fault::NotAnOverlay)),
            _ => {
                let file = open_to_overwrite(path, &extents, 0)?;
                let found = Found::in_file(path, &file)?;
                check(path, &found.binding, &binding, source_path)?;
                overlay.load(file, found.geometry)?;
                if found.was_given_up {
                    overlay.write_header()?;
                    overlay.was_given_up = true;
                }
            }
        }
        Ok(overlay)
    }

    /// Makes the file if there was none. Before that, nothing can be written.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written; [`Error::OutputRefused`] when there is one meanwhile.
    pub fn keep(&self) -> Result<()> {
        if self.store.get().is_some() {
            return Ok(());
        }
        let (new, geometry) = create(&self.path, &self.binding)?;
        let file = new.file().try_clone();
        let file = file.map_err(|error| fail(&self.path, error))?;
        new.finish()?;
        self.load(file, geometry)
    }

    /// Uses the store in a file.
    fn load(&self, file: File, geometry: Geometry) -> Result<()> {
        let store =
            Store::load(file, geometry, self.binding.size).map_err(|error| match error {
                LoadError::Fault(fault) => refused(&self.path, &fault),
                LoadError::Io(error) => fail(&self.path, error),
            })?;
        let _ = self.store.set(Arc::new(store));
        Ok(())
    }

    /// Writes the header that the kernel has overwritten.
    fn write_header(&self) -> Result<()> {
        let header = self.header();
        let written = self.store().and_then(|store| {
            let file = store.file();
            Storage::write_all_at(file, 0, &header)?;
            Storage::sync(file)
        });
        written.map_err(|error| Error::io(format!("cannot write {}", self.path.shown()), error))
    }

    fn header(&self) -> [u8; HEADER_LEN] {
        format::header(self.geometry(), &self.binding)
    }

    fn geometry(&self) -> Geometry {
        let store = self.store.get();
        store.map_or(Geometry::USUAL, |store| store.geometry())
    }

    fn store(&self) -> io::Result<&Arc<Store<File>>> {
        let missing = || io::Error::other("the file for the changes was not made yet");
        self.store.get().ok_or_else(missing)
    }

    /// The file with the changes, for the kernel's target `snapshot`, which may use it once this value is
    /// gone. The lock on it lasts until the file is closed, too.
    ///
    /// # Errors
    /// [`Error::Io`] when the system has no more file descriptors.
    pub fn file(&self) -> Result<File> {
        let file = self.store().and_then(|store| store.file().try_clone());
        file.map_err(|error| fail(&self.path, error))
    }

    /// Prepares the file for the kernel, which does not make it longer: afterwards it is long enough for a change of
    /// everything. That takes no space where files can be sparse. The kernel gives the file up, and overwrites its header, when it cannot write to it or
    /// cannot read the source; a copy of the header lets [`FileOverlay::open`] open it all the same.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system cannot have such a file.
    pub fn make_room(&self) -> Result<()> {
        let made = self
            .store()
            .and_then(|store| store.make_room(self.source.size(), &self.header()));
        made.map_err(|error| Error::io(format!("cannot make {} longer", self.path.shown()), error))
    }

    /// Whether the kernel had given the file up. The changes until then are there; the last ones can be missing.
    pub fn was_given_up(&self) -> bool {
        self.was_given_up
    }

    /// Bytes of a chunk, the unit in which the file stores changes.
    pub fn chunk_size(&self) -> u64 {
        self.geometry().chunk()
    }

    /// How many bytes of the source have been changed, in whole chunks.
    pub fn changed(&self) -> u64 {
        self.store.get().map_or(0, |store| store.changed())
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
    let geometry = Geometry::USUAL;
    Store::create(new.file(), geometry, &format::header(geometry, binding))
        .map_err(|error| Error::io(format!("cannot write {}", path.shown()), error))?;
    Ok((new, geometry))
}

/// What the header of an existing file says.
struct Found {
    geometry: Geometry,
    binding: Binding,
    was_given_up: bool,
}

impl Found {
    fn in_file(path: &Path, file: &File) -> Result<Self> {
        let len = Storage::len(file).map_err(|error| fail(path, error))?;
        if len < HEADER_LEN as u64 {
            return Err(refused(path, &Fault::NotAnOverlay));
        }
        let parsed_at = |offset| {
            let mut header = [0; HEADER_LEN];
            let read = Storage::read_exact_at(file, offset, &mut header);
            read.map(|()| format::parse(&header))
                .map_err(|error| fail(path, error))
        };
        let (parsed, was_given_up) = match parsed_at(0)? {
            Err(Fault::GivenUp) => (parsed_at(copy_at(len))?.map_err(|_| Fault::GivenUp), true),
            other => (other, false),
        };
        let (geometry, binding) = parsed.map_err(|fault| refused(path, &fault))?;
        Ok(Self {
            geometry,
            binding,
            was_given_up,
        })
    }
}

/// Checks that an existing file is an overlay of the source.
fn check(path: &Path, was: &Binding, now: &Binding, source: &Path) -> Result<()> {
    match was.difference(now) {
        None => Ok(()),
        Some(difference) => Err(Error::OutputRefused {
            what: format!(
                "{} holds the changes of another source, or {} was changed since then: {difference}",
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

    fn modified(&self) -> Option<SystemTime> {
        self.source.modified()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.check_range(offset, buf.len() as u64)?;
        match self.store.get() {
            Some(store) => store.read(self.source.as_ref(), offset, buf),
            None => self.source.read_exact_at(offset, buf),
        }
    }
}

impl WriteAt for FileOverlay {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_range(offset, bytes.len() as u64)?;
        let store = self.store()?;
        self.committer.start(store);
        store.write(self.source.as_ref(), offset, bytes)
    }

    fn flush(&self) -> io::Result<()> {
        // The error itself has the number by which programs tell that the disk is full.
        let committed = self.store.get().map_or(Ok(()), |store| store.commit());
        committed.inspect_err(|error| self.log(error))
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_range(offset, len)?;
        self.store()?.discard(offset, len, self.source.size())
    }
}

impl Drop for FileOverlay {
    fn drop(&mut self) {
        if let Some(store) = self.store.get()
            && let Err(error) = self.committer.close(store)
        {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_the_kernel_gave_up_is_opened_again_with_its_changes() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name| directory.path().join(name);
        let (source, path) = (at("source"), at("changes"));
        std::fs::write(&source, vec![1; 200_000]).unwrap();
        let open = || {
            let bytes: Arc<dyn ReadAt> = Arc::new(crate::source::FileSource::open(&source)?);
            FileOverlay::open(&path, bytes, &source)
        };
        // As the kernel writes it: no more than 16 bytes, and zeros to the end of the chunk.
        let give_up = || {
            let file = File::options().write(true).open(&path).unwrap();
            let mut chunk = [0; 16 << 10];
            chunk[..16].copy_from_slice(&format::header(Geometry::USUAL, &binding())[..16]);
            chunk[4] = 0;
            FileExt::write_all_at(&file, &chunk, 0).unwrap();
        };
        fn binding() -> Binding {
            Binding::of(&vec![0]).unwrap()
        }

        let overlay = open().unwrap();
        assert!(overlay.write_all_at(0, &[2; 512]).is_err());
        assert!(!path.exists());
        overlay.keep().unwrap();
        overlay.write_all_at(100_000, &[2; 512]).unwrap();
        drop(overlay);
        let without_copy = std::fs::read(&path).unwrap();
        give_up();
        assert!(matches!(open(), Err(Error::OutputRefused { .. })));

        std::fs::write(&path, without_copy).unwrap();
        let overlay = open().unwrap();
        overlay.make_room().unwrap();
        let len = path.metadata().unwrap().len();
        assert!(len > 200_000 && len.is_multiple_of(16 << 10));
        overlay.make_room().unwrap();
        assert_eq!(path.metadata().unwrap().len(), len);
        drop(overlay);
        give_up();
        for was_given_up in [true, false] {
            let overlay = open().unwrap();
            assert_eq!(overlay.was_given_up(), was_given_up);
            let mut bytes = [0; 1024];
            overlay.read_exact_at(99_744, &mut bytes).unwrap();
            assert_eq!(
                (bytes[255], bytes[256], bytes[767], bytes[768]),
                (1, 2, 2, 1)
            );
        }
    }
}
