//! Saved passwords in files: a single one, or thousands in a directory.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::record::{self, Field};
use super::text::Text;
use super::{Escrowed, Found, Progress, Query, csv, json, ldif};
use crate::error::{Error, Result};
use crate::guid::Guid;
use crate::recovery_password::{Options, decode, scan};
use crate::shown::ShowPath;

/// Largest file that is read, in MiB: a hundred thousand entries of a directory.
const MAX_FILE_MIB: u64 = 64;
const MAX_FILE: u64 = MAX_FILE_MIB << 20;
/// Most files and directories below a directory.
const MAX_FILES: usize = 200_000;
/// Deepest directory.
const MAX_DEPTH: usize = 16;
/// Bytes at a file's beginning that tell whether it is text.
const LOOK: usize = 4096;

/// Looks through a file, or through all files below a directory.
pub(super) fn search(
    path: &Path,
    query: &Query,
    found: &mut Found,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<()> {
    let fail = |error| Error::io(format!("cannot read {}", path.shown()), error);
    let meta = path.metadata().map_err(fail)?;
    if !meta.is_dir() {
        return read(path, query, found, false).map(|_| ());
    }
    let mut walk = Walk {
        query,
        found,
        progress,
        left: MAX_FILES,
        files: 0,
        no_text: 0,
        first_of_no_text: None,
    };
    walk.directory(path, 0).map_err(fail)?;
    let (left, no_text, first) = (walk.left, walk.no_text, walk.first_of_no_text);
    if left == 0 {
        found.notes.push(format!(
            "{} holds more than {MAX_FILES} files and directories; the rest was not read",
            path.shown()
        ));
    }
    if let Some(first) = first {
        let others = match no_text {
            1 => String::new(),
            2 => ", nor does another file".to_owned(),
            more => format!(", nor do {} other files", more - 1),
        };
        found.notes.push(format!(
            "{} does not begin as text{others}: such files were not read",
            first.shown()
        ));
    }
    Ok(())
}

/// A directory that is looked through.
struct Walk<'a> {
    query: &'a Query,
    found: &'a mut Found,
    progress: &'a mut dyn FnMut(Progress<'_>),
    /// How many files and directories more are looked at.
    left: usize,
    files: usize,
    no_text: usize,
    first_of_no_text: Option<PathBuf>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Path, depth: usize) -> std::io::Result<()> {
        let entries = std::fs::read_dir(directory)?.take(self.left);
        let mut entries: Vec<_> = entries.collect::<std::io::Result<_>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            // Links are not followed: they lead out, or in circles.
            let kind = entry.file_type()?;
            if !kind.is_dir() && !kind.is_file() {
                continue;
            }
            let Some(left) = self.left.checked_sub(1) else {
                return Ok(());
            };
            self.left = left;
            if kind.is_file() {
                self.file(&path);
            } else if depth < MAX_DEPTH
                && let Err(error) = self.directory(&path, depth + 1)
            {
                self.found.notes.push(format!("{}: {error}", path.shown()));
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) {
        (self.progress)(Progress {
            files: self.files,
            path,
        });
        self.files += 1;
        match read(path, self.query, self.found, true) {
            Ok(true) => {}
            Ok(false) => {
                self.no_text += 1;
                self.first_of_no_text.get_or_insert_with(|| path.to_owned());
            }
            // One file that cannot be read does not hide the others.
            Err(error) => self.found.notes.push(error.to_string()),
        }
    }
}

