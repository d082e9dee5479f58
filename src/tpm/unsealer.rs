//! The traits between BitLocker's metadata and a TPM: [`Unsealer`] and [`ObjectSealer`].

use crate::crypto::hash::HashAlgorithm;
use crate::error::{Reason, Remedy};
use crate::format::tpm_blob::SealedObject;
use crate::secret::{SecretBytes, TpmPassword};

use super::policy::{Pcrs, Policy};

/// A TPM, or something that answers as one would.
///
/// The methods are independent of each other. Each removes from the TPM what it created there, also
/// when it fails.
pub trait Unsealer: Send + Sync {
    /// The name of the credential in reports.
    fn name(&self) -> &str {
        "TPM"
    }

    /// How messages name this TPM: `the TPM at device:/dev/tpmrm0`.
    fn place(&self) -> String;

    /// Whether unsealing an object with a PIN needs the PIN.
    fn needs_pin(&self) -> bool {
        true
    }

    /// The TPM name of the storage root key (SRK): a hash by which it can be recognized. `None` if
    /// there is no TPM with one, as with a capture.
    ///
    /// # Errors
    /// As [`Unsealer::check`].
    fn srk_name(&self) -> Result<Option<Vec<u8>>, TpmError> {
        Ok(None)
    }

    /// The state of the protection against guessing; `None` if wrong passwords are not counted.
    ///
    /// # Errors
    /// [`TpmError::NoTpm`] or [`TpmError::Other`].
    fn lockout(&self) -> Result<Option<Lockout>, TpmError>;

    /// The values of the PCRs `wanted` in a bank, without those that the bank lacks; `None` if there
    /// are no PCRs to compare, as with a capture.
    ///
    /// # Errors
    /// [`TpmError::NoTpm`] or [`TpmError::Other`].
    fn pcrs(&self, bank: HashAlgorithm, wanted: &[u8]) -> Result<Option<Pcrs>, TpmError>;

    /// What kind of TPM it is; `None` if there is none, as with a capture.
    ///
    /// # Errors
    /// [`TpmError::NoTpm`], [`TpmError::NoAnswer`] or [`TpmError::Other`].
    fn description(&self) -> Result<Option<TpmDescription>, TpmError> {
        Ok(None)
    }

    /// Checks that this TPM sealed the object, without a password: no attempt is counted. If the name of
    /// the storage root key that sealed it is known, `srk_name`, that of the TPM must be the same.
    ///
    /// # Errors
    /// [`TpmError::OtherTpm`], [`TpmError::SrkChanged`] and [`TpmError::NoSrk`] when it did not.
    fn check(&self, object: &SealedObject, srk_name: Option<&[u8]>) -> Result<(), TpmError>;

    /// Returns the sealed data. Compares the name of the storage root key as [`Unsealer::check`] does,
    /// before any secret is sent. Sends the password at most once: if the object is under the protection
    /// against guessing, the TPM counts a wrong one.
    ///
    /// # Errors
    /// The [`TpmError`] that says why the TPM does not release the data.
    fn unseal(
        &self,
        object: &SealedObject,
        policy: &Policy,
        password: Option<&TpmPassword>,
        srk_name: Option<&[u8]>,
    ) -> Result<SecretBytes, TpmError>;
}

/// A TPM that can also seal.
pub trait ObjectSealer: Unsealer {
    /// Seals up to 128 bytes under the storage root key, in the form that Windows uses, with SHA-256.
    /// The TPM releases them when the policy with the digest `policy` is satisfied and, if there is
    /// one, the password is given; it counts wrong passwords.
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

/// A sealed object, in the encoding of the TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sealed {
    /// Content of the TPM2B_PRIVATE, without its length.
    pub private: Vec<u8>,
    /// Content of the TPM2B_PUBLIC, without its length.
    pub public: Vec<u8>,
    /// The TPM name of the storage root key that sealed it, if it is known.
    pub srk_name: Option<Vec<u8>>,
}

impl Sealed {
    /// An object from the contents of its TPM2B_PRIVATE and TPM2B_PUBLIC.
    pub fn new(private: Vec<u8>, public: Vec<u8>) -> Self {
        Self {
            private,
            public,
            srk_name: None,
        }
    }

    /// Sets [`Sealed::srk_name`].
    #[must_use]
    pub fn srk_name(mut self, name: impl Into<Vec<u8>>) -> Self {
        self.srk_name = Some(name.into());
        self
    }
}

/// What a TPM says about itself. Nothing of it is authenticated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TpmDescription {
    /// The manufacturer's identifier, such as `INTC`; printable.
    pub manufacturer: String,
    /// What the manufacturer calls it; printable.
    pub vendor: String,
    /// The version of its firmware, in the manufacturer's numbering.
    pub firmware: [u32; 2],
    /// Its PCR banks, as far as their algorithm is known.
    pub banks: Vec<HashAlgorithm>,
}

