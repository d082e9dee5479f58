//! Finds the recovery passwords in a record: a row of a table, a JSON object, or an entry of a
//! directory. Column names differ between exports, so passwords and identifiers are recognized by
//! their form first and by the name of their field second (docs/format-recovery.md §2.5).

use zeroize::Zeroizing;

use super::Escrowed;
use crate::guid::Guid;
use crate::recovery_password::{Options, scan};

/// Longest value that is searched for a password, in bytes. The schema of Active Directory allows 256
/// characters.
const MAX_PASSWORD: usize = 4096;
/// Longest value that is kept, in bytes; the rest is dropped.
pub(super) const MAX_VALUE: usize = 0x4000;
/// Most bytes of a record that are kept, names and values together; further fields are dropped.
pub(super) const MAX_RECORD: usize = 0x4_0000;
/// Most fields of a record that are kept.
const MAX_FIELDS: usize = 1024;
/// Fewest digits that a value must have to be searched for a password. A password has 48; fewer allow
/// for digits that were mistyped or cut off.
const MIN_DIGITS: usize = 40;
/// Names of fields that hold the identifier of the password, most specific first. Names are compared
/// in lower case and without anything but letters and digits.
const ID_NAMES: [&str; 8] = [
    "msfverecoveryguid",
    "recoverykeyid",
    "recoverypasswordid",
    "passwordid",
    "keyprotectorid",
    "keyid",
    "id",
    "identifier",
];
/// Names of fields that hold the name of the computer.
const COMPUTER_NAMES: [&str; 9] = [
    "computer",
    "computername",
    "machine",
    "machinename",
    "devicename",
    "devicedisplayname",
    "hostname",
    "pscomputername",
    "name",
];
/// Names of fields that hold the time at which the password was saved.
const TIME_NAMES: [&str; 6] = [
    "whencreated",
    "createddatetime",
    "lastupdatetime",
    "created",
    "date",
    "time",
];
/// A field whose name contains one of these holds the identifier of something other than the password.
const OTHER_THINGS: [&str; 6] = [
    "volume",
    "device",
    "computer",
    "machine",
    "tenant",
    "objectguid",
];

/// A name and its value. The value is in bytes, because attributes of a directory are text or binary.
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: Zeroizing<Vec<u8>>,
}

impl Field {
    pub(super) fn new(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            value: Zeroizing::new(value.into()),
        }
    }

    fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }

    /// The name in lower case, reduced to ASCII letters and digits.
    fn plain_name(&self) -> String {
        let letters = self.name.chars().filter(char::is_ascii_alphanumeric);
        letters.map(|c| c.to_ascii_lowercase()).collect()
    }

    /// The value as an identifier: in text form, as the 16 bytes that a directory stores, or as those
    /// bytes in hex, which csvde writes as `X'…'`.
    fn guid(&self) -> Option<Guid> {
        if let Ok(bytes) = <[u8; 16]>::try_from(self.value.as_slice()) {
            return Some(Guid::from_disk(bytes));
        }
        let text = self.text()?.trim();
        if let Some(digits) = text
            .strip_prefix("X'")
            .and_then(|rest| rest.strip_suffix('\''))
        {
            return Some(Guid::from_disk(from_hex(digits)?.try_into().ok()?));
        }
        let bare = text.trim_start_matches('{').trim_end_matches('}');
        // 32 digits without hyphens are ambiguous: they may be in the order of the text form or of
        // the disk.
        (bare.len() == 36).then(|| bare.parse().ok()).flatten()
    }
}

/// The fields of one record, bounded in number and length.
#[derive(Default)]
pub(super) struct Record {
    fields: Vec<Field>,
    len: usize,
}

impl Record {
    /// Adds a field, unless the record is full.
    pub(super) fn push(&mut self, field: Field) {
        let len = self.len + field.name.len() + field.value.len();
        if self.fields.len() < MAX_FIELDS && len <= MAX_RECORD {
            self.len = len;
            self.fields.push(field);
        }
    }

    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub(super) fn clear(&mut self) {
        self.fields.clear();
        self.len = 0;
    }
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [first, second] => hex_pair(*first, *second),
            _ => None,
        })
        .collect()
}

