//! The content of a file as Windows shows it.

use std::io::{self, Read, Seek, SeekFrom};

/// The content of a file: zeros from byte `initialized` on, where the clusters still have older data.
pub(super) struct Content<R> {
    inner: R,
    position: u64,
    initialized: u64,
    len: u64,
}

impl<R: Seek> Content<R> {
    /// The content of `len` bytes, of which only the first `initialized` were ever written.
    pub(super) fn new(inner: R, initialized: u64, len: u64) -> Self {
        Self {
            inner,
            position: 0,
            initialized: initialized.min(len),
            len,
        }
    }
}

impl<R: Read + Seek> Read for Content<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (end, zeros) = if self.position < self.initialized {
            (self.initialized, false)
        } else {
            (self.len, true)
        };
        let left = end.saturating_sub(self.position);
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        let buf = &mut buf[..len];
        let read = if zeros {
            buf.fill(0);
            len
        } else {
            self.inner.read(buf)?
        };
        self.position += read as u64;
        Ok(read)
    }
}

impl<R: Seek> Seek for Content<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let target = target.ok_or(io::ErrorKind::InvalidInput)?;
        if target < self.initialized {
            self.inner.seek(SeekFrom::Start(target))?;
        }
        self.position = target;
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_written_is_zeros() {
        let mut content = Content::new(io::Cursor::new([7; 10]), 4, 10);
        let mut all = Vec::new();
        content.read_to_end(&mut all).unwrap();
        assert_eq!(all, [7, 7, 7, 7, 0, 0, 0, 0, 0, 0]);
        content.seek(SeekFrom::Start(3)).unwrap();
        let mut two = [9; 2];
        content.read_exact(&mut two).unwrap();
        assert_eq!(two, [7, 0]);
        content.seek(SeekFrom::End(-1)).unwrap();
        assert_eq!(content.read(&mut two).unwrap(), 1);
        assert_eq!(content.read(&mut two).unwrap(), 0);
    }
}