/// The state of a TPM's protection against guessing (dictionary attack lockout).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lockout {
    /// Whether the TPM is locked: it then refuses even the right password.
    pub locked: bool,
    /// How many wrong passwords are counted now.
    pub failures: u32,
    /// At how many wrong passwords the TPM locks.
    pub max_failures: u32,
    /// Seconds after which the count falls by one; 0: never.
    pub interval: u32,
    /// Seconds that must pass after a failed reset of the lockout before the next.
    pub recovery: u32,
}

impl Lockout {
    /// A TPM that is not locked, has counted `failures` wrong passwords and locks at `max_failures`.
    pub fn new(failures: u32, max_failures: u32) -> Self {
        Self {
            locked: false,
            failures,
            max_failures,
            interval: 0,
            recovery: 0,
        }
    }

    /// Sets [`Lockout::locked`].
    #[must_use]
    pub fn locked(mut self, locked: bool) -> Self {
        self.locked = locked;
        self
    }

    /// Sets [`Lockout::interval`].
    #[must_use]
    pub fn interval(mut self, seconds: u32) -> Self {
        self.interval = seconds;
        self
    }

    /// Sets [`Lockout::recovery`].
    #[must_use]
    pub fn recovery(mut self, seconds: u32) -> Self {
        self.recovery = seconds;
        self
    }

    /// How many wrong passwords are left before the TPM locks.
    pub fn tries_left(&self) -> u32 {
        self.max_failures.saturating_sub(self.failures)
    }
}

/// Why a TPM does not release the sealed data, or does not seal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// No TPM can be reached.
    #[error("no TPM can be reached: {why}")]
    NoTpm {
        /// What was tried, and how it failed.
        why: String,
    },
    /// libtss2, through which programs reach a TPM, is not installed.
    #[error("the TPM cannot be used: {library} cannot be loaded")]
    NoLibrary {
        /// The name of the file of the library.
        library: &'static str,
    },
    /// The TPM has no storage root key.
    #[error("the TPM has no storage root key: Windows never used it, or it was cleared")]
    NoSrk,
    /// The storage root key has another name than the one that was required.
    #[error("the TPM's storage root key has the name {found}, not the one given")]
    OtherSrk {
        /// Its name in hex digits.
        found: String,
    },
    /// The storage root key has another name than the one that the key protector stores.
    #[error(
        "the TPM's storage root key has the name {found}, but the key was sealed under one with the name {stored}: it is another TPM, the TPM was cleared, or something intercepts the traffic between this computer and its TPM"
    )]
    SrkChanged {
        /// Its name in hex digits.
        found: String,
        /// The stored name in hex digits.
        stored: String,
    },
    /// The object was not sealed by this TPM.
    #[error(
        "it was sealed by another TPM, or the TPM was cleared, or the sealed object is damaged"
    )]
    OtherTpm,
    /// The TPM does not have this bank of PCRs.
    #[error("the TPM has no {} bank of PCRs", .0.name())]
    NoBank(HashAlgorithm),
    /// The object was sealed to other PCR values.
    #[error("at least one of the TPM's PCRs differs from the value that the key was sealed to")]
    PcrMismatch,
    /// The password, derived from the PIN, is wrong.
    #[error("the PIN is wrong")]
    WrongPin,
    /// The TPM is locked and accepts no password for now.
    #[error("the TPM is locked: too many wrong PINs")]
    Locked,
    /// The TPM answered at first, but then not in time.
    #[error("the TPM stopped answering while {doing}")]
    NoAnswer {
        /// What was being done, with the name of the TPM's command.
        doing: &'static str,
    },
    /// Any other answer of the TPM or of libtss2.
    #[error("the TPM returned {what}")]
    Other {
        /// The response code, and what was being done.
        what: String,
    },
}

impl TpmError {
    /// The stable reason for which an unlock with this TPM fails.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoTpm { .. } => Reason::NoTpm,
            Self::NoLibrary { .. } => Reason::NoTpmLibrary,
            Self::NoSrk => Reason::NoSrk,
            Self::OtherSrk { .. } => Reason::OtherSrk,
            Self::SrkChanged { .. } => Reason::SrkChanged,
            Self::OtherTpm => Reason::OtherTpm,
            Self::NoBank(_) | Self::PcrMismatch => Reason::PcrMismatch,
            Self::WrongPin => Reason::WrongPin,
            Self::Locked => Reason::Lockout,
            Self::NoAnswer { .. } | Self::Other { .. } => Reason::TpmError,
        }
    }

    /// What the user can do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::NoTpm { .. } => Remedy::ChooseTpm,
            Self::NoLibrary { .. } => Remedy::InstallTpmLibrary,
            Self::NoSrk => Remedy::RecreateStorageRootKey,
            Self::OtherSrk { .. } => Remedy::CompareStorageRootKey,
            Self::SrkChanged { .. } => Remedy::SealUnderNewStorageRootKey,
            Self::NoBank(_) | Self::PcrMismatch => Remedy::ExplainPcrs,
            Self::WrongPin => {
                "check the PIN: every wrong one counts towards the TPM's lockout".into()
            }
            Self::OtherTpm | Self::Locked | Self::NoAnswer { .. } | Self::Other { .. } => {
                "use another protector, such as the recovery password".into()
            }
        }
    }
}
