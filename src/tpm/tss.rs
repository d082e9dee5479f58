//! Access to a TPM 2.0 through libtss2 (docs/format-tpm.md §4). No type of `tss-esapi` leaves this file.
//!
//! Every method opens a connection of its own, and flushes what it created in the TPM before it returns.
//! Parameters on the bus are encrypted by a session salted with the storage root key: with an unsalted
//! session, keys can be read from the bus.
//!
//! libtss2 writes messages of its own to standard error; the environment variable `TSS2_LOG=all+none`
//! turns them off.

use std::fs::OpenOptions;
use std::path::Path;
use std::str::FromStr;
use std::sync::mpsc;
use std::time::Duration;

use base16ct::lower::encode_string as hex;
use tss_esapi::attributes::{ObjectAttributesBuilder, SessionAttributesBuilder};
use tss_esapi::constants::response_code::Tss2ResponseCode;
use tss_esapi::constants::{CapabilityType, SessionType};
use tss_esapi::handles::{KeyHandle, ObjectHandle, PersistentTpmHandle, SessionHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::resource_handles::Hierarchy;
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

use super::policy::{Pcrs, Policy};
use super::unsealer::{Lockout, ObjectSealer, Sealed, TpmError, Unsealer};
use crate::crypto::hash::HashAlgorithm;
use crate::error::{Error, Result};
use crate::format::tpm_blob::SealedObject;
use crate::secret::{SecretBytes, TpmPassword};

/// The persistent handle of the storage root key (docs/format-tpm.md §4.4).
const SRK: u32 = 0x8100_0001;
/// Length of its modulus in bytes. The template must have as many zero bytes as unique identifier, or the
/// TPM derives another key.
const SRK_LEN: usize = 256;

/// The device of the kernel's resource manager, and that of the TPM itself.
const RESOURCE_MANAGER: &str = "/dev/tpmrm0";
const BARE_DEVICE: &str = "/dev/tpm0";

/// How long connecting may take. A software TPM accepts one connection at a time and lets others wait.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// TPM properties (TPM 2.0 library, part 2, section 6.13), and the bit `inLockout` of the first.
mod properties {
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
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TssOptions {
    /// Create the storage root key again for each use, as a transient object: for a TPM that does not
    /// hold it any more.
    pub recreate_srk: bool,
    /// The TPM name that the storage root key must have, as [`Unsealer::srk_name`] returns it; any if
    /// `None`.
    pub srk_name: Option<Vec<u8>>,
    /// Send keys over the bus unencrypted: for a TPM that cannot encrypt its sessions.
    pub plaintext_bus: bool,
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
}

/// A TPM 2.0, reached through libtss2.
#[derive(Debug)]
pub struct Tss {
    tcti: String,
    conf: TctiNameConf,
    options: TssOptions,
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
            remedy: Some(
                "give an address such as device:/dev/tpmrm0, swtpm:host=127.0.0.1,port=2321, mssim or tabrmd"
                    .into(),
            ),
        })?;
        Ok(Self {
            tcti,
            conf,
            options,
        })
    }

    fn connect(&self) -> Result<Context, TpmError> {
        let unreachable = |why: String| TpmError::NoTpm { why };
        if let Some(path) = self.tcti.strip_prefix("device:") {
            // Open the device once, for its error: libtss2 would report only that something failed.
            let opened = OpenOptions::new().read(true).write(true).open(path);
            opened.map_err(|error| unreachable(format!("{path}: {error}")))?;
        }
        let (sender, receiver) = mpsc::channel();
        let conf = self.conf.clone();
        let started = std::thread::Builder::new().spawn(move || {
            // The receiver is gone if the time is up.
            let _ = sender.send(connect_and_ask(conf));
        });
        started.map_err(|error| unreachable(format!("no thread could be started: {error}")))?;
        let context = receiver.recv_timeout(CONNECT_TIMEOUT).map_err(|_| {
            unreachable(format!(
                "{} did not answer for {} seconds: another program uses it",
                self.tcti,
                CONNECT_TIMEOUT.as_secs()
            ))
        })?;
        context.map_err(|error| match code(&error) {
            Some(codes::NO_MODULE) => unreachable(format!(
                "libtss2 has no module for {}: its package is not installed",
                self.tcti
            )),
            Some(codes::NOT_STARTED) => failed(&error, "connecting"),
            _ => unreachable(format!("nothing answers at {}", self.tcti)),
        })
    }

    /// Calls `work` with the storage root key.
    fn with_srk<T, E: From<TpmError>>(
        &self,
        context: &mut Context,
        work: impl FnOnce(&mut Context, KeyHandle) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.options.recreate_srk {
            let made = context.execute_with_session(Some(AuthSession::Password), |context| {
                let template = srk_template()?;
                context.create_primary(Hierarchy::Owner, template, None, None, None, None)
            });
            let srk = made
                .map_err(|error| failed(&error, "creating the storage root key"))?
                .key_handle;
            let named = self.check_srk_name(context, srk);
            let done = named.map_err(E::from).and_then(|()| work(context, srk));
            return flushed(context, srk.into(), done);
        }
        let handle = PersistentTpmHandle::new(SRK).map(TpmHandle::Persistent);
        let srk = handle
            .and_then(|handle| context.tr_from_tpm_public(handle))
            .map_err(|error| match code(&error) {
                Some(codes::NO_SUCH_HANDLE) => TpmError::NoSrk,
                _ => failed(&error, "looking for the storage root key"),
            })?;
        let srk = KeyHandle::from(srk);
        self.check_srk_name(context, srk)?;
        work(context, srk)
    }

    fn check_srk_name(&self, context: &mut Context, srk: KeyHandle) -> Result<(), TpmError> {
        let Some(wanted) = &self.options.srk_name else {
            return Ok(());
        };
        let name = name_of(context, srk)?;
        if name == *wanted {
            return Ok(());
        }
        Err(TpmError::OtherSrk { found: hex(&name) })
    }

    /// Calls `work` with the loaded object.
    fn with_object<T, E: From<TpmError>>(
        &self,
        context: &mut Context,
        srk: KeyHandle,
        object: &SealedObject,
        work: impl FnOnce(&mut Context, KeyHandle) -> Result<T, E>,
    ) -> Result<T, E> {
        let parts = Private::try_from(object.private.as_slice())
            .and_then(|private| Ok((private, Public::unmarshall(&object.public)?)));
        // What cannot be decoded here would fail in the TPM, too.
        let (private, public) = parts.map_err(|_| TpmError::OtherTpm)?;
        let loaded = context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.load(srk, private, public)
            })
            .map_err(|error| match code(&error) {
                Some(codes::INTEGRITY) => TpmError::OtherTpm,
                _ => failed(&error, "loading the sealed object"),
            })?;
        let done = work(context, loaded);
        flushed(context, loaded.into(), done)
    }

    /// Calls `work` with a session whose parameters are encrypted under the storage root key, unless
    /// [`TssOptions::plaintext_bus`] is set.
    fn with_session<T, E: From<TpmError>>(
        &self,
        context: &mut Context,
        srk: KeyHandle,
        kind: SessionType,
        hash: HashingAlgorithm,
        work: impl FnOnce(&mut Context, AuthSession) -> Result<T, E>,
    ) -> Result<T, E> {
        let salt = (!self.options.plaintext_bus).then_some(srk);
        let aes = SymmetricDefinition::AES_128_CFB;
        let session = context
            .start_auth_session(salt, None, None, kind, aes, hash)
            .map_err(|error| failed(&error, "starting a session"))?
            .ok_or_else(|| TpmError::Other {
                what: "no session".to_owned(),
            })?;
        let secret = !self.options.plaintext_bus;
        let (wanted, mask) = SessionAttributesBuilder::new()
            .with_encrypt(secret)
            .with_decrypt(secret && kind == SessionType::Hmac)
            .with_continue_session(true)
            .build();
        let done = context
            .tr_sess_set_attributes(session, wanted, mask)
            .map_err(|error| E::from(failed(&error, "setting up a session")))
            .and_then(|()| work(context, session));
        flushed(context, SessionHandle::from(session).into(), done)
    }

    fn unseal_once(
        &self,
        context: &mut Context,
        object: &SealedObject,
        policy: &Policy,
        password: Option<&TpmPassword>,
    ) -> Result<SecretBytes, Refused> {
        let hash = hashing(policy.hash);
        self.with_srk(context, |context, srk| {
            self.with_object(context, srk, object, |context, loaded| {
                if let Some(password) = password {
                    let password = Auth::try_from(password.expose().as_slice());
                    password
                        .and_then(|password| context.tr_set_auth(loaded.into(), password))
                        .map_err(|error| failed(&error, "setting the password"))?;
                }
                let kind = SessionType::Policy;
                self.with_session(context, srk, kind, hash, |context, session| {
                    satisfy(context, session, object, policy)?;
                    let released = context
                        .execute_with_session(Some(session), |context| {
                            context.unseal(loaded.into())
                        })
                        .map_err(|error| refused(&error))?;
                    Ok(SecretBytes::new(released.value().to_vec()))
                })
            })
        })
    }
}

