//! Access to a TPM 2.0 through libtss2 (docs/format-tpm.md §4). No type of `tss-esapi` leaves this file.
//!
//! Every method opens a connection of its own, on a thread of its own, and flushes what it created in the
//! TPM before it returns. All methods of a value share one allowance of time: a TPM that does not answer
//! fails the operation, and does not stop the program.
//!
//! Parameters on the bus are encrypted by a session salted with the storage root key: with an unsalted
//! session, keys can be read from the bus.
//!
//! libtss2 writes messages of its own to standard error; the environment variable `TSS2_LOG=all+none`
//! turns them off.

use std::fs::OpenOptions;
use std::path::Path;
use std::str::FromStr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base16ct::lower::encode_string as hex;
use tss_esapi::attributes::{ObjectAttributesBuilder, SessionAttributesBuilder};
use tss_esapi::constants::response_code::Tss2ResponseCode;
use tss_esapi::constants::{CapabilityType, SessionType};
use tss_esapi::handles::{KeyHandle, ObjectHandle, PersistentTpmHandle, SessionHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::{Hierarchy, Provision};
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Auth, CapabilityData, Digest, KeyedHashScheme, PcrSelectSize, PcrSelectionList, PcrSlot,
    Private, Public, PublicBuilder, PublicKeyRsa, PublicKeyedHashParameters,
    PublicRsaParametersBuilder, RsaExponent, SensitiveData, SymmetricDefinition,
    SymmetricDefinitionObject,
};
use tss_esapi::tcti_ldr::TctiNameConf;
use tss_esapi::traits::{Marshall, UnMarshall};
use tss_esapi::{Context, Error as TssError};

use super::libtss2;
use super::policy::{Pcrs, Policy};
use super::unsealer::{Lockout, ObjectSealer, Sealed, TpmDescription, TpmError, Unsealer};
use crate::crypto::hash::HashAlgorithm;
use crate::error::{Error, Remedy, Result};
use crate::format::tpm_blob::SealedObject;
use crate::secret::{SecretBytes, TpmPassword};
use crate::shown::without_error_numbers;

/// The persistent handle of the storage root key (docs/format-tpm.md §4.4).
const SRK: u32 = 0x8100_0001;
/// Length of its modulus in bytes. The template must have as many zero bytes as unique identifier, or the
/// TPM derives another key.
const SRK_LEN: usize = 256;

/// The device of the kernel's resource manager, and that of the TPM itself.
const RESOURCE_MANAGER: &str = "/dev/tpmrm0";
const BARE_DEVICE: &str = "/dev/tpm0";

/// How long all exchanges of a [`Tss`] with its TPM may take together.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much longer for each key that the TPM makes: for an RSA key, some need a minute.
const KEY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long to wait for TPM2_FlushContext once there is a result.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Steps of an exchange with the TPM, as messages name them.
const CONNECTING: &str = "connecting (TPM2_GetCapability)";
const FLUSHING: &str = "cleaning up (TPM2_FlushContext)";

/// The handles of transient objects and of sessions begin here (TPM 2.0 library, part 2, section 7.2), and a
/// TPM does not hold more than this many.
const FIRST_TRANSIENT: u32 = 0x8000_0000;
const FIRST_SESSION: u32 = 0x0200_0000;
const MAX_TRANSIENT: u32 = 64;

/// TPM properties (TPM 2.0 library, part 2, section 6.13), and the bit `inLockout` of `PERMANENT`.
mod properties {
    pub(super) const MANUFACTURER: u32 = 0x105;
    pub(super) const VENDOR_STRINGS: [u32; 4] = [0x106, 0x107, 0x108, 0x109];
    pub(super) const FIRMWARE: [u32; 2] = [0x10B, 0x10C];
    pub(super) const PERMANENT: u32 = 0x200;
    pub(super) const IN_LOCKOUT: u32 = 0x200;
    pub(super) const LOCKOUT_COUNTER: u32 = 0x20E;
    pub(super) const MAX_AUTH_FAIL: u32 = 0x20F;
    pub(super) const LOCKOUT_INTERVAL: u32 = 0x210;
    pub(super) const LOCKOUT_RECOVERY: u32 = 0x211;
}

/// Response codes of libtss2 (layer 0xA) and of the TPM (docs/format-tpm.md §5).
mod codes {
    pub(super) const NO_CONNECTION: u32 = 0xA_000A;
    pub(super) const NO_MODULE: u32 = 0xA_0015;
    pub(super) const NOT_STARTED: u32 = 0x100;
    pub(super) const NO_SUCH_HANDLE: u32 = 0x18B;
    pub(super) const INTEGRITY: u32 = 0x1DF;
    pub(super) const VALUE: u32 = 0x1C4;
    pub(super) const PCR_CHANGED: u32 = 0x128;
    pub(super) const AUTH_FAIL: u32 = 0x98E;
    pub(super) const LOCKOUT: u32 = 0x921;
}

