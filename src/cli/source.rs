//! SOURCE: from a path to the one volume that is meant.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::args::SourceArgs;
use super::{Failure, term};
use crate::source::{Place, locate};
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
    open_at(&args.source, args.offset, args.partition)
}

pub(crate) fn open_at(
    path: &Path,
    offset: Option<u64>,
    partition: Option<u32>,
) -> Result<Opened, Failure> {
    let place = match (offset, partition) {
        (Some(offset), _) => Place::Offset(offset),
        (None, Some(number)) => Place::Partition(number),
        (None, None) => Place::Auto,
    };
    let (disk, container) = crate::source::open(path)?;
    if let Some(name) = container {
        term::note(format_args!(
            "{} holds a disk image of the kind {name}",
            path.display()
        ));
    }
    let located = locate(disk, place, &Volume::probe)?;
    if let Some(note) = &located.note {
        term::note(term::escaped(note));
    }
    Ok(Opened {
        offset: located.start,
        partition: located.partition,
        volume: Volume::open(Arc::new(located.source))?,
        path: absolute(path),
        modified: path.metadata().and_then(|meta| meta.modified()).ok(),
    })
}

/// The path as another process would have to name it.
fn absolute(path: &Path) -> String {
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    absolute.display().to_string()
}
