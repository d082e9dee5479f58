//! Replaces recovery passwords: the new one is stored elsewhere, added to the volume and tried before
//! an old one is removed (docs/format-recovery.md §5.3).

use super::commit::OnDisk;
use super::{Change, Managed, Report};
use crate::enroll::NewProtector;
use crate::error::{Error, Remedy, Result};
use crate::format::protector::ProtectorKind;
use crate::guid::Guid;
use crate::recovery_password::RecoveryPassword;
use crate::unlock::RecoveryPasswords;
use crate::volume::{UnlockOptions, Volume};

/// The replacement of recovery passwords by a new one.
#[derive(Debug)]
pub struct Rotation {
    password: RecoveryPassword,
    protector: NewProtector,
    id: Guid,
    old: Vec<Guid>,
    drop_bound: bool,
}

impl Rotation {
    /// Prepares a new password to replace those of the protectors `old`, or all recovery passwords of
    /// the volume if `old` is empty.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] when one of `old` is not a recovery password of the volume, or the
    /// volume has none; [`Error::Environment`] when the system returns no random numbers.
    pub fn new(volume: &Managed, old: &[Guid]) -> Result<Self> {
        let protectors = volume.protectors();
        let present: Vec<_> = protectors
            .iter()
            .filter(|protector| protector.kind() == ProtectorKind::RecoveryPassword)
            .map(|protector| protector.id)
            .collect();
        if let Some(unknown) = old.iter().find(|id| !present.contains(id)) {
            return Err(Error::unchangeable(
                format!("{unknown:X} is not a recovery password of the volume"),
                format!("the volume has: {}", super::listed(&protectors)),
            ));
        }
        if present.is_empty() {
            return Err(Error::unchangeable(
                "the volume has no recovery password to replace",
                Remedy::AddRecoveryPassword,
            ));
        }
        let (password, protector) = NewProtector::new_recovery_password()?;
        Ok(Self {
            password,
            id: protector.id(),
            protector,
            old: if old.is_empty() {
                present
            } else {
                old.to_vec()
            },
            drop_bound: false,
        })
    }

    /// See [`Change::drop_bound`].
    #[must_use]
    pub fn drop_bound(mut self, drop: bool) -> Self {
        self.drop_bound = drop;
        self
    }

    /// Identifier of the new password: the password ID.
    pub fn id(&self) -> Guid {
        self.id
    }

    /// The new password.
    pub fn password(&self) -> &RecoveryPassword {
        &self.password
    }

    /// The identifiers of the passwords that will be removed.
    pub fn old(&self) -> &[Guid] {
        &self.old
    }

    /// The change that removes the old passwords.
    fn removal(&self) -> Change {
        let change = Change::new().drop_bound(self.drop_bound);
        self.old
            .iter()
            .fold(change, |change, id| change.remove(*id))
    }

    /// Returns what the rotation would do.
    ///
    /// # Errors
    /// Those of [`Managed::preview`].
    pub fn preview(&self, volume: &Managed) -> Result<Report> {
        let change = self.removal();
        // Previews both steps as one change, with another new protector: the change would consume the
        // real one, which `carry_out` still needs.
        let substitute = NewProtector::new_recovery_password()?.1;
        let mut report = volume.preview(&change.enroll(substitute))?;
        report.added = vec![(self.id, ProtectorKind::RecoveryPassword)];
        Ok(report)
    }

    /// Replaces the passwords, in this order: `escrow` stores the new password, and returns when it
    /// is stored for good; the new password is added to the volume; it is tried on what the disk
    /// then holds; the old passwords are removed.
    ///
    /// `escrow` returns an error type of the caller's choice, which comes back unchanged in
    /// [`RotationError::cause`]. [`RotationError`] is a [`std::error::Error`] if that type is one.
    ///
    /// # Errors
    /// [`RotationError`], which says at which step it failed and which passwords unlock the volume
    /// now. When `escrow` fails, nothing was written to the volume.
    pub fn carry_out<E>(
        self,
        volume: &mut Managed,
        escrow: impl FnOnce(Guid, &RecoveryPassword) -> Result<(), E>,
    ) -> Result<Report, RotationError<E>> {
        let id = self.id;
        let failed = |stage, valid, cause| RotationError {
            stage,
            valid,
            id,
            cause,
        };
        let of_volume = |stage, valid, error| failed(stage, valid, RotationCause::Volume(error));
        self.preview(volume)
            .map_err(|error| of_volume(RotationStage::Prepare, ValidPasswords::Old, error))?;
        let removal = self.removal();
        escrow(id, &self.password).map_err(|error| {
            failed(
                RotationStage::Escrow,
                ValidPasswords::Old,
                RotationCause::Escrow(error),
            )
        })?;
        let added = volume
            .try_commit(&Change::new().enroll(self.protector))
            .map_err(|failure| {
                let valid = match failure.on_disk {
                    OnDisk::Unchanged => ValidPasswords::Old,
                    OnDisk::Old | OnDisk::OldOrNew => ValidPasswords::OldAndPerhapsNew,
                    OnDisk::New => ValidPasswords::Both,
                };
                of_volume(RotationStage::Add, valid, failure.error)
            })?;
        // The new password is on the volume, but nothing has shown yet that it unlocks it.
        verify(volume, id, &self.password).map_err(|error| {
            of_volume(
                RotationStage::Verify,
                ValidPasswords::OldAndPerhapsNew,
                error,
            )
        })?;
        let mut report = volume.try_commit(&removal).map_err(|failure| {
            let valid = match failure.on_disk {
                OnDisk::Unchanged | OnDisk::Old => ValidPasswords::Both,
                OnDisk::OldOrNew => ValidPasswords::NewAndPerhapsOld,
                OnDisk::New => ValidPasswords::New,
            };
            of_volume(RotationStage::Remove, valid, failure.error)
        })?;
        report.added = added.added;
        report.repaired = added.repaired;
        Ok(report)
    }
}