/// How [`Tss`] uses a TPM.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TssOptions {
    /// Create the storage root key again for each use, as a transient object: for a TPM that does not
    /// hold it any more.
    pub recreate_srk: bool,
    /// The TPM name that the storage root key must have, as [`Unsealer::srk_name`] returns it. If `None`,
    /// the name that the key protector stores, or any if it stores none.
    pub srk_name: Option<Vec<u8>>,
    /// Send keys over the bus unencrypted: for a TPM that cannot encrypt its sessions.
    pub plaintext_bus: bool,
    /// How long to wait for the TPM in all; 30 seconds by default. Where the TPM makes a key, two minutes
    /// are added.
    pub patience: Duration,
}

impl Default for TssOptions {
    fn default() -> Self {
        Self {
            recreate_srk: false,
            srk_name: None,
            plaintext_bus: false,
            patience: PATIENCE,
        }
    }
}

impl TssOptions {
    /// The storage root key that the TPM holds, whatever its name; keys encrypted on the bus.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`TssOptions::recreate_srk`].
    #[must_use]
    pub fn recreate_srk(mut self, recreate: bool) -> Self {
        self.recreate_srk = recreate;
        self
    }

    /// Sets [`TssOptions::srk_name`].
    #[must_use]
    pub fn srk_name(mut self, name: impl Into<Vec<u8>>) -> Self {
        self.srk_name = Some(name.into());
        self
    }

    /// Sets [`TssOptions::plaintext_bus`].
    #[must_use]
    pub fn plaintext_bus(mut self, plaintext: bool) -> Self {
        self.plaintext_bus = plaintext;
        self
    }

    /// Sets [`TssOptions::patience`].
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// A TPM 2.0, reached through libtss2.
///
/// A value has 30 seconds for everything that it asks of the TPM, and more where the TPM makes a key. A TPM
/// that does not answer in that time fails the call, and every later call at once: make a new value to
/// ask it again.
#[derive(Debug)]
pub struct Tss {
    tcti: String,
    conf: TctiNameConf,
    options: TssOptions,
    patience: Mutex<Patience>,
}

impl Tss {
    /// The TPM at `tcti`, in the syntax of libtss2 (TCTI), such as `device:/dev/tpmrm0`; this computer's
    /// TPM if `None`. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::BadCredential`] when `tcti` is malformed.
    pub fn new(tcti: Option<&str>, options: TssOptions) -> Result<Self> {
        let tcti = match tcti {
            None | Some("device") => format!("device:{}", default_device()),
            Some(tcti) => tcti.to_owned(),
        };
        let conf = TctiNameConf::from_str(&tcti).map_err(|_| Error::BadCredential {
            credential: "TPM".to_owned(),
            why: format!("{tcti} is not the address of a TPM"),
            remedy: Some(Remedy::NameTpm),
        })?;
        let patience = Mutex::new(Patience {
            left: options.patience,
            gave_up: None,
        });
        Ok(Self {
            tcti,
            conf,
            options,
            patience,
        })
    }

    /// Whether the TPM has a persistent storage root key. If it has none, creates it in the TPM as
    /// Windows does and makes it persistent.
    ///
    /// # Errors
    /// The [`TpmError`] that says why the TPM does not make it.
    pub fn create_srk(&self) -> Result<CreatedSrk, TpmError> {
        let options = self.options.clone();
        self.ask(move |link| {
            match persistent_srk(link) {
                Ok(srk) => return Ok(CreatedSrk::Present(link.name_of(srk)?)),
                Err(TpmError::NoSrk) => {}
                Err(error) => return Err(error),
            }
            let srk = transient_srk(link)?;
            let name = link.name_of(srk)?;
            check_name(&name, &options, None)?;
            let handle = PersistentTpmHandle::new(SRK).map_err(|error| link.failed(&error))?;
            link.step(
                "making the storage root key persistent (TPM2_EvictControl)",
                |context| {
                    context.execute_with_session(Some(AuthSession::Password), |context| {
                        context.evict_control(Provision::Owner, srk.into(), handle.into())
                    })
                },
            )?;
            Ok(CreatedSrk::Created(name))
        })
    }

