//! Writing the whole decrypted volume, or a file of the file system in it, to a file or a stream.
//!
//! Threads take pieces from a shared counter; each reads, decrypts and writes its piece at the same
//! offset. Zeros become holes. The bytes that a truncated image lacks are reported as missing; bytes
//! that a failing disk cannot read can be skipped in the same way.

mod input;
mod map;
#[cfg(target_os = "linux")]
mod pipe;
mod stream;
mod target;
mod written;

pub use self::map::ddrescue_map;
pub use self::written::Written;

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use sha2::{Digest, Sha256};

use self::input::Input;
use self::stream::{Copied, Sink};
use self::target::{AlignedBuffer, Target};
use self::written::Account;
use crate::error::Error;
use crate::files::Content;
use crate::volume::Unlocked;

/// Bytes that a thread transfers at a time. Measured: 128 KiB to 1 MiB are equally fast, 4 MiB is
/// slower.
const PIECE: u64 = 1 << 20;

/// How often the progress is recorded ([`Export::record`]). The output is flushed each time before.
const RECORD_EVERY: Duration = Duration::from_secs(10);

/// Why the output is not complete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// The volume could not be read.
    #[error(transparent)]
    Read(#[from] Error),
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Write(io::Error),
    /// The function that [`Export::record`] sets failed.
    #[error("cannot record the progress: {0}")]
    Record(io::Error),
    /// The flag that [`Export::cancelled_by`] sets became true.
    #[error("interrupted")]
    Interrupted,
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Read(error) => error,
            Failed::Write(error) => Self::io("cannot write the output", error),
            Failed::Record(error) => Self::io("cannot record the progress", error),
            Failed::Interrupted => Self::Interrupted,
        }
    }
}

type Result<T, E = Failed> = std::result::Result<T, E>;

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Length of the output in bytes.
    pub len: u64,
    /// Byte ranges of the volume that are missing: beyond the end of a truncated image, in sectors of
    /// which it is not known whether they are encrypted, or unreadable and skipped. Those within the
    /// output are zeros there.
    pub missing: Vec<Range<u64>>,
    /// SHA-256 of the output, if [`Export::hash`] asked for it and one run wrote all of it.
    pub sha256: Option<[u8; 32]>,
}

impl Exported {
    /// How many bytes of the volume are missing.
    pub fn missing_bytes(&self) -> u64 {
        self.missing
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }
}

/// What to do with zeros in the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Zeros {
    /// Leave them out: the output is a new file, which reads as zeros where nothing was written.
    Holes,
    /// Write them: the output is a device, or a file with content.
    Written,
}

/// A function that receives which part of an output is on stable storage.
pub type Recorder<'a> = dyn Fn(&Written) -> io::Result<()> + Sync + 'a;

/// Writes a volume's plaintext to a file or stream. Made with [`Export::new`] or [`Export::of_file`]; the
/// other methods that return it set options.
pub struct Export<'a> {
    input: Input<'a>,
    zeros: Zeros,
    threads: usize,
    hash: bool,
    skip_unreadable: bool,
    progress: &'a (dyn Fn(u64) + Sync),
    cancelled: Option<&'a AtomicBool>,
    earlier: Written,
    record: Option<&'a Recorder<'a>>,
}

impl<'a> Export<'a> {
    /// An export to a new file, from its first byte, with a thread for each core.
    pub fn new(volume: &'a Unlocked) -> Self {
        Self::of(Input::Volume(volume))
    }

    /// The same for the content of a file. It is written whole or fails: nothing of it is skipped or
    /// missing.
    pub fn of_file(content: &'a dyn Content) -> Self {
        Self::of(Input::File(content))
    }

    fn of(input: Input<'a>) -> Self {
        Self {
            input,
            zeros: Zeros::Holes,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            hash: false,
            skip_unreadable: false,
            progress: &|_| {},
            cancelled: None,
            earlier: Written::default(),
            record: None,
        }
    }

    /// Sets what to do with zeros when writing to a file.
    #[must_use]
    pub fn zeros(mut self, zeros: Zeros) -> Self {
        self.zeros = zeros;
        self
    }

    /// Sets how many threads read, decrypt and write a file. A stream is written by one.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets whether to compute the SHA-256 of the output ([`Exported::sha256`]).
    #[must_use]
    pub fn hash(mut self, hash: bool) -> Self {
        self.hash = hash;
        self
    }

    /// Sets whether to skip sectors that the source cannot read.
    #[must_use]
    pub fn skip_unreadable(mut self, skip: bool) -> Self {
        self.skip_unreadable = skip;
        self
    }

    /// Calls `progress` with the number of bytes of each piece that is done, from any thread.
    #[must_use]
    pub fn progress(mut self, progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        self.progress = progress;
        self
    }

    /// Stops with [`Failed::Interrupted`] soon after `cancelled` becomes true.
    #[must_use]
    pub fn cancelled_by(mut self, cancelled: &'a AtomicBool) -> Self {
        self.cancelled = Some(cancelled);
        self
    }

