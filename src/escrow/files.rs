//! Searches files for saved recovery passwords: a single file, or all files below a directory.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::record::{self, Field};
use super::text::Text;
use super::{Escrowed, LookupResult, Progress, Query, csv, json, ldif};
use crate::error::{Error, Result};
use crate::guid::Guid;
use crate::recovery_password::{Options, decode, scan};
use crate::shown::ShowPath;

/// Largest file that is read, in MiB: about a hundred thousand entries of a directory server.
const MAX_FILE_MIB: u64 = 64;
const MAX_FILE: u64 = MAX_FILE_MIB << 20;
/// Most files and directories that are looked at below the directory to search.
const MAX_FILES: usize = 200_000;
/// Deepest nesting of directories that is searched.
const MAX_DEPTH: usize = 16;
/// How many bytes at the start of a file decide whether it is text.
const LOOK: usize = 4096;

/// Searches a file, or all files below a directory.
pub(super) fn search(
    path: &Path,
    query: &Query,
    found: &mut LookupResult,
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
        skipped: 0,
        first_skipped: None,
    };
    walk.directory(path, 0).map_err(fail)?;
    let (left, skipped, first) = (walk.left, walk.skipped, walk.first_skipped);
    if left == 0 {
        found.notes.push(format!(
            "{} holds more than {MAX_FILES} files and directories; the rest was not read",
            path.shown()
        ));
    }
    if let Some(first) = first {
        let others = match skipped {
            1 => String::new(),
            2 => ", nor is another file".to_owned(),
            more => format!(", nor are {} other files", more - 1),
        };
        found.notes.push(format!(
            "{} is not text{others}; such files were skipped",
            first.shown()
        ));
    }
    Ok(())
}

/// A search through a directory.
struct Walk<'a> {
    query: &'a Query,
    found: &'a mut LookupResult,
    progress: &'a mut dyn FnMut(Progress<'_>),
    /// How many more files and directories may be looked at.
    left: usize,
    /// How many files were looked at.
    files: usize,
    /// How many of them were skipped because they are not text.
    skipped: usize,
    first_skipped: Option<PathBuf>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Path, depth: usize) -> std::io::Result<()> {
        let entries = std::fs::read_dir(directory)?.take(self.left);
        let mut entries: Vec<_> = entries.collect::<std::io::Result<_>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            // Symbolic links are not followed: they may lead out of the directory or in circles.
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
                self.skipped += 1;
                self.first_skipped.get_or_insert_with(|| path.to_owned());
            }
            // An unreadable file does not end the search.
            Err(error) => self.found.notes.push(error.with_causes().to_string()),
        }
    }
}

/// Searches a file. With `skip_binary`, for files that the user did not name, a file that does not
/// begin as text is skipped. Returns whether the file was read.
fn read(path: &Path, query: &Query, found: &mut LookupResult, skip_binary: bool) -> Result<bool> {
    let place = path.shown().to_string();
    let fail = |error| Error::io(format!("cannot read {place}"), error);
    let file = File::open(path).map_err(fail)?;
    let too_large = || Error::Environment {
        what: format!("{place} is larger than {MAX_FILE_MIB} MiB"),
        remedy: Some("split the file".into()),
    };
    let len = file.metadata().map_err(fail)?.len();
    let mut file = file.take(MAX_FILE + 1);
    let mut look = Zeroizing::new(Vec::with_capacity(LOOK));
    file.by_ref()
        .take(LOOK as u64)
        .read_to_end(&mut look)
        .map_err(fail)?;
    if skip_binary && !is_text(&look) {
        return Ok(false);
    }
    if len > MAX_FILE {
        return Err(too_large());
    }
    // A buffer of the final size: a growing one would leave copies of passwords in freed memory.
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

/// Whether a file that begins with `head` is text: UTF-16, or without control characters other than
/// white space, the end-of-file mark of DOS (0x1A) and escape (0x1B).
fn is_text(head: &[u8]) -> bool {
    let (encoding, _, _) = decode::encoding_of(head, true);
    let wide = encoding == encoding_rs::UTF_16LE || encoding == encoding_rs::UTF_16BE;
    let control =
        |byte: &u8| *byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0C | 0x1A | 0x1B);
    wide || !head.iter().any(control)
}

/// A file that is being searched.
struct Reading<'a> {
    path: &'a Path,
    place: &'a str,
    query: &'a Query,
    found: &'a mut LookupResult,
    /// How many passwords were found, whether they match the query or not.
    seen: usize,
}

impl Reading<'_> {
    /// Searches the file, of which `head` was read already. The formats are tried from the most to the
    /// least specific; the beginning of the file decides.
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
                    .push(format!("{place} is not valid JSON after object {number}"));
                return Ok(());
            }
            // A small file that only begins like JSON is searched as text instead; what it gave as
            // JSON is dropped, so that nothing is found twice.
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
                "{place} is not LDIF, CSV or JSON, and other text is read only up to 1 MiB"
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

/// The distinguished name of a record that was exported from a directory, if it has a field for it.
fn name_of(fields: &[Field]) -> Option<&str> {
    let is_name = |field: &&Field| {
        let name = &field.name;
        name.eq_ignore_ascii_case("dn") || name.eq_ignore_ascii_case("distinguishedName")
    };
    let name = fields.iter().find(is_name)?;
    std::str::from_utf8(&name.value).ok()
}

/// The passwords in a text of no known format, such as the file that Windows saves.
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

/// The identifier at the end of a file name, as in `BitLocker Recovery Key <GUID>.TXT`.
fn in_file_name(path: &Path) -> Option<Guid> {
    let stem = path.file_stem()?.to_str()?;
    let at = stem.len().checked_sub(36)?;
    stem.get(at..)?.parse().ok()
}
