//! Reads LDIF (RFC 2849) as ldapsearch and ldifde write it. Lines may be folded, and values in base64.
//!
//! Written by hand because the values are secrets: a general reader would return them in strings of
//! its own, which nothing wipes.

use std::iter::Peekable;

use zeroize::Zeroizing;

use super::record::{Field, Record};
use crate::shown::beginning;

/// Longest line that is kept, in bytes after unfolding; the rest is dropped.
const MAX_LINE: usize = 0x1_0000;
/// Longest distinguished name that is kept, in bytes.
const MAX_NAME: usize = 1024;

/// Whether a text is LDIF: its first line that is not a comment gives an entry or a version.
pub(super) fn is_ldif(text: &str) -> bool {
    let mut lines = text.lines();
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| line.starts_with("dn:") || line.starts_with("version:"))
}

/// Calls `each` with the distinguished name and the attributes of every entry. Lines that are not
/// attributes are skipped.
pub(super) fn read(text: impl Iterator<Item = char>, mut each: impl FnMut(&str, &[Field])) {
    let mut text = text.peekable();
    let mut name: Option<String> = None;
    let mut record = Record::default();
    // As large as the longest line: a growing buffer would leave copies in freed memory.
    let mut line = Zeroizing::new(String::with_capacity(MAX_LINE));
    while text.peek().is_some() {
        next_line(&mut text, &mut line);
        if line.is_empty() {
            if let Some(name) = name.take() {
                each(&name, record.fields());
            }
            record.clear();
        } else if !line.starts_with('#')
            && let Some(field) = attribute(&line)
        {
            if name.is_none() && field.name.eq_ignore_ascii_case("dn") {
                let text = String::from_utf8_lossy(&field.value);
                name = Some(beginning(&text, MAX_NAME).to_owned());
            } else {
                record.push(field);
            }
        }
    }
    if let Some(name) = name {
        each(&name, record.fields());
    }
}

/// Reads the next line into `line`, unfolded: a line that begins with a space continues the one before
/// it.
fn next_line(text: &mut Peekable<impl Iterator<Item = char>>, line: &mut Zeroizing<String>) {
    line.clear();
    while let Some(next) = text.next() {
        if next != '\n' {
            if line.len() + next.len_utf8() <= MAX_LINE {
                line.push(next);
            }
            continue;
        }
        let len = line.trim_end_matches('\r').len();
        line.truncate(len);
        if text.next_if_eq(&' ').is_none() {
            return;
        }
    }
    let len = line.trim_end_matches('\r').len();
    line.truncate(len);
}

fn attribute(line: &str) -> Option<Field> {
    let (name, value) = line.split_once(':')?;
    // Options after the name, such as `;binary`, do not matter here.
    let name = name.split(';').next()?.trim();
    Some(match value.strip_prefix(':') {
        Some(coded) => Field {
            name: name.to_owned(),
            value: base64(coded.trim())?,
        },
        // `name:< URL` gives the value in another file, which is not read.
        None if value.starts_with('<') => return None,
        None => Field::new(name, value.trim_start()),
    })
}

/// The bytes of base64 text; `None` if it has other characters. Not the crate `base64ct`, which needs
/// exact padding and no other bits in the last character; exports are laxer.
fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.trim_end_matches('=');
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 4 * 3 + 3));
    let mut held = 0u32;
    let mut bits = 0u32;
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6 | u32::from(value)) & 0xFFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfolds_lines_and_decodes_base64() {
        let text = "# a comment\nversion: 1\n\ndn: CN=a,\n CN=b\r\nother: x\npassword: 12\n 34\n 56\nguid:: AAEC\n Aw==\nfar:< file:///etc/passwd\n\ndn:: Q049Yw==\n";
        assert!(is_ldif(text));
        let mut entries = Vec::new();
        read(text.chars(), |name, fields| {
            let fields = fields.iter();
            let values = fields.map(|field| (field.name.clone(), field.value.to_vec()));
            entries.push((name.to_owned(), values.collect::<Vec<_>>()));
        });
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].0, "CN=a,CN=b");
        assert_eq!(entries[1].0, "CN=c");
        let values: Vec<_> = entries[0]
            .1
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();
        let expected: [(&str, &[u8]); 3] = [
            ("other", b"x"),
            ("password", b"123456"),
            ("guid", &[0, 1, 2, 3]),
        ];
        assert_eq!(values, expected);
    }
}
