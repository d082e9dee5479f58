//! `--pkcs11`.

#[cfg(feature = "pkcs11")]
use std::path::Path;

use fve::error::Result;
use fve::format::protector::ProtectorKind;
#[cfg(feature = "pkcs11")]
use fve::input::read_line;
use fve::unlock::Credential;
#[cfg(feature = "pkcs11")]
use fve::unlock::certificate::TokenKey;
#[cfg(feature = "pkcs11")]
use fve::unlock::certificate::TokenUri;

use super::kind::{CredentialKind, Group, OptionValues, Read};
#[cfg(feature = "pkcs11")]
use super::tpm::PIN_FILE;

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "pkcs11",
    group: Group::Certificate,
    value: "URI",
    value_is_optional: false,
    additions: &[],
    help: "A private key on a smart card or another PKCS#11 token, as pkcs11:token=NAME?module-path=FILE. Without --pin-file, fve asks for the PIN. Not yet tested with volumes made by Windows",
    systemd: None,
    environment: None,
    read: Read::Options(read),
    typed: None,
    opens: &[ProtectorKind::Certificate],
};

#[cfg(feature = "pkcs11")]
fn read(given: &OptionValues<'_>) -> Result<Box<dyn Credential>> {
    let text = given.value.and_then(Path::to_str).unwrap_or_default();
    let uri = TokenUri::parse(text)?;
    let pin_file = given.other(PIN_FILE.option).or(uri.pin_source.as_deref());
    let pin = pin_file.map(|path| read_line(path, "PIN")).transpose()?;
    let mut key = TokenKey::new(uri);
    if let Some(pin) = pin {
        key = key.pin(pin);
    }
    if let Some(prompt) = given.prompt {
        key = key.prompt(prompt.clone());
    }
    Ok(Box::new(key))
}

#[cfg(not(feature = "pkcs11"))]
fn read(_given: &OptionValues<'_>) -> Result<Box<dyn Credential>> {
    Err(
        fve::error::Error::environment("this fve was built without PKCS#11 support").with_remedy(
            "build it with the feature pkcs11, or give the key as a file: --certificate FILE",
        ),
    )
}
