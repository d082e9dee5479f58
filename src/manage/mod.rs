//! Changes the key protectors of an existing volume; backs up and restores its metadata.
//!
//! [`Managed`] holds a volume, its VMK and the means to write. A [`Change`] describes a change;
//! [`Managed::preview`] returns what it would do, [`Managed::commit`] makes it.
//!
//! The new metadata is first laid out in memory, read back and unlocked, before anything is written.
//! Then the three copies are written one after the other, and each is flushed and read back before the
//! next. Whatever interrupts this, two copies are intact at any time, and the volume unlocks with its
//! old credentials or with the new ones (docs/format.md §7.3).
//!
//! A change is written only if the disk still holds the metadata that it was computed from. If
//! something else has changed the metadata since, or an earlier change failed after its first write,
//! every further change is refused with [`Error::Stale`] until [`Managed::reload`] has read the volume
//! again; otherwise a removed credential could become valid again. This comparison is not a lock: the
//! caller must hold the disk exclusively, and make one change at a time.
//!
//! Removing a protector replaces the VMK in the same commit, so that the removed credential, even
//! together with an old copy of the metadata, does not unlock the new metadata. The FVEK stays the same;
//! only encrypting all data again could change it.
//!
//! ```no_run
//! use std::sync::Arc;
//! use fve::enroll::NewProtector;
//! use fve::manage::{Change, Managed};
//! use fve::secret::SecretText;
//! use fve::source::ExclusiveFile;
//! use fve::unlock::Password;
//! use fve::volume::UnlockOptions;
//!
//! let disk = Arc::new(ExclusiveFile::open("volume.img")?);
//! let password = Password::new(&SecretText::new("correct horse".into()));
//! let mut volume = Managed::open(disk, &[Box::new(password)], &UnlockOptions::default())?;
//! let (digits, protector) = NewProtector::new_recovery_password()?;
//! println!("{}", digits.expose_digits().expose());
//! volume.commit(&Change::new().enroll(protector))?;
//! # Ok::<(), fve::error::Error>(())
//! ```

mod backup;
mod commit;
mod edit;
mod key_package;
mod keys;
mod rekey;
mod rotate;
mod saved;
mod snapshot;
mod startup_key;
mod tpm;

use std::sync::Arc;

pub use backup::{Backup, Restoration};
pub use edit::check_new_password;
pub use key_package::{ExportedKeyPackage, export_key_package};
pub use keys::{ProtectorSecret, SecretBackup, secret_backups};
pub use rotate::{Rotation, RotationCause, RotationError, RotationStage, ValidPasswords};
pub use saved::SavedFile;
pub use startup_key::{StartupKeyChange, StartupKeyChangeError};
pub use tpm::{ResealedProtector, removal_of_tpm_protectors, reseal_tpm_protector};

use crate::enroll::NewProtector;
use crate::error::{Error, Result};
use crate::format::block::{MetadataBlock, REGION_LEN, State};
use crate::format::boot::Flavor;
use crate::format::datum::Body;
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::guid::Guid;
use crate::source::WriteAt;
use crate::unlock::Credential;
use crate::volume::{MasterKey, UnlockOptions, Unlocked, Volume};
use snapshot::Snapshot;

/// A volume whose key protectors can be changed.
pub struct Managed {
    target: Arc<dyn WriteAt>,
    volume: Volume,
    key: MasterKey,
    /// The boot record and metadata copies that `volume` was read from.
    snapshot: Snapshot,
    /// Whether a change failed after its first write, so that the metadata on the disk is not known.
    unfinished: bool,
}

/// A change to the key protectors of a volume. Everything in it happens in one commit.
#[derive(Debug, Default)]
pub struct Change {
    add: Vec<NewProtector>,
    replace: Vec<(Guid, NewProtector)>,
    remove: Vec<Guid>,
    drop_bound: bool,
    allow_only_clear_key: bool,
    verifications: Vec<Verification>,
    /// The new identification field; `Some(None)` removes the old one.
    identification: Option<Option<String>>,
}

/// A credential that must unlock the new metadata through one protector.
struct Verification {
    protector: Guid,
    credential: [Box<dyn Credential>; 1],
}

impl std::fmt::Debug for Verification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verification({:X})", self.protector)
    }
}

/// What a change would do, or has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Numbers of the metadata copies that differed from the first sound copy, and were first
    /// overwritten with it.
    pub repaired: Vec<u8>,
    /// Added protectors.
    pub added: Vec<(Guid, ProtectorKind)>,
    /// Protectors that have a new secret under their old identifier.
    pub replaced: Vec<(Guid, ProtectorKind)>,
    /// Removed protectors, with those that [`Change::drop_bound`] dropped.
    pub removed: Vec<(Guid, ProtectorKind)>,
    /// Whether the volume has a new VMK.
    pub rekeyed: bool,
    /// The new identification field, empty if it was removed; `None` if it was not changed.
    pub identification: Option<String>,
}

