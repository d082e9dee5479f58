//! Where the program was built without libtss2.

use fve::crypto::hash::HashAlgorithm;
use fve::format::tpm_blob::SealedObject;
use fve::secret::{SecretBytes, TpmPassword};
use fve::tpm::{Lockout, Pcrs, Policy, TpmError, Unsealer};

/// Why nothing can be done.
pub(crate) const WHY: &str =
    "this fve was built without support for TPMs (the feature tpm, which needs libtss2-dev)";

/// No TPM, whatever is in the computer.
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

    fn check(&self, _object: &SealedObject) -> Result<(), TpmError> {
        no_tpm()
    }

    fn unseal(
        &self,
        _object: &SealedObject,
        _policy: &Policy,
        _password: Option<&TpmPassword>,
    ) -> Result<SecretBytes, TpmError> {
        no_tpm()
    }
}
