//! dislocker-metadata: describes the metadata of a volume, in the words that scripts look for.

use std::fmt::Write;
use std::path::PathBuf;

use fve::format::block::{MetadataBlock, State};
use fve::format::protector::ProtectorKind;

use super::Call;
use super::words::{Form, Given, Takes, Word};
use crate::cli::failure::Failure;
use crate::cli::options::parse::parse_offset;
use crate::cli::options::source::{self, LostArgs, SourceArgs};
use crate::cli::output::term::{self, escaped};

pub(super) const FORMS: &[Form] = &[
    ('h', "", Takes::Nothing),
    ('o', "", Takes::Value),
    ('v', "", Takes::Nothing),
    ('V', "", Takes::Value),
];

pub(super) fn run(call: &Call<'_>, given: &Given) -> Result<(), Failure> {
    let volume = given.value('V');
    let volume = volume.ok_or_else(|| call.refused("no volume is given with -V"))?;
    call.remember_inputs([(volume, "VOLUME")]);
    let source = source_args(volume, given.value('o')).map_err(|problem| call.refused(problem))?;
    let opened = source::open(&source).print_notes()?;
    let block = opened.volume.metadata()?;
    term::print(&text(block))
}

/// The volume in a file or device, at an offset if one is given.
pub(super) fn source_args(volume: &Word, offset: Option<&Word>) -> Result<SourceArgs, String> {
    let offset = offset.map(|word| parse_offset(&word.text()));
    Ok(SourceArgs {
        source: PathBuf::from(volume.os()),
        offset: offset
            .transpose()
            .map_err(|problem| format!("the offset is {problem}"))?,
        partition: None,
        rescue_map: None,
        lost: LostArgs::default(),
    })
}

fn text(block: &MetadataBlock) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{words}");
    };
    line(format_args!("Version: {}", block.version));
    line(format_args!("Current state: {}", state(block.state)));
    line(format_args!("Next state: {}", state(block.next_state)));
    line(format_args!(
        "Encrypted volume size: {0} bytes ({0:#x})",
        block.encrypted_extent
    ));
    for (name, offset) in ["First", "Second", "Third"].iter().zip(block.copies) {
        line(format_args!("{name} metadata header offset: {offset:#x}"));
    }
    line(format_args!(
        "Boot sectors backup address: {:#x}",
        block.header_source
    ));
    line(format_args!("Dataset GUID: '{:X}'", block.dataset.id));
    line(format_args!(
        "Encryption Type: {}",
        method(block.dataset.method)
    ));
    line(format_args!("Created: {}", block.dataset.created));
    if let Some(description) = block.description() {
        line(format_args!("UTF-16 string: '{}'", escaped(description)));
    }
    for protector in block.protectors() {
        line(format_args!("Recovery Key GUID: '{:X}'", protector.id));
        line(format_args!("  Type: {}", protector.kind().name()));
    }
    let is_clear = |kind| kind == ProtectorKind::ClearKey;
    let has_clear_key = block
        .protectors()
        .any(|protector| is_clear(protector.kind()));
    line(format_args!(
        "{}",
        match has_clear_key {
            true => "A clear key was found.",
            false => "No clear key found.",
        }
    ));
    text
}

fn state(state: State) -> String {
    let name = match state {
        State::DECRYPTED => "DECRYPTED",
        State::SWITCHING | State::SWITCHING_DETACHED => "SWITCHING ENCRYPTION",
        State::PAUSED => "SWITCH ENCRYPTION PAUSED",
        State::ENCRYPTED => "ENCRYPTED",
        _ => "UNKNOWN",
    };
    format!("{name} ({})", state.0)
}

fn method(code: u16) -> String {
    let name = match code {
        0 => "NULL",
        0x8000 => "AES-128-DIFFUSER",
        0x8001 => "AES-256-DIFFUSER",
        0x8002 => "AES-128-NODIFFUSER",
        0x8003 => "AES-256-NODIFFUSER",
        0x8004 => "AES-XTS-128",
        0x8005 => "AES-XTS-256",
        _ => "UNKNOWN",
    };
    format!("{name} ({code:#06x})")
}