impl Change {
    /// An empty change. Committing it makes the metadata copies equal and writes them again.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a protector after the existing ones. Store its secret first: otherwise an interruption
    /// could leave a protector whose key no one has.
    #[must_use]
    pub fn enroll(mut self, protector: NewProtector) -> Self {
        self.add.push(protector);
        self
    }

    /// Replaces the protector `id` with another of the same kind, which gets its identifier.
    #[must_use]
    pub fn replace(mut self, id: Guid, protector: NewProtector) -> Self {
        self.replace.push((id, protector));
        self
    }

    /// Requires that `credential` unlocks the new metadata through the protector `id`, before
    /// anything is written. This is for protectors that the VMK cannot verify, because a TPM holds
    /// their key.
    #[must_use]
    pub fn verify_with(mut self, id: Guid, credential: Box<dyn Credential>) -> Self {
        self.verifications.push(Verification {
            protector: id,
            credential: [credential],
        });
        self
    }

    /// Sets the identification field, the identifier of the organization that the volume belongs to, or
    /// removes it if `text` is empty. No sample of Windows is known, only a description of the form
    /// (docs/format.md §3.3).
    #[must_use]
    pub fn identify(mut self, text: &str) -> Self {
        self.identification = Some((!text.is_empty()).then(|| text.to_owned()));
        self
    }

    /// Removes a protector, and gives the volume a new VMK.
    #[must_use]
    pub fn remove(mut self, id: Guid) -> Self {
        self.remove.push(id);
        self
    }

    /// When protectors are removed, also removes those that cannot be given the new VMK, because only
    /// a TPM, a server or a smart card could seal it for them. Otherwise such protectors prevent the
    /// removal.
    #[must_use]
    pub fn drop_bound(mut self, drop: bool) -> Self {
        self.drop_bound = drop;
        self
    }

    /// Allows a removal after which only a clear key is left, with which anyone can unlock the volume.
    #[must_use]
    pub fn allow_only_clear_key(mut self, allow: bool) -> Self {
        self.allow_only_clear_key = allow;
        self
    }
}

impl Managed {
    /// Reads the volume that fills `target`, and unlocks it with one of the credentials.
    ///
    /// # Errors
    /// Those of [`Volume::from_source`], [`Volume::unlock_master_key`] and [`Managed::new`].
    pub fn open<C: Credential>(
        target: Arc<dyn WriteAt>,
        credentials: &[C],
        options: &UnlockOptions,
    ) -> Result<Self> {
        let volume = Volume::from_source(Arc::new(target.clone()))?;
        let key = volume.unlock_master_key(credentials, options)?;
        Self::new(target, volume, key)
    }

    /// Manages a volume that was already read from `target` and unlocked.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for volumes of Windows Vista and for volumes that are being converted;
    /// [`Error::Unchangeable`] when the key was obtained from another metadata copy than the first
    /// sound one, when that copy does not prove the key, or when a copy is outside of `target`;
    /// [`Error::Damaged`] and [`Error::Contradicted`] when boot record and metadata disagree;
    /// [`Error::Stale`] when `target` does not hold what `volume` was read from.
    pub fn new(target: Arc<dyn WriteAt>, volume: Volume, key: MasterKey) -> Result<Self> {
        Self::check(target.as_ref(), &volume)?;
        let block = volume.metadata()?;
        if !key.is_proved() {
            return Err(Error::unchangeable(
                "the metadata does not match the hash sealed with its key",
                "restore a backup of the metadata first: only metadata that passes its checks can be changed",
            ));
        }
        if key.position() != block.position {
            return Err(Error::unchangeable(
                "the credential unlocks only an outdated metadata copy, which an interrupted change left",
                "give a credential that unlocks the first sound copy; the change then makes the others equal to it",
            ));
        }
        let snapshot = Snapshot::read(target.as_ref(), &volume)?;
        Ok(Self {
            target,
            volume,
            key,
            snapshot,
            unfinished: false,
        })
    }

