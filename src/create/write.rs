//! Writing a new volume: data, then metadata, then the boot record (docs/format.md §7.5).
//!
//! Before the last write, the output is not a BitLocker volume, so an interrupted run leaves
//! nothing that looks like a complete one.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::metadata::Keys;
use super::placement::{self, MOVED_LEN};
use super::{Created, NewProtector, NewVolume};
use crate::crypto::sector::SectorCipher;
use crate::enroll::{uncreatable, unfit};
use crate::error::{Error, Result};
use crate::format::encode::boot::{BootFields, boot_record};
use crate::source::{ReadAt, WriteAt};

/// Bytes encrypted at a time: a multiple of every sector size.
const PIECE: usize = 1 << 20;

/// Encrypts those sectors of a range that are encrypted on this volume.
struct Converter {
    cipher: Box<dyn SectorCipher>,
    encrypted: Vec<Range<u64>>,
}

impl Converter {
    /// Converts the plaintext of the sectors at `address` to the bytes on disk.
    fn convert(&self, address: u64, bytes: &mut [u8]) {
        let end = address + bytes.len() as u64;
        for range in &self.encrypted {
            let (start, stop) = (range.start.max(address), range.end.min(end));
            if start < stop {
                let at = |offset| usize::try_from(offset - address).unwrap_or(usize::MAX);
                self.cipher.encrypt(start, &mut bytes[at(start)..at(stop)]);
            }
        }
    }
}

/// How [`NewVolume::write_to`] works: with how many threads, who is given the progress, and who can
/// cancel it. By default one thread works, and nothing can cancel it.
#[derive(Clone, Copy)]
pub struct WriteJob<'a> {
    threads: usize,
    progress: Option<&'a (dyn Fn(u64) + Sync)>,
    cancelled: Option<&'a AtomicBool>,
}

impl<'a> WriteJob<'a> {
    /// One thread, no report of progress, no way to cancel.
    pub fn new() -> Self {
        Self {
            threads: 1,
            progress: None,
            cancelled: None,
        }
    }

    /// Sets how many threads read, encrypt and write, the calling thread included; 0 means 1.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Calls `progress` after each piece with the number of bytes in it, from any of the threads.
    /// The numbers add up to the length of the volume minus its first 8192 bytes, which are written
    /// last.
    #[must_use]
    pub fn on_progress(mut self, progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Stops with [`Error::Interrupted`] soon after `cancelled` becomes true.
    #[must_use]
    pub fn cancelled_by(mut self, cancelled: &'a AtomicBool) -> Self {
        self.cancelled = Some(cancelled);
        self
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled
            .is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
    }
}

impl Default for WriteJob<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for WriteJob<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteJob")
            .field("threads", &self.threads)
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl NewVolume {
    /// Encrypts `plaintext` into `out`, which has the same size. Everything is on stable storage
    /// when it returns.
    ///
    /// # Errors
    /// [`Error::Uncreatable`] before anything is written, when the sizes differ, the plaintext does
    /// not consist of whole sectors, a place of the metadata is not free, or the key protectors do
    /// not fit together. [`Error::Interrupted`] when the job was cancelled.
    ///
    /// [`Error::Io`] when reading or writing fails: `out` then holds no volume. There is one
    /// exception. When the last write or its flush fails, the boot record is overwritten again; if
    /// that fails as well, `out` may hold the finished volume, now or after the computer restarts,
    /// and the error says so. Keep the credentials until `out` was removed or overwritten.
    pub fn write_to(
        &self,
        plaintext: &dyn ReadAt,
        out: &dyn WriteAt,
        job: &WriteJob<'_>,
    ) -> Result<Created> {
        self.check(plaintext)?;
        let size = plaintext.size();
        if out.size() != size {
            return Err(uncreatable(format!(
                "its content has {size} bytes, and the place for it {}",
                out.size()
            )));
        }
        let keys = Keys::new(self.method.key_len)?;
        let region = self.region(&keys, size)?;
        let moved = self.placement.moved();
        let converter = Converter {
            cipher: self
                .method
                .cipher(&keys.fvek, self.sector_size)
                .ok_or_else(|| uncreatable("no cipher for sectors of this size"))?,
            encrypted: self.stage.encrypted(&moved, size),
        };
        let out = Output(out);
        // The first sectors are read from their new position, so this plaintext must be removed.
        // From here on, an earlier volume in the target cannot be opened any more.
        out.write(0, &[0; MOVED_LEN as usize])?;
        out.flush()?;
        Copy::new(plaintext, &converter, &out, job).run()?;
        self.move_boot_sectors(plaintext, &converter, &out)?;
        self.write_map(plaintext, &out)?;
        out.flush()?;
        for copy in self.placement.copies {
            out.write(copy, &region)?;
        }
        out.flush()?;
        for copy in self.placement.copies {
            out.compare(copy, &region)?;
        }
        out.publish(&self.boot_record()?)?;
        Ok(Created {
            id: self.id,
            size,
            protectors: self.protectors.iter().map(NewProtector::summary).collect(),
        })
    }

    /// All checks that are possible before anything is written.
    ///
    /// # Errors
    /// [`Error::Uncreatable`], and [`Error::Io`] when the plaintext cannot be read.
    pub fn check(&self, plaintext: &dyn ReadAt) -> Result<()> {
        let size = plaintext.size();
        if !size.is_multiple_of(self.sector_size.into()) {
            return Err(uncreatable(format!(
                "the plaintext of {size} bytes does not consist of whole sectors of {} bytes",
                self.sector_size
            )));
        }
        self.check_protectors()?;
        placement::check(&self.ranges(), plaintext, self.sector_size)
    }

    /// The areas that must be zero in the plaintext.
    fn ranges(&self) -> Vec<(&'static str, Range<u64>)> {
        let mut ranges = self.placement.ranges().to_vec();
        if let Some(range) = self.stage.map_range() {
            ranges.push(("the conversion map", range));
        }
        ranges
    }

    /// Writes the first sectors to their new position, encrypted with its address.
    fn move_boot_sectors(
        &self,
        plaintext: &dyn ReadAt,
        converter: &Converter,
        out: &Output<'_>,
    ) -> Result<()> {
        let mut sectors = [0; MOVED_LEN as usize];
        read(plaintext, 0, &mut sectors)?;
        converter.convert(self.placement.moved, &mut sectors);
        out.write(self.placement.moved, &sectors)
    }

    fn write_map(&self, plaintext: &dyn ReadAt, out: &Output<'_>) -> Result<()> {
        let moved = self.placement.moved();
        let structures = self
            .stage
            .map_structures(plaintext, self.sector_size, &moved)?;
        let mut written = structures.iter();
        written.try_for_each(|(at, bytes)| out.write(*at, bytes))
    }

    fn boot_record(&self) -> Result<Vec<u8>> {
        /// Size of an NTFS cluster, the unit of some fields of the boot record.
        const CLUSTER: u32 = 4096;
        boot_record(&BootFields {
            bytes_per_sector: u16::try_from(self.sector_size).unwrap_or(0),
            sectors_per_cluster: u8::try_from(CLUSTER / self.sector_size).unwrap_or(1),
            hidden_sectors: self.hidden_sectors,
            copies: self.placement.copies,
            information: self.stage.information(),
        })
        .map_err(unfit)
    }
}

/// Encrypts everything except the first sectors at the same offsets. Threads take blocks from a
/// shared counter.
struct Copy<'a> {
    plaintext: &'a dyn ReadAt,
    converter: &'a Converter,
    out: &'a Output<'a>,
    job: &'a WriteJob<'a>,
    next: AtomicU64,
    failed: Mutex<Option<Error>>,
    stop: AtomicBool,
}

