//! Identifiers as BitLocker stores and prints them.

use std::fmt;
use std::str::FromStr;

/// A 16-byte identifier in Microsoft's mixed byte order: the first three groups are little-endian
/// on disk (docs/format.md §0).
///
/// Prints in lower case, as `8f595209-f5b9-49a0-85d4-cb8f80258c27`; `{:X}` prints the upper-case
/// form that Windows shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(uuid::Uuid);

impl Guid {
    /// The identifier whose 16 bytes stand on disk as `bytes`.
    pub const fn from_disk(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes_le(bytes))
    }

    /// The 16 bytes as they stand on disk.
    pub const fn to_disk(self) -> [u8; 16] {
        self.0.to_bytes_le()
    }

    /// The first eight hex digits in upper case: what Windows' recovery screen shows.
    pub fn short(&self) -> String {
        let mut text = format!("{self:X}");
        text.truncate(8);
        text
    }

    /// Whether `text` names this identifier: the whole of it or its first eight or more hex
    /// digits, in either case, with or without braces.
    pub fn is_named_by(&self, text: &str) -> bool {
        let wanted = bare(text);
        let digits = wanted.chars().filter(|c| *c != '-').count();
        digits >= 8
            && wanted.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
            && (self.to_string().starts_with(&wanted)
                || self.0.simple().to_string().starts_with(&wanted))
    }
}

/// `text` in lower case without white space and braces around it.
fn bare(text: &str) -> String {
    text.trim()
        .trim_start_matches('{')
        .trim_end_matches('}')
        .to_ascii_lowercase()
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0.hyphenated())
    }
}

impl fmt::UpperHex for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}", self.0.hyphenated())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}

/// The text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier of the form 8f595209-f5b9-49a0-85d4-cb8f80258c27")]
pub struct ParseGuidError;

impl FromStr for Guid {
    type Err = ParseGuidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid::Uuid::try_parse(&bare(text))
            .map(Self)
            .map_err(|_| ParseGuidError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn reads_the_mixed_byte_order_of_the_worked_example() {
        let id = Guid::from_disk(hex!("5c19553e11889b4d97b42b9e5f8f5384"));
        assert_eq!(id.to_string(), "3e55195c-8811-4d9b-97b4-2b9e5f8f5384");
        assert_eq!(format!("{id:X}"), "3E55195C-8811-4D9B-97B4-2B9E5F8F5384");
        assert_eq!(id.short(), "3E55195C");
        assert_eq!(id.to_disk(), hex!("5c19553e11889b4d97b42b9e5f8f5384"));
    }

    #[test]
    fn is_named_by_a_prefix_of_eight_digits_or_more() {
        let id: Guid = "{3E55195C-8811-4D9B-97B4-2B9E5F8F5384}".parse().unwrap();
        for name in [
            "3e55195c",
            "3E55195C",
            "{3E55195C-8811",
            "3e55195c88114d9b97b42b9e5f8f5384",
            "{3E55195C-8811-4D9B-97B4-2B9E5F8F5384}",
        ] {
            assert!(id.is_named_by(name), "{name}");
        }
        for name in ["", "3e55195", "3e55195d", "3e55195c-8812", "3e55195c*"] {
            assert!(!id.is_named_by(name), "{name}");
        }
    }
}
