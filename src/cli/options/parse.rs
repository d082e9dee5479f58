//! Values on the command line: numbers, and IDs of key protectors.

use fve::format::selector::ProtectorSelector;

/// Parses a number of bytes, decimal or hexadecimal with `0x`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "not a number of bytes".to_owned())
}

/// The same with an optional minus sign, for an offset before the first byte.
pub(crate) fn parse_start(text: &str) -> Result<i64, String> {
    let (sign, bytes) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let bytes = i64::try_from(parse_bytes(bytes)?).map_err(|error| error.to_string())?;
    Ok(sign * bytes)
}

/// Parses a number of bytes with an optional unit, a power of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || "not a size such as 104857600, 100M or 2G".to_owned();
    let text = text.strip_suffix("iB").unwrap_or(text);
    let split = text.find(|c: char| c.is_ascii_alphabetic() && c != 'x');
    let (digits, unit) = match text.strip_prefix("0x") {
        Some(digits) => {
            return u64::from_str_radix(digits, 16).map_err(|_| bad());
        }
        None => text.split_at(split.unwrap_or(text.len())),
    };
    let shift = match unit {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(bad()),
    };
    let number: u64 = digits.parse().map_err(|_| bad())?;
    number.checked_mul(1 << shift).ok_or_else(bad)
}

/// Accepts what can be the ID of a key protector: a GUID, or its first eight or more hex digits.
pub(crate) fn parse_protector_id(text: &str) -> Result<String, String> {
    match text.parse::<ProtectorSelector>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_decimal_or_hexadecimal() {
        assert_eq!(parse_bytes("1048576"), Ok(1 << 20));
        assert_eq!(parse_bytes("0x100000"), Ok(1 << 20));
        for bad in ["", "0x", "-1", "1M", "99999999999999999999"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_may_have_a_unit() {
        for (text, size) in [
            ("1048576", 1 << 20),
            ("0x100000", 1 << 20),
            ("64M", 64 << 20),
            ("64MiB", 64 << 20),
            ("2G", 2 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for bad in ["", "M", "-1", "1.5G", "1P", "64MB", "99999999T", "0x"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
