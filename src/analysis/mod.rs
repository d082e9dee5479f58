//! Why a volume went into recovery: from its metadata, which needs no key, and from the event logs of an
//! unlocked Windows volume (docs/format-recovery.md §6).
//!
//! [`Analysis::of`] returns facts: how the volume is unlocked at startup, what its TPM protectors are
//! bound to, a timeline, whether protection is suspended, and [`Finding`]s, each with a [`Certainty`].
//! Wording and advice are left to the caller. Nothing is written to the volume. No conclusion about
//! intent is drawn, because the data of a repair and of an attack look the same.

mod event_logs;
mod findings;
mod timeline;
mod windows;

pub use event_logs::{EventKind, EventLogs, Log, LogEvent};
pub use findings::{Certainty, Finding, FindingKind};
pub use timeline::{Happening, Moment};
pub use windows::Windows;

use crate::crypto::hash::HashAlgorithm;
use crate::format::block::{MetadataBlock, ValidationHash};
use crate::format::boot::Flavor;
use crate::format::datum::{Datum, SealedDatum, roles};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::format::time::FileTime;
use crate::guid::Guid;
use crate::tpm::Policy;
use crate::volume::{Conversion, Volume};

/// The facts that a volume records about its own history.
#[derive(Debug)]
#[non_exhaustive]
pub struct Analysis {
    /// How it is unlocked when its computer starts.
    pub mode: Mode,
    /// The kinds of its key protectors, without recovery passwords and clear keys; each kind once, those
    /// with a TPM first.
    pub starts_with: Vec<ProtectorKind>,
    /// Whether Windows starts from this volume; `None` if that is not known.
    pub system: Option<bool>,
    /// What each of its TPM protectors is bound to.
    pub profiles: Vec<Profile>,
    /// The version of Windows that turned BitLocker on, if it is recorded.
    pub windows: Option<Windows>,
    /// The name of the computer that turned BitLocker on: the first word of the description.
    pub computer: Option<String>,
    /// Identifier of the recovery password that Windows' recovery screen would ask for.
    pub asked_for: Option<Guid>,
    /// The suspension of protection, if it is suspended.
    pub suspension: Option<Suspension>,
    /// How many datums were sealed and how many of them are left.
    pub sealings: Sealings,
    /// Events with their times, oldest first.
    pub timeline: Vec<Moment>,
    /// Conclusions, the most certain first.
    pub findings: Vec<Finding>,
}

/// How a volume is unlocked when its computer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// The metadata cannot be read.
    Unknown,
    /// Nothing is encrypted.
    Decrypted,
    /// It is encrypted, but its only key protector is an unencrypted (clear) key.
    Unprotected,
    /// Protection is suspended: it has a clear key besides other key protectors.
    Suspended,
    /// It has no key protectors but recovery passwords.
    RecoveryOnly,
    /// A key protector of this kind unlocks it.
    Starts(ProtectorKind),
}

impl Mode {
    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Decrypted => "decrypted",
            Self::Unprotected => "unprotected",
            Self::Suspended => "suspended",
            Self::RecoveryOnly => "recovery-only",
            Self::Starts(kind) => kind.word(),
        }
    }
}

/// What a TPM protector is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// Identifier of the key protector.
    pub protector: Guid,
    /// The PCRs, in ascending order.
    pub pcrs: Vec<u8>,
    /// Which of Windows' default profiles these PCRs are.
    pub kind: ProfileKind,
    /// The bank of the PCRs; `None` if it cannot be derived from the sealed object.
    pub bank: Option<HashAlgorithm>,
}

/// Windows' default profiles of PCRs (docs/format-tpm.md §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProfileKind {
    /// PCRs 7 and 11: UEFI with Secure Boot, which measures the signers of boot programs.
    SecureBoot,
    /// PCRs 0, 2, 4 and 11: UEFI without Secure Boot, which measures the boot programs.
    Uefi,
    /// PCRs 0, 2, 4, 8 to 11, on older systems also 5: BIOS.
    Bios,
    /// Any others, as a group policy can set them.
    Other,
}

impl ProfileKind {
    fn of(pcrs: &[u8]) -> Self {
        match pcrs {
            [7, 11] => Self::SecureBoot,
            [0, 2, 4, 11] => Self::Uefi,
            [0, 2, 4, 5, 8, 9, 10, 11] | [0, 2, 4, 8, 9, 10, 11] => Self::Bios,
            _ => Self::Other,
        }
    }

    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::SecureBoot => "secure-boot",
            Self::Uefi => "uefi",
            Self::Bios => "bios",
            Self::Other => "other",
        }
    }
}

/// Suspended protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suspension {
    /// When the clear key was added.
    pub since: FileTime,
    /// After how many starts of Windows protection resumes; `None` if it does not by itself.
    pub reboots_left: Option<u8>,
}

/// How many datums were sealed. Every AES-CCM operation uses the next counter, so missing counters are
/// datums that were replaced or removed. This is only a hint, because turning BitLocker on leaves some
/// too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sealings {
    /// The counter for the next sealed datum.
    pub next: u32,
    /// How many sealed datums the metadata has.
    pub present: usize,
}

impl Sealings {
    /// How many sealed datums are missing; `None` if the counters are inconsistent.
    pub fn gone(self) -> Option<u32> {
        let made = self.next.checked_sub(1)?;
        made.checked_sub(u32::try_from(self.present).ok()?)
    }
}

