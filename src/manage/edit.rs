//! Turns a change into the bytes of a metadata region, and tries them before anything is written
//! (docs/format.md §7.3, steps 2 to 8).

use std::sync::Arc;
use std::time::SystemTime;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Change, Managed, Report, Verification, named, rekey};
use crate::crypto::random;
use crate::enroll::NewProtector;
use crate::enroll::seal::Sealer;
use crate::error::{Error, Remedy, Result};
use crate::format::FormatError;
use crate::format::block::{MetadataBlock, ValidationHash};
use crate::format::datum::{Body, Datum, key_types, roles};
use crate::format::encode::block::BlockContent;
use crate::format::encode::{self, DatumBytes};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::format::time::FileTime;
use crate::guid::Guid;
use crate::secret::Vmk;
use crate::source::MemoryOverlay;
use crate::unlock::RawVmk;
use crate::unlock::{Credential, open_key};
use crate::volume::{UnlockOptions, Volume};

/// A change that was laid out and tried.
pub(super) struct Prepared {
    /// The bytes to write to all three copies.
    pub(super) region: Vec<u8>,
    /// The VMK that it is sealed with.
    pub(super) vmk: Vmk,
    pub(super) report: Report,
}

impl Managed {
    /// Lays out a change and tries it, after checking that the disk still holds what it starts from.
    pub(super) fn prepare(&self, change: &Change) -> Result<Prepared> {
        self.check_current()?;
        let block = self.block()?;
        let mut report = self.plan(block, change)?;
        let vmk = if report.rekeyed {
            new_vmk()?
        } else {
            Vmk::from_bytes(self.key.expose().expose())
        };
        let region = self
            .region(block, change, &report, &vmk)
            .map_err(as_unchangeable)?;
        self.verify(block, &region, &vmk, change)?;
        report.repaired = self.differing()?.iter().map(|copy| copy.number).collect();
        Ok(Prepared {
            region,
            vmk,
            report,
        })
    }

    /// What the change adds, replaces and removes, if it is allowed.
    fn plan(&self, block: &MetadataBlock, change: &Change) -> Result<Report> {
        let mut report = Report {
            rekeyed: !change.remove.is_empty(),
            ..Report::default()
        };
        let summary = |protector: &KeyProtector| (protector.id, protector.kind());
        for id in &change.remove {
            report.removed.push(summary(self.protector(block, *id)?));
        }
        for (id, new) in &change.replace {
            let old = self.protector(block, *id)?;
            if old.kind() != new.kind() {
                return Err(Error::unchangeable(
                    format!(
                        "{} is of another kind than the new protector",
                        named(*id, old.kind())
                    ),
                    "add the new protector, then remove the old one",
                ));
            }
            report.replaced.push(summary(old));
        }
        report.added = change.add.iter().map(NewProtector::summary).collect();
        if let Some(text) = &change.identification {
            report.identification = Some(checked_identification(text.as_deref().unwrap_or(""))?);
        }
        if report.rekeyed {
            self.plan_bound(block, change, &mut report)?;
        }
        check_remaining(block, change, &report)?;
        Ok(report)
    }

