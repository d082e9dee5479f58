//! A source that lacks the beginning of its volume.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::ReadAt;

/// The bytes of another source, preceded by `missing` bytes that do not exist. Reading those is an
/// error, because their content is not known.
#[derive(Clone)]
pub struct Headless {
    inner: Arc<dyn ReadAt>,
    missing: u64,
}

impl Headless {
    /// The first byte of `inner` becomes byte `missing` of this source.
    pub fn new(inner: Arc<dyn ReadAt>, missing: u64) -> Self {
        Self { inner, missing }
    }
}

impl std::fmt::Debug for Headless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Headless")
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

impl ReadAt for Headless {
    fn size(&self) -> u64 {
        self.inner.size().saturating_add(self.missing)
    }

    fn sector_size(&self) -> Option<u32> {
        self.inner.sector_size()
    }

    fn modified(&self) -> Option<SystemTime> {
        self.inner.modified()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        match offset.checked_sub(self.missing) {
            Some(inside) => self.inner.read_exact_at(inside, buf),
            None if buf.is_empty() => Ok(()),
            None => Err(io::Error::other(format!(
                "the image lacks the first {} bytes of the volume",
                self.missing
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_bytes_are_an_error_and_the_others_can_be_read() {
        let disk: Arc<dyn ReadAt> = Arc::new((0..100).collect::<Vec<u8>>());
        let source = Headless::new(disk, 50);
        assert_eq!(source.size(), 150);
        let mut buf = [0; 5];
        source.read_exact_at(60, &mut buf).unwrap();
        assert_eq!(buf, [10, 11, 12, 13, 14]);
        source.read_exact_at(50, &mut buf).unwrap();
        assert_eq!(buf, [0, 1, 2, 3, 4]);
        for offset in [0, 45, 46, 49] {
            assert!(source.read_exact_at(offset, &mut buf).is_err(), "{offset}");
        }
        let error = source.read_exact_at(146, &mut buf).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
