//! The options of `fve decrypt`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::every_volume::EveryVolumeArgs;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source::SourceArgs;

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  Decrypt to a file, and continue after an interruption:
    fve decrypt /dev/sda3 volume.img --resume
  Decrypt a damaged disk image, and list what cannot be read:
    fve decrypt disk.img volume.img --error-map-to volume.map
  Decrypt every volume of a disk to a file in the directory volumes:
    fve decrypt --all /dev/sda volumes
  Decrypt into another program:
    fve decrypt /dev/sda3 - --password-file pw | gzip > volume.img.gz")]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// File or block device to write, or '-' for standard output; with --all, a directory for a file of
    /// each volume
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,

    #[command(flatten)]
    pub(crate) every: EveryVolumeArgs,

    /// Overwrite OUT if it is an existing file
    #[arg(long)]
    pub(crate) force: bool,

    /// Keep OUT.partial if the run is interrupted or fails, and continue with it in the next run
    #[arg(long)]
    pub(crate) resume: bool,

    /// Confirm that all data on OUT, a block device, may be destroyed, by repeating its path
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "all")]
    pub(crate) device_confirm: Option<PathBuf>,

    /// Compute the SHA-256 of the decrypted volume and print it
    #[arg(long)]
    pub(crate) sha256: bool,

    /// Where SOURCE cannot be read, write zeros and continue; list these places in this new file,
    /// in the format of ddrescue's map files
    #[arg(long, alias = "error-map", value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "all")]
    pub(crate) error_map_to: Option<PathBuf>,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