    fn protector<'a>(&self, block: &'a MetadataBlock, id: Guid) -> Result<&'a KeyProtector> {
        let mut protectors = block.protectors();
        protectors
            .find(|protector| protector.id == id)
            .ok_or_else(|| {
                Error::unchangeable(
                    format!("no protector has the ID {id:X}"),
                    format!("the volume has: {}", super::listed(&self.protectors())),
                )
            })
    }

    /// Adds to the removals the protectors that cannot be given a new VMK, if the change allows it.
    fn plan_bound(
        &self,
        block: &MetadataBlock,
        change: &Change,
        report: &mut Report,
    ) -> Result<()> {
        for protector in block.protectors() {
            // Removed protectors need no new VMK; replaced ones seal it themselves.
            let stays = ![&report.removed, &report.replaced]
                .iter()
                .any(|gone| gone.iter().any(|(id, _)| *id == protector.id));
            if !stays || rekey::can_follow(protector, self.key.expose()) {
                continue;
            }
            if !change.drop_bound {
                return Err(rekey::bound(protector));
            }
            report.removed.push((protector.id, protector.kind()));
        }
        Ok(())
    }

    /// Lays out and seals the new metadata. Datums that the change does not concern keep their bytes.
    fn region(
        &self,
        block: &MetadataBlock,
        change: &Change,
        report: &Report,
        vmk: &Vmk,
    ) -> Result<Vec<u8>> {
        let (time, counter) = self.next_nonce();
        let mut sealer = Sealer::continuing(vmk, time, counter);
        let mut datums = Vec::new();
        let mut datum_roles = Vec::new();
        for (datum, mut bytes) in raw_datums(block)? {
            let id = protector_id(datum);
            if report.removed.iter().any(|(gone, _)| Some(*gone) == id) {
                continue;
            }
            if datum.role == roles::IDENTIFICATION && report.identification.is_some() {
                continue;
            }
            let replaced = change.replace.iter().find(|(old, _)| Some(*old) == id);
            if let Some((id, new)) = replaced {
                bytes = new.datum_as(*id, &mut sealer)?;
            } else if report.rekeyed {
                rekey::reseal(datum, &mut bytes, self.key.expose(), &mut sealer)?;
            }
            datum_roles.push(datum.role);
            datums.push(bytes);
        }
        let place = place_of_new(&datum_roles);
        let added: Result<Vec<_>> = change
            .add
            .iter()
            .map(|new| new.datum_as(new.id(), &mut sealer))
            .collect();
        datums.splice(place..place, added?);
        if let Some(Some(text)) = &change.identification {
            datums.insert(place, identification(text, &mut sealer)?);
        }
        // The dataset header stores the next counter, and the hash covers that header. The hash is sealed
        // last and uses one more counter, so the stored value is already the one after it.
        let next_nonce = sealer.next_counter().saturating_add(1);
        let content =
            BlockContent::edited(block.bytes(), &datums, next_nonce).map_err(too_large)?;
        let hash = content.hash();
        let validation = sealer.with_vmk(roles::PROPERTY, key_types::VALIDATION_HASH, &hash)?;
        content.region(&validation).map_err(too_large)
    }

    /// A time and a counter that no nonce on the volume has used. All readable copies are searched,
    /// because an interrupted change may have used nonces of which the first copy has no record.
    fn next_nonce(&self) -> (FileTime, u32) {
        let mut time = FileTime::from_system_time(SystemTime::now());
        let mut counter = 0;
        for block in self.volume.copies().readable() {
            let used = Nonces::of(block);
            time = time.max(used.latest);
            counter = counter.max(used.next);
        }
        (time, counter)
    }

    /// Reads the new metadata as a volume that exists only in memory, and checks that it is sound, that
    /// it has the same FVEK, and that every protector unlocks it.
    fn verify(&self, old: &MetadataBlock, region: &[u8], vmk: &Vmk, change: &Change) -> Result<()> {
        let identification = &change.identification;
        let failed = |what: &str| {
            Error::unchangeable(
                format!("the new metadata failed its test: {what}"),
                "report this: it is a bug in fve",
            )
        };
        let mut trial = MemoryOverlay::new(self.target.clone());
        for offset in old.copies {
            trial
                .write(offset, region)
                .map_err(|error| Error::io("cannot read the volume around the metadata", error))?;
        }
        let patched = Volume::from_source(Arc::new(trial))?;
        if let Some(error) = patched.copies().read_error() {
            return Err(Error::io(
                "cannot read the volume around the metadata",
                error,
            ));
        }
        if !patched.copies().faults().is_empty() || patched.copies().disagree() {
            return Err(failed("a checksum or hash is wrong"));
        }
        let key = patched.unlock_master_key(&[raw(vmk)], &UnlockOptions::default())?;
        let new = patched.metadata()?;
        let fvek = |block: &MetadataBlock, vmk: &Vmk| {
            open_key(block.sealed_fvek()?, vmk.expose(), &[block.dataset.method])
        };
        let same = match (fvek(old, self.key.expose()), fvek(new, vmk)) {
            (Some(old), Some(new)) => old.data.expose().ct_eq(new.data.expose()).into(),
            _ => false,
        };
        if let Some(Some(text)) = identification
            && key.identification() != Some(text)
        {
            return Err(failed("the identification field does not read back"));
        }
        if !key.is_proved() || !same {
            return Err(failed("the VMK does not open the same FVEK"));
        }
        for protector in new.protectors() {
            let before = old.protectors().find(|other| other.id == protector.id);
            let bound = before.is_some_and(|old| !rekey::can_follow(old, self.key.expose()));
            // Only the TPM has the key of such a protector; see `Change::verify_with`.
            let bound = bound || protector.kind().uses_tpm();
            if !bound && !rekey::can_follow(protector, vmk) {
                return Err(failed(&format!(
                    "{} does not unlock it",
                    named(protector.id, protector.kind())
                )));
            }
        }
        for verification in &change.verifications {
            verify_with(&patched, verification)?;
        }
        Ok(())
    }
}

