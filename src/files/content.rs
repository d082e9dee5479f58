//! The content of a file.

use std::ops::Range;

use crate::source::ReadAt;

/// The content of a file or of a named stream, read at any offset by any number of threads.
///
/// It is a [`ReadAt`]: a disk image inside a volume can be the source of another volume.
pub trait Content: ReadAt {
    /// The first range of stored bytes that ends after `offset`. Between the stored ranges, and after
    /// the last, are only zeros. `None` if all bytes from `offset` on are zeros.
    ///
    /// A range may contain more than what is stored; it never leaves out a byte that is not zero.
    fn stored_from(&self, offset: u64) -> Option<Range<u64>> {
        (offset < self.size()).then(|| offset..self.size())
    }

    /// Roughly how many bytes of memory it occupies while no one reads: where its parts are, and what is kept
    /// of it.
    fn memory(&self) -> usize {
        0
    }
}
