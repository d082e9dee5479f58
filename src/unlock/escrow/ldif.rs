//! LDIF (RFC 2849): what ldapsearch and ldifde write. Lines are folded, values may be base64, and
//! names of entries are escaped.

use zeroize::Zeroizing;

use super::record::Field;

/// One entry: its name, and its attributes.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) fields: Vec<Field>,
}

/// Whether a text is LDIF: its first line that is no comment names an entry or a version.
pub(super) fn is_ldif(text: &str) -> bool {
    let mut lines = text.lines();
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| line.starts_with("dn:") || line.starts_with("version:"))
}

/// The entries of a text. Lines that are no attribute are passed over.
pub(super) fn entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut fields: Vec<Field> = Vec::new();
    let mut line = Zeroizing::new(String::new());
    let mut lines = text.lines().peekable();
    while let Some(next) = lines.next() {
        line.push_str(next.trim_end_matches('\r'));
        // A line that begins with a blank goes on where the one before ended.
        let folded = lines.peek().and_then(|after| after.strip_prefix(' '));
        if let Some(rest) = folded {
            line.reserve_exact(rest.len());
            while let Some(rest) = lines.peek().and_then(|after| after.strip_prefix(' ')) {
                line.push_str(rest.trim_end_matches('\r'));
                lines.next();
            }
        }
        if line.is_empty() {
            end(&mut entries, &mut fields);
        } else if !line.starts_with('#') {
            fields.extend(attribute(&line));
        }
        line = Zeroizing::new(String::new());
    }
    end(&mut entries, &mut fields);
    entries
}

fn end(entries: &mut Vec<Entry>, fields: &mut Vec<Field>) {
    let mut fields = std::mem::take(fields);
    let at = fields
        .iter()
        .position(|field| field.name.eq_ignore_ascii_case("dn"));
    let Some(at) = at else { return };
    let name = fields.remove(at);
    entries.push(Entry {
        name: String::from_utf8_lossy(&name.value).into_owned(),
        fields,
    });
}

fn attribute(line: &str) -> Option<Field> {
    let (name, value) = line.split_once(':')?;
    // Options such as `;binary` change nothing here.
    let name = name.split(';').next()?.trim();
    Some(match value.strip_prefix(':') {
        Some(coded) => Field {
            name: name.to_owned(),
            value: base64(coded.trim())?,
        },
        // Values in other files are not fetched.
        None if value.starts_with('<') => return None,
        None => Field::new(name, value.trim_start()),
    })
}

/// The bytes of base64 text; nothing where it is none.
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
    fn folded_lines_and_base64_are_put_together() {
        let text = "# a comment\nversion: 1\n\ndn: CN=a,\n CN=b\r\nother: x\npassword: 12\n 34\n 56\nguid:: AAEC\n Aw==\nfar:< file:///etc/passwd\n\ndn:: Q049Yw==\n";
        assert!(is_ldif(text));
        let entries = entries(text);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].name, "CN=a,CN=b");
        assert_eq!(entries[1].name, "CN=c");
        let values: Vec<_> = entries[0]
            .fields
            .iter()
            .map(|field| (field.name.as_str(), field.value.as_slice()))
            .collect();
        let expected: [(&str, &[u8]); 3] = [
            ("other", b"x"),
            ("password", b"123456"),
            ("guid", &[0, 1, 2, 3]),
        ];
        assert_eq!(values, expected);
    }
}
