//! Code page 437, in which DOS and Windows store short names.
//!
//! Which code page a name was written in is not stored. 437 is that of the English Windows and the default
//! of mkfs.fat, mtools and the kernel. The crate `encoding_rs`, which the library has, knows of the code
//! pages of DOS only 866; a crate for this table alone is not worth a dependency.
//!
//! Source: the table of Unicode's `MAPPINGS/VENDORS/MICSFT/PC/CP437.TXT`.

/// The characters from 0x80 on.
#[rustfmt::skip]
const UPPER_HALF: [char; 128] = [
    'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å',
    'É', 'æ', 'Æ', 'ô', 'ö', 'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ',
    'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º', '¿', '⌐', '¬', '½', '¼', '¡', '«', '»',
    '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛', '┐',
    '└', '┴', '┬', '├', '─', '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧',
    '╨', '╤', '╥', '╙', '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█', '▄', '▌', '▐', '▀',
    'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ', 'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩',
    '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²', '■', '\u{a0}',
];

/// The character of a byte.
pub(super) fn decode(byte: u8) -> char {
    let index = byte.checked_sub(0x80).map(usize::from);
    index
        .and_then(|index| UPPER_HALF.get(index).copied())
        .unwrap_or(char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_character() {
        let text: String = [0x41, 0x80, 0x8E, 0x9A, 0xE1, 0xFE, 0xFF]
            .map(decode)
            .iter()
            .collect();
        assert_eq!(text, "AÇÄÜß■\u{a0}");
        let all: std::collections::HashSet<char> = (0..=255).map(decode).collect();
        assert_eq!(all.len(), 256);
    }
}
