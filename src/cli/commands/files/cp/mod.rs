//! `fve cp`: copies files and directories of a volume.
//!
//! The thread of the command walks through the directories and creates them; others copy the files
//! ([`tree`]). Everything is created through descriptors of directories, and no link is followed
//! ([`directory`]): whatever the names and links in the volume say, nothing outside DEST is written.

mod content;
mod directory;
mod hard_links;
mod manifest;
mod report;
mod tree;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use fve::files::{FileKind, Files, Located};
use fve::shown::ShowPath;

use self::directory::{Directory, OwnFiles};
use self::manifest::Manifest;
use self::report::Report;
use self::tree::Tree;
use super::place;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::file_system;
use crate::cli::options::source::SourceArgs;
use crate::cli::output::{json, term};
use crate::cli::run::Run;
use crate::cli::signals;

#[derive(Debug, Args)]
#[command(after_help = "\
The times of the last change and access are kept, and files that are read-only stay so. Links to files
that are copied, too, become symbolic links; others are left out. What cannot be copied is reported,
and the rest is copied: the exit status is then 5.

Examples:
  Copy a file to the current directory:
    fve cp /dev/sda3 Users/user/thesis.docx .
  Copy a directory with all that is in it:
    fve cp -r /dev/sda3 Users/user/Pictures /media/backup
  Copy all files of a volume, and check the copy later:
    fve cp -r disk.E01 / evidence --sha256-to evidence.sha256
    sha256sum -c evidence.sha256")]
pub(crate) struct CpArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// File or directory of the volume, with '/' or '\' between names; 'NAME:STREAM' is a stream of a
    /// file
    #[arg(value_name = "PATH", value_hint = ValueHint::Other, required = true)]
    pub(crate) paths: Vec<OsString>,

    /// Directory to copy into, or, for a single PATH, the name of the copy
    #[arg(value_name = "DEST", value_hint = ValueHint::AnyPath)]
    pub(crate) destination: PathBuf,

    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,

    /// Copy directories with all that is in them
    #[arg(short, long)]
    pub(crate) recursive: bool,

    /// Replace files that exist
    #[arg(short, long)]
    pub(crate) force: bool,

    /// Also copy the named streams of each file, as files 'NAME:STREAM'
    #[arg(long)]
    pub(crate) streams: bool,

    /// Write the SHA-256 of each copied file to this new file, for 'sha256sum -c'
    #[arg(long, alias = "sha256", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) sha256_to: Option<PathBuf>,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

impl Run for CpArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &CpArgs) -> Result<(), Failure> {
    // Whatever can refuse the copy comes before the credential, which the user may have to type.
    let destination = Destination::of(args)?;
    Manifest::check(args)?;
    place::check_order(&args.source.source, &args.paths)?;
    let paths = place::paths(&args.paths)?;
    let opened = file_system::open(&args.source, &args.credentials)?;
    let files = &opened.files;
    let mut found = Vec::new();
    for path in &paths {
        let located = place::find(files, path)?;
        if !is_directory(&located) && must_be_directory(&args.destination) {
            return Err(refuse(
                format!("there is no directory {}", args.destination.shown()),
                "create it first, or leave out '/' at its end to copy to a file of that name",
            ));
        }
        if is_directory(&located) && !args.recursive {
            return Err(Failure::Other {
                status: Status::Usage,
                what: format!("{path} is a directory"),
                help: Some("copy it with all that is in it with -r".to_owned()),
            });
        }
        found.push(located);
    }
    // Watch for signals before anything is created.
    let interrupted = signals::notice();
    raise_limit_of_files();
    let manifest = Manifest::create(args)?;
    let mut own_files = OwnFiles::default();
    own_files.add(&args.source.source, "the source itself");
    if let Some(path) = &args.sha256_to {
        own_files.add(path, "the list of hashes");
    }
    let report = Report::new(interrupted, manifest.is_some(), args.json);
    let copied = copy(args, files, &found, destination.protect(own_files), &report);
    report.end();
    let listed = manifest.map_or(Ok(()), |manifest| manifest.fill(&report.hashes()));
    let list = args.sha256_to.as_deref();
    let document = report.document(list);
    let result = copied.and(listed).and(report.result());
    if !args.json {
        return result;
    }
    let mut document = document;
    let Err(failure) = result else {
        return term::print(&json::document(&document));
    };
    document["error"] = json::error_object(&failure);
    term::print(&json::document(&document))?;
    term::print_failure(&failure);
    Err(Failure::Silent(failure.status()))
}