impl Unsealer for Tss {
    fn place(&self) -> String {
        format!("the TPM at {}", self.tcti)
    }

    fn srk_name(&self) -> Result<Option<Vec<u8>>, TpmError> {
        let mut context = self.connect()?;
        self.with_srk(&mut context, name_of).map(Some)
    }

    fn lockout(&self) -> Result<Option<Lockout>, TpmError> {
        let mut context = self.connect()?;
        let mut property = |id| property(&mut context, id);
        let locked = property(properties::PERMANENT)? & properties::IN_LOCKOUT != 0;
        let failures = property(properties::LOCKOUT_COUNTER)?;
        let max_failures = property(properties::MAX_AUTH_FAIL)?;
        let lockout = Lockout::new(failures, max_failures)
            .locked(locked)
            .interval(property(properties::LOCKOUT_INTERVAL)?)
            .recovery(property(properties::LOCKOUT_RECOVERY)?);
        Ok(Some(lockout))
    }

    fn pcrs(&self, bank: HashAlgorithm, wanted: &[u8]) -> Result<Option<Pcrs>, TpmError> {
        let mut context = self.connect()?;
        let mut values = Pcrs::new();
        for pcr in wanted {
            let selection =
                pcr_list(bank, &[*pcr], 3).map_err(|error| failed(&error, "selecting a PCR"))?;
            let (_, _, digests) = context
                .pcr_read(selection)
                .map_err(|error| failed(&error, "reading a PCR"))?;
            // The TPM returns no digest for a PCR or bank that it does not have.
            if let Some(digest) = digests.value().first() {
                values.insert(*pcr, digest.value().to_vec());
            }
        }
        Ok(Some(values))
    }

