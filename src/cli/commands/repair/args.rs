//! The options of `fve repair`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source::SourceArgs;

#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    #[command(subcommand)]
    pub(super) command: RepairCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum RepairCommand {
    /// Search SOURCE for volumes, also such whose first sector is lost, and say how to open each
    Scan(ScanArgs),
    /// Write the first sector that a volume lacks to a new file, or a whole copy of the volume
    /// with it
    RebuildHeader(RebuildArgs),
}

#[derive(Debug, Args)]
pub(super) struct ScanArgs {
    /// Image file or block device
    #[arg(value_name = "SOURCE", value_hint = ValueHint::FilePath)]
    pub(super) source: PathBuf,

    #[command(flatten)]
    pub(super) credentials: CredentialArgs,

    /// Look first where Windows puts its metadata, and end the search if it is there
    #[arg(long)]
    pub(super) quick: bool,

    /// Answer with one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RebuildArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    #[command(flatten)]
    pub(super) credentials: CredentialArgs,

    /// New file to write; SOURCE stays as it is
    #[arg(long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(super) to: PathBuf,

    /// Write all of the volume, still encrypted, and not only its first sector
    #[arg(long)]
    pub(super) whole: bool,

    /// Answer with one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl RepairArgs {
    pub(super) fn json(&self) -> bool {
        match &self.command {
            RepairCommand::Scan(args) => args.json,
            RepairCommand::RebuildHeader(args) => args.json,
        }
    }
}
