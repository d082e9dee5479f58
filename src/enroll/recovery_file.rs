//! The text file in which Windows 8 and later save a recovery password
//! (docs/format-recovery-password.md §1.5): UTF-16LE with a byte-order mark and CRLF, with the identifier
//! and the digits each on a line that begins with a tab.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::guid::Guid;
use crate::recovery_password::RecoveryPassword;
use crate::secret::SecretBytes;

/// The text before the identifier. The first line is the same as in files of Windows; the other sentences
/// are our own, where Windows has its own.
const BEFORE_ID: &str = "BitLocker Drive Encryption recovery key\r\n\
    \r\n\
    Compare the identifier with the one that the computer shows.\r\n\
    \r\n\
    Identifier:\r\n\
    \r\n\
    \t";
const BETWEEN: &str = "\r\n\
    \r\n\
    If they are alike, use this key to unlock the drive.\r\n\
    \r\n\
    Recovery Key:\r\n\
    \r\n\
    \t";
const AFTER_DIGITS: &str = "\r\n";

/// A file with a recovery password.
#[derive(Debug)]
#[non_exhaustive]
pub struct RecoveryFile {
    /// The file name that Windows uses: `BitLocker Recovery Key <GUID>.TXT`.
    pub name: String,
    /// The content of the file.
    pub content: SecretBytes,
}

impl RecoveryFile {
    /// The file name that Windows uses for the password of protector `id`.
    pub fn name_of(id: Guid) -> String {
        format!("BitLocker Recovery Key {id:X}.TXT")
    }

    /// Where to save the file: at `place`, or in it, under the name that Windows uses, if `place` is a
    /// directory.
    pub fn path_in(place: &Path, id: Guid) -> PathBuf {
        match place.is_dir() {
            true => place.join(Self::name_of(id)),
            false => place.to_owned(),
        }
    }

    /// The file for the recovery password of protector `id`.
    pub fn new(id: Guid, password: &RecoveryPassword) -> Self {
        let digits = password.expose_digits();
        let name = Self::name_of(id);
        let id = format!("{id:X}");
        let parts = [BEFORE_ID, &id, BETWEEN, digits.expose(), AFTER_DIGITS];
        let len: usize = parts.iter().map(|part| part.len()).sum();
        // A buffer of the final size: a growing one would leave digits in freed memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 + 2 * len));
        bytes.extend_from_slice(b"\xFF\xFE");
        for unit in parts.iter().flat_map(|part| part.encode_utf16()) {
            bytes.extend_from_slice(&unit.to_le_bytes());
        }
        Self {
            name,
            content: SecretBytes::new(std::mem::take(&mut *bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery_password::{Options, scan_bytes};

    #[test]
    fn can_be_read_back_with_its_identifier() {
        let digits = "235818-357951-253979-013365-241120-245575-342914-591910";
        let password = RecoveryPassword::parse(digits).unwrap();
        let id: Guid = "64311dea-4587-4029-924a-ba299647998e".parse().unwrap();
        let file = RecoveryFile::new(id, &password);
        assert_eq!(
            file.name,
            "BitLocker Recovery Key 64311DEA-4587-4029-924A-BA299647998E.TXT"
        );
        let text: Vec<u16> = file
            .content
            .expose()
            .chunks(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .collect();
        let text = String::from_utf16(&text).unwrap();
        assert!(text.starts_with('\u{FEFF}'));
        assert!(text.contains(&format!("\r\n\t{digits}\r\n")));
        let scan = scan_bytes(file.content.expose(), &Options::default());
        assert_eq!(scan.unwrap().found.len(), 1);
    }
}
