//! The words of the report: findings, advice and events in sentences.

use fve::analysis::{
    Analysis, Certainty, EventKind, Finding, FindingKind, Happening, Mode, Moment, ProfileKind,
    Windows,
};
use fve::format::protector::{KeyProtector, ProtectorKind};

pub(super) fn saved_words(protector: &KeyProtector) -> String {
    match protector.backup() {
        Some(backup) => format!("; saved (kind {}) on {}", backup.kind, backup.last),
        None if protector.kind() == ProtectorKind::RecoveryPassword => {
            "; no sign that it was ever saved".to_owned()
        }
        None => String::new(),
    }
}

/// Where the library tells of something that this program was not written for.
const NO_WORDS: &str = "something that this program has no words for";

pub(super) fn mode_words(analysis: &Analysis) -> String {
    let names: Vec<_> = analysis
        .starts_with
        .iter()
        .map(|kind| kind.name())
        .collect();
    match analysis.mode {
        Mode::Unknown => "not known: the metadata tell of no protector".to_owned(),
        Mode::Decrypted => "nothing: it is not encrypted".to_owned(),
        Mode::Unprotected => "anybody: its only key lies on the disk in the open".to_owned(),
        Mode::Suspended if names.is_empty() => {
            "anybody, while protection is suspended; else a recovery password only".to_owned()
        }
        Mode::Suspended => format!(
            "anybody, while protection is suspended; else {}",
            names.join(", ")
        ),
        Mode::RecoveryOnly => "a recovery password only".to_owned(),
        Mode::Starts(_) => names.join(", "),
        _ => NO_WORDS.to_owned(),
    }
}

pub(super) fn profile_words(kind: ProfileKind) -> &'static str {
    match kind {
        ProfileKind::SecureBoot => "Windows' Secure Boot profile: who signed what is started",
        ProfileKind::Uefi => "Windows' UEFI profile: firmware and boot manager themselves",
        ProfileKind::Bios => "Windows' BIOS profile",
        _ => "a profile of its own, set by a policy",
    }
}

pub(super) fn windows_words(windows: &Windows) -> String {
    let mut words = format!(
        "Windows {}.{} build {}",
        windows.major, windows.minor, windows.build
    );
    if let Some(release) = windows.release() {
        words = format!("{words} ({release})");
    }
    if let Some(product) = windows.product() {
        words = format!("{words}, {}", product.replace('-', " "));
    }
    words
}

pub(super) fn moment_words(moment: &Moment) -> String {
    let what = match moment.what {
        Happening::TurnedOn => "BitLocker was turned on".to_owned(),
        Happening::ProtectorChanged => "made or last changed".to_owned(),
        Happening::Suspended => {
            "a clear key was written: protection suspended, or not on yet".to_owned()
        }
        Happening::FirstSaved => "first saved".to_owned(),
        Happening::LastSaved => "saved".to_owned(),
        Happening::Resealed => "keys sealed anew".to_owned(),
        Happening::Written => "metadata last written".to_owned(),
        Happening::Logged(kind) => format!("(log) {}", event_words(kind)),
        Happening::WindowsStarted => "(log) Windows last started".to_owned(),
        Happening::WindowsEnded => "(log) Windows last ended in good order".to_owned(),
        _ => NO_WORDS.to_owned(),
    };
    match moment.protector {
        Some((id, kind)) => format!("{} {}: {what}", kind.name(), id.short()),
        None => what,
    }
}

