//! `fve decrypt`: writes the whole decrypted volume to a file, to a device or to standard output.

mod args;
mod error_map;
mod output;
mod record;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::args::DecryptArgs;
use self::error_map::ErrorMap;
use self::output::{Kind, Output, check_storage, read_from};
use self::record::OutputIdentity;
use crate::cli::every_volume;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::source;
use crate::cli::output::{json as documents, term};
use crate::cli::run::Run;
use crate::cli::signals;
use fve::serve::export::{Export, Exported, Written, ddrescue_map};
use fve::shown::ShowPath;
use fve::volume::Unlocked;
use serde_json::json;

impl Run for DecryptArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &DecryptArgs) -> Result<(), Failure> {
    if args.every.all {
        if args.output == Path::new("-") {
            return Err(Failure::usage("with --all, OUT must be a directory"));
        }
        let directory = Some(args.output.as_path());
        return every_volume::run(&args.source, &args.credentials, directory, args.json);
    }
    if let Some(name) = &args.every.one_of_all {
        let mut own = args.clone();
        own.output.push(format!("{name}.img"));
        own.every.one_of_all = None;
        return run(&own);
    }
    // Whatever can refuse the output comes before the credential, which the user may have to type.
    let kind = Kind::of(args)?;
    if args.json && args.output == Path::new("-") {
        return Err(Failure::usage(
            "with --json, standard output has the document, so OUT must be a file or a device",
        ));
    }
    ErrorMap::check(args)?;
    let source::OpenedToShow {
        opened,
        hold: _hold,
    } = source::open_to_show(&args.source)
        .print_notes()
        .map_err(|failure| args.credentials.name_fitting(failure))?;
    let sources = read_from(args, &opened);
    check_storage(args, kind, &sources)?;
    let unlocked = args.credentials.unlock(&opened.volume)?;
    let about = OutputIdentity::new(&opened, &args.source.source, &unlocked);
    // Watch for signals before the output exists: from here on it must be removed or kept properly.
    let interrupted = signals::notice();
    let output = Output::create(args, kind, about, &sources, &unlocked)?;
    let map = ErrorMap::create(args)?;
    let earlier = output.earlier();
    let done = AtomicU64::new(earlier.len);
    let bar = term::progress(unlocked.available());
    bar.set_position(earlier.len);
    // Otherwise the bytes of the earlier run would count for the speed of this one.
    bar.reset_eta();
    let progress = |bytes| {
        bar.inc(bytes);
        done.fetch_add(bytes, Ordering::Relaxed);
    };
    let record = |written: &Written| output.save(written);
    let export = Export::new(&unlocked)
        .zeros(output.zeros())
        .hash(args.sha256)
        .skip_unreadable(map.is_some())
        .progress(&progress)
        .cancelled_by(&interrupted)
        .resume(earlier)
        .record(&record);
    let exported = output.write(&export, args.sha256, &interrupted);
    bar.finish_and_clear();
    match exported {
        Ok(exported) => {
            output.finish()?;
            if let Some(map) = map {
                map.fill(&ddrescue_map(&exported, unlocked.size()))?;
            }
            let reported = report_missing(&exported, unlocked.size());
            if args.json {
                return print_document(args, &exported, &unlocked, reported);
            }
            print_hash(args, &exported)?;
            reported
        }
        Err(failed) => Err(output.give_up(failed, done.into_inner())),
    }
}

/// Prints the result as a document. If bytes are missing, it has the error, too.
fn print_document(
    args: &DecryptArgs,
    exported: &Exported,
    unlocked: &Unlocked,
    reported: Result<(), Failure>,
) -> Result<(), Failure> {
    let missing = exported.missing.iter();
    let missing = missing.map(|range| json!({ "start": range.start, "end": range.end }));
    let mut answer = json!({
        "file": args.output.to_string_lossy(),
        "size": unlocked.size(),
        "missing_bytes": exported.missing_bytes(),
        "missing": missing.collect::<Vec<_>>(),
        "error_map": args.error_map_to.as_ref().map(|path| path.to_string_lossy()),
        "sha256": exported.sha256.map(|hash| base16ct::lower::encode_string(&hash)),
    });
    let Err(failure) = reported else {
        return term::print(&documents::document(&answer));
    };
    answer["error"] = documents::error_object(&failure);
    term::print(&documents::document(&answer))?;
    term::print_failure(&failure);
    Err(Failure::Silent(failure.status()))
}

/// Prints the SHA-256 in the format of sha256sum; on standard error if standard output gets the
/// volume.
fn print_hash(args: &DecryptArgs, exported: &Exported) -> Result<(), Failure> {
    let Some(hash) = exported.sha256 else {
        return Ok(());
    };
    let digits = base16ct::lower::encode_string(&hash);
    let line = format!("{digits}  {}", args.output.shown());
    if args.output == Path::new("-") {
        term::note(line);
        return Ok(());
    }
    term::print(&format!("{line}\n"))
}

fn report_missing(exported: &Exported, size: u64) -> Result<(), Failure> {
    let missing = exported.missing_bytes();
    if missing == 0 {
        return Ok(());
    }
    /// The message would become unreadable; the map file lists all.
    const MOST: usize = 16;
    let mut places: Vec<_> = exported
        .missing
        .iter()
        .take(MOST)
        .map(|range| format!("{} to {}", range.start, range.end))
        .collect();
    let more = exported.missing.len() - places.len();
    if more > 0 {
        places.push(format!("and {more} other places"));
    }
    Err(Failure::Other {
        status: Status::Io,
        what: format!(
            "everything that can be read was written, but {missing} of the volume's {size} bytes are missing: {}",
            places.join(", ")
        ),
        help: None,
    })
}
