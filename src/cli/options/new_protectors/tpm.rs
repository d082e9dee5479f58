//! Options that add a TPM protector, and the proof that it unlocks the volume.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base16ct::lower::encode_string as hex;
use clap::{Args, ValueHint};
use fve::crypto::hash::HashAlgorithm;
use fve::enroll::{Enrollment, TpmBinding};
use fve::error::Error;
use fve::format::bek::BekFile;
use fve::format::protector::{KeyProtector, ProtectorKind};
use fve::guid::Guid;
use fve::secret::{ExternalKey, SecretText};
use fve::shown::ShowPath;
use fve::tpm::{ObjectSealer, Pcrs, Pin, Unsealer};
use fve::unlock::Credential;
use fve::unlock::StartupKey;
use fve::unlock::tpm::TpmUnlock;
use fve::volume::{UnlockOptions, Volume};

use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::credentials::{OptionValues, tpm};
use crate::cli::options::readable::warn_if_others_can_read;
use crate::cli::output::term;

/// The credential option that names the TPM.
pub(crate) const TPM: &str = "tpm";

/// Lengths of a PIN that Windows accepts, in UTF-16 units.
const PIN_LENGTHS: std::ops::RangeInclusive<usize> = 4..=20;

/// Options for the PCR values at which the TPM releases the key.
#[derive(Debug, Clone, Args)]
pub(crate) struct BindArgs {
    /// Seal the key to these PCRs [default: 7,11; for reseal, the same PCRs as before]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "TPM")]
    pcrs: Option<Vec<u8>>,

    /// PCR bank
    #[arg(long, value_name = "HASH", default_value = "sha256", help_heading = "TPM",
        value_parser = ["sha1", "sha256", "sha384", "sha512"])]
    bank: String,

    /// Seal the key to future PCR values, from a file with one line for each PCR: its number and its
    /// value in hex digits
    #[arg(long, value_name = "FILE", conflicts_with = "pcrs", help_heading = "TPM",
        value_hint = ValueHint::FilePath)]
    pcr_values: Option<PathBuf>,
}

/// Options for the other factors of a new TPM protector.
#[derive(Debug, Clone, Args)]
pub(crate) struct NewTpmArgs {
    #[command(flatten)]
    bind: BindArgs,

    /// Require a PIN besides the TPM; you type it twice
    #[arg(
        long,
        alias = "pin",
        conflicts_with = "new_pin_file",
        help_heading = "TPM"
    )]
    new_pin: bool,

    /// Require the PIN in this file besides the TPM
    #[arg(long, value_name = "FILE", help_heading = "TPM", value_hint = ValueHint::FilePath)]
    new_pin_file: Option<PathBuf>,

    /// Require a startup key besides the TPM, and save it in this directory
    #[arg(long, value_name = "DIR", help_heading = "TPM", value_hint = ValueHint::DirPath)]
    tpm_startup_key_to: Option<PathBuf>,

    /// If the TPM has no storage root key, as one that Windows never used, create it there for good
    #[arg(long, help_heading = "TPM")]
    tpm_create_srk: bool,
}

impl BindArgs {
    fn bank(&self) -> HashAlgorithm {
        HashAlgorithm::by_word(&self.bank).unwrap_or(HashAlgorithm::Sha256)
    }

    /// The requested binding.
    pub(crate) fn binding(
        &self,
        sealer: Arc<dyn ObjectSealer>,
        default: &[u8],
    ) -> Result<TpmBinding, Failure> {
        Ok(match &self.pcr_values {
            Some(path) => TpmBinding::to_values(sealer, self.bank(), read_values(path)?)?,
            None => {
                let pcrs = self.pcrs.as_deref().unwrap_or(default);
                TpmBinding::to_current(sealer, self.bank(), pcrs)?
            }
        })
    }

    /// Whether the key is sealed to the current PCR values, so that it can be tried.
    pub(crate) fn is_present(&self) -> bool {
        self.pcr_values.is_none()
    }
}

