//! Reads the protectors' own keys with the VMK. The metadata holds a backup of most of them, sealed with
//! the VMK, so that protectors can be sealed again without their credentials (docs/format.md §3.13;
//! docs/format-recovery-password.md §1.13).

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::stretch::InitialHash;
use crate::error::Result;
use crate::format::bek::BekFile;
use crate::format::datum::{Datum, STRETCH_FLAG_PBKDF2, key_types};
use crate::format::encode;
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::format::time::FileTime;
use crate::guid::Guid;
use crate::recovery_password::RecoveryPassword;
use crate::secret::{ExternalKey, RecoveryKey, SecretBytes, Vmk};
use crate::unlock::open_key;
use crate::volume::{MasterKey, Volume};

/// Types of the backups that are the key of a protector without further stretching. 0x2001 is a
/// stretched key whose origin the type does not say (docs/format.md §3.4).
const OPENING_KEYS: [u16; 5] = [
    0x2001,
    key_types::EXTERNAL_KEY,
    key_types::CERTIFICATE_KEY,
    key_types::STRETCHED_PASSWORD,
    key_types::STRETCHED_RECOVERY,
];

/// The backup of a protector's secret that the metadata holds, decrypted with the VMK.
#[derive(Debug)]
#[non_exhaustive]
pub struct SecretBackup {
    /// Identifier of the protector.
    pub protector: Guid,
    /// The kind of the protector.
    pub kind: ProtectorKind,
    /// When the protector was last changed.
    pub changed: FileTime,
    /// The secret that the credential is computed from.
    pub secret: ProtectorSecret,
}

/// A secret that the metadata holds a backup of.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProtectorSecret {
    /// A recovery password.
    RecoveryPassword(RecoveryPassword),
    /// The key of a `.BEK` file.
    ExternalKey(ExternalKey),
}

impl SecretBackup {
    /// The content of the `.BEK` file of an external key: 156 bytes, or 180 with the identifier of the
    /// volume, as Windows 11 writes it. `None` for other secrets.
    ///
    /// # Errors
    /// None in practice: the content always fits the format.
    pub fn startup_key_file(&self, volume: Option<Guid>) -> Result<Option<SecretBytes>> {
        let ProtectorSecret::ExternalKey(key) = &self.secret else {
            return Ok(None);
        };
        encode::bek::bek(&BekFile {
            id: self.protector,
            created: self.changed,
            written: self.changed,
            volume,
            key: ExternalKey::from_bytes(key.expose()),
        })
        .map(Some)
        .map_err(crate::enroll::unfit)
    }
}

/// Every recovery password and external key that the metadata holds a backup of, in the order on disk.
///
/// # Errors
/// [`Error::Damaged`](crate::error::Error::Damaged) when no metadata can be read.
pub fn secret_backups(volume: &Volume, key: &MasterKey) -> Result<Vec<SecretBackup>> {
    let readable = volume.copies().readable();
    let block = match readable
        .into_iter()
        .find(|block| block.position == key.position())
    {
        Some(block) => block,
        None => volume.metadata()?,
    };
    let vmk = key.expose();
    Ok(block
        .protectors()
        .filter_map(|protector| {
            let secret = recovery_key(protector, vmk)
                .map(|key| ProtectorSecret::RecoveryPassword(RecoveryPassword::from_key(&key)))
                .or_else(|| external_key(protector, vmk).map(ProtectorSecret::ExternalKey))?;
            Some(SecretBackup {
                protector: protector.id,
                kind: protector.kind(),
                changed: protector.changed,
                secret,
            })
        })
        .collect())
}

/// The 128 bits of a recovery password, from their backup.
fn recovery_key(protector: &KeyProtector, vmk: &Vmk) -> Option<RecoveryKey> {
    let sealed = protector.recovery_key_backup()?;
    let key = open_key(sealed, vmk.expose(), &[key_types::RECOVERY_KEY])?;
    RecoveryKey::from_slice(key.data.expose())
}

/// The key of a `.BEK` file, from its backup.
pub(super) fn external_key(protector: &KeyProtector, vmk: &Vmk) -> Option<ExternalKey> {
    let mut backups = protector.use_key()?.nested.iter().filter_map(Datum::sealed);
    backups.find_map(|sealed| {
        let key = open_key(sealed, vmk.expose(), &[key_types::EXTERNAL_KEY])?;
        ExternalKey::from_slice(key.data.expose())
    })
}

/// The key that seals the VMK in the protector; `None` if the metadata has no backup of it, so that only
/// the user, a TPM or a smart card has it.
pub(super) fn own_key(protector: &KeyProtector, vmk: &Vmk) -> Option<Zeroizing<[u8; 32]>> {
    let fits = |key: &Zeroizing<[u8; 32]>| opens(protector, key, vmk);
    let clear = protector.clear_key().and_then(key_bytes);
    let backups = || {
        let stretched = protector.stretch().into_iter().flat_map(|s| &s.nested);
        let used = protector.use_key().into_iter().flat_map(|u| &u.nested);
        stretched
            .chain(used)
            .filter_map(Datum::sealed)
            .filter_map(|sealed| open_key(sealed, vmk.expose(), &OPENING_KEYS))
            .filter_map(|key| key_bytes(key.data.expose()))
    };
    clear
        .filter(fits)
        .or_else(|| backups().find(fits))
        .or_else(|| stretched_again(protector, vmk).filter(fits))
}

/// Stretches the backup of a recovery password: before Windows 8.1 the metadata has a backup of its 128
/// bits only, not of the stretched key.
fn stretched_again(protector: &KeyProtector, vmk: &Vmk) -> Option<Zeroizing<[u8; 32]>> {
    let stretch = protector.stretch()?;
    if stretch.flags & STRETCH_FLAG_PBKDF2 != 0 {
        return None;
    }
    let key = recovery_key(protector, vmk)?;
    let stretched = InitialHash::of_recovery_key(&key).stretch(&stretch.salt);
    key_bytes(stretched.expose())
}

/// Whether the key opens the sealed VMK in the protector, and it is this VMK.
fn opens(protector: &KeyProtector, key: &[u8; 32], vmk: &Vmk) -> bool {
    protector
        .sealed_vmk()
        .and_then(|sealed| open_key(sealed, key, &[key_types::VMK, key_types::CLEAR_KEY]))
        .is_some_and(|opened| opened.data.expose().ct_eq(vmk.expose()).into())
}

fn key_bytes(bytes: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        return None;
    }
    key.copy_from_slice(bytes);
    Some(key)
}