    fn check(&self, object: &SealedObject) -> Result<(), TpmError> {
        let mut context = self.connect()?;
        self.with_srk(&mut context, |context, srk| {
            self.with_object(context, srk, object, |_, _| Ok::<_, TpmError>(()))
        })
    }

    fn unseal(
        &self,
        object: &SealedObject,
        policy: &Policy,
        password: Option<&TpmPassword>,
    ) -> Result<SecretBytes, TpmError> {
        let mut context = self.connect()?;
        match self.unseal_once(&mut context, object, policy, password) {
            // A PCR was extended after the policy was satisfied. The TPM notices that before it checks
            // the password, so no attempt was counted, and a second try is safe. There is no third.
            Err(Refused::PcrChanged) => self
                .unseal_once(&mut context, object, policy, password)
                .map_err(TpmError::from),
            answer => answer.map_err(TpmError::from),
        }
    }
}

impl ObjectSealer for Tss {
    fn seal(
        &self,
        data: &SecretBytes,
        policy: &[u8],
        password: Option<&TpmPassword>,
    ) -> Result<Sealed, TpmError> {
        let mut context = self.connect()?;
        let hash = HashingAlgorithm::Sha256;
        self.with_srk(&mut context, |context, srk| {
            self.with_session(context, srk, SessionType::Hmac, hash, |context, session| {
                let sessions = (Some(AuthSession::Password), Some(session), None);
                let made = context.execute_with_sessions(sessions, |context| {
                    let template = sealed_template(policy, password.is_some())?;
                    let data = SensitiveData::try_from(data.expose())?;
                    let password = password
                        .map(|password| Auth::try_from(password.expose().as_slice()))
                        .transpose()?;
                    let made = context.create(srk, template, password, Some(data), None, None)?;
                    let private = made.out_private.value().to_vec();
                    Ok(Sealed::new(private, made.out_public.marshall()?))
                });
                made.map_err(|error: TssError| failed(&error, "sealing"))
            })
        })
    }
}

