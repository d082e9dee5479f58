//! Strings on disk: UTF-16LE, usually terminated by a NUL.

/// The text before the first NUL. A single byte at the end is dropped and unpaired surrogates become
/// U+FFFD, because an invalid description is no reason to refuse a volume.
pub(crate) fn utf16le(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0);
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// The text with a terminating NUL, as UTF-16LE.
pub(crate) fn to_utf16le(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_strings_that_are_not_valid_utf_16() {
        assert_eq!(utf16le(b"a\0b\0\0\0c\0"), "ab");
        assert_eq!(utf16le(b"a\0b"), "a");
        assert_eq!(utf16le(&[0x00, 0xD8, 0x41, 0x00]), "\u{FFFD}A");
        assert_eq!(utf16le(&to_utf16le("Größe 例")), "Größe 例");
    }
}