fn hex_pair(first: u8, second: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(first)? * 16 + digit(second)?).ok()
}

/// The recovery passwords of a record, with the identifiers, computer and time that the record gives
/// for them. `name` is the distinguished name of an entry in a directory; `origin` says where the
/// record was found, for messages.
pub(super) fn escrowed(
    fields: &[Field],
    name: Option<&str>,
    origin: impl Fn() -> String,
) -> Vec<Escrowed> {
    let passwords: Vec<_> = fields.iter().flat_map(passwords).collect();
    if passwords.is_empty() {
        return Vec::new();
    }
    let rdns = name.map(rdn_values).unwrap_or_default();
    let own_name = rdns.first().map(String::as_str);
    passwords
        .into_iter()
        .map(|password| Escrowed {
            id: id(fields, own_name),
            volume: volume(fields),
            computer: named(fields, &COMPUTER_NAMES).or_else(|| rdns.get(1).cloned()),
            saved: named(fields, &TIME_NAMES)
                .map(|time| readable(&time))
                .or_else(|| time_in(own_name?)),
            origin: origin(),
            password,
        })
        .collect()
}

/// Whether a value is short enough, and has enough digits, to contain a password.
pub(super) fn may_hold_password(value: &[u8]) -> bool {
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    value.len() <= MAX_PASSWORD && digits >= MIN_DIGITS
}

fn passwords(field: &Field) -> Vec<super::RecoveryPassword> {
    let text = field.text().filter(|_| may_hold_password(&field.value));
    let Some(text) = text else {
        return Vec::new();
    };
    let scan = scan(text, &Options::default());
    let found = scan.found.iter();
    found.filter_map(|found| found.to_password().ok()).collect()
}

fn id(fields: &[Field], own_name: Option<&str>) -> Option<Guid> {
    let by_name = ID_NAMES.iter().find_map(|wanted| {
        let mut fields = fields.iter();
        fields.find_map(|field| (field.plain_name() == *wanted).then(|| field.guid())?)
    });
    by_name
        .or_else(|| guid_in(own_name?))
        .or_else(|| fields.iter().find_map(|field| guid_in(field.text()?)))
        .or_else(|| {
            let mut fields = fields.iter();
            fields.find_map(|field| (!names_something_else(field)).then(|| field.guid())?)
        })
}

fn volume(fields: &[Field]) -> Option<Guid> {
    let mut fields = fields.iter();
    fields.find_map(|field| {
        field
            .plain_name()
            .contains("volume")
            .then(|| field.guid())?
    })
}

/// Whether the field holds the identifier of a device, a volume or the like.
fn names_something_else(field: &Field) -> bool {
    let name = field.plain_name();
    OTHER_THINGS.iter().any(|other| name.contains(other))
}

/// The text of the first field with one of these names; names earlier in the list are preferred.
fn named(fields: &[Field], names: &[&str]) -> Option<String> {
    names.iter().find_map(|wanted| {
        let field = fields.iter().find(|field| field.plain_name() == *wanted)?;
        let text = field.text()?.trim();
        // A text with an identifier in braces is the name of a directory entry, not of a computer.
        let fine = !text.is_empty() && text.len() <= 256 && guid_in(text).is_none();
        fine.then(|| text.to_owned())
    })
}

/// The identifier in braces at the end of the name of a directory entry
/// (docs/format-recovery.md §2.2).
fn guid_in(text: &str) -> Option<Guid> {
    let (_, rest) = text.split_once('{')?;
    let (inside, _) = rest.split_once('}')?;
    (inside.len() == 36).then(|| inside.parse().ok()).flatten()
}

/// The time at the start of the name of a directory entry.
fn time_in(name: &str) -> Option<String> {
    let (time, _) = name.split_once('{')?;
    let fine = time.len() >= 19 && time.as_bytes().get(10) == Some(&b'T');
    fine.then(|| time.to_owned())
}

