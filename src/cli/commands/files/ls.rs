//! `fve ls`: lists directories of a volume.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;

use clap::Args;
use fve::files::{Entry, FileError, FileId, FileKind, FileName, FilePath, Files, Located, Visited};
use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr;

use super::FilesArgs;
use super::describe::{Item, zone};
use super::listing::{self, Ended, Listing};
use super::place;
use crate::cli::failure::Failure;
use crate::cli::options::file_system;
use crate::cli::run::Run;

/// Most directories inside each other that are listed.
const MAX_DEPTH: usize = 1024;

/// Columns of a terminal whose width is not known.
const WIDTH: usize = 80;

#[derive(Debug, Args)]
#[command(after_help = "\
The first letters of a long line are the type (d: directory, l: link) and the attributes: read-only,
hidden, system, archive, compressed, encrypted with EFS, sparse (p).

Examples:
  List the root directory of a volume:
    fve ls /dev/sda3
  List a directory with sizes and times:
    fve ls -l /dev/sda3 'C:\\Users\\user'
  Make a timeline of all files with mactime:
    fve ls -R --bodyfile disk.E01 --partition 3 > body.txt")]
pub(crate) struct LsArgs {
    #[command(flatten)]
    pub(crate) files: FilesArgs,

    /// One line for each file: type and attributes, size, time of the last change, name
    #[arg(short, long)]
    pub(crate) long: bool,

    /// Also list the files of the file system itself, such as $MFT
    #[arg(short, long)]
    pub(crate) all: bool,

    /// Also list what is in the directories below
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,

    /// Also list the named streams of each file
    #[arg(long)]
    pub(crate) streams: bool,

    /// Print a body file for mactime, with all times and streams
    #[arg(long, conflicts_with_all = ["long", "json"])]
    pub(crate) bodyfile: bool,

    /// Print the listing as one JSON document
    #[arg(long, conflicts_with = "long")]
    pub(crate) json: bool,
}

impl Run for LsArgs {
    fn run(&self) -> Result<(), Failure> {
        place::check_order(&self.files.source.source, &self.files.paths)?;
        let paths = place::paths(&self.files.paths)?;
        let opened = file_system::open(&self.files.source, &self.files.credentials)?;
        let files = &opened.files;
        let find = match self.long || self.json || self.bodyfile {
            true => place::find_itself,
            false => place::find,
        };
        let found: Result<Vec<_>, _> = paths.iter().map(|path| find(files, path)).collect();
        listing::result(list(self, files, &found?))
    }
}

fn list(args: &LsArgs, files: &Files, found: &[Located]) -> Result<(), Ended> {
    let is_directory =
        |found: &&Located| found.kind == FileKind::Directory && found.stream.is_none();
    let (directories, others): (Vec<_>, Vec<_>) = found.iter().partition(is_directory);
    let mut lister = Lister {
        args,
        files,
        zone: zone(files),
        columns: (io::stdout().is_terminal()).then(width),
        listing: Listing::begin(files, args.json)?,
        visited: Visited::default(),
        has_headings: args.recursive || found.len() > 1,
        is_first: others.is_empty(),
    };
    if !others.is_empty() {
        let rows = others.iter().map(|found| lister.row(found)).collect();
        lister.print(rows)?;
    }
    for found in directories {
        lister.directories(found.id, found.path.clone())?;
    }
    lister.listing.end()
}

/// The width of the terminal in columns.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout());
    let columns = size.ok().map(|size| usize::from(size.ws_col));
    columns.filter(|columns| *columns > 0).unwrap_or(WIDTH)
}

struct Lister<'a> {
    args: &'a LsArgs,
    files: &'a Files,
    zone: TimeZone,
    /// Width of the terminal on which names are shown in columns.
    columns: Option<usize>,
    listing: Listing,
    /// Directories that were listed, so that one that contains itself is not listed without end.
    visited: Visited,
    /// Whether the name of a directory is printed before what it contains.
    has_headings: bool,
    is_first: bool,
}

/// What is printed for an entry: its name, and its properties if they are shown.
struct Row {
    name: String,
    /// Whether only its streams are shown.
    only_streams: bool,
    item: Option<Item>,
}

