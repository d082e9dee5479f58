//! `fve report`: what a volume tells of its history, and why Windows may have asked for its recovery
//! password (docs/format-recovery.md §6).
//!
//! JSON: `source` and `volume` (as `info` has them), `mode`, `starts_with`, `system`,
//! `pcr_profiles` (protector, pcrs, profile, bank), `windows` (major, minor, build, product,
//! release), `computer`, `recovery_password_asked_for`, `suspension` (since, reboots_left),
//! `protectors` (as `info` has them, with age_days), `consistency` (copies with last_written and
//! next_nonce, agree, sha256), `sealings` (next, present, gone), `timeline` (time, event, message,
//! protector, type, from), `findings` (finding, certainty, message, advice, protector, pcr, event,
//! count, last), `unlocked`, and `event_logs` (logs, events, last_start, last_end), null where none
//! were read.

use std::time::SystemTime;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::describe::{Report, field, line, protection_words, protectors_json};
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::source;
use crate::cli::options::source::Opened;
use crate::cli::options::source::SourceArgs;
use crate::cli::output::json as documents;
use crate::cli::output::term;
use crate::cli::output::term::tell;
use crate::cli::output::term::{escaped, human_size};
use crate::cli::run::{FailureDocument, Run};
use fve::analysis::{
    Analysis, Certainty, EventKind, EventLogs, Finding, FindingKind, Happening, Mode, Moment,
    ProfileKind, Windows,
};
use fve::format::copies::Copy;
use fve::format::protector::{KeyProtector, ProtectorKind};
use fve::format::time::FileTime;
use fve::volume::Unlocked;

/// Most logged events that the timeline shows to people.
const MAX_LOGGED: usize = 40;

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Answer with one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

impl Run for ReportArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }

    fn failure_document(&self) -> Option<FailureDocument> {
        self.json.then_some(crate::cli::output::json::failure)
    }
}

fn run(args: &ReportArgs) -> Result<(), Failure> {
    let opened = source::open(&args.source)?;
    // What can be told without a key is told even if the credentials do not fit.
    let (unlocked, failure) = match args.credentials.unlock_unasked(&opened.volume) {
        Ok(unlocked) => (unlocked, None),
        Err(failure) => (None, Some(failure)),
    };
    let logs = unlocked.as_ref().and_then(read_logs);
    let told = Told {
        analysis: Analysis::of(&opened.volume, logs.as_ref()),
        proved: unlocked.as_ref().is_some_and(Unlocked::is_proved),
        opened: &opened,
        unlocked: unlocked.is_some(),
        logs: logs.as_ref(),
    };
    term::print(&if args.json { told.json() } else { told.text() })?;
    let damaged = opened.volume.metadata().err().map(Failure::from);
    match failure.or(damaged) {
        None => Ok(()),
        Some(failure) => {
            tell(&failure);
            Err(Failure::Silent(failure.status()))
        }
    }
}

#[cfg(feature = "event-logs")]
fn read_logs(volume: &Unlocked) -> Option<EventLogs> {
    Some(fve::analysis::event_logs::read(volume))
}

#[cfg(not(feature = "event-logs"))]
fn read_logs(_: &Unlocked) -> Option<EventLogs> {
    None
}

/// All that is told, before it is put into words.
struct Told<'a> {
    analysis: Analysis,
    /// Whether the metadata is what was sealed with the volume master key.
    proved: bool,
    opened: &'a Opened,
    unlocked: bool,
    logs: Option<&'a EventLogs>,
}