fn event_words(kind: EventKind) -> &'static str {
    match kind {
        EventKind::NoKeyFile => "no startup key was found at start (24596)",
        EventKind::KeyFileCorrupt => "the startup key that was found was corrupt (24597)",
        EventKind::KeyFileWithoutKey => {
            "the startup key that was found held no key of this volume (24598)"
        }
        EventKind::TpmNotEnabled => "the TPM was off or missing at start (24599)",
        EventKind::SrkInvalid => "the TPM's storage root key was not the one of before (24600)",
        EventKind::PcrMismatch => {
            "what was measured at start was not what the key is sealed to (24601)"
        }
        EventKind::StartCheckFailed => "a check at start failed (24602 or 24604)",
        EventKind::BootApplication => "a boot application was not the one of before (24603)",
        EventKind::PinWrong => "a PIN opened nothing (24605)",
        EventKind::RecoveryPasswordWrong => "a recovery password opened nothing (24606)",
        EventKind::MetadataTrouble => {
            "a copy of the metadata could not be read or written (24610 to 24619)"
        }
        EventKind::VolumeUnreadable => "the metadata of a volume could not be read (24620)",
        EventKind::AutoUnlockFailed => "a data volume did not unlock by itself (24591)",
        EventKind::AutoUnlockChanged => {
            "unlocking a data volume by itself was turned on or off (24585 to 24590)"
        }
        EventKind::EncryptionStarted => "encryption was started (768)",
        EventKind::Suspended => "protection was suspended (773)",
        EventKind::Resumed => "protection was resumed (774)",
        EventKind::ProtectorMade => "a key protector was made (775)",
        EventKind::ProtectorRemoved => "a key protector was removed (776)",
        EventKind::SavedToDirectory => {
            "recovery information was saved in a directory (513, 782 or 845)"
        }
        EventKind::SavingFailed => {
            "saving recovery information in a directory failed (514, 783 or 846)"
        }
        _ => NO_WORDS,
    }
}

pub(super) fn certainty_words(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Certain => "Certain: the volume says so",
        Certainty::Likely => "Likely: it follows from what the volume says",
        _ => "Possible: it would make Windows ask, and leaves no trace here",
    }
}

pub(super) fn finding_words(finding: &Finding, analysis: &Analysis) -> String {
    let of = finding
        .protector
        .map(|id| format!(" (protector {})", id.short()))
        .unwrap_or_default();
    let what = match &finding.kind {
        FindingKind::NotEncrypted => {
            "Nothing on the volume is encrypted: there is nothing to recover".to_owned()
        }
        FindingKind::Unprotected => {
            "The volume is encrypted but not protected: no recovery password is asked for".to_owned()
        }
        FindingKind::Suspended => suspension_words(analysis),
        FindingKind::RecoveryOnly => "Nothing but a recovery password opens the volume, so that Windows asks for it at every start: the other protectors were removed, as by 'manage-bde -forcerecovery'".to_owned(),
        FindingKind::MetadataUnreadable => {
            "No copy of the metadata can be read; Windows cannot open the volume with anything".to_owned()
        }
        FindingKind::CopiesDamaged(copies) => {
            let numbers: Vec<_> = copies.iter().map(u8::to_string).collect();
            format!("Damaged copies of the metadata: {}", numbers.join(", "))
        }
        FindingKind::CopiesDiffer => "Sound copies of the metadata say different things: an update was interrupted, or they were changed".to_owned(),
        FindingKind::Converting(status) => {
            format!("The volume is between two states: {}", status.name())
        }
        FindingKind::PinRequired => {
            "The PIN is asked for at every start; without it only recovery is left".to_owned()
        }
        FindingKind::StartupKeyRequired(file) if finding.certainty == Certainty::Certain => {
            format!("The startup key {file} is required at every start")
        }
        FindingKind::StartupKeyRequired(file) => {
            format!("The startup key {file} is required where nothing else is given")
        }
        FindingKind::PasswordRequired => "The password opens the volume; without it only recovery is left".to_owned(),
        FindingKind::NetworkRequired => {
            "Network Unlock: the server did not answer, or no longer has its certificate".to_owned()
        }
        FindingKind::PcrChanged(pcr) => format!("PCR {pcr} changed: {}", pcr_words(*pcr)),
        FindingKind::TpmUnavailable => "The TPM was cleared, turned off, hidden or locked by wrong PINs, its firmware updated, or the disk moved to another computer".to_owned(),
        FindingKind::TpmObjectUnsound => {
            "What is sealed to the TPM is not consistent: no TPM would open it".to_owned()
        }
        FindingKind::NeverSaved => {
            "The metadata do not say that this recovery password was ever saved; Windows before version 1903 never says so".to_owned()
        }
        FindingKind::Logged { kind, count, last } => format!(
            "Windows logged {count} time{}, last on {last}: {}",
            if *count == 1 { "" } else { "s" },
            event_words(*kind)
        ),
        _ => NO_WORDS.to_owned(),
    };
    format!("{what}{of}.")
}

fn suspension_words(analysis: &Analysis) -> String {
    let Some(suspension) = analysis.suspension else {
        return "Protection is suspended".to_owned();
    };
    let until = match suspension.reboots_left {
        Some(0) | None => "until somebody resumes it".to_owned(),
        Some(1) => "for one more start of Windows".to_owned(),
        Some(count) => format!("for {count} more starts of Windows"),
    };
    format!(
        "Protection is suspended since {}, {until}; meanwhile no recovery password is asked for, and anybody can read the volume",
        suspension.since
    )
}

