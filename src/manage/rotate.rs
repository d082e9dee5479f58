//! Recovery passwords replaced: the new one is stored and proved before an old one goes
//! (docs/format-recovery.md §5.3).

use super::{Change, Managed, Report};
use crate::enroll::NewProtector;
use crate::error::{Error, Remedy, Result};
use crate::format::protector::ProtectorKind;
use crate::guid::Guid;
use crate::recovery_password::RecoveryPassword;
use crate::unlock::recovery_password::RecoveryPasswords;
use crate::volume::{UnlockOptions, Volume};

/// A recovery password that takes the place of others.
#[derive(Debug)]
pub struct Rotation {
    password: RecoveryPassword,
    protector: Option<NewProtector>,
    id: Guid,
    old: Vec<Guid>,
    drop_bound: bool,
}

impl Rotation {
    /// A new password in the place of `old`; of all recovery passwords where none is named.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] when one of `old` is no recovery password of the volume, or when
    /// the volume has none; [`Error::Environment`] when the system gives no random numbers.
    pub fn new(volume: &Managed, old: &[Guid]) -> Result<Self> {
        let protectors = volume.protectors();
        let present: Vec<_> = protectors
            .iter()
            .filter(|protector| protector.kind() == ProtectorKind::RecoveryPassword)
            .map(|protector| protector.id)
            .collect();
        if let Some(stranger) = old.iter().find(|id| !present.contains(id)) {
            return Err(Error::unchangeable(
                format!("{stranger:X} is no recovery password of the volume"),
                format!("it has: {}", super::listed(&protectors)),
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
            protector: Some(protector),
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

    /// Identifier of the new password.
    pub fn id(&self) -> Guid {
        self.id
    }

    /// The new password.
    pub fn password(&self) -> &RecoveryPassword {
        &self.password
    }

    /// The identifiers of the passwords that go.
    pub fn old(&self) -> &[Guid] {
        &self.old
    }

    /// What removes the old ones.
    fn removal(&self) -> Change {
        let change = Change::new().drop_bound(self.drop_bound);
        self.old
            .iter()
            .fold(change, |change, id| change.remove(*id))
    }

    /// What it would do.
    ///
    /// # Errors
    /// Those of [`Managed::preview`].
    pub fn preview(&self, volume: &Managed) -> Result<Report> {
        let change = self.removal();
        // Only whether the old ones can go is in question; a protector is laid out but once.
        let stand_in = NewProtector::new_recovery_password()?.1;
        let mut report = volume.preview(&change.enrol(stand_in))?;
        report.added = vec![(self.id, ProtectorKind::RecoveryPassword)];
        Ok(report)
    }

    /// Does it: `escrow` stores the new password, and returns when it is safe there; the password
    /// comes onto the volume and is tried on what lies on the disk; then the old ones go.
    ///
    /// # Errors
    /// What `escrow` returns: nothing is changed then. Those of [`Managed::commit`]; the volume
    /// then opens with the old passwords, and with the new one where it came that far.
    pub fn carry_out(
        mut self,
        volume: &mut Managed,
        escrow: impl FnOnce(Guid, &RecoveryPassword) -> Result<()>,
    ) -> Result<Report> {
        self.preview(volume)?;
        let Some(protector) = self.protector.take() else {
            return Ok(Report::default());
        };
        escrow(self.id, &self.password)?;
        let first = volume.commit(&Change::new().enrol(protector))?;
        self.prove(volume)?;
        let mut report = volume.commit(&self.removal())?;
        report.added = first.added;
        report.repaired = first.repaired;
        Ok(report)
    }

    /// Reads the volume anew and opens it with the new password alone.
    fn prove(&self, volume: &Managed) -> Result<()> {
        let on_disk = Volume::from_source(volume.target.clone())?;
        let mut options = UnlockOptions::default();
        options.selection.protector = Some(self.id.to_string());
        let credential = RecoveryPasswords::new(&self.password);
        on_disk
            .unlock_master_key(&[Box::new(credential)], &options)
            .map(drop)
    }
}