impl Lister<'_> {
    /// Lists a directory and, if that was asked for, those below it.
    fn directories(&mut self, id: FileId, path: FilePath) -> Result<(), Ended> {
        // The same directory may be named twice.
        self.visited = Visited::default();
        let mut next = vec![(id, path, 0)];
        while let Some((id, path, depth)) = next.pop() {
            let entered = match depth > MAX_DEPTH {
                true => Err(FileError::Damaged {
                    what: "directories are nested too deeply".to_owned(),
                }),
                false => self.visited.enter(self.files, id),
            };
            if let Err(fault) = entered {
                self.listing.failed(&path, &fault);
                continue;
            }
            let entries = self.directory(id, &path)?;
            if self.args.recursive {
                let below = entries.into_iter().rev();
                let below = below.filter(|entry| entry.kind == FileKind::Directory);
                next.extend(below.map(|entry| (entry.id, path.join(entry.name), depth + 1)));
            }
        }
        Ok(())
    }

    /// Lists one directory, and returns its entries in order.
    fn directory(&mut self, id: FileId, path: &FilePath) -> Result<Vec<Entry>, Ended> {
        let mut entries = Vec::new();
        let listed = self.files.list(id, &mut |entry| {
            if self.args.all || !self.files.is_internal(&entry) {
                entries.push(entry);
            }
            ControlFlow::Continue(())
        });
        entries.sort_by_cached_key(|entry| {
            (
                entry.name.to_text_lossy().to_lowercase(),
                entry.name.clone(),
            )
        });
        let is_text = !self.args.json && !self.args.bodyfile;
        if is_text && self.has_headings {
            let before = if self.is_first { "" } else { "\n" };
            self.listing.text(&format!("{before}{path}:\n"))?;
        }
        self.is_first = false;
        // Not all at once: a directory can have hundreds of thousands of entries.
        if !is_text {
            for entry in &entries {
                let row = self.entry(path, entry);
                self.print(vec![row])?;
            }
        } else {
            let rows = entries
                .iter()
                .map(|entry| self.entry(path, entry))
                .collect();
            self.print(rows)?;
        }
        if let Err(fault) = listed {
            self.listing.failed(path, &fault);
        }
        Ok(entries)
    }

    fn needs_properties(&self) -> bool {
        let args = self.args;
        args.long || args.json || args.bodyfile || args.streams
    }

    fn entry(&mut self, directory: &FilePath, entry: &Entry) -> Row {
        let path = directory.join(entry.name.clone());
        let with_streams = self.args.streams || self.args.bodyfile;
        let item = self.needs_properties().then(|| {
            Item::read(self.files, path, entry, with_streams, &mut |path, fault| {
                self.listing.failed(path, &fault)
            })
        });
        Row {
            name: entry.name.to_string(),
            only_streams: false,
            item,
        }
    }

    /// The row of a file that was named on the command line.
    fn row(&mut self, found: &Located) -> Row {
        let with_streams = self.args.streams || self.args.bodyfile || found.stream.is_some();
        let mut item = Item::of(
            self.files,
            found.path.clone(),
            found.id,
            found.kind,
            with_streams,
            &mut |path, fault| self.listing.failed(path, &fault),
        );
        if let (Some(wanted), Some(streams)) = (&found.stream, &mut item.streams) {
            let folded = |name: &FileName| name.to_text_lossy().to_uppercase();
            let is_exact = streams.iter().any(|stream| stream.name == *wanted);
            streams.retain(|stream| match is_exact {
                true => stream.name == *wanted,
                false => folded(&stream.name) == folded(wanted),
            });
        }
        Row {
            name: found.path.to_string(),
            only_streams: found.stream.is_some(),
            item: Some(item),
        }
    }

    fn print(&mut self, rows: Vec<Row>) -> Result<(), Ended> {
        if self.args.json {
            for item in rows.iter().filter_map(|row| row.item.as_ref()) {
                self.listing.entry(&item.json())?;
            }
            return Ok(());
        }
        if self.args.bodyfile {
            for row in &rows {
                if let Some(item) = &row.item {
                    self.listing.text(&item.body(row.only_streams))?;
                }
            }
            return Ok(());
        }
        match (self.args.long, self.columns) {
            (true, _) => self.long(&rows),
            (false, Some(width)) => {
                let names: Vec<_> = rows.iter().flat_map(|row| self.names(row)).collect();
                self.listing.text(&in_columns(&names, width))
            }
            (false, None) => {
                for row in &rows {
                    for name in self.names(row) {
                        self.listing.text(&format!("{name}\n"))?;
                    }
                }
                Ok(())
            }
        }
    }

    /// The name of the file, then those of its streams if they are listed.
    fn names(&self, row: &Row) -> Vec<String> {
        let mut names = Vec::new();
        if !row.only_streams {
            names.push(row.name.clone());
        }
        if (self.args.streams || row.only_streams)
            && let Some(item) = &row.item
        {
            let streams = item.streams.iter().flatten();
            names.extend(streams.map(|stream| format!("{}:{}", row.name, stream.name)));
        }
        names
    }

    fn long(&mut self, rows: &[Row]) -> Result<(), Ended> {
        let mut lines = Vec::new();
        for row in rows {
            let Some(item) = &row.item else { continue };
            let cells = item.long(&row.name, &self.zone);
            let mut of_streams = Vec::new();
            if self.args.streams || row.only_streams {
                for stream in item.streams.iter().flatten() {
                    let [kind, _, time, _] = cells.clone();
                    let name = format!("{}:{}", row.name, stream.name);
                    of_streams.push([kind, stream.len.to_string(), time, name]);
                }
            }
            if !row.only_streams {
                lines.push(cells);
            }
            lines.extend(of_streams);
        }
        let widest = |cell: fn(&[String; 4]) -> usize| lines.iter().map(cell).max().unwrap_or(0);
        let size = widest(|line| line[1].len());
        let time = widest(|line| line[2].len());
        for [kind, len, date, name] in &lines {
            let line = format!("{kind} {len:>size$} {date:<time$} {name}\n");
            self.listing.text(&line)?;
        }
        Ok(())
    }
}

/// Names in columns, sorted from top to bottom.
fn in_columns(names: &[String], width: usize) -> String {
    const BETWEEN: usize = 2;
    let widest = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let columns = ((width + BETWEEN) / (widest + BETWEEN)).clamp(1, names.len().max(1));
    let lines = names.len().div_ceil(columns);
    let mut text = String::new();
    for line in 0..lines {
        let mut in_line = names.iter().skip(line).step_by(lines).peekable();
        while let Some(name) = in_line.next() {
            text += name;
            if in_line.peek().is_some() {
                text.extend(std::iter::repeat_n(' ', widest + BETWEEN - name.width()));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fill_columns_from_top_to_bottom() {
        let names = ["a", "bb", "例", "d", "e"].map(str::to_owned);
        assert_eq!(in_columns(&names, 10), "a   例  e\nbb  d\n");
        assert_eq!(in_columns(&names, 9), "a   d\nbb  e\n例\n");
        assert_eq!(in_columns(&names, 1), "a\nbb\n例\nd\ne\n");
        assert_eq!(in_columns(&names, 80), "a   bb  例  d   e\n");
        assert_eq!(in_columns(&[], 80), "");
    }
}
