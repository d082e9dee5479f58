//! The sentences of the report: states, events, findings and advice.

use fve::analysis::{
    Analysis, Certainty, EventKind, Finding, FindingKind, Happening, Mode, Moment, ProfileKind,
    Windows,
};
use fve::format::protector::{KeyProtector, ProtectorKind};

pub(super) fn saved_words(protector: &KeyProtector) -> String {
    match protector.backup() {
        Some(backup) => format!("; backed up (kind {}) on {}", backup.kind, backup.last),
        None if protector.kind() == ProtectorKind::RecoveryPassword => {
            "; no backup recorded".to_owned()
        }
        None => String::new(),
    }
}

/// Used for values that a newer library may add.
const UNDESCRIBED: &str = "something that this version of fve cannot describe";

pub(super) fn mode_words(analysis: &Analysis) -> String {
    let names: Vec<_> = analysis
        .starts_with
        .iter()
        .map(|kind| kind.name())
        .collect();
    match analysis.mode {
        Mode::Unknown => "unknown: the metadata lists no key protector".to_owned(),
        Mode::Decrypted => "nothing: the volume is not encrypted".to_owned(),
        Mode::Unprotected => "anyone: its only key is stored unencrypted on the disk".to_owned(),
        Mode::Suspended if names.is_empty() => {
            "anyone, while protection is suspended; otherwise a recovery password only".to_owned()
        }
        Mode::Suspended => format!(
            "anyone, while protection is suspended; otherwise {}",
            names.join(", ")
        ),
        Mode::RecoveryOnly => "a recovery password only".to_owned(),
        Mode::Starts(_) => names.join(", "),
        _ => UNDESCRIBED.to_owned(),
    }
}

pub(super) fn profile_words(kind: ProfileKind) -> &'static str {
    match kind {
        ProfileKind::SecureBoot => {
            "the Secure Boot profile of Windows: the signers of the boot programs"
        }
        ProfileKind::Uefi => {
            "the UEFI profile of Windows: the firmware and the boot manager themselves"
        }
        ProfileKind::Bios => "the BIOS profile of Windows",
        _ => "a custom profile, set by a policy",
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
        Happening::ProtectorChanged => "created or last changed".to_owned(),
        Happening::Suspended => {
            "a clear key was written: protection was suspended, or not turned on yet".to_owned()
        }
        Happening::FirstSaved => "first backed up".to_owned(),
        Happening::LastSaved => "last backed up".to_owned(),
        Happening::Resealed => "keys were sealed again".to_owned(),
        Happening::Written => "metadata last written".to_owned(),
        Happening::Logged(kind) => format!("(log) {}", event_words(kind)),
        Happening::WindowsStarted => "(log) Windows last started".to_owned(),
        Happening::WindowsEnded => "(log) Windows last shut down cleanly".to_owned(),
        _ => UNDESCRIBED.to_owned(),
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
            "the startup key that was found was not for this volume (24598)"
        }
        EventKind::TpmNotEnabled => "the TPM was off or missing at start (24599)",
        EventKind::SrkInvalid => "the storage root key of the TPM had changed (24600)",
        EventKind::PcrMismatch => {
            "the PCR values at start were not those that the key is sealed to (24601)"
        }
        EventKind::StartCheckFailed => "a check at start failed (24602 or 24604)",
        EventKind::BootApplication => "a boot application had changed (24603)",
        EventKind::PinWrong => "a wrong PIN was entered (24605)",
        EventKind::RecoveryPasswordWrong => "a wrong recovery password was entered (24606)",
        EventKind::MetadataTrouble => {
            "a copy of the metadata could not be read or written (24610 to 24619)"
        }
        EventKind::VolumeUnreadable => "the metadata of a volume could not be read (24620)",
        EventKind::AutoUnlockFailed => "automatic unlocking of a data volume failed (24591)",
        EventKind::AutoUnlockChanged => {
            "automatic unlocking of a data volume was turned on or off (24585 to 24590)"
        }
        EventKind::EncryptionStarted => "encryption was started (768)",
        EventKind::Suspended => "protection was suspended (773)",
        EventKind::Resumed => "protection was resumed (774)",
        EventKind::ProtectorMade => "a key protector was created (775)",
        EventKind::ProtectorRemoved => "a key protector was removed (776)",
        EventKind::SavedToDirectory => {
            "recovery information was backed up to a directory server (513, 782 or 845)"
        }
        EventKind::SavingFailed => {
            "the backup of recovery information to a directory server failed (514, 783 or 846)"
        }
        _ => UNDESCRIBED,
    }
}