    /// Connects, and calls `work`, on a thread of its own: a TPM that does not answer must not stop this
    /// one. Flushes what `work` created in the TPM before it returns, unless that takes long.
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Link) -> Result<T, TpmError> + Send + 'static,
    ) -> Result<T, TpmError> {
        let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &patience.gave_up {
            return Err(error.clone());
        }
        let clock = Arc::new(Clock::new(patience.left));
        let (sender, answers) = mpsc::channel();
        let (tcti, conf, watch) = (self.tcti.clone(), self.conf.clone(), clock.clone());
        let conf_again = conf.clone();
        let started = std::thread::Builder::new().spawn(move || {
            let mut link = match Link::connect(&tcti, conf, watch) {
                Ok(link) => link,
                Err(error) => {
                    let _ = sender.send(Err(error));
                    return;
                }
            };
            let done = work(&mut link);
            link.clock.begin(FLUSHING);
            // The receiver is gone if the time is up.
            let _ = sender.send(done);
            link.finish(conf_again);
            drop(sender);
        });
        started.map_err(|error| TpmError::NoTpm {
            why: format!("no thread could be started: {error}"),
        })?;
        let answer = loop {
            match answers.recv_timeout(clock.left()) {
                Ok(answer) => break answer,
                Err(RecvTimeoutError::Timeout) if clock.left() > Duration::ZERO => {}
                Err(RecvTimeoutError::Timeout) => break Err(clock.gave_up(&self.tcti)),
                Err(RecvTimeoutError::Disconnected) => {
                    break Err(TpmError::Other {
                        what: format!("nothing that can be used while {}", clock.doing()),
                    });
                }
            }
        };
        patience.left = clock.left();
        match &answer {
            Err(error) if clock.left() == Duration::ZERO => patience.gave_up = Some(error.clone()),
            _ => {
                if let Err(RecvTimeoutError::Timeout) = answers.recv_timeout(FLUSH_TIMEOUT) {
                    tracing::warn!("the TPM does not answer TPM2_FlushContext");
                    patience.gave_up = Some(clock.gave_up(&self.tcti));
                }
            }
        }
        answer
    }
}

/// The storage root key that a TPM has after [`Tss::create_srk`], by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreatedSrk {
    /// It had one.
    Present(Vec<u8>),
    /// It was created.
    Created(Vec<u8>),
}

/// How long a [`Tss`] still waits for its TPM.
#[derive(Debug)]
struct Patience {
    left: Duration,
    /// The error of the call in which the time ran out.
    gave_up: Option<TpmError>,
}

/// The deadline of a call, and what it is doing.
struct Clock(Mutex<Times>);

struct Times {
    deadline: Instant,
    /// How long the call may take in all.
    allowed: Duration,
    doing: &'static str,
}

impl Clock {
    fn new(allowed: Duration) -> Self {
        Self(Mutex::new(Times {
            deadline: Instant::now() + allowed,
            allowed,
            doing: CONNECTING,
        }))
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, doing: &'static str) {
        self.times().doing = doing;
    }

    /// Allows more time, for a command in which the TPM makes a key.
    fn extend(&self, by: Duration) {
        let mut times = self.times();
        times.deadline += by;
        times.allowed += by;
    }

    fn doing(&self) -> &'static str {
        self.times().doing
    }

    fn left(&self) -> Duration {
        self.times()
            .deadline
            .saturating_duration_since(Instant::now())
    }

    fn gave_up(&self, tcti: &str) -> TpmError {
        let times = self.times();
        if times.doing == CONNECTING {
            return TpmError::NoTpm {
                why: format!(
                    "{tcti} did not answer for {} seconds: another program uses it",
                    times.allowed.as_secs()
                ),
            };
        }
        TpmError::NoAnswer { doing: times.doing }
    }
}

/// A connection to a TPM, with what was created there.
struct Link {
    context: Context,
    clock: Arc<Clock>,
    /// Objects and sessions to flush, in the order in which they were created.
    created: Vec<ObjectHandle>,
    /// The transient objects and sessions that the TPM held before.
    found: Vec<TpmHandle>,
    /// Whether libtss2 refused an answer of the TPM: an object may have been created all the same.
    lost: bool,
}

impl Link {
    fn connect(tcti: &str, conf: TctiNameConf, clock: Arc<Clock>) -> Result<Self, TpmError> {
        let unreachable = |why: String| TpmError::NoTpm { why };
        if let Some(path) = tcti.strip_prefix("device:") {
            // Open the device once, for its error: libtss2 would report only that something failed.
            let opened = OpenOptions::new().read(true).write(true).open(path);
            opened.map_err(|error| {
                let why = without_error_numbers(&error.to_string());
                unreachable(format!("{path}: {why}"))
            })?;
        }
        libtss2::load().map_err(|missing| {
            tracing::debug!("libtss2 is not loaded: {}", missing.why);
            TpmError::NoLibrary {
                library: missing.library,
            }
        })?;
        let refused = |error: TssError| match code(&error) {
            Some(codes::NO_MODULE) => unreachable(format!(
                "libtss2 has no module for {tcti}: its package is not installed"
            )),
            // The TPM's own answer, not an error of the connection.
            Some(code) if is_of_tpm(code) => failed(&error, CONNECTING),
            _ => unreachable(format!("nothing answers at {tcti}")),
        };
        let context = Context::new(conf).map_err(refused)?;
        let mut link = Self {
            context,
            clock,
            created: Vec::new(),
            found: Vec::new(),
            lost: false,
        };
        // A TPM that is busy with another client accepts the connection, but does not answer.
        link.found = transient(&mut link.context).map_err(refused)?;
        Ok(link)
    }

