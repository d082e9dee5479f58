//! Names of files: UTF-16, which need not be valid.

use std::borrow::Cow;
#[cfg(unix)]
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::sync::Arc;

use crate::shown::write_escaped;

/// The name of a file or of a stream, in UTF-16. NTFS allows any 16-bit units, also surrogates without
/// their other half.
///
/// `Display` shows it with control characters escaped. For a Linux file name, see
/// [`FileName::to_os_string`] and [`FileName::to_safe`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileName(Arc<[u16]>);

impl FileName {
    /// A name of these units.
    pub fn from_units(units: impl Into<Arc<[u16]>>) -> Self {
        Self(units.into())
    }

    /// A name of UTF-16 in little-endian order. An odd byte at the end is ignored.
    pub fn from_le_bytes(bytes: &[u8]) -> Self {
        let (units, _) = bytes.as_chunks();
        Self(units.iter().map(|unit| u16::from_le_bytes(*unit)).collect())
    }

    /// Its UTF-16 units.
    pub fn units(&self) -> &[u16] {
        &self.0
    }

    /// The name as text, if it is valid UTF-16.
    pub fn to_text(&self) -> Option<String> {
        String::from_utf16(&self.0).ok()
    }

    /// The name as text, with U+FFFD for units that are not valid.
    pub fn to_text_lossy(&self) -> String {
        // Most names are ASCII, and lists of files are long.
        let ascii: Option<Vec<u8>> = self.0.iter().map(|unit| ascii(*unit)).collect();
        let text = ascii.and_then(|bytes| String::from_utf8(bytes).ok());
        text.unwrap_or_else(|| String::from_utf16_lossy(&self.0))
    }

    /// The name in WTF-8: UTF-8, in which a surrogate without its other half has three bytes, as
    /// ntfs-3g and the Linux kernel write it. Different names stay different.
    pub fn to_wtf8(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len());
        for unit in char::decode_utf16(self.0.iter().copied()) {
            match unit {
                Ok(char) => bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(lone) => {
                    let unit = lone.unpaired_surrogate();
                    let [high, low] = unit.to_be_bytes();
                    bytes.extend([
                        0xE0 | high >> 4,
                        0x80 | (high & 0x0F) << 2 | low >> 6,
                        0x80 | low & 0x3F,
                    ]);
                }
            }
        }
        bytes
    }

    /// The name whose [`FileName::to_wtf8`] is `bytes`. `None` if there is none.
    pub fn from_wtf8(bytes: &[u8]) -> Option<Self> {
        let mut units = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let valid = match std::str::from_utf8(rest) {
                Ok(text) => text,
                Err(error) => std::str::from_utf8(rest.get(..error.valid_up_to())?).ok()?,
            };
            units.extend(valid.encode_utf16());
            rest = rest.get(valid.len()..)?;
            if let [first, second, third, after @ ..] = rest {
                let is_surrogate = *first == 0xED
                    && (0xA0..=0xBF).contains(second)
                    && (0x80..=0xBF).contains(third);
                if !is_surrogate {
                    return None;
                }
                units.push(0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F));
                rest = after;
            } else if !rest.is_empty() {
                return None;
            }
        }
        // Both halves of a pair have four bytes together.
        let name = Self(units.into());
        (name.to_wtf8() == bytes).then_some(name)
    }

    /// The name as a Linux file name, in WTF-8. It may contain `/` and NUL; see
    /// [`FileName::to_safe`].
    #[cfg(unix)]
    pub fn to_os_string(&self) -> OsString {
        use std::os::unix::ffi::OsStringExt;
        OsString::from_vec(self.to_wtf8())
    }

    /// The name that a Linux file name stands for.
    #[cfg(unix)]
    pub fn from_os_str(name: &OsStr) -> Option<Self> {
        use std::os::unix::ffi::OsStrExt;
        Self::from_wtf8(name.as_bytes())
    }

    /// A name under which a Linux file system can hold the file: at most 255 bytes, without `/` and
    /// NUL, and not `.` or `..`. Different names stay different, except that those that are cut have
    /// only a checksum to tell them apart.
    ///
    /// `/` becomes `%2F`, NUL `%00`, and in such names `%` becomes `%25`; a name of dots begins with
    /// `%2E`. A name that looks as if it had been escaped in this way is escaped, too: `a%2Fb` becomes
    /// `a%252Fb`. A name that is too long is cut, and ends in `~` and a checksum of the whole name.
    pub fn to_safe(&self) -> SafeName {
        let plain = self.to_wtf8();
        let mut bytes = escaped(&plain);
        if bytes.len() > MAX_SAFE {
            let mut end = MAX_SAFE - 9;
            while end > 0 && bytes.get(end).is_some_and(|byte| byte & 0xC0 == 0x80) {
                end -= 1;
            }
            bytes.truncate(end);
            bytes.extend(format!("~{:08x}", crc32fast::hash(&plain)).into_bytes());
        }
        let changed = bytes != plain;
        SafeName { bytes, changed }
    }

    /// The name as [`FileName::to_safe`] writes it, but never cut. Different names stay different.
    pub fn to_escaped(&self) -> Vec<u8> {
        escaped(&self.to_wtf8())
    }

    /// The name whose [`FileName::to_escaped`] is `bytes`. `None` if there is none.
    pub fn from_escaped(bytes: &[u8]) -> Option<Self> {
        Self::from_wtf8(&unescaped(bytes)?)
    }
}