impl Told<'_> {
    fn text(&self) -> String {
        let mut text = String::new();
        Report::of(self.opened).write_heading(&mut text);
        self.write_state(&mut text);
        self.write_protectors(&mut text);
        self.write_timeline(&mut text);
        self.write_consistency(&mut text);
        self.write_findings(&mut text);
        self.write_logs(&mut text);
        text
    }

    fn write_state(&self, text: &mut String) {
        let analysis = &self.analysis;
        let volume = &self.opened.volume;
        let status = volume.status();
        field(text, "Opened By:", &mode_words(analysis));
        field(
            text,
            "Protection Status:",
            &protection_words(status.protection),
        );
        field(text, "Conversion Status:", status.conversion.name());
        field(text, "Size:", &human_size(volume.source_size()));
        for profile in &analysis.profiles {
            let pcrs: Vec<_> = profile.pcrs.iter().map(u8::to_string).collect();
            let bank = profile.bank.map_or("unknown", |bank| bank.name());
            field(
                text,
                "PCR Profile:",
                &format!(
                    "{} ({}), {bank} bank, {}",
                    pcrs.join(", "),
                    profile_words(profile.kind),
                    profile.protector.short()
                ),
            );
        }
        if let Some(windows) = &analysis.windows {
            field(text, "Turned On By:", &windows_words(windows));
        }
        if let Some(computer) = &analysis.computer {
            field(text, "Computer:", &escaped(computer));
        }
        if let Some(id) = analysis.asked_for {
            field(
                text,
                "Password Asked For:",
                &format!("{} (of the recovery passwords, {{{id:X}}})", id.short()),
            );
        }
    }

    fn write_protectors(&self, text: &mut String) {
        line(text, format_args!("\nKey Protectors\n"));
        let now = FileTime::from_system_time(SystemTime::now());
        for protector in self.opened.volume.protectors() {
            let age = age_days(protector.changed, now);
            let age = age.map_or(String::new(), |days| format!(", {days} days ago"));
            field(
                text,
                &format!("{}:", protector.kind().name()),
                &format!(
                    "{{{:X}}}, of {}{age}{}",
                    protector.id,
                    protector.changed,
                    saved_words(protector)
                ),
            );
        }
    }

    fn write_timeline(&self, text: &mut String) {
        line(text, format_args!("\nTimeline\n"));
        let logged = |moment: &&Moment| moment.what.is_logged();
        let all = self.analysis.timeline.iter().filter(logged).count();
        let mut skip = all.saturating_sub(MAX_LOGGED);
        if skip > 0 {
            line(
                text,
                format_args!("    ({skip} earlier events of the logs: see --json)"),
            );
        }
        for moment in &self.analysis.timeline {
            if moment.what.is_logged() && skip > 0 {
                skip -= 1;
                continue;
            }
            line(
                text,
                format_args!(
                    "    {:<30} {}",
                    moment.time.to_string(),
                    moment_words(moment)
                ),
            );
        }
    }

    fn write_consistency(&self, text: &mut String) {
        line(text, format_args!("\nMetadata\n"));
        Report::of(self.opened).write_copies(text);
        let agree = if self.opened.volume.copies().disagree() {
            "the sound copies say different things"
        } else {
            "the sound copies say the same"
        };
        field(text, "Agreement:", agree);
        let hash = match (self.proved, self.unlocked) {
            (true, _) => "is that sealed with the volume master key",
            (false, true) => "not proved",
            (false, false) => "not compared: that takes a credential",
        };
        field(text, "SHA-256:", hash);
        let sealings = self.analysis.sealings;
        if let Some(gone) = sealings.gone() {
            field(
                text,
                "Sealed Entries:",
                &format!(
                    "{} on the volume; {gone} more were replaced or removed since it was set up",
                    sealings.present
                ),
            );
        }
    }

    fn write_findings(&self, text: &mut String) {
        line(text, format_args!("\nFindings"));
        let mut last = None;
        for finding in &self.analysis.findings {
            if last != Some(finding.certainty) {
                line(
                    text,
                    format_args!("\n  {}\n", certainty_words(finding.certainty)),
                );
                last = Some(finding.certainty);
            }
            line(
                text,
                format_args!("    * {}", finding_words(finding, &self.analysis)),
            );
            if let Some(advice) = advice(finding) {
                line(text, format_args!("      Advice: {advice}"));
            }
        }
        if self.analysis.findings.is_empty() {
            line(
                text,
                format_args!("\n    Nothing on the volume points to a cause."),
            );
        }
    }

    fn write_logs(&self, text: &mut String) {
        line(text, format_args!("\nEvent Logs\n"));
        let Some(logs) = self.logs else {
            let why = match (self.unlocked, cfg!(feature = "event-logs")) {
                (true, false) => "this program was built without the feature event-logs",
                _ => "not read: that takes a credential",
            };
            return line(text, format_args!("    {why}"));
        };
        for log in &logs.logs {
            let result = match &log.fault {
                Some(fault) => escaped(fault),
                None if log.unreadable > 0 => format!(
                    "{} records, {} more cannot be read",
                    log.records, log.unreadable
                ),
                None => format!("{} records", log.records),
            };
            line(text, format_args!("    {}: {result}", log.path));
        }
    }

    fn json(&self) -> String {
        let analysis = &self.analysis;
        let block = self.opened.volume.metadata_as_found();
        let report = Report::of(self.opened);
        documents::document(&json!({
            "source": report.source_json(),
            "volume": block.map(|block| report.volume_json(block)),
            "mode": analysis.mode.word(),
            "starts_with": analysis.starts_with.iter().map(|kind| kind.word()).collect::<Vec<_>>(),
            "system": analysis.system,
            "pcr_profiles": analysis.profiles.iter().map(|profile| json!({
                "protector": format!("{:X}", profile.protector),
                "pcrs": profile.pcrs,
                "profile": profile.kind.word(),
                "bank": profile.bank.map(|bank| bank.word()),
            })).collect::<Vec<_>>(),
            "windows": analysis.windows.map(|windows| json!({
                "major": windows.major,
                "minor": windows.minor,
                "build": windows.build,
                "product": windows.product(),
                "release": windows.release(),
            })),
            "computer": analysis.computer,
            "recovery_password_asked_for": analysis.asked_for.map(|id| format!("{id:X}")),
            "suspension": analysis.suspension.map(|suspension| json!({
                "since": suspension.since.to_string(),
                "reboots_left": suspension.reboots_left,
            })),
            "protectors": self.protectors_json(),
            "consistency": {
                "copies": self.opened.volume.copies().0.iter().map(copy_json).collect::<Vec<_>>(),
                "agree": !self.opened.volume.copies().disagree(),
                "sha256": match (self.proved, self.unlocked) {
                    (true, _) => "proved",
                    (false, true) => "not-proved",
                    (false, false) => "not-compared",
                },
            },
            "sealings": {
                "next": analysis.sealings.next,
                "present": analysis.sealings.present,
                "gone": analysis.sealings.gone(),
            },
            "timeline": analysis.timeline.iter().map(moment_json).collect::<Vec<_>>(),
            "findings": analysis.findings.iter().map(|finding| {
                finding_json(finding, analysis)
            }).collect::<Vec<_>>(),
            "unlocked": self.unlocked,
            "event_logs": self.logs.map(logs_json),
        }))
    }

    fn protectors_json(&self) -> Vec<Value> {
        let Some(block) = self.opened.volume.metadata_as_found() else {
            return Vec::new();
        };
        let now = FileTime::from_system_time(SystemTime::now());
        let mut protectors = protectors_json(block);
        for (value, protector) in protectors.iter_mut().zip(block.protectors()) {
            value["age_days"] = json!(age_days(protector.changed, now));
        }
        protectors
    }
}

