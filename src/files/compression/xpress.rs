//! XPRESS with Huffman codes, as in the files of CompactOS (\[MS-XCA\], section 2.2).
//!
//! | offset | field |
//! |---|---|
//! | 0 | lengths of the codes of 512 symbols, 4 bits each, the even ones in the lower bits |
//! | 256 | the bit stream |
//!
//! A symbol below 256 is a byte. The others are matches: the lower 4 bits are the length minus 3, where
//! 15 is continued in bytes between the words of the bit stream; the next 4 bits are the number of
//! bits that follow for the distance, below its highest bit.
//!
//! The format has a new table of lengths after every 64 KiB; a chunk is at most 16 KiB long.

use super::bits::Bits;
use super::huffman::Code;
use super::{Corrupt, TOO_LONG, TRUNCATED, copy_match};

/// Most bytes that one table of code lengths is for.
const BLOCK: usize = 1 << 16;
const TABLE: usize = 256;

/// Decompresses a chunk of at most 64 KiB into `out`, all of which is written.
pub(in crate::files) fn decompress(chunk: &[u8], out: &mut [u8]) -> Result<(), Corrupt> {
    if out.len() > BLOCK {
        return Err(TOO_LONG);
    }
    let (table, stream) = chunk.split_first_chunk::<TABLE>().ok_or(TRUNCATED)?;
    let mut lengths = [0; TABLE * 2];
    for (pair, byte) in lengths.chunks_exact_mut(2).zip(table) {
        pair.copy_from_slice(&[byte & 0x0F, byte >> 4]);
    }
    let mut code = Code::new();
    code.set(&lengths)?;
    let mut bits = Bits::new(stream);
    let mut at = 0usize;
    while at < out.len() {
        bits.refill();
        let symbol = code.symbol(&mut bits)?;
        if let Ok(literal) = u8::try_from(symbol) {
            *out.get_mut(at).ok_or(TOO_LONG)? = literal;
            at = at.wrapping_add(1);
            continue;
        }
        let mut len = usize::from(symbol & 0x0F);
        if len == 0x0F {
            len = long_length(&mut bits)?;
            bits.refill();
        }
        let exponent = u32::from(symbol >> 4 & 0x0F);
        let distance = 1 << exponent | bits.take(exponent) as usize;
        at = copy_match(out, at, distance, len.saturating_add(3))?;
        bits.check()?;
    }
    bits.check()
}

/// The rest of the length of a match, without the 3 that are always added.
#[cold]
fn long_length(bits: &mut Bits<'_>) -> Result<usize, Corrupt> {
    let byte = bits.byte()?;
    if byte < 0xFF {
        return Ok(usize::from(byte).saturating_add(15));
    }
    let len = match u16::from_le_bytes(bits.bytes()?) {
        0 => u32::from_le_bytes(bits.bytes()?),
        len => u32::from(len),
    };
    match usize::try_from(len) {
        Ok(len) if len >= 15 => Ok(len),
        _ => Err(Corrupt("the length of a match is wrong")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second example in \[MS-XCA\], section 3.2: 300 letters.
    #[test]
    fn the_published_example_is_decompressed() {
        let mut data = [0u8; 276];
        data[0x30..0x32].copy_from_slice(&[0x30, 0x23]);
        data[0x80] = 0x02;
        data[0x8F] = 0x20;
        data[256..].copy_from_slice(&[
            0xa8, 0xdc, 0x00, 0x00, 0xff, 0x26, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]);
        let mut out = [0; 300];
        decompress(&data, &mut out).unwrap();
        assert_eq!(out.to_vec(), b"abc".repeat(100));
        assert!(decompress(&data, &mut [0; 1 << 17]).is_err());
        assert!(decompress(&data[..257], &mut out).is_err());
        assert!(decompress(&[0; 400], &mut out).is_err());
    }
}
