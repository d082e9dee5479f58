//! Several sources joined end to end.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::blocks::{at_most, read_in_blocks};
use crate::source::ReadAt;

/// Sources joined end to end.
pub(super) struct Concat {
    /// The sources in order, each with the offset of its first byte.
    parts: Vec<(u64, Arc<dyn ReadAt>)>,
    size: u64,
}

impl Concat {
    /// `None` if their total size does not fit into 64 bits.
    pub(super) fn new(sources: Vec<Arc<dyn ReadAt>>) -> Option<Self> {
        let mut parts = Vec::with_capacity(sources.len());
        let mut size = 0u64;
        for source in sources {
            let end = size.checked_add(source.size())?;
            if end > size {
                parts.push((size, source));
            }
            size = end;
        }
        Some(Self { parts, size })
    }
}

impl ReadAt for Concat {
    fn size(&self) -> u64 {
        self.size
    }

    fn modified(&self) -> Option<SystemTime> {
        self.parts
            .iter()
            .filter_map(|(_, part)| part.modified())
            .max()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        read_in_blocks(self.size, offset, buf, |offset, buf| {
            let after = self.parts.partition_point(|(start, _)| *start <= offset);
            let Some((start, part)) = self.parts.get(after.saturating_sub(1)) else {
                return Ok(0);
            };
            let inside = offset.saturating_sub(*start);
            let buf = at_most(buf, part.size().saturating_sub(inside));
            part.read_exact_at(inside, buf)?;
            Ok(buf.len())
        })
    }
}
