//! The TPM of a build without libtss2: every operation fails.

use fve::crypto::hash::HashAlgorithm;
use fve::format::tpm_blob::SealedObject;
use fve::secret::{SecretBytes, TpmPassword};
use fve::tpm::{Lockout, Pcrs, Policy, TpmError, Unsealer};

/// The message of every failure.
pub(crate) const WHY: &str =
    "this fve was built without TPM support (feature tpm, which needs libtss2-dev)";

/// A TPM that always fails, even if the computer has one.
#[derive(Debug)]
pub(crate) struct Absent;

fn no_tpm<T>() -> Result<T, TpmError> {
    Err(TpmError::NoTpm {
        why: WHY.to_owned(),
    })
}

impl Unsealer for Absent {
    fn place(&self) -> String {
        "no TPM".to_owned()
    }

    fn lockout(&self) -> Result<Option<Lockout>, TpmError> {
        no_tpm()
    }

    fn pcrs(&self, _bank: HashAlgorithm, _wanted: &[u8]) -> Result<Option<Pcrs>, TpmError> {
        no_tpm()
    }

    fn check(&self, _object: &SealedObject, _srk_name: Option<&[u8]>) -> Result<(), TpmError> {
        no_tpm()
    }

    fn unseal(
        &self,
        _object: &SealedObject,
        _policy: &Policy,
        _password: Option<&TpmPassword>,
        _srk_name: Option<&[u8]>,
    ) -> Result<SecretBytes, TpmError> {
        no_tpm()
    }
}
