//! Why a volume went into recovery: what its metadata tell without a key, and, of an unlocked
//! volume of Windows, what its event logs tell (docs/format-recovery.md §6).
//!
//! [`Analysis::of`] gives typed facts: how the volume is opened at start, what its TPM protectors
//! are bound to, a timeline, suspension, and [`Finding`]s, each with a grade of certainty. The
//! words, and the advice, are the caller's. Nothing is written, and nothing is said on intent: the
//! volume cannot tell a repair from an attack.

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

/// What a volume tells of its own history.
#[derive(Debug)]
#[non_exhaustive]
pub struct Analysis {
    /// How it is opened when its computer starts.
    pub mode: Mode,
    /// What opens it besides recovery passwords and clear keys, each kind once.
    pub starts_with: Vec<ProtectorKind>,
    /// Whether it is the volume that Windows starts from; nothing where it does not tell.
    pub system: Option<bool>,
    /// What its TPM protectors are bound to.
    pub profiles: Vec<Profile>,
    /// The Windows that turned BitLocker on.
    pub windows: Option<Windows>,
    /// The computer that did: the first word of the description.
    pub computer: Option<String>,
    /// The recovery password that Windows' recovery screen would ask for.
    pub asked_for: Option<Guid>,
    /// Whether and since when protection is suspended.
    pub suspension: Option<Suspension>,
    /// What was sealed under the keys, by the counters of the nonces.
    pub sealings: Sealings,
    /// What happened when, oldest first.
    pub timeline: Vec<Moment>,
    /// What follows, the most certain first.
    pub findings: Vec<Finding>,
}

/// How a volume is opened when its computer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// The metadata cannot be read.
    Unknown,
    /// Nothing is encrypted.
    Decrypted,
    /// It is encrypted, and its only key lies in the open.
    Unprotected,
    /// Protection is suspended: besides its protectors a key lies in the open.
    Suspended,
    /// Only a recovery password opens it.
    RecoveryOnly,
    /// A protector of this kind is meant to open it.
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
    /// The protector.
    pub protector: Guid,
    /// The PCRs, in rising order.
    pub pcrs: Vec<u8>,
    /// Which of Windows' profiles that is.
    pub kind: ProfileKind,
    /// The bank of the PCRs; nothing where the sealed object does not tell.
    pub bank: Option<HashAlgorithm>,
}

/// Windows' own profiles (docs/format-tpm.md §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProfileKind {
    /// PCRs 7 and 11: who signed what is started.
    SecureBoot,
    /// PCRs 0, 2, 4 and 11: what is started.
    Uefi,
    /// PCRs 0, 2, 4, 8 to 11, on older systems also 5: what is started by a BIOS.
    Bios,
    /// Another one, set by a policy.
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
    /// When the clear key was put there.
    pub since: FileTime,
    /// Starts of Windows until protection is on again, where they are counted.
    pub reboots_left: Option<u8>,
}

/// How often something was sealed: every AES-CCM operation takes the next counter, so that gaps are
/// datums that were replaced or removed since. A hint, for set-up leaves some, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sealings {
    /// The counter that the next one takes.
    pub next: u32,
    /// How many are still on the volume.
    pub present: usize,
}

impl Sealings {
    /// How many are gone, if the counters are in order.
    pub fn gone(self) -> Option<u32> {
        let made = self.next.checked_sub(1)?;
        made.checked_sub(u32::try_from(self.present).ok()?)
    }
}

impl Analysis {
    /// What the volume tells, with what its event logs tell where they were read.
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

/// The kinds that are no way out of trouble, those with a TPM first.
fn starts_with(block: Option<&MetadataBlock>) -> Vec<ProtectorKind> {
    let mut kinds: Vec<ProtectorKind> = Vec::new();
    for protector in block.into_iter().flat_map(MetadataBlock::protectors) {
        let kind = protector.kind();
        let way_out = matches!(
            kind,
            ProtectorKind::ClearKey | ProtectorKind::RecoveryPassword
        );
        if !way_out && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.sort_by_key(|kind| !kind.uses_tpm());
    kinds
}

/// Only the volume that Windows starts from has TPM protectors, and the key that opens others.
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

/// The newest password that was saved, else the newest (docs/format-recovery.md §6.3). Windows
/// prefers some places to others; which number means which place is not known.
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
    fn windows_own_profiles_are_known() {
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
    fn counters_out_of_order_are_no_number() {
        let sealings = |next, present| Sealings { next, present };
        assert_eq!(sealings(10, 6).gone(), Some(3));
        assert_eq!(sealings(0, 0).gone(), None);
        assert_eq!(sealings(3, 9).gone(), None);
    }
}
