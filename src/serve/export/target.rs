//! The output file or device, written without the page cache if the system allows it.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use super::Zeros;

/// Alignment in bytes that direct writes need for offset, length and memory address. Enough for every
/// medium with sectors of up to 4096 bytes.
const ALIGNMENT: usize = 4096;

/// Least bytes of zeros that become a hole. Smaller holes would only fragment the file.
const HOLE: usize = 64 << 10;

/// The output, written at any offset by any number of threads.
pub(super) struct Target<'a> {
    file: &'a File,
    /// The same file opened with `O_DIRECT`: filling the page cache takes longer than decrypting.
    direct: Option<File>,
    zeros: Zeros,
    /// How to make a hole, if zeros become holes.
    holes: Holes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holes {
    /// Write nothing: no blocks are allocated.
    Unallocated,
    /// Free the blocks that were allocated in advance. If that fails, they read as zeros anyway.
    Preallocated,
    /// Free the blocks, or write zeros: an earlier run may have written other bytes there.
    Unknown,
}

impl<'a> Target<'a> {
    /// Sets the length of a new file and allocates its blocks if the file system has enough space:
    /// without, direct writes are hardly faster. A resumed file has both already. For a sparse file,
    /// nothing is allocated.
    pub(super) fn new(
        file: &'a File,
        len: u64,
        zeros: Zeros,
        is_resumed: bool,
        is_sparse: bool,
    ) -> io::Result<Self> {
        let mut holes = Holes::Unknown;
        if zeros == Zeros::Holes && !is_resumed {
            holes = match len > 0 && !is_sparse && preallocate(file, len)? {
                true => Holes::Preallocated,
                false => Holes::Unallocated,
            };
            file.set_len(len)?;
        }
        let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        let direct = OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
            .ok();
        Ok(Self {
            file,
            direct,
            zeros,
            holes,
        })
    }

    /// Writes `piece` at offset `start`, with holes for zeros if those are wanted.
    pub(super) fn write(&self, start: u64, piece: &[u8]) -> io::Result<()> {
        if self.zeros == Zeros::Written {
            return self.write_all(start, piece);
        }
        // Adjacent blocks of the same kind are written with one call.
        let mut from = 0;
        let mut blocks = piece.chunks(HOLE).map(is_zero).peekable();
        let mut at = 0;
        while let Some(zero) = blocks.next() {
            at = (at + HOLE).min(piece.len());
            if blocks.peek().is_some_and(|next| *next == zero) {
                continue;
            }
            self.write_run(start, piece, from..at, zero)?;
            from = at;
        }
        Ok(())
    }

    fn write_run(&self, start: u64, piece: &[u8], run: Range<usize>, zero: bool) -> io::Result<()> {
        let at = start + run.start as u64;
        if !zero {
            return self.write_all(at, &piece[run]);
        }
        if self.holes == Holes::Unallocated {
            return Ok(());
        }
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let punched = rustix::fs::fallocate(self.file, mode, at, run.len() as u64);
        match (punched, self.holes) {
            (Err(_), Holes::Unknown) => self.write_all(at, &piece[run]),
            _ => Ok(()),
        }
    }

    fn write_all(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let aligned = offset.is_multiple_of(ALIGNMENT as u64)
            && bytes.as_ptr().addr().is_multiple_of(ALIGNMENT);
        let Some(direct) = self.direct.as_ref().filter(|_| aligned) else {
            return self.file.write_all_at(bytes, offset);
        };
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % ALIGNMENT);
        match direct.write_all_at(whole, offset) {
            // Some file systems accept O_DIRECT at open and refuse the write.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                self.file.write_all_at(whole, offset)?;
            }
            other => other?,
        }
        self.file.write_all_at(rest, offset + whole.len() as u64)
    }
}

/// Allocates blocks for the whole file and returns whether that was possible. Too little space is no
/// error: the plaintext may be mostly zeros.
fn preallocate(file: &File, len: u64) -> io::Result<bool> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOSPC | Errno::FBIG | Errno::DQUOT) => {
            // Free what was allocated before it failed.
            file.set_len(0)?;
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Memory with the alignment that direct writes need.
pub(super) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    pub(super) fn new(len: usize) -> Self {
        let memory = vec![0; len + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start, len }
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// Blocks of zeros and others, an end inside a sector, aligned and unaligned memory.
    #[test]
    fn reads_back_what_was_written_with_holes_for_zeros() {
        let mut buffer = AlignedBuffer::new(1 << 20);
        let piece = buffer.bytes();
        for (number, block) in piece.chunks_mut(HOLE).enumerate() {
            block.fill(if number % 3 == 0 { 0 } else { number as u8 });
        }
        let piece = &piece[..(1 << 20) - 700];
        for shift in [0, 512] {
            for preset in [Zeros::Holes, Zeros::Written] {
                let file = tempfile::tempfile().unwrap();
                let len = piece.len() as u64;
                let target = Target::new(&file, len, preset, false, false).unwrap();
                let (head, tail) = piece.split_at(if shift == 0 { 0 } else { HOLE + shift });
                target.write(0, head).unwrap();
                target.write(head.len() as u64, tail).unwrap();
                let mut read = vec![1; piece.len()];
                file.read_exact_at(&mut read, 0).unwrap();
                assert!(read == piece, "{shift} {preset:?}");
                file.sync_all().unwrap();
                let occupied = file.metadata().unwrap().blocks() * 512;
                assert_eq!(occupied < len, preset == Zeros::Holes, "{shift} {preset:?}");
            }
        }
    }
}
