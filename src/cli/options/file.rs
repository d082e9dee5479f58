//! Reads whole files up to a maximum size.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use fve::error::Error;
use fve::shown::ShowPath;

use crate::cli::failure::Failure;
use crate::cli::output::term::human_size;

/// The content of a file of at most `max` bytes; `what` names the content in messages.
pub(crate) fn read(path: &Path, what: &str, max: u64) -> Result<Vec<u8>, Failure> {
    let fail = |error| Error::io(format!("cannot read {what} {}", path.shown()), error);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(max.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(fail)?;
    if bytes.len() as u64 > max {
        let what = format!(
            "{} is too large for {what}: it has more than {}",
            path.shown(),
            human_size(max)
        );
        return Err(Error::environment(what).into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_file_that_is_too_large() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 10]).unwrap();
        assert_eq!(read(file.path(), "the hive", 10).unwrap(), [7; 10]);
        let error = read(file.path(), "the hive", 9).unwrap_err();
        let message = error.message().unwrap();
        assert!(message.contains("too large for the hive"), "{message}");
    }
}
