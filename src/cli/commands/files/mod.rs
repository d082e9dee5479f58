//! `fve ls`, `cat`, `cp` and `find`: the files of a volume, without mounting it.

pub(crate) mod cat;
pub(crate) mod cp;
mod describe;
pub(crate) mod find;
mod listing;
pub(crate) mod ls;
mod place;

use std::ffi::OsString;

use clap::{Args, ValueHint};

use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source::SourceArgs;

/// The options that say which files of which volume.
#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// File or directory of the volume, with '/' or '\' between names, with or without 'C:'; by
    /// default the root directory
    #[arg(value_name = "PATH", value_hint = ValueHint::Other)]
    pub(crate) paths: Vec<OsString>,

    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
}