/// A directory's time (RFC 4517), such as `20231010180000.0Z`, in the form `2023-10-10T18:00:00Z`; any
/// other text unchanged.
fn readable(time: &str) -> String {
    let digits = time
        .get(..14)
        .filter(|digits| digits.bytes().all(|c| c.is_ascii_digit()) && time.ends_with('Z'));
    let Some(digits) = digits else {
        return time.to_owned();
    };
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4),
        part(4..6),
        part(6..8),
        part(8..10),
        part(10..12),
        part(12..14)
    )
}

/// The values of the parts of a distinguished name, unescaped (RFC 4514): `a`, `PC01` and `x` for
/// `CN=a,CN=PC01,DC=x`.
fn rdn_values(name: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut value = Vec::new();
    let mut inside = false;
    let mut bytes = name.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                let Some(first) = bytes.next() else { break };
                let pair = bytes.peek().and_then(|second| hex_pair(first, *second));
                match pair {
                    Some(byte) => {
                        bytes.next();
                        value.push(byte);
                    }
                    None => value.push(first),
                }
            }
            b',' => {
                values.push(String::from_utf8_lossy(&value).into_owned());
                value.clear();
                inside = false;
            }
            b'=' if !inside => {
                inside = true;
                value.clear();
            }
            byte => value.push(byte),
        }
    }
    values.push(String::from_utf8_lossy(&value).into_owned());
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    const ID: &str = "5BC8FBBC-BDE5-C099-4164-D8399F767C45";
    const PASSWORD: &str = "471207-278498-422125-177177-561902-537405-468006-693451";
    const DN: &str = "CN=2023-10-10T10:00:00\\+02:00{5BC8FBBC-BDE5-C099-4164-D8399F767C45},CN=PC\\2C 01,OU=x,DC=y";

    fn one(fields: &[(&str, &[u8])], name: Option<&str>) -> Escrowed {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| Field::new(*name, *value))
            .collect();
        let mut found = escrowed(&fields, name, || "here".to_owned());
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn reads_all_facts_from_a_directory_entry() {
        let id = hex!("bcfbc85be5bd99c04164d8399f767c45");
        let found = one(
            &[
                ("msFVE-VolumeGuid", &[7; 16]),
                ("msFVE-RecoveryGuid", &id),
                ("msFVE-RecoveryPassword", PASSWORD.as_bytes()),
            ],
            Some(DN),
        );
        assert_eq!(found.id, Some(ID.parse().unwrap()));
        assert_eq!(found.volume, Some(Guid::from_disk([7; 16])));
        assert_eq!(found.computer.as_deref(), Some("PC, 01"));
        assert_eq!(found.saved.as_deref(), Some("2023-10-10T10:00:00+02:00"));
    }

    #[test]
    fn writes_directory_times_in_iso_form() {
        assert_eq!(readable("20231010180000.0Z"), "2023-10-10T18:00:00Z");
        for other in ["2023-10-10", "20231010", "20231010180000", "Größe"] {
            assert_eq!(readable(other), other);
        }
    }

    #[test]
    fn takes_the_identifier_from_the_entry_name_if_no_field_has_it() {
        let found = one(&[("msFVE-RecoveryPassword", PASSWORD.as_bytes())], Some(DN));
        assert_eq!(found.id, Some(ID.parse().unwrap()));
    }

    #[test]
    fn never_takes_a_device_identifier_for_the_password_id() {
        let device = b"11111111-2222-3333-4444-555555555555";
        let found = one(
            &[
                ("deviceId", device),
                ("key", PASSWORD.as_bytes()),
                ("id", ID.as_bytes()),
            ],
            None,
        );
        assert_eq!(found.id, Some(ID.parse().unwrap()));
        let found = one(&[("deviceId", device), ("key", PASSWORD.as_bytes())], None);
        assert_eq!(found.id, None);
    }

    #[test]
    fn reads_csvde_octets_in_disk_byte_order() {
        let octets = b"X'bcfbc85be5bd99c04164d8399f767c45'";
        let found = one(
            &[("whatever", octets), ("password", PASSWORD.as_bytes())],
            None,
        );
        assert_eq!(found.id, Some(ID.parse().unwrap()));
    }
}
