//! The seam between BitLocker and a TPM: whoever gives a TPM's answers implements [`Unsealer`].

use crate::crypto::hash::HashAlgorithm;
use crate::format::tpm_blob::SealedObject;
use crate::secret::{SecretBytes, TpmPassword};

use super::policy::{Pcrs, Policy};

/// Gives what a TPM would give. Every method stands for itself and leaves nothing behind in the
/// TPM, whatever comes of it.
pub trait Unsealer: Send + Sync {
    /// What it is called in reports.
    fn name(&self) -> &str {
        "TPM"
    }

    /// How messages name it: `the TPM at device:/dev/tpmrm0`.
    fn place(&self) -> String;

    /// Whether it wants the PIN.
    fn takes_pin(&self) -> bool {
        true
    }

    /// The name of its storage root key: a hash of it that pins it. `None` where there is none to
    /// show.
    ///
    /// # Errors
    /// As [`Unsealer::check`].
    fn srk_name(&self) -> Result<Option<Vec<u8>>, TpmError> {
        Ok(None)
    }

    /// What it says about wrong passwords; `None` where nothing counts them.
    ///
    /// # Errors
    /// The TPM does not answer.
    fn lockout(&self) -> Result<Option<Lockout>, TpmError>;

    /// The values of these PCRs in a bank, without those that it does not have; `None` where there
    /// are no PCRs to compare.
    ///
    /// # Errors
    /// The TPM does not answer.
    fn pcrs(&self, bank: HashAlgorithm, wanted: &[u8]) -> Result<Option<Pcrs>, TpmError>;

    /// Whether the object is one of this TPM. Costs no attempt.
    ///
    /// # Errors
    /// [`TpmError::OtherTpm`] and [`TpmError::NoSrk`] where it is not.
    fn check(&self, object: &SealedObject) -> Result<(), TpmError>;

    /// Releases what is sealed. A wrong password counts, if the object says so: it is given once.
    ///
    /// # Errors
    /// The TPM refuses.
    fn unseal(
        &self,
        object: &SealedObject,
        policy: &Policy,
        password: Option<&TpmPassword>,
    ) -> Result<SecretBytes, TpmError>;
}

/// A TPM that seals, too.
pub trait ObjectSealer: Unsealer {
    /// Seals up to 128 bytes under its storage root key, in SHA-256 and in the form of Windows:
    /// released when the policy is satisfied, and only with the password where there is one. Wrong
    /// passwords count.
    ///
    /// # Errors
    /// As [`Unsealer::check`].
    fn seal(
        &self,
        data: &SecretBytes,
        policy: &[u8],
        password: Option<&TpmPassword>,
    ) -> Result<Sealed, TpmError>;
}

/// A sealed object, in the TPM's own encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Content of the `TPM2B_PRIVATE`.
    pub private: Vec<u8>,
    /// Content of the `TPM2B_PUBLIC`.
    pub public: Vec<u8>,
}

/// What a TPM says about wrong passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lockout {
    /// Whether it refuses right ones, too.
    pub locked: bool,
    /// How many wrong ones it counts now.
    pub failures: u32,
    /// How many lock it.
    pub max_failures: u32,
    /// Seconds after which it forgives one.
    pub interval: u32,
    /// Seconds after which its owner may try to reset it, after that failed.
    pub recovery: u32,
}

impl Lockout {
    /// How many wrong passwords are left.
    pub fn tries_left(&self) -> u32 {
        self.max_failures.saturating_sub(self.failures)
    }
}

/// Why a TPM does not release a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// It cannot be reached.
    #[error("no TPM can be reached: {why}")]
    NoTpm {
        /// What was tried, and what came of it.
        why: String,
    },
    /// There is no storage root key in it.
    #[error("the TPM has no storage root key: Windows never used it, or it was cleared")]
    NoSrk,
    /// The storage root key is not the one that was asked for.
    #[error("the TPM's storage root key has the name {found}, not the one given")]
    OtherSrk {
        /// Its name in hex digits.
        found: String,
    },
    /// The object was not sealed by it.
    #[error(
        "it was sealed by another TPM, or the TPM was cleared, or the sealed object is damaged"
    )]
    OtherTpm,
    /// It has no such bank.
    #[error("the TPM has no {} bank of PCRs", .0.name())]
    NoBank(HashAlgorithm),
    /// Its PCRs are not those that the object was sealed to.
    #[error("the TPM's PCRs are not those that the key was sealed to")]
    PcrMismatch,
    /// The password is wrong.
    #[error("the PIN is wrong")]
    WrongPin,
    /// It takes no password any more, for now.
    #[error("the TPM is locked: too many wrong PINs")]
    Locked,
    /// Anything else.
    #[error("the TPM answers {what}")]
    Other {
        /// The code, and what was being done.
        what: String,
    },
}
