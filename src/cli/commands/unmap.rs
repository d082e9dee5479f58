//! `fve unmap`: removes a device of the kernel that shows a decrypted volume.
//!
//! Keys of `unmap --json`: `name`.

use std::path::Path;

use clap::{Args, ValueHint};
use fve::serve::mapping::{NotRemoved, remove};
use fve::shown::ShowPath;
use fve::source::Devices;
use serde_json::json;

use super::map::{check_root, parse_name};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::run::Run;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Remove the device /dev/mapper/windows:
    fve unmap windows")]
pub(crate) struct UnmapArgs {
    /// Name of the device in /dev/mapper, or its path
    #[arg(value_name = "NAME", value_hint = ValueHint::FilePath, value_parser = parse_name_or_path)]
    name: String,

    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,
}

fn parse_name_or_path(text: &str) -> Result<String, String> {
    if let Some(number) = text.strip_prefix("/dev/dm-") {
        let about = format!("/sys/block/dm-{number}/dm/name");
        let name = std::fs::read_to_string(about);
        return name.map_or_else(
            |_| Err("there is no such device".to_owned()),
            |name| parse_name(name.trim_end()),
        );
    }
    parse_name(text.strip_prefix("/dev/mapper/").unwrap_or(text))
}

impl Run for UnmapArgs {
    fn run(&self) -> Result<(), Failure> {
        unmap(self)
    }
}

fn unmap(args: &UnmapArgs) -> Result<(), Failure> {
    check_root()?;
    remove(&args.name).map_err(|error| match error {
        NotRemoved::Failed(error) => error.into(),
        NotRemoved::InUse(path) => in_use(&path),
        NotRemoved::Missing(_) => not_meant(&error, "'fve list' shows which volumes are mapped"),
        _ => not_meant(&error, "remove it with the program that made it"),
    })?;
    match args.json {
        true => term::print(&document(&json!({ "name": args.name }))),
        false => Ok(()),
    }
}

/// The failure for a name that is not that of a mapping of a volume.
fn not_meant(error: &NotRemoved, help: &str) -> Failure {
    Failure::Other {
        status: Status::Usage,
        what: error.to_string(),
        help: Some(help.to_owned()),
    }
}

/// The failure for a mapping that is in use: by what, as far as the system says.
fn in_use(path: &Path) -> Failure {
    let devices = Devices::new();
    let disks = devices.disks().unwrap_or_default();
    let mapped = disks.iter().find(|disk| disk.path() == path);
    let uses: Vec<_> = mapped
        .map(|disk| devices.uses(disk, 0..u64::MAX))
        .unwrap_or_default()
        .iter()
        .map(|found| found.description())
        .collect();
    match uses.is_empty() {
        true => Failure::Other {
            status: Status::Io,
            what: format!(
                "cannot remove the mapping {}: a program uses it",
                path.shown()
            ),
            help: Some(format!("'fuser -v {}' names the programs", path.shown())),
        },
        false => Failure::Other {
            status: Status::Io,
            what: format!("cannot remove the mapping: {}", uses.join("; ")),
            help: Some("end that first".to_owned()),
        },
    }
}
