//! Private keys on PKCS#11 tokens: smart cards, hardware security modules, SoftHSM.
//!
//! A token counts wrong PINs and locks itself after a few. So the PIN is sent to one token only, at most
//! once, and only if the URI matches exactly one token.

use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;

use super::uri::{NAME, TokenModule, TokenUri};
use super::{Recipient, open_with, other_certificate};
use crate::crypto::rsa_key::Padding;
use crate::error::{Failure, Reason, Remedy, Result};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::secret::{SecretBytes, SecretText};
use crate::shown::ShowPath;
use crate::unlock::{Answer, Context, Credential, Prompt, Silent};

/// The module of p11-kit, used if the URI names none.
const SYSTEM_MODULE: &str = "p11-kit-proxy.so";

/// The credential for certificate protectors: a private key on a token.
pub struct TokenKey {
    uri: TokenUri,
    pin: Option<SecretText>,
    prompt: Arc<dyn Prompt>,
    /// The result of the first login. It is kept also when it failed: a wrong PIN must not be sent again.
    opened: Mutex<Option<Result<OpenToken, Failure>>>,
}

impl TokenKey {
    /// The key that `uri` names, on a token that needs no PIN.
    pub fn new(uri: TokenUri) -> Self {
        Self {
            uri,
            pin: None,
            prompt: Arc::new(Silent),
            opened: Mutex::new(None),
        }
    }

    /// Sets the PIN.
    #[must_use]
    pub fn pin(mut self, pin: SecretText) -> Self {
        self.pin = Some(pin);
        self
    }

    /// Sets the prompt that asks for the PIN if none is set.
    #[must_use]
    pub fn prompt(mut self, prompt: Arc<dyn Prompt>) -> Self {
        self.prompt = prompt;
        self
    }

    fn open(&self, protector: &KeyProtector) -> Result<Answer, Failure> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let token = opened.get_or_insert_with(|| self.log_in()).as_ref();
        let token = token.map_err(Failure::clone)?;
        let keys = token.private_keys(&self.uri)?;
        let recipient = Recipient::of(protector);
        let mut ours = keys
            .into_iter()
            .filter(|(_, modulus)| recipient.may_be(modulus));
        let Some((key, _)) = ours.next() else {
            return Err(other_certificate(protector));
        };
        Ok(open_with(protector, |padding, encrypted| {
            token.decrypt(key, padding, encrypted)
        }))
    }

    /// Finds the one token that the URI matches, and logs in.
    fn log_in(&self) -> Result<OpenToken, Failure> {
        let context = load(&self.uri.module)?;
        let slots = context
            .get_slots_with_token()
            .map_err(|error| failed(&error))?;
        let mut found = Vec::new();
        for slot in slots {
            let info = context
                .get_token_info(slot)
                .map_err(|error| failed(&error))?;
            if info.token_initialized() && is_meant(&self.uri, slot, &info) {
                found.push((slot, info));
            }
        }
        let (slot, info) = match found.as_slice() {
            [(slot, info)] => (*slot, info),
            [] => {
                return Err(Failure::new(Reason::NoToken, "no token matches the URI")
                    .with_remedy("insert the card; 'p11tool --list-tokens' or 'pkcs11-tool -L' lists the tokens"));
            }
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|(_, info)| format!("'{}'", info.label()))
                    .collect();
                return Err(Failure::new(
                    Reason::SeveralTokens,
                    format!("the URI matches several tokens: {}", names.join(", ")),
                )
                .with_remedy("name one: pkcs11:token=NAME"));
            }
        };
        let session = context
            .open_ro_session(slot)
            .map_err(|error| failed(&error))?;
        if info.login_required() {
            self.give_pin(&session, info)?;
        }
        Ok(OpenToken {
            session: Some(session),
            context: Some(context),
        })
    }

    fn give_pin(&self, session: &Session, info: &TokenInfo) -> Result<(), Failure> {
        if info.user_pin_locked() {
            return Err(locked());
        }
        let typed;
        let pin = if info.protected_authentication_path() {
            // The PIN is entered on the keypad of the reader, not here.
            self.prompt.tell("enter the PIN on the reader");
            None
        } else if let Some(pin) = &self.pin {
            if info.user_pin_final_try() {
                return Err(Failure::new(Reason::LastPinTry, "the token locks itself if the next PIN is wrong, so the PIN in the file was not tried")
                    .with_remedy(Remedy::TypePin));
            }
            Some(pin)
        } else {
            if info.user_pin_final_try() {
                self.prompt
                    .tell("the token locks itself if the next PIN is wrong");
            }
            typed = self
                .prompt
                .secret(&format!("PIN of the token '{}': ", info.label()))
                .ok_or_else(|| {
                    Failure::new(Reason::NoPin, "the token needs a PIN")
                        .with_remedy(Remedy::GivePin)
                })?;
            Some(&typed)
        };
        let pin = pin.map(|pin| AuthPin::new(pin.expose().into()));
        match session.login(UserType::User, pin.as_ref()) {
            Ok(()) | Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(TokenError::Pkcs11(RvError::PinLocked, _)) => Err(locked()),
            Err(TokenError::Pkcs11(
                RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
                _,
            )) => Err(Failure::new(Reason::WrongPin, "the token refuses the PIN")
                .with_remedy("check the PIN: the token locks itself after a few wrong ones")),
            Err(error) => Err(failed(&error)),
        }
    }
}

