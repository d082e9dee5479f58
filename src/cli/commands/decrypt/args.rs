//! The options of `fve decrypt`.

use std::path::PathBuf;

use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source::SourceArgs;
use clap::{Args, ValueHint};

#[derive(Debug, Args)]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// File to write, or '-' for standard output
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,

    /// Write over OUT if it is a file that exists
    #[arg(long)]
    pub(crate) force: bool,

    /// Keep what is written in OUT.partial when the work ends early, and go on from there if an
    /// earlier run left it
    #[arg(long)]
    pub(crate) resume: bool,

    /// Everything on OUT, a block device, may be destroyed: its path once more
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) device_confirm: Option<PathBuf>,

    /// Compute the SHA-256 of the plaintext on the way, and print it
    #[arg(long)]
    pub(crate) sha256: bool,

    /// Go on where SOURCE cannot be read, with zeros there, and list the places in this new file
    /// in the form of ddrescue's map files
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) error_map: Option<PathBuf>,
}
