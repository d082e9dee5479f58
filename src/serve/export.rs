//! Writing the whole decrypted volume to a file or a stream.
//!
//! Threads take pieces from a counter; each reads, decrypts and writes at its own offset. Pieces of
//! zeros become holes. What a cut-off image does not hold is left out and counted, never invented.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::volume::Unlocked;

/// Bytes that a thread takes at a time: 128 KiB to 1 MiB are alike, more is slower (performance
/// page, section 5).
const PIECE: u64 = 1 << 20;

/// Bytes that are looked at together for zeros: a hole is not worth it below a file system's
/// extent of some blocks.
const HOLE: usize = 64 << 10;

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// Length of the output in bytes.
    pub len: u64,
    /// Stretches of the volume that could not be had: beyond the end of a cut-off image, or not
    /// to be known. Within the output they are holes.
    pub missing: Vec<Range<u64>>,
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

/// Writes the volume to a file of its size, on `threads` threads. `progress` is told of bytes done.
///
/// # Errors
/// [`Error::Io`] when reading or writing fails; the output is then incomplete.
pub fn to_file(
    volume: &Unlocked,
    output: &File,
    zeros: Zeros,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Exported> {
    let len = volume.available();
    if zeros == Zeros::Holes {
        output
            .set_len(len)
            .map_err(|error| Error::io("cannot set the length of the output", error))?;
    }
    let job = Job {
        volume,
        len,
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        missing: Mutex::new(Vec::new()),
        failed: Mutex::new(None),
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| job.work(output, zeros, progress));
        }
    });
    job.result()
}

/// Writes the volume to a stream, in order; what is missing in the middle becomes zeros there.
///
/// # Errors
/// As [`to_file`].
pub fn to_stream(
    volume: &Unlocked,
    output: &mut dyn Write,
    progress: &dyn Fn(u64),
) -> Result<Exported> {
    let len = volume.available();
    let mut exported = Exported {
        len,
        missing: Vec::new(),
    };
    let mut buf = vec![0; PIECE as usize];
    for start in (0..len).step_by(PIECE as usize) {
        let piece = piece_at(&mut buf, start, len);
        exported.missing.extend(read_piece(volume, start, piece)?);
        output
            .write_all(piece)
            .map_err(|error| Error::io("cannot write the output", error))?;
        progress(piece.len() as u64);
    }
    output
        .flush()
        .map_err(|error| Error::io("cannot write the output", error))?;
    Ok(finished(volume, exported))
}

struct Job<'a> {
    volume: &'a Unlocked,
    len: u64,
    next: AtomicU64,
    stop: AtomicBool,
    missing: Mutex<Vec<Range<u64>>>,
    failed: Mutex<Option<Error>>,
}

impl Job<'_> {
    fn work(&self, output: &File, zeros: Zeros, progress: &(dyn Fn(u64) + Sync)) {
        let mut buf = vec![0; PIECE as usize];
        while !self.stop.load(Ordering::Relaxed) {
            let start = self.next.fetch_add(PIECE, Ordering::Relaxed);
            if start >= self.len {
                return;
            }
            let piece = piece_at(&mut buf, start, self.len);
            let done = read_piece(self.volume, start, piece).and_then(|missing| {
                if !missing.is_empty() {
                    lock(&self.missing).extend(missing);
                }
                write_piece(output, start, piece, zeros)
                    .map_err(|error| Error::io("cannot write the output", error))
            });
            match done {
                Ok(()) => progress(piece.len() as u64),
                Err(error) => {
                    self.stop.store(true, Ordering::Relaxed);
                    lock(&self.failed).get_or_insert(error);
                }
            }
        }
    }

    fn result(self) -> Result<Exported> {
        if let Some(error) = lock(&self.failed).take() {
            return Err(error);
        }
        let missing = std::mem::take(&mut *lock(&self.missing));
        Ok(finished(
            self.volume,
            Exported {
                len: self.len,
                missing,
            },
        ))
    }
}

/// A thread that panicked while it held the lock has left a list that is still a list.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn piece_at(buf: &mut [u8], start: u64, len: u64) -> &mut [u8] {
    let piece = (len - start).min(buf.len() as u64) as usize;
    &mut buf[..piece]
}

/// Fills `piece`, sector by sector where it cannot be had whole: what is missing stays zero and is
/// named.
fn read_piece(volume: &Unlocked, start: u64, piece: &mut [u8]) -> Result<Vec<Range<u64>>> {
    match volume.read_at(start, piece) {
        Ok(()) => return Ok(Vec::new()),
        Err(error) if !is_missing(&error) => return Err(error),
        Err(_) => {}
    }
    let sector = volume.sector_size() as usize;
    let mut missing: Vec<Range<u64>> = Vec::new();
    for (at, part) in (start..).step_by(sector).zip(piece.chunks_mut(sector)) {
        match volume.read_at(at, part) {
            Ok(()) => {}
            Err(error) if !is_missing(&error) => return Err(error),
            Err(_) => {
                part.fill(0);
                missing.push(at..at + part.len() as u64);
            }
        }
    }
    Ok(missing)
}

/// Whether the bytes do not exist or cannot be known, as against a medium that fails.
fn is_missing(error: &Error) -> bool {
    match error {
        Error::Unreadable { .. } => true,
        Error::Io { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
        _ => false,
    }
}

fn write_piece(output: &File, start: u64, piece: &[u8], zeros: Zeros) -> io::Result<()> {
    if zeros == Zeros::Written {
        return output.write_all_at(piece, start);
    }
    // Neighbouring blocks that are not zero go out in one call.
    let write = |range: Range<usize>| {
        let at = start + range.start as u64;
        output.write_all_at(&piece[range], at)
    };
    let mut pending = 0..0;
    for (at, block) in (0..).step_by(HOLE).zip(piece.chunks(HOLE)) {
        let end = at + block.len();
        if block.iter().any(|byte| *byte != 0) {
            pending.end = end;
        } else {
            write(pending)?;
            pending = end..end;
        }
    }
    write(pending)
}

/// Adds what lies beyond the end of a cut-off image, and joins neighbours.
fn finished(volume: &Unlocked, mut exported: Exported) -> Exported {
    if exported.len < volume.size() {
        exported.missing.push(exported.len..volume.size());
    }
    exported.missing.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in exported.missing {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    Exported {
        missing: joined,
        ..exported
    }
}
