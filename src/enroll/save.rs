//! Saves the file of a key: a new file that only its owner can read, on stable storage before anything
//! depends on it.

use std::path::Path;

use crate::error::Result;
use crate::output::NewFile;
use crate::secret::SecretBytes;

/// Writes a key to the new file `path`, which only its owner can read and write. The file is on stable
/// storage when this returns.
///
/// # Errors
/// [`crate::Error::OutputRefused`] when `path` exists; [`crate::Error::Io`] when it cannot be written. No
/// file is left then.
pub fn save_key(path: &Path, content: &SecretBytes) -> Result<()> {
    NewFile::create(path)?.fill(content.expose())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_owner_can_read_it_and_it_never_replaces_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        save_key(&path, &SecretBytes::new(vec![1, 2, 3])).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(save_key(&path, &SecretBytes::new(vec![4])).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), [1, 2, 3]);
    }
}
