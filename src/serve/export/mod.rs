//! Writing the whole decrypted volume to a file or a stream.
//!
//! Threads take pieces from a counter; each reads, decrypts and writes at its own offset. Pieces of
//! zeros become holes. What a cut-off image does not hold is left out and counted, never invented;
//! what a failing medium does not give can be skipped in the same way.

mod map;
mod target;

pub use map::ddrescue_map;

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use sha2::{Digest, Sha256};

use self::target::{AlignedBuffer, Target};
use crate::error::{Error, Result};
use crate::volume::Unlocked;

/// Bytes that a thread takes at a time: 128 KiB to 1 MiB are alike, more is slower (performance
/// page, section 5).
const PIECE: u64 = 1 << 20;

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// Length of the output in bytes.
    pub len: u64,
    /// Stretches of the volume that could not be had: beyond the end of a cut-off image, not to be
    /// known, or unreadable where those are skipped. Within the output they are zeros.
    pub missing: Vec<Range<u64>>,
    /// SHA-256 of the output, where it was asked for.
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

/// How the output takes zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeros {
    /// They are left out: the output is a new file, which reads as zeros where nothing was written.
    Holes,
    /// They are written: the output is a device, or holds something already.
    Written,
}

/// How to write the volume.
pub struct Export<'a> {
    /// What is written.
    pub volume: &'a Unlocked,
    /// How a file takes zeros.
    pub zeros: Zeros,
    /// How many threads read, decrypt and write a file.
    pub threads: usize,
    /// Whether the SHA-256 of all that is written is computed on the way.
    pub hash: bool,
    /// Whether to go on where the source cannot be read, sector by sector.
    pub skip_unreadable: bool,
    /// Is told of bytes done.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

impl Export<'_> {
    /// Writes the volume to a file of its size.
    ///
    /// # Errors
    /// [`Error::Io`] when reading or writing fails; the output is then incomplete.
    pub fn to_file(&self, output: &File) -> Result<Exported> {
        let len = self.volume.available();
        let output = Target::new(output, len, self.zeros)
            .map_err(|error| Error::io("cannot set the length of the output", error))?;
        let job = Job {
            export: self,
            output,
            len,
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            missing: Mutex::new(Vec::new()),
            failed: Mutex::new(None),
            hashed: Mutex::new((0, Sha256::new())),
            turn: Condvar::new(),
        };
        crate::threads::share(self.threads.saturating_sub(1), || job.work());
        job.result()
    }

    /// Writes the volume to a stream, in order; what is missing in the middle becomes zeros there.
    ///
    /// # Errors
    /// As [`Export::to_file`].
    pub fn to_stream(&self, output: &mut dyn Write) -> Result<Exported> {
        let len = self.volume.available();
        let mut missing = Vec::new();
        let mut hash = Sha256::new();
        let mut buf = vec![0; PIECE as usize];
        for start in (0..len).step_by(PIECE as usize) {
            let piece = piece_at(&mut buf, start, len);
            missing.extend(self.read_piece(start, piece)?);
            output.write_all(piece).map_err(cannot_write)?;
            if self.hash {
                hash.update(&*piece);
            }
            (self.progress)(piece.len() as u64);
        }
        output.flush().map_err(cannot_write)?;
        Ok(self.finished(len, missing, hash))
    }

    /// Fills `piece`, sector by sector where it cannot be had whole: what is missing becomes zeros
    /// and is named.
    fn read_piece(&self, start: u64, piece: &mut [u8]) -> Result<Vec<Range<u64>>> {
        let skips =
            |error: &Error| is_missing(error) || (self.skip_unreadable && is_unreadable(error));
        match self.volume.read_at(start, piece) {
            Ok(()) => return Ok(Vec::new()),
            Err(error) if !skips(&error) => return Err(error),
            Err(_) => {}
        }
        let sector = self.volume.sector_size() as usize;
        let mut missing: Vec<Range<u64>> = Vec::new();
        for (at, part) in (start..).step_by(sector).zip(piece.chunks_mut(sector)) {
            match self.volume.read_at(at, part) {
                Ok(()) => {}
                Err(error) if !skips(&error) => return Err(error),
                Err(_) => {
                    part.fill(0);
                    missing.push(at..at + part.len() as u64);
                }
            }
        }
        Ok(missing)
    }

    /// Adds what lies beyond the end of a cut-off image, and joins neighbours.
    fn finished(&self, len: u64, mut missing: Vec<Range<u64>>, hash: Sha256) -> Exported {
        if len < self.volume.size() {
            missing.push(len..self.volume.size());
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
            sha256: self.hash.then(|| hash.finalize().into()),
        }
    }
}

fn cannot_write(error: io::Error) -> Error {
    Error::io("cannot write the output", error)
}

struct Job<'a> {
    export: &'a Export<'a>,
    output: Target<'a>,
    len: u64,
    next: AtomicU64,
    stop: AtomicBool,
    missing: Mutex<Vec<Range<u64>>>,
    failed: Mutex<Option<Error>>,
    /// How many bytes went into the hash, which takes them in order.
    hashed: Mutex<(u64, Sha256)>,
    turn: Condvar,
}

impl Job<'_> {
    fn work(&self) {
        let mut buffer = AlignedBuffer::new(PIECE as usize);
        let buf = buffer.bytes();
        while !self.stop.load(Ordering::Relaxed) {
            let start = self.next.fetch_add(PIECE, Ordering::Relaxed);
            if start >= self.len {
                return;
            }
            let piece = piece_at(buf, start, self.len);
            match self.transfer(start, piece) {
                Ok(()) => (self.export.progress)(piece.len() as u64),
                Err(error) => {
                    lock(&self.failed).get_or_insert(error);
                    self.stop.store(true, Ordering::Relaxed);
                    self.turn.notify_all();
                }
            }
        }
    }

    fn transfer(&self, start: u64, piece: &mut [u8]) -> Result<()> {
        let missing = self.export.read_piece(start, piece)?;
        if !missing.is_empty() {
            lock(&self.missing).extend(missing);
        }
        self.output.write(start, piece).map_err(cannot_write)?;
        if self.export.hash {
            self.hash_in_order(start, piece);
        }
        Ok(())
    }

    /// Waits until all bytes before `start` are in the hash: no piece is kept waiting in memory.
    fn hash_in_order(&self, start: u64, piece: &[u8]) {
        let mut hashed = lock(&self.hashed);
        while hashed.0 != start {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            // Looked at again now and then: a failure may be told between the look and the wait.
            let waited = self.turn.wait_timeout(hashed, Duration::from_millis(100));
            hashed = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        hashed.1.update(piece);
        hashed.0 += piece.len() as u64;
        drop(hashed);
        self.turn.notify_all();
    }

    fn result(self) -> Result<Exported> {
        if let Some(error) = lock(&self.failed).take() {
            return Err(error);
        }
        let missing = std::mem::take(&mut *lock(&self.missing));
        let (_, hash) = self
            .hashed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(self.export.finished(self.len, missing, hash))
    }
}

/// A thread that panicked while it held the lock has left a list that is still a list.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn piece_at(buf: &mut [u8], start: u64, len: u64) -> &mut [u8] {
    let piece = (len - start).min(buf.len() as u64) as usize;
    &mut buf[..piece]
}

/// Whether the bytes do not exist or cannot be known, as against a medium that fails.
fn is_missing(error: &Error) -> bool {
    match error {
        Error::Unreadable { .. } => true,
        Error::Io { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
        _ => false,
    }
}

/// Whether the source is there but these bytes of it cannot be read. One that is gone has no
/// sectors to skip.
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
