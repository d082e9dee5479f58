//! Explains whether a TPM would release the key of a key protector on this computer, and why not, as far
//! as that is known without a PIN.

use super::forecast::{self, Forecast, LoggedEvent, Signer};
use super::policy::{Pcrs, Policy};
use super::unsealer::{TpmError, Unsealer};
use crate::format::event_log::EventLog;
use crate::format::protector::KeyProtector;
use crate::format::tpm_blob::SealedObject;

/// The explanation for one key protector.
#[derive(Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// Whether the TPM would release the key.
    pub release: KeyRelease,
    /// The policy of the sealed object; `None` if it is not known.
    pub policy: Option<Policy>,
    /// The PCR digest that the object was sealed to.
    pub expected: Option<Vec<u8>>,
    /// The PCR digest over the present values.
    pub actual: Option<Vec<u8>>,
    /// The present values of the PCRs in the policy.
    pub values: Option<Pcrs>,
    /// The PCRs in the policy whose value follows from the event log, and those whose value does not.
    pub logged: Option<(Vec<u8>, Vec<u8>)>,
    /// The known certificates of what was started in this boot, from the event log.
    pub signers: Vec<&'static Signer>,
    /// Whether Secure Boot is on, from the event log.
    pub secure_boot: Option<bool>,
    /// Whether the Windows boot manager would get the key, if Windows sealed it. `None` where that is
    /// not known, where the TPM would release the key now, and for a protector that another program
    /// than Windows made.
    pub windows: Option<Forecast>,
    /// The events of this boot in the PCRs of the policy, from the event log.
    pub events: Vec<LoggedEvent>,
}

/// Whether a TPM would release the key of a protector.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRelease {
    /// It would, given the right PIN if the protector has one.
    Expected,
    /// It would not: PCR 11 is the only PCR that differs, because something extended it in this boot.
    OnlyPcr11Differs,
    /// It would not: the PCRs have other values.
    PcrMismatch,
    /// Not known: the object is damaged, or its policy has an unknown form.
    UnknownPolicy,
    /// Not known: the protector holds no object of a TPM 2.0.
    Unreadable,
    /// It would not, whatever its PCRs are, or it cannot be reached.
    Refused(TpmError),
}

impl KeyRelease {
    /// A stable word for programs: `opens`, or the word of the [`Reason`](crate::error::Reason) for
    /// which an unlock would fail.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Expected => "opens",
            Self::OnlyPcr11Differs | Self::PcrMismatch => "pcr-mismatch",
            Self::UnknownPolicy => "unknown-policy",
            Self::Unreadable => "unsupported-tpm-blob",
            Self::Refused(error) => error.reason().word(),
        }
    }
}

impl Explanation {
    /// Compares a protector with the TPM's present state and with the event log of this boot. `None`
    /// for a protector without a TPM. Needs no PIN, and no attempt is counted.
    pub fn of(
        protector: &KeyProtector,
        tpm: &dyn Unsealer,
        log: Option<&EventLog>,
    ) -> Option<Self> {
        let blob = protector.tpm()?;
        let mut explanation = Self {
            release: KeyRelease::Unreadable,
            policy: None,
            expected: None,
            actual: None,
            values: None,
            logged: None,
            signers: Vec::new(),
            secure_boot: log.and_then(EventLog::secure_boot),
            windows: None,
            events: Vec::new(),
        };
        let Ok(object) = &blob.sealed else {
            return Some(explanation);
        };
        explanation.expected = Some(object.pcr_digest.clone());
        explanation.policy = Policy::solve(object);
        explanation.release = match explanation.policy {
            None => KeyRelease::UnknownPolicy,
            Some(policy) => explanation
                .ask(object, policy, tpm, log, protector.srk_name().as_deref())
                .unwrap_or_else(KeyRelease::Refused),
        };
        // Windows stores no name of the storage root key.
        if explanation.release == KeyRelease::Expected || protector.srk_name().is_some() {
            explanation.windows = None;
        }
        Some(explanation)
    }

    fn ask(
        &mut self,
        object: &SealedObject,
        policy: Policy,
        tpm: &dyn Unsealer,
        log: Option<&EventLog>,
        srk_name: Option<&[u8]>,
    ) -> Result<KeyRelease, TpmError> {
        if let Some(log) = log {
            self.windows = forecast::windows(log, object, &policy);
            self.signers = forecast::signers(log, policy.bank);
        }
        let pcrs = object.pcrs();
        if let Some(log) = log {
            self.events = forecast::events(log, &pcrs);
        }
        let values = tpm.pcrs(policy.bank, &pcrs)?.unwrap_or_default();
        self.actual = policy.pcr_digest(&values);
        self.logged = log
            .and_then(|log| forecast::replay(log, policy.bank))
            .map(|logged| {
                let zero = vec![0; policy.bank.digest_len()];
                let accounted =
                    |pcr: &u8| logged.get(pcr).unwrap_or(&zero) == values.get(pcr).unwrap_or(&zero);
                pcrs.iter().copied().partition(accounted)
            });
        let complete = values.len() == pcrs.len();
        let met = policy.is_met(object, &values);
        let only_lock = policy.only_lock_is_closed(object, &values);
        self.values = Some(values);
        // Only after all fields are set: the checks below may fail, and the PCRs are still worth showing.
        tpm.check(object, srk_name)?;
        if object.counts_failures() && tpm.lockout()?.is_some_and(|lockout| lockout.locked) {
            return Err(TpmError::Locked);
        }
        Ok(if !complete {
            KeyRelease::Refused(TpmError::NoBank(policy.bank))
        } else if met {
            KeyRelease::Expected
        } else if only_lock {
            KeyRelease::OnlyPcr11Differs
        } else {
            KeyRelease::PcrMismatch
        })
    }
}
