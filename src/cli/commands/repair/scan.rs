//! `fve repair scan`: searches a disk for volumes, and says how to open each.

use fve::repair::Scope;

use super::args::ScanArgs;
use super::json::scan_json;
use super::scanned::ScannedVolume;
use super::search::{not_found, print_interruption, search, settle_start};
use super::text::scan_text;
use crate::cli::failure::Failure;
use crate::cli::options::source;
use crate::cli::output::term;
use crate::cli::signals;

/// How many volumes credentials are tried on at most. Each try takes the time of stretching a
/// password, and a hostile image may contain metadata of thousands of volumes.
const MOST_TRIED: usize = 16;

pub(super) fn run(args: &ScanArgs) -> Result<(), Failure> {
    let json = args.json;
    signals::exit_on_signal(move || print_interruption(json));
    let disk = source::disk(&args.source, None).print_notes()?;
    let scope = match args.quick {
        true => Scope::LikelyPlacesFirst,
        false => Scope::Everything,
    };
    let mut scan = search(&disk, scope);
    let credentials = args.credentials.read_given()?;
    if !credentials.is_empty() {
        for volume in scan.volumes.iter_mut().take(MOST_TRIED) {
            settle_start(&disk, volume, &args.credentials, &credentials)?;
        }
        if scan.volumes.len() > MOST_TRIED {
            term::note(format_args!(
                "the credentials were tried only on the first {MOST_TRIED} of {} volumes",
                scan.volumes.len()
            ));
        }
    }
    let found: Vec<_> = (0..)
        .zip(&scan.volumes)
        .map(|(number, volume)| {
            let tried = if number < MOST_TRIED {
                &credentials[..]
            } else {
                &[]
            };
            ScannedVolume::at(&disk, volume, args, tried)
        })
        .collect::<Result<_, _>>()?;
    if args.json {
        term::print(&scan_json(&scan, &found))?;
    } else {
        term::print(&scan_text(args, &scan, &found))?;
    }
    if scan.volumes.is_empty() {
        return Err(not_found(&scan, args.json));
    }
    Ok(())
}
