//! Saved passwords in files: a single one, or thousands in a directory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::record::{self, Field};
use super::{Escrowed, Found, Query, csv, json, ldif};
use crate::error::{Error, Result};
use crate::guid::Guid;
use crate::unlock::recovery::{Options, decode, scan};

/// Largest file that is read, in bytes: a hundred thousand entries of a directory.
const MAX_FILE: u64 = 64 << 20;
/// Most files of a directory.
const MAX_FILES: usize = 200_000;
/// Deepest directory.
const MAX_DEPTH: usize = 16;

/// Looks through a file, or through all files below a directory.
pub(super) fn search(path: &Path, query: &Query, found: &mut Found) -> Result<()> {
    let fail = |error| Error::io(format!("cannot read {}", path.display()), error);
    let meta = path.metadata().map_err(fail)?;
    if !meta.is_dir() {
        return read(path, query, found);
    }
    let mut left = MAX_FILES;
    walk(path, query, found, &mut left, 0).map_err(fail)
}

fn walk(
    directory: &Path,
    query: &Query,
    found: &mut Found,
    left: &mut usize,
    depth: usize,
) -> std::io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(directory)?.collect::<std::io::Result<_>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Links are not followed: they lead out, or in circles.
        let kind = entry.file_type()?;
        if kind.is_dir() && depth < MAX_DEPTH {
            if let Err(error) = walk(&path, query, found, left, depth + 1) {
                found.notes.push(format!("{}: {error}", path.display()));
            }
        } else if kind.is_file() {
            if *left == 0 {
                let note = format!("only the first {MAX_FILES} files were read");
                if !found.notes.contains(&note) {
                    found.notes.push(note);
                }
                return Ok(());
            }
            *left -= 1;
            // One file that cannot be read does not hide the others.
            if let Err(error) = read(&path, query, found) {
                found.notes.push(error.to_string());
            }
        }
    }
    Ok(())
}

fn read(path: &Path, query: &Query, found: &mut Found) -> Result<()> {
    let place = path.display().to_string();
    let fail = |error| Error::io(format!("cannot read {place}"), error);
    let file = File::open(path).map_err(fail)?;
    let len = file.metadata().map_err(fail)?.len();
    if len > MAX_FILE {
        return Err(Error::Environment {
            what: format!("{place} has {len} bytes; at most {MAX_FILE} are read"),
            help: Some("split it".to_owned()),
        });
    }
    // Room for all at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(len as usize + 1));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(fail)?;
    let decoded = decode::decode_whole(&bytes);
    for entry in entries(decoded.text.expose(), path, &place, found) {
        found.add(query, entry);
    }
    Ok(())
}

fn entries(text: &str, path: &Path, place: &str, found: &mut Found) -> Vec<Escrowed> {
    if ldif::is_ldif(text) {
        return ldif::entries(text)
            .iter()
            .flat_map(|entry| {
                let origin = format!("{place}: {}", entry.name);
                record::escrowed(&entry.fields, Some(&entry.name), &origin)
            })
            .collect();
    }
    if json::is_json(text)
        && let Some(objects) = json::objects(text)
    {
        return of_records((1..).zip(objects), place, "object");
    }
    if let Some(rows) = csv::rows(text) {
        let entries = of_records(rows.into_iter(), place, "row");
        if !entries.is_empty() {
            return entries;
        }
    }
    if text.len() > decode::MAX_BYTES {
        found.notes.push(format!(
            "{place} is neither LDIF nor a table nor JSON, and too large for a saved password"
        ));
        return Vec::new();
    }
    of_text(text, path, place)
}

fn of_records(
    records: impl Iterator<Item = (usize, Vec<Field>)>,
    place: &str,
    kind: &str,
) -> Vec<Escrowed> {
    records
        .flat_map(|(number, fields)| {
            let origin = format!("{place}, {kind} {number}");
            let name = fields
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case("dn") || is_name(&field.name));
            let name = name.and_then(|field| std::str::from_utf8(&field.value).ok());
            record::escrowed(&fields, name, &origin)
        })
        .collect()
}

fn is_name(column: &str) -> bool {
    column.eq_ignore_ascii_case("distinguishedName")
}

/// Passwords in a text without any order, such as the file that Windows saves.
fn of_text(text: &str, path: &Path, place: &str) -> Vec<Escrowed> {
    let found = scan(text, &Options::default()).found;
    found
        .into_iter()
        .filter_map(|found| {
            Some(Escrowed {
                id: found.identifier.or_else(|| in_file_name(path)),
                volume: None,
                computer: None,
                saved: None,
                origin: format!("{place}, line {}", found.line),
                password: found.to_password().ok()?,
            })
        })
        .collect()
}

/// The identifier that ends a file name: `BitLocker Recovery Key <GUID>.TXT`.
fn in_file_name(path: &Path) -> Option<Guid> {
    let stem = path.file_stem()?.to_str()?;
    let at = stem.len().checked_sub(36)?;
    stem.get(at..)?.parse().ok()
}
