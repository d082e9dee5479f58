//! The search filters for recovery passwords in a directory (docs/format-recovery.md §2.3; RFC 4515).
//! A directory stores identifiers as 16 bytes in the same order as BitLocker's metadata does.

use std::fmt::Write;

use crate::guid::Guid;

/// Every entry that holds a recovery password.
pub(super) const ANY: &str = "(objectClass=msFVE-RecoveryInformation)";

/// The entries with one of these identifiers. Fast, because the attribute is indexed.
pub(super) fn by_ids(ids: &[Guid]) -> String {
    let each = ids
        .iter()
        .map(|id| format!("(msFVE-RecoveryGuid={})", octets(&id.to_disk())));
    format!("(|{})", each.collect::<String>())
}

/// The entries whose identifier begins with these eight hex digits; `None` for fewer digits. The first
/// group of an identifier is stored least significant byte first.
pub(super) fn by_prefix(digits: &str) -> Option<String> {
    let number = u32::from_str_radix(digits.get(..8)?, 16).ok()?;
    Some(format!(
        "(msFVE-RecoveryGuid={}*)",
        octets(&number.to_le_bytes())
    ))
}

/// The same by the name of the entry, which ends in the identifier. It works on servers that cannot
/// compare the beginning of a binary attribute, but is slow: no index helps.
pub(super) fn by_name(digits: &str) -> String {
    format!(
        "(&{ANY}(cn=*{{{}-*))",
        escaped(digits.get(..8).unwrap_or(digits))
    )
}

/// The accounts of computers with that name.
pub(super) fn computer(name: &str) -> String {
    let name = escaped(name.trim_end_matches('$'));
    format!("(&(objectClass=computer)(|(cn={name})(sAMAccountName={name}$)))")
}

/// Bytes as escapes of a filter: `\5b\c8`.
fn octets(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\{byte:02x}");
    }
    text
}

/// Escapes a text for use in a filter: characters with a meaning there, and all that are not printable
/// ASCII.
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
    fn writes_identifiers_in_disk_byte_order() {
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
    fn escapes_names_so_that_they_cannot_change_the_filter() {
        assert_eq!(
            computer("a*)(cn=\\\0ü"),
            r"(&(objectClass=computer)(|(cn=a\2a\29\28cn=\5c\00\c3\bc)(sAMAccountName=a\2a\29\28cn=\5c\00\c3\bc$)))"
        );
        assert!(by_prefix("5BC8").is_none());
        assert!(by_prefix("5BC8FBB*").is_none());
    }
}
