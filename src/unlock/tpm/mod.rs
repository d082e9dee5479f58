//! Unlocks TPM protectors: TPM only, with PIN, with startup key, or with both (docs/format-tpm.md).
//!
//! ```text
//! protector ─ find the policy ─ check lockout, object and PCRs ─ PIN ─ unseal ─ open the VMK
//!             (tpm::Policy)     (tpm::Unsealer)           (tpm::Pin)            (chain)
//! ```
//! Everything that needs no PIN is checked before the PIN is asked for, because the TPM counts wrong PINs
//! towards its lockout. For the same reason a wrong PIN costs one attempt: after it, no PIN is sent for any
//! other key protector. The caller selects another with
//! [`UnlockOptions::protector`](crate::unlock::UnlockOptions::protector).

mod chain;

use std::sync::{Arc, Mutex, PoisonError};

use super::startup_key::StartupKey;
use super::{Answer, Context, Credential, Prompt, Silent};
use crate::error::{Failure, Reason, Remedy, Result};
use crate::format::datum::STRETCH_FLAG_PBKDF2;
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::format::tpm_blob::SealedObject;
#[cfg(feature = "network")]
use crate::secret::IntermediateKey;
use crate::secret::{ExternalKey, SecretText, StretchedKey};
use crate::tpm::{Lockout, Pin, Policy, TpmError, Unsealer, refusal, tpm_password};

pub(crate) use chain::join;

/// The kinds of protector that [`TpmUnlock`] unlocks.
pub const OPENS: &[ProtectorKind] = &[
    ProtectorKind::Tpm,
    ProtectorKind::TpmPin,
    ProtectorKind::TpmStartupKey,
    ProtectorKind::TpmPinStartupKey,
];

/// The credential for TPM protectors: a TPM or a captured payload, with a PIN and a startup key if the
/// protector needs them.
pub struct TpmUnlock {
    unsealer: Box<dyn Unsealer>,
    pin: Option<Pin>,
    prompt: Arc<dyn Prompt>,
    startup_key: Option<StartupKey>,
    /// The private parts of objects for which a PIN was wrong, with the failure: metadata copies that
    /// differ can hold the same object.
    wrong_pins: Mutex<Vec<(Vec<u8>, Failure)>>,
}

impl TpmUnlock {
    /// A TPM without PIN and startup key.
    pub fn new(unsealer: Box<dyn Unsealer>) -> Self {
        Self {
            unsealer,
            pin: None,
            prompt: Arc::new(Silent),
            startup_key: None,
            wrong_pins: Mutex::new(Vec::new()),
        }
    }

    /// Sets the PIN.
    #[must_use]
    pub fn pin(mut self, pin: &SecretText) -> Self {
        self.pin = Some(Pin::new(pin));
        self
    }

    /// Sets the PIN, of which only the hash is known.
    #[must_use]
    pub fn hashed_pin(mut self, pin: Pin) -> Self {
        self.pin = Some(pin);
        self
    }

    /// Sets the prompt that asks for the PIN if none is set.
    #[must_use]
    pub fn prompt(mut self, prompt: Arc<dyn Prompt>) -> Self {
        self.prompt = prompt;
        self
    }

    /// Sets the startup key.
    #[must_use]
    pub fn startup_key(mut self, key: StartupKey) -> Self {
        self.startup_key = Some(key);
        self
    }

    /// Unlocks a protector. The order matters: everything that can fail without the PIN comes first.
    fn open(&self, protector: &KeyProtector, context: &Context<'_>) -> Result<Answer, Failure> {
        let parts = Parts::of(protector)?;
        let policy = Policy::solve(parts.object).ok_or_else(refusal::no_policy)?;
        let startup_keys = match parts.needs_startup_key {
            true => Some(self.startup_keys(protector, context)?),
            false => None,
        };
        if let Some(failure) = self.refused_before(&parts) {
            return Err(failure);
        }
        let srk_name = protector.srk_name();
        let lockout = self.check(parts.object, &policy, srk_name.as_deref())?;
        let stretched = match parts.pin {
            Some(pin) if self.unsealer.needs_pin() => {
                Some((self.ask_pin(lockout)?.stretch(pin.salt), pin.label))
            }
            _ => None,
        };
        let payload = self
            .unseal(
                parts.object,
                &policy,
                stretched.as_ref(),
                srk_name.as_deref(),
            )
            .map_err(|failure| self.wrong_pin(failure, protector, parts.object, context))?;
        let stretched = stretched.map(|(key, _)| key);
        // Without a sealed VMK in the protector, the TPM released the VMK itself.
        let bare = protector.sealed_vmk().is_none();
        let released = chain::Released::read(&payload, bare, stretched.as_ref())?;
        Ok(released.open(protector, context.block, startup_keys.as_deref()))
    }