/// What an empty name, which only a damaged file system has, is written as.
const EMPTY: &[u8] = b"%%";

/// Escapes a name that Linux does not allow, or that is the escaped form of such a name.
fn escaped(plain: &[u8]) -> Vec<u8> {
    match must_change(plain) {
        true => encoded(plain),
        false => plain.to_vec(),
    }
}

/// The inverse of [`escaped`]: `None` if no name is written like this.
fn unescaped(bytes: &[u8]) -> Option<Vec<u8>> {
    if !must_change(bytes) {
        return Some(bytes.to_vec());
    }
    decoded(bytes).filter(|plain| must_change(plain))
}

/// Whether Linux does not allow a name, or it is the escaped form of one that must change.
fn must_change(name: &[u8]) -> bool {
    let mut name = Cow::Borrowed(name);
    loop {
        if is_dots(&name) || name.is_empty() || name.contains(&b'/') || name.contains(&0) {
            return true;
        }
        // Each round is shorter than the one before.
        match decoded(&name).filter(|plain| plain.len() < name.len()) {
            Some(plain) => name = plain.into(),
            None => return false,
        }
    }
}

fn is_dots(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

fn encoded(plain: &[u8]) -> Vec<u8> {
    if plain.is_empty() {
        return EMPTY.to_vec();
    }
    let has_dots = is_dots(plain);
    let mut bytes = Vec::with_capacity(plain.len());
    for (at, byte) in plain.iter().enumerate() {
        match byte {
            b'/' => bytes.extend_from_slice(b"%2F"),
            0 => bytes.extend_from_slice(b"%00"),
            b'%' => bytes.extend_from_slice(b"%25"),
            b'.' if has_dots && at == 0 => bytes.extend_from_slice(b"%2E"),
            other => bytes.push(*other),
        }
    }
    bytes
}

/// The inverse of [`encoded`]: `None` for what it never returns.
fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    match bytes {
        EMPTY => return Some(Vec::new()),
        b"%2E" => return Some(b".".to_vec()),
        b"%2E." => return Some(b"..".to_vec()),
        _ => {}
    }
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let (byte, left) = match (first, rest.split_first_chunk::<3>()) {
            (b'%', Some((b"%2F", left))) => (b'/', left),
            (b'%', Some((b"%00", left))) => (0, left),
            (b'%', Some((b"%25", left))) => (b'%', left),
            (b'%' | b'/' | 0, _) => return None,
            _ => (*first, after),
        };
        plain.push(byte);
        rest = left;
    }
    (!is_dots(&plain)).then_some(plain)
}

