//! Writing to a pipe by giving it pages of memory instead of copying them into it (vmsplice(2)).
//!
//! A page that was given away is never written to again: its reader may pass it on (splice(2), tee(2)), so
//! that nothing tells when it was read. Each piece gets new memory, in huge pages. In small pages, the kernel
//! takes longer to make them than to copy.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::pipe::{IoSliceRaw, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, vmsplice};

use super::stream::Sink;

/// Bytes of a huge page where memory has pages of 4 KiB.
const HUGE: usize = 2 << 20;

/// What the system says about huge pages: their size in bytes (`hpage_pmd_size`), and whether programs get them (`enabled`:
/// `always`, `madvise` or `never`, the one that applies in brackets).
const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage";

/// Bytes that the pipe is to hold: the most that a user may ask for by default.
const CAPACITY: usize = 1 << 20;

/// A pipe that gets pages.
pub(super) struct Pipe<'a> {
    pipe: BorrowedFd<'a>,
    pages: Option<Pages>,
}

impl<'a> Pipe<'a> {
    /// `None` if it is another kind of file, or copying is faster here.
    pub(super) fn new(output: BorrowedFd<'a>) -> Option<Self> {
        let mode = rustix::fs::fstat(output).ok()?.st_mode;
        let is_pipe = FileType::from_raw_mode(mode) == FileType::Fifo;
        if !is_pipe || !has_huge_pages() {
            return None;
        }
        if fcntl_getpipe_size(output).is_ok_and(|size| size < CAPACITY) {
            // Refused if the user's pipes hold much already; then this one stays as it is.
            let _ = fcntl_setpipe_size(output, CAPACITY);
        }
        Some(Self {
            pipe: output,
            pages: None,
        })
    }
}

/// Whether the system gives huge pages of the usual size.
fn has_huge_pages() -> bool {
    let read = |name| fs::read_to_string(format!("{HUGE_PAGES}/{name}"));
    let usual = read("hpage_pmd_size").is_ok_and(|size| size.trim().parse() == Ok(HUGE));
    usual && read("enabled").is_ok_and(|enabled| !enabled.contains("[never]"))
}

impl Sink for Pipe<'_> {
    fn buffer(&mut self, len: usize) -> io::Result<&mut [u8]> {
        let pages = match self.pages.take().filter(|pages| pages.left() >= len) {
            Some(pages) => pages,
            None => Pages::new(len)?,
        };
        Ok(self.pages.insert(pages).next_bytes(len))
    }

    fn send(&mut self, len: usize) -> io::Result<()> {
        let Some(pages) = &mut self.pages else {
            return Ok(());
        };
        let mut rest = pages.give(len);
        while !rest.is_empty() {
            let given = [IoSliceRaw::from_slice(rest)];
            // SAFETY: the slice is that of mapped pages, to which nothing writes any more. The kernel keeps them
            // for the reader after they are unmapped here.
            let sent = unsafe { vmsplice(self.pipe, &given, SpliceFlags::empty()) };
            match sent {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                // Another program has made the pipe non-blocking.
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.pipe, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// New memory, of which a part at the start was given away.
struct Pages {
    start: NonNull<u8>,
    len: usize,
    given: usize,
}

impl Pages {
    /// At least `len` bytes, in whole huge pages if the system has them free.
    fn new(len: usize) -> io::Result<Self> {
        let len = len.max(1).next_multiple_of(HUGE);
        // Huge pages have addresses that are multiples of their size.
        let mapped = len + HUGE;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use, and unmapping
        // both ends of it, neither.
        unsafe {
            let start = rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                mapped,
                protection,
                MapFlags::PRIVATE,
            )?;
            let head = start.cast::<u8>().align_offset(HUGE).min(HUGE);
            let aligned = start.byte_add(head);
            if head > 0 {
                rustix::mm::munmap(start, head)?;
            }
            if head < HUGE {
                rustix::mm::munmap(aligned.byte_add(len), HUGE - head)?;
            }
            let _ = rustix::mm::madvise(aligned, len, Advice::LinuxHugepage);
            let start = NonNull::new(aligned.cast()).ok_or(Errno::NOMEM)?;
            Ok(Self {
                start,
                len,
                given: 0,
            })
        }
    }

    fn left(&self) -> usize {
        self.len - self.given
    }

    /// The next bytes that are to be given away, at most `len`.
    fn next_bytes(&mut self, len: usize) -> &mut [u8] {
        let len = len.min(self.left());
        // SAFETY: the range is inside the mapping, which is initialized with zeros. It was not given away, so
        // this is the only reference to it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(self.given).as_ptr(), len) }
    }

    /// The next bytes, which nothing changes from now on.
    fn give(&mut self, len: usize) -> &[u8] {
        let len = len.min(self.left());
        let from = self.given;
        self.given += len;
        // SAFETY: the range is inside the mapping, which is initialized. `next_bytes` gives out no mutable
        // reference to it any more.
        unsafe { std::slice::from_raw_parts(self.start.add(from).as_ptr(), len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, of which nothing is borrowed any more.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::{AsFd, OwnedFd};
    use std::sync::Arc;
    use std::thread::sleep;
    use std::time::Duration;

    use rustix::io::ioctl_fionread;
    use rustix::pipe::{pipe, splice};

    use super::*;
    use crate::serve::export::Export;
    use crate::volume::Unlocked;

    /// Returns when the pipe is full, or nothing more comes.
    fn filled(reader: &OwnedFd, left: usize) {
        let expected = left.min(fcntl_getpipe_size(reader).unwrap()) as u64;
        for _ in 0..2000 {
            if ioctl_fionread(reader).unwrap() >= expected {
                return;
            }
            sleep(Duration::from_millis(5));
        }
        panic!("the pipe is not filled");
    }

    #[test]
    fn pages_that_a_reader_passes_on_keep_their_content() {
        let page = |number: usize| [number as u8, (number >> 8) as u8, 1, 2].repeat(1024);
        let bytes: Vec<u8> = (0..(9 << 20) / 4096).flat_map(page).collect();
        let bytes = &bytes[..bytes.len() - 1024];
        let (reader, writer) = pipe().unwrap();
        let (kept, passed) = pipe().unwrap();
        fcntl_setpipe_size(&passed, CAPACITY).unwrap();
        let mut kept = File::from(kept);
        std::thread::scope(|scope| {
            let unlocked = Unlocked::plain(Arc::new(bytes.to_vec())).unwrap();
            let sender = scope.spawn(move || {
                let written = Export::new(&unlocked).to_pipe(writer.as_fd());
                written.unwrap().len
            });
            let mut at = 0;
            while at < bytes.len() {
                filled(&reader, bytes.len() - at);
                let flags = SpliceFlags::empty();
                let count = splice(&reader, None, &passed, None, CAPACITY, flags).unwrap();
                // The sender goes on meanwhile.
                filled(&reader, bytes.len() - at - count);
                let mut got = vec![0; count];
                kept.read_exact(&mut got).unwrap();
                assert!(got == bytes[at..at + count], "{at}");
                at += count;
            }
            assert_eq!(sender.join().unwrap(), bytes.len() as u64);
        });
    }
}
