//! `fve find`: searches a volume for files by name, type, size and time.

use std::time::SystemTime;

use clap::{Args, ValueEnum};
use fve::files::{FileKind, FileName, FilePath, Files, Located, Stat, Walked};
use glob::{MatchOptions, Pattern};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use super::FilesArgs;
use super::describe::{Clock, Item};
use super::listing::{self, Ended, Listing};
use super::place;
use crate::cli::failure::Failure;
use crate::cli::options::file_system;
use crate::cli::options::parse::parse_bytes;
use crate::cli::run::Run;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Find all documents of Word that were changed in the last week:
    fve find /dev/sda3 Users --name '*.docx' --newer 7d
  Find files larger than 1 GiB, and list them with all properties:
    fve find disk.img --type f --size +1G --json
  Copy all files that were found, also those with unusual names:
    fve find disk.img --name '*.jpg' -0 | xargs -0 sh -c 'fve cp disk.img \"$@\" out' sh")]
pub(crate) struct FindArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,

    /// Only files whose name fits this pattern with '*', '?' and '[a-z]'; capital and small letters are
    /// the same. Give it again for more patterns, of which one must fit
    #[arg(long, value_name = "GLOB", value_parser = parse_pattern)]
    pub(crate) name: Vec<NamePattern>,

    /// Tell capital and small letters apart in --name
    #[arg(long, requires = "name")]
    pub(crate) case_sensitive: bool,

    /// Only files (f), directories (d) or links (l)
    #[arg(long = "type", value_name = "TYPE", value_enum, value_delimiter = ',')]
    pub(crate) kinds: Vec<Kind>,

    /// Only what was changed after this time: a date, such as 2024-11-26 or '2024-11-26 14:30' in local
    /// time, or how long ago, such as 12h, 7d or 2w
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) newer: Option<Timestamp>,

    /// Only what was changed before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) older: Option<Timestamp>,

    /// Only files of more than N bytes (+N), less (-N) or exactly N; with units, such as +100M
    #[arg(long, value_name = "N", value_parser = parse_size_condition, allow_hyphen_values = true)]
    pub(crate) size: Vec<SizeCondition>,

    /// Also find the files of the file system itself, such as $MFT
    #[arg(short, long)]
    pub(crate) all: bool,

    /// End each path with a NUL byte instead of a line break, and escape nothing
    #[arg(short = '0', long, conflicts_with = "json")]
    pub(crate) print0: bool,

    /// Print the files with their properties as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// A type of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Files
    F,
    /// Directories
    D,
    /// Links
    L,
}

impl Kind {
    fn is(self, kind: FileKind) -> bool {
        match self {
            Self::F => kind == FileKind::File,
            Self::D => kind == FileKind::Directory,
            Self::L => kind == FileKind::Link,
        }
    }
}

/// A condition on the size of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SizeCondition {
    More(u64),
    Less(u64),
    Exactly(u64),
}

impl SizeCondition {
    fn holds(self, len: u64) -> bool {
        match self {
            Self::More(than) => len > than,
            Self::Less(than) => len < than,
            Self::Exactly(size) => len == size,
        }
    }
}

fn parse_size_condition(text: &str) -> Result<SizeCondition, String> {
    Ok(match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(size), _) => SizeCondition::More(parse_bytes(size)?),
        (_, Some(size)) => SizeCondition::Less(parse_bytes(size)?),
        _ => SizeCondition::Exactly(parse_bytes(text)?),
    })
}

/// A pattern of names, with and without regard to case.
#[derive(Debug, Clone)]
pub(crate) struct NamePattern {
    exact: Pattern,
    /// Of small letters.
    folded: Pattern,
}

fn parse_pattern(text: &str) -> Result<NamePattern, String> {
    // In a name, several stars mean the same as one. The crate gives them another meaning, for paths.
    let mut text = text.to_owned();
    while text.contains("**") {
        text = text.replace("**", "*");
    }
    let parse = |text: &str| Pattern::new(text).map_err(|error| error.msg.to_owned());
    Ok(NamePattern {
        exact: parse(&text)?,
        folded: parse(&text.to_lowercase())?,
    })
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let local = |time: jiff::civil::DateTime| time.to_zoned(TimeZone::system());
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(time) = text.parse::<jiff::civil::DateTime>().map(local) {
        return time.map(|time| time.timestamp()).map_err(no_time);
    }
    let ago: Span = text.parse().map_err(no_time)?;
    let now = Zoned::try_from(SystemTime::now()).map_err(no_time)?;
    let now = now.with_time_zone(TimeZone::system());
    let then = now.checked_sub(ago.abs()).map_err(no_time)?;
    Ok(then.timestamp())
}

fn no_time(_: jiff::Error) -> String {
    "not a time, such as 2024-11-26, '2024-11-26 14:30', 2024-11-26T14:30:00Z, 12h, 7d or 2w"
        .to_owned()
}

impl Run for FindArgs {
    fn run(&self) -> Result<(), Failure> {
        place::check_order(&self.files.source.source, &self.files.paths)?;
        let paths = place::paths(&self.files.paths)?;
        let opened = file_system::open(&self.files.source, &self.files.credentials)?;
        let files = &opened.files;
        let found: Result<Vec<_>, _> = paths.iter().map(|path| place::find(files, path)).collect();
        listing::result(search(self, files, &found?))
    }
}