/// Whole days from then to now; nothing for times that are none, or to come.
fn age_days(then: FileTime, now: FileTime) -> Option<u64> {
    const DAY: u64 = 24 * 60 * 60 * 10_000_000;
    then.system_time()?;
    Some(now.0.checked_sub(then.0)? / DAY)
}

fn saved_words(protector: &KeyProtector) -> String {
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

fn mode_words(analysis: &Analysis) -> String {
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

fn profile_words(kind: ProfileKind) -> &'static str {
    match kind {
        ProfileKind::SecureBoot => "Windows' Secure Boot profile: who signed what is started",
        ProfileKind::Uefi => "Windows' UEFI profile: firmware and boot manager themselves",
        ProfileKind::Bios => "Windows' BIOS profile",
        _ => "a profile of its own, set by a policy",
    }
}

fn windows_words(windows: &Windows) -> String {
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

fn moment_words(moment: &Moment) -> String {
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

fn certainty_words(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Certain => "Certain: the volume says so",
        Certainty::Likely => "Likely: it follows from what the volume says",
        _ => "Possible: it would make Windows ask, and leaves no trace here",
    }
}

fn finding_words(finding: &Finding, analysis: &Analysis) -> String {
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
fn advice(finding: &Finding) -> Option<&'static str> {
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

fn copy_json(copy: &Copy) -> Value {
    let block = copy.block.as_ref().ok();
    json!({
        "number": copy.number,
        "offset": copy.offset,
        "good": copy.fault().is_none(),
        "fault": copy.fault().map(|fault| fault.fault),
        "crc_matches": block.map(|block| block.validation.crc_matches),
        "last_written": block.and_then(|block| block.last_written()).map(|time| time.to_string()),
        "next_nonce": block.map(|block| block.dataset.next_nonce),
    })
}

fn moment_json(moment: &Moment) -> Value {
    json!({
        "time": moment.time.to_string(),
        "event": moment.what.word(),
        "message": moment_words(moment),
        "protector": moment.protector.map(|(id, _)| format!("{id:X}")),
        "type": moment.protector.map(|(_, kind)| kind.word()),
        "from": if moment.what.is_logged() { "event-log" } else { "metadata" },
    })
}

fn finding_json(finding: &Finding, analysis: &Analysis) -> Value {
    let (event, count, last) = match &finding.kind {
        FindingKind::Logged { kind, count, last } => {
            (Some(kind.word()), Some(*count), Some(last.to_string()))
        }
        _ => (None, None, None),
    };
    let pcr = match finding.kind {
        FindingKind::PcrChanged(pcr) => Some(pcr),
        _ => None,
    };
    json!({
        "finding": finding.kind.word(),
        "certainty": finding.certainty.word(),
        "message": finding_words(finding, analysis),
        "advice": advice(finding),
        "protector": finding.protector.map(|id| format!("{id:X}")),
        "pcr": pcr,
        "event": event,
        "count": count,
        "last": last,
    })
}

fn logs_json(logs: &EventLogs) -> Value {
    let events: Vec<_> = logs
        .events
        .iter()
        .map(|event| {
            let values: serde_json::Map<_, _> = event
                .values
                .iter()
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect();
            json!({
                "time": event.time.to_string(),
                "id": event.id,
                "provider": event.provider,
                "record": event.record,
                "meaning": event.kind.map(EventKind::word),
                "values": values,
            })
        })
        .collect();
    json!({
        "logs": logs.logs.iter().map(|log| json!({
            "path": log.path,
            "records": log.records,
            "unreadable": log.unreadable,
            "fault": log.fault,
        })).collect::<Vec<_>>(),
        "events": events,
        "last_start": logs.last_start.map(|time| time.to_string()),
        "last_end": logs.last_end.map(|time| time.to_string()),
    })
}
