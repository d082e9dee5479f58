//! `--pkcs11`.

#[cfg(feature = "pkcs11")]
use std::path::Path;
#[cfg(feature = "pkcs11")]
use std::time::Duration;

#[cfg(feature = "pkcs11")]
use fve::error::Error;
use fve::error::Result;
use fve::format::protector::ProtectorKind;
#[cfg(feature = "pkcs11")]
use fve::input::read_line;
use fve::unlock::Credential;
#[cfg(feature = "pkcs11")]
use fve::unlock::certificate::TokenKey;
#[cfg(feature = "pkcs11")]
use fve::unlock::certificate::TokenUri;

use super::kind::{Addition, CredentialKind, Group, OptionValues, Read};
#[cfg(feature = "pkcs11")]
use super::tpm::PIN_FILE;

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "pkcs11",
    group: Group::Certificate,
    value: "URI",
    value_is_optional: false,
    additions: &[TIMEOUT],
    help: "A private key on a smart card or another PKCS#11 token, as pkcs11:token=NAME?module-path=FILE. Without --pin-file, fve asks for the PIN. Not yet tested with volumes made by Windows",
    systemd: None,
    environment: None,
    read: Read::Address { check, read },
    typed: None,
    opens: &[ProtectorKind::Certificate],
};

/// How long the PKCS#11 library may take.
const TIMEOUT: Addition = Addition {
    option: "pkcs11-timeout",
    group: Group::Certificate,
    value: Some("SECONDS"),
    help: "With --pkcs11: how long the library may take in all, 60 by default; twice as long to enter the PIN on the reader",
    systemd: None,
};

#[cfg(feature = "pkcs11")]
fn check(given: &OptionValues<'_>) -> Result<()> {
    uri(given)?;
    time(given).map(drop)
}

#[cfg(feature = "pkcs11")]
fn uri(given: &OptionValues<'_>) -> Result<TokenUri> {
    // A value that is not UTF-8 is refused as one that does not begin with pkcs11:.
    TokenUri::parse(given.value.and_then(Path::to_str).unwrap_or_default())
}

/// The value of --pkcs11-timeout: from a second to an hour.
#[cfg(feature = "pkcs11")]
fn time(given: &OptionValues<'_>) -> Result<Option<Duration>> {
    let Some(text) = given.other(TIMEOUT.option) else {
        return Ok(None);
    };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    let seconds = seconds.filter(|seconds| (1..=3600).contains(seconds));
    let seconds = seconds.ok_or_else(|| {
        Error::bad_credential("PKCS#11 token", "the time is not a number of seconds")
            .with_remedy("give --pkcs11-timeout a number from 1 to 3600")
    })?;
    Ok(Some(Duration::from_secs(seconds)))
}

#[cfg(feature = "pkcs11")]
fn read(given: &OptionValues<'_>) -> Result<Box<dyn Credential>> {
    let uri = uri(given)?;
    let pin_file = given.other(PIN_FILE.option).or(uri.pin_source.as_deref());
    let pin = pin_file.map(|path| read_line(path, "PIN")).transpose()?;
    let mut key = TokenKey::new(uri);
    if let Some(time) = time(given)? {
        key = key.time_limit(time);
    }
    if let Some(pin) = pin {
        key = key.pin(pin);
    }
    if let Some(prompt) = given.prompt {
        key = key.prompt(prompt.clone());
    }
    Ok(Box::new(key))
}

#[cfg(not(feature = "pkcs11"))]
fn check(_given: &OptionValues<'_>) -> Result<()> {
    Ok(())
}

#[cfg(not(feature = "pkcs11"))]
fn read(_given: &OptionValues<'_>) -> Result<Box<dyn Credential>> {
    Err(
        fve::error::Error::environment("this fve was built without PKCS#11 support").with_remedy(
            "build it with the feature pkcs11, or give the key as a file: --certificate FILE",
        ),
    )
}
