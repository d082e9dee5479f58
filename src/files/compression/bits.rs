//! The bit stream of XPRESS and LZX: 16-bit words in little-endian order, each from its highest bit on,
//! with single bytes between them.
//!
//! Bytes follow the last word that a decoder has read which keeps at least 16 bits ahead, and never
//! reads a word before it needs one. This reader reads more words at once, and puts those back.

use super::{Corrupt, TRUNCATED};

/// A reader of bits and bytes.
pub(super) struct Bits<'a> {
    input: &'a [u8],
    /// Where the next word or byte is.
    at: usize,
    /// Bits that were read ahead, the next one highest; zeros behind them.
    buffer: u64,
    /// How many.
    count: u32,
    /// How many words behind the end were read ahead as zeros.
    missing: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            at: 0,
            buffer: 0,
            count: 0,
            missing: 0,
        }
    }

    /// Reads ahead, so that at least 48 bits can be taken.
    #[inline]
    pub(super) fn refill(&mut self) {
        if self.count >= 48 {
            return;
        }
        match self
            .input
            .get(self.at..)
            .and_then(|rest| rest.first_chunk())
        {
            Some(next) => {
                let next = u64::from_be_bytes(*next);
                let words = next >> 8 & 0x00FF_00FF_00FF_00FF | (next & 0x00FF_00FF_00FF_00FF) << 8;
                let added = 64u32.wrapping_sub(self.count) / 16;
                self.buffer |= words.unbounded_shr(self.count);
                self.count = self.count.wrapping_add(added.wrapping_mul(16));
                self.buffer &= u64::MAX.unbounded_shl(64u32.wrapping_sub(self.count));
                self.at = self.at.wrapping_add(added.wrapping_mul(2) as usize);
            }
            None => self.refill_slowly(),
        }
    }

    #[cold]
    fn refill_slowly(&mut self) {
        while self.count <= 48 {
            let rest = self.input.get(self.at..).unwrap_or_default();
            let word = match rest.first_chunk() {
                Some(word) => {
                    self.at = self.at.wrapping_add(2);
                    u16::from_le_bytes(*word)
                }
                None => {
                    self.missing = self.missing.saturating_add(1);
                    0
                }
            };
            self.buffer |= u64::from(word) << 48u32.wrapping_sub(self.count);
            self.count = self.count.wrapping_add(16);
        }
    }

    /// The next 16 bits. [`Bits::refill`] comes before it.
    #[inline]
    pub(super) fn peek(&self) -> u16 {
        (self.buffer >> 48) as u16
    }

    /// Skips up to 16 bits that were read ahead.
    #[inline]
    pub(super) fn skip(&mut self, count: u32) {
        debug_assert!(count <= self.count);
        self.buffer = self.buffer.unbounded_shl(count);
        self.count = self.count.wrapping_sub(count);
    }

    /// Takes up to 16 bits that were read ahead.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        let bits = self.buffer.unbounded_shr(64u32.wrapping_sub(count)) as u32;
        self.skip(count);
        bits
    }

    /// Skips the rest of a word, or a whole word if nothing of it was taken.
    pub(super) fn align(&mut self) {
        self.refill();
        let rest = self.count % 16;
        self.skip(if rest == 0 { 16 } else { rest });
        self.put_back(0);
    }

    /// The next byte between the words, for XPRESS.
    pub(super) fn byte(&mut self) -> Result<u8, Corrupt> {
        self.bytes().map(|[byte]| byte)
    }

    /// The next bytes between the words, for XPRESS.
    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        self.put_back(16);
        self.aligned_bytes(N)?.try_into().map_err(|_| TRUNCATED)
    }

    /// The next bytes. [`Bits::align`] comes before it.
    pub(super) fn aligned_bytes(&mut self, len: usize) -> Result<&'a [u8], Corrupt> {
        if self.missing > 0 {
            return Err(TRUNCATED);
        }
        let end = self.at.checked_add(len).ok_or(TRUNCATED)?;
        let bytes = self.input.get(self.at..end).ok_or(TRUNCATED)?;
        self.at = end;
        Ok(bytes)
    }

    /// Puts whole words back, as long as at least `keep` bits stay.
    fn put_back(&mut self, keep: u32) {
        while self.count >= keep.saturating_add(16) {
            self.count = self.count.wrapping_sub(16);
            match self.missing.checked_sub(1) {
                Some(missing) => self.missing = missing,
                None => self.at = self.at.wrapping_sub(2),
            }
        }
        self.buffer &= u64::MAX.unbounded_shl(64u32.wrapping_sub(self.count));
    }

    /// Checks that no bit was taken from behind the end.
    pub(super) fn check(&self) -> Result<(), Corrupt> {
        if self.count < self.missing.saturating_mul(16) {
            return Err(TRUNCATED);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_lie_behind_the_words_that_were_needed() {
        let input: Vec<u8> = (1..=20).collect();
        let mut bits = Bits::new(&input);
        bits.refill();
        assert_eq!(bits.take(4), 0);
        assert_eq!(bits.take(4), 2);
        assert_eq!(bits.take(8), 1);
        // One word was taken, and one is kept ahead.
        assert_eq!(bits.byte(), Ok(5));
        bits.refill();
        assert_eq!(bits.take(16), 0x0403);
        assert_eq!(bits.take(8), 7);
        // Half a word was taken; a decoder has the next one.
        assert_eq!(bits.bytes(), Ok([10, 11]));
        bits.refill();
        assert_eq!(bits.take(16), 0x0609);
        assert_eq!(bits.take(16), 0x080D);
        assert_eq!(bits.check(), Ok(()));
    }

    #[test]
    fn a_byte_within_words_that_are_missing_is_an_error() {
        let mut bits = Bits::new(&[1, 2, 3]);
        bits.refill();
        bits.skip(16);
        assert_eq!(bits.check(), Ok(()));
        assert_eq!(bits.byte(), Err(TRUNCATED));
        bits.skip(1);
        assert_eq!(bits.check(), Err(TRUNCATED));
    }

    #[test]
    fn an_aligned_reader_skips_a_whole_word() {
        let input: Vec<u8> = (0..12).collect();
        let mut bits = Bits::new(&input);
        bits.align();
        assert_eq!(bits.aligned_bytes(2), Ok(&input[2..4]));
        bits.refill();
        bits.skip(3);
        bits.align();
        assert_eq!(bits.aligned_bytes(6), Ok(&input[6..]));
        assert!(bits.aligned_bytes(1).is_err());
    }
}
