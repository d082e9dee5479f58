//! The device below a mapping: SOURCE, a partition of it, a loop device, or a device with the changes of an overlay.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use fve::error::Error;
use fve::serve::mapping::Overlay;
use fve::shown::ShowPath;
use fve::source::{Extent, SharedHold, changed_by, device_of, open_to_overwrite};

use crate::cli::failure::Failure;
use crate::cli::loop_device::LoopDevice;

/// Where the volume is.
pub(super) struct Place {
    pub(super) extent: Extent,
    /// The device with the volume; `None` if it is in a file.
    pub(super) device: Option<PathBuf>,
    /// The same, open: while a partition is open, the kernel does not read the partition table of its disk
    /// again. udev has it do that when a program has closed a disk that it could write to, and the
    /// partition does not exist for a moment then.
    pub(super) _open: Option<File>,
    /// Where the volume begins on the device or in the file.
    pub(super) offset: u64,
}

impl Place {
    /// Where a volume is in a source. Must be called while the source is open.
    pub(super) fn of(source: &Path, offset: u64, size: u64) -> Self {
        let extent = Extent::part(source, offset, size);
        match device_of(&extent) {
            Some((device, offset)) => Self {
                extent,
                _open: File::open(&device).ok(),
                device: Some(device),
                offset,
            },
            None => Self {
                extent,
                device: None,
                _open: None,
                offset,
            },
        }
    }
}

/// The file of an overlay, which is locked while it is open, its path, and the size of the source and of the
/// chunks in bytes.
pub(super) struct Changes {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) chunk: u64,
}

/// The device below a mapping. What was made for it is removed again, unless the mapping keeps it.
pub(super) struct Below {
    pub(super) path: PathBuf,
    // Removed first: it uses the loop devices.
    overlay: Option<Overlay>,
    _attached: Vec<LoopDevice>,
}

impl Below {
    /// The device for reading, or for writing to the source itself.
    pub(super) fn of(place: &Place, read_only: bool, before: State) -> Result<Self, Failure> {
        let mut attached = Vec::new();
        let path = match &place.device {
            Some(device) => device.clone(),
            None => {
                let device = attach(&place.extent.path, read_only, before)?;
                let path = device.path().to_owned();
                attached.push(device);
                path
            }
        };
        Ok(Self {
            path,
            overlay: None,
            _attached: attached,
        })
    }

    /// The device for writing to a file instead of the source, for the mapping `name`.
    pub(super) fn over(
        name: &str,
        source: &Path,
        changes: &Changes,
        before: State,
    ) -> Result<Self, Failure> {
        let below = match is_device(source) {
            true => None,
            false => Some(attach(source, true, before)?),
        };
        let store = attach_open(&changes.file, &changes.path, false)?;
        let origin = below.as_ref().map_or(source, LoopDevice::path);
        let size = changes.size - changes.size % 512;
        let overlay = Overlay::make(name, origin, store.path(), size, changes.chunk);
        let overlay = overlay.map_err(|error| {
            explain(
                error,
                &Extent::whole(source),
                "name the partition with the volume",
            )
        })?;
        Ok(Self {
            path: overlay.path(),
            overlay: Some(overlay),
            _attached: below.into_iter().chain([store]).collect(),
        })
    }

    /// The mapping was made: it keeps what is below it.
    pub(super) fn keep(self) {
        if let Some(overlay) = self.overlay {
            overlay.keep();
        }
    }
}

fn is_device(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.file_type().is_block_device())
}

/// What shows that a file is the same and was not changed: its device and inode number, its size, and the
/// times of its last changes.
pub(super) type State = (u64, u64, u64, [i64; 4]);

pub(super) fn state_of(path: &Path) -> Result<State, Failure> {
    let found = path.metadata();
    let found = found.map_err(|error| Error::io(format!("cannot open {}", path.shown()), error))?;
    Ok(state(&found))
}

fn state(of: &Metadata) -> State {
    let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()];
    (of.dev(), of.ino(), of.size(), times)
}

/// Attaches a loop device to an image that was in this state before it was unlocked. The lock on the image lasts as
/// long as the loop device, which keeps the file open, so other programs that respect locks see that it is in use.
fn attach(image: &Path, read_only: bool, before: State) -> Result<LoopDevice, Failure> {
    let fail = |what: &str, error| Error::io(format!("cannot {what} {}", image.shown()), error);
    let file = match read_only {
        false => open_to_overwrite(image, &[], 0)?,
        true => match SharedHold::take(image)? {
            Some(hold) => hold.into_file(),
            // Its file system has no locks.
            None => File::open(image).map_err(|error| fail("open", error))?,
        },
    };
    let now = file.metadata().map_err(|error| fail("read", error))?;
    if state(&now) != before {
        return Err(Error::environment(format!(
            "{} was changed while it was unlocked",
            image.shown()
        ))
        .with_remedy("find out which program changes it, and run the command again")
        .into());
    }
    attach_open(&file, image, read_only)
}

fn attach_open(file: &File, path: &Path, read_only: bool) -> Result<LoopDevice, Failure> {
    let what = || format!("cannot attach a loop device to {}", path.shown());
    LoopDevice::attach(file, read_only).map_err(|error| Error::io(what(), error).into())
}

/// Says what uses the device if that is why it cannot be mapped, and what to do.
pub(super) fn explain(error: Error, extent: &Extent, remedy: &'static str) -> Failure {
    let busy = |source: &io::Error| source.kind() == io::ErrorKind::ResourceBusy;
    match error {
        Error::Io { what, source, .. } if busy(&source) => match changed_by(extent) {
            Some(user) => Error::environment(format!("{what}: {user}"))
                .with_remedy(remedy)
                .into(),
            None => Error::io(what, source).into(),
        },
        other => other.into(),
    }
}
