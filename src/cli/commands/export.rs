//! `fve export`: saves keys of a volume to a file.
//!
//! Keys of `key-package --json`: `volume` (identifier), `file`, `size` (bytes) and `protectors`
//! (each with `id`, `type`, `name`): the key protectors whose secrets unlock the package.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use fve::enroll::save_key;
use fve::manage::export_key_package;
use fve::output::check_new;
use fve::shown::ShowPath;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::parse::parse_protector_id;
use crate::cli::options::source::{self, SourceArgs};
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::run::Run;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Save the keys for all recovery passwords and external keys:
    fve export key-package /dev/sda3 keys.pkg")]
pub(crate) struct ExportArgs {
    #[command(subcommand)]
    command: ExportCommand,
}

#[derive(Debug, Subcommand)]
enum ExportCommand {
    /// Save the encrypted keys of a volume to a file
    ///
    /// If the metadata of the volume is damaged later, --key-package unlocks the volume with this
    /// file. The file format is fve's own: repair-bde of Windows is not known to read it.
    KeyPackage(KeyPackageArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Save the keys for all recovery passwords and external keys:
    fve export key-package /dev/sda3 keys.pkg
  Use them later, when the metadata is damaged:
    fve decrypt disk.img volume.img --key-package keys.pkg")]
struct KeyPackageArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// New file to write. The credentials of its key protectors unlock the volume with this file
    /// even after they are changed: keep it safe
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    output: PathBuf,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Include only these key protectors (GUIDs, or their first 8 hex digits); the default is all
    /// recovery passwords and external keys
    #[arg(value_name = "ID", value_parser = parse_protector_id)]
    ids: Vec<String>,

    /// The former option for the same
    #[arg(long = "of", value_name = "ID", hide = true, value_parser = parse_protector_id)]
    former_ids: Vec<String>,

    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,
}

impl Run for ExportArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &ExportArgs) -> Result<(), Failure> {
    let ExportCommand::KeyPackage(args) = &args.command;
    check_new(&args.output)?;
    let volume = source::open(&args.source)
        .print_notes()
        .map_err(|failure| args.credentials.name_fitting(failure))?
        .volume;
    let key = args.credentials.unlock_master_key(&volume)?;
    let ids = [args.ids.as_slice(), &args.former_ids].concat();
    let exported = export_key_package(&volume, &key, &ids)?;
    save_key(&args.output, &exported.content)?;
    if args.json {
        let protectors = exported.protectors.iter().map(|(id, kind)| {
            json!({
                "id": format!("{id:X}"),
                "type": kind.word(),
                "name": kind.name(),
            })
        });
        return term::print(&document(&json!({
            "volume": format!("{:X}", exported.volume),
            "file": args.output.to_string_lossy().into_owned(),
            "size": exported.content.len(),
            "protectors": protectors.collect::<Vec<_>>(),
        })));
    }
    term::note(format_args!(
        "saved to {}; any of these key protectors unlocks the volume with it:",
        args.output.shown()
    ));
    for (id, kind) in &exported.protectors {
        term::note(format_args!("  {} {{{id:X}}}", kind.name()));
    }
    Ok(())
}
