//! The options of `fve repair`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueHint};

use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source::SourceArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Search a disk for volumes:
    fve repair scan /dev/sda
  Rebuild the first sector of a volume in a new file:
    fve repair rebuild-header disk.img --to header.bin")]
pub(crate) struct RepairArgs {
    #[command(subcommand)]
    pub(super) command: RepairCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum RepairCommand {
    /// Search SOURCE for volumes, even those without their first sector, and show how to open each
    Scan(ScanArgs),
    /// Rebuild the first sector of a volume in a new file, or a whole copy of the volume with it
    RebuildHeader(RebuildArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Search a whole disk:
    fve repair scan /dev/sda
  Search the usual places, and try a recovery password on what is found:
    fve repair scan disk.img --quick --recovery-password-file key.txt")]
pub(super) struct ScanArgs {
    /// Image file or block device
    #[arg(value_name = "SOURCE", value_hint = ValueHint::FilePath)]
    pub(super) source: PathBuf,

    #[command(flatten)]
    pub(super) credentials: CredentialArgs,

    /// Search the usual places of the metadata first, and stop if it is there
    #[arg(long)]
    pub(super) quick: bool,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Rebuild only the first sector:
    fve repair rebuild-header disk.img header.bin
  Write a copy of the volume that has its first sector:
    fve repair rebuild-header disk.img volume.img --whole")]
pub(super) struct RebuildArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// New file to write; SOURCE is never changed
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath, required_unless_present = "former_output")]
    output: Option<PathBuf>,

    /// The former option for the same
    #[arg(long = "to", value_name = "OUT", value_hint = ValueHint::FilePath, hide = true, conflicts_with = "output")]
    former_output: Option<PathBuf>,

    #[command(flatten)]
    pub(super) credentials: CredentialArgs,

    /// Write the whole volume, still encrypted, instead of only its first sector
    #[arg(long)]
    pub(super) whole: bool,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl RebuildArgs {
    /// The file to write; clap checked that there is one.
    pub(super) fn output(&self) -> &Path {
        let output = self.output.as_deref().or(self.former_output.as_deref());
        output.unwrap_or(Path::new(""))
    }
}
