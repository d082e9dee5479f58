//! Changing the metadata of a volume that exists: its key protectors, and nothing else.
//!
//! [`Managed`] holds a volume, its master key and the means to write. A [`Change`] says what is to
//! be different; [`Managed::preview`] tells what would come of it, [`Managed::commit`] does it.
//!
//! A change is made in memory first: the new metadata is laid out, read back and opened
//! before a byte is written. Then the three copies are written one after the other, each flushed
//! and read again: whatever stops it, at every instant two copies are whole, and the
//! volume opens with its old credentials or with its new ones (docs/format.md §7.3).
//!
//! A change is written only while the disk holds what it was computed from. Where something else
//! has changed the metadata since the volume was read, or where an earlier change failed after its
//! first write, every further change is refused with [`Error::Stale`] and nothing is written, until
//! [`Managed::reload`] has read the volume again: otherwise a removed credential could come back.
//! The comparison is no lock: the caller holds the disk exclusively, and makes one change at a time.
//!
//! Removing a protector gives the volume a new master key in the same commit: whoever
//! knew the removed credential, or kept the old metadata, finds nothing in the new. The sector key
//! stays: only encrypting the data anew would change that.
//!
//! ```no_run
//! use std::sync::Arc;
//! use fve::enroll::NewProtector;
//! use fve::manage::{Change, Managed};
//! use fve::secret::SecretText;
//! use fve::source::ExclusiveFile;
//! use fve::unlock::password::Password;
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
mod seen;
mod tpm;

use std::sync::Arc;

pub use backup::{Backup, Restoration};
pub use key_package::{ExportedKeyPackage, export_key_package};
pub use keys::{Kept, KeptSecret, kept_secrets};
pub use rotate::{Rotation, RotationCause, RotationError, RotationStage, ValidPasswords};
pub use tpm::{Rebound, rebound};

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
use seen::Seen;

/// A volume whose protectors can be changed.
pub struct Managed {
    target: Arc<dyn WriteAt>,
    volume: Volume,
    key: MasterKey,
    /// What `volume` was read from.
    seen: Seen,
    /// Whether a change failed after its first write: what the disk holds is not known then.
    unfinished: bool,
}

/// What is to be different.
#[derive(Debug, Default)]
pub struct Change {
    add: Vec<NewProtector>,
    replace: Vec<(Guid, NewProtector)>,
    remove: Vec<Guid>,
    drop_bound: bool,
    allow_open: bool,
    witnesses: Vec<Witness>,
}

/// A credential that must open a protector of the new metadata.
struct Witness {
    protector: Guid,
    credential: [Box<dyn Credential>; 1],
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Witness({:X})", self.protector)
    }
}

/// What a change does, or did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Numbers of the metadata copies that differed from the one that counts, and were made equal
    /// to it first.
    pub repaired: Vec<u8>,
    /// Protectors that are new.
    pub added: Vec<(Guid, ProtectorKind)>,
    /// Protectors that have a new secret.
    pub replaced: Vec<(Guid, ProtectorKind)>,
    /// Protectors that are gone, with those dropped because nobody can give them the new master
    /// key.
    pub removed: Vec<(Guid, ProtectorKind)>,
    /// Whether the volume has a new master key.
    pub rekeyed: bool,
}

impl Change {
    /// Nothing yet. Committed as it is, it only makes the copies equal and writes them anew.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a protector behind those that there are. Whatever opens it has to be stored already: a
    /// key that exists nowhere opens nothing.
    #[must_use]
    pub fn enroll(mut self, protector: NewProtector) -> Self {
        self.add.push(protector);
        self
    }

    /// Puts another protector of the same kind into the place of one, with its identifier.
    #[must_use]
    pub fn replace(mut self, id: Guid, protector: NewProtector) -> Self {
        self.replace.push((id, protector));
        self
    }

    /// Has a new protector opened by a credential before anything is written: for those that the
    /// master key alone cannot prove, because a TPM keeps their key.
    #[must_use]
    pub fn witness(mut self, id: Guid, credential: Box<dyn Credential>) -> Self {
        self.witnesses.push(Witness {
            protector: id,
            credential: [credential],
        });
        self
    }

    /// Removes a protector, and gives the volume a new master key.
    #[must_use]
    pub fn remove(mut self, id: Guid) -> Self {
        self.remove.push(id);
        self
    }

    /// Also removes those protectors that would not open any more, because only a TPM, a server or
    /// a card could seal the new master key for them. Without this they keep a removal from being
    /// done.
    #[must_use]
    pub fn drop_bound(mut self, drop: bool) -> Self {
        self.drop_bound = drop;
        self
    }

    /// Allows that nothing but a clear key is left, with which anybody can open the volume.
    #[must_use]
    pub fn allow_only_clear_key(mut self, allow: bool) -> Self {
        self.allow_open = allow;
        self
    }
}

impl Managed {
    /// Opens the volume that fills `target` with one of its credentials.
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

