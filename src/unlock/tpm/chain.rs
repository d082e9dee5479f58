//! Opens the VMK with what the TPM released (docs/format-tpm.md §3).

use zeroize::Zeroizing;

use crate::crypto::envelope;
use crate::error::{Failure, Reason};
use crate::format::block::MetadataBlock;
use crate::format::datum::{Body, Datum, key_types};
use crate::format::protector::KeyProtector;
use crate::secret::{ExternalKey, IntermediateKey, SecretBytes, StretchedKey, Vmk};
use crate::unlock::{Answer, open_key, open_vmk};

/// What the TPM released, decrypted with the PIN if there is one.
pub(super) enum Released {
    /// The VMK itself.
    Vmk(Vmk),
    /// A key that opens the sealed VMK, alone or combined with a startup key.
    Intermediate(IntermediateKey),
}

impl Released {
    /// Reads the payload that the TPM released. With `bare`, the protector contains no sealed VMK, so
    /// the payload is the VMK.
    pub(super) fn read(
        payload: &SecretBytes,
        bare: bool,
        stretched: Option<&StretchedKey>,
    ) -> Result<Self, Failure> {
        let wanted = if bare {
            key_types::VMK
        } else {
            key_types::CLEAR_KEY
        };
        let key = key_of(payload, wanted, stretched)?;
        let unfit = || {
            Failure::new(
                Reason::DamagedProtector,
                "the released data is not a key of 32 bytes",
            )
        };
        Ok(if bare {
            Self::Vmk(Vmk::from_slice(key.expose()).ok_or_else(unfit)?)
        } else {
            Self::Intermediate(IntermediateKey::from_slice(key.expose()).ok_or_else(unfit)?)
        })
    }

    /// Opens the VMK, with one of the startup keys if the protector needs one; `None` if it does not.
    pub(super) fn open(
        self,
        protector: &KeyProtector,
        block: &MetadataBlock,
        startup_keys: Option<&[&ExternalKey]>,
    ) -> Answer {
        let key = match self {
            Self::Vmk(vmk) => return proved(vmk, block),
            Self::Intermediate(key) => key,
        };
        let Some(startup_keys) = startup_keys else {
            return open_with(protector, key.expose());
        };
        for other in startup_keys {
            let joined = join(&key, other);
            if let Answer::Opened(vmk) = open_vmk(protector, &joined) {
                return Answer::Opened(vmk);
            }
        }
        Answer::Failed(Failure::new(
            Reason::WrongKey,
            "the TPM released its key, but the startup key does not match: it belongs to another volume, or was replaced",
        ))
    }
}

/// The key that seals the VMK: the intermediate key XORed with the startup key.
pub(crate) fn join(released: &IntermediateKey, startup: &ExternalKey) -> Zeroizing<[u8; 32]> {
    let mut joined = Zeroizing::new(*released.expose());
    for (byte, other) in joined.iter_mut().zip(startup.expose()) {
        *byte ^= other;
    }
    joined
}

fn key_of(
    payload: &SecretBytes,
    wanted: u16,
    stretched: Option<&StretchedKey>,
) -> Result<SecretBytes, Failure> {
    // Some captures have only the key, not the datum around it.
    if payload.len() == 32 {
        return Ok(SecretBytes::new(payload.expose().to_vec()));
    }
    let strange = || {
        Failure::new(
            Reason::DamagedProtector,
            "the released data is not what a protector of this kind seals in a TPM",
        )
    };
    let datum = Datum::parse_one(payload.expose()).map_err(|_| strange())?;
    match (datum.body, stretched) {
        (Body::Key(key), _) if key.key_type == wanted => Ok(key.data),
        (Body::Sealed(sealed), Some(stretched)) => {
            let key = open_key(&sealed, stretched.expose(), &[wanted]);
            key.map(|key| key.data).ok_or_else(|| {
                // A TPM would have refused a wrong PIN, but a captured payload cannot.
                Failure::new(
                    Reason::WrongKey,
                    "the released data does not decrypt with the PIN: the PIN is wrong, or the metadata is damaged",
                )
            })
        }
        _ => Err(strange()),
    }
}

/// The released key, without a check of its key type.
#[cfg(feature = "network")]
pub(super) fn key_of_any_type(payload: &SecretBytes) -> Result<IntermediateKey, Failure> {
    let found = match Datum::parse_one(payload.expose()).map(|datum| datum.body) {
        Ok(Body::Key(key)) => IntermediateKey::from_slice(key.data.expose()),
        _ => IntermediateKey::from_slice(payload.expose()),
    };
    found.ok_or_else(|| {
        Failure::new(
            Reason::DamagedProtector,
            "the released data is not a key of 32 bytes",
        )
    })
}

fn open_with(protector: &KeyProtector, key: &[u8; 32]) -> Answer {
    match open_vmk(protector, key) {
        Answer::Failed(failure) if failure.reason == Reason::WrongKey => {
            Answer::Failed(Failure::new(
                Reason::WrongKey,
                "the released key does not open the protector: it belongs to another protector, or the metadata is damaged",
            ))
        }
        answer => answer,
    }
}

/// Checks a VMK that came directly from the TPM with the sealed FVEK: the protector has nothing that would
/// prove it.
fn proved(vmk: Vmk, block: &MetadataBlock) -> Answer {
    let opens = block.sealed_fvek().is_none_or(|sealed| {
        envelope::open(vmk.expose(), &sealed.nonce, &sealed.tag, &sealed.ciphertext).is_some()
    });
    if opens {
        return Answer::Opened(vmk);
    }
    Answer::Failed(Failure::new(
        Reason::WrongKey,
        "the released key is not the volume's master key: it belongs to another protector, or is outdated",
    ))
}
