//! SOURCE: from a path to the one volume that is meant.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::args::SourceArgs;
use super::exit::Status;
use super::{Failure, term};
use crate::error::Error;
use crate::repair::FoundVolume;
use crate::source::{ExclusiveFile, Place, ReadAt, Window, WriteAt, locate, writer_of};
use crate::volume::Volume;

/// A volume and where it was found.
pub(crate) struct Opened {
    pub(crate) volume: Volume,
    pub(crate) path: String,
    pub(crate) offset: u64,
    pub(crate) partition: Option<u32>,
    /// Shown by the mount.
    #[cfg_attr(not(feature = "fuse"), allow(dead_code))]
    pub(crate) modified: Option<SystemTime>,
}

pub(crate) fn open(args: &SourceArgs) -> Result<Opened, Failure> {
    let path = &args.source;
    let disk = disk(path)?;
    let opened = |volume, offset, partition| Opened {
        volume,
        offset,
        partition,
        path: absolute(path),
        modified: path.metadata().and_then(|meta| meta.modified()).ok(),
    };
    if let Some(found) = lost(args, &disk)? {
        let volume = found.open(&disk)?;
        return Ok(opened(volume, found.start, found.evidence.partition));
    }
    let located =
        locate(disk, place(args.offset, args.partition), &Volume::probe).map_err(unread)?;
    if let Some(note) = &located.note {
        term::note(term::escaped(note));
    }
    let (offset, partition) = (located.start, located.partition);
    let volume = Volume::open(Arc::new(located.source))?;
    Ok(opened(volume, offset, partition))
}

/// What to do where the place of the volume cannot be read.
fn unread(error: Error) -> Failure {
    match error {
        Error::Io { .. } => Failure::Other {
            status: Status::Io,
            what: error.to_string(),
            help: Some(
                "check the medium and its connection and try again; if a sector is bad, 'fve repair scan' looks for the volume in what can be read"
                    .to_owned(),
            ),
        },
        other => other.into(),
    }
}

/// The volume that `--metadata` names, where it was given.
pub(crate) fn lost(
    args: &SourceArgs,
    disk: &Arc<dyn ReadAt>,
) -> Result<Option<FoundVolume>, Failure> {
    let Some(offset) = args.lost.metadata else {
        return Ok(None);
    };
    let found = match FoundVolume::at(disk, offset, args.lost.volume_start) {
        Err(error @ Error::Ambiguous { .. }) => Err(Failure::Other {
            status: Status::Usage,
            what: error.to_string(),
            help: Some("'fve repair scan' shows what speaks for each".to_owned()),
        }),
        other => other.map_err(Failure::from),
    }?;
    if args.lost.volume_start.is_none() {
        term::note(format_args!("the volume begins at byte {}", found.start));
    }
    Ok(Some(found))
}

/// The bytes of SOURCE, read-only, with what a person should know about them.
pub(crate) fn disk(path: &Path) -> Result<Arc<dyn ReadAt>, Failure> {
    let (disk, container) = crate::source::open(path)?;
    if let Some(process) = writer_of(path) {
        term::note(format_args!(
            "warning: process {process} may be writing to {}: what is read of it may not fit together",
            path.display()
        ));
    }
    if let Some(name) = container {
        term::note(format_args!(
            "{} holds a disk image of the kind {name}",
            path.display()
        ));
    }
    Ok(disk)
}

/// A volume that will be written to: nobody else holds its source.
pub(crate) struct OpenedForWriting {
    pub(crate) volume: Volume,
    /// The volume's bytes, to be written.
    pub(crate) target: Arc<dyn WriteAt>,
    #[allow(dead_code)]
    pub(crate) path: String,
}

/// Opens the source exclusively, for commands that change the volume. Disk-image containers are
/// only read.
pub(crate) fn open_for_writing(args: &SourceArgs) -> Result<OpenedForWriting, Failure> {
    refuse_lost(args)?;
    let path = &args.source;
    let (_, container) = crate::source::open(path)?;
    if let Some(name) = container {
        return Err(Error::Unsupported {
            what: format!(
                "{} holds a disk image of the kind {name}, which can only be read",
                path.display()
            ),
        }
        .into());
    }
    let disk = Arc::new(ExclusiveFile::open(path)?);
    locate_for_writing(args, disk)
}

/// What was found by searching is looked at, and never written to.
fn refuse_lost(args: &SourceArgs) -> Result<(), Failure> {
    if args.lost.metadata.is_none() {
        return Ok(());
    }
    Err(Failure::Other {
        status: Status::Usage,
        what: "a volume that is opened by --metadata is only read".to_owned(),
        help: Some(
            "'fve repair rebuild-header --whole' makes a copy that can be written to".to_owned(),
        ),
    })
}

/// The same stretch of a source on which no volume can be found any more: `size` bytes from where
/// `args` say.
pub(crate) fn open_lost_for_writing(
    args: &SourceArgs,
    size: u64,
) -> Result<Arc<dyn WriteAt>, Failure> {
    let disk = ExclusiveFile::open(&args.source)?;
    let start = args.offset.unwrap_or(0);
    let fits = start
        .checked_add(size)
        .is_some_and(|end| end <= disk.size());
    if args.partition.is_some() || !fits || (args.offset.is_none() && size != disk.size()) {
        return Err(Failure::usage(format!(
            "no volume is found on {}, and it does not have the size of the one that is looked for; say where that begins with --offset BYTES",
            args.source.display()
        )));
    }
    Ok(Arc::new(Window::new(Arc::new(disk), start, size)))
}

fn locate_for_writing(
    args: &SourceArgs,
    disk: Arc<ExclusiveFile>,
) -> Result<OpenedForWriting, Failure> {
    let path = &args.source;
    let located = locate(
        disk.clone(),
        place(args.offset, args.partition),
        &Volume::probe,
    )?;
    if let Some(note) = &located.note {
        term::note(term::escaped(note));
    }
    let size = located.source.size();
    let target: Arc<dyn WriteAt> = Arc::new(Window::new(disk, located.start, size));
    Ok(OpenedForWriting {
        volume: Volume::open(target.clone())?,
        target,
        path: absolute(path),
    })
}

fn place(offset: Option<u64>, partition: Option<u32>) -> Place {
    match (offset, partition) {
        (Some(offset), _) => Place::Offset(offset),
        (None, Some(number)) => Place::Partition(number),
        (None, None) => Place::Auto,
    }
}

/// The path as another process would have to name it.
fn absolute(path: &Path) -> String {
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    absolute.display().to_string()
}