impl NewTpmArgs {
    /// The requested key protector and its proof; `None` if none was requested. With `dry_run`,
    /// nothing is created in the TPM.
    pub(crate) fn enrollment(
        &self,
        credentials: &CredentialArgs,
        dry_run: bool,
    ) -> Result<Option<(Enrollment, Option<Proof>)>, Failure> {
        let sealer = credentials.given_for(TPM, |given| {
            tpm::sealer_with(given, self.tpm_create_srk, dry_run)
        });
        let Some(sealer) = sealer.transpose()? else {
            if self.new_pin
                || self.new_pin_file.is_some()
                || self.tpm_startup_key_to.is_some()
                || self.tpm_create_srk
            {
                return Err(Failure::usage(
                    "--new-pin, --new-pin-file, --tpm-startup-key-to and --tpm-create-srk need --tpm",
                ));
            }
            return Ok(None);
        };
        let binding = self.bind.binding(sealer, &TpmBinding::DEFAULT_PCRS)?;
        let pin = match self.new_pin || self.new_pin_file.is_some() {
            true => Some(new_pin(self.new_pin_file.as_deref())?),
            false => None,
        };
        let again = pin.as_ref().map(Pin::duplicate);
        let directory = self.tpm_startup_key_to.as_deref();
        let (enrollment, key) = Enrollment::tpm(binding, pin, directory)?;
        let proof = match self.bind.is_present() {
            true => {
                let unsealer = credentials.given_for(TPM, |given| {
                    tpm::unsealer_with(given, self.tpm_create_srk && dry_run)
                });
                Some(Proof::with(unsealer.transpose()?, again, key)?)
            }
            false => None,
        };
        Ok(Some((enrollment, proof)))
    }
}

/// The credential for trying a new TPM protector.
pub(crate) struct Proof(TpmUnlock);

impl Proof {
    pub(crate) fn new(
        credentials: &CredentialArgs,
        pin: Option<Pin>,
        startup_key: Option<ExternalKey>,
    ) -> Result<Self, Failure> {
        let unsealer = credentials.given_for(TPM, tpm::unsealer).transpose()?;
        Self::with(unsealer, pin, startup_key)
    }

    /// With this TPM, or that of this computer.
    fn with(
        unsealer: Option<Box<dyn Unsealer>>,
        pin: Option<Pin>,
        startup_key: Option<ExternalKey>,
    ) -> Result<Self, Failure> {
        let unsealer = match unsealer {
            Some(unsealer) => unsealer,
            None => tpm::unsealer(&OptionValues::default())?,
        };
        let mut unlock = TpmUnlock::new(unsealer);
        if let Some(pin) = pin {
            unlock = unlock.hashed_pin(pin);
        }
        if let Some(key) = startup_key {
            unlock = unlock.startup_key(StartupKey::new(BekFile::of_key(key)));
        }
        Ok(Self(unlock))
    }

    /// The credential for trying a change of the metadata.
    pub(crate) fn into_credential(self) -> Box<dyn Credential> {
        Box::new(self.0)
    }

    /// Unlocks the volume with this key protector and no other.
    pub(crate) fn verify(self, volume: &Volume, protector: Guid) -> Result<(), Failure> {
        let options = UnlockOptions::new().protector(protector);
        let credential: Box<dyn Credential> = Box::new(self.0);
        match volume.unlock_master_key(&[credential], &options) {
            Ok(_) => {
                report_proof(protector);
                report_srk_name(&volume.protectors(), protector);
                Ok(())
            }
            Err(error) => Err(Failure::Other {
                status: crate::cli::exit::Status::Refused,
                what: format!(
                    "the protector {protector:X} was written, but does not unlock the volume: {}",
                    error.with_causes()
                ),
                help: Some(format!(
                    "remove it: fve protector remove SOURCE {protector:X}"
                )),
            }),
        }
    }
}

/// Tells the user that a key protector was tried.
pub(crate) fn report_proof(protector: Guid) {
    term::note(format_args!(
        "the volume was unlocked once with the TPM protector {protector:X}"
    ));
}

