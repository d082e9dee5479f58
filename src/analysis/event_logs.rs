//! BitLocker's events in Windows' event logs, which are files on the volume itself
//! (docs/format-recovery.md §6.6).
//!
//! `System.evtx` has what the boot manager and the driver reported at startup; the log of BitLocker's
//! management has the actions of administrators and policies. With the feature `event-logs`,
//! `EventLogs::read` reads both from an unlocked NTFS volume. [`EventKind`] is the meaning of an event;
//! events without a known meaning are kept with their number.

use crate::format::time::FileTime;

/// The BitLocker events in the event logs of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventLogs {
    /// The logs that were looked for, and how reading each went.
    pub logs: Vec<Log>,
    /// The events of BitLocker's components, oldest first.
    pub events: Vec<LogEvent>,
    /// The last start of Windows in the logs.
    pub last_start: Option<FileTime>,
    /// The last regular shutdown of Windows in the logs.
    pub last_end: Option<FileTime>,
}

/// A log, and how reading it went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// Its path on the volume.
    pub path: String,
    /// How many records were read.
    pub records: u64,
    /// How many records could not be read.
    pub unreadable: u64,
    /// Why the log was not read, or not to its end; `None` if it was.
    pub fault: Option<String>,
}

/// An event of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEvent {
    /// When it was written.
    pub time: FileTime,
    /// The event ID, which has a meaning only together with the provider.
    pub id: u16,
    /// Name of the provider, the component that logged it.
    pub provider: String,
    /// Number of its record in the log.
    pub record: u64,
    /// Its meaning, if known.
    pub kind: Option<EventKind>,
    /// Names and values of its data, as text and in part shortened.
    pub values: Vec<(String, String)>,
}

impl EventLogs {
    /// The events of a kind.
    pub fn events_of(&self, kind: EventKind) -> impl Iterator<Item = &LogEvent> {
        let events = self.events.iter();
        events.filter(move |event| event.kind == Some(kind))
    }
}

/// The meaning of an event.
///
/// The driver's events (24585 to 24620) are described in Microsoft's pages on BitLocker's startup and
/// encryption events for Windows Server 2008 and 2008 R2; newer versions were not compared. Of the
/// management log, 513, 514 and 768 are in published pages. The other numbers are general knowledge and
/// were not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// 24596: no key file was found at start.
    NoKeyFile,
    /// 24597: a key file was corrupt.
    KeyFileCorrupt,
    /// 24598: a key file had no key for the volume.
    KeyFileWithoutKey,
    /// 24599: the TPM was not enabled.
    TpmNotEnabled,
    /// 24600: the TPM has another storage root key than before.
    SrkInvalid,
    /// 24601: the PCRs did not match.
    PcrMismatch,
    /// 24602 and 24604: another check at start failed.
    StartCheckFailed,
    /// 24603: the hash of a boot application did not match.
    BootApplication,
    /// 24605: the PIN was wrong.
    PinWrong,
    /// 24606: the recovery password was wrong.
    RecoveryPasswordWrong,
    /// 24610 to 24619: the metadata could not be read, written or rebuilt.
    MetadataTrouble,
    /// 24620: the volume's metadata could not be read.
    VolumeUnreadable,
    /// 24591: a data volume could not be unlocked automatically.
    AutoUnlockFailed,
    /// 24585 to 24590: automatic unlocking of a data volume was turned on or off.
    AutoUnlockChanged,
    /// 768: encryption was started.
    EncryptionStarted,
    /// 773: protection was suspended.
    Suspended,
    /// 774: protection was resumed.
    Resumed,
    /// 775: a key protector was made.
    ProtectorMade,
    /// 776: a key protector was removed.
    ProtectorRemoved,
    /// 513, 782 and 845: recovery information was saved in Active Directory or Azure AD.
    SavedToDirectory,
    /// 514, 783 and 846: recovery information could not be saved there.
    SavingFailed,
}

impl EventKind {
    /// The kinds that can be the cause of a recovery.
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

    /// The meaning of the event with this ID of a provider; `None` if it is not known.
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

/// The provider of events at startup.
const DRIVER: &str = "Microsoft-Windows-BitLocker-Driver";
/// The provider of events of BitLocker's management.
const MANAGEMENT: &str = "Microsoft-Windows-BitLocker-API";

#[cfg(feature = "event-logs")]
mod reader;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_has_a_meaning_only_with_its_provider() {
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
