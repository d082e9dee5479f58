//! LZX as in WIM files and in the files of CompactOS: each chunk of 32 KiB is compressed by itself.
//!
//! Sources: \[MS-PATCH\], which describes LZX DELTA; the format of WIM files as Microsoft published it,
//! for what differs: the window has 32 KiB, so there are 30 slots of distances; a block has 32,768
//! bytes unless a bit says that its length follows; and calls are always translated.
//!
//! | bits | a block |
//! |---|---|
//! | 3 | 1: verbatim, 2: with aligned distances, 3: not compressed |
//! | 1 (16) | 1: it has 32,768 bytes; 0: the number of its bytes follows |
//! | 8 × 3 | aligned only: lengths of the codes for the lowest 3 bits of distances |
//! | | lengths of the main codes, first 256, then 240; lengths of the codes for lengths, 249 |
//!
//! Lengths of codes are stored as differences to those of the block before, in a code of their own,
//! whose 20 lengths of 4 bits come first.
//!
//! A main symbol below 256 is a byte. The others are matches: the lower 3 bits are the length minus 2,
//! where 7 is continued by a symbol of its own; the rest is the slot of the distance. The first three
//! slots are the last three distances.

use super::bits::Bits;
use super::huffman::Code;
use super::{Corrupt, TOO_LONG, copy_match};

/// Longest chunk.
const CHUNK: usize = 32768;
const SLOTS: usize = 30;
const MAIN: usize = 256 + 8 * SLOTS;
const LENGTHS: usize = 249;
/// What is subtracted from the sum of a slot's base and its bits.
const RECENT: u32 = 2;
/// What calls are translated with, whatever the size of the file is.
const FILE_SIZE: i32 = 12_000_000;

/// The lengths of the codes, which the next block changes, and the codes.
struct Decoder {
    main_lengths: [u8; MAIN],
    length_lengths: [u8; LENGTHS],
    main: Code,
    length: Code,
    /// The code of the lengths of codes, and of the lowest bits of distances.
    other: Code,
    recent: [u32; 3],
}

/// How a block stores its matches.
enum Kind {
    Verbatim,
    Aligned,
}

/// Decompresses a chunk of at most 32 KiB into `out`, all of which is written.
pub(in crate::files) fn decompress(chunk: &[u8], out: &mut [u8]) -> Result<(), Corrupt> {
    if out.len() > CHUNK {
        return Err(TOO_LONG);
    }
    let mut decoder = Decoder {
        main_lengths: [0; MAIN],
        length_lengths: [0; LENGTHS],
        main: Code::new(),
        length: Code::new(),
        other: Code::new(),
        recent: [1; 3],
    };
    let mut bits = Bits::new(chunk);
    let mut at = 0;
    while at < out.len() {
        at = decoder.block(&mut bits, out, at)?;
        bits.check()?;
    }
    translate_calls(out);
    Ok(())
}

impl Decoder {
    /// Decompresses a block, and returns where it ends.
    fn block(&mut self, bits: &mut Bits<'_>, out: &mut [u8], at: usize) -> Result<usize, Corrupt> {
        bits.refill();
        let kind = bits.take(3);
        let len = match bits.take(1) {
            1 => CHUNK,
            _ => bits.take(16) as usize,
        };
        let end = at.saturating_add(len);
        if len == 0 || end > out.len() {
            return Err(Corrupt("the length of a block is wrong"));
        }
        let kind = match kind {
            1 => Kind::Verbatim,
            2 => Kind::Aligned,
            3 => {
                self.stored(bits, out.get_mut(at..end).ok_or(TOO_LONG)?)?;
                return Ok(end);
            }
            _ => return Err(Corrupt("a block has an unknown kind")),
        };
        let mut aligned = [0; 8];
        if let Kind::Aligned = kind {
            for length in &mut aligned {
                bits.refill();
                *length = bits.take(3) as u8;
            }
        }
        let (literals, matches) = self.main_lengths.split_at_mut(256);
        read_lengths(bits, &mut self.other, literals)?;
        read_lengths(bits, &mut self.other, matches)?;
        read_lengths(bits, &mut self.other, &mut self.length_lengths)?;
        self.main.set(&self.main_lengths)?;
        self.length.set(&self.length_lengths)?;
        let out = out.get_mut(..end).ok_or(TOO_LONG)?;
        match kind {
            Kind::Verbatim => self.symbols::<false>(bits, out, at)?,
            Kind::Aligned => {
                self.other.set(&aligned)?;
                self.symbols::<true>(bits, out, at)?;
            }
        }
        Ok(end)
    }

    /// The bytes of a block that is not compressed, after the last three distances.
    fn stored(&mut self, bits: &mut Bits<'_>, out: &mut [u8]) -> Result<(), Corrupt> {
        bits.align();
        for recent in &mut self.recent {
            let bytes = bits.aligned_bytes(4)?;
            *recent = bytes.first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
            if *recent == 0 {
                return Err(Corrupt("a distance is 0"));
            }
        }
        out.copy_from_slice(bits.aligned_bytes(out.len())?);
        if out.len() % 2 == 1 {
            // The next block, if there is one, begins with a word.
            let _ = bits.aligned_bytes(1);
        }
        Ok(())
    }