    /// Checks what can be checked without a key: whether the protectors of such a volume can be
    /// changed at all. [`Self::new`] checks it, too; before that, a user need not be asked for a
    /// credential in vain.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn check(target: &dyn WriteAt, volume: &Volume) -> Result<()> {
        let block = volume.metadata()?;
        check_supported(volume, block)?;
        volume.check_boot_record(block)?;
        check_places(volume, block, target.size())
    }

    /// Reads the volume again and unlocks it with one of the credentials. Do this after
    /// [`Error::Stale`], and after a change that failed in the middle.
    ///
    /// # Errors
    /// Those of [`Managed::open`]; `self` then stays unchanged.
    pub fn reload<C: Credential>(
        &mut self,
        credentials: &[C],
        options: &UnlockOptions,
    ) -> Result<()> {
        *self = Self::open(self.target.clone(), credentials, options)?;
        Ok(())
    }

    /// Checks that the disk still holds what was read, so that a change computed from that may be
    /// written.
    ///
    /// # Errors
    /// [`Error::Stale`], and [`Error::Io`] when it cannot be read.
    fn check_current(&self) -> Result<()> {
        if self.unfinished {
            return Err(Error::Stale {
                what: "an earlier change to this volume failed in the middle, so the metadata on the disk is not known".to_owned(),
            });
        }
        self.snapshot.check(self.target.as_ref())
    }

    /// The volume, as read last.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// The VMK with which the volume was unlocked.
    pub fn master_key(&self) -> &MasterKey {
        &self.key
    }

    /// The volume's plaintext, unlocked with the master key that is already known: no credential is
    /// needed. It stays readable, and right, while the protectors are changed.
    ///
    /// # Errors
    /// Those of [`Volume::unlock_with_master_key`].
    pub fn unlocked(&self) -> Result<Unlocked> {
        self.volume.unlock_with_master_key(&self.key)
    }

    /// The key protectors, in the order on disk.
    pub fn protectors(&self) -> Vec<&KeyProtector> {
        self.volume.protectors()
    }

    /// The protector with the identifier `name`, or whose identifier begins with these eight or more hex
    /// digits.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] when no protector matches, or more than one.
    pub fn find(&self, name: &str) -> Result<&KeyProtector> {
        let protectors = self.protectors();
        let mut named = protectors
            .iter()
            .filter(|protector| protector.id.is_named_by(name));
        match (named.next(), named.next()) {
            (Some(protector), None) => Ok(protector),
            (None, _) => Err(Error::unchangeable(
                format!("no protector has the ID {name}"),
                format!("the volume has: {}", listed(&protectors)),
            )),
            _ => Err(Error::unchangeable(
                format!("the IDs of several protectors begin with {name}"),
                format!("give more digits; the volume has: {}", listed(&protectors)),
            )),
        }
    }

    /// Returns what a change would do, after every check of [`Managed::commit`] that needs no writing.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] when the change is not allowed or not possible; [`Error::Stale`] when
    /// the disk no longer holds what was read.
    pub fn preview(&self, change: &Change) -> Result<Report> {
        self.prepare(change).map(|prepared| prepared.report)
    }

    /// Whether the boot record and metadata on the disk equal those of a backup, byte for byte. `false`
    /// if they cannot be read.
    pub fn is_as_in(&self, backup: &backup::Backup) -> bool {
        backup.is_on(self.target.as_ref())
    }

    fn block(&self) -> Result<&MetadataBlock> {
        self.volume.metadata()
    }
}

impl std::fmt::Debug for Managed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Managed")
            .field("volume", &self.volume)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A list of protectors for a message.
fn listed(protectors: &[&KeyProtector]) -> String {
    let words: Vec<_> = protectors
        .iter()
        .map(|protector| named(protector.id, protector.kind()))
        .collect();
    words.join(", ")
}

/// A protector for a message: its kind and identifier.
fn named(id: Guid, kind: ProtectorKind) -> String {
    format!("{} {id:X}", kind.name())
}

/// Refuses volumes whose metadata has states or records that this crate does not know how to keep.
fn check_supported(volume: &Volume, block: &MetadataBlock) -> Result<()> {
    let unsupported = |what: &str| Err(Error::unsupported(what.to_owned()));
    if volume.boot_record().flavor == Flavor::Vista || block.version != 2 {
        return unsupported("changing the metadata of a Windows Vista volume");
    }
    if ![State::ENCRYPTED, State::PAUSED].contains(&block.state) {
        return unsupported("changing the metadata of a volume that is being converted");
    }
    let logged = |datum: &crate::format::datum::Datum| matches!(datum.body, Body::Update { .. });
    if block.datums.iter().any(logged) {
        return unsupported("the metadata records an unfinished change of keys in an unknown form");
    }
    Ok(())
}

/// Checks the offsets of the metadata copies before they are written: those in the boot record, inside
/// the volume, overlapping neither each other nor the moved boot sectors.
fn check_places(volume: &Volume, block: &MetadataBlock, size: u64) -> Result<()> {
    let sector = u64::from(volume.sector_size());
    let boot = &volume.boot_record().metadata_offsets;
    let moved_len = u64::from(block.moved_sectors).saturating_mul(sector);
    let free = |offset: u64, other: u64, len: u64| {
        offset.saturating_add(REGION_LEN) <= other || other.saturating_add(len) <= offset
    };
    let fits = |(number, offset): (usize, &u64)| {
        let inside = offset
            .checked_add(REGION_LEN)
            .is_some_and(|end| end <= size);
        let mut others = block.copies.iter().take(number);
        inside
            && offset.is_multiple_of(sector)
            && *offset >= sector
            && others.all(|other| free(*offset, *other, REGION_LEN))
            && free(*offset, block.header_source, moved_len)
    };
    if boot.as_slice() != block.copies.as_slice() {
        return Err(Error::Damaged {
            what: "the boot record and the metadata give different offsets for the metadata copies"
                .to_owned(),
            copies: volume.copies().faults(),
        });
    }
    if block.copies.iter().enumerate().all(fits) {
        return Ok(());
    }
    Err(Error::unchangeable(
        "not all of the three metadata copies are inside the source and apart from each other",
        "use the complete volume: an image that was cut off can be read, but its protectors cannot be changed",
    ))
}
