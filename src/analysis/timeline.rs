//! Events in the history of a volume, with their times (docs/format-recovery.md §6.2 to §6.4 and
//! §6.6).

use super::event_logs::{EventKind, EventLogs};
use crate::format::block::MetadataBlock;
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::format::time::FileTime;
use crate::guid::Guid;

/// A key that was sealed more than this time after its protector was changed is assumed to have been
/// sealed again: one minute, in ticks of 100 ns. When Windows turns BitLocker on, it is seconds.
const SEALED_LATER: u64 = 60 * 10_000_000;
/// Keys sealed within this time count as one event: one second, in ticks of 100 ns.
const TOGETHER: u64 = 10_000_000;

/// An event with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moment {
    /// When it happened.
    pub time: FileTime,
    /// The kind of event.
    pub what: Happening,
    /// Identifier and kind of the key protector that it concerns, if any.
    pub protector: Option<(Guid, ProtectorKind)>,
}

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// BitLocker was turned on.
    TurnedOn,
    /// A key protector was made or last changed.
    ProtectorChanged,
    /// A clear key was added: protection was suspended, or was not turned on yet.
    Suspended,
    /// A recovery password was saved for the first time.
    FirstSaved,
    /// A recovery password was last saved.
    LastSaved,
    /// Keys were sealed again after their key protectors were made.
    Resealed,
    /// The metadata was last written, for a change of the state or of the key protectors.
    Written,
    /// An event of this kind in the event logs.
    Logged(EventKind),
    /// The last start of Windows in the event logs.
    WindowsStarted,
    /// The last regular shutdown of Windows in the event logs.
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

    /// Whether it comes from the event logs and not from the metadata. Logs say what Windows reported,
    /// which need not be the cause.
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

/// The times at which keys were sealed long after their key protector or volume was made.
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
