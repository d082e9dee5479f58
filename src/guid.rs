//! GUIDs as BitLocker stores and prints them.

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
    /// The identifier that is stored on disk as `bytes`.
    pub const fn from_disk(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes_le(bytes))
    }

    /// The 16 bytes as stored on disk.
    pub const fn to_disk(self) -> [u8; 16] {
        self.0.to_bytes_le()
    }

    /// The first eight hex digits in upper case: what Windows' recovery screen shows.
    pub fn short(&self) -> String {
        let mut text = format!("{self:X}");
        text.truncate(8);
        text
    }

    /// Whether the identifier begins with these hex digits.
    pub fn starts_with(&self, prefix: GuidPrefix) -> bool {
        self.0.as_u128() >> prefix.bits_left() == prefix.digits
    }

    /// Whether `text` is this identifier or its first eight or more hex digits, in either case,
    /// with or without braces.
    pub fn is_named_by(&self, text: &str) -> bool {
        text.parse()
            .is_ok_and(|prefix: GuidPrefix| self.starts_with(prefix))
    }
}

/// The first 8 to 32 hex digits of an identifier, as a user types them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GuidPrefix {
    /// The digits as a number, the last one in the lowest four bits.
    digits: u128,
    /// How many digits there are, 8 to 32.
    len: u8,
}

impl GuidPrefix {
    /// Fewer digits would too often match several identifiers. Windows shows eight.
    const MIN: usize = 8;
    /// Hex digits of a whole identifier.
    const MAX: usize = 32;
    /// The usual form has a hyphen after each of these numbers of digits.
    const HYPHENS: [usize; 4] = [8, 12, 16, 20];

    /// Bits of an identifier that come after the prefix.
    const fn bits_left(self) -> u32 {
        128 - 4 * self.len as u32
    }
}

/// In upper case, without hyphens.
impl fmt::Display for GuidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:01$X}", self.digits, usize::from(self.len))
    }
}

/// The text is not the beginning of an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the first 8 or more hex digits of an identifier")]
pub struct ParseGuidPrefixError;

impl FromStr for GuidPrefix {
    type Err = ParseGuidPrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut prefix = Self { digits: 0, len: 0 };
        let mut hyphens = 0;
        let text = bare(text);
        for char in text.chars() {
            let len = usize::from(prefix.len);
            match char.to_digit(16) {
                Some(digit) if len < Self::MAX => {
                    prefix.digits = prefix.digits << 4 | u128::from(digit);
                    prefix.len += 1;
                }
                // Hyphens only where the usual form has them.
                None if char == '-' && Self::HYPHENS.get(hyphens) == Some(&len) => hyphens += 1,
                _ => return Err(ParseGuidPrefixError),
            }
        }
        // With hyphens, all those before the last digit must be there.
        let before = Self::HYPHENS
            .iter()
            .filter(|at| **at < usize::from(prefix.len));
        if usize::from(prefix.len) < Self::MIN || (hyphens > 0 && hyphens < before.count()) {
            return Err(ParseGuidPrefixError);
        }
        Ok(prefix)
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

/// The text is not an identifier.
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

    #[test]
    fn refuses_hyphens_in_other_places() {
        for text in ["3e55195c-8811-4", "3e55195c-", "3e55195c881"] {
            assert!(text.parse::<GuidPrefix>().is_ok(), "{text}");
        }
        for text in [
            "3e55-195c",
            "-3e55195c",
            "3e55195c8811-4d9b",
            "3e55195c-88114",
        ] {
            assert!(text.parse::<GuidPrefix>().is_err(), "{text}");
        }
        let prefix: GuidPrefix = "{0e55195c-88".parse().unwrap();
        assert_eq!(prefix.to_string(), "0E55195C88");
    }
}
