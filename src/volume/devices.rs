//! The BitLocker volumes on the block devices of this machine.
//!
//! A device may not answer for minutes, such as a failing disk or a loop device on a server that is
//! gone. So threads of their own look at the devices, and one that does not answer in time is left
//! behind. But a process may not end before its reads do: a program that has to end in time calls
//! [`survey`] in a process that it can leave behind, too.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::{Disk, Volume};
use crate::error::{Candidate, Error, Result};
use crate::source::{BlockDevice, Devices, Use};

/// How many devices are read at the same time. Each may need some MiB of memory for metadata.
const AT_ONCE: usize = 8;

/// Most volumes of one disk that are described: more than any disk seen has.
const MAX_VOLUMES: usize = 64;

/// A volume on a block device.
#[derive(Debug)]
#[non_exhaustive]
pub struct OnDevice {
    /// The path of the device.
    pub device: PathBuf,
    /// Where the volume is on the device, and which it is.
    pub candidate: Candidate,
    /// The volume, or why it cannot be opened.
    pub volume: Result<Volume>,
}

/// What [`survey`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Survey<T> {
    /// The volumes, in the order of their devices.
    pub volumes: Vec<Surveyed<T>>,
    /// Devices that this user may not read. A disk stands for its partitions, too.
    pub denied: Vec<PathBuf>,
    /// Devices that could not be read, each with the reason.
    pub failed: Vec<(PathBuf, Error)>,
    /// How many volumes were left out, because a disk has so many.
    pub left_out: usize,
}

/// A volume that [`survey`] found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Surveyed<T> {
    /// What the caller keeps of the volume.
    pub volume: T,
    /// Everything that uses it; `None` if the system did not say so in time.
    pub uses: Option<Vec<Use>>,
}

/// Looks for volumes on all block devices, and opens none for writing. A partition that has a device of
/// its own is found there, any other on its disk. `describe` says what to keep of each volume, since
/// the metadata of all of them may need much memory.
///
/// Each device has `patience` to answer; so have all together to say how they are used.
///
/// # Errors
/// [`Error::Io`] when the system does not list its devices.
pub fn survey<T: Send + 'static>(
    devices: &Devices,
    patience: Duration,
    describe: impl Fn(OnDevice) -> T + Clone + Send + 'static,
) -> Result<Survey<T>> {
    let mut survey = Survey {
        volumes: Vec::new(),
        denied: Vec::new(),
        failed: Vec::new(),
        left_out: 0,
    };
    let mut places = Vec::new();
    for batch in devices.disks()?.chunks(AT_ONCE) {
        let end = Instant::now() + patience;
        let start = |disk: &BlockDevice| {
            let (disk, describe) = (disk.clone(), describe.clone());
            on_own_thread(move || Look::at(&disk, &describe))
        };
        let answers: Vec<_> = batch.iter().map(start).collect();
        for (disk, answer) in batch.iter().zip(answers) {
            match answer.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(look) => {
                    for (volume, place) in look.volumes {
                        survey.volumes.push(Surveyed { volume, uses: None });
                        places.push(place);
                    }
                    survey.denied.extend(look.denied);
                    survey.failed.extend(look.failed);
                    survey.left_out += look.left_out;
                }
                Err(why) => survey
                    .failed
                    .push((disk.path().to_owned(), no_answer(why, patience))),
            }
        }
    }
    add_uses(&mut survey.volumes, devices, places, patience);
    Ok(survey)
}

/// The error for a device that did not answer.
fn no_answer(why: RecvTimeoutError, patience: Duration) -> Error {
    let cause = match why {
        RecvTimeoutError::Timeout => io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} seconds", patience.as_secs()),
        ),
        RecvTimeoutError::Disconnected => io::Error::other("the reading thread has ended"),
    };
    Error::io("cannot read the device", cause)
}

/// Does the work on a new thread, or, if the system starts no more, on this one.
fn on_own_thread<R: Send + 'static>(work: impl Fn() -> R + Clone + Send + 'static) -> Receiver<R> {
    let (sender, receiver) = channel();
    let (there, result) = (work.clone(), sender.clone());
    let started = Builder::new().spawn(move || {
        // The receiver may have given up.
        let _ = result.send(there());
    });
    if started.is_err() {
        let _ = sender.send(work());
    }
    receiver
}

