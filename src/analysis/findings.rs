//! Conclusions from the facts of a volume, each with a degree of certainty (docs/format-recovery.md
//! §6.1, §6.5 and §6.6).

use super::event_logs::{EventKind, EventLogs};
use super::{Analysis, Mode};
use crate::format::block::MetadataBlock;
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::format::time::FileTime;
use crate::guid::Guid;
use crate::tpm::{LOCK, Policy};
use crate::volume::{Conversion, Volume};

/// How certain a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Certainty {
    /// The volume's data states it.
    Certain,
    /// It follows from the volume's data, unless something unusual was done.
    Likely,
    /// It would explain the recovery, but leaves no trace on the volume.
    Possible,
}

impl Certainty {
    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Possible => "possible",
        }
    }
}

/// A possible reason for the recovery prompt, or a fact about the volume that bears on it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The reason or fact, with its details.
    pub kind: FindingKind,
    /// How certain it is.
    pub certainty: Certainty,
    /// Identifier of the key protector that it concerns, if any.
    pub protector: Option<Guid>,
}

/// A kind of conclusion.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// The volume is not encrypted, so there is nothing to recover.
    NotEncrypted,
    /// The volume is encrypted, but its only key protector is a clear key.
    Unprotected,
    /// Protection is suspended; see [`Analysis::suspension`].
    Suspended,
    /// Only a recovery password unlocks the volume, so Windows asks for it at every start. This is the
    /// effect of `manage-bde -forcerecovery`, or of removing the TPM protectors.
    RecoveryOnly,
    /// No copy of the metadata can be read.
    MetadataUnreadable,
    /// Some copies of the metadata are damaged; their numbers, from 1.
    CopiesDamaged(Vec<u8>),
    /// Copies of the metadata that pass their checks have different content: an update was interrupted.
    CopiesDiffer,
    /// The volume is being encrypted or decrypted.
    Converting(Conversion),
    /// Windows asks for a PIN at startup.
    PinRequired,
    /// Windows asks for a startup key at startup; the name of its file.
    StartupKeyRequired(String),
    /// Windows asks for a password.
    PasswordRequired,
    /// A Network Unlock server must answer at startup.
    NetworkRequired,
    /// A change of the measurements in this PCR would keep the TPM from releasing the key.
    PcrChanged(u8),
    /// The TPM may be missing, disabled, cleared, locked or replaced.
    TpmUnavailable,
    /// The object sealed to the TPM is inconsistent; no TPM can release its key.
    TpmObjectUnsound,
    /// The metadata does not record that this recovery password was ever saved.
    NeverSaved,
    /// Events of this kind are in the event logs.
    Logged {
        /// Kind of the events.
        kind: EventKind,
        /// Number of the events.
        count: usize,
        /// Time of the last one.
        last: FileTime,
    },
}

impl FindingKind {
    /// A stable word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotEncrypted => "not-encrypted",
            Self::Unprotected => "unprotected",
            Self::Suspended => "suspended",
            Self::RecoveryOnly => "recovery-only",
            Self::MetadataUnreadable => "metadata-unreadable",
            Self::CopiesDamaged(_) => "copies-damaged",
            Self::CopiesDiffer => "copies-differ",
            Self::Converting(_) => "converting",
            Self::PinRequired => "pin-required",
            Self::StartupKeyRequired(_) => "startup-key-required",
            Self::PasswordRequired => "password-required",
            Self::NetworkRequired => "network-required",
            Self::PcrChanged(_) => "pcr-changed",
            Self::TpmUnavailable => "tpm-unavailable",
            Self::TpmObjectUnsound => "tpm-object-unsound",
            Self::NeverSaved => "never-saved",
            Self::Logged { .. } => "logged",
        }
    }
}

struct Findings<'a> {
    analysis: &'a Analysis,
    found: Vec<Finding>,
}

pub(super) fn of(
    analysis: &Analysis,
    volume: &Volume,
    block: Option<&MetadataBlock>,
    logs: Option<&EventLogs>,
) -> Vec<Finding> {
    let mut findings = Findings {
        analysis,
        found: Vec::new(),
    };
    if let Some(logs) = logs {
        findings.logged(logs);
    }
    findings.mode();
    findings.metadata(volume);
    for protector in block.into_iter().flat_map(MetadataBlock::protectors) {
        findings.protector(protector, logs);
    }
    let mut found = findings.found;
    found.sort_by_key(|finding| finding.certainty);
    found
}

