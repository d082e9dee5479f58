//! A source with changes that are kept in memory; the source itself is not changed.

use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use super::ReadAt;

/// Bytes that are copied into memory around a change: a page.
const PAGE: u64 = 4096;

/// A source as it would be after some writes. The changed pages of 4096 bytes are kept in memory,
/// and nothing is written to the source.
#[derive(Clone)]
pub struct MemoryOverlay<S> {
    inner: S,
    pages: Pages,
}

/// Whole pages, by number; the last one of the source may be shorter.
type Pages = BTreeMap<u64, Vec<u8>>;

impl<S: ReadAt> MemoryOverlay<S> {
    /// The source without any change.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            pages: BTreeMap::new(),
        }
    }

    /// The same changes over another handle of the same source.
    pub(crate) fn over<T: ReadAt>(self, same: T) -> MemoryOverlay<T> {
        MemoryOverlay {
            inner: same,
            pages: self.pages,
        }
    }

    /// Replaces the bytes from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the bytes do not fit into the source; otherwise the
    /// reason why the page around them cannot be read.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = end(offset, bytes.len(), self.inner.size())?;
        let mut at = offset;
        let mut rest = bytes;
        while at < end {
            let page = self.page(at / PAGE)?;
            let within = usize::try_from(at % PAGE).unwrap_or(0);
            let len = rest.len().min(page.len().saturating_sub(within));
            let (now, later) = rest.split_at(len);
            if now.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            page[within..within + len].copy_from_slice(now);
            at += len as u64;
            rest = later;
        }
        Ok(())
    }

    /// The page of that number; the first time, it is read from the source.
    fn page(&mut self, number: u64) -> io::Result<&mut Vec<u8>> {
        use std::collections::btree_map::Entry;
        match self.pages.entry(number) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let start = number * PAGE;
                let len = self.inner.size().saturating_sub(start).min(PAGE);
                let mut page = vec![0; usize::try_from(len).unwrap_or(0)];
                self.inner.read_exact_at(start, &mut page)?;
                Ok(entry.insert(page))
            }
        }
    }
}

/// End of the `len` bytes from `offset` on, if they are inside a source of `size` bytes.
fn end(offset: u64, len: usize, size: u64) -> io::Result<u64> {
    let end = offset.checked_add(len as u64);
    end.filter(|end| *end <= size)
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl<S> std::fmt::Debug for MemoryOverlay<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryOverlay")
            .field("changed_pages", &self.pages.len())
            .finish_non_exhaustive()
    }
}

impl<S: ReadAt> ReadAt for MemoryOverlay<S> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn sector_size(&self) -> Option<u32> {
        self.inner.sector_size()
    }

    fn readable(&self, offset: u64, len: u64) -> u64 {
        self.inner.readable(offset, len)
    }

    fn modified(&self) -> Option<SystemTime> {
        self.inner.modified()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = end(offset, buf.len(), self.size())?;
        self.inner.read_exact_at(offset, buf)?;
        for (number, page) in self.pages.range(offset / PAGE..end.div_ceil(PAGE)) {
            let start = number * PAGE;
            let (from, to) = (start.max(offset), (start + page.len() as u64).min(end));
            let within = |origin: u64| {
                let at = |place: u64| usize::try_from(place - origin).unwrap_or(usize::MAX);
                at(from)..at(to)
            };
            if from < to {
                buf[within(offset)].copy_from_slice(&page[within(start)]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_changes_and_leaves_the_source() {
        let mut source: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
        let mut overlay = MemoryOverlay::new(source.clone());
        for (offset, len) in [(4090, 20), (0, 1), (9_999, 1), (5_000, 4_500)] {
            let bytes = vec![0xEE; len];
            overlay.write(offset as u64, &bytes).unwrap();
            source[offset..offset + len].copy_from_slice(&bytes);
        }
        assert!(overlay.write(9_999, &[1, 2]).is_err());
        assert!(overlay.write(u64::MAX, &[1]).is_err());
        for (offset, len) in [(0, 10_000), (4095, 2), (1, 4095), (9_999, 1), (9_500, 500)] {
            let mut read = vec![0; len];
            overlay.read_exact_at(offset as u64, &mut read).unwrap();
            assert_eq!(read, source[offset..offset + len], "{offset} {len}");
        }
        assert!(overlay.read_exact_at(9_999, &mut [0; 2]).is_err());
    }
}