fn search(args: &FindArgs, files: &Files, found: &[Located]) -> Result<(), Ended> {
    let mut search = Search {
        args,
        files,
        clock: Clock::of(files),
        listing: Listing::begin(files, args.json)?,
    };
    for start in found {
        search.test(&start.path, start.kind, || files.stat(start.id))?;
        if start.kind != FileKind::Directory {
            continue;
        }
        let mut walk = files.walk(start.id, start.path.clone());
        while let Some(walked) = walk.next() {
            match walked {
                Ok(Walked { entry, .. }) if !args.all && files.is_internal(&entry) => {
                    walk.skip_directory();
                }
                Ok(Walked { path, entry, .. }) => {
                    search.test(&path, entry.kind, || files.stat(entry.id))?;
                }
                Err(error) => search.listing.failed(&error.path, &error.fault),
            }
        }
    }
    search.listing.end()
}

struct Search<'a> {
    args: &'a FindArgs,
    files: &'a Files,
    clock: Clock,
    listing: Listing,
}

impl Search<'_> {
    /// Prints a file if all conditions hold. Its properties are read only if one needs them.
    fn test(
        &mut self,
        path: &FilePath,
        kind: FileKind,
        stat: impl FnOnce() -> Result<Stat, fve::files::FileError>,
    ) -> Result<(), Ended> {
        let args = self.args;
        let fits_kind = args.kinds.is_empty() || args.kinds.iter().any(|wanted| wanted.is(kind));
        if !fits_kind || !self.fits_name(path.names().last()) {
            return Ok(());
        }
        let needs_stat =
            args.json || args.newer.is_some() || args.older.is_some() || !args.size.is_empty();
        let stat = match needs_stat.then(stat).transpose() {
            Ok(stat) => stat,
            Err(fault) => {
                self.listing.failed(path, &fault);
                return Ok(());
            }
        };
        if let Some(stat) = &stat
            && !self.fits_stat(stat)
        {
            return Ok(());
        }
        match (args.json, stat) {
            (true, Some(stat)) => {
                let item = Item::known(self.files, path.clone(), stat, &mut |path, fault| {
                    self.listing.failed(path, &fault);
                });
                self.listing.entry(&item.json())
            }
            _ if args.print0 => {
                let names = path.names().iter().map(FileName::to_wtf8);
                let mut bytes: Vec<u8> = names
                    .flat_map(|name| [b"/".to_vec(), name])
                    .flatten()
                    .collect();
                if bytes.is_empty() {
                    bytes.push(b'/');
                }
                bytes.push(0);
                self.listing.bytes(&bytes)
            }
            _ => self.listing.text(&format!("{path}\n")),
        }
    }

    fn fits_name(&self, name: Option<&FileName>) -> bool {
        if self.args.name.is_empty() {
            return true;
        }
        let name = name.map_or_else(|| "/".to_owned(), FileName::to_text_lossy);
        let options = MatchOptions::new();
        let mut patterns = self.args.name.iter();
        if self.args.case_sensitive {
            return patterns.any(|pattern| pattern.exact.matches_with(&name, options));
        }
        let name = name.to_lowercase();
        patterns.any(|pattern| pattern.folded.matches_with(&name, options))
    }

    fn fits_stat(&self, stat: &Stat) -> bool {
        let args = self.args;
        let instant = |time| self.clock.instant(time);
        let modified = stat.times.modified.and_then(instant);
        let fits_time = match (args.newer, args.older, modified) {
            (None, None, _) => true,
            (_, _, None) => false,
            (newer, older, Some(time)) => {
                newer.is_none_or(|newer| time > newer) && older.is_none_or(|older| time < older)
            }
        };
        let has_size = args.size.is_empty() || stat.kind == FileKind::File;
        fits_time && has_size && args.size.iter().all(|size| size.holds(stat.len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        let pattern = parse_pattern(pattern).unwrap();
        pattern.folded.matches(&name.to_lowercase())
    }

    #[test]
    fn patterns_fit_names_without_regard_to_case() {
        assert!(fits("*.DOCX", "Brief.docx"));
        assert!(fits(
            "größe?.txt",
            "GRÖSSE1.TXT".replace("SS", "ß").as_str()
        ));
        assert!(fits("**a**", "xay"));
        assert!(fits("[A-C]x", "bX"));
        assert!(fits("*", ".hidden"));
        assert!(!fits("*.doc", "Brief.docx"));
        assert!(parse_pattern("[a").is_err());
    }

    #[test]
    fn sizes_have_a_sign_and_a_unit() {
        let parse = |text| parse_size_condition(text).unwrap();
        assert_eq!(parse("+1M"), SizeCondition::More(1 << 20));
        assert_eq!(parse("-5"), SizeCondition::Less(5));
        assert_eq!(parse("0"), SizeCondition::Exactly(0));
        assert!(parse_size_condition("+").is_err());
    }

    #[test]
    fn times_are_dates_or_durations() {
        let time = parse_time("2024-11-26T14:30:00Z").unwrap();
        assert_eq!(time.to_string(), "2024-11-26T14:30:00Z");
        assert!(parse_time("2024-11-26").is_ok());
        assert!(parse_time("2024-11-26 14:30").is_ok());
        let now = Timestamp::now();
        for (text, hours) in [("12h", 12), ("7d", 168), ("2w", 336)] {
            let ago = now.duration_since(parse_time(text).unwrap()).as_hours();
            assert!((ago - hours).abs() <= 1, "{text}: {ago}");
        }
        assert!(parse_time("yesterday").is_err());
    }
}