    /// Decompresses what is left of `out`.
    fn symbols<const ALIGNED: bool>(
        &mut self,
        bits: &mut Bits<'_>,
        out: &mut [u8],
        start: usize,
    ) -> Result<(), Corrupt> {
        let mut at = start;
        while at < out.len() {
            // A match takes at most 16, 16 and 13 bits.
            bits.refill();
            let symbol = self.main.symbol(bits)?;
            if let Ok(literal) = u8::try_from(symbol) {
                *out.get_mut(at).ok_or(TOO_LONG)? = literal;
                at = at.wrapping_add(1);
                continue;
            }
            let symbol = symbol.wrapping_sub(256);
            let mut len = usize::from(symbol & 7).wrapping_add(2);
            if symbol & 7 == 7 {
                len = len.wrapping_add(usize::from(self.length.symbol(bits)?));
            }
            let distance = self.distance::<ALIGNED>(u32::from(symbol >> 3), bits)?;
            at = copy_match(out, at, distance as usize, len)?;
            bits.check()?;
        }
        Ok(())
    }

    fn distance<const ALIGNED: bool>(
        &mut self,
        slot: u32,
        bits: &mut Bits<'_>,
    ) -> Result<u32, Corrupt> {
        let [first, second, third] = self.recent;
        let (distance, recent) = match slot {
            0 => return Ok(first),
            1 => (second, [second, first, third]),
            2 => (third, [third, second, first]),
            _ => {
                // Slots of the same length come in pairs: 2 and 3 have none, 4 and 5 have one bit…
                let count = (slot >> 1).wrapping_sub(1);
                let base = (2 | slot & 1).unbounded_shl(count);
                let offset = match count {
                    3.. if ALIGNED => {
                        let high = bits.take(count.wrapping_sub(3)) << 3;
                        high | u32::from(self.other.symbol(bits)?)
                    }
                    _ => bits.take(count),
                };
                let distance = base.wrapping_add(offset).wrapping_sub(RECENT);
                (distance, [distance, first, second])
            }
        };
        self.recent = recent;
        Ok(distance)
    }
}

/// Reads the lengths of a code, as differences to those before.
fn read_lengths(bits: &mut Bits<'_>, code: &mut Code, lengths: &mut [u8]) -> Result<(), Corrupt> {
    let mut own = [0; 20];
    for length in &mut own {
        bits.refill();
        *length = bits.take(4) as u8;
    }
    code.set(&own)?;
    let mut rest = lengths;
    while !rest.is_empty() {
        bits.refill();
        let symbol = code.symbol(bits)?;
        let before = rest.first().copied().unwrap_or_default();
        let (count, value) = match symbol {
            17 => (bits.take(4).wrapping_add(4), 0),
            18 => (bits.take(5).wrapping_add(20), 0),
            19 => {
                let count = bits.take(1).wrapping_add(4);
                (count, changed(before, code.symbol(bits)?)?)
            }
            _ => (1, changed(before, symbol)?),
        };
        let (run, after) = std::mem::take(&mut rest)
            .split_at_mut_checked(count as usize)
            .ok_or(Corrupt("a table has too many code lengths"))?;
        run.fill(value);
        rest = after;
    }
    bits.check()
}

/// A length that is stored as a difference, which is subtracted modulo 17.
fn changed(before: u8, symbol: u16) -> Result<u8, Corrupt> {
    let symbol = u8::try_from(symbol).ok().filter(|symbol| *symbol < 17);
    let symbol = symbol.ok_or(Corrupt("a difference of code lengths is wrong"))?;
    Ok(match before.checked_sub(symbol) {
        Some(length) => length,
        None => before.wrapping_add(17).wrapping_sub(symbol),
    })
}

/// Makes the targets of calls (0xE8) relative again. The last ten bytes are never changed.
fn translate_calls(out: &mut [u8]) {
    let last = out.len().saturating_sub(10);
    let mut at = 0usize;
    while let Some(next) = out
        .get(at..last)
        .and_then(|rest| rest.iter().position(|byte| *byte == 0xE8))
    {
        let call = at.wrapping_add(next);
        let start = call.wrapping_add(1);
        at = call.wrapping_add(5);
        let Some(place) = out.get_mut(start..at) else {
            return;
        };
        let target = place.first_chunk().map_or(0, |b| i32::from_le_bytes(*b));
        // At most `CHUNK`.
        let position = call as i32;
        let target = if (0..FILE_SIZE).contains(&target) {
            target.wrapping_sub(position)
        } else if (position.wrapping_neg()..0).contains(&target) {
            target.wrapping_add(FILE_SIZE)
        } else {
            continue;
        };
        place.copy_from_slice(&target.to_le_bytes());
    }
}