    /// The volume that fills `target`, already read and opened.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for Vista's form and for volumes of which a part is being converted
    /// at this moment; [`Error::Unchangeable`] when the key is not that of the metadata copy that
    /// counts, or is not proved by it; [`Error::Damaged`] when the copies lie where none can be
    /// written; [`Error::Contradicted`] where the boot record does not agree with the metadata;
    /// [`Error::Stale`] when `target` does not hold what `volume` was read from.
    pub fn new(target: Arc<dyn WriteAt>, volume: Volume, key: MasterKey) -> Result<Self> {
        let block = volume.metadata()?;
        check_supported(&volume, block)?;
        volume.check_boot_record(block)?;
        check_places(&volume, block, target.size())?;
        if !key.is_proved() {
            return Err(Error::unchangeable(
                "the metadata is not what was sealed with its key",
                "only metadata that passes its checks is changed",
            ));
        }
        if key.position() != block.position {
            return Err(Error::unchangeable(
                "the credential opens only a metadata copy that does not count any more, left by a change that was interrupted",
                "give a credential that opens the first sound copy; the change then makes the others equal to it",
            ));
        }
        let seen = Seen::read(target.as_ref(), &volume)?;
        Ok(Self {
            target,
            volume,
            key,
            seen,
            unfinished: false,
        })
    }

    /// Reads the volume again and opens it with one of its credentials: what is to be done after
    /// [`Error::Stale`], and after a change that failed in the middle.
    ///
    /// # Errors
    /// Those of [`Managed::open`]; it then stays as it was.
    pub fn reload<C: Credential>(
        &mut self,
        credentials: &[C],
        options: &UnlockOptions,
    ) -> Result<()> {
        *self = Self::open(self.target.clone(), credentials, options)?;
        Ok(())
    }

    /// Checks that the disk holds what was read, so that a change may be computed from it and
    /// written.
    ///
    /// # Errors
    /// [`Error::Stale`], and [`Error::Io`] when it cannot be read.
    fn check_current(&self) -> Result<()> {
        if self.unfinished {
            return Err(Error::Stale {
                what: "an earlier change of this volume failed in the middle, so what its metadata says is not known".to_owned(),
            });
        }
        self.seen.check(self.target.as_ref())
    }

    /// The volume as it was read last.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Its master key.
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

    /// Its protectors, in the order on disk.
    pub fn protectors(&self) -> Vec<&KeyProtector> {
        self.volume.protectors()
    }

    /// The protector that `name` names: an identifier or its first eight or more hex digits.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] when there is none, or more than one.
    pub fn find(&self, name: &str) -> Result<&KeyProtector> {
        let protectors = self.protectors();
        let mut named = protectors
            .iter()
            .filter(|protector| protector.id.is_named_by(name));
        match (named.next(), named.next()) {
            (Some(protector), None) => Ok(protector),
            (None, _) => Err(Error::unchangeable(
                format!("the volume has no protector with the identifier {name}"),
                format!("it has: {}", listed(&protectors)),
            )),
            _ => Err(Error::unchangeable(
                format!("more than one protector begins with {name}"),
                format!("give more digits; the volume has: {}", listed(&protectors)),
            )),
        }
    }

    /// What a change would do. All that can be tried without writing is tried.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] when it must not or cannot be done; [`Error::Stale`] when the disk
    /// does not hold any more what was read.
    pub fn preview(&self, change: &Change) -> Result<Report> {
        self.prepare(change).map(|prepared| prepared.report)
    }

    /// Whether boot record and metadata on the disk are those of a backup, byte for byte; not where
    /// they cannot be read.
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

/// Protectors as messages name them.
fn listed(protectors: &[&KeyProtector]) -> String {
    let words: Vec<_> = protectors
        .iter()
        .map(|protector| named(protector.id, protector.kind()))
        .collect();
    words.join(", ")
}

fn named(id: Guid, kind: ProtectorKind) -> String {
    format!("{} {id:X}", kind.name())
}

/// Refuses what cannot be changed without knowing more than is known.
fn check_supported(volume: &Volume, block: &MetadataBlock) -> Result<()> {
    let unsupported = |what: &str| {
        Err(Error::Unsupported {
            what: what.to_owned(),
        })
    };
    if volume.boot_record().flavor == Flavor::Vista || block.version != 2 {
        return unsupported("changing the metadata of a Windows Vista volume");
    }
    if ![State::ENCRYPTED, State::PAUSED].contains(&block.state) {
        return unsupported("changing the metadata of a volume that is being converted");
    }
    let logged = |datum: &crate::format::datum::Datum| matches!(datum.body, Body::Update { .. });
    if block.datums.iter().any(logged) {
        return unsupported(
            "the metadata records a change of keys under way, in a form that is not known",
        );
    }
    Ok(())
}

/// The copies have to lie where the boot record says, apart from each other and inside the volume:
/// they are about to be written.
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
            what: "the boot record and the metadata name different places for the copies"
                .to_owned(),
            copies: volume.copies().faults(),
        });
    }
    if block.copies.iter().enumerate().all(fits) {
        return Ok(());
    }
    Err(Error::unchangeable(
        "not all of the three metadata copies lie inside the source, apart from each other",
        "an image that was cut off can be read, but its protectors cannot be changed",
    ))
}