    /// Calls `command`, of which `doing` says what it does and how the TPM calls it.
    fn step<T>(
        &mut self,
        doing: &'static str,
        command: impl FnOnce(&mut Context) -> Result<T, TssError>,
    ) -> Result<T, Fault> {
        self.clock.begin(doing);
        command(&mut self.context).map_err(|error| {
            self.lost |= !code(&error).is_some_and(is_of_tpm);
            Fault { error, doing }
        })
    }

    /// The error of something that asks nothing of the TPM.
    fn failed(&self, error: &TssError) -> TpmError {
        failed(error, self.clock.doing())
    }

    /// Flushes what was created, the last first. A failed flush hides neither result nor error: what stays
    /// in the TPM goes when the connection ends, or at the next start.
    fn flush(&mut self) {
        for handle in std::mem::take(&mut self.created).into_iter().rev() {
            if self.context.flush_context(handle).is_err() {
                tracing::warn!("the TPM did not flush an object or session");
            }
        }
    }

    /// Flushes what was created, and ends the connection. Where libtss2 refused an answer, it accepts
    /// nothing more on this connection, and the handle of a new object may not be known: a second connection
    /// then flushes everything that the TPM did not hold before. Without a resource manager, it would
    /// fill the TPM.
    fn finish(mut self, conf: TctiNameConf) {
        if !self.lost {
            return self.flush();
        }
        let Self { context, found, .. } = self;
        drop(context);
        let flushed = Context::new(conf).and_then(|mut context| {
            let left = transient(&mut context)?;
            let new = left.into_iter().filter(|handle| !found.contains(handle));
            for handle in new {
                let object = context.tr_from_tpm_public(handle)?;
                context.flush_context(object)?;
            }
            Ok(())
        });
        if flushed.is_err() {
            tracing::warn!("the TPM did not flush an object or session");
        }
    }

    fn name_of(&mut self, key: KeyHandle) -> Result<Vec<u8>, TpmError> {
        let name = self
            .context
            .tr_get_name(key.into())
            .map_err(|error| self.failed(&error))?;
        Ok(name.value().to_vec())
    }

    /// The storage root key, if it has the required name: that of the options, else `stored`.
    fn srk(
        &mut self,
        options: &TssOptions,
        stored: Option<&[u8]>,
    ) -> Result<(KeyHandle, Vec<u8>), TpmError> {
        let srk = match options.recreate_srk {
            true => transient_srk(self)?,
            false => persistent_srk(self)?,
        };
        let name = self.name_of(srk)?;
        check_name(&name, options, stored)?;
        Ok((srk, name))
    }

    /// Loads an object.
    fn load(&mut self, srk: KeyHandle, object: &SealedObject) -> Result<KeyHandle, TpmError> {
        let parts = Private::try_from(object.private.as_slice())
            .and_then(|private| Ok((private, Public::unmarshall(&object.public)?)));
        // What cannot be decoded here would fail in the TPM, too.
        let (private, public) = parts.map_err(|_| TpmError::OtherTpm)?;
        let loaded = self
            .step("loading the sealed object (TPM2_Load)", |context| {
                context.execute_with_session(Some(AuthSession::Password), |context| {
                    context.load(srk, private, public)
                })
            })
            .map_err(|fault| match fault.code() {
                Some(codes::INTEGRITY) => TpmError::OtherTpm,
                _ => fault.into(),
            })?;
        self.created.push(loaded.into());
        Ok(loaded)
    }

    /// A session whose parameters are encrypted under the storage root key, unless
    /// [`TssOptions::plaintext_bus`] is set.
    fn session(
        &mut self,
        srk: KeyHandle,
        options: &TssOptions,
        kind: SessionType,
        hash: HashingAlgorithm,
    ) -> Result<AuthSession, TpmError> {
        let secret = !options.plaintext_bus;
        let salt = secret.then_some(srk);
        let aes = SymmetricDefinition::AES_128_CFB;
        let session = self
            .step("starting a session (TPM2_StartAuthSession)", |context| {
                context.start_auth_session(salt, None, None, kind, aes, hash)
            })?
            .ok_or_else(|| TpmError::Other {
                what: "no session".to_owned(),
            })?;
        self.created.push(SessionHandle::from(session).into());
        let (wanted, mask) = SessionAttributesBuilder::new()
            .with_encrypt(secret)
            .with_decrypt(secret && kind == SessionType::Hmac)
            .with_continue_session(true)
            .build();
        self.context
            .tr_sess_set_attributes(session, wanted, mask)
            .map_err(|error| self.failed(&error))?;
        Ok(session)
    }

