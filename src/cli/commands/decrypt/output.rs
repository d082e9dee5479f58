//! The output: what may be written to, and what happens to it if the work ends early.
//!
//! A file has a temporary name until it is complete. A device and a pipe cannot have that, so a
//! message says that their content is incomplete.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use fve::error::Error;
use fve::output::{self, PARTIAL, PartialFile};
use fve::serve::export::{Export, Exported, Failed, Written, Zeros};
use fve::shown::ShowPath;
use fve::source::{Extent, check_overwrite, open_to_overwrite};
use fve::volume::Unlocked;
use sha2::{Digest, Sha256};

use super::args::DecryptArgs;
use super::record::{OutputIdentity, Record};
use crate::cli::advice;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::confirm::confirm_device;
use crate::cli::options::source::Opened;
use crate::cli::output::stdout;
use crate::cli::output::term;

/// What OUT is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Stdout,
    /// A pipe, a terminal or another file that cannot be written at an offset.
    Stream,
    Device,
    File,
}

impl Kind {
    /// Looks at OUT, and refuses what must not be written to before a credential is asked for.
    pub(super) fn of(args: &DecryptArgs) -> Result<Self, Failure> {
        let kind = Self::look(args)?;
        if args.resume && kind != Self::File {
            return Err(Failure::usage("--resume needs a regular file as OUT"));
        }
        match kind {
            Self::Stdout => check_stdout()?,
            Self::File => check_file(args)?,
            Self::Device => check_device(args)?,
            Self::Stream => {}
        }
        Ok(kind)
    }

    fn look(args: &DecryptArgs) -> Result<Self, Failure> {
        let path = &args.output;
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let Ok(existing) = path.metadata() else {
            return Ok(Self::File);
        };
        if existing.is_dir() {
            return Err(refuse(
                Status::Io,
                format!("{} is a directory", path.shown()),
                "name a file in it",
            ));
        }
        let source = args.source.source.metadata();
        if source.is_ok_and(|source| is_same(&source, &existing)) {
            return Err(is_the_volume(path));
        }
        if existing.file_type().is_block_device() {
            return Ok(Self::Device);
        }
        if !args.force {
            return Err(exists(path));
        }
        Ok(match existing.is_file() {
            true => Self::File,
            false => Self::Stream,
        })
    }
}

fn refuse(status: Status, what: impl Into<String>, help: impl Into<String>) -> Failure {
    Failure::Other {
        status,
        what: what.into(),
        help: Some(help.into()),
    }
}

fn exists(path: &Path) -> Failure {
    refuse(
        Status::Usage,
        format!("{} already exists", path.shown()),
        "--force overwrites it",
    )
}

fn is_the_volume(path: &Path) -> Failure {
    refuse(
        Status::Usage,
        format!(
            "{} is the encrypted volume itself, or a part of it",
            path.shown()
        ),
        "name another file or device: the source is never overwritten",
    )
}

fn check_stdout() -> Result<(), Failure> {
    stdout::check_open()?;
    if io::stdout().is_terminal() {
        return Err(Failure::usage(
            "the decrypted volume cannot be shown on a terminal: redirect standard output, or name a file",
        ));
    }
    Ok(())
}

/// Refuses a device that is in use or not confirmed with its path.
fn check_device(args: &DecryptArgs) -> Result<(), Failure> {
    let path = &args.output;
    let source = Extent::whole(&args.source.source);
    // Check before asking for confirmation: there is no point in a question about a device that is
    // then refused.
    let sources: &[Extent] = match args.source.source.is_file() {
        true => &[source],
        false => &[],
    };
    check_overwrite(path, sources, 0)?;
    let size = File::open(path)
        .and_then(|mut device| device.seek(SeekFrom::End(0)))
        .map_err(|error| Error::io(format!("cannot open {}", path.shown()), error))?;
    confirm_device(path, size, args.device_confirm.as_deref())
}

