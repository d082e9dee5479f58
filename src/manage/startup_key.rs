//! Replaces a startup key: the file of the new one is saved, read again and tried before the volume is
//! written, and the old one is removed in the same commit.

use super::commit::OnDisk;
use super::{Change, Managed, Report, listed, named};
use crate::enroll::{NewProtector, StartupKeyFile};
use crate::error::{Error, Remedy, Result};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::guid::Guid;
use crate::unlock::StartupKey;

/// The replacement of a startup key by a new one, which has an identifier of its own.
#[derive(Debug)]
pub struct StartupKeyChange {
    protector: NewProtector,
    file: StartupKeyFile,
    old: Guid,
    drop_bound: bool,
}

/// A replacement of a startup key that failed.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
#[non_exhaustive]
pub struct StartupKeyChangeError {
    /// What went wrong.
    pub cause: Error,
    /// Whether the new key is void, so that its file can be removed. If not, a part of the change was
    /// written, and the new key may be the one that unlocks the volume.
    pub new_is_void: bool,
}

impl StartupKeyChange {
    /// Prepares a new key to replace that of the protector `old`, or the only startup key of the
    /// volume if `old` is `None`.
    ///
    /// # Errors
    /// Those of [`StartupKeyChange::check`]; [`Error::Environment`] when the system returns no random
    /// numbers.
    pub fn new(volume: &Managed, old: Option<Guid>) -> Result<Self> {
        let old = Self::check(&volume.protectors(), old)?;
        let protector = NewProtector::new_startup_key()?;
        // In the form that every version of Windows reads.
        let file = protector
            .startup_key_file(None)?
            .ok_or_else(|| Error::unchangeable("the new startup key has no file", "report this"))?;
        Ok(Self {
            protector,
            file,
            old,
            drop_bound: false,
        })
    }

    /// The startup key that would be replaced among these protectors; see [`StartupKeyChange::new`].
    /// This needs no key, so that a user is not asked for a credential in vain.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] when `old` is not a startup key that stands alone, when there is none,
    /// or when there are several and `old` is `None`.
    pub fn check(protectors: &[&KeyProtector], old: Option<Guid>) -> Result<Guid> {
        let chosen = |protector: &&&KeyProtector| old.is_none_or(|id| protector.id == id);
        let mut chosen = protectors.iter().filter(chosen).peekable();
        if chosen.peek().is_none() {
            return Err(none_of(protectors));
        }
        let mut bound = None;
        let mut keys = Vec::new();
        for protector in chosen {
            match protector.kind() {
                ProtectorKind::ExternalKey => keys.push(protector.id),
                ProtectorKind::TpmStartupKey | ProtectorKind::TpmPinStartupKey => {
                    bound = bound.or(Some(protector));
                }
                _ => {}
            }
        }
        match (keys.as_slice(), bound) {
            ([id], _) => Ok(*id),
            ([], Some(protector)) => Err(Error::unchangeable(
                format!(
                    "{} needs its TPM for a new startup key: the TPM holds the other half of the key",
                    named(protector.id, protector.kind())
                ),
                Remedy::AddTpmStartupKey,
            )),
            ([], None) => Err(none_of(protectors)),
            _ => {
                let ids: Vec<_> = keys.iter().map(|id| format!("{id:X}")).collect();
                Err(Error::unchangeable(
                    format!("the volume has several startup keys: {}", ids.join(", ")),
                    "name one of them by its ID",
                ))
            }
        }
    }

    /// See [`Change::drop_bound`].
    #[must_use]
    pub fn drop_bound(mut self, drop: bool) -> Self {
        self.drop_bound = drop;
        self
    }

    /// The file of the new key.
    pub fn file(&self) -> &StartupKeyFile {
        &self.file
    }

    /// The identifier of the new key.
    pub fn id(&self) -> Guid {
        self.protector.id()
    }

    fn change(old: Guid, drop_bound: bool, new: NewProtector) -> Change {
        Change::new().drop_bound(drop_bound).remove(old).enroll(new)
    }

    /// Returns what the replacement would do.
    ///
    /// # Errors
    /// Those of [`Managed::preview`].
    pub fn preview(&self, volume: &Managed) -> Result<Report> {
        // The change would consume the real protector, which `carry_out` still needs.
        let substitute = NewProtector::new_startup_key()?;
        let change = Self::change(self.old, self.drop_bound, substitute);
        let mut report = volume.preview(&change)?;
        report.added = vec![(self.id(), ProtectorKind::ExternalKey)];
        Ok(report)
    }

    /// Replaces the key. `save` saves the file and returns, once that is on stable storage, the key as
    /// it was read from there. This key must unlock the new metadata before anything is written.
    ///
    /// # Errors
    /// [`StartupKeyChangeError`], which says whether the new key is void.
    pub fn carry_out(
        self,
        volume: &mut Managed,
        save: impl FnOnce(&StartupKeyFile) -> Result<StartupKey>,
    ) -> Result<Report, StartupKeyChangeError> {
        let void = |cause| StartupKeyChangeError {
            cause,
            new_is_void: true,
        };
        self.preview(volume).map_err(void)?;
        let saved = save(&self.file).map_err(void)?;
        let id = self.id();
        let change = Self::change(self.old, self.drop_bound, self.protector)
            .verify_with(id, Box::new(saved));
        volume
            .try_commit(&change)
            .map_err(|failure| StartupKeyChangeError {
                new_is_void: failure.on_disk == OnDisk::Unchanged,
                cause: failure.error,
            })
    }
}

fn none_of(protectors: &[&KeyProtector]) -> Error {
    Error::unchangeable(
        format!(
            "there is no startup key to change among: {}",
            listed(protectors)
        ),
        Remedy::AddStartupKey,
    )
}