/// Reads the volume from the disk again and unlocks it with the new password alone.
fn verify(volume: &Managed, id: Guid, password: &RecoveryPassword) -> Result<()> {
    let on_disk = Volume::from_source(volume.target.clone())?;
    let options = UnlockOptions::new().protector(id);
    let credential = RecoveryPasswords::new(password);
    on_disk.unlock_master_key(&[credential], &options).map(drop)
}

/// The step at which a rotation failed, in the order of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RotationStage {
    /// Checking that the change is possible, before the caller's `escrow` was called.
    Prepare,
    /// The caller's `escrow`.
    Escrow,
    /// Writing the protector of the new password to the volume.
    Add,
    /// Unlocking the volume with the new password.
    Verify,
    /// Removing the protectors of the old passwords.
    Remove,
}

/// Which recovery passwords unlock the volume after a rotation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValidPasswords {
    /// Only the old ones. The new one, if `escrow` stored it, is void.
    Old,
    /// The old ones; the new one may, too. A write failed, and how far it got is not known, or what was
    /// written could not be checked.
    OldAndPerhapsNew,
    /// The old ones and the new one.
    Both,
    /// The new one; the old ones may, too. A write failed, and how far it got is not known.
    NewAndPerhapsOld,
    /// Only the new one.
    New,
}

/// A rotation that failed.
///
/// Keep the new password wherever `escrow` stored it unless `valid` is [`ValidPasswords::Old`].
/// From [`RotationStage::Add`] on the volume may have to be read again ([`Managed::reload`]) before
/// it can be changed.
#[derive(Debug)]
#[non_exhaustive]
pub struct RotationError<E> {
    /// The step that failed.
    pub stage: RotationStage,
    /// The passwords that unlock the volume now.
    pub valid: ValidPasswords,
    /// Identifier of the new password's protector.
    pub id: Guid,
    /// What went wrong.
    pub cause: RotationCause<E>,
}

/// What went wrong in a rotation.
#[derive(Debug)]
#[non_exhaustive]
pub enum RotationCause<E> {
    /// The error of the caller's `escrow`.
    Escrow(E),
    /// Reading or changing the volume failed.
    Volume(Error),
}

impl<E> std::fmt::Display for RotationError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.stage, self.valid)
    }
}

impl<E: std::error::Error + 'static> std::error::Error for RotationError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match &self.cause {
            RotationCause::Escrow(error) => error,
            RotationCause::Volume(error) => error,
        })
    }
}

impl<E: Into<Error>> RotationError<E> {
    /// The cause alone, without the passwords that are valid now.
    pub fn into_cause(self) -> Error {
        match self.cause {
            RotationCause::Escrow(error) => error.into(),
            RotationCause::Volume(error) => error,
        }
    }
}

impl std::fmt::Display for RotationStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Prepare => "the recovery password cannot be replaced",
            Self::Escrow => "the new recovery password could not be stored",
            Self::Add => "the new recovery password could not be added to the volume",
            Self::Verify => "the new recovery password could not be tried on the volume",
            Self::Remove => "the old recovery passwords could not be removed",
        })
    }
}

impl std::fmt::Display for ValidPasswords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Old => "only the old ones unlock the volume",
            Self::OldAndPerhapsNew => "the old ones unlock the volume, and perhaps the new one",
            Self::Both => "the old ones and the new one unlock the volume",
            Self::NewAndPerhapsOld => "the new one unlocks the volume, and perhaps the old ones",
            Self::New => "only the new one unlocks the volume",
        })
    }
}