/// Refuses a file that exists, under its own name or as OUT.partial.
fn check_file(args: &DecryptArgs) -> Result<(), Failure> {
    let path = &args.output;
    if path.metadata().is_err() {
        match path.symlink_metadata() {
            Ok(_) => return Err(Failure::from(output::exists(path))),
            Err(_) => output::check_new(path)?,
        }
    }
    let partial = output::with_suffix(path, PARTIAL);
    let source = args.source.source.metadata();
    let Ok(existing) = partial.metadata() else {
        return Ok(());
    };
    if source.is_ok_and(|source| is_same(&source, &existing)) {
        return Err(is_the_volume(&partial));
    }
    if !args.resume && !args.force {
        return Err(refuse(
            Status::Usage,
            format!(
                "{} already exists: an earlier 'fve decrypt' was interrupted, or is still running",
                partial.shown()
            ),
            "continue with --resume, start again with --force, or remove the file",
        ));
    }
    Ok(())
}

/// Whether both are the same file, or the same device under two names.
pub(super) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    let devices = one.file_type().is_block_device() && other.file_type().is_block_device();
    (one.dev(), one.ino()) == (other.dev(), other.ino()) || (devices && one.rdev() == other.rdev())
}

/// Everything that is read: the part of SOURCE that is the volume, and every other file that this
/// process has open, such as the other files of a split disk image.
pub(super) fn read_from(args: &DecryptArgs, opened: &Opened) -> Vec<Extent> {
    let source = &args.source.source;
    let source_meta = source.metadata().ok();
    let is_device = |meta: &Metadata| meta.file_type().is_block_device();
    let mut read = vec![match source_meta.as_ref().is_some_and(is_device) {
        true => Extent::of_volume(source, opened.offset, opened.volume.source_size()),
        false => Extent::whole(source),
    }];
    let descriptors = std::fs::read_dir("/proc/self/fd");
    for entry in descriptors.into_iter().flatten().flatten() {
        // Standard input, output and error are not part of the source.
        if matches!(entry.file_name().to_str(), Some("0" | "1" | "2")) {
            continue;
        }
        let path = entry.path();
        let is_other = path.metadata().is_ok_and(|meta| {
            let is_source = source_meta
                .as_ref()
                .is_some_and(|source| is_same(source, &meta));
            (meta.is_file() || is_device(&meta)) && !is_source
        });
        if is_other && let Ok(real) = std::fs::read_link(&path) {
            read.push(Extent::whole(real));
        }
    }
    read
}

/// Refuses an output that is in use or shares storage with a source; the same for OUT.partial,
/// which takes the name of OUT when it is complete.
pub(super) fn check_storage(
    args: &DecryptArgs,
    kind: Kind,
    sources: &[Extent],
) -> Result<(), Failure> {
    if kind == Kind::Stdout {
        // The shell may have redirected it to a file or device, which needs the same check.
        let path = std::fs::read_link("/proc/self/fd/1").unwrap_or_default();
        let existing = path.metadata();
        let has_places = |meta: Metadata| meta.is_file() || meta.file_type().is_block_device();
        if existing.is_ok_and(has_places) {
            check_overwrite(&path, sources, 0)?;
        }
    }
    if !matches!(kind, Kind::File | Kind::Device) {
        return Ok(());
    }
    check_overwrite(&args.output, sources, 0)?;
    let partial = output::with_suffix(&args.output, PARTIAL);
    if kind == Kind::File && partial.is_file() {
        check_overwrite(&partial, sources, 0)?;
    }
    Ok(())
}

/// The open output.
pub(super) struct Output<'a> {
    args: &'a DecryptArgs,
    to: To,
    /// Bytes that will be written in total.
    len: u64,
}

enum To {
    Stdout,
    Stream(File),
    Device(File),
    File(Box<Unfinished>),
}

impl<'a> Output<'a> {
    pub(super) fn create(
        args: &'a DecryptArgs,
        kind: Kind,
        about: OutputIdentity,
        sources: &[Extent],
        unlocked: &Unlocked,
    ) -> Result<Self, Failure> {
        let path = &args.output;
        let fail = |error| Error::io(format!("cannot open {}", path.shown()), error);
        let len = unlocked.available();
        let to = match kind {
            Kind::Stdout => To::Stdout,
            Kind::Stream => To::Stream(OpenOptions::new().write(true).open(path).map_err(fail)?),
            Kind::Device => To::Device(open_to_overwrite(path, sources, len)?),
            Kind::File => To::File(Box::new(Unfinished::open(args, about, unlocked)?)),
        };
        Ok(Self { args, to, len })
    }

    /// How zeros are written. Only a new file can have holes: a device and a pipe must get them.
    pub(super) fn zeros(&self) -> Zeros {
        match self.to {
            To::File(_) => Zeros::Holes,
            _ => Zeros::Written,
        }
    }

