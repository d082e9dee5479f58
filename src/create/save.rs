//! Saving a key's file: new, for its owner alone, and on stable storage before anything depends on
//! it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::secret::SecretBytes;

/// Writes a key to the new file `path`, readable and writable by its owner alone. It is on stable
/// storage when this returns.
///
/// # Errors
/// [`Error::Io`]; also when there is a file of that name. Nothing is left behind then.
pub fn save_key(path: &Path, content: &SecretBytes) -> Result<()> {
    let fail = |error| Error::io(format!("cannot save the key in {}", path.display()), error);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(fail)?;
    let saved = file
        .write_all(content.expose())
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_directory_of(path));
    saved.map_err(|error| {
        // Half a key is worse than none.
        let _ = std::fs::remove_file(path);
        fail(error)
    })
}

/// Makes a file's name as durable as its content.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    match File::open(directory)?.sync_all() {
        // File systems without directories to flush, such as some network ones.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn is_for_its_owner_alone_and_never_replaces_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        save_key(&path, &SecretBytes::new(vec![1, 2, 3])).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(save_key(&path, &SecretBytes::new(vec![4])).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), [1, 2, 3]);
    }
}