/// The unit as an ASCII character.
fn ascii(unit: u16) -> Option<u8> {
    u8::try_from(unit).ok().filter(u8::is_ascii)
}

/// Longest name of a Linux file system, in bytes.
const MAX_SAFE: usize = 255;

/// A name from [`FileName::to_safe`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SafeName {
    /// The name in WTF-8.
    pub bytes: Vec<u8>,
    /// Whether it differs from the name in the file system.
    pub changed: bool,
}

impl From<&str> for FileName {
    fn from(text: &str) -> Self {
        Self(text.encode_utf16().collect())
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(&self.to_text_lossy(), f)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Cow::from(self.to_text_lossy()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_units() {
        let name = FileName::from("name");
        assert_eq!(name.clone().units().as_ptr(), name.units().as_ptr());
    }

    #[test]
    fn every_name_has_its_own_wtf8() {
        let names: [&[u16]; 5] = [
            &[0x61, 0x2F],
            &[0xD800],
            &[0xDC00, 0xD800],
            &[0xD83D, 0xDE00],
            &[0x61, 0xDBFF, 0xFFFF],
        ];
        for units in names {
            let name = FileName::from_units(units);
            assert_eq!(FileName::from_wtf8(&name.to_wtf8()), Some(name));
        }
        assert_eq!(FileName::from_units([0xD800]).to_wtf8(), b"\xED\xA0\x80");
        for bytes in [&b"\xFF"[..], b"a\xED", b"\xED\xA0", b"\xC0\x80"] {
            assert_eq!(FileName::from_wtf8(bytes), None);
        }
        assert_eq!(FileName::from_wtf8(b"\xED\xA0\xBD\xED\xB8\x80"), None);
    }

    #[test]
    fn a_safe_name_is_one_that_linux_can_hold() {
        let safe = |text: &str| {
            let safe = FileName::from(text).to_safe();
            (String::from_utf8(safe.bytes).unwrap(), safe.changed)
        };
        assert_eq!(safe("a%2fb 100%25 50%"), ("a%2fb 100%25 50%".into(), false));
        assert_eq!(safe("a/b%"), ("a%2Fb%25".into(), true));
        assert_eq!(safe(".."), ("%2E.".into(), true));
        assert_eq!(safe("..."), ("...".into(), false));
        assert_eq!(safe("a\0"), ("a%00".into(), true));
        assert_eq!(safe(""), ("%%".into(), true));
        assert_eq!(safe("%"), ("%".into(), false));
        let long = "\u{20AC}".repeat(255);
        let (short, changed) = safe(&long);
        assert!(
            changed && short.len() <= 255 && short.contains('~'),
            "{short}"
        );
        assert_ne!(short, safe(&long[3..]).0);
    }

    #[test]
    fn no_two_names_have_the_same_safe_one() {
        let parts = ["", "a", "/", "%", "2F", "25", "2E", ".", "\0", "00"];
        let mut seen = std::collections::HashMap::new();
        for number in 0..10_000_usize {
            let digits = [1, 10, 100, 1000].map(|unit| number / unit % 10);
            let text: String = digits.map(|digit| parts[digit]).concat();
            let name = FileName::from(text.as_str());
            let bytes = name.to_safe().bytes;
            assert!(!bytes.is_empty() && !bytes.contains(&b'/') && !bytes.contains(&0));
            assert!(!is_dots(&bytes));
            assert_eq!(bytes, name.to_escaped());
            assert_eq!(FileName::from_escaped(&bytes), Some(name));
            let other = seen.insert(bytes.clone(), text.clone());
            assert!(other.is_none_or(|other| other == text), "{bytes:?}");
        }
        // What is never written stands for nothing.
        assert_eq!(FileName::from_escaped(b"a/b"), None);
        assert_eq!(FileName::from_escaped(b"%"), Some("%".into()));
        assert_eq!(FileName::from_escaped(b".."), None);
        assert_eq!(FileName::from_escaped(b"a%2Fb"), Some("a/b".into()));
        assert_eq!(FileName::from_escaped(b"a%252Fb"), Some("a%2Fb".into()));
    }
}
