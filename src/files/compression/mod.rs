//! Decompression of what NTFS stores: LZNT1 in compressed files; XPRESS and LZX in those of CompactOS.
//!
//! ```text
//! lznt1      compressed files, in units of 16 clusters
//! xpress     XPRESS with Huffman codes: CompactOS, in chunks of 4, 8 or 16 KiB
//! lzx        LZX as in WIM files: CompactOS, in chunks of 32 KiB
//! bits       the bit stream of XPRESS and LZX
//! huffman    their codes
//! ```
//!
//! Each function fills a buffer whose length is known from elsewhere, or fails. It allocates nothing that
//! depends on the data, and its time is bounded by the lengths of the two buffers.
//!
//! Crates that could be used instead. `xpress-huffman` and `lzxd` were run on output of libwim, `lznt1` on
//! that of a compressor of the tests; the rest of what follows is from reading their source:
//!
//! * `lznt1` 0.1.3 copies from before the chunk, lets a chunk be longer than 4 KiB, and does not fill
//!   a short chunk with zeros, so that all that follows is at the wrong place.
//! * `rust-lzxpress` 0.7.1 prints its errors and returns what it has; it panics on a single byte, and
//!   knows only XPRESS without Huffman codes.
//! * `xpress-huffman` 0.1.3 stops when it has read the last word, and leaves out the symbols in it (17
//!   of 1,038 outputs of libwim); it makes zeros of a table without codes, and takes codes that are not
//!   complete.
//! * `lzxd` 0.2.7 reads the LZX of cabinets: blocks have 24-bit lengths and begin with a bit for the
//!   translation of calls, which WIM does not have.
//! * `ms-compress` is under the LGPL.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod bits;
mod huffman;
pub(super) mod lznt1;
pub(super) mod lzx;
pub(super) mod xpress;

use super::fault::FileError;

/// Compressed data that breaks the rules of its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Corrupt(&'static str);

impl From<Corrupt> for FileError {
    fn from(fault: Corrupt) -> Self {
        Self::damaged(format!("compressed data: {fault}"))
    }
}

/// A compression, for tests that compare it with other programs.
#[cfg(feature = "testing")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// NTFS.
    Lznt1,
    /// XPRESS with Huffman codes.
    Xpress,
    /// LZX as in WIM files.
    Lzx,
}

#[cfg(feature = "testing")]
impl Compression {
    /// Decompresses into all of `out`.
    ///
    /// # Errors
    /// [`FileError::Damaged`] when the data breaks the rules of the format.
    pub fn decompress(self, data: &[u8], out: &mut [u8]) -> Result<(), FileError> {
        Ok(match self {
            Self::Lznt1 => lznt1::decompress(data, out),
            Self::Xpress => xpress::decompress(data, out),
            Self::Lzx => lzx::decompress(data, out),
        }?)
    }
}

/// The data ends too early.
const TRUNCATED: Corrupt = Corrupt("it ends too early");
/// A match is longer than the rest of the output.
const TOO_LONG: Corrupt = Corrupt("it is longer than it should be");
/// A match begins before the output.
const TOO_FAR: Corrupt = Corrupt("it copies from before its start");

/// Copies `len` bytes of `out` from `distance` bytes before `at` to `at`, one after the other, so that
/// copied bytes may be copied again. Bytes behind the copied ones may be overwritten.
#[inline]
fn copy_match(out: &mut [u8], at: usize, distance: usize, len: usize) -> Result<usize, Corrupt> {
    let end = at.saturating_add(len);
    if end > out.len() {
        return Err(TOO_LONG);
    }
    let Some(from) = at.checked_sub(distance).filter(|from| *from < at) else {
        return Err(TOO_FAR);
    };
    const WORD: usize = 8;
    if distance >= WORD && end.saturating_add(WORD) <= out.len() {
        let (mut from, mut to) = (from, at);
        while to < end {
            let (Some(next_from), Some(next_to)) = (from.checked_add(WORD), to.checked_add(WORD))
            else {
                return Err(TOO_LONG);
            };
            if let Some(word) = out
                .get(from..next_from)
                .and_then(|word| word.first_chunk::<WORD>())
            {
                let word = *word;
                if let Some(place) = out.get_mut(to..next_to) {
                    place.copy_from_slice(&word);
                }
            }
            (from, to) = (next_from, next_to);
        }
    } else if distance == 1 {
        let byte = out.get(from).copied().unwrap_or_default();
        out.get_mut(at..end).unwrap_or_default().fill(byte);
    } else {
        // Each round copies what there is since `from`, which doubles.
        let mut to = at;
        while to < end {
            let count = to.saturating_sub(from).min(end.saturating_sub(to));
            out.copy_within(from..from.saturating_add(count), to);
            to = to.saturating_add(count);
        }
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_may_overlap_itself() {
        for distance in 1..20 {
            for len in 0..60 {
                for spare in 0..12 {
                    let mut out: Vec<u8> = (0..20).collect();
                    let mut expected = out.clone();
                    for _ in 0..len {
                        expected.push(expected[expected.len() - distance]);
                    }
                    out.resize(20 + len + spare, 0);
                    assert_eq!(copy_match(&mut out, 20, distance, len), Ok(20 + len));
                    assert_eq!(out[..20 + len], expected, "{distance} {len} {spare}");
                }
            }
        }
        let mut out = [0; 10];
        assert_eq!(copy_match(&mut out, 4, 5, 3), Err(TOO_FAR));
        assert_eq!(copy_match(&mut out, 4, 0, 3), Err(TOO_FAR));
        assert_eq!(copy_match(&mut out, 4, 4, 7), Err(TOO_LONG));
    }
}