    /// Continues an earlier run that wrote this part of the same file.
    #[must_use]
    pub fn resume(mut self, earlier: Written) -> Self {
        self.earlier = earlier;
        self
    }

    /// Calls `record` every ten seconds, and when an export ends early, with the part of the file
    /// that is on stable storage.
    #[must_use]
    pub fn record(mut self, record: &'a Recorder<'a>) -> Self {
        self.record = Some(record);
        self
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled
            .is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
    }

    /// Writes the volume to a file of its size.
    ///
    /// # Errors
    /// [`Failed`]; the output is then incomplete.
    pub fn to_file(&self, output: &File) -> Result<Exported> {
        let len = self.input.available();
        let is_resumed = self.earlier.len > 0;
        let is_sparse = self.input.has_holes();
        let target = Target::new(output, len, self.zeros, is_resumed, is_sparse);
        let target = target.map_err(Failed::Write)?;
        let job = Job {
            export: self,
            output: target,
            len,
            next: AtomicU64::new(self.earlier.len),
            stop: AtomicBool::new(false),
            account: Mutex::new(Account::new(&self.earlier)),
            failed: Mutex::new(None),
            hashed: Mutex::new((0, Sha256::new())),
            hashes: self.hash && !is_resumed,
            turn: Condvar::new(),
        };
        std::thread::scope(|scope| {
            let (at_work, ended) = channel::<()>();
            let job = &job;
            if self.record.is_some() {
                // Without this thread, the progress is recorded only at the end.
                let _ = std::thread::Builder::new()
                    .spawn_scoped(scope, move || job.record_until(&ended, output));
            }
            crate::threads::share(self.threads.saturating_sub(1), || job.work());
            drop(at_work);
        });
        job.result(output)
    }

    /// Writes the volume to a stream, in order. Missing bytes before the end become zeros.
    ///
    /// # Errors
    /// As [`Export::to_file`].
    pub fn to_stream(&self, output: &mut dyn Write) -> Result<Exported> {
        self.in_order(&mut Copied::new(output))
    }

    /// Writes the volume to an open file, in order, from its position on. If the file is a pipe, its reader gets the
    /// memory with the plaintext instead of a copy, which is faster than [`Export::to_stream`]. Missing bytes
    /// before the end become zeros.
    ///
    /// # Errors
    /// As [`Export::to_file`].
    pub fn to_pipe(&self, output: BorrowedFd<'_>) -> Result<Exported> {
        #[cfg(target_os = "linux")]
        if let Some(mut pipe) = pipe::Pipe::new(output) {
            return self.in_order(&mut pipe);
        }
        let mut output = File::from(output.try_clone_to_owned().map_err(Failed::Write)?);
        self.to_stream(&mut output)
    }

    fn in_order(&self, sink: &mut dyn Sink) -> Result<Exported> {
        let len = self.input.available();
        let mut missing = Vec::new();
        let mut hash = Sha256::new();
        for start in (0..len).step_by(PIECE as usize) {
            if self.is_cancelled() {
                return Err(Failed::Interrupted);
            }
            let piece_len = PIECE.min(len - start) as usize;
            let piece = sink.buffer(piece_len).map_err(Failed::Write)?;
            missing.extend(self.read_piece(start, piece)?);
            if self.hash {
                hash.update(&*piece);
            }
            sink.send(piece_len).map_err(Failed::Write)?;
            (self.progress)(piece_len as u64);
        }
        sink.finish().map_err(Failed::Write)?;
        let hash = self.hash.then_some(hash);
        Ok(self.finished(len, missing, hash))
    }

    /// Fills `piece`, sector by sector if it cannot be read as a whole. Missing sectors become zeros
    /// and are returned. An error is about the first sector that cannot be read.
    fn read_piece(&self, start: u64, piece: &mut [u8]) -> Result<Vec<Range<u64>>> {
        let skips =
            |error: &Error| is_missing(error) || (self.skip_unreadable && is_unreadable(error));
        let sector = match (
            self.input.read_exact_at(start, piece),
            self.input.smallest_part(),
        ) {
            (Ok(()), _) => return Ok(Vec::new()),
            (Err(error), Some(sector)) if skips(&error) || is_unreadable(&error) => sector,
            (Err(error), _) => return Err(error.into()),
        };
        let mut missing: Vec<Range<u64>> = Vec::new();
        for (at, part) in (start..).step_by(sector).zip(piece.chunks_mut(sector)) {
            match self.input.read_exact_at(at, part) {
                Ok(()) => {}
                Err(error) if !skips(&error) => return Err(error.into()),
                Err(_) => {
                    part.fill(0);
                    missing.push(at..at + part.len() as u64);
                }
            }
        }
        Ok(missing)
    }

    /// Adds the range beyond the end of a truncated image, and joins adjacent ranges.
    fn finished(&self, len: u64, mut missing: Vec<Range<u64>>, hash: Option<Sha256>) -> Exported {
        if len < self.input.size() {
            missing.push(len..self.input.size());
        }
        missing.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in missing {
            match joined.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => joined.push(range),
            }
        }
        Exported {
            len,
            missing: joined,
            sha256: hash.map(|hash| hash.finalize().into()),
        }
    }
}