/// What would have changed a PCR, in the guide's terms (docs/format-recovery.md §6.5).
fn pcr_words(pcr: u8) -> &'static str {
    match pcr {
        0 => "the firmware was updated",
        1 => "settings of the firmware were changed",
        2 => "a card, a dock or another device with firmware of its own came, went or was updated",
        3 => "settings of such a device were changed",
        4 => {
            "another boot manager was started, or an updated one: boot order, a boot medium, a second system"
        }
        5 => "the partition table was changed",
        7 => {
            "Secure Boot was turned on or off, its keys (db, dbx) were updated, or something with another signer was started"
        }
        8..=10 => "boot sector, boot block or boot manager of a BIOS start were changed",
        _ => "what it stands for changed; a policy bound the key to it",
    }
}

/// What the guides say to do about it.
pub(super) fn advice(finding: &Finding) -> Option<&'static str> {
    /// What makes the TPM accept the computer as it is.
    const RESEAL: &str = "once Windows runs and the change is known to be wanted, suspend protection and resume it: that seals the key to the computer as it is now.";
    Some(match &finding.kind {
        FindingKind::PcrChanged(0..=3) => {
            "suspend protection before firmware or hardware is changed, and resume it afterwards; if that was not done, use the recovery password once, then suspend and resume."
        }
        FindingKind::PcrChanged(_) => RESEAL,
        FindingKind::TpmUnavailable => {
            "turn the TPM on again, or move the disk back; after a lasting change (new board, cleared TPM) use the recovery password, remove the TPM protector and add it anew."
        }
        FindingKind::TpmObjectUnsound => {
            "use the recovery password, remove the TPM protector and add it anew."
        }
        FindingKind::PinRequired => {
            "if the PIN is forgotten, use the recovery password and set another PIN; digits beyond a first lockout are counted by the TPM, which forgives them with time."
        }
        FindingKind::StartupKeyRequired(_) => {
            "look for the file on USB media and in saved copies; if it is lost, use the recovery password, then make a new startup key and a copy of it."
        }
        FindingKind::PasswordRequired => {
            "if it is forgotten, use the recovery password and set another one."
        }
        FindingKind::NetworkRequired => {
            "look at the server, its certificate and the cable; a start without the network asks for the PIN."
        }
        FindingKind::RecoveryOnly => {
            "after one start with the recovery password add a TPM protector (or another one) again."
        }
        FindingKind::Suspended => {
            "resume protection when the work that it was suspended for is done."
        }
        FindingKind::Unprotected => "turn protection on, or decrypt the volume.",
        FindingKind::CopiesDamaged(_) | FindingKind::CopiesDiffer => {
            "save the data first; 'fve metadata backup' keeps what is there. Windows rebuilds bad copies from a good one."
        }
        FindingKind::MetadataUnreadable => {
            "work on an image of the disk; a backup of the metadata brings the volume back."
        }
        FindingKind::Converting(_) => "let Windows finish, with a power supply connected.",
        FindingKind::NeverSaved => {
            "once the volume is open, save the recovery password where it will be found."
        }
        FindingKind::Logged { kind, .. } => return event_advice(*kind).or(Some(RESEAL)),
        _ => return None,
    })
}

fn event_advice(kind: EventKind) -> Option<&'static str> {
    Some(match kind {
        EventKind::NoKeyFile | EventKind::KeyFileCorrupt | EventKind::KeyFileWithoutKey => {
            "insert the medium with the startup key before the start, and see that the firmware reads it; keep a second copy, or make a new startup key."
        }
        EventKind::TpmNotEnabled => {
            "turn the TPM on in the firmware's settings; after a new board add the TPM protector anew."
        }
        EventKind::SrkInvalid => {
            "the TPM was cleared or is another one: remove the TPM protector and add it anew."
        }
        EventKind::PinWrong => "if the PIN is forgotten, set another one.",
        EventKind::RecoveryPasswordWrong => {
            "compare the password's identifier with that on the screen; 'fve recovery check' finds slips."
        }
        EventKind::MetadataTrouble | EventKind::VolumeUnreadable => {
            "look at the health of the disk, and save the data."
        }
        _ => return None,
    })
}
