//! `fve list`: the BitLocker volumes of this machine, and how the system uses them.

mod apart;
mod found;
mod text;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use fve::error::Error;
use fve::shown::ShowPath;
use fve::source::Devices;
use fve::volume::devices::{Survey, survey};
use rustix::process::geteuid;
use serde_json::json;

use self::found::{Found, Uses};
use crate::cli::failure::Failure;
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::run::Run;

/// How long a device may take to answer: a disk that is in standby needs some seconds to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Most devices that a message names.
const MAX_NAMED: usize = 16;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  List the volumes of all disks, partitions and loop devices:
    fve list
  The same, as JSON:
    fve list --json")]
pub(crate) struct ListArgs {
    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    /// Look at the devices in this process, which the one that the user started waits for
    #[arg(long, hide = true)]
    apart: bool,
}

impl Run for ListArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &ListArgs) -> Result<(), Failure> {
    if !args.apart {
        return apart::run();
    }
    list(args)?;
    apart::finish()
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let found = survey(&Devices::new(), PATIENCE, Found::of)?;
    let uses = Uses::of_all(&found.volumes);
    let listed: Vec<_> = found
        .volumes
        .iter()
        .map(|one| &one.volume)
        .zip(uses)
        .filter(|(volume, uses)| !volume.is_layer(uses.as_ref()))
        .collect();
    if args.json {
        let volumes = listed
            .iter()
            .map(|(volume, uses)| volume.json(uses.as_ref()));
        term::print(&document(&json!({
            "volumes": volumes.collect::<Vec<_>>(),
            "denied": found.denied.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
            "errors": found.failed.iter().map(error_json).collect::<Vec<_>>(),
        })))?;
    } else {
        term::print(&text::table(&listed))?;
    }
    print_notes(&found);
    Ok(())
}

fn error_json((device, error): &(PathBuf, Error)) -> serde_json::Value {
    json!({
        "device": device.to_string_lossy(),
        "message": error.with_causes().to_string(),
    })
}

/// Says what is not in the list.
fn print_notes(found: &Survey<Found>) {
    for (device, error) in &found.failed {
        term::note(format_args!(
            "warning: {}: {}",
            device.shown(),
            error.with_causes()
        ));
    }
    if found.left_out > 0 {
        term::note(format_args!(
            "{} further volumes are not listed, because they are on a disk with so many; 'fve info' shows those of one disk",
            found.left_out
        ));
    }
    if !found.denied.is_empty() {
        term::note(denied(&found.denied));
    }
    if found.volumes.is_empty() {
        let where_else = match found.denied.is_empty() && found.failed.is_empty() {
            true => "",
            false => " on the devices that could be read",
        };
        term::note(format_args!("found no BitLocker volume{where_else}"));
    }
}

/// Which devices the user may not read, and what to do.
fn denied(devices: &[PathBuf]) -> String {
    let count = match devices.len() {
        1 => "1 device".to_owned(),
        many => format!("{many} devices"),
    };
    let named = devices.iter().take(MAX_NAMED);
    let mut names: Vec<_> = named.map(|path| path.shown().to_string()).collect();
    if let more @ 1.. = devices.len().saturating_sub(MAX_NAMED) {
        names.push(format!("{more} more"));
    }
    let advice = match geteuid().is_root() {
        true => "if this is a container, give it access to its devices",
        false => "run the command as root, or as a member of the group 'disk'",
    };
    format!(
        "the system does not let fve read {count} ({}): {advice}",
        names.join(", ")
    )
}
