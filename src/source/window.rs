//! A range of a source as a source: a partition, or a volume at an offset.

use std::io;
use std::time::SystemTime;

use super::ReadAt;

/// `len` bytes of another source from `start` on.
#[derive(Debug, Clone)]
pub struct Window<S> {
    inner: S,
    start: u64,
    len: u64,
}

impl<S: ReadAt> Window<S> {
    /// The bytes `[start, start + len)` of `inner`. If `inner` ends before that, so does the window:
    /// a partition of a disk image that was cut off ends where the image ends.
    pub fn new(inner: S, start: u64, len: u64) -> Self {
        let len = len.min(inner.size().saturating_sub(start));
        Self { inner, start, len }
    }

    /// The bytes of `inner` from `start` to its end.
    pub fn from(inner: S, start: u64) -> Self {
        Self::new(inner, start, u64::MAX)
    }

    /// First byte of the window, from the start of the inner source.
    pub fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn inner(&self) -> &S {
        &self.inner
    }

    /// The offset in the inner source of `len` bytes at `offset` of the window.
    pub(super) fn translated(&self, offset: u64, len: u64) -> io::Result<u64> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(self.start + offset),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl<S: ReadAt> ReadAt for Window<S> {
    fn size(&self) -> u64 {
        self.len
    }

    fn sector_size(&self) -> Option<u32> {
        self.inner.sector_size()
    }

    fn readable(&self, offset: u64, len: u64) -> u64 {
        let len = len.min(self.len.saturating_sub(offset));
        self.inner.readable(self.start.saturating_add(offset), len)
    }

    fn modified(&self) -> Option<SystemTime> {
        self.inner.modified()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = self.translated(offset, buf.len() as u64)?;
        self.inner.read_exact_at(start, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stay_inside_the_window() {
        let disk: Vec<u8> = (0..100).collect();
        let window = Window::new(&disk, 10, 20);
        let mut buf = [0; 5];
        window.read_exact_at(15, &mut buf).unwrap();
        assert_eq!(buf, [25, 26, 27, 28, 29]);
        for offset in [16, 20, u64::MAX] {
            let error = window.read_exact_at(offset, &mut buf).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{offset}");
        }
    }

    #[test]
    fn is_cut_where_the_source_ends() {
        let disk = vec![0; 100];
        assert_eq!(Window::new(&disk, 90, 20).size(), 10);
        assert_eq!(Window::new(&disk, 200, 20).size(), 0);
        assert_eq!(Window::from(&disk, 40).size(), 60);
    }
}