impl std::fmt::Debug for Export<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export")
            .field("zeros", &self.zeros)
            .field("threads", &self.threads)
            .field("hash", &self.hash)
            .field("skip_unreadable", &self.skip_unreadable)
            .field("earlier", &self.earlier)
            .finish_non_exhaustive()
    }
}

/// An export to a file, shared by its threads.
struct Job<'a> {
    export: &'a Export<'a>,
    output: Target<'a>,
    len: u64,
    next: AtomicU64,
    stop: AtomicBool,
    account: Mutex<Account>,
    failed: Mutex<Option<Failed>>,
    /// The hash, and the number of bytes in it. They are added in order.
    hashed: Mutex<(u64, Sha256)>,
    hashes: bool,
    turn: Condvar,
}

impl Job<'_> {
    fn work(&self) {
        let mut buffer = AlignedBuffer::new(PIECE as usize);
        let buf = buffer.bytes();
        while !self.stop.load(Ordering::Relaxed) && !self.export.is_cancelled() {
            let start = self.next.fetch_add(PIECE, Ordering::Relaxed);
            if start >= self.len {
                return;
            }
            let piece = piece_at(buf, start, self.len);
            match self.transfer(start, piece) {
                Ok(()) => (self.export.progress)(piece.len() as u64),
                Err(error) => self.fail(error),
            }
        }
    }

    /// Makes all threads stop. The first error is the one that is reported.
    fn fail(&self, error: Failed) {
        lock(&self.failed).get_or_insert(error);
        self.stop.store(true, Ordering::Relaxed);
        self.turn.notify_all();
    }

    /// Records the progress at intervals, until all threads have ended.
    fn record_until(&self, ended: &Receiver<()>, output: &File) {
        while ended.recv_timeout(RECORD_EVERY) == Err(RecvTimeoutError::Timeout) {
            if let Err(error) = self.record(output) {
                self.fail(error);
            }
        }
    }

    fn record(&self, output: &File) -> Result<()> {
        let Some(record) = self.export.record else {
            return Ok(());
        };
        let written = lock(&self.account).written();
        // The record must not claim bytes that a power failure would lose.
        output.sync_data().map_err(Failed::Write)?;
        record(&written).map_err(Failed::Record)
    }

    fn transfer(&self, start: u64, piece: &mut [u8]) -> Result<()> {
        let end = start + piece.len() as u64;
        let mut missing = Vec::new();
        if self.export.input.is_hole(&(start..end)) {
            piece.fill(0);
        } else {
            missing = self.export.read_piece(start, piece)?;
        }
        self.output.write(start, piece).map_err(Failed::Write)?;
        lock(&self.account).add(start..end, missing);
        if self.hashes {
            self.hash_in_order(start, piece);
        }
        Ok(())
    }

    /// Waits until all bytes before `start` are in the hash, then adds `piece`.
    fn hash_in_order(&self, start: u64, piece: &[u8]) {
        let mut hashed = lock(&self.hashed);
        while hashed.0 != start {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            // With a timeout, because `stop` may be set between the check above and the wait.
            let waited = self.turn.wait_timeout(hashed, Duration::from_millis(100));
            hashed = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        hashed.1.update(piece);
        hashed.0 += piece.len() as u64;
        drop(hashed);
        self.turn.notify_all();
    }

    fn result(self, output: &File) -> Result<Exported> {
        let failed = lock(&self.failed).take();
        let written = lock(&self.account).written();
        if failed.is_some() || written.len < self.len {
            let recorded = self.record(output);
            return Err(match failed {
                Some(error) => error,
                None => recorded.err().unwrap_or(Failed::Interrupted),
            });
        }
        let hashed = self.hashed.into_inner();
        let (_, hash) = hashed.unwrap_or_else(PoisonError::into_inner);
        let hash = self.hashes.then_some(hash);
        Ok(self.export.finished(self.len, written.missing, hash))
    }
}

/// Locks even if a thread panicked while it held the lock: what is inside is consistent all the same.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn piece_at(buf: &mut [u8], start: u64, len: u64) -> &mut [u8] {
    let piece = (len - start).min(buf.len() as u64) as usize;
    &mut buf[..piece]
}

/// Whether the bytes do not exist or cannot be decrypted, rather than that the medium fails.
fn is_missing(error: &Error) -> bool {
    match error {
        Error::Unreadable { .. } => true,
        Error::Io { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
        _ => false,
    }
}

/// Whether the source is present but cannot read these bytes. If the source itself is gone, skipping
/// sectors is pointless.
fn is_unreadable(error: &Error) -> bool {
    let gone = [Errno::NODEV, Errno::NXIO, Errno::NOTCONN, Errno::STALE];
    match error {
        Error::Io { source, .. } => {
            let code = source.raw_os_error();
            !gone.iter().any(|gone| code == Some(gone.raw_os_error()))
        }
        _ => false,
    }
}
