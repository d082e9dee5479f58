//! What happened to a volume, and when (docs/format-recovery.md §6.2 to §6.4 and §6.6).

use super::event_logs::{EventKind, EventLogs};
use crate::format::block::MetadataBlock;
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::format::time::FileTime;
use crate::guid::Guid;

/// A key that was sealed this much later than its protector was changed was sealed anew, in ticks
/// of 100 ns: on volumes as Windows sets them up it is seconds.
const SEALED_LATER: u64 = 60 * 10_000_000;
/// What was sealed within this time was sealed together.
const TOGETHER: u64 = 10_000_000;

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moment {
    /// When.
    pub time: FileTime,
    /// What.
    pub what: Happening,
    /// To which protector.
    pub protector: Option<(Guid, ProtectorKind)>,
}

/// What can happen to a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// BitLocker was turned on.
    TurnedOn,
    /// A protector was made, or last changed.
    ProtectorChanged,
    /// A clear key was put there: protection was suspended, or is not on yet.
    Suspended,
    /// A recovery password was saved for the first time.
    FirstSaved,
    /// A recovery password was last saved.
    LastSaved,
    /// Keys were sealed anew, after their protectors were made.
    Resealed,
    /// The metadata were last written: the last change of state or of protectors.
    Written,
    /// Windows logged it.
    Logged(EventKind),
    /// Windows logged that it started, the last time that the log tells of.
    WindowsStarted,
    /// Windows logged that it ended in good order, the last time that the log tells of.
    WindowsEnded,
}

impl Happening {
    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::TurnedOn => "turned-on",
            Self::ProtectorChanged => "protector-changed",
            Self::Suspended => "suspended",
            Self::FirstSaved => "first-saved",
            Self::LastSaved => "last-saved",
            Self::Resealed => "resealed",
            Self::Written => "metadata-written",
            Self::Logged(kind) => kind.word(),
            Self::WindowsStarted => "windows-started",
            Self::WindowsEnded => "windows-ended",
        }
    }

    /// Whether it comes from the event logs, which say what Windows thought, and not from the
    /// metadata.
    pub fn is_logged(self) -> bool {
        matches!(
            self,
            Self::Logged(_) | Self::WindowsStarted | Self::WindowsEnded
        )
    }
}

pub(super) fn of(block: Option<&MetadataBlock>, logs: Option<&EventLogs>) -> Vec<Moment> {
    let mut moments = Vec::new();
    if let Some(block) = block {
        of_metadata(block, &mut moments);
    }
    if let Some(logs) = logs {
        of_logs(logs, &mut moments);
    }
    moments.retain(|moment| moment.time != FileTime(0));
    moments.sort_by_key(|moment| moment.time);
    moments
}

fn of_metadata(block: &MetadataBlock, moments: &mut Vec<Moment>) {
    let mut push = |time, what, protector: Option<&KeyProtector>| {
        moments.push(Moment {
            time,
            what,
            protector: protector.map(|protector| (protector.id, protector.kind())),
        });
    };
    push(block.dataset.created, Happening::TurnedOn, None);
    for protector in block.protectors() {
        let what = match protector.kind() {
            ProtectorKind::ClearKey => Happening::Suspended,
            _ => Happening::ProtectorChanged,
        };
        push(protector.changed, what, Some(protector));
        if let Some(backup) = protector.backup() {
            push(backup.last, Happening::LastSaved, Some(protector));
            if backup.first != backup.last {
                push(backup.first, Happening::FirstSaved, Some(protector));
            }
        }
    }
    for time in resealed(block) {
        push(time, Happening::Resealed, None);
    }
    if let Some(time) = block.last_written() {
        push(time, Happening::Written, None);
    }
}

/// When keys were sealed long after the protector or the volume that they belong to was made.
fn resealed(block: &MetadataBlock) -> Vec<FileTime> {
    let of_protectors = block
        .protectors()
        .filter_map(|protector| Some((protector.sealed_vmk()?.time(), protector.changed)));
    let of_volume = block
        .sealed_fvek()
        .map(|sealed| (sealed.time(), block.dataset.created));
    let mut times: Vec<_> = of_protectors
        .chain(of_volume)
        .filter(|(sealed, made)| sealed.0.saturating_sub(made.0) > SEALED_LATER)
        .map(|(sealed, _)| sealed)
        .collect();
    times.sort_unstable();
    times.dedup_by(|later, earlier| later.0.saturating_sub(earlier.0) <= TOGETHER);
    times
}

fn of_logs(logs: &EventLogs, moments: &mut Vec<Moment>) {
    let mut push = |time, what| {
        moments.push(Moment {
            time,
            what,
            protector: None,
        });
    };
    for event in &logs.events {
        if let Some(kind) = event.kind {
            push(event.time, Happening::Logged(kind));
        }
    }
    if let Some(time) = logs.last_start {
        push(time, Happening::WindowsStarted);
    }
    if let Some(time) = logs.last_end {
        push(time, Happening::WindowsEnded);
    }
}
