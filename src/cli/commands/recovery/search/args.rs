//! The options of `fve recovery search`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::options::source::SourceArgs;

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// The 48 digits, with '?' for each unreadable one and '[17]' for a 1 or 7; '-' is standard
    /// input. As an argument they stay in the shell's history and show in the process list: prefer
    /// --pattern-file. Without either, they are asked for
    #[arg(long, value_name = "PATTERN", conflicts_with = "pattern_file")]
    pub(super) pattern: Option<String>,

    /// File that holds the pattern ('-' = standard input)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) pattern_file: Option<PathBuf>,

    /// All digits are there, but open nothing: try the slips that the check digits let pass
    #[arg(long, conflicts_with = "any_order")]
    pub(super) try_near: bool,

    /// All digits are there, but the order of the blocks is not known
    #[arg(long)]
    pub(super) any_order: bool,

    /// Try only this protector (its GUID, or the first 8 hex digits of it, as on the printout)
    #[arg(long, value_name = "ID")]
    pub(super) protector: Option<String>,

    /// Save how far the search is in this file, and go on from there if it exists
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) checkpoint: Option<PathBuf>,

    /// Save the password that is found in this new file, for its owner alone (in a directory: under
    /// the name that Windows would give it)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(super) save_to: Option<PathBuf>,

    /// Print the password that is found
    #[arg(long)]
    pub(super) show: bool,

    /// Search even if it takes days
    #[arg(long)]
    pub(super) yes: bool,

    /// Only say how many candidates there are, and how long it would take
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Use so many threads instead of one for each core
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZeroUsize>,

    /// Answer with one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}