    fn property(&mut self, id: u32) -> Result<u32, TpmError> {
        let (data, _) = self.step("reading its properties (TPM2_GetCapability)", |context| {
            context.get_capability(CapabilityType::TpmProperties, id, 1)
        })?;
        let CapabilityData::TpmProperties(list) = data else {
            return Ok(0);
        };
        let found = list.iter().find(|found| u32::from(found.property()) == id);
        Ok(found.map_or(0, |found| found.value()))
    }

    /// Four characters in a property, as far as they are printable.
    fn letters(&mut self, id: u32) -> Result<String, TpmError> {
        let letters = self.property(id)?.to_be_bytes().map(char::from);
        let printable = letters
            .into_iter()
            .filter(|letter| letter.is_ascii_graphic() || *letter == ' ');
        Ok(printable.collect())
    }

    fn unseal_once(
        &mut self,
        options: &TssOptions,
        wanted: &Wanted<'_>,
    ) -> Result<SecretBytes, Refused> {
        let (srk, _) = self.srk(options, wanted.srk_name)?;
        let loaded = self.load(srk, wanted.object)?;
        if let Some(password) = wanted.password {
            let password = Auth::try_from(password.expose().as_slice());
            password
                .and_then(|password| self.context.tr_set_auth(loaded.into(), password))
                .map_err(|error| self.failed(&error))?;
        }
        let hash = hashing(wanted.policy.hash);
        let session = self.session(srk, options, SessionType::Policy, hash)?;
        self.satisfy(session, wanted.object, wanted.policy)?;
        let released = self
            .step("releasing the key (TPM2_Unseal)", |context| {
                context.execute_with_session(Some(session), |context| context.unseal(loaded.into()))
            })
            .map_err(|fault| match fault.code() {
                Some(codes::PCR_CHANGED) => Refused::PcrChanged,
                Some(codes::AUTH_FAIL) if wanted.password.is_some() => {
                    Refused::For(TpmError::WrongPin)
                }
                Some(codes::LOCKOUT) => Refused::For(TpmError::Locked),
                _ => Refused::For(fault.into()),
            })?;
        Ok(SecretBytes::new(released.value().to_vec()))
    }

    /// Satisfies the two steps of the policy. The PCR digest is given, so that the TPM compares its PCRs
    /// now, before the password is used.
    fn satisfy(
        &mut self,
        session: AuthSession,
        object: &SealedObject,
        policy: &Policy,
    ) -> Result<(), Refused> {
        let session = PolicySession::try_from(session).map_err(|error| self.failed(&error))?;
        self.step(
            "satisfying the policy's first step (TPM2_PolicyAuthValue)",
            |context| context.policy_auth_value(session),
        )?;
        let parts = Digest::try_from(object.pcr_digest.as_slice()).and_then(|digest| {
            let pcrs = pcr_list(policy.bank, &object.pcrs(), object.selection.len())?;
            Ok((digest, pcrs))
        });
        let (digest, pcrs) = parts.map_err(|error| self.failed(&error))?;
        self.step("comparing the PCRs (TPM2_PolicyPCR)", |context| {
            context.policy_pcr(session, digest, pcrs)
        })
        .map_err(|fault| match fault.code() {
            Some(codes::VALUE) => Refused::For(TpmError::PcrMismatch),
            Some(codes::PCR_CHANGED) => Refused::PcrChanged,
            _ => Refused::For(fault.into()),
        })
    }
}

/// The object to release, and what that needs.
struct Wanted<'a> {
    object: &'a SealedObject,
    policy: &'a Policy,
    password: Option<&'a TpmPassword>,
    srk_name: Option<&'a [u8]>,
}

impl Unsealer for Tss {
    fn place(&self) -> String {
        format!("the TPM at {}", self.tcti)
    }

    fn srk_name(&self) -> Result<Option<Vec<u8>>, TpmError> {
        let options = self.options.clone();
        self.ask(move |link| link.srk(&options, None).map(|(_, name)| Some(name)))
    }

