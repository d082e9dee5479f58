//! The options of `fve recovery search`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::options::parse::parse_protector_id;
use crate::cli::options::source::SourceArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Estimate how long a search takes:
    fve recovery search /dev/sda3 --pattern-file pattern --dry-run
  Ask for the pattern, and save the password once found:
    fve recovery search /dev/sda3 --recovery-password-to found.txt
  Search for a long time, with interruptions:
    fve recovery search v.img --pattern-file pattern --checkpoint state --show")]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// The 48 digits, with '?' for each unreadable one and '[17]' for a 1 or 7; '-' for standard
    /// input. On the command line they stay in the shell's history and are visible in the process
    /// list: prefer --pattern-file. If neither is given, they are asked for
    #[arg(long, value_name = "PATTERN", conflicts_with = "pattern_file")]
    pub(super) pattern: Option<String>,

    /// File with the pattern ('-' = standard input)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) pattern_file: Option<PathBuf>,

    /// All 48 digits are known but do not unlock the volume: try the typing errors that the check
    /// digits do not detect
    #[arg(long, conflicts_with = "any_order")]
    pub(super) try_near: bool,

    /// All 48 digits are known, but not the order of the blocks: try every order
    #[arg(long)]
    pub(super) any_order: bool,

    /// Try only this key protector (GUID, or its first 8 hex digits, as on the printout)
    #[arg(long, value_name = "ID", value_parser = parse_protector_id)]
    pub(super) protector: Option<String>,

    /// Save the progress of the search to this file; if the file exists, continue from there
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) checkpoint: Option<PathBuf>,

    /// Save the password to this new file once it is found, readable by its owner only; in a
    /// directory, the file gets the name that Windows uses
    #[arg(long, alias = "save-to", value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(super) recovery_password_to: Option<PathBuf>,

    /// Print the password once it is found
    #[arg(long)]
    pub(super) show: bool,

    /// Search even if it may take days
    #[arg(long)]
    pub(super) yes: bool,

    /// Print only the number of candidates and the expected time, without searching
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Number of threads; the default is one for each CPU core
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZeroUsize>,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