pub(super) fn certainty_words(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Certain => "Certain: recorded on the volume",
        Certainty::Likely => "Likely: follows from what is recorded on the volume",
        _ => {
            "Possible: makes Windows ask for a recovery password, and leaves no trace on the volume"
        }
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
        FindingKind::RecoveryOnly => "Only a recovery password unlocks the volume, so Windows asks for it at every start: the other key protectors were removed, for example by 'manage-bde -forcerecovery'".to_owned(),
        FindingKind::MetadataUnreadable => {
            "No copy of the metadata can be read, so Windows cannot unlock the volume with any key".to_owned()
        }
        FindingKind::CopiesDamaged(copies) => {
            let numbers: Vec<_> = copies.iter().map(u8::to_string).collect();
            format!("Damaged copies of the metadata: {}", numbers.join(", "))
        }
        FindingKind::CopiesDiffer => "Intact copies of the metadata differ: an update was interrupted, or they were modified".to_owned(),
        FindingKind::Converting(status) => {
            format!("The volume is being converted: {}", status.name())
        }
        FindingKind::PinRequired => {
            "Windows asks for the PIN at every start; without it, only a recovery password works".to_owned()
        }
        FindingKind::StartupKeyRequired(file) if analysis.system == Some(true) => {
            format!("The startup key {file} is required at every start")
        }
        FindingKind::StartupKeyRequired(file) if finding.certainty == Certainty::Certain => {
            format!("The external key {file} is required at every start; on a data volume, it is most often the key with which Windows unlocks the volume automatically")
        }
        FindingKind::StartupKeyRequired(file) => {
            format!("On a data volume, the external key {file} is most often the key with which Windows unlocks the volume automatically; on the volume of Windows itself, it is the startup key, required unless another credential is given")
        }
        FindingKind::PasswordRequired => "The password unlocks the volume; without it, only a recovery password works".to_owned(),
        FindingKind::NetworkRequired => {
            "Network Unlock failed: the server did not answer, or no longer has its certificate".to_owned()
        }
        FindingKind::PcrChanged(pcr) => format!("PCR {pcr} changed: {}", pcr_words(*pcr)),
        FindingKind::TpmUnavailable => "The TPM was cleared, turned off, hidden, or locked after wrong PINs, its firmware was updated, or the disk was moved to another computer".to_owned(),
        FindingKind::TpmObjectUnsound => {
            "The object sealed to the TPM is inconsistent: no TPM would release its key".to_owned()
        }
        FindingKind::NeverSaved => {
            "The metadata does not record that this recovery password was ever backed up; versions of Windows before 1903 never record it".to_owned()
        }
        FindingKind::Logged { kind, count, last } => format!(
            "Windows logged {count} time{}, last on {last}: {}",
            if *count == 1 { "" } else { "s" },
            event_words(*kind)
        ),
        _ => UNDESCRIBED.to_owned(),
    };
    format!("{what}{of}.")
}

fn suspension_words(analysis: &Analysis) -> String {
    let Some(suspension) = analysis.suspension else {
        return "Protection is suspended".to_owned();
    };
    let until = match suspension.reboots_left {
        Some(0) | None => "until it is resumed".to_owned(),
        Some(1) => "for one more start of Windows".to_owned(),
        Some(count) => format!("for {count} more starts of Windows"),
    };
    format!(
        "Protection has been suspended since {}, {until}; meanwhile Windows asks for no recovery password, and anyone can read the volume",
        suspension.since
    )
}

