//! The map file of `--error-map-to`: it lists what could not be read.

use fve::error::Error;
use fve::output::{NewFile, PartialFile};
use fve::shown::ShowPath;

use super::args::DecryptArgs;
use super::output::is_same;
use super::record::Record;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;

/// Created before the work, so that an impossible name is found at once; filled when the work is
/// complete, and removed otherwise.
pub(super) enum ErrorMap {
    New(NewFile),
    /// Replaces an existing file.
    Replacing(PartialFile),
}

impl ErrorMap {
    /// Refuses, before a credential is asked for, a map file that would overwrite an input, an
    /// output or another file.
    pub(super) fn check(args: &DecryptArgs) -> Result<(), Failure> {
        let Some(path) = &args.error_map_to else {
            return Ok(());
        };
        let refuse = |status, what: &str, help: &str| {
            Err(Failure::Other {
                status,
                what: format!("{} {what}", path.shown()),
                help: Some(help.to_owned()),
            })
        };
        let used = || {
            refuse(
                Status::Io,
                "is already the source or the output",
                "name another file for the map",
            )
        };
        let partial = fve::output::with_suffix(&args.output, fve::output::PARTIAL);
        let others = [
            &args.source.source,
            &args.output,
            &partial,
            &Record::path_of(&args.output),
        ];
        if others.contains(&path) {
            return used();
        }
        match path.metadata() {
            Ok(meta) if !meta.is_file() => refuse(
                Status::Io,
                "is not a regular file",
                "give --error-map-to the name of a regular file",
            ),
            Ok(map) => {
                let same = |other: &&std::path::PathBuf| {
                    other.metadata().is_ok_and(|other| is_same(&map, &other))
                };
                if others[..3].iter().copied().any(|other| same(&other)) {
                    return used();
                }
                match args.force {
                    true => Ok(()),
                    false => refuse(Status::Usage, "already exists", "--force overwrites it"),
                }
            }
            Err(_) => Ok(fve::output::check_new(path)?),
        }
    }

    /// Creates the map file, if `--error-map-to` was given.
    pub(super) fn create(args: &DecryptArgs) -> Result<Option<Self>, Error> {
        let Some(path) = &args.error_map_to else {
            return Ok(None);
        };
        let map = match path.metadata().is_ok() {
            true => Self::Replacing(PartialFile::create(path, args.force)?),
            false => Self::New(NewFile::create(path)?),
        };
        Ok(Some(map))
    }

    pub(super) fn fill(self, text: &str) -> Result<(), Error> {
        match self {
            Self::New(file) => file.fill(text.as_bytes()),
            Self::Replacing(file) => file.fill(text.as_bytes()),
        }
    }
}