    /// What an earlier run with `--resume` has written.
    pub(super) fn earlier(&self) -> Written {
        match &self.to {
            To::File(unfinished) => unfinished.earlier.clone(),
            _ => Written::default(),
        }
    }

    /// Records what has been written, for a later `--resume`.
    pub(super) fn save(&self, written: &Written) -> io::Result<()> {
        match &self.to {
            To::File(unfinished) => unfinished.record.save(written),
            _ => Ok(()),
        }
    }

    /// Writes the whole volume. With `hash_output`, the SHA-256 of a resumed file is computed from
    /// the file.
    pub(super) fn write(
        &self,
        export: &Export<'_>,
        hash_output: bool,
        cancelled: &AtomicBool,
    ) -> Result<Exported, Failed> {
        match &self.to {
            To::Stdout => export.to_pipe(io::stdout().lock().as_fd()),
            To::Stream(file) => export.to_pipe(file.as_fd()),
            To::Device(file) => {
                let exported = export.to_file(file)?;
                file.sync_all().map_err(Failed::Write)?;
                Ok(exported)
            }
            To::File(unfinished) => {
                let Some(file) = unfinished.file.as_ref().map(PartialFile::file) else {
                    return Err(Failed::Interrupted);
                };
                let mut exported = export.to_file(file)?;
                if hash_output && exported.sha256.is_none() {
                    exported.sha256 = Some(hash(file, exported.len, cancelled)?);
                }
                Ok(exported)
            }
        }
    }

    /// Ends a complete output. When this returns, a file is on stable storage and has its final
    /// name.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self.to {
            To::File(unfinished) => Ok(unfinished.finish()?),
            _ => Ok(()),
        }
    }

    /// Ends an incomplete output: removes the file, or with `--resume` keeps it. Returns the error
    /// to report.
    pub(super) fn give_up(self, failed: Failed, done: u64) -> Failure {
        let percent = done.saturating_mul(100) / self.len.max(1);
        let name = self.name();
        let (what, mut help) = match failed {
            Failed::Interrupted => (format!("interrupted at {percent} %"), None),
            Failed::Read(Error::Io { what, source, .. }) => {
                let path = self.args.source.source.shown();
                let help = match self.args.error_map_to {
                    None => Some(
                        "--error-map-to FILE continues past the places that cannot be read, and lists them"
                            .to_owned(),
                    ),
                    Some(_) => None,
                };
                (format!("cannot read {path}: {what}: {source}"), help)
            }
            Failed::Read(error) => (
                error.to_string(),
                error.remedy().as_ref().map(advice::words),
            ),
            Failed::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => (
                format!(
                    "cannot write {name}: the program that reads it ended at {percent} %: {error}"
                ),
                None,
            ),
            Failed::Write(error) => {
                let mut what = format!("cannot write {name}: {error}");
                if error.kind() == io::ErrorKind::StorageFull {
                    let size = term::human_size(self.len);
                    what += &format!("; the decrypted volume needs up to {size}");
                }
                (what, None)
            }
            failed => (failed.to_string(), None),
        };
        let left = match &self.to {
            To::Stdout | To::Stream(_) => format!("{name} received only a part of the volume"),
            To::Device(_) => format!("{name} now holds an incomplete volume"),
            To::File(unfinished) => {
                let partial = unfinished.partial();
                match unfinished.stays {
                    true => {
                        help.get_or_insert("run the same command again to continue".to_owned());
                        format!("the part that was written is kept in {partial}")
                    }
                    false => {
                        help.get_or_insert(
                            "with --resume, the part that was written is kept, and the next run continues with it"
                                .to_owned(),
                        );
                        format!("{partial} was removed")
                    }
                }
            }
        };
        Failure::Other {
            status: Status::Io,
            what: format!("{what}; {left}"),
            help,
        }
    }

    fn name(&self) -> String {
        match self.to {
            To::Stdout => "standard output".to_owned(),
            _ => self.args.output.shown().to_string(),
        }
    }
}

/// OUT.partial, and the record of what has been written to it.
struct Unfinished {
    /// `None` once it is renamed or kept.
    file: Option<PartialFile>,
    record: Record,
    earlier: Written,
    /// Whether it is kept if the work ends early.
    stays: bool,
}