/// Most UTF-16 units of an identification field: those that the policy of Windows accepts.
const MAX_IDENTIFICATION: usize = 260;

/// The identification field, if it is text that Windows could show; empty to remove it.
fn checked_identification(text: &str) -> Result<String> {
    if text.encode_utf16().count() > MAX_IDENTIFICATION || text.chars().any(char::is_control) {
        return Err(Error::unchangeable(
            "the identifier is longer than 260 characters, or has control characters",
            "choose a shorter identifier, on one line",
        ));
    }
    Ok(text.to_owned())
}

/// The datum of the identification field: text, sealed with the VMK (docs/format.md §3.3). As in other
/// sealed datums, the text has no role and no flags.
fn identification(text: &str, sealer: &mut Sealer<'_>) -> Result<DatumBytes> {
    let content = encode::sealed_text(text).map_err(too_large)?;
    sealer.datum_with_vmk(roles::IDENTIFICATION, &content)
}

/// Unlocks the new metadata with a credential, through one protector only.
fn verify_with(patched: &Volume, verification: &Verification) -> Result<()> {
    let options = UnlockOptions::new().protector(verification.protector);
    let opened = patched.unlock_master_key(&verification.credential, &options);
    opened.map(drop).map_err(|error| {
        let mut protectors = patched.protectors().into_iter();
        let found = protectors.find(|protector| protector.id == verification.protector);
        let remedy = match found.is_some_and(|protector| protector.kind().uses_tpm()) {
            true => Remedy::ShowTpm,
            false => Remedy::ListProtectors,
        };
        Error::unchangeable(
            format!(
                "the new protector does not unlock the volume: {}",
                error.with_causes()
            ),
            remedy,
        )
    })
}

/// The VMK as a credential.
pub(super) fn raw(vmk: &Vmk) -> Box<dyn Credential> {
    Box::new(RawVmk::new(Vmk::from_bytes(vmk.expose())))
}

fn new_vmk() -> Result<Vmk> {
    let mut bytes = Zeroizing::new([0; Vmk::LEN]);
    random::fill(&mut bytes[..])?;
    Ok(Vmk::from_bytes(&bytes))
}

/// Checks the protectors that the change leaves: at least one, not only a clear key by accident, and
/// only combinations that Windows supports (docs/format.md §7.4). The combinations are checked only when
/// a protector is added: a volume that already has one can still be changed otherwise.
fn check_remaining(block: &MetadataBlock, change: &Change, report: &Report) -> Result<()> {
    let gone = |id: &Guid| report.removed.iter().any(|(removed, _)| removed == id);
    let mut rest: Vec<ProtectorKind> = block
        .protectors()
        .filter(|protector| !gone(&protector.id))
        .map(KeyProtector::kind)
        .collect();
    rest.extend(report.added.iter().map(|(_, kind)| *kind));
    let count = |kind| rest.iter().filter(|other| **other == kind).count();
    let adds = |kind| report.added.iter().any(|(_, added)| *added == kind);
    if rest.is_empty() {
        return Err(Error::unchangeable(
            "the last protector cannot be removed: nothing would unlock the volume",
            "add another protector first",
        ));
    }
    let open_to_anyone = !report.removed.is_empty()
        && !change.allow_only_clear_key
        && count(ProtectorKind::ClearKey) == rest.len();
    if open_to_anyone {
        return Err(Error::unchangeable(
            "only the clear key would be left, with which anyone can unlock the volume",
            "add another protector first",
        ));
    }
    if adds(ProtectorKind::Password) {
        check_password(
            count(ProtectorKind::Password) > 1,
            rest.iter().any(|kind| kind.uses_tpm()),
        )?;
    }
    if adds(ProtectorKind::ClearKey) && count(ProtectorKind::ClearKey) > 1 {
        return Err(Error::unchangeable(
            "protection is already suspended",
            Remedy::ResumeProtection,
        ));
    }
    Ok(())
}

/// Checks, without a key, whether a password can be added to the protectors of the volume.
///
/// # Errors
/// [`Error::Unchangeable`] when the volume has a password already, or a TPM protector.
pub fn check_new_password(volume: &Volume) -> Result<()> {
    let has = |fits: fn(ProtectorKind) -> bool| {
        let mut protectors = volume.protectors().into_iter();
        protectors.any(|protector| fits(protector.kind()))
    };
    check_password(
        has(|kind| kind == ProtectorKind::Password),
        has(ProtectorKind::uses_tpm),
    )
}