impl Credential for TokenKey {
    fn name(&self) -> &str {
        NAME
    }

    fn try_on(&self, protector: &KeyProtector, _context: &Context<'_>) -> Answer {
        if protector.kind() != ProtectorKind::Certificate {
            return Answer::NotMine;
        }
        self.open(protector).unwrap_or_else(Answer::Failed)
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKey({:?})", self.uri.token)
    }
}

/// A token after login. Both fields are `Some` until it is dropped; they are options so that the session
/// can be closed before the library is finalized.
struct OpenToken {
    session: Option<Session>,
    context: Option<Pkcs11>,
}

impl OpenToken {
    fn session(&self) -> Result<&Session, Failure> {
        self.session
            .as_ref()
            .ok_or_else(|| Failure::new(Reason::TokenFailed, "the token was closed"))
    }

    /// The RSA private keys that the URI matches, each with its modulus.
    fn private_keys(&self, uri: &TokenUri) -> Result<Vec<(ObjectHandle, Vec<u8>)>, Failure> {
        let session = self.session()?;
        let mut wanted = vec![
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::RSA),
        ];
        wanted.extend(uri.id.clone().map(Attribute::Id));
        wanted.extend(uri.object.clone().map(Attribute::Label));
        let handles = session
            .find_objects(&wanted)
            .map_err(|error| failed(&error))?;
        let mut keys = Vec::new();
        for handle in handles {
            let attributes = session.get_attributes(handle, &[AttributeType::Modulus]);
            for attribute in attributes.map_err(|error| failed(&error))? {
                if let Attribute::Modulus(modulus) = attribute {
                    keys.push((handle, modulus));
                }
            }
        }
        Ok(keys)
    }

    fn decrypt(
        &self,
        key: ObjectHandle,
        padding: Padding,
        encrypted: &[u8],
    ) -> Result<Option<SecretBytes>, Failure> {
        let oaep = |hash, mask| {
            Mechanism::RsaPkcsOaep(PkcsOaepParams::new(hash, mask, PkcsOaepSource::empty()))
        };
        let mechanism = match padding {
            Padding::Pkcs1 => Mechanism::RsaPkcs,
            Padding::OaepSha1 => oaep(MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
            Padding::OaepSha256 => oaep(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        };
        match self.session()?.decrypt(&mechanism, key, encrypted) {
            Ok(message) => Ok(Some(SecretBytes::new(message))),
            Err(error) if is_final(&error) => Err(failed(&error)),
            Err(error) => {
                tracing::debug!(
                    "the token does not decrypt with {}: {error}",
                    padding.name()
                );
                Ok(None)
            }
        }
    }
}

impl Drop for OpenToken {
    fn drop(&mut self) {
        drop(self.session.take());
        if let Some(context) = self.context.take() {
            // An error is of no consequence: the session is closed.
            let _ = context.finalize();
        }
    }
}

/// Whether an error would also occur with every other padding.
fn is_final(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::Pkcs11(
            RvError::UserNotLoggedIn
                | RvError::DeviceRemoved
                | RvError::TokenNotPresent
                | RvError::SessionHandleInvalid
                | RvError::KeyFunctionNotPermitted,
            _
        )
    )
}

/// Loads and initializes the PKCS#11 library.
fn load(module: &TokenModule) -> Result<Pkcs11, Failure> {
    let candidates = match module {
        TokenModule::System => vec![SYSTEM_MODULE.into()],
        TokenModule::File(path) => vec![path.clone()],
        TokenModule::Named(name) => {
            vec![format!("{name}.so").into(), format!("lib{name}.so").into()]
        }
    };
    let mut why = String::new();
    for path in candidates {
        match Pkcs11::new(&path) {
            Ok(context) => {
                let locking = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
                return match context.initialize(locking) {
                    Ok(()) | Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
                        Ok(context)
                    }
                    Err(error) => Err(failed(&error)),
                };
            }
            Err(error) => why = format!("{}: {error}", path.shown()),
        }
    }
    Err(Failure::new(Reason::NoModule, format!("the PKCS#11 library cannot be loaded: {why}"))
        .with_remedy("name the library: pkcs11:…?module-path=/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so; the default is that of p11-kit"))
}

fn is_meant(uri: &TokenUri, slot: Slot, info: &TokenInfo) -> bool {
    let fits = |wanted: &Option<String>, found: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted == found)
    };
    fits(&uri.token, info.label())
        && fits(&uri.manufacturer, info.manufacturer_id())
        && fits(&uri.model, info.model())
        && fits(&uri.serial, info.serial_number())
        && uri.slot.is_none_or(|number| number == slot.id())
}

fn locked() -> Failure {
    Failure::new(
        Reason::PinLocked,
        "the token locked itself after too many wrong PINs",
    )
    .with_remedy("ask the issuer to unlock it, or use another protector")
}

fn failed(error: &TokenError) -> Failure {
    Failure::new(Reason::TokenFailed, format!("the token failed: {error}"))
}
