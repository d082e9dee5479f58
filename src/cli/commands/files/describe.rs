//! An entry of a listing: as a line of text, as JSON, and as a line of a body file.

use std::fmt::Write as _;

use fve::files::{
    Attributes, Entry, FileError, FileId, FileKind, FileName, FilePath, FileTime, Files, Stat,
    Stream,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::place::in_words;

/// Letters of the attributes, in the order in which they are shown.
const LETTERS: &[(Attributes, char)] = &[
    (Attributes::READ_ONLY, 'r'),
    (Attributes::HIDDEN, 'h'),
    (Attributes::SYSTEM, 's'),
    (Attributes::ARCHIVE, 'a'),
    (Attributes::COMPRESSED, 'c'),
    (Attributes::ENCRYPTED, 'e'),
    (Attributes::SPARSE, 'p'),
];

/// Ticks of 100 ns from 1601-01-01 to 1970-01-01.
const UNIX_EPOCH_TICKS: i128 = 116_444_736_000_000_000;

/// A file, a directory or a link with what a listing shows of it.
pub(super) struct Item {
    pub(super) path: FilePath,
    pub(super) id: FileId,
    pub(super) kind: FileKind,
    /// `None` if it could not be read.
    pub(super) stat: Option<Stat>,
    /// Where a link leads, as it is stored.
    pub(super) target: Option<FileName>,
    /// The named streams, if they were asked for.
    pub(super) streams: Option<Vec<Stream>>,
}

impl Item {
    /// Reads the properties of an entry. What cannot be read is missing and told to `fail`.
    pub(super) fn read(
        files: &Files,
        path: FilePath,
        entry: &Entry,
        with_streams: bool,
        fail: &mut dyn FnMut(&FilePath, FileError),
    ) -> Self {
        Self::of(files, path, entry.id, entry.kind, with_streams, fail)
    }

    /// The same for a file by its number.
    pub(super) fn of(
        files: &Files,
        path: FilePath,
        id: FileId,
        kind: FileKind,
        with_streams: bool,
        fail: &mut dyn FnMut(&FilePath, FileError),
    ) -> Self {
        let mut note = |result: Result<(), FileError>| {
            if let Err(fault) = result {
                fail(&path, fault);
            }
        };
        let mut stat = None;
        note(files.stat(id).map(|read| stat = Some(read)));
        let kind = stat.as_ref().map_or(kind, |stat| stat.kind);
        let mut target = None;
        let mut streams = None;
        if stat.is_some() {
            if kind == FileKind::Link {
                note(files.link(id).map(|link| target = Some(link.target)));
            }
            if with_streams {
                note(files.streams(id).map(|read| streams = Some(read)));
            }
        }
        Self {
            path,
            id,
            kind,
            stat,
            target,
            streams,
        }
    }

    /// The same for a file whose properties are known.
    pub(super) fn known(
        files: &Files,
        path: FilePath,
        stat: Stat,
        fail: &mut dyn FnMut(&FilePath, FileError),
    ) -> Self {
        let mut target = None;
        if stat.kind == FileKind::Link {
            match files.link(stat.id) {
                Ok(link) => target = Some(link.target),
                Err(fault) => fail(&path, fault),
            }
        }
        Self {
            path,
            id: stat.id,
            kind: stat.kind,
            stat: Some(stat),
            target,
            streams: None,
        }
    }

    /// The cells of a line of `ls -l`: type and attributes, length, time and name.
    pub(super) fn long(&self, name: &str, zone: &TimeZone) -> [String; 4] {
        let stat = self.stat.as_ref();
        let letters = |attributes: Attributes| {
            let letter =
                |(attribute, letter): &(Attributes, char)| match attributes.contains(*attribute) {
                    true => *letter,
                    false => '-',
                };
            LETTERS.iter().map(letter).collect()
        };
        let attributes = stat.map_or("???????".to_owned(), |stat| letters(stat.attributes));
        let mut name = name.to_owned();
        if let Some(target) = &self.target {
            // Writing to a string cannot fail.
            let _ = write!(name, " -> {target}");
        }
        [
            format!("{}{attributes}", self.letter()),
            stat.map_or("?".to_owned(), |stat| stat.len.to_string()),
            match stat {
                Some(stat) => date(stat.times.modified, zone),
                None => "?".to_owned(),
            },
            name,
        ]
    }

    fn letter(&self) -> char {
        match self.kind {
            FileKind::Directory => 'd',
            FileKind::Link => 'l',
            _ => '-',
        }
    }

    /// The object of the file in a JSON document.
    pub(super) fn json(&self) -> Value {
        let stat = self.stat.as_ref();
        let time = |time: fn(&fve::files::Times) -> Option<FileTime>| {
            let time = stat.and_then(|stat| time(&stat.times));
            time.map(|time| time.to_string())
        };
        let mut object = json!({
            "path": text_of(&self.path),
            "id": self.id.number,
            "kind": match self.kind {
                FileKind::Directory => "directory",
                FileKind::Link => "link",
                _ => "file",
            },
            "size": stat.map(|stat| stat.len),
            "allocated": stat.map(|stat| stat.allocated),
            "links": stat.map(|stat| stat.links),
            "created": time(|times| times.created),
            "modified": time(|times| times.modified),
            "changed": time(|times| times.changed),
            "accessed": time(|times| times.accessed),
            "attributes": stat.map(|stat| stat.attributes.names().collect::<Vec<_>>()),
            "reparse_tag": stat.and_then(|stat| stat.reparse_tag),
            "target": self.target.as_ref().map(FileName::to_text_lossy),
            "unreadable": stat.and_then(|stat| stat.unreadable.as_ref().map(ToString::to_string)),
        });
        if self
            .path
            .names()
            .iter()
            .any(|name| name.to_text().is_none())
        {
            let names = self.path.names().iter();
            let hex = |name: &FileName| {
                let units = name.units().iter();
                units.map(|unit| format!("{unit:04x}")).collect::<String>()
            };
            object["utf16_names"] = json!(names.map(hex).collect::<Vec<_>>());
        }
        if let Some(streams) = &self.streams {
            let stream = |stream: &Stream| json!({ "name": stream.name.to_text_lossy(), "size": stream.len });
            object["streams"] = json!(streams.iter().map(stream).collect::<Vec<_>>());
        }
        object
    }

    /// The lines of a body file: one for the file, unless only its streams are wanted, and one for each
    /// of its streams.
    pub(super) fn body(&self, only_streams: bool) -> String {
        let Some(stat) = &self.stat else {
            return String::new();
        };
        let path = self.path.to_string().replace('|', "%7C");
        let target = match &self.target {
            Some(target) => format!(" -> {}", target.to_string().replace('|', "%7C")),
            None => String::new(),
        };
        let mut lines = match only_streams {
            true => String::new(),
            false => self.body_line(stat, &format!("{path}{target}"), stat.len),
        };
        for stream in self.streams.iter().flatten() {
            let name = stream.name.to_string().replace('|', "%7C");
            lines += &self.body_line(stat, &format!("{path}:{name}"), stream.len);
        }
        lines
    }

    fn body_line(&self, stat: &Stat, name: &str, len: u64) -> String {
        let letter = match self.kind {
            FileKind::Directory => 'd',
            FileKind::Link => 'l',
            _ => 'r',
        };
        let rights = match stat.attributes.contains(Attributes::READ_ONLY) {
            true => "r-xr-xr-x",
            false => "rwxrwxrwx",
        };
        let seconds = |time: Option<FileTime>| {
            let seconds = time.and_then(timestamp).map(Timestamp::as_second);
            seconds.unwrap_or(0).max(0)
        };
        let times = &stat.times;
        format!(
            "0|{name}|{}|{letter}/{letter}{rights}|0|0|{len}|{}|{}|{}|{}\n",
            self.id.number,
            seconds(times.accessed),
            seconds(times.modified),
            seconds(times.changed),
            seconds(times.created),
        )
    }
}

/// A path as text that names the file again, except for names that are not valid UTF-16.
fn text_of(path: &FilePath) -> String {
    if path.names().is_empty() {
        return "/".to_owned();
    }
    let names = path.names().iter();
    names
        .map(|name| format!("/{}", name.to_text_lossy()))
        .collect()
}

/// A time as `ls` shows it.
fn date(time: Option<FileTime>, zone: &TimeZone) -> String {
    match time.and_then(timestamp) {
        Some(time) => {
            let zoned = time.to_zoned(zone.clone());
            zoned.strftime("%Y-%m-%d %H:%M").to_string()
        }
        None => "-".to_owned(),
    }
}

/// The instant of a time; `None` if it is none.
fn timestamp(time: FileTime) -> Option<Timestamp> {
    if time.0 == 0 {
        return None;
    }
    let ticks = i128::from(time.0) - UNIX_EPOCH_TICKS;
    Timestamp::from_nanosecond(ticks * 100).ok()
}

/// The time zone in which the times of a file system are shown. FAT stores local times without a zone:
/// they are shown as they are stored.
pub(super) fn zone(files: &Files) -> TimeZone {
    match files.properties().kind.starts_with("FAT") {
        true => TimeZone::UTC,
        false => TimeZone::system(),
    }
}

/// How the times of a file system become instants.
#[derive(Debug, Clone)]
pub(super) enum Clock {
    /// They are instants.
    Utc,
    /// They are local times, as FAT stores them. They are taken to be of the time zone of this computer.
    Local(TimeZone),
}

impl Clock {
    pub(super) fn of(files: &Files) -> Self {
        match files.properties().kind.starts_with("FAT") {
            true => Self::Local(TimeZone::system()),
            false => Self::Utc,
        }
    }

    /// The instant of a time; `None` if it is none.
    pub(super) fn instant(&self, time: FileTime) -> Option<Timestamp> {
        let time = timestamp(time)?;
        match self {
            Self::Utc => Some(time),
            Self::Local(zone) => {
                let local = time.to_zoned(TimeZone::UTC).datetime();
                local
                    .to_zoned(zone.clone())
                    .ok()
                    .map(|zoned| zoned.timestamp())
            }
        }
    }
}

/// A path or entry that could not be read, for the list of errors in a JSON document.
pub(super) fn error(path: &FilePath, fault: &FileError) -> Value {
    json!({ "path": text_of(path), "message": in_words(fault) })
}
