//! The filters that find recovery passwords in a directory (docs/format-recovery.md §2.3;
//! RFC 4515). Identifiers stand there as the 16 bytes of the disk.

use std::fmt::Write;

use crate::guid::Guid;

/// Every entry of a recovery password.
pub(super) const ANY: &str = "(objectClass=msFVE-RecoveryInformation)";

/// The entries with one of these identifiers: fast, for there is an index.
pub(super) fn by_ids(ids: &[Guid]) -> String {
    let each = ids
        .iter()
        .map(|id| format!("(msFVE-RecoveryGuid={})", octets(&id.to_disk())));
    format!("(|{})", each.collect::<String>())
}

/// The entries whose identifier begins with these eight digits. The first group of an identifier is
/// stored with its bytes turned round.
pub(super) fn by_prefix(digits: &str) -> Option<String> {
    let number = u32::from_str_radix(digits.get(..8)?, 16).ok()?;
    Some(format!(
        "(msFVE-RecoveryGuid={}*)",
        octets(&number.to_le_bytes())
    ))
}

/// The same by the name of the entry, which holds the identifier: works everywhere, without an index.
pub(super) fn by_name(digits: &str) -> String {
    format!(
        "(&{ANY}(cn=*{{{}-*))",
        escaped(digits.get(..8).unwrap_or(digits))
    )
}

/// The account of a computer.
pub(super) fn computer(name: &str) -> String {
    let name = escaped(name.trim_end_matches('$'));
    format!("(&(objectClass=computer)(|(cn={name})(sAMAccountName={name}$)))")
}

fn octets(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\{byte:02x}");
    }
    text
}

/// Text as it may stand in a filter: what has a meaning there, and what is not ASCII, as octets.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'*' | b'(' | b')' | b'\\' => octets(&[byte]),
            b' '..=b'~' => char::from(byte).to_string(),
            _ => octets(&[byte]),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of docs/format-recovery.md §2.3.
    #[test]
    fn identifiers_are_in_the_order_of_the_disk() {
        let id: Guid = "5BC8FBBC-BDE5-C099-4164-D8399F767C45".parse().unwrap();
        assert_eq!(
            by_ids(&[id]),
            r"(|(msFVE-RecoveryGuid=\bc\fb\c8\5b\e5\bd\99\c0\41\64\d8\39\9f\76\7c\45))"
        );
        assert_eq!(
            by_prefix("5BC8FBBC-BDE5").unwrap(),
            r"(msFVE-RecoveryGuid=\bc\fb\c8\5b*)"
        );
        assert_eq!(
            by_name("5BC8FBBC"),
            "(&(objectClass=msFVE-RecoveryInformation)(cn=*{5BC8FBBC-*))"
        );
    }

    #[test]
    fn nobody_gets_out_of_a_filter() {
        assert_eq!(
            computer("a*)(cn=\\\0ü"),
            r"(&(objectClass=computer)(|(cn=a\2a\29\28cn=\5c\00\c3\bc)(sAMAccountName=a\2a\29\28cn=\5c\00\c3\bc$)))"
        );
        assert!(by_prefix("5BC8").is_none());
        assert!(by_prefix("5BC8FBB*").is_none());
    }
}