fn is_directory(found: &Located) -> bool {
    found.kind == FileKind::Directory && found.stream.is_none()
}

/// Whether DEST can only name a directory, and does not exist as one.
fn must_be_directory(destination: &Path) -> bool {
    destination.as_os_str().as_bytes().ends_with(b"/") && !destination.is_dir()
}

/// What DEST is.
enum Destination {
    /// A directory that the copies go into.
    Into(Directory),
    /// The name of the only copy, in a directory.
    As(Directory, OsString),
}

impl Destination {
    fn of(args: &CpArgs) -> Result<Self, Failure> {
        let path = &args.destination;
        if path == Path::new("-") {
            return Err(refuse(
                "DEST '-' is not a name for a file",
                "write a file to standard output with 'fve cat'",
            ));
        }
        match path.metadata() {
            Ok(existing) if existing.is_dir() => Ok(Self::Into(Directory::open(path)?)),
            Ok(_) if args.paths.len() > 1 => Err(refuse(
                format!("{} is not a directory", path.shown()),
                "name a directory to copy several files into",
            )),
            Ok(existing) => {
                if !args.force {
                    return Err(refuse(
                        format!("{} already exists", path.shown()),
                        "replace it with --force, or name another file",
                    ));
                }
                if !existing.is_file() {
                    return Err(refuse(
                        format!("{} is not a regular file", path.shown()),
                        "name a file or a directory",
                    ));
                }
                if path.is_symlink() {
                    return Err(refuse(
                        format!("{} is a link, and links are not followed", path.shown()),
                        "name the file that it leads to",
                    ));
                }
                Self::named(path)
            }
            Err(_) if args.paths.len() > 1 => Err(refuse(
                format!("there is no directory {}", path.shown()),
                "create it first, to copy several files into it",
            )),
            Err(_) => Self::named(path),
        }
    }

    /// Keeps these files from being replaced.
    fn protect(mut self, own_files: OwnFiles) -> Self {
        match &mut self {
            Self::Into(directory) | Self::As(directory, _) => directory.protect(own_files),
        }
        self
    }

    fn named(path: &Path) -> Result<Self, Failure> {
        let Some(name) = path.file_name() else {
            return Err(refuse(
                format!("{} is not the name of a file", path.shown()),
                "name a file or an existing directory",
            ));
        };
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        Ok(Self::As(Directory::open(parent)?, name.to_owned()))
    }
}

fn refuse(what: impl Into<String>, help: &str) -> Failure {
    Failure::Other {
        status: Status::Usage,
        what: what.into(),
        help: Some(help.to_owned()),
    }
}

fn copy(
    args: &CpArgs,
    files: &Files,
    found: &[Located],
    destination: Destination,
    report: &Report,
) -> Result<(), Failure> {
    let tree = Tree::new(args, files, report);
    match destination {
        Destination::Into(directory) => tree.copy_into(found, directory),
        Destination::As(directory, name) => {
            let single = found.first();
            single.map_or(Ok(()), |single| tree.copy_as(single, directory, &name))
        }
    }
}

/// Lets the process open as many files as it may: it keeps each directory on the way open.
fn raise_limit_of_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With the lower limit, only deep directories fail.
    let _ = setrlimit(Resource::Nofile, limit);
}