impl Unfinished {
    /// Continues with OUT.partial if `--resume` was given and it exists; otherwise creates it.
    fn open(
        args: &DecryptArgs,
        about: OutputIdentity,
        unlocked: &Unlocked,
    ) -> Result<Self, Failure> {
        let path = &args.output;
        let record = Record::of(path, about);
        let left = match args.resume {
            true => PartialFile::reopen(path, args.force)?,
            false => None,
        };
        if let Some(file) = left {
            let earlier = match check_earlier(&file, &record, unlocked) {
                Ok(earlier) => earlier,
                Err(why) => {
                    let what = format!("cannot continue {}: {why}", file.partial().shown());
                    file.leave();
                    return Err(refuse(
                        Status::Usage,
                        what,
                        "remove it, or start again with --force and without --resume",
                    ));
                }
            };
            let percent = earlier.len.saturating_mul(100) / unlocked.available().max(1);
            term::note(format_args!(
                "continuing {} at {percent} %",
                file.partial().shown()
            ));
            return Ok(Self {
                file: Some(file),
                record,
                earlier,
                stays: true,
            });
        }
        let file = PartialFile::create(path, args.force)?;
        if args.resume {
            term::note(format_args!(
                "{} does not exist: starting from the beginning",
                file.partial().shown()
            ));
        }
        let unfinished = Self {
            file: Some(file),
            record,
            earlier: Written::default(),
            stays: args.resume,
        };
        let fail = |error| {
            let what = format!("cannot write {}", unfinished.record.path().shown());
            Error::io(what, error)
        };
        unfinished.record.save(&unfinished.earlier).map_err(fail)?;
        Ok(unfinished)
    }

    fn finish(mut self) -> Result<(), Error> {
        match self.file.take() {
            Some(file) => file.finish(),
            None => Ok(()),
        }
    }

    /// Path of OUT.partial, for messages.
    fn partial(&self) -> String {
        let partial = self.file.as_ref().map(PartialFile::partial);
        partial.unwrap_or(Path::new("")).shown().to_string()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        match self.file.take() {
            Some(file) if self.stays => file.leave(),
            _ => self.record.remove(),
        }
    }
}

/// Number of bytes at the start and at the end of an earlier output that are compared with the
/// volume.
const COMPARED: u64 = 1 << 20;

/// What an earlier run has written; an explanation if it was not of this volume.
fn check_earlier(
    file: &PartialFile,
    record: &Record,
    unlocked: &Unlocked,
) -> Result<Written, String> {
    let earlier = record.load()?;
    let file = file.file();
    let len = file.metadata().map_err(|error| error.to_string())?.len();
    // The file gets its full length before its first byte, but after the first record is saved. So
    // only an output without any byte may have another length.
    if earlier.len > 0 && len != unlocked.available() {
        return Err(format!(
            "it has {len} bytes, but the volume has {}",
            unlocked.available()
        ));
    }
    for start in [0, earlier.len.saturating_sub(COMPARED)] {
        let end = earlier.len.min(start + COMPARED);
        let skipped = |missing: &Range<u64>| missing.start < end && missing.end > start;
        if start == end || earlier.missing.iter().any(skipped) {
            continue;
        }
        let mut expected = vec![0; (end - start) as usize];
        let mut found = expected.clone();
        unlocked
            .read_exact_at(start, &mut expected)
            .map_err(|error| error.with_causes().to_string())?;
        file.read_exact_at(&mut found, start)
            .map_err(|error| error.to_string())?;
        if found != expected {
            return Err(format!(
                "its bytes {start} to {end} differ from those of the volume"
            ));
        }
    }
    Ok(earlier)
}

/// SHA-256 of the first `len` bytes of the file. Needed after `--resume`, where the export saw only
/// a part of them.
fn hash(mut file: &File, len: u64, cancelled: &AtomicBool) -> Result<[u8; 32], Failed> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    file.seek(SeekFrom::Start(0)).map_err(Failed::Write)?;
    let mut left = len;
    while left > 0 {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Failed::Interrupted);
        }
        let len = left.min(piece.len() as u64) as usize;
        file.read_exact(&mut piece[..len]).map_err(Failed::Write)?;
        hash.update(&piece[..len]);
        left -= len as u64;
    }
    Ok(hash.finalize().into())
}