    /// Unseals the key of a protector that needs the TPM and a Network Unlock server.
    #[cfg(feature = "network")]
    pub(super) fn release(&self, protector: &KeyProtector) -> Result<IntermediateKey, Failure> {
        let object = object_of(protector)?;
        let policy = Policy::solve(object).ok_or_else(refusal::no_policy)?;
        let srk_name = protector.srk_name();
        self.check(object, &policy, srk_name.as_deref())?;
        chain::key_of_any_type(&self.unseal(object, &policy, None, srk_name.as_deref())?)
    }

    /// Makes all checks that need no PIN. Returns the lockout state, if wrong PINs are counted.
    fn check(
        &self,
        object: &SealedObject,
        policy: &Policy,
        srk_name: Option<&[u8]>,
    ) -> Result<Option<Lockout>, Failure> {
        let refuse = |error| refusal::of(&error, &self.unsealer.place());
        let lockout = if object.counts_failures() {
            self.unsealer.lockout().map_err(refuse)?
        } else {
            None
        };
        if let Some(lockout) = lockout.filter(|lockout| lockout.locked) {
            return Err(refusal::locked(&lockout));
        }
        // Before the PCRs: for an object of another TPM, they would be misleading.
        self.unsealer.check(object, srk_name).map_err(refuse)?;
        let pcrs = object.pcrs();
        if let Some(values) = self.unsealer.pcrs(policy.bank, &pcrs).map_err(refuse)? {
            if values.len() < pcrs.len() {
                return Err(refuse(TpmError::NoBank(policy.bank)));
            }
            if !policy.is_met(object, &values) {
                return Err(refusal::pcrs(object, policy, &values));
            }
        }
        Ok(lockout)
    }

    fn unseal(
        &self,
        object: &SealedObject,
        policy: &Policy,
        stretched: Option<&(StretchedKey, &[u8])>,
        srk_name: Option<&[u8]>,
    ) -> Result<crate::secret::SecretBytes, Failure> {
        let password = stretched.map(|(key, label)| tpm_password(key, label));
        let released = self
            .unsealer
            .unseal(object, policy, password.as_ref(), srk_name);
        released.map_err(|error| match error {
            TpmError::WrongPin => {
                refusal::wrong_pin(self.unsealer.lockout().ok().flatten().as_ref())
            }
            TpmError::Locked => match self.unsealer.lockout() {
                Ok(Some(lockout)) => refusal::locked(&lockout),
                _ => refusal::of(&error, &self.unsealer.place()),
            },
            _ => refusal::of(&error, &self.unsealer.place()),
        })
    }

    /// Remembers a wrong PIN. If the PIN may be that of another key protector, the failure says so.
    fn wrong_pin(
        &self,
        mut failure: Failure,
        protector: &KeyProtector,
        object: &SealedObject,
        context: &Context<'_>,
    ) -> Failure {
        if failure.reason != Reason::WrongPin {
            return failure;
        }
        let others: Vec<_> = context
            .block
            .protectors()
            .filter(|other| needs_pin(other.kind()) && other.id != protector.id)
            .map(|other| other.id)
            .collect();
        if !others.is_empty() {
            failure.remedy = Some(Remedy::NamePinProtector { others });
        }
        self.wrong_pins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((object.private.clone(), failure.clone()));
        failure
    }

    /// The failure without a try, if a PIN was wrong for this object or for another one.
    fn refused_before(&self, parts: &Parts<'_>) -> Option<Failure> {
        parts.pin.as_ref()?;
        let refused = self
            .wrong_pins
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let same = refused
            .iter()
            .find(|(private, _)| *private == parts.object.private);
        if let Some((_, failure)) = same {
            return Some(failure.clone());
        }
        (!refused.is_empty()).then(refusal::pin_not_tried)
    }

    fn startup_keys(
        &self,
        protector: &KeyProtector,
        context: &Context<'_>,
    ) -> Result<Vec<&ExternalKey>, Failure> {
        let keys = self
            .startup_key
            .iter()
            .flat_map(|key| key.candidates(protector, context))
            .collect::<Vec<_>>();
        if keys.is_empty() {
            return Err(Failure::new(
                Reason::NoStartupKey,
                format!(
                    "the protector also needs the startup key {:X}.BEK",
                    protector.id
                ),
            )
            .with_remedy(Remedy::GiveStartupKey));
        }
        Ok(keys)
    }

