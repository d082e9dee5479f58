//! File systems on a source that are not encrypted.

use std::sync::Arc;

use fve::error::Error;
use fve::files::{self, Files};
use fve::source::partition::{self, PartitionTable};
use fve::source::{Place, ReadAt, Window};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::term;

/// A file system, the number of its partition and its bytes.
type Found = (Option<u32>, Window<Arc<dyn ReadAt>>, Files);

/// Most partitions in which a file system is looked for: more than any disk seen has.
const MAX_PARTITIONS: usize = 128;

/// The file system at a place of the source: at an offset, in a partition, at the beginning of the
/// source, or in its only partition with one. `None` if there is none whose files are read.
pub(super) fn find(disk: &Arc<dyn ReadAt>, place: Place) -> Result<Option<Found>, Failure> {
    match place {
        Place::Offset(offset) => open(None, Window::from(disk.clone(), offset)),
        Place::Partition(number) => {
            let Some(table) = table(disk)? else {
                return Ok(None);
            };
            let mut partitions = table.partitions.iter();
            let partition = partitions.find(|partition| partition.number == number);
            partition.map_or(Ok(None), |partition| {
                let window = Window::new(disk.clone(), partition.start, partition.size);
                open(Some(number), window)
            })
        }
        _ => match open(None, Window::from(disk.clone(), 0))? {
            Some(found) => Ok(Some(found)),
            None => in_any_partition(disk),
        },
    }
}

fn table(disk: &Arc<dyn ReadAt>) -> Result<Option<PartitionTable>, Failure> {
    partition::read(disk.as_ref())
        .map_err(|error| Error::io("cannot read the partition table", error).into())
}

fn in_any_partition(disk: &Arc<dyn ReadAt>) -> Result<Option<Found>, Failure> {
    let Some(table) = table(disk)? else {
        return Ok(None);
    };
    let mut found = Vec::new();
    for partition in table.partitions.iter().take(MAX_PARTITIONS) {
        let window = Window::new(disk.clone(), partition.start, partition.size);
        // One that cannot be read may be the one that is meant.
        match open(Some(partition.number), window) {
            Ok(Some(one)) => found.push((partition, Ok(one))),
            Ok(None) => {}
            Err(error) => found.push((partition, Err(error))),
        }
    }
    if found.len() < 2 {
        return match found.pop() {
            Some((_, one)) => one.map(Some),
            None => Ok(None),
        };
    }
    let mut what = format!(
        "the disk holds no BitLocker volume, and {} partitions with files:",
        found.len()
    );
    for (partition, one) in &found {
        let content = match one {
            Ok((_, _, files)) => in_words(files),
            Err(failure) => failure.message().unwrap_or_default(),
        };
        what += &format!(
            "\n  partition {}: {}, {content}",
            partition.number,
            term::human_size(partition.size)
        );
    }
    Err(Failure::Other {
        status: Status::Usage,
        what,
        help: Some("choose one with --partition N".to_owned()),
    })
}

/// Kind and label of a file system.
fn in_words(files: &Files) -> String {
    let properties = files.properties();
    match properties.label.as_deref() {
        Some(label) if !label.is_empty() => {
            format!("{} \"{}\"", properties.kind, term::escaped(label))
        }
        _ => properties.kind.to_owned(),
    }
}

fn open(number: Option<u32>, window: Window<Arc<dyn ReadAt>>) -> Result<Option<Found>, Failure> {
    match files::open(Arc::new(window.clone())) {
        Ok(files) => Ok(Some((number, window, files))),
        Err(Error::Unsupported { .. }) => Ok(None),
        // Too small for any file system.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
