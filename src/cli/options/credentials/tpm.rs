//! `--tpm` and `--tpm-payload`, and the options that belong to them.

use std::path::Path;
use std::sync::Arc;

use fve::error::{Error, Result};
use fve::input::read_line;
#[cfg(feature = "tpm")]
use fve::tpm::{CreatedSrk, TpmError, Tss, TssOptions};
use fve::tpm::{ObjectSealer, Payload, Unsealer};
use fve::unlock::StartupKey;
use fve::unlock::tpm::{OPENS, TpmUnlock};

use super::kind::{Addition, CredentialKind, Group, OptionValues, Read};
#[cfg(not(feature = "tpm"))]
use super::no_tpm;
use super::startup_key;
#[cfg(feature = "tpm")]
use crate::cli::output::term;

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "tpm",
    group: Group::Common,
    value: "TCTI",
    value_is_optional: true,
    additions: &[PIN_FILE, RECREATE_SRK, SRK_NAME, PLAINTEXT_BUS],
    help: "The TPM 2.0 of this computer, or the one at TCTI (such as swtpm:host=127.0.0.1,port=2321). Add --pin-file or --startup-key if the key protector needs them",
    systemd: None,
    environment: Some("TPM2TOOLS_TCTI"),
    read: Read::Options(|given| Ok(Box::new(unlock(unsealer(given)?, given)?))),
    typed: None,
    opens: OPENS,
};

pub(crate) const PAYLOAD: CredentialKind = CredentialKind {
    option: "tpm-payload",
    group: Group::Examiner,
    value: "FILE",
    value_is_optional: false,
    additions: &[],
    help: "The data that the TPM of the volume released, captured elsewhere: 44 bytes, or 80 with a PIN; binary or hex. Add --pin-file or --startup-key if the key protector needs them",
    systemd: None,
    environment: None,
    read: Read::Options(|given| Ok(Box::new(unlock(payload(given)?, given)?))),
    typed: None,
    opens: OPENS,
};

/// The PIN, for a TPM or a token.
pub(super) const PIN_FILE: Addition = Addition {
    option: "pin-file",
    group: Group::Common,
    value: Some("FILE"),
    help: "With --tpm or --pkcs11: file with the PIN ('-' = standard input); one newline at the end is ignored",
    systemd: Some("fve.pin"),
};

const RECREATE_SRK: Addition = Addition {
    option: "tpm-recreate-srk",
    group: Group::Tpm,
    value: None,
    help: "With --tpm: if the TPM has no storage root key, recreate it for this one use; changes nothing in the TPM",
    systemd: None,
};

const SRK_NAME: Addition = Addition {
    option: "tpm-srk-name",
    group: Group::Tpm,
    value: Some("HEX"),
    help: "With --tpm: refuse a TPM whose storage root key has another name ('fve tpm status' shows it); without this option, the name that the key protector stores counts",
    systemd: None,
};

const PLAINTEXT_BUS: Addition = Addition {
    option: "tpm-allow-plaintext-bus",
    group: Group::Tpm,
    value: None,
    help: "With --tpm: let the TPM send the key over the bus unencrypted, for TPMs that cannot encrypt it",
    systemd: None,
};

/// The TPM that an option names, or this computer's.
///
/// # Errors
/// [`Error::BadCredential`] for a malformed TCTI or storage root key name.
#[cfg(feature = "tpm")]
pub(crate) fn unsealer(given: &OptionValues<'_>) -> Result<Box<dyn Unsealer>> {
    Ok(Box::new(tss(given)?))
}

/// The same TPM, for sealing.
///
/// # Errors
/// As [`unsealer`].
#[cfg(feature = "tpm")]
pub(crate) fn sealer(given: &OptionValues<'_>) -> Result<Arc<dyn ObjectSealer>> {
    Ok(Arc::new(tss(given)?))
}

/// The same TPM, for a new key protector. With `create_srk`, the storage root key is created first if
/// the TPM has none; in a dry run, for this use only.
///
/// # Errors
/// As [`unsealer`]; [`Error::Environment`] if the TPM does not create the key.
#[cfg(feature = "tpm")]
pub(crate) fn sealer_with(
    given: &OptionValues<'_>,
    create_srk: bool,
    dry_run: bool,
) -> Result<Arc<dyn ObjectSealer>> {
    if !create_srk {
        return sealer(given);
    }
    if dry_run {
        return Ok(Arc::new(tss_with_srk(given)?));
    }
    let tpm = tss(given)?;
    match tpm.create_srk() {
        Ok(CreatedSrk::Created(name)) => term::note(format_args!(
            "the storage root key {} was created in the TPM",
            base16ct::lower::encode_string(&name)
        )),
        Ok(_) => {}
        Err(error) => {
            return Err(Error::environment(format!(
                "the TPM cannot create a storage root key: {error}"
            )));
        }
    }
    Ok(Arc::new(tpm))
}

