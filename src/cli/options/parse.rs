//! Values on the command line: numbers, and IDs of key protectors.

use fve::format::selector::ProtectorSelector;

/// Length of the sectors that the suffix `s` counts.
const SECTOR: u64 = 512;

/// Units by their letter: powers of 1024, or of 1000 where `B` follows the letter.
const UNITS: [char; 6] = ['k', 'm', 'g', 't', 'p', 'e'];

/// What a number of bytes looks like, for messages.
const EXAMPLES: &str =
    "104857600, 0x6400000, 100M or 100MiB (1024 * 1024 each), 105MB (1000 * 1000 each), 1.5G";

/// Parses a number of bytes, decimal or hexadecimal with `0x`, with an optional unit.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    parse(text).ok_or_else(|| {
        format!("not a number of bytes, such as {EXAMPLES}, or 2048s for sectors of 512 bytes")
    })
}

/// The same for the place where a volume begins.
pub(crate) fn parse_offset(text: &str) -> Result<u64, String> {
    let offset = parse_bytes(text)?;
    if offset.is_multiple_of(SECTOR) {
        return Ok(offset);
    }
    Err("not a multiple of 512 bytes; a number of sectors ends in s, as in 2048s".to_owned())
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

/// Parses the size of something new.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    parse(text).ok_or_else(|| format!("not a size, such as {EXAMPLES}"))
}

/// Accepts what can be the ID of a key protector: a GUID, or its first eight or more hex digits.
pub(crate) fn parse_protector_id(text: &str) -> Result<String, String> {
    match text.parse::<ProtectorSelector>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn parse(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        return u64::from_str_radix(digits, 16).ok().filter(|_| plain);
    }
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let (number, unit) = text.split_at(text.find(|c| !is_number(c)).unwrap_or(text.len()));
    scaled(number, unit_len(unit)?)
}

/// Bytes in a unit, in capital or small letters.
fn unit_len(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    let mut letters = unit.chars();
    let (base, letter): (u64, _) = match (letters.next(), letters.as_str()) {
        (None, _) | (Some('b'), "") => return Some(1),
        (Some('s'), "") => return Some(SECTOR),
        (Some(letter), "" | "i" | "ib") => (1024, letter),
        (Some(letter), "b") => (1000, letter),
        _ => return None,
    };
    let power = UNITS.into_iter().position(|unit| unit == letter)?;
    base.checked_pow(u32::try_from(power).ok()?.checked_add(1)?)
}

/// A number with an optional fraction, times a unit: a whole number of bytes.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let parts = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction: u128 = match fraction {
        "" => 0,
        digits => digits.parse().ok()?,
    };
    let all = whole
        .parse::<u128>()
        .ok()?
        .checked_mul(parts)?
        .checked_add(fraction)?
        .checked_mul(unit.into())?;
    let bytes = all.checked_div(parts)?;
    let is_whole = all.checked_rem(parts)? == 0;
    u64::try_from(bytes).ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_offsets_have_the_same_units() {
        for (text, size) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("0x100000", 1 << 20),
            ("0X100000", 1 << 20),
            ("512b", 512),
            ("2048s", 1 << 20),
            ("64K", 64 << 10),
            ("64k", 64 << 10),
            ("64M", 64 << 20),
            ("64m", 64 << 20),
            ("64MiB", 64 << 20),
            ("64mib", 64 << 20),
            ("64Mi", 64 << 20),
            ("64MB", 64_000_000),
            ("64mb", 64_000_000),
            ("1.5G", 3 << 29),
            ("0.5k", 512),
            ("1.50G", 3 << 29),
            ("2.5GB", 2_500_000_000),
            ("2G", 2 << 30),
            ("1T", 1 << 40),
            ("1P", 1 << 50),
            ("8E", 8 << 60),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
            assert_eq!(parse_bytes(text), Ok(size), "{text}");
        }
        for bad in [
            "",
            "M",
            "-1",
            "+1",
            "0x",
            "0x+1",
            "0x-1",
            "0x1G",
            "1.5",
            "1.G",
            ".5G",
            "1..5G",
            "1.0001k",
            "64MBs",
            "64Mibs",
            "64 M",
            "16E",
            "99999999T",
            "99999999999999999999",
            "1e3",
            "ü",
            "64ü",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_offset_is_a_whole_number_of_sectors() {
        assert_eq!(parse_offset("63s"), Ok(63 * 512));
        assert_eq!(parse_offset("34603008"), Ok(34_603_008));
        for bad in ["63", "0x41"] {
            let message = parse_offset(bad).unwrap_err();
            assert!(message.contains("ends in s"), "{message}");
        }
    }

    #[test]
    fn a_start_may_be_negative() {
        assert_eq!(parse_start("-1M"), Ok(-(1 << 20)));
        assert_eq!(parse_start("2048s"), Ok(1 << 20));
        for bad in ["--1", "-", "-0x", "9E"] {
            assert!(parse_start(bad).is_err(), "{bad}");
        }
    }
}