impl<'a> Copy<'a> {
    fn new(
        plaintext: &'a dyn ReadAt,
        converter: &'a Converter,
        out: &'a Output<'a>,
        job: &'a WriteJob<'a>,
    ) -> Self {
        Self {
            plaintext,
            converter,
            out,
            job,
            next: AtomicU64::new(MOVED_LEN),
            failed: Mutex::new(None),
            stop: AtomicBool::new(false),
        }
    }

    fn run(self) -> Result<()> {
        crate::threads::share(self.job.threads.saturating_sub(1), || self.work());
        let failed = self.failed.into_inner();
        match failed.unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None if self.job.is_cancelled() => Err(Error::Interrupted),
            None => Ok(()),
        }
    }

    fn work(&self) {
        let size = self.plaintext.size();
        let mut piece = vec![0; PIECE];
        while !self.stop.load(Ordering::Relaxed) && !self.job.is_cancelled() {
            let at = self.next.fetch_add(PIECE as u64, Ordering::Relaxed);
            if at >= size {
                return;
            }
            let len = usize::try_from(size - at).unwrap_or(PIECE).min(PIECE);
            match self.transfer(at, &mut piece[..len]) {
                Ok(()) => {
                    if let Some(progress) = self.job.progress {
                        progress(len as u64);
                    }
                }
                Err(error) => {
                    let failed = self.failed.lock();
                    failed
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(error);
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    fn transfer(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        read(self.plaintext, at, bytes)?;
        self.converter.convert(at, bytes);
        self.out.write(at, bytes)
    }
}

fn read(plaintext: &dyn ReadAt, offset: u64, bytes: &mut [u8]) -> Result<()> {
    plaintext
        .read_exact_at(offset, bytes)
        .map_err(|error| Error::io(format!("cannot read the plaintext at {offset:#x}"), error))
}

/// The file or device that becomes the volume.
struct Output<'a>(&'a dyn WriteAt);

impl Output<'_> {
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0
            .write_all_at(offset, bytes)
            .map_err(|error| Error::io(format!("cannot write the volume at {offset:#x}"), error))
    }

    fn flush(&self) -> Result<()> {
        self.0
            .flush()
            .map_err(|error| Error::io("cannot flush the volume", error))
    }

    /// Writes the boot record, which makes the output a volume, and removes it again if that fails.
    fn publish(&self, boot_record: &[u8]) -> Result<()> {
        let written = self.write(0, boot_record).and_then(|()| self.flush());
        written.map_err(|error| {
            let taken_back = self
                .write(0, &vec![0; boot_record.len()])
                .and_then(|()| self.flush());
            match (error, taken_back) {
                (Error::Io { what, source }, Err(_)) => Error::io(
                    format!("{what}; the volume may be complete nevertheless, so keep its credentials until it is removed or overwritten"),
                    source,
                ),
                (error, _) => error,
            }
        })
    }

    /// Reads back and compares what was written.
    fn compare(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let fail = |error| Error::io(format!("cannot read back the volume at {offset:#x}"), error);
        let mut read = vec![0; bytes.len()];
        match self.0.read_exact_at(offset, &mut read) {
            // The file is open only for writing.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
            other => other.map_err(fail)?,
        }
        if read != bytes {
            return Err(fail(io::Error::other("it differs from what was written")));
        }
        Ok(())
    }
}