/// Likely causes of a changed PCR, in the terms of Microsoft's guide (docs/format-recovery.md
/// §6.5).
fn pcr_words(pcr: u8) -> &'static str {
    match pcr {
        0 => "the firmware was updated",
        1 => "the settings of the firmware were changed",
        2 => "a card, dock or other device that has its own firmware was added, removed or updated",
        3 => "settings of a device that has its own firmware were changed",
        4 => {
            "another or an updated boot manager was started, for example after a change of the boot order, from another boot medium, or for a second system"
        }
        5 => "the partition table was changed",
        7 => {
            "Secure Boot was turned on or off, its keys (db, dbx) were updated, or a program with another signer was started"
        }
        8..=10 => "the boot sector, boot block or boot manager of a BIOS start was changed",
        _ => "what it measures has changed; a policy bound the key to it",
    }
}

/// What Microsoft's guides advise about a finding.
pub(super) fn advice(finding: &Finding) -> Option<&'static str> {
    /// Makes the TPM accept the current state of the computer.
    const RESEAL: &str = "once Windows runs and you know that the change was intended, suspend protection and resume it: this seals the key to the current state of the computer.";
    Some(match &finding.kind {
        FindingKind::PcrChanged(0..=3) => {
            "suspend protection before you change firmware or hardware, and resume it afterwards; if you did not, use the recovery password once, then suspend and resume protection."
        }
        FindingKind::PcrChanged(_) => RESEAL,
        FindingKind::TpmUnavailable => {
            "turn the TPM on again, or move the disk back; after a permanent change (new board, cleared TPM), use the recovery password, remove the TPM protector and add a new one."
        }
        FindingKind::TpmObjectUnsound => {
            "use the recovery password, remove the TPM protector and add a new one."
        }
        FindingKind::PinRequired => {
            "if the PIN is forgotten, use the recovery password and set a new PIN; if the TPM is locked after wrong PINs, wait until it accepts one again."
        }
        FindingKind::StartupKeyRequired(_) => {
            "for a data volume, --auto-unlock-from reads the key from the volume of Windows; otherwise look for the file on USB media and in backups; if it is lost, use the recovery password, then create a new startup key and keep a copy of it."
        }
        FindingKind::PasswordRequired => {
            "if it is forgotten, use the recovery password and set a new one."
        }
        FindingKind::NetworkRequired => {
            "check the server, its certificate and the network cable; without the network, Windows asks for the PIN."
        }
        FindingKind::RecoveryOnly => {
            "start once with the recovery password, then add a TPM protector or another one."
        }
        FindingKind::Suspended => "resume protection when the work it was suspended for is done.",
        FindingKind::Unprotected => "turn protection on, or decrypt the volume.",
        FindingKind::CopiesDamaged(_) | FindingKind::CopiesDiffer => {
            "first save the data; 'fve metadata backup' saves the current metadata. Windows rebuilds bad copies from a good one."
        }
        FindingKind::MetadataUnreadable => {
            "work on an image of the disk; a backup of the metadata can be restored."
        }
        FindingKind::Converting(_) => "let Windows finish, with the power supply connected.",
        FindingKind::NeverSaved => {
            "once the volume is unlocked, save the recovery password in a place where you will find it."
        }
        FindingKind::Logged { kind, .. } => return event_advice(*kind).or(Some(RESEAL)),
        _ => return None,
    })
}

fn event_advice(kind: EventKind) -> Option<&'static str> {
    Some(match kind {
        EventKind::NoKeyFile | EventKind::KeyFileCorrupt | EventKind::KeyFileWithoutKey => {
            "insert the medium with the startup key before the start, and check that the firmware can read it; keep a second copy, or create a new startup key."
        }
        EventKind::TpmNotEnabled => {
            "turn the TPM on in the settings of the firmware; if the board was replaced, add a new TPM protector."
        }
        EventKind::SrkInvalid => {
            "the TPM was cleared or replaced: remove the TPM protector and add a new one."
        }
        EventKind::PinWrong => "if the PIN is forgotten, set a new one.",
        EventKind::RecoveryPasswordWrong => {
            "compare the ID of the password with the one on the screen; 'fve recovery check' finds typing errors."
        }
        EventKind::MetadataTrouble | EventKind::VolumeUnreadable => {
            "check the health of the disk, and save the data."
        }
        _ => return None,
    })
}
