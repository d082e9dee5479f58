//! The description of a file that was saved of a volume: a startup key, a key package or a backup of the
//! metadata. No key is shown.

use std::path::Path;

use fve::crypto::sector::Method;
use fve::format::bek::BekFile;
use fve::format::block::MetadataBlock;
use fve::format::key_package::KeyPackage;
use fve::guid::Guid;
use fve::manage::{Backup, SavedFile};
use fve::secret::ExternalKey;
use serde_json::{Value, json};

use super::{
    code, field, line, method_in_words, protector_json, state_words, write_protector_list,
};
use crate::cli::output::json;
use crate::cli::output::term::{escaped, human_size};

/// A file with what it contains.
pub(crate) struct SavedReport<'a> {
    path: &'a Path,
    size: u64,
    content: Content<'a>,
}

enum Content<'a> {
    StartupKey(&'a BekFile),
    KeyPackage(&'a KeyPackage),
    Backup(&'a Backup, Box<MetadataBlock>),
}

impl<'a> SavedReport<'a> {
    /// `None` for a kind of file that is not described here.
    pub(crate) fn of(path: &'a Path, size: u64, file: &'a SavedFile) -> Option<Self> {
        let content = match file {
            SavedFile::StartupKey(file) => Content::StartupKey(file),
            SavedFile::KeyPackage(file) => Content::KeyPackage(file),
            SavedFile::Backup(file) => Content::Backup(file, Box::new(file.metadata().ok()?)),
            _ => return None,
        };
        Some(Self {
            path,
            size,
            content,
        })
    }

    /// The description as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match &self.content {
            Content::StartupKey(file) => self.write_startup_key(&mut text, file),
            Content::KeyPackage(file) => write_key_package(&mut text, file),
            Content::Backup(file, block) => write_backup(&mut text, file, block),
        }
        text
    }

    /// The description as JSON (docs/json.md).
    pub(crate) fn json(&self) -> String {
        let (kind, key, content) = match &self.content {
            Content::StartupKey(file) => ("startup-key", "startup_key", self.startup_key(file)),
            Content::KeyPackage(file) => ("key-package", "key_package", key_package(file)),
            Content::Backup(file, block) => {
                ("metadata-backup", "metadata_backup", backup(file, block))
            }
        };
        json::document(&json!({
            "file": { "path": self.path.to_string_lossy(), "size": self.size, "kind": kind },
            key: content,
        }))
    }

    /// The identifier in the name of the file, as Windows names startup keys, if it is not that of the
    /// key in it.
    fn other_name(&self, file: &BekFile) -> Option<Guid> {
        let named: Guid = self.path.file_stem()?.to_str()?.parse().ok()?;
        (named != file.id).then_some(named)
    }

    fn write_startup_key(&self, text: &mut String, file: &BekFile) {
        line(text, format_args!("Startup key (.BEK file)\n"));
        field(text, "Key Protector ID:", &format!("{{{:X}}}", file.id));
        field(text, "Volume:", &volume_in_words(file.volume));
        field(text, "Key Created:", &file.created.to_string());
        field(text, "File Created:", &file.written.to_string());
        field(
            text,
            "Key:",
            &format!("external key, {} bits, not encrypted", key_bits()),
        );
        if let Some(other) = self.other_name(file) {
            line(
                text,
                format_args!(
                    "\nNote: the file has the name of another key, {other:X}; the identifier above counts"
                ),
            );
        }
        line(
            text,
            format_args!(
                "\nIt unlocks the volume that has a key protector with this ID ('fve info' and 'fve list' show them):\ngive it with --startup-key. Anyone who has this file can do so."
            ),
        );
    }

    fn startup_key(&self, file: &BekFile) -> Value {
        json!({
            "protector": format!("{:X}", file.id),
            "volume": file.volume.map(|id| format!("{id:X}")),
            "created": file.created.to_string(),
            "written": file.written.to_string(),
            "key_type": "external-key",
            "key_bits": key_bits(),
            "named_as": self.other_name(file).map(|id| format!("{id:X}")),
        })
    }
}

/// Length of an external key in bits.
fn key_bits() -> usize {
    ExternalKey::LEN * 8
}