    fn description(&self) -> Result<Option<TpmDescription>, TpmError> {
        self.ask(|link| {
            let mut description = TpmDescription {
                manufacturer: link.letters(properties::MANUFACTURER)?.trim().to_owned(),
                ..TpmDescription::default()
            };
            for id in properties::VENDOR_STRINGS {
                description.vendor.push_str(&link.letters(id)?);
            }
            description.vendor = description.vendor.trim().to_owned();
            let [high, low] = properties::FIRMWARE;
            description.firmware = [link.property(high)?, link.property(low)?];
            let (data, _) = link.step("reading its PCR banks (TPM2_GetCapability)", |context| {
                context.get_capability(CapabilityType::AssignedPcr, 0, 1)
            })?;
            if let CapabilityData::AssignedPcr(banks) = data {
                let used = banks
                    .get_selections()
                    .iter()
                    .filter(|bank| !bank.is_empty());
                let known = HashAlgorithm::ALL;
                description.banks = used
                    .filter_map(|bank| {
                        known
                            .into_iter()
                            .find(|hash| hashing(*hash) == bank.hashing_algorithm())
                    })
                    .collect();
            }
            Ok(Some(description))
        })
    }

    fn lockout(&self) -> Result<Option<Lockout>, TpmError> {
        self.ask(|link| {
            let locked = link.property(properties::PERMANENT)? & properties::IN_LOCKOUT != 0;
            let failures = link.property(properties::LOCKOUT_COUNTER)?;
            let max_failures = link.property(properties::MAX_AUTH_FAIL)?;
            let lockout = Lockout::new(failures, max_failures)
                .locked(locked)
                .interval(link.property(properties::LOCKOUT_INTERVAL)?)
                .recovery(link.property(properties::LOCKOUT_RECOVERY)?);
            Ok(Some(lockout))
        })
    }

    fn pcrs(&self, bank: HashAlgorithm, wanted: &[u8]) -> Result<Option<Pcrs>, TpmError> {
        let wanted = wanted.to_vec();
        self.ask(move |link| {
            let mut values = Pcrs::new();
            for pcr in wanted {
                let selection = pcr_list(bank, &[pcr], 3).map_err(|error| link.failed(&error))?;
                let (_, _, digests) = link.step("reading a PCR (TPM2_PCR_Read)", |context| {
                    context.pcr_read(selection)
                })?;
                // The TPM returns no digest for a PCR or bank that it does not have.
                if let Some(digest) = digests.value().first() {
                    values.insert(pcr, digest.value().to_vec());
                }
            }
            Ok(Some(values))
        })
    }

    fn check(&self, object: &SealedObject, srk_name: Option<&[u8]>) -> Result<(), TpmError> {
        let (options, object) = (self.options.clone(), object.clone());
        let srk_name = srk_name.map(<[u8]>::to_vec);
        self.ask(move |link| {
            let (srk, _) = link.srk(&options, srk_name.as_deref())?;
            link.load(srk, &object).map(|_| ())
        })
    }

    fn unseal(
        &self,
        object: &SealedObject,
        policy: &Policy,
        password: Option<&TpmPassword>,
        srk_name: Option<&[u8]>,
    ) -> Result<SecretBytes, TpmError> {
        let (options, object, policy) = (self.options.clone(), object.clone(), *policy);
        let password = password.map(|password| TpmPassword::from_bytes(password.expose()));
        let srk_name = srk_name.map(<[u8]>::to_vec);
        self.ask(move |link| {
            let wanted = Wanted {
                object: &object,
                policy: &policy,
                password: password.as_ref(),
                srk_name: srk_name.as_deref(),
            };
            let counted = match wanted.password {
                Some(_) => Some(link.property(properties::LOCKOUT_COUNTER)?),
                None => None,
            };
            match link.unseal_once(&options, &wanted) {
                Err(Refused::PcrChanged) => {}
                answer => return answer.map_err(TpmError::from),
            }
            // A PCR was extended after the policy was satisfied. A TPM notices that before it checks the
            // password, so no attempt was counted, and a second try is safe. If one was counted, the
            // answer was not true, and the password is not sent again. There is no third try.
            if counted.is_some() && counted != Some(link.property(properties::LOCKOUT_COUNTER)?) {
                return Err(TpmError::WrongPin);
            }
            link.flush();
            link.unseal_once(&options, &wanted).map_err(TpmError::from)
        })
    }
}