impl Findings<'_> {
    fn push(&mut self, certainty: Certainty, kind: FindingKind, protector: Option<Guid>) {
        let finding = Finding {
            kind,
            certainty,
            protector,
        };
        if !self.found.contains(&finding) {
            self.found.push(finding);
        }
    }

    fn mode(&mut self) {
        let kind = match self.analysis.mode {
            Mode::Decrypted => FindingKind::NotEncrypted,
            Mode::Unprotected => FindingKind::Unprotected,
            Mode::Suspended => FindingKind::Suspended,
            Mode::RecoveryOnly => FindingKind::RecoveryOnly,
            Mode::Unknown | Mode::Starts(_) => return,
        };
        self.push(Certainty::Certain, kind, None);
    }

    fn metadata(&mut self, volume: &Volume) {
        let copies = volume.copies();
        let damaged: Vec<_> = copies.faults().iter().map(|fault| fault.copy).collect();
        if volume.metadata_as_found().is_none() {
            self.push(Certainty::Certain, FindingKind::MetadataUnreadable, None);
        } else if !damaged.is_empty() {
            self.push(
                Certainty::Certain,
                FindingKind::CopiesDamaged(damaged),
                None,
            );
        }
        if copies.disagree() {
            self.push(Certainty::Certain, FindingKind::CopiesDiffer, None);
        }
        let conversion = volume.status().conversion;
        let done = matches!(
            conversion,
            Conversion::FullyEncrypted | Conversion::FullyDecrypted | Conversion::Unknown
        );
        if !done {
            self.push(
                Certainty::Certain,
                FindingKind::Converting(conversion),
                None,
            );
        }
    }

    fn protector(&mut self, protector: &KeyProtector, logs: Option<&EventLogs>) {
        let kind = protector.kind();
        let id = Some(protector.id);
        // While there is a clear key, Windows asks for nothing else.
        let asked = self.analysis.suspension.is_none() && self.analysis.mode != Mode::Decrypted;
        let system = self.analysis.system != Some(false);
        if asked {
            if matches!(
                kind,
                ProtectorKind::TpmPin | ProtectorKind::TpmPinStartupKey
            ) {
                self.push(Certainty::Certain, FindingKind::PinRequired, id);
            }
            let file = matches!(
                kind,
                ProtectorKind::ExternalKey
                    | ProtectorKind::TpmStartupKey
                    | ProtectorKind::TpmPinStartupKey
            );
            if file {
                self.startup_key(protector);
            }
            match kind {
                ProtectorKind::Password => {
                    self.push(Certainty::Certain, FindingKind::PasswordRequired, id);
                }
                ProtectorKind::Network => {
                    self.push(Certainty::Possible, FindingKind::NetworkRequired, id);
                }
                _ => {}
            }
        }
        if kind == ProtectorKind::RecoveryPassword && protector.backup().is_none() {
            self.push(Certainty::Likely, FindingKind::NeverSaved, id);
        }
        if asked && system && kind.uses_tpm() {
            self.tpm(protector, logs);
        }
    }

    fn startup_key(&mut self, protector: &KeyProtector) {
        let mut others = self.analysis.starts_with.iter();
        let alone = protector.kind() != ProtectorKind::ExternalKey
            || others.all(|kind| *kind == ProtectorKind::ExternalKey);
        // Together with a TPM protector, an external key is a recovery key, not a startup key.
        let beside_tpm = !alone && self.analysis.starts_with.iter().any(|kind| kind.uses_tpm());
        if !beside_tpm {
            let certainty = if alone {
                Certainty::Certain
            } else {
                Certainty::Likely
            };
            let file = format!("{:X}.BEK", protector.id);
            self.push(
                certainty,
                FindingKind::StartupKeyRequired(file),
                Some(protector.id),
            );
        }
    }

    fn tpm(&mut self, protector: &KeyProtector, logs: Option<&EventLogs>) {
        let id = Some(protector.id);
        let Some(blob) = protector.tpm() else {
            return;
        };
        if let Ok(object) = &blob.sealed
            && Policy::solve(object).is_none()
        {
            self.push(Certainty::Certain, FindingKind::TpmObjectUnsound, id);
        }
        let logged = |kind| logs.is_some_and(|logs| logs.events_of(kind).next().is_some());
        let of_pcrs = if logged(EventKind::PcrMismatch) {
            Certainty::Likely
        } else {
            Certainty::Possible
        };
        // PCR 11 is BitLocker's access control: it is zero whenever the boot manager asks the TPM, so it
        // cannot be the cause.
        for pcr in blob.pcrs().into_iter().filter(|pcr| *pcr != LOCK) {
            self.push(of_pcrs, FindingKind::PcrChanged(pcr), id);
        }
        self.push(Certainty::Possible, FindingKind::TpmUnavailable, id);
    }

    /// Adds the logged events that keep Windows from unlocking the volume, one finding for each kind.
    fn logged(&mut self, logs: &EventLogs) {
        for kind in EventKind::CAUSES {
            let times: Vec<_> = logs.events_of(kind).map(|event| event.time).collect();
            if let Some(last) = times.iter().max() {
                let finding = FindingKind::Logged {
                    kind,
                    count: times.len(),
                    last: *last,
                };
                self.push(Certainty::Certain, finding, None);
            }
        }
    }
}
