//! A volume as it would be with some stretches written: what a change is tried on.

use std::io;
use std::sync::Arc;

use crate::source::{ReadAt, WriteAt};

/// The source, with other bytes at some places. Nothing is written to it.
pub(super) struct Patched {
    pub(super) under: Arc<dyn WriteAt>,
    /// Where, and what stands there.
    pub(super) patches: Vec<(u64, Vec<u8>)>,
}

impl ReadAt for Patched {
    fn size(&self) -> u64 {
        self.under.size()
    }

    fn sector_size(&self) -> Option<u32> {
        self.under.sector_size()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.under.read_exact_at(offset, buf)?;
        let end = offset.saturating_add(buf.len() as u64);
        for (at, bytes) in &self.patches {
            let stop = at.saturating_add(bytes.len() as u64);
            let (first, last) = (offset.max(*at), end.min(stop));
            if first >= last {
                continue;
            }
            let within = |base: u64| {
                let index = |place: u64| usize::try_from(place - base).unwrap_or(usize::MAX);
                index(first)..index(last)
            };
            if let (Some(to), Some(from)) = (buf.get_mut(within(offset)), bytes.get(within(*at))) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ones;

    impl ReadAt for Ones {
        fn size(&self) -> u64 {
            100
        }
        fn read_exact_at(&self, _offset: u64, buf: &mut [u8]) -> io::Result<()> {
            buf.fill(1);
            Ok(())
        }
    }

    impl WriteAt for Ones {
        fn write_all_at(&self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn shows_the_patches_wherever_a_read_meets_them() {
        let patched = Patched {
            under: Arc::new(Ones),
            patches: vec![(10, vec![2; 5]), (20, vec![3; 5])],
        };
        let read = |offset, len| {
            let mut buf = vec![0; len];
            patched.read_exact_at(offset, &mut buf).unwrap();
            buf
        };
        assert_eq!(read(8, 4), [1, 1, 2, 2]);
        assert_eq!(read(14, 3), [2, 1, 1]);
        assert_eq!(read(11, 2), [2, 2]);
        assert_eq!(read(14, 7), [2, 1, 1, 1, 1, 1, 3]);
        assert_eq!(read(0, 10), [1; 10]);
    }
}
