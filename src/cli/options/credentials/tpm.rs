//! `--tpm` and `--tpm-payload`, with the PIN beside them.

use super::kind::{Addition, CredentialKind, Given, Read};
#[cfg(not(feature = "tpm"))]
use super::no_tpm;
use super::startup_key;
use fve::error::{Error, Result};
use fve::input::read_line;
use fve::tpm::{ObjectSealer, Payload, Unsealer};
#[cfg(feature = "tpm")]
use fve::tpm::{Tss, TssOptions};
use fve::unlock::StartupKey;
use fve::unlock::tpm::{OPENS, TpmUnlock};
use std::path::Path;
use std::sync::Arc;

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "tpm",
    value: "TCTI",
    value_is_optional: true,
    additions: &[PIN_FILE, RECREATE_SRK, SRK_NAME, PLAINTEXT_BUS],
    help: "The TPM 2.0: this computer's, or the one that TCTI reaches, such as swtpm:host=127.0.0.1,port=2321. With --pin-file and --startup-key where the protector takes them",
    systemd: None,
    environment: Some("TPM2TOOLS_TCTI"),
    read: Read::Given(|given| Ok(Box::new(unlock(unsealer(given)?, given)?))),
    typed: None,
    opens: OPENS,
};

pub(crate) const PAYLOAD: CredentialKind = CredentialKind {
    option: "tpm-payload",
    value: "FILE",
    value_is_optional: false,
    additions: &[],
    help: "What the volume's TPM released, captured elsewhere: 44 bytes, with a PIN 80; binary or hex. With --pin-file and --startup-key where the protector takes them",
    systemd: None,
    environment: None,
    read: Read::Given(|given| Ok(Box::new(unlock(payload(given)?, given)?))),
    typed: None,
    opens: OPENS,
};

/// The option that both ways take.
pub(super) const PIN_FILE: Addition = Addition {
    option: "pin-file",
    value: Some("FILE"),
    help: "With --tpm or --pkcs11: file with the PIN ('-' = standard input); one trailing newline is not part of it",
    systemd: Some("fve.pin"),
};

const RECREATE_SRK: Addition = Addition {
    option: "tpm-recreate-srk",
    value: None,
    help: "With --tpm: make the storage root key anew for this one use where it is gone from the TPM; changes nothing in it",
    systemd: None,
};

const SRK_NAME: Addition = Addition {
    option: "tpm-srk-name",
    value: Some("HEX"),
    help: "With --tpm: refuse a TPM whose storage root key has another name ('fve tpm status' shows it)",
    systemd: None,
};

const PLAINTEXT_BUS: Addition = Addition {
    option: "tpm-allow-plaintext-bus",
    value: None,
    help: "With --tpm: let the key go over the bus in the open, for TPMs that cannot encrypt it",
    systemd: None,
};

/// The TPM that an option names, or this computer's.
///
/// # Errors
/// [`Error::BadCredential`] for words that name none.
#[cfg(feature = "tpm")]
pub(crate) fn unsealer(given: &Given<'_>) -> Result<Box<dyn Unsealer>> {
    Ok(Box::new(tss(given)?))
}

/// The same, to seal with.
///
/// # Errors
/// As [`unsealer`].
#[cfg(feature = "tpm")]
pub(crate) fn sealer(given: &Given<'_>) -> Result<Arc<dyn ObjectSealer>> {
    Ok(Arc::new(tss(given)?))
}

#[cfg(feature = "tpm")]
fn tss(given: &Given<'_>) -> Result<Tss> {
    const NAME: &str = "TPM";
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::bad_credential(NAME, "what names it is not text"))
    };
    let tcti = given.value.map(text).transpose()?;
    let srk_name = given.other(SRK_NAME.option).map(text).transpose()?;
    let srk_name = srk_name
        .map(|digits| {
            let name = base16ct::mixed::decode_vec(
                digits.replace([':', ' '], "").trim_start_matches("0x"),
            );
            let name = name.ok().filter(|name| !name.is_empty());
            name.ok_or_else(|| Error::bad_credential(NAME, "the name is not in hex digits"))
        })
        .transpose()?;
    let mut options = TssOptions::new()
        .recreate_srk(given.other(RECREATE_SRK.option).is_some())
        .plaintext_bus(given.other(PLAINTEXT_BUS.option).is_some());
    options.srk_name = srk_name;
    Tss::new(tcti.as_deref(), options)
}

/// The TPM that an option names: none, in a program that was built without.
#[cfg(not(feature = "tpm"))]
pub(crate) fn unsealer(_given: &Given<'_>) -> Result<Box<dyn Unsealer>> {
    Ok(Box::new(no_tpm::Absent))
}

/// The same, to seal with.
///
/// # Errors
/// [`Error::Environment`], always.
#[cfg(not(feature = "tpm"))]
pub(crate) fn sealer(_given: &Given<'_>) -> Result<Arc<dyn ObjectSealer>> {
    Err(Error::environment(no_tpm::WHY))
}

fn payload(given: &Given<'_>) -> Result<Box<dyn Unsealer>> {
    Ok(Box::new(Payload::read(
        given.value.unwrap_or(Path::new("")),
    )?))
}

/// The credential, with the PIN and the startup key that were given beside it.
fn unlock(unsealer: Box<dyn Unsealer>, given: &Given<'_>) -> Result<TpmUnlock> {
    let mut credential = TpmUnlock::new(unsealer);
    if let Some(path) = given.other(PIN_FILE.option) {
        credential = credential.pin(&read_line(path, "PIN")?);
    }
    if let Some(path) = given.other(startup_key::KIND.option) {
        credential = credential.startup_key(StartupKey::read(path)?);
    }
    if let Some(prompt) = given.prompt {
        credential = credential.prompt(prompt.clone());
    }
    Ok(credential)
}

/// The TPM that was given besides another credential, or what it released; without PIN and startup
/// key.
///
/// # Errors
/// As for the credentials of their own.
#[cfg(feature = "network")]
pub(super) fn beside(given: &Given<'_>) -> Result<Option<TpmUnlock>> {
    let named = |option| {
        let value = given.other(option)?;
        Some(Given {
            value: Some(value).filter(|value| !value.as_os_str().is_empty()),
            ..*given
        })
    };
    if let Some(given) = named(KIND.option) {
        return Ok(Some(TpmUnlock::new(unsealer(&given)?)));
    }
    let Some(given) = named(PAYLOAD.option) else {
        return Ok(None);
    };
    Ok(Some(TpmUnlock::new(payload(&given)?)))
}