impl ObjectSealer for Tss {
    fn seal(
        &self,
        data: &SecretBytes,
        policy: &[u8],
        password: Option<&TpmPassword>,
    ) -> Result<Sealed, TpmError> {
        let options = self.options.clone();
        let data = SecretBytes::new(data.expose().to_vec());
        let policy = policy.to_vec();
        let password = password.map(|password| TpmPassword::from_bytes(password.expose()));
        self.ask(move |link| {
            let (srk, name) = link.srk(&options, None)?;
            let hash = HashingAlgorithm::Sha256;
            let session = link.session(srk, &options, SessionType::Hmac, hash)?;
            let sessions = (Some(AuthSession::Password), Some(session), None);
            let sealed = link.step("sealing (TPM2_Create)", |context| {
                context.execute_with_sessions(sessions, |context| {
                    let template = sealed_template(&policy, password.is_some())?;
                    let data = SensitiveData::try_from(data.expose())?;
                    let password = password
                        .map(|password| Auth::try_from(password.expose().as_slice()))
                        .transpose()?;
                    let made = context.create(srk, template, password, Some(data), None, None)?;
                    let private = made.out_private.value().to_vec();
                    Ok(Sealed::new(private, made.out_public.marshall()?))
                })
            })?;
            Ok(sealed.srk_name(name))
        })
    }
}

/// The transient objects and the sessions that the TPM holds.
fn transient(context: &mut Context) -> Result<Vec<TpmHandle>, TssError> {
    let mut found = Vec::new();
    for first in [FIRST_TRANSIENT, FIRST_SESSION] {
        let (data, _) = context.get_capability(CapabilityType::Handles, first, MAX_TRANSIENT)?;
        if let CapabilityData::Handles(handles) = data {
            found.extend(handles.into_inner());
        }
    }
    Ok(found)
}

/// The storage root key that the TPM holds.
fn persistent_srk(link: &mut Link) -> Result<KeyHandle, TpmError> {
    let handle = PersistentTpmHandle::new(SRK)
        .map(TpmHandle::Persistent)
        .map_err(|error| link.failed(&error))?;
    link.step(
        "looking for the storage root key (TPM2_ReadPublic)",
        |context| context.tr_from_tpm_public(handle),
    )
    .map(KeyHandle::from)
    .map_err(|fault| match fault.code() {
        Some(codes::NO_SUCH_HANDLE) => TpmError::NoSrk,
        _ => fault.into(),
    })
}

/// The storage root key, created again from its template as a transient object.
fn transient_srk(link: &mut Link) -> Result<KeyHandle, TpmError> {
    link.clock.extend(KEY_TIMEOUT);
    let made = link.step(
        "creating the storage root key (TPM2_CreatePrimary)",
        |context| {
            let template = srk_template()?;
            context.execute_with_session(Some(AuthSession::Password), |context| {
                context.create_primary(Hierarchy::Owner, template, None, None, None, None)
            })
        },
    )?;
    link.created.push(made.key_handle.into());
    Ok(made.key_handle)
}

/// Compares the name of the storage root key with the required one.
fn check_name(name: &[u8], options: &TssOptions, stored: Option<&[u8]>) -> Result<(), TpmError> {
    let given = options.srk_name.as_deref();
    match given.or(stored) {
        Some(wanted) if wanted != name => Err(match given {
            Some(_) => TpmError::OtherSrk { found: hex(name) },
            None => TpmError::SrkChanged {
                found: hex(name),
                stored: hex(wanted),
            },
        }),
        _ => Ok(()),
    }
}

/// A failed command, and what it was for.
struct Fault {
    error: TssError,
    doing: &'static str,
}

impl Fault {
    fn code(&self) -> Option<u32> {
        code(&self.error)
    }
}

impl From<Fault> for TpmError {
    fn from(fault: Fault) -> Self {
        failed(&fault.error, fault.doing)
    }
}

/// Why an object was not released.
enum Refused {
    /// A PCR was extended after the policy was satisfied, or while it was.
    PcrChanged,
    /// Any other reason.
    For(TpmError),
}

impl From<TpmError> for Refused {
    fn from(error: TpmError) -> Self {
        Self::For(error)
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::For(fault.into())
    }
}

impl From<Refused> for TpmError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::PcrChanged => Self::PcrMismatch,
            Refused::For(error) => error,
        }
    }
}

fn pcr_list(bank: HashAlgorithm, pcrs: &[u8], len: usize) -> Result<PcrSelectionList, TssError> {
    let slots = pcrs
        .iter()
        .map(|pcr| PcrSlot::try_from(1u32 << (pcr & 31)))
        .collect::<Result<Vec<_>, _>>()?;
    PcrSelectionList::builder()
        .with_size_of_select(PcrSelectSize::try_parse_usize(len)?)
        .with_selection(hashing(bank), &slots)
        .build()
}

fn hashing(hash: HashAlgorithm) -> HashingAlgorithm {
    match hash {
        HashAlgorithm::Sha1 => HashingAlgorithm::Sha1,
        HashAlgorithm::Sha256 => HashingAlgorithm::Sha256,
        HashAlgorithm::Sha384 => HashingAlgorithm::Sha384,
        HashAlgorithm::Sha512 => HashingAlgorithm::Sha512,
        HashAlgorithm::Sm3 => HashingAlgorithm::Sm3_256,
    }
}

