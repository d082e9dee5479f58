//! Why a TPM protector opens here or does not, as far as it can be known without a PIN.

use super::forecast::{self, Forecast, Signer};
use super::policy::{Pcrs, Policy};
use super::unsealer::{TpmError, Unsealer};
use crate::format::event_log::EventLog;
use crate::format::protector::KeyProtector;
use crate::format::tpm_blob::SealedObject;

/// What can be said of one protector.
#[derive(Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// Whether it opens.
    pub verdict: Verdict,
    /// What it takes to satisfy the object; `None` where nothing reproduces its policy.
    pub policy: Option<Policy>,
    /// The digest over the PCRs that it was sealed to.
    pub expected: Option<Vec<u8>>,
    /// The same over the present PCRs.
    pub actual: Option<Vec<u8>>,
    /// The present PCRs.
    pub values: Option<Pcrs>,
    /// PCRs whose value the event log accounts for, and those for which it does not.
    pub logged: Option<(Vec<u8>, Vec<u8>)>,
    /// Known certificates that started something in this boot.
    pub signers: Vec<&'static Signer>,
    /// Whether Secure Boot is on, by the event log.
    pub secure_boot: Option<bool>,
    /// Whether Windows' boot manager would get the key.
    pub windows: Option<Forecast>,
}

/// Whether a protector opens here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The TPM would release the key; for the PIN where it takes one.
    Opens,
    /// All is right but PCR 11, which something extended in this boot.
    OnlyLock,
    /// The PCRs are others.
    PcrMismatch,
    /// The object is damaged, or its policy is of an unknown form.
    UnknownPolicy,
    /// It is no object of a TPM 2.0.
    Unreadable,
    /// The TPM refuses before its PCRs matter, or cannot be asked.
    Tpm(TpmError),
}

impl Verdict {
    /// A stable word for programs: the reason that a try would be refused with.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Opens => "opens",
            Self::OnlyLock | Self::PcrMismatch => "pcr-mismatch",
            Self::UnknownPolicy => "unknown-policy",
            Self::Unreadable => "unsupported-tpm-blob",
            Self::Tpm(error) => super::refusal::of(error, "").reason.word(),
        }
    }
}

impl Explanation {
    /// Asks the TPM about a protector, and the event log about the TPM. `None` for a protector
    /// without a TPM.
    pub fn of(
        protector: &KeyProtector,
        tpm: &dyn Unsealer,
        log: Option<&EventLog>,
    ) -> Option<Self> {
        let blob = protector.tpm()?;
        let mut explanation = Self {
            verdict: Verdict::Unreadable,
            policy: None,
            expected: None,
            actual: None,
            values: None,
            logged: None,
            signers: Vec::new(),
            secure_boot: log.and_then(EventLog::secure_boot),
            windows: None,
        };
        let Ok(object) = &blob.sealed else {
            return Some(explanation);
        };
        explanation.expected = Some(object.pcr_digest.clone());
        explanation.policy = Policy::solve(object);
        explanation.verdict = match explanation.policy {
            None => Verdict::UnknownPolicy,
            Some(policy) => explanation
                .ask(object, policy, tpm, log)
                .unwrap_or_else(Verdict::Tpm),
        };
        Some(explanation)
    }

    fn ask(
        &mut self,
        object: &SealedObject,
        policy: Policy,
        tpm: &dyn Unsealer,
        log: Option<&EventLog>,
    ) -> Result<Verdict, TpmError> {
        if let Some(log) = log {
            self.windows = forecast::windows(log, object, &policy);
            self.signers = forecast::signers(log, policy.bank);
        }
        let pcrs = object.pcrs();
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
        // What follows may fail, and what was found so far is worth showing.
        tpm.check(object)?;
        if object.counts_failures() && tpm.lockout()?.is_some_and(|lockout| lockout.locked) {
            return Err(TpmError::Locked);
        }
        Ok(if !complete {
            Verdict::Tpm(TpmError::NoBank(policy.bank))
        } else if met {
            Verdict::Opens
        } else if only_lock {
            Verdict::OnlyLock
        } else {
            Verdict::PcrMismatch
        })
    }
}