    fn ask_pin(&self, lockout: Option<Lockout>) -> Result<UsedPin<'_>, Failure> {
        if let Some(pin) = &self.pin {
            return Ok(UsedPin::Given(pin));
        }
        if let Some(lockout) = lockout {
            self.prompt.tell(&refusal::tries_left(&lockout));
        }
        let typed = self.prompt.secret("PIN of the TPM: ").ok_or_else(|| {
            Failure::new(Reason::NoPin, "the protector also needs a PIN")
                .with_remedy(Remedy::GivePin)
        })?;
        Ok(UsedPin::Typed(Pin::new(&typed)))
    }
}

/// The PIN to use.
enum UsedPin<'a> {
    Given(&'a Pin),
    Typed(Pin),
}

impl UsedPin<'_> {
    fn stretch(&self, salt: &[u8; 16]) -> StretchedKey {
        match self {
            Self::Given(pin) => pin.stretch(salt),
            Self::Typed(pin) => pin.stretch(salt),
        }
    }
}

impl Credential for TpmUnlock {
    fn name(&self) -> &str {
        self.unsealer.name()
    }

    fn try_on(&self, protector: &KeyProtector, context: &Context<'_>) -> Answer {
        if !OPENS.contains(&protector.kind()) {
            return Answer::NotMine;
        }
        self.open(protector, context).unwrap_or_else(Answer::Failed)
    }
}

impl std::fmt::Debug for TpmUnlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TpmUnlock({})", self.unsealer.place())
    }
}

/// The parts of a TPM protector that unlocking needs.
struct Parts<'a> {
    object: &'a SealedObject,
    pin: Option<PinParts<'a>>,
    needs_startup_key: bool,
}

struct PinParts<'a> {
    salt: &'a [u8; 16],
    label: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Collects the parts, or says which is missing, before the TPM is used.
    fn of(protector: &'a KeyProtector) -> Result<Self, Failure> {
        let damaged = |what: &str| Failure::new(Reason::DamagedProtector, what);
        let object = object_of(protector)?;
        let kind = protector.kind();
        let needs_pin = needs_pin(kind);
        let needs_startup_key = matches!(
            kind,
            ProtectorKind::TpmStartupKey | ProtectorKind::TpmPinStartupKey
        );
        if (needs_pin || needs_startup_key) && protector.sealed_vmk().is_none() {
            return Err(damaged("the protector has no sealed master key"));
        }
        let pin = match needs_pin {
            true => Some(PinParts::of(protector)?),
            false => None,
        };
        Ok(Self {
            object,
            pin,
            needs_startup_key,
        })
    }
}

fn needs_pin(kind: ProtectorKind) -> bool {
    matches!(
        kind,
        ProtectorKind::TpmPin | ProtectorKind::TpmPinStartupKey
    )
}

fn object_of(protector: &KeyProtector) -> Result<&SealedObject, Failure> {
    let blob = protector.tpm().ok_or_else(|| {
        Failure::new(
            Reason::DamagedProtector,
            "the protector has no object sealed to a TPM",
        )
    })?;
    blob.sealed.as_ref().map_err(refusal::unreadable)
}

impl<'a> PinParts<'a> {
    fn of(protector: &'a KeyProtector) -> Result<Self, Failure> {
        let stretch = protector.stretch().ok_or_else(|| {
            Failure::new(
                Reason::DamagedProtector,
                "the protector has no salt for stretching the PIN",
            )
        })?;
        if stretch.flags & STRETCH_FLAG_PBKDF2 != 0 {
            return Err(Failure::new(
                Reason::UnsupportedStretch,
                "the protector stretches its PIN with PBKDF2, whose exact inputs are not published",
            ));
        }
        // The password for the TPM depends on the label; a guess would be counted as a wrong PIN.
        let label = protector.hash_label().ok_or_else(|| {
            Failure::new(
                Reason::UnsupportedProtector,
                "the protector has no label for the TPM's password: its form is unknown, perhaps from Windows 7 or earlier",
            )
            .with_remedy("use another protector, such as the recovery password")
        })?;
        Ok(Self {
            salt: &stretch.salt,
            label,
        })
    }
}