/// Looks through a file; `among_others` says that nobody named it, and that it is passed over where
/// it does not begin as text. Says whether it was read.
fn read(path: &Path, query: &Query, found: &mut Found, among_others: bool) -> Result<bool> {
    let place = path.shown().to_string();
    let fail = |error| Error::io(format!("cannot read {place}"), error);
    let file = File::open(path).map_err(fail)?;
    let too_large = || Error::Environment {
        what: format!("{place} has more than the {MAX_FILE_MIB} MiB that are read of a file"),
        remedy: Some("split it".into()),
    };
    let len = file.metadata().map_err(fail)?.len();
    let mut file = file.take(MAX_FILE + 1);
    let mut look = Zeroizing::new(Vec::with_capacity(LOOK));
    file.by_ref()
        .take(LOOK as u64)
        .read_to_end(&mut look)
        .map_err(fail)?;
    if among_others && !is_text(&look) {
        return Ok(false);
    }
    if len > MAX_FILE {
        return Err(too_large());
    }
    // Room for all at once: growing would leave copies behind.
    let mut head = Zeroizing::new(Vec::new());
    if look.len() == LOOK {
        head.reserve_exact(decode::MAX_BYTES + 1);
        head.extend_from_slice(&look);
        file.by_ref()
            .take((decode::MAX_BYTES + 1 - LOOK) as u64)
            .read_to_end(&mut head)
            .map_err(fail)?;
    } else {
        head = look;
    }
    let mut reading = Reading {
        path,
        place: &place,
        query,
        found,
        seen: 0,
    };
    reading.all(&head, &mut file).map_err(fail)?;
    if file.limit() == 0 {
        return Err(too_large());
    }
    Ok(true)
}

/// Whether bytes begin a text of any encoding: no control characters but those of text, or UTF-16.
fn is_text(head: &[u8]) -> bool {
    let (encoding, _, _) = decode::encoding_of(head, true);
    let wide = encoding == encoding_rs::UTF_16LE || encoding == encoding_rs::UTF_16BE;
    let control =
        |byte: &u8| *byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0C | 0x1A | 0x1B);
    wide || !head.iter().any(control)
}

/// One file, and what of it is wanted.
struct Reading<'a> {
    path: &'a Path,
    place: &'a str,
    query: &'a Query,
    found: &'a mut Found,
    /// How many passwords there are, wanted or not.
    seen: usize,
}

impl Reading<'_> {
    /// Reads the file of which `head` was read already.
    fn all(&mut self, head: &[u8], rest: &mut impl Read) -> std::io::Result<()> {
        let whole = head.len() <= decode::MAX_BYTES;
        let beginning = decode::decode_whole(head);
        let beginning = beginning.text.expose();
        let place = self.place;
        if ldif::is_ldif(beginning) {
            let mut text = Text::new(head, rest, !whole);
            ldif::read(text.by_ref(), |name, fields| {
                self.record(fields, Some(name), || format!("{place}: {name}"));
            });
            return text.end();
        }
        if json::is_json(beginning) {
            let mut text = Text::new(head, &mut *rest, !whole);
            let mut number = 0;
            let before = (self.found.entries.len(), self.found.unnamed.len());
            let is_json = json::read(text.by_ref(), |fields| {
                number += 1;
                self.record(fields, name_of(fields), || {
                    format!("{place}, object {number}")
                });
            });
            text.end()?;
            if is_json {
                return Ok(());
            }
            if !whole {
                self.found
                    .notes
                    .push(format!("{place} is no JSON behind its object {number}"));
                return Ok(());
            }
            // It is read as a text instead.
            self.found.entries.truncate(before.0);
            self.found.unnamed.truncate(before.1);
        }
        if let Some(delimiter) = csv::delimiter(beginning) {
            let mut text = Text::new(head, &mut *rest, !whole);
            let cells = csv::without_types(text.by_ref(), beginning);
            self.seen = 0;
            csv::read(cells, delimiter, |number, fields| {
                self.record(fields, name_of(fields), || format!("{place}, row {number}"));
            });
            text.end()?;
            if self.seen > 0 {
                return Ok(());
            }
        }
        if whole {
            for entry in of_text(beginning, self.path, place) {
                self.found.add(self.query, entry);
            }
        } else {
            self.found.notes.push(format!(
                "{place} is neither LDIF nor a table nor JSON, and too large for a saved password: at most 1 MiB is read of other text"
            ));
        }
        Ok(())
    }

    fn record(&mut self, fields: &[Field], name: Option<&str>, origin: impl Fn() -> String) {
        for entry in record::escrowed(fields, name, origin) {
            self.seen += 1;
            self.found.add(self.query, entry);
        }
    }
}

/// The name of a record in a directory, where it tells.
fn name_of(fields: &[Field]) -> Option<&str> {
    let is_name = |field: &&Field| {
        let name = &field.name;
        name.eq_ignore_ascii_case("dn") || name.eq_ignore_ascii_case("distinguishedName")
    };
    let name = fields.iter().find(is_name)?;
    std::str::from_utf8(&name.value).ok()
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
