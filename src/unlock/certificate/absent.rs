//! Tokens in a program that was built without them.

use crate::error::{Error, Result};
use crate::unlock::{Given, KeyProtector};

/// # Errors
/// [`Error::Environment`], always.
pub(super) fn given(_given: &Given<'_>) -> Result<Box<dyn KeyProtector>> {
    Err(Error::Environment {
        what: "this fve was built without support for PKCS#11 tokens".to_owned(),
        help: Some(
            "build it with the feature pkcs11, or give the key as a file: --certificate FILE"
                .to_owned(),
        ),
    })
}