impl Analysis {
    /// Analyzes a volume, with the event logs if they were read ([`EventLogs::read`]).
    pub fn of(volume: &Volume, logs: Option<&EventLogs>) -> Self {
        let block = volume.metadata_as_found();
        let mut analysis = Self {
            mode: mode(volume, block),
            starts_with: starts_with(block),
            system: system(volume, block),
            profiles: block.map(profiles).unwrap_or_default(),
            windows: block.and_then(Windows::of),
            computer: block.and_then(computer),
            asked_for: block.and_then(asked_for),
            suspension: block.and_then(suspension),
            sealings: block.map(sealings).unwrap_or_default(),
            timeline: timeline::of(block, logs),
            findings: Vec::new(),
        };
        analysis.findings = findings::of(&analysis, volume, block, logs);
        analysis
    }
}

fn mode(volume: &Volume, block: Option<&MetadataBlock>) -> Mode {
    let Some(block) = block else {
        return Mode::Unknown;
    };
    if !volume.needs_key() || volume.status().conversion == Conversion::FullyDecrypted {
        return Mode::Decrypted;
    }
    let clear = block.protectors().any(is_clear);
    let others = block.protectors().any(|protector| !is_clear(protector));
    match (clear, others, starts_with(Some(block)).first()) {
        (true, false, _) => Mode::Unprotected,
        (true, true, _) => Mode::Suspended,
        (false, _, Some(kind)) => Mode::Starts(*kind),
        (false, true, None) => Mode::RecoveryOnly,
        (false, false, None) => Mode::Unknown,
    }
}

fn is_clear(protector: &KeyProtector) -> bool {
    protector.kind() == ProtectorKind::ClearKey
}

/// The kinds that normally unlock a volume (neither recovery passwords nor clear keys), those with a TPM
/// first.
fn starts_with(block: Option<&MetadataBlock>) -> Vec<ProtectorKind> {
    let mut kinds: Vec<ProtectorKind> = Vec::new();
    for protector in block.into_iter().flat_map(MetadataBlock::protectors) {
        let kind = protector.kind();
        let is_fallback = matches!(
            kind,
            ProtectorKind::ClearKey | ProtectorKind::RecoveryPassword
        );
        if !is_fallback && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.sort_by_key(|kind| !kind.uses_tpm());
    kinds
}

/// Only the volume that Windows starts from has TPM protectors or an auto-unlock key.
fn system(volume: &Volume, block: Option<&MetadataBlock>) -> Option<bool> {
    let block = block?;
    let signs = block.protectors().any(|p| p.kind().uses_tpm())
        || block
            .datums
            .iter()
            .any(|datum| datum.role == roles::AUTO_UNLOCK_KEY);
    match volume.boot_record().flavor {
        _ if signs => Some(true),
        Flavor::ToGo => Some(false),
        _ => None,
    }
}

fn profiles(block: &MetadataBlock) -> Vec<Profile> {
    let profile = |protector: &KeyProtector| {
        let blob = protector.tpm()?;
        let pcrs = blob.pcrs();
        let object = blob.sealed.as_ref().ok();
        Some(Profile {
            protector: protector.id,
            kind: ProfileKind::of(&pcrs),
            bank: object.and_then(Policy::solve).map(|policy| policy.bank),
            pcrs,
        })
    };
    block.protectors().filter_map(profile).collect()
}

/// The first word of the description (docs/format-recovery.md §6.2).
fn computer(block: &MetadataBlock) -> Option<String> {
    let name = block.description()?.split_whitespace().next()?;
    Some(name.to_owned())
}

/// The recovery password that was saved last; if none was saved, the newest (docs/format-recovery.md
/// §6.3). Windows also prefers some places of backup to others, but it is not known which code means
/// which place.
fn asked_for(block: &MetadataBlock) -> Option<Guid> {
    let passwords = block
        .protectors()
        .filter(|protector| protector.kind() == ProtectorKind::RecoveryPassword);
    let newest = passwords.max_by_key(|protector| {
        let saved = protector.backup().map(|backup| backup.last);
        (saved, protector.changed)
    })?;
    Some(newest.id)
}

fn suspension(block: &MetadataBlock) -> Option<Suspension> {
    let protector = block.protectors().find(|protector| is_clear(protector))?;
    Some(Suspension {
        since: protector.changed,
        reboots_left: protector.reboots_left(),
    })
}

fn sealings(block: &MetadataBlock) -> Sealings {
    let mut counters = Vec::new();
    collect(&block.datums, &mut counters);
    if let ValidationHash::Sealed(sealed) = &block.validation.hash {
        counters.push(sealed.counter());
    }
    counters.sort_unstable();
    counters.dedup();
    Sealings {
        next: block.dataset.next_nonce,
        present: counters.len(),
    }
}

/// Collects the counters of all sealed datums, also nested ones.
fn collect(datums: &[Datum], counters: &mut Vec<u32>) {
    for datum in datums {
        counters.extend(datum.sealed().map(SealedDatum::counter));
        collect(datum.nested(), counters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_the_default_profiles() {
        for (pcrs, kind) in [
            (&[7, 11][..], ProfileKind::SecureBoot),
            (&[0, 2, 4, 11], ProfileKind::Uefi),
            (&[0, 2, 4, 8, 9, 10, 11], ProfileKind::Bios),
            (&[0, 2, 4, 5, 8, 9, 10, 11], ProfileKind::Bios),
            (&[7], ProfileKind::Other),
            (&[], ProfileKind::Other),
        ] {
            assert_eq!(ProfileKind::of(pcrs), kind, "{pcrs:?}");
        }
    }

    #[test]
    fn inconsistent_counters_give_no_number() {
        let sealings = |next, present| Sealings { next, present };
        assert_eq!(sealings(10, 6).gone(), Some(3));
        assert_eq!(sealings(0, 0).gone(), None);
        assert_eq!(sealings(3, 9).gone(), None);
    }
}
