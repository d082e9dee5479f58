//! The JSON documents of `repair scan` and `repair rebuild-header`.

use fve::error::Error;
use fve::format::block::MetadataBlock;
use fve::repair::{FoundVolume, Scan};
use serde_json::{Value, json};

use super::args::RebuildArgs;
use super::scanned::{ScannedVolume, copy_number, is_current};
use crate::cli::output::json::document;

pub(super) fn scan_json(scan: &Scan, found: &[ScannedVolume<'_>]) -> String {
    let unreadable: Vec<_> = scan
        .unreadable
        .iter()
        .map(|range| json!({ "start": range.start, "end": range.end }))
        .collect();
    let volumes: Vec<_> = found.iter().map(volume_json).collect();
    document(&json!({
        "searched": scan.searched,
        "unreadable": unreadable,
        "boot_records": scan.boot_records,
        "volumes": volumes,
    }))
}

fn volume_json(scanned: &ScannedVolume<'_>) -> Value {
    let volume = scanned.found;
    let copies: Vec<_> = volume
        .blocks
        .iter()
        .map(|found| {
            json!({
                "copy": copy_number(found, volume),
                "offset": found.offset,
                "sound": found.is_sound(),
                "next_nonce": found.block.dataset.next_nonce,
                "last_written": found.block.last_written().map(|time| time.to_string()),
                "current": is_current(found, volume),
            })
        })
        .collect();
    let block = scanned.block();
    let mut answer = json!({
        "volume": format!("{:X}", volume.id),
        "start": volume.start,
        "start_is_proved": volume.evidence.is_proof(),
        "other_starts": volume.other_starts,
        "partition": volume.evidence.partition,
        "boot_record": volume.evidence.boot_record,
        "size": scanned.size(),
        "sector_size": block.and_then(MetadataBlock::sector_size),
        "state": scanned.state(),
        "encryption_method": scanned.method(),
        "description": block.and_then(MetadataBlock::description),
        "created": block.map(|block| block.dataset.created.to_string()),
        "copies": copies,
        "piece": scanned.piece,
        "arguments": scanned.arguments,
        "fault": scanned.volume.as_ref().err().map(in_full),
    });
    if let Some(unlocked) = &scanned.unlocked {
        answer["opens"] = json!(unlocked.is_ok());
        answer["refusal"] = json!(unlocked.as_ref().err().map(in_full));
    }
    answer
}

pub(super) fn rebuilt_json(
    args: &RebuildArgs,
    found: &FoundVolume,
    size: u64,
    proved: bool,
) -> String {
    document(&json!({
        "volume": format!("{:X}", found.id),
        "start": found.start,
        "file": args.output().to_string_lossy().into_owned(),
        "size": size,
        "whole": args.whole,
        "proved": proved,
    }))
}

/// The message of an error with all its causes.
fn in_full(error: &Error) -> String {
    error.with_causes().to_string()
}