fn volume_in_words(id: Option<Guid>) -> String {
    match id {
        Some(id) => format!("{{{id:X}}}"),
        None => "Unknown (only Windows 11 writes it)".to_owned(),
    }
}

fn write_key_package(text: &mut String, file: &KeyPackage) {
    line(text, format_args!("Key package\n"));
    let dataset = file.dataset.as_ref();
    field(
        text,
        "Volume:",
        &dataset.map_or("Unknown".to_owned(), |dataset| {
            format!("{{{:X}}}", dataset.id)
        }),
    );
    if let Some(description) = file.description() {
        field(text, "Description:", &escaped(description));
    }
    if let Some(dataset) = dataset {
        field(text, "Turned On:", &dataset.created.to_string());
        field(text, "Encryption Method:", &method_in_words(dataset.method));
    }
    field(text, "Form:", form(file).1);
    write_protector_list(text, file.protectors());
    line(
        text,
        format_args!(
            "\nIt holds the encrypted keys of the volume, for the case that its metadata is damaged: with a credential of\none of these key protectors, --key-package unlocks the volume."
        ),
    );
}

/// The form of a key package, as a word and in words.
fn form(file: &KeyPackage) -> (&'static str, &'static str) {
    match (file.is_metadata_block(), &file.dataset) {
        (true, _) => ("metadata-block", "a whole metadata block"),
        (false, Some(_)) => (
            "dataset",
            "a dataset, as 'fve export key-package' writes it",
        ),
        (false, None) => ("entries", "entries of metadata without a header"),
    }
}

fn key_package(file: &KeyPackage) -> Value {
    let dataset = file.dataset.as_ref();
    json!({
        "volume": dataset.map(|dataset| format!("{:X}", dataset.id)),
        "description": file.description(),
        "created": dataset.map(|dataset| dataset.created.to_string()),
        "encryption_method": dataset.map(|dataset| method_in_words(dataset.method)),
        "encryption_method_id": dataset.map(|dataset| code(dataset.method)),
        "encryption_method_word": dataset.and_then(|dataset| method_word(dataset.method)),
        "form": form(file).0,
        "protectors": file.protectors().map(protector_json).collect::<Vec<_>>(),
    })
}

fn method_word(code: u16) -> Option<&'static str> {
    Method::by_code(code).map(|method| method.word)
}

fn write_backup(text: &mut String, file: &Backup, block: &MetadataBlock) {
    line(text, format_args!("Backup of the metadata of a volume\n"));
    field(text, "Volume:", &format!("{{{:X}}}", file.volume_id()));
    if let Some(description) = block.description() {
        field(text, "Description:", &escaped(description));
    }
    field(text, "Backup Taken:", &file.taken().to_string());
    let size = file.volume_size();
    field(
        text,
        "Size:",
        &format!("{} ({size} bytes)", human_size(size)),
    );
    field(text, "Turned On:", &block.dataset.created.to_string());
    if let Some(written) = block.last_written() {
        field(text, "Last Written:", &written.to_string());
    }
    field(
        text,
        "Encryption Method:",
        &method_in_words(block.dataset.method),
    );
    field(text, "State:", &state_words(block));
    for (number, offset) in (1..).zip(block.copies) {
        field(
            text,
            &format!("Copy {number}:"),
            &format!("at byte {offset}"),
        );
    }
    write_protector_list(text, block.protectors());
    line(
        text,
        format_args!(
            "\nIt restores the metadata of this volume ('fve metadata restore'). Anyone with a credential of one of these key\nprotectors can unlock the volume with it, even after the credential was changed."
        ),
    );
}

fn backup(file: &Backup, block: &MetadataBlock) -> Value {
    json!({
        "volume": format!("{:X}", file.volume_id()),
        "description": block.description(),
        "taken": file.taken().to_string(),
        "size": file.volume_size(),
        "created": block.dataset.created.to_string(),
        "last_written": block.last_written().map(|time| time.to_string()),
        "encryption_method": method_in_words(block.dataset.method),
        "encryption_method_id": code(block.dataset.method),
        "encryption_method_word": method_word(block.dataset.method),
        "state": block.state.0,
        "next_state": block.next_state.0,
        "metadata_offsets": block.copies,
        "protectors": block.protectors().map(protector_json).collect::<Vec<_>>(),
    })
}