/// Connects and sends a simple command: a TPM that is busy with another client accepts the connection,
/// but does not answer.
fn connect_and_ask(conf: TctiNameConf) -> Result<Context, TssError> {
    let mut context = Context::new(conf)?;
    context.get_capability(CapabilityType::TpmProperties, properties::PERMANENT, 1)?;
    Ok(context)
}

/// Why an object was not released.
enum Refused {
    /// A PCR was extended after the policy was satisfied.
    PcrChanged,
    /// Any other reason.
    For(TpmError),
}

impl From<TpmError> for Refused {
    fn from(error: TpmError) -> Self {
        Self::For(error)
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

fn refused(error: &TssError) -> Refused {
    match code(error) {
        Some(codes::PCR_CHANGED) => Refused::PcrChanged,
        Some(codes::AUTH_FAIL) => Refused::For(TpmError::WrongPin),
        Some(codes::LOCKOUT) => Refused::For(TpmError::Locked),
        _ => Refused::For(failed(error, "releasing the key")),
    }
}

/// Satisfies the two steps of the policy. The PCR digest is given, so that the TPM compares its PCRs now,
/// before the password is used.
fn satisfy(
    context: &mut Context,
    session: AuthSession,
    object: &SealedObject,
    policy: &Policy,
) -> Result<(), TpmError> {
    let session = PolicySession::try_from(session)
        .map_err(|error| failed(&error, "starting a policy session"))?;
    context
        .policy_auth_value(session)
        .map_err(|error| failed(&error, "satisfying the policy's first step"))?;
    let parts = Digest::try_from(object.pcr_digest.as_slice()).and_then(|digest| {
        let pcrs = pcr_list(policy.bank, &object.pcrs(), object.selection.len())?;
        Ok((digest, pcrs))
    });
    parts
        .and_then(|(digest, pcrs)| context.policy_pcr(session, digest, pcrs))
        .map_err(|error| match code(&error) {
            Some(codes::VALUE) => TpmError::PcrMismatch,
            _ => failed(&error, "comparing the PCRs"),
        })
}

/// Flushes an object or session, and returns `done` unchanged: a failed flush hides neither result nor
/// error. What stays in the TPM goes when the connection ends, or at the next start.
fn flushed<T, E>(context: &mut Context, handle: ObjectHandle, done: Result<T, E>) -> Result<T, E> {
    if context.flush_context(handle).is_err() {
        tracing::warn!("the TPM did not flush an object or session");
    }
    done
}

fn property(context: &mut Context, id: u32) -> Result<u32, TpmError> {
    let (data, _) = context
        .get_capability(CapabilityType::TpmProperties, id, 1)
        .map_err(|error| failed(&error, "reading its properties"))?;
    let CapabilityData::TpmProperties(list) = data else {
        return Ok(0);
    };
    let found = list.iter().find(|found| u32::from(found.property()) == id);
    Ok(found.map_or(0, |found| found.value()))
}

fn name_of(context: &mut Context, key: KeyHandle) -> Result<Vec<u8>, TpmError> {
    let name = context
        .tr_get_name(key.into())
        .map_err(|error| failed(&error, "reading the name of the storage root key"))?;
    Ok(name.value().to_vec())
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
            what: format!("{code:#x} while {doing}"),
        },
        None => TpmError::Other {
            what: format!("{error} while {doing}"),
        },
    }
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