fn check_password(has_password: bool, has_tpm: bool) -> Result<()> {
    if has_password {
        return Err(Error::unchangeable(
            "the volume already has a password; Windows supports only one per volume",
            Remedy::ChangePassword,
        ));
    }
    if has_tpm {
        return Err(Error::unchangeable(
            "the volume has a TPM protector; Windows does not support a password next to it",
            "add a recovery password or a startup key",
        ));
    }
    Ok(())
}

/// The index at which new protectors are inserted among datums with these roles: at the end, as Windows
/// does it, but before a VIRTUALIZATION datum in last place, where Windows 8 and later have it. Windows 7
/// has it first. New protectors must not come before the old ones: some programs try only the first
/// recovery password.
fn place_of_new(datum_roles: &[u16]) -> usize {
    match datum_roles {
        [others @ .., roles::VIRTUALIZATION] => others.len(),
        all => all.len(),
    }
}

fn protector_id(datum: &Datum) -> Option<Guid> {
    match &datum.body {
        Body::KeyProtector(protector) => Some(protector.id),
        _ => None,
    }
}

/// The top-level datums with their bytes. The dataset must not hold anything else: such bytes would be
/// lost.
fn raw_datums(block: &MetadataBlock) -> Result<Vec<(&Datum, DatumBytes)>> {
    use crate::format::block::{DATASET_HEADER_LEN, HEADER_LEN};
    let strange = || Error::unsupported("the metadata has bytes outside of its datums");
    let (start, end) = block.dataset.datums;
    let mut at = HEADER_LEN + DATASET_HEADER_LEN;
    let mut datums = Vec::new();
    for datum in &block.datums {
        let stop = at + usize::from(datum.size);
        let bytes = block.bytes().get(at..stop).ok_or_else(strange)?;
        datums.push((datum, DatumBytes::as_read(bytes)));
        at = stop;
    }
    let rest = block
        .bytes()
        .get(at..HEADER_LEN + end)
        .ok_or_else(strange)?;
    if start != DATASET_HEADER_LEN || rest.iter().any(|byte| *byte != 0) {
        return Err(strange());
    }
    Ok(datums)
}

/// A summary of the nonces in a block: the latest time of any kind, and the counter after the highest.
struct Nonces {
    latest: FileTime,
    next: u32,
}

impl Nonces {
    fn of(block: &MetadataBlock) -> Self {
        let mut found = Self {
            latest: block.dataset.created.masked(),
            next: block.dataset.next_nonce,
        };
        if let ValidationHash::Sealed(sealed) = &block.validation.hash {
            found.include(sealed.time(), Some(sealed.counter()));
        }
        found.search(&block.datums);
        found
    }

    fn include(&mut self, time: FileTime, counter: Option<u32>) {
        self.latest = self.latest.max(time.masked());
        let next = counter.map_or(0, |counter| counter.saturating_add(1));
        self.next = self.next.max(next);
    }

    fn search(&mut self, datums: &[Datum]) {
        for datum in datums {
            match &datum.body {
                Body::Sealed(sealed) => self.include(sealed.time(), Some(sealed.counter())),
                Body::KeyProtector(protector) => self.include(protector.changed, None),
                Body::ExternalKey(key) => self.include(key.time, None),
                Body::Backup(backup) => {
                    self.include(backup.first, None);
                    self.include(backup.last, None);
                }
                _ => {}
            }
            self.search(datum.nested());
        }
    }
}

/// The error for datums that do not fit into the 64 KiB of a region.
fn too_large(fault: FormatError) -> Error {
    Error::unchangeable(
        format!("the metadata would be too large: {fault}"),
        "remove protectors that are no longer needed",
    )
}

/// Errors of sealing and encoding are worded for a new volume; this makes them errors of a change.
fn as_unchangeable(error: Error) -> Error {
    match error {
        Error::Uncreatable { what, remedy } => Error::Unchangeable { what, remedy },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_new_protectors_after_the_old_ones() {
        let since_windows_8 = [
            roles::DESCRIPTION,
            roles::VMK_INFO,
            roles::FVEK,
            roles::VIRTUALIZATION,
        ];
        assert_eq!(place_of_new(&since_windows_8), 3);
        let windows_7 = [
            roles::VIRTUALIZATION,
            roles::DESCRIPTION,
            roles::VMK_INFO,
            roles::FVEK,
        ];
        assert_eq!(place_of_new(&windows_7), 4);
        assert_eq!(place_of_new(&[roles::FVEK]), 1);
    }
}