/// The TPM that an option names. With `recreate_srk`, its storage root key is created for each use if the
/// TPM has none.
///
/// # Errors
/// As [`unsealer`].
#[cfg(feature = "tpm")]
pub(crate) fn unsealer_with(
    given: &OptionValues<'_>,
    recreate_srk: bool,
) -> Result<Box<dyn Unsealer>> {
    match recreate_srk {
        true => Ok(Box::new(tss_with_srk(given)?)),
        false => unsealer(given),
    }
}

#[cfg(feature = "tpm")]
fn tss_with_srk(given: &OptionValues<'_>) -> Result<Tss> {
    let (tcti, mut options) = tss_options(given)?;
    let tpm = Tss::new(tcti.as_deref(), options.clone())?;
    options.recreate_srk |= tpm.srk_name() == Err(TpmError::NoSrk);
    Tss::new(tcti.as_deref(), options)
}

#[cfg(feature = "tpm")]
fn tss(given: &OptionValues<'_>) -> Result<Tss> {
    let (tcti, options) = tss_options(given)?;
    Tss::new(tcti.as_deref(), options)
}

#[cfg(feature = "tpm")]
fn tss_options(given: &OptionValues<'_>) -> Result<(Option<String>, TssOptions)> {
    const NAME: &str = "TPM";
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::bad_credential(NAME, "its name is not valid UTF-8"))
    };
    let tcti = given.value.map(text).transpose()?;
    let srk_name = given.other(SRK_NAME.option).map(text).transpose()?;
    let srk_name = srk_name
        .map(|digits| {
            let name = base16ct::mixed::decode_vec(
                digits.replace([':', ' '], "").trim_start_matches("0x"),
            );
            let name = name.ok().filter(|name| !name.is_empty());
            name.ok_or_else(|| {
                Error::bad_credential(
                    NAME,
                    "the name of the storage root key is not in hex digits",
                )
            })
        })
        .transpose()?;
    let mut options = TssOptions::new()
        .recreate_srk(given.other(RECREATE_SRK.option).is_some())
        .plaintext_bus(given.other(PLAINTEXT_BUS.option).is_some());
    options.srk_name = srk_name;
    Ok((tcti, options))
}

/// In a build without TPM support, a TPM that always fails.
#[cfg(not(feature = "tpm"))]
pub(crate) fn unsealer(_given: &OptionValues<'_>) -> Result<Box<dyn Unsealer>> {
    Ok(Box::new(no_tpm::Absent))
}

/// The same TPM, for sealing.
///
/// # Errors
/// [`Error::Environment`], always.
#[cfg(not(feature = "tpm"))]
pub(crate) fn sealer(_given: &OptionValues<'_>) -> Result<Arc<dyn ObjectSealer>> {
    Err(Error::environment(no_tpm::WHY))
}

/// The same TPM.
///
/// # Errors
/// None.
#[cfg(not(feature = "tpm"))]
pub(crate) fn unsealer_with(
    given: &OptionValues<'_>,
    _recreate_srk: bool,
) -> Result<Box<dyn Unsealer>> {
    unsealer(given)
}

/// The same TPM, for a new key protector.
///
/// # Errors
/// [`Error::Environment`], always.
#[cfg(not(feature = "tpm"))]
pub(crate) fn sealer_with(
    given: &OptionValues<'_>,
    _create_srk: bool,
    _dry_run: bool,
) -> Result<Arc<dyn ObjectSealer>> {
    sealer(given)
}

fn payload(given: &OptionValues<'_>) -> Result<Box<dyn Unsealer>> {
    Ok(Box::new(Payload::read(
        given.value.unwrap_or(Path::new("")),
    )?))
}

/// The credential, with the PIN and the startup key if they were given.
fn unlock(unsealer: Box<dyn Unsealer>, given: &OptionValues<'_>) -> Result<TpmUnlock> {
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

/// The TPM, or the data that it released, that was given in addition to another credential; without
/// PIN and startup key.
///
/// # Errors
/// As for `--tpm` and `--tpm-payload` alone.
#[cfg(feature = "network")]
pub(super) fn beside(given: &OptionValues<'_>) -> Result<Option<TpmUnlock>> {
    let named = |option| {
        let value = given.other(option)?;
        Some(OptionValues {
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
