//! Canonical Huffman codes of up to 16 bits: shorter codes come first, and codes of the same length in
//! the order of their symbols (\[MS-XCA\], section 2.2.4; the LZX documentation calls them path lengths).
//!
//! The first bits of a code are looked up in a table; the few codes that are longer are found by
//! comparing them with the first code of each length.

use super::Corrupt;
use super::bits::Bits;

/// Most symbols of a code here.
const SYMBOLS: usize = 512;
/// Longest code in bits.
const LONGEST: usize = 16;
/// Size of the table, as an exponent.
const TABLE_BITS: u32 = 10;

const NOT_COMPLETE: Corrupt = Corrupt("a table of code lengths is wrong");

/// A decoder of a code.
pub(super) struct Code {
    /// For the first bits of a code: its symbol, and its length in the upper 16 bits; 0 if it is longer.
    table: [u32; 1 << TABLE_BITS],
    /// The symbols in the order of their codes.
    sorted: [u16; SYMBOLS],
    /// For each length: the end of its codes, with 16 bits.
    ends: [u32; LONGEST + 1],
    /// For each length: what to add to a code to have its symbol's place.
    places: [u32; LONGEST + 1],
}

impl Code {
    /// A code with nothing in it.
    pub(super) fn new() -> Self {
        Self {
            table: [0; 1 << TABLE_BITS],
            sorted: [0; SYMBOLS],
            ends: [0; LONGEST + 1],
            places: [0; LONGEST + 1],
        }
    }

    /// Makes it the code with these lengths; 0 for a symbol without a code. A code without any symbol
    /// is allowed; no symbol can be read with it.
    pub(super) fn set(&mut self, lengths: &[u8]) -> Result<(), Corrupt> {
        let mut counts = [0u32; LONGEST + 1];
        for length in lengths {
            let count = counts.get_mut(usize::from(*length)).ok_or(NOT_COMPLETE)?;
            *count = count.wrapping_add(1);
        }
        // The next place of a symbol in `sorted`, for each length.
        let mut next = [0usize; LONGEST + 1];
        let (mut end, mut place) = (0u32, 0u32);
        let rows = self.ends.iter_mut().zip(&mut self.places);
        for (length, ((count, next), (last, places))) in
            counts.iter().zip(&mut next).zip(rows).enumerate().skip(1)
        {
            let bits = 16u32.wrapping_sub(length as u32);
            *next = place as usize;
            *places = place.wrapping_sub(end.unbounded_shr(bits));
            place = place.wrapping_add(*count);
            end = end.wrapping_add(count.unbounded_shl(bits));
            *last = end;
            if end > 1 << 16 {
                return Err(NOT_COMPLETE);
            }
        }
        if end != 1 << 16 && end != 0 {
            return Err(NOT_COMPLETE);
        }
        for (symbol, length) in (0u16..).zip(lengths) {
            if *length > 0
                && let Some(next) = next.get_mut(usize::from(*length))
                && let Some(entry) = self.sorted.get_mut(*next)
            {
                *entry = symbol;
                *next = next.wrapping_add(1);
            }
        }
        self.fill_table(&counts);
        Ok(())
    }

    fn fill_table(&mut self, counts: &[u32; LONGEST + 1]) {
        let mut symbols = self.sorted.iter();
        let mut rest = &mut self.table[..];
        for (length, count) in (0u32..).zip(counts).skip(1).take(TABLE_BITS as usize) {
            let width = 1usize << TABLE_BITS.wrapping_sub(length);
            for _ in 0..*count {
                let Some((entries, after)) = std::mem::take(&mut rest).split_at_mut_checked(width)
                else {
                    return;
                };
                let symbol = symbols.next().copied().unwrap_or_default();
                entries.fill(u32::from(symbol) | length << 16);
                rest = after;
            }
        }
        rest.fill(0);
    }

    /// Reads a symbol. The reader has at least 16 bits.
    #[inline]
    pub(super) fn symbol(&self, bits: &mut Bits<'_>) -> Result<u16, Corrupt> {
        let code = bits.peek();
        let index = usize::from(code >> (16 - TABLE_BITS));
        let entry = self.table.get(index).copied().unwrap_or_default();
        if entry != 0 {
            bits.skip(entry >> 16);
            return Ok(entry as u16);
        }
        self.long_symbol(code, bits)
    }

    fn long_symbol(&self, code: u16, bits: &mut Bits<'_>) -> Result<u16, Corrupt> {
        let code = u32::from(code);
        let lengths = (0u32..).zip(self.ends.iter().zip(&self.places));
        for (length, (end, place)) in lengths.skip(TABLE_BITS as usize).skip(1) {
            if code < *end {
                let place = code
                    .unbounded_shr(16u32.wrapping_sub(length))
                    .wrapping_add(*place);
                bits.skip(length);
                let symbol = self.sorted.get(place as usize).copied();
                return symbol.ok_or(NOT_COMPLETE);
            }
        }
        Err(Corrupt("a symbol is used that has no code"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes of every length up to 16, each of which is read again.
    #[test]
    fn codes_of_every_length_are_read() {
        let mut lengths = [0u8; 300];
        for (length, symbol) in
            (1..=16).zip([7, 299, 3, 200, 201, 5, 4, 9, 8, 11, 12, 13, 14, 1, 0, 2])
        {
            lengths[symbol] = length;
        }
        lengths[250] = 16;
        let mut code = Code::new();
        code.set(&lengths).unwrap();
        let mut sorted: Vec<_> = (0..300).filter(|symbol| lengths[*symbol] > 0).collect();
        sorted.sort_by_key(|symbol| (lengths[*symbol], *symbol));
        let mut next = 0u32;
        for symbol in sorted {
            let length = u32::from(lengths[symbol]);
            let word = next as u16;
            let [low, high] = word.to_le_bytes();
            let input = [low, high];
            let mut bits = Bits::new(&input);
            bits.refill();
            assert_eq!(code.symbol(&mut bits), Ok(symbol as u16));
            bits.check().unwrap();
            bits.skip(16 - length);
            bits.check().unwrap();
            next += 1 << (16 - length);
        }
        assert_eq!(next, 1 << 16);
    }

    #[test]
    fn a_code_that_is_not_complete_is_refused() {
        let mut code = Code::new();
        assert!(code.set(&[1, 0, 2]).is_err());
        assert!(code.set(&[1, 1, 2]).is_err());
        assert!(code.set(&[1, 1, 16]).is_err());
        assert!(code.set(&[17, 1, 1]).is_err());
        assert!(code.set(&[2, 1, 0, 2]).is_ok());
        assert!(code.set(&[0; 20]).is_ok());
        let mut bits = Bits::new(&[0; 8]);
        bits.refill();
        assert!(code.symbol(&mut bits).is_err());
    }
}