/// The template of the storage root key that Windows creates (docs/format-tpm.md §4.4).
fn srk_template() -> Result<Public, TssError> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true)
        .build()?;
    let parameters = PublicRsaParametersBuilder::new_restricted_decryption_key(
        SymmetricDefinitionObject::AES_128_CFB,
        RsaKeyBits::Rsa2048,
        RsaExponent::default(),
    );
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Rsa)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_rsa_parameters(parameters.build()?)
        .with_rsa_unique_identifier(PublicKeyRsa::try_from(vec![0; SRK_LEN])?)
        .build()
}

/// The template of a sealed object as Windows creates it (docs/format-tpm.md §6.1).
fn sealed_template(policy: &[u8], has_password: bool) -> Result<Public, TssError> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_no_da(!has_password)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(Digest::try_from(policy)?)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::try_from(vec![0; policy.len()])?)
        .build()
}

/// This computer's TPM.
fn default_device() -> &'static str {
    // The bare device is the second choice: without the resource manager, sessions and objects of other
    // programs can fill the TPM.
    if !Path::new(RESOURCE_MANAGER).exists() && Path::new(BARE_DEVICE).exists() {
        BARE_DEVICE
    } else {
        RESOURCE_MANAGER
    }
}

fn failed(error: &TssError, doing: &str) -> TpmError {
    match code(error) {
        Some(codes::NO_CONNECTION) => TpmError::NoTpm {
            why: format!("the connection broke while {doing}"),
        },
        Some(codes::NOT_STARTED) => TpmError::NoTpm {
            why: "it was not started (TPM2_Startup): firmware or swtpm's flag startup-clear does that"
                .to_owned(),
        },
        Some(code) => TpmError::Other {
            what: match meaning(code) {
                Some(meaning) => format!("{meaning} ({code:#x}) while {doing}"),
                None => format!("{code:#x} while {doing}"),
            },
        },
        None => TpmError::Other {
            what: format!("{error} while {doing}"),
        },
    }
}

/// Whether a response code is the TPM's own, and not one of libtss2: the layer in its third byte is the
/// TPM, or the resource manager, which repeats the codes of the TPM.
fn is_of_tpm(code: u32) -> bool {
    matches!(code >> 16, 0 | 0xB | 0xC)
}

/// What a response code means, for those that users meet (TPM 2.0 library, part 2, section 6.6).
fn meaning(code: u32) -> Option<&'static str> {
    /// Of a code of format 1, the bits that say of which handle, session or parameter it is.
    const PLACE: u32 = 0xF40;
    const FORMAT_ONE: u32 = 0x80;
    if !is_of_tpm(code) {
        return match code >> 16 {
            0x7 | 0x8 => Some("an answer that libtss2 does not accept"),
            0xA => Some("an error of the connection"),
            _ => None,
        };
    }
    let code = code & 0xFFFF;
    let code = match code & FORMAT_ONE {
        0 => code,
        _ => code & !PLACE,
    };
    Some(match code {
        0x101 => "that it is in failure mode and works again only after a restart",
        0x120 => "that this command is disabled",
        0x125 => "that this command needs authorization",
        0x128 => "that a PCR changed during the exchange",
        0x12D => "that its firmware is being upgraded",
        0x12F => "that the authorization cannot be used",
        0x130 => "that it needs a restart",
        0x143 => "that it does not have this command",
        0x902 | 0x904 | 0x906 => {
            "that it has no memory for another object, because programs left some there"
        }
        0x903 | 0x905 => {
            "that it has no memory for another session, because programs left some there"
        }
        0x908 | 0x90A | 0x922 => "that it is busy and the command must be repeated",
        0x909 => "that the command was cancelled",
        0x920 => "that it is protecting its memory from wear and must be asked later",
        0x921 => "that it is locked after too many wrong PINs or passwords",
        0x923 => "that its memory cannot be reached now",
        0x085 => "that the hierarchy of its owner is disabled",
        0x08E => "that an authorization failed, and counted it",
        0x0A2 => "that an authorization failed: its owner hierarchy has a password",
        0x084 => "that a value is not acceptable",
        0x095 => "that a size is wrong",
        0x09D => "that a policy is not satisfied",
        _ => return None,
    })
}

/// The number of a response code. `tss-esapi` gives it only in the text of its `Display`.
fn code(error: &TssError) -> Option<u32> {
    let text = match error {
        TssError::Tss2Error(Tss2ResponseCode::FormatZero(code)) => code.to_string(),
        TssError::Tss2Error(Tss2ResponseCode::FormatOne(code)) => code.to_string(),
        _ => return None,
    };
    let (_, digits) = text.rsplit_once("0x")?;
    u32::from_str_radix(digits, 16).ok()
}
