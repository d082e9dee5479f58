//! A reader with a limit on the bytes that are read, whatever the structures on the disk say.

use std::io::{self, Read, Seek, SeekFrom};

/// A reader with a limit on the sum of all reads. The limit ends the reading of an index or list that
/// leads back to itself.
pub(super) struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R> Bounded<R> {
    pub(super) fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit }
    }

    /// Raises the limit by `by` bytes.
    pub(super) fn extend(&mut self, by: u64) {
        self.left = self.left.saturating_add(by);
    }

    /// Whether the limit was reached.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left == 0
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !buf.is_empty() {
            return Err(io::Error::other(
                "more data had to be read than any sound file system needs",
            ));
        }
        let len = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        let read = self.inner.read(&mut buf[..len])?;
        self.left -= read as u64;
        Ok(read)
    }
}

impl<R: Seek> Seek for Bounded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_what_is_read_again() {
        let mut reader = Bounded::new(io::Cursor::new([7; 10]), 15);
        let mut buf = [0; 10];
        reader.read_exact(&mut buf).unwrap();
        reader.rewind().unwrap();
        assert!(reader.read_exact(&mut buf).is_err());
        assert!(reader.is_exhausted());
        reader.extend(10);
        reader.rewind().unwrap();
        reader.read_exact(&mut buf).unwrap();
    }
}
