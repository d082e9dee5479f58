//! Copies the content of one file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use fve::error::Error;
use fve::files::{Content, FileError};
use fve::serve::export::{Export, Failed as ExportFailed};
use fve::shown::{ShowPath, WithCauses};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::super::place::{in_words, read_error};
use super::report::{Report, lock};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;

/// Longest content that is read as a whole, in bytes. A longer one is read, decrypted and written by
/// all cores.
const SMALL: u64 = 4 << 20;

/// Least bytes of zeros that become a hole. Smaller holes would only fragment the file.
const HOLE: usize = 64 << 10;

/// Only one long content at a time: each uses all cores.
static LONG: Mutex<()> = Mutex::new(());

/// Why a file was not copied.
pub(super) enum Failed {
    /// This file: why it cannot be read or created.
    File(String),
    /// Nothing more can be written.
    All(Failure),
    /// The copy was ended from elsewhere.
    Stopped,
}

impl From<FileError> for Failed {
    fn from(fault: FileError) -> Self {
        Self::File(in_words(&fault))
    }
}

impl Failed {
    /// A failure to write the copy with this path. If the file system is full or cannot be written, no
    /// other file can be copied, either.
    pub(super) fn write(error: io::Error, copy: &Path) -> Self {
        let Some(code) = error.raw_os_error() else {
            // The reason is in words of ours.
            return Self::File(WithCauses(&error).to_string());
        };
        let is_one_of = |codes: &[Errno]| codes.iter().any(|one| one.raw_os_error() == code);
        let shown = copy.shown();
        if is_one_of(&[Errno::NOSPC, Errno::DQUOT]) {
            return Self::All(Failure::Other {
                status: Status::Io,
                what: format!("cannot write {shown}: {error}"),
                help: Some(
                    "make room there, or copy to another file system; what was copied until now is complete".to_owned(),
                ),
            });
        }
        if is_one_of(&[Errno::ROFS, Errno::NOTCONN]) {
            return Self::All(Error::io(format!("cannot write {shown}"), error).into());
        }
        let error = WithCauses(&error);
        Self::File(format!("cannot write {shown}: {error}"))
    }
}

/// The content of a file, read as a whole if it is short.
pub(super) enum Source<'a> {
    Short(&'a [u8]),
    Long(&'a dyn Content),
}

impl<'a> Source<'a> {
    /// Reads a short content into `buf`, before its copy is created.
    pub(super) fn read(content: &'a dyn Content, buf: &'a mut Vec<u8>) -> Result<Self, Failed> {
        let size = content.size();
        if size > SMALL {
            return Ok(Self::Long(content));
        }
        buf.clear();
        buf.resize(usize::try_from(size).unwrap_or(0), 0);
        let read = content.read_exact_at(0, buf);
        read.map_err(|error| Failed::File(read_error(&error)))?;
        Ok(Self::Short(buf))
    }

    /// Writes the content to a new file, with holes for zeros. Returns its SHA-256 if that is wanted.
    /// `copy` is its path, for messages.
    pub(super) fn write(
        &self,
        file: &File,
        copy: &Path,
        report: &Report,
    ) -> Result<Option<[u8; 32]>, Failed> {
        match self {
            Self::Short(bytes) => {
                write_with_holes(file, bytes).map_err(|error| Failed::write(error, copy))?;
                report.bar.inc(bytes.len() as u64);
                Ok(report.wants_hashes.then(|| Sha256::digest(bytes).into()))
            }
            Self::Long(content) => {
                let _alone = lock(&LONG);
                let progress = |bytes| report.bar.inc(bytes);
                let exported = Export::of_file(*content)
                    .hash(report.wants_hashes)
                    .progress(&progress)
                    .cancelled_by(&report.interrupted)
                    .to_file(file);
                match exported {
                    Ok(exported) => Ok(exported.sha256),
                    Err(ExportFailed::Write(error)) => Err(Failed::write(error, copy)),
                    Err(ExportFailed::Read(Error::Io { source, .. })) => {
                        Err(Failed::File(read_error(&source)))
                    }
                    Err(ExportFailed::Interrupted) => Err(Failed::Stopped),
                    Err(other) => Err(Failed::File(other.to_string())),
                }
            }
        }
    }
}

fn write_with_holes(file: &File, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() < HOLE {
        return file.write_all_at(bytes, 0);
    }
    file.set_len(bytes.len() as u64)?;
    let is_hole = |block: &&[u8]| block.iter().all(|byte| *byte == 0);
    let mut at = 0;
    // Adjacent blocks of the same kind are written with one call.
    for run in bytes
        .chunks(HOLE)
        .collect::<Vec<_>>()
        .chunk_by(|one, other| is_hole(one) == is_hole(other))
    {
        let len: usize = run.iter().map(|block| block.len()).sum();
        if run.first().is_some_and(|block| !is_hole(block))
            && let Some(bytes) = bytes.get(at..at + len)
        {
            file.write_all_at(bytes, at as u64)?;
        }
        at += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn zeros_become_holes_and_read_back() {
        for len in [0, 1, HOLE - 1, HOLE, 20 * HOLE, 20 * HOLE + 5] {
            let mut bytes = vec![0; len];
            for (number, block) in bytes.chunks_mut(HOLE).enumerate() {
                block.fill(if number % 10 < 2 { 7 } else { 0 });
            }
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("file");
            let file = File::create(&path).unwrap();
            write_with_holes(&file, &bytes).unwrap();
            assert!(std::fs::read(&path).unwrap() == bytes, "{len}");
            if len >= 20 * HOLE {
                assert!(
                    file.metadata().unwrap().blocks() * 512 < len as u64,
                    "{len}"
                );
            }
        }
    }
}