/// The device of a volume, and its bytes there.
type Occupied = (BlockDevice, Range<u64>);

/// Adds how the volumes are used.
fn add_uses<T>(
    volumes: &mut [Surveyed<T>],
    devices: &Devices,
    places: Vec<Occupied>,
    patience: Duration,
) {
    let end = Instant::now() + patience;
    let devices = devices.clone();
    let (sender, receiver) = channel();
    let asked = Builder::new().spawn(move || {
        for (device, bytes) in places {
            if sender.send(devices.uses(&device, bytes)).is_err() {
                return;
            }
        }
    });
    // Without a thread, how the volumes are used is not known: the question could wait without end.
    drop(asked);
    for volume in volumes {
        let left = end.saturating_duration_since(Instant::now());
        volume.uses = receiver.recv_timeout(left).ok();
    }
}

/// What was found on one disk and its partitions.
struct Look<T> {
    volumes: Vec<(T, Occupied)>,
    denied: Vec<PathBuf>,
    failed: Vec<(PathBuf, Error)>,
    left_out: usize,
}

impl<T> Look<T> {
    fn at(disk: &BlockDevice, describe: &dyn Fn(OnDevice) -> T) -> Self {
        let mut look = Self {
            volumes: Vec::new(),
            denied: Vec::new(),
            failed: Vec::new(),
            left_out: 0,
        };
        let mut seen = Vec::new();
        let mut closed = Vec::new();
        for partition in disk.partitions() {
            match look.add(partition, &[], describe) {
                Ok(()) => seen.extend(partition.partition()),
                Err(error) => closed.push((partition.path(), error)),
            }
        }
        let Err(error) = look.add(disk, &seen, describe) else {
            return look;
        };
        // Of a disk that cannot be opened, what matters is what its partitions do not show.
        match (disk.partitions(), seen.as_slice()) {
            ([], _) | (_, []) => look.add_closed(disk.path(), error),
            _ => {
                for (path, error) in closed {
                    look.add_closed(path, error);
                }
            }
        }
        look
    }

    /// Adds the volumes of a device, except those in these partitions. The error is that of opening it;
    /// one of reading it is added to the others.
    fn add(
        &mut self,
        device: &BlockDevice,
        except: &[u32],
        describe: &dyn Fn(OnDevice) -> T,
    ) -> io::Result<()> {
        let Some(source) = device.open()? else {
            return Ok(());
        };
        let disk = Disk::from_source(source);
        let candidates = match disk.volumes() {
            Ok(candidates) => candidates,
            Err(error) => {
                if !error.io_error().is_some_and(|cause| device.is_empty(cause)) {
                    self.failed.push((device.path().to_owned(), error));
                }
                return Ok(());
            }
        };
        for candidate in candidates {
            if candidate
                .partition
                .is_some_and(|number| except.contains(&number))
            {
                continue;
            }
            if let Some(cause) = candidate.read_error() {
                let cause = io::Error::new(cause.kind(), cause.to_string());
                let number = candidate.partition.unwrap_or(0);
                let what = format!("cannot read the first sector of partition {number}");
                self.failed
                    .push((device.path().to_owned(), Error::io(what, cause)));
                continue;
            }
            if self.volumes.len() == MAX_VOLUMES {
                self.left_out += 1;
                continue;
            }
            let start = u64::try_from(candidate.offset).unwrap_or(0);
            let end = start.saturating_add(candidate.len.unwrap_or(u64::MAX));
            let found = OnDevice {
                device: device.path().to_owned(),
                volume: disk.open_volume(&candidate),
                candidate,
            };
            let place = (device.clone(), start..end);
            self.volumes.push((describe(found), place));
        }
        Ok(())
    }

    fn add_closed(&mut self, device: &Path, error: io::Error) {
        match error.kind() {
            io::ErrorKind::PermissionDenied => self.denied.push(device.to_owned()),
            _ => {
                let error = Error::io("cannot open the device", error);
                self.failed.push((device.to_owned(), error));
            }
        }
    }
}

#[cfg(test)]
mod tests;
