//! Reads text with recovery passwords from a file or from standard input.

use std::io::Read;
use std::path::Path;

use fve::error::Error;
use fve::recovery_password::MAX_BYTES;
use fve::shown::ShowPath;
use zeroize::Zeroizing;

use crate::cli::failure::Failure;
use crate::cli::options::readable::warn_if_others_can_read;

pub(super) fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    warn_if_others_can_read(path);
    let file = std::fs::File::open(path)
        .map_err(|error| Error::io(format!("cannot read {}", path.shown()), error))?;
    read_all(file, &path.shown().to_string())
}

pub(super) fn read_all(from: impl Read, name: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let limit = MAX_BYTES as u64 + 1;
    // Allocate the whole buffer first: a growing vector would leave copies of the password in
    // memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    from.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io(format!("cannot read {name}"), error))?;
    Ok(bytes)
}
