//! What Windows logged about BitLocker on the volume itself (docs/format-recovery.md §6.6).
//!
//! `System.evtx` holds what the boot manager and the driver met at start; the log of BitLocker's
//! management holds what people and policies did. With the feature `event-logs`, `read` finds
//! both on an unlocked NTFS volume. What an event means is told by [`EventKind`]; events whose
//! meaning is not known are kept with their number.

use crate::format::time::FileTime;

/// What was found in the event logs of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventLogs {
    /// Each log, and how it went.
    pub logs: Vec<Log>,
    /// What BitLocker's parts of Windows logged, oldest first.
    pub events: Vec<LogEvent>,
    /// When Windows last started.
    pub last_start: Option<FileTime>,
    /// When Windows last ended in good order.
    pub last_end: Option<FileTime>,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// Its path on the volume.
    pub path: String,
    /// How many records were read.
    pub records: u64,
    /// How many could not be read.
    pub unreadable: u64,
    /// Why it was not read, or not to its end.
    pub fault: Option<String>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEvent {
    /// When it was written.
    pub time: FileTime,
    /// Its number.
    pub id: u16,
    /// Who logged it.
    pub provider: String,
    /// Number of its record in the log.
    pub record: u64,
    /// What it means, where that is known.
    pub kind: Option<EventKind>,
    /// Its values, each with its name, as they stand in the log.
    pub values: Vec<(String, String)>,
}

impl EventLogs {
    /// The events of a kind.
    pub fn events_of(&self, kind: EventKind) -> impl Iterator<Item = &LogEvent> {
        let events = self.events.iter();
        events.filter(move |event| event.kind == Some(kind))
    }
}

/// What an event means.
///
/// Those of the driver (24585 to 24620) are in Microsoft's pages on BitLocker's startup and
/// encryption events for Windows Server 2008 and 2008 R2; newer systems were not compared. Those
/// of the management log are 513, 514 and 768 in published pages; the others are from common
/// knowledge and were checked against nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// 24596: no key file was found at start.
    NoKeyFile,
    /// 24597: a key file was corrupt.
    KeyFileCorrupt,
    /// 24598: a key file held no key of the volume.
    KeyFileWithoutKey,
    /// 24599: the TPM was not on.
    TpmNotEnabled,
    /// 24600: the TPM's storage root key is another one.
    SrkInvalid,
    /// 24601: the PCRs did not match.
    PcrMismatch,
    /// 24602 and 24604: another check at start failed.
    StartCheckFailed,
    /// 24603: the hash of a boot application did not match.
    BootApplication,
    /// 24605: the PIN opened nothing.
    PinWrong,
    /// 24606: the recovery password opened nothing.
    RecoveryPasswordWrong,
    /// 24610 to 24619: the metadata could not be read, written or rebuilt.
    MetadataTrouble,
    /// 24620: the volume's metadata could not be read.
    VolumeUnreadable,
    /// 24591: a data volume did not unlock by itself.
    AutoUnlockFailed,
    /// 24585 to 24590: unlocking a data volume by itself was turned on or off.
    AutoUnlockChanged,
    /// 768: encryption was started.
    EncryptionStarted,
    /// 773: protection was suspended.
    Suspended,
    /// 774: protection was resumed.
    Resumed,
    /// 775: a protector was made.
    ProtectorMade,
    /// 776: a protector was removed.
    ProtectorRemoved,
    /// 513, 782 and 845: recovery information was saved in a directory.
    SavedToDirectory,
    /// 514, 783 and 846: it could not be saved there.
    SavingFailed,
}

impl EventKind {
    /// Those that explain a recovery.
    pub const CAUSES: [Self; 12] = [
        Self::NoKeyFile,
        Self::KeyFileCorrupt,
        Self::KeyFileWithoutKey,
        Self::TpmNotEnabled,
        Self::SrkInvalid,
        Self::PcrMismatch,
        Self::StartCheckFailed,
        Self::BootApplication,
        Self::PinWrong,
        Self::RecoveryPasswordWrong,
        Self::MetadataTrouble,
        Self::VolumeUnreadable,
    ];

    /// What event `id` of a provider means.
    pub fn of(provider: &str, id: u16) -> Option<Self> {
        if provider.eq_ignore_ascii_case(DRIVER) {
            Some(match id {
                24585..=24590 => Self::AutoUnlockChanged,
                24591 => Self::AutoUnlockFailed,
                24596 => Self::NoKeyFile,
                24597 => Self::KeyFileCorrupt,
                24598 => Self::KeyFileWithoutKey,
                24599 => Self::TpmNotEnabled,
                24600 => Self::SrkInvalid,
                24601 => Self::PcrMismatch,
                24602 | 24604 => Self::StartCheckFailed,
                24603 => Self::BootApplication,
                24605 => Self::PinWrong,
                24606 => Self::RecoveryPasswordWrong,
                24610..=24619 => Self::MetadataTrouble,
                24620 => Self::VolumeUnreadable,
                _ => return None,
            })
        } else if provider.eq_ignore_ascii_case(MANAGEMENT) {
            Some(match id {
                768 => Self::EncryptionStarted,
                773 => Self::Suspended,
                774 => Self::Resumed,
                775 => Self::ProtectorMade,
                776 => Self::ProtectorRemoved,
                513 | 782 | 845 => Self::SavedToDirectory,
                514 | 783 | 846 => Self::SavingFailed,
                _ => return None,
            })
        } else {
            None
        }
    }

    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoKeyFile => "no-key-file",
            Self::KeyFileCorrupt => "key-file-corrupt",
            Self::KeyFileWithoutKey => "key-file-without-key",
            Self::TpmNotEnabled => "tpm-not-enabled",
            Self::SrkInvalid => "srk-invalid",
            Self::PcrMismatch => "pcr-mismatch",
            Self::StartCheckFailed => "start-check-failed",
            Self::BootApplication => "boot-application",
            Self::PinWrong => "pin-wrong",
            Self::RecoveryPasswordWrong => "recovery-password-wrong",
            Self::MetadataTrouble => "metadata-trouble",
            Self::VolumeUnreadable => "volume-unreadable",
            Self::AutoUnlockFailed => "auto-unlock-failed",
            Self::AutoUnlockChanged => "auto-unlock-changed",
            Self::EncryptionStarted => "encryption-started",
            Self::Suspended => "suspended-by-windows",
            Self::Resumed => "resumed-by-windows",
            Self::ProtectorMade => "protector-made",
            Self::ProtectorRemoved => "protector-removed",
            Self::SavedToDirectory => "saved-to-directory",
            Self::SavingFailed => "saving-failed",
        }
    }
}

/// Who logs what is met at start.
const DRIVER: &str = "Microsoft-Windows-BitLocker-Driver";
/// Who logs what people and policies do.
const MANAGEMENT: &str = "Microsoft-Windows-BitLocker-API";

#[cfg(feature = "event-logs")]
mod reader;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_only_from_who_logs_it() {
        let driver = "microsoft-windows-bitlocker-driver";
        assert_eq!(EventKind::of(driver, 24601), Some(EventKind::PcrMismatch));
        assert_eq!(EventKind::of(driver, 773), None);
        assert_eq!(EventKind::of(MANAGEMENT, 773), Some(EventKind::Suspended));
        assert_eq!(
            EventKind::of("Microsoft-Windows-Kernel-General", 24601),
            None
        );
    }
}
