//! Files that were saved of a volume and are no volume themselves: what each is, without any key.

use std::path::Path;

use super::Backup;
use crate::error::{Error, Result};
use crate::format::bek::BekFile;
use crate::format::block::method_of_dataset;
use crate::format::key_package::KeyPackage;
use crate::unlock::key_package;

/// The kind of credential that a `.BEK` file is.
const STARTUP_KEY: &str = "startup key";

/// A file with a key or with metadata of a volume.
///
/// ```no_run
/// use std::path::Path;
/// use fve::manage::SavedFile;
///
/// # fn main() -> fve::Result<()> {
/// let path = Path::new("1DCD9676-F6D7-4348-B11E-068CE8937049.BEK");
/// let bytes = fve::input::read(path, "startup key")?;
/// if let Some(SavedFile::StartupKey(file)) = SavedFile::parse(bytes.expose(), path)? {
///     println!("unlocks the key protector {:X}", file.id);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SavedFile {
    /// A `.BEK` file: an external key, unencrypted.
    StartupKey(BekFile),
    /// A key package: the encrypted keys of a volume.
    KeyPackage(Box<KeyPackage>),
    /// A backup of the metadata.
    Backup(Backup),
}

impl SavedFile {
    /// Length in bytes that no such file exceeds: read no more of a file.
    pub const MAX_LEN: u64 = Backup::MAX_LEN;

    /// Recognizes the content of a file. Its name decides only whether a file that is damaged
    /// beyond recognition is a startup key. `None` if it is none of these files.
    ///
    /// # Errors
    /// [`Error::BadCredential`] for a damaged startup key or key package, [`Error::Damaged`] for a
    /// damaged backup.
    pub fn parse(bytes: &[u8], name: &Path) -> Result<Option<Self>> {
        if Backup::begins_with_magic(bytes) {
            let backup = Backup::parse(bytes).map_err(|error| Error::Damaged {
                what: error.to_string(),
                copies: Vec::new(),
            })?;
            return Ok(Some(Self::Backup(backup)));
        }
        let fault = match BekFile::parse(bytes) {
            Ok(file) => return Ok(Some(Self::StartupKey(file))),
            Err(fault) => fault,
        };
        let package_fault = match key_package::parse(bytes) {
            Ok(package) => return Ok(Some(Self::KeyPackage(Box::new(package)))),
            Err(fault) => fault,
        };
        let named_bek = name
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("bek"));
        let damaged = |credential: &str, fault: String| {
            let why = format!("the file is damaged: {fault}");
            Err(Error::bad_credential(credential, why))
        };
        match method_of_dataset(bytes) {
            Some(1..) if !named_bek => damaged(key_package::NAME, package_fault.to_string()),
            None if !named_bek => Ok(None),
            // The dataset of a startup key has no encryption method.
            _ => damaged(STARTUP_KEY, fault.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn testdata(name: &str) -> Vec<u8> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
        std::fs::read(directory.join(name)).unwrap()
    }

    fn parse(bytes: &[u8]) -> Result<Option<SavedFile>> {
        SavedFile::parse(bytes, Path::new("file"))
    }

    #[test]
    fn recognizes_a_startup_key_by_its_content() {
        let bytes = testdata("1DCD9676-F6D7-4348-B11E-068CE8937049.BEK");
        let Some(SavedFile::StartupKey(file)) = parse(&bytes).unwrap() else {
            panic!("another file");
        };
        let id = format!("{:X}", file.id);
        assert_eq!(id, "1DCD9676-F6D7-4348-B11E-068CE8937049");
        let mut other = bytes.clone();
        for end in [20, 47, 60, 100, bytes.len() - 1] {
            let cut_off = parse(&bytes[..end]);
            let kind = cut_off.err().map(|error| error.kind());
            assert_eq!(
                kind,
                (end >= 40).then_some(ErrorKind::BadCredential),
                "{end}"
            );
        }
        // The size of the key.
        let at = other.len() - 36;
        other[at - 8] ^= 0xFF;
        assert!(parse(&other).is_err());
    }

    #[test]
    fn other_files_are_none_of_these() {
        for bytes in [
            &b""[..],
            b"text",
            &[0; 4096],
            &testdata("xts-128.img")[..8192],
        ] {
            assert!(matches!(parse(bytes), Ok(None)));
        }
        let named = SavedFile::parse(b"text", Path::new("a.bek"));
        let message = named.err().unwrap().to_string();
        assert!(message.contains("the file is damaged"), "{message}");
    }

    #[test]
    fn a_backup_without_its_end_is_damaged() {
        let error = parse(b"FVEMETA\0\x01\0\0\0").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }
}
