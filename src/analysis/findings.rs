//! What follows from what a volume tells, with a grade of certainty (docs/format-recovery.md §6.1,
//! §6.5 and §6.6).

use super::event_logs::{EventKind, EventLogs};
use super::{Analysis, Mode};
use crate::format::block::MetadataBlock;
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::format::time::FileTime;
use crate::guid::Guid;
use crate::tpm::{LOCK, Policy};
use crate::volume::{Conversion, Volume};

/// How far a finding can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Certainty {
    /// The volume says so.
    Certain,
    /// It follows from what the volume says, unless something unusual was done.
    Likely,
    /// It would have this effect, and leaves no trace on the volume.
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

/// One thing that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// How sure it is.
    pub certainty: Certainty,
    /// Which protector it is about.
    pub protector: Option<Guid>,
}

/// What can follow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// Nothing is encrypted: there is nothing to recover.
    NotEncrypted,
    /// Encrypted with a key that lies in the open, and nothing else.
    Unprotected,
    /// Protection is suspended; see [`Analysis::suspension`].
    Suspended,
    /// Only a recovery password opens the volume, so that Windows asks for it at every start:
    /// what `manage-bde -forcerecovery` leaves, or the removal of the TPM protectors.
    RecoveryOnly,
    /// Nothing in the metadata can be read.
    MetadataUnreadable,
    /// Some copies of the metadata are damaged: these, by their numbers.
    CopiesDamaged(Vec<u8>),
    /// Sound copies say different things: an update was interrupted.
    CopiesDiffer,
    /// The volume is between two states of encryption.
    Converting(Conversion),
    /// A PIN is asked for at start.
    PinRequired,
    /// A startup key is asked for at start: the file's name.
    StartupKeyRequired(String),
    /// A password is asked for.
    PasswordRequired,
    /// A server has to answer at start.
    NetworkRequired,
    /// A change of what goes into this PCR keeps the TPM from releasing the key.
    PcrChanged(u8),
    /// The TPM is gone, hidden, cleared, locked, or another one.
    TpmUnavailable,
    /// What is sealed to the TPM is not consistent: no TPM will open it.
    TpmObjectUnsound,
    /// A recovery password of which the metadata do not say that it was ever saved.
    NeverSaved,
    /// Windows logged it: how often, and when last.
    Logged {
        /// What.
        kind: EventKind,
        /// How often.
        count: usize,
        /// When last.
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
        // While a key lies in the open nothing else is asked for.
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
        // Beside a TPM protector an external key is a recovery key.
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
        // PCR 11 is BitLocker's own lock: Windows' start leaves it at zero.
        for pcr in blob.pcrs().into_iter().filter(|pcr| *pcr != LOCK) {
            self.push(of_pcrs, FindingKind::PcrChanged(pcr), id);
        }
        self.push(Certainty::Possible, FindingKind::TpmUnavailable, id);
    }

    /// What keeps Windows from starting by itself, of each kind the last.
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
