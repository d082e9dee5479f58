//! `--all`: a command for every volume of a disk.
//!
//! Each volume gets a process of its own, as if the user had called the command with `--partition`. So a
//! failure with one volume does not touch the others, and each can be mounted by a server of its own.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use clap::Args;
use fve::error::Error;
use fve::shown::ShowPath;
use fve::source::{Place, ReadAt, locate};
use fve::volume::Volume;
use serde_json::{Value, json};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::invocation;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source::{self, SourceArgs};
use crate::cli::output::json::document;
use crate::cli::output::term;

/// The most volumes that are handled: more than Windows has letters for.
const MOST: usize = 32;

const ALL: &str = "--all";
const ONE: &str = "--one-of-all";

/// The options of a command that can do its work for every volume.
#[derive(Debug, Clone, Args)]
pub(crate) struct EveryVolumeArgs {
    /// Do this for every volume of a disk with several. Each credential is tried on each volume
    #[arg(long, conflicts_with_all = ["offset", "partition", "metadata", "volume_start"])]
    pub(crate) all: bool,

    /// This process is for one of all volumes, whose place has this name
    #[arg(long, hide = true, value_name = "NAME")]
    pub(crate) one_of_all: Option<String>,
}

/// One volume of the disk.
struct One {
    partition: Option<u32>,
    offset: i64,
}

impl One {
    /// The name of its place: that of a directory or file.
    fn name(&self) -> String {
        match self.partition {
            Some(number) => format!("partition-{number}"),
            None => "volume".to_owned(),
        }
    }

    /// As messages name it.
    fn in_words(&self) -> String {
        match self.partition {
            Some(number) => format!("partition {number}"),
            None => "the volume".to_owned(),
        }
    }
}

/// Whether a directory may be the place of one of all volumes, by its name.
#[cfg(feature = "fuse")]
pub(crate) fn is_place(directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| {
        let number = name.strip_prefix("partition-");
        name == "volume" || number.is_some_and(|number| number.parse::<u32>().is_ok())
    })
}

/// Runs this command once for every volume, with the results in `directory`, which is made if it does not
/// exist.
pub(crate) fn run(
    source: &SourceArgs,
    credentials: &CredentialArgs,
    directory: Option<&Path>,
    as_document: bool,
) -> Result<(), Failure> {
    if credentials.can_be_read_once() {
        return Err(Failure::usage(
            "with --all, every volume reads the credentials, so they must be in files, not on standard input or in a file descriptor",
        ));
    }
    if let Some(directory) = directory
        && directory.exists()
        && !directory.is_dir()
    {
        return Err(Failure::usage(format!(
            "with --all, there is a place for each volume in a directory, but {} is no directory",
            directory.shown()
        )));
    }
    let volumes = find(source)?;
    if let Some(directory) = directory
        && !directory.exists()
    {
        std::fs::create_dir(directory)
            .map_err(|error| Error::io(format!("cannot create {}", directory.shown()), error))?;
    }
    let mut first_failure = None;
    let mut documents = Vec::new();
    let mut failed = Vec::new();
    for one in &volumes {
        term::note(format_args!("{}:", one.in_words()));
        let (status, result) = run_for(one, as_document)?;
        if status != Status::Done {
            first_failure.get_or_insert(status);
            failed.push(one.in_words());
        }
        documents.push(json!({
            "partition": one.partition,
            "offset": one.offset,
            "status": status as i32,
            "result": result,
        }));
    }
    if as_document {
        term::print(&document(&json!({ "volumes": documents })))?;
    }
    if volumes.len() > 1 {
        let (all, done) = (volumes.len(), volumes.len() - failed.len());
        term::note(match failed.is_empty() {
            true => format!("done for all {all} volumes"),
            false => format!(
                "done for {done} of {all} volumes; failed for {}",
                failed.join(", ")
            ),
        });
    }
    first_failure.map_or(Ok(()), |status| Err(Failure::Silent(status)))
}

fn find(args: &SourceArgs) -> Result<Vec<One>, Failure> {
    let disk: Arc<dyn ReadAt> =
        source::disk(&args.source, args.rescue_map.as_deref()).print_notes()?;
    match locate(disk, Place::Auto, &Volume::probe) {
        Ok(located) => Ok(vec![One {
            partition: located.partition,
            offset: i64::try_from(located.start).unwrap_or(i64::MAX),
        }]),
        Err(Error::Ambiguous { candidates, .. }) => {
            if candidates.len() > MOST {
                term::note(format_args!(
                    "{} volumes are left out: at most {MOST} are handled; choose one with --partition N",
                    candidates.len() - MOST
                ));
            }
            let candidates = candidates.into_iter().take(MOST);
            Ok(candidates
                .map(|candidate| One {
                    partition: candidate.partition,
                    offset: candidate.offset,
                })
                .collect())
        }
        Err(error) => Err(error.into()),
    }
}

/// Runs the command for one volume, and returns its status and its document, if one is asked for.
fn run_for(one: &One, as_document: bool) -> Result<(Status, Option<Value>), Failure> {
    let fail = |error| Error::io("cannot start the command for a volume", error);
    let mut command = invocation::program().map_err(fail)?;
    command.args(invocation::arguments().filter(|argument| *argument != ALL));
    command.args([ONE, &one.name()]);
    if let Some(number) = one.partition {
        command.args(["--partition", &number.to_string()]);
    }
    if as_document {
        command.stdout(Stdio::piped());
    }
    let output = command.spawn().and_then(|child| child.wait_with_output());
    let output = output.map_err(fail)?;
    let result = serde_json::from_slice(&output.stdout).ok();
    Ok((Status::of_process(output.status), result))
}
