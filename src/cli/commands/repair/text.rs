//! The text that `repair scan` and `repair rebuild-header` print.

use std::fmt::Write as _;

use fve::repair::{FoundBlock, FoundVolume, Scan};
use fve::shown::ShowPath;

use super::args::{RebuildArgs, ScanArgs};
use super::scanned::{ScannedVolume, copy_number, is_current};
use crate::cli::output::term;

pub(super) fn scan_text(args: &ScanArgs, scan: &Scan, found: &[ScannedVolume<'_>]) -> String {
    let mut text = String::new();
    for (number, scanned) in (1..).zip(found) {
        let volume = scanned.found;
        let _ = writeln!(text, "{number}. volume {:X}", volume.id);
        write_place(&mut text, scanned);
        let facts = [
            scanned.method().map(str::to_owned),
            scanned.state().map(str::to_owned),
            scanned.size().map(term::human_size),
        ];
        let facts: Vec<_> = facts.into_iter().flatten().collect();
        let _ = writeln!(text, "   {}", facts.join(", "));
        if let Some(block) = scanned.block() {
            let description = term::escaped(block.description().unwrap_or("no description"));
            let _ = writeln!(
                text,
                "   {description}; turned on {}",
                block.dataset.created
            );
        }
        for found in &volume.blocks {
            write_copy(&mut text, found, volume);
        }
        match (&scanned.volume, &scanned.unlocked) {
            (Err(error), _) => {
                let _ = writeln!(text, "   cannot be opened: {}", error.with_causes());
            }
            (Ok(_), Some(Ok(_))) if scanned.piece => {
                text.push_str("   the credentials are correct, but nothing can be decrypted\n");
            }
            (Ok(_), Some(Ok(_))) => text.push_str("   the credentials unlock it\n"),
            (Ok(_), Some(Err(error))) => {
                let _ = writeln!(
                    text,
                    "   the credentials do not unlock it: {}",
                    error.with_causes()
                );
            }
            (Ok(_), None) => {}
        }
        if scanned.volume.is_ok() {
            let path = args.source.shown();
            let no_plaintext =
                scanned.piece || (!volume.evidence.is_proof() && volume.begins_before_source());
            let command = match no_plaintext {
                true => format!("fve info {path} {}", scanned.arguments),
                false => format!("fve mount {path} DIR {}", scanned.arguments),
            };
            let _ = writeln!(text, "   {}", command.trim_end());
        }
    }
    for record in &scan.boot_records {
        let used = found
            .iter()
            .any(|scanned| u64::try_from(scanned.found.start).is_ok_and(|start| start == *record));
        if !used {
            let _ = writeln!(
                text,
                "a boot record at byte {record} belongs to none of these volumes"
            );
        }
    }
    text
}

fn write_place(text: &mut String, scanned: &ScannedVolume<'_>) {
    let volume = scanned.found;
    if scanned.piece {
        text.push_str(
            "   only a part of the volume, with metadata but without the first sector; the start of the volume is unknown\n",
        );
        return;
    }
    if !volume.evidence.is_proof() {
        let places = std::iter::once(volume.start).chain(volume.other_starts.iter().copied());
        let places: Vec<_> = places.map(|place| place.to_string()).collect();
        let _ = writeln!(
            text,
            "   the start is not certain: it may be byte {}; give a credential to find out",
            places.join(" or ")
        );
        return;
    }
    let evidence = &volume.evidence;
    let partition = evidence
        .partition
        .map(|number| format!(", partition {number}"))
        .unwrap_or_default();
    let record = match evidence.boot_record {
        true => "boot record found",
        false => "boot record missing",
    };
    let begins = match volume.missing() {
        0 => format!("begins at byte {}", volume.start),
        missing => format!(
            "begins {missing} bytes before the start of the source (at byte {})",
            volume.start
        ),
    };
    let _ = writeln!(text, "   {begins}{partition}; {record}");
}

fn write_copy(text: &mut String, found: &FoundBlock, volume: &FoundVolume) {
    let number = copy_number(found, volume);
    let number = number.map(|number| format!(" copy {number}"));
    let soundness = match (found.is_sound(), is_current(found, volume)) {
        (false, _) => "damaged",
        (true, true) => "intact",
        (true, false) => "intact, but older than the others",
    };
    let written = found
        .block
        .last_written()
        .map(|time| format!("; written {time}"))
        .unwrap_or_default();
    let _ = writeln!(
        text,
        "   metadata{} at byte {:#x}: {soundness}{written}",
        number.unwrap_or_default(),
        found.offset
    );
}

pub(super) fn rebuilt_text(args: &RebuildArgs, found: &FoundVolume, size: u64) -> String {
    let path = args.output().shown();
    match args.whole {
        true => format!(
            "volume {:X} was written to {path}, {size} bytes\n",
            found.id
        ),
        false => format!(
            "the first {size} bytes of volume {:X} were written to {path}; write them to byte {} of a copy of the source\n",
            found.id, found.start
        ),
    }
}