/// Tells the user the name of the storage root key that a new or resealed key protector stores.
pub(crate) fn report_srk_name(protectors: &[&KeyProtector], id: Guid) {
    let mut protectors = protectors.iter();
    let Some(name) = protectors
        .find(|protector| protector.id == id)
        .and_then(|protector| protector.srk_name())
    else {
        return;
    };
    term::note(format_args!(
        "the key protector stores the name of the TPM's storage root key, {}, and fve refuses a TPM with another one",
        hex(&name)
    ));
}

/// The TPM for a change: the named one, or that of this computer.
pub(crate) fn sealer(credentials: &CredentialArgs) -> Result<Arc<dyn ObjectSealer>, Failure> {
    match credentials.given_for(TPM, tpm::sealer) {
        Some(sealer) => Ok(sealer?),
        None => Ok(tpm::sealer(&OptionValues::default())?),
    }
}

/// A new PIN: from the file, or typed twice on the terminal.
pub(crate) fn new_pin(file: Option<&Path>) -> Result<Pin, Failure> {
    let text: SecretText = match file {
        Some(path) => {
            warn_if_others_can_read(path);
            fve::input::read_line(path, "new PIN")?
        }
        None if term::can_ask() => {
            term::ask_twice("New PIN: ", "New PIN again: ", "the PINs do not match")?
        }
        None => {
            return Err(Failure::usage(
                "cannot ask for the new PIN without a terminal; give --new-pin-file FILE",
            ));
        }
    };
    if !PIN_LENGTHS.contains(&text.expose().encode_utf16().count()) {
        let why = "a PIN must have 4 to 20 characters";
        return Err(Failure::usage(format!("new PIN: {why}")));
    }
    Ok(Pin::new(&text))
}

/// The kinds of key protector with a PIN, which can be changed.
pub(crate) const WITH_PIN: &[ProtectorKind] =
    &[ProtectorKind::TpmPin, ProtectorKind::TpmPinStartupKey];

/// The kinds of key protector with a TPM, which can be resealed.
pub(crate) const WITH_TPM: &[ProtectorKind] = &[
    ProtectorKind::Tpm,
    ProtectorKind::TpmPin,
    ProtectorKind::TpmStartupKey,
    ProtectorKind::TpmPinStartupKey,
];

/// PCR values from a file: `7 3d45…`, `7: 0x3D45…` as tpm2_pcrread prints them.
fn read_values(path: &Path) -> Result<Pcrs, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::io(
            format!("cannot read PCR values from {}", path.shown()),
            error,
        )
    })?;
    parse_values(&text).ok_or_else(|| {
        let why = format!(
            "{} must contain one line for each PCR: its number and its value",
            path.shown()
        );
        Failure::wrong_file(&Error::bad_credential("PCR values", why))
    })
}

fn parse_values(text: &str) -> Option<Pcrs> {
    let mut values = Pcrs::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        // The heading of a bank, as tpm2_pcrread prints it.
        if line.ends_with(':') || line.starts_with('#') {
            continue;
        }
        let split = line.find(|c: char| !c.is_ascii_digit())?;
        let (number, value) = line.split_at(split);
        let value = value.trim_start_matches([':', '=', ' ', '\t']);
        let value = value.strip_prefix("0x").unwrap_or(value);
        if !value.is_ascii() || !value.len().is_multiple_of(2) || value.is_empty() {
            return None;
        }
        let bytes = (0..value.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(value.get(at..at + 2)?, 16).ok())
            .collect::<Option<Vec<u8>>>()?;
        values.insert(number.parse().ok()?, bytes);
    }
    (!values.is_empty()).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pcr_values_in_all_common_forms() {
        let values = parse_values("  sha256:\n    7 : 0xAB00\n    11: 0x0000\n").unwrap();
        assert_eq!(values[&7], [0xAB, 0]);
        assert_eq!(values[&11], [0, 0]);
        assert_eq!(parse_values("7 ab00\n# note\n4=01").unwrap().len(), 2);
        for bad in ["", "7", "x ab", "7 abc", "7 xy", "300 ab"] {
            assert!(parse_values(bad).is_none(), "{bad}");
        }
    }
}
