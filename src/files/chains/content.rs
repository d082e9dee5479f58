//! The content of a file in a chain of clusters.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::{Chain, Clusters};
use crate::files::content::Content;
use crate::source::ReadAt;

/// The content of a file. Nothing of it is kept but where its clusters are.
pub(in crate::files) struct ChainContent {
    source: Arc<dyn ReadAt>,
    clusters: Clusters,
    chain: Chain,
    len: u64,
    /// How many bytes were written; the rest reads as zeros, whatever the clusters hold.
    valid: u64,
}

impl ChainContent {
    /// The first `len` bytes of a chain, of which the first `valid` were written. The chain has all of
    /// them.
    pub(in crate::files) fn new(
        source: Arc<dyn ReadAt>,
        clusters: Clusters,
        chain: Chain,
        len: u64,
        valid: u64,
    ) -> Self {
        Self {
            source,
            clusters,
            chain,
            len,
            valid: valid.min(len),
        }
    }

    /// Where the written byte at `offset` is, and how many written bytes follow there.
    fn locate(&self, offset: u64) -> Option<(u64, u64)> {
        let left = self.valid.checked_sub(offset).filter(|left| *left > 0)?;
        let (position, rest) = self.chain.locate(self.clusters, offset)?;
        Some((position, rest.min(left)))
    }
}

impl ReadAt for ChainContent {
    fn size(&self) -> u64 {
        self.len
    }

    fn readable(&self, offset: u64, len: u64) -> u64 {
        let end = self.len.min(offset.saturating_add(len));
        let mut at = offset;
        while let Some((position, rest)) = self.locate(at).filter(|_| at < end) {
            let wanted = rest.min(end.saturating_sub(at));
            let readable = self.source.readable(position, wanted);
            at = at.saturating_add(readable);
            if readable < wanted {
                return at.saturating_sub(offset);
            }
        }
        end.saturating_sub(offset)
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut at, mut buf) = (offset, buf);
        while !buf.is_empty() {
            let Some((position, rest)) = self.locate(at) else {
                if at < self.valid {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                buf.fill(0);
                break;
            };
            let len = usize::try_from(rest).unwrap_or(usize::MAX).min(buf.len());
            let (piece, after) = buf.split_at_mut(len);
            self.source.read_exact_at(position, piece)?;
            at = at.saturating_add(len as u64);
            buf = after;
        }
        Ok(())
    }
}

impl Content for ChainContent {
    fn stored_from(&self, offset: u64) -> Option<Range<u64>> {
        (offset < self.valid).then_some(offset..self.valid)
    }

    fn memory(&self) -> usize {
        self.chain.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_across_runs_and_zeros_behind_what_was_written() {
        let bytes: Vec<u8> = (0..8192u32).map(|at| (at / 512) as u8 + 1).collect();
        let clusters = Clusters {
            start: 512,
            size: 512,
            count: 15,
        };
        let mut chain = Chain::default();
        for cluster in [9, 10, 3] {
            assert!(chain.push(cluster));
        }
        let content = ChainContent::new(Arc::new(bytes), clusters, chain, 1400, 1100);
        let mut all = vec![0xEE; 1400];
        content.read_exact_at(0, &mut all).unwrap();
        assert!(all[..512].iter().all(|byte| *byte == 9));
        assert!(all[512..1024].iter().all(|byte| *byte == 10));
        assert!(all[1024..1100].iter().all(|byte| *byte == 3));
        assert!(all[1100..].iter().all(|byte| *byte == 0));
        assert_eq!(content.stored_from(5), Some(5..1100));
        assert_eq!(content.stored_from(1100), None);
        assert_eq!(content.readable(1000, 1000), 400);
        assert!(content.read_exact_at(1399, &mut [0; 2]).is_err());
        assert!(content.read_exact_at(u64::MAX, &mut [0; 2]).is_err());
        content.read_exact_at(1400, &mut []).unwrap();
    }
}
