//! LZNT1, the compression of NTFS (\[MS-XCA\], section 2.5).
//!
//! A unit is a series of chunks, each for 4 KiB. A chunk has a header of 16 bits:
//!
//! | bits | meaning |
//! |---|---|
//! | 0–11 | length of the data that follow, minus 1 |
//! | 12–14 | 3 |
//! | 15 | whether the data are compressed |
//!
//! A header of zeros, or the end of the data, ends the unit; the rest of it is zeros, as is the rest of a
//! chunk that makes less than 4 KiB.
//!
//! The data of a compressed chunk are groups of a byte with eight flags, and up to eight elements: a
//! byte, or for a flag of 1 a match in 16 bits. Its upper bits are the distance minus 1, its lower
//! bits the length minus 3. The distance has as many bits as the distances that are possible there
//! need, but at least 4.

use super::{Corrupt, TOO_LONG, TRUNCATED, copy_match};

/// Bytes that a chunk makes.
const CHUNK: usize = 4096;
const SIGNATURE: u16 = 3;

/// Decompresses a compression unit into `out`, all of which is written.
pub(in crate::files) fn decompress(unit: &[u8], out: &mut [u8]) -> Result<(), Corrupt> {
    let mut rest = unit;
    let mut is_over = false;
    for chunk in out.chunks_mut(CHUNK) {
        let mut done = 0;
        if let Some((header, after)) = rest.split_first_chunk().filter(|_| !is_over) {
            let header = u16::from_le_bytes(*header);
            if header == 0 {
                is_over = true;
            } else {
                if header >> 12 & 7 != SIGNATURE {
                    return Err(Corrupt("a chunk has no valid header"));
                }
                let len = usize::from(header & 0x0FFF).saturating_add(1);
                let (data, after) = after.split_at_checked(len).ok_or(TRUNCATED)?;
                rest = after;
                if header & 0x8000 != 0 {
                    done = decompress_chunk(data, chunk)?;
                } else {
                    chunk.get_mut(..len).ok_or(TOO_LONG)?.copy_from_slice(data);
                    done = len;
                }
            }
        } else {
            is_over = true;
        }
        chunk.get_mut(done..).unwrap_or_default().fill(0);
    }
    Ok(())
}

/// Decompresses a chunk, and returns how many bytes it made.
fn decompress_chunk(data: &[u8], out: &mut [u8]) -> Result<usize, Corrupt> {
    let mut rest = data;
    let mut at = 0usize;
    while let Some((flags, after)) = rest.split_first() {
        rest = after;
        let mut flags = *flags;
        if flags == 0
            && let Some((literals, after)) = rest.split_first_chunk::<8>()
            && let Some(end) = at.checked_add(8)
            && let Some(place) = out.get_mut(at..end)
        {
            place.copy_from_slice(literals);
            (rest, at) = (after, end);
            continue;
        }
        for _ in 0..8 {
            if flags & 1 == 0 {
                let Some((literal, after)) = rest.split_first() else {
                    break;
                };
                *out.get_mut(at).ok_or(TOO_LONG)? = *literal;
                (rest, at) = (after, at.saturating_add(1));
            } else {
                let (token, after) = rest.split_first_chunk().ok_or(TRUNCATED)?;
                let token = usize::from(u16::from_le_bytes(*token));
                rest = after;
                // Bits of the length: 12 up to position 16, then one less at each power of two.
                let bits = (at.saturating_sub(1) >> 4)
                    .leading_zeros()
                    .saturating_sub(usize::BITS.saturating_sub(12));
                let mask = 1usize.unbounded_shl(bits).saturating_sub(1);
                let distance = token.unbounded_shr(bits).saturating_add(1);
                at = copy_match(out, at, distance, (token & mask).saturating_add(3))?;
            }
            flags >>= 1;
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(unit: &[u8], len: usize) -> Result<Vec<u8>, Corrupt> {
        let mut out = vec![0xEE; len];
        decompress(unit, &mut out).map(|()| out)
    }

    /// The example in \[MS-XCA\], section 3.3.
    #[test]
    fn the_published_example_is_decompressed() {
        let data = [
            0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2,
            0x47, 0x01, 0xa0, 0x45, 0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0,
            0x45, 0x20, 0x05, 0x24, 0x13, 0x88, 0x05, 0xb4, 0x02, 0x4a, 0x44, 0xef, 0x03, 0x58,
            0x02, 0x8c, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xbe, 0x00, 0x9e, 0x00, 0x04, 0x01,
            0x18, 0x90, 0x00,
        ];
        let text = "F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# \
                    D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0";
        let out = unit(&data, 8192).unwrap();
        assert_eq!(&out[..text.len()], text.as_bytes());
        assert!(out[text.len()..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_short_chunk_is_filled_with_zeros() {
        let mut data = vec![0x02, 0x30, 1, 2, 3, 0x00, 0xB0, 0];
        data.extend([0x00, 0x30, 9, 0, 0]);
        let out = unit(&data, 16384).unwrap();
        let mut expected = vec![0; 16384];
        expected[..3].copy_from_slice(&[1, 2, 3]);
        expected[8192] = 9;
        assert_eq!(out, expected);
    }

    #[test]
    fn damage_is_found() {
        assert_eq!(unit(&[0x02, 0x30, 1, 2], 4096), Err(TRUNCATED));
        assert!(unit(&[0x02, 0x20, 1, 2, 3], 4096).is_err());
        // A match without anything before it.
        assert!(unit(&[0x02, 0xB0, 1, 0, 0], 4096).is_err());
        // A match of 4098 bytes after one byte.
        assert_eq!(unit(&[0x03, 0xB0, 2, 7, 0xFF, 0x0F], 4096), Err(TOO_LONG));
        assert_eq!(
            unit(&[0x03, 0xB0, 2, 7, 0xFC, 0x0F], 4096).unwrap(),
            [7; 4096]
        );
        assert_eq!(unit(&[], 4096).unwrap(), [0; 4096]);
    }
}
