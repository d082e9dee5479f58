//! The list of hashes of `--sha256-to`, in the form that `sha256sum -c` reads.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use fve::error::Error;
use fve::output::{NewFile, PartialFile, check_new};

use super::CpArgs;
use super::report::Hashes;
use crate::cli::failure::Failure;

/// Created before the work, so that an impossible name is found at once; filled when the work is done.
pub(super) enum Manifest {
    New(NewFile),
    /// Replaces an existing file.
    Replacing(PartialFile),
}

impl Manifest {
    /// Refuses a file that exists, before a credential is asked for.
    pub(super) fn check(args: &CpArgs) -> Result<(), Failure> {
        match &args.sha256_to {
            Some(path) if !args.force => Ok(check_new(path)?),
            _ => Ok(()),
        }
    }

    /// Creates the file, if `--sha256-to` was given.
    pub(super) fn create(args: &CpArgs) -> Result<Option<Self>, Error> {
        let Some(path) = &args.sha256_to else {
            return Ok(None);
        };
        Ok(Some(match path.exists() {
            true => Self::Replacing(PartialFile::create(path, args.force)?),
            false => Self::New(NewFile::create(path)?),
        }))
    }

    /// Writes the hashes, sorted by path.
    pub(super) fn fill(self, hashes: &Hashes) -> Result<(), Failure> {
        let mut text = Vec::new();
        for (path, hash) in hashes {
            text.extend(line(path, hash));
        }
        match self {
            Self::New(file) => file.fill(&text)?,
            Self::Replacing(file) => file.fill(&text)?,
        }
        Ok(())
    }
}

/// A line as sha256sum writes it: with a backslash at its start, the name has escapes.
fn line(path: &Path, hash: &[u8; 32]) -> Vec<u8> {
    let mut name = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'\\' => name.extend_from_slice(b"\\\\"),
            b'\n' => name.extend_from_slice(b"\\n"),
            b'\r' => name.extend_from_slice(b"\\r"),
            other => name.push(*other),
        }
    }
    let has_escapes = name.len() != path.as_os_str().len();
    let mut line = if has_escapes {
        b"\\".to_vec()
    } else {
        Vec::new()
    };
    line.extend(base16ct::lower::encode_string(hash).into_bytes());
    line.extend_from_slice(b"  ");
    line.extend(name);
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_form_of_sha256sum() {
        let plain = line(Path::new("out/ä b"), &[0xAB; 32]);
        let digits = "ab".repeat(32);
        assert_eq!(plain, format!("{digits}  out/ä b\n").into_bytes());
        let escaped = line(Path::new("out/a\nb\\c"), &[0; 32]);
        let digits = "00".repeat(32);
        assert_eq!(
            escaped,
            format!("\\{digits}  out/a\\nb\\\\c\n").into_bytes()
        );
    }
}
