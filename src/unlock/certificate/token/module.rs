//! The PKCS#11 library itself, in the process that loads it. It may return any value, crash or hang:
//! nothing here bounds how long a call takes or how much memory it uses.

use std::path::PathBuf;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;

use super::super::uri::TokenModule;
use super::message::{Answer, Choice, Code, Fault, MAX_KEYS, MAX_NUMBER_LEN, Request, Token};
use crate::crypto::rsa_key::Padding;
use crate::secret::{SecretBytes, SecretText};
use crate::shown::ShowPath;

/// The library of p11-kit, used if the URI names none.
pub(super) const SYSTEM_MODULE: &str = "p11-kit-proxy.so";

/// A library, and what was opened with it. Both fields are options so that the session can be closed
/// before the library is finalized.
#[derive(Default)]
pub(super) struct Module {
    session: Option<Session>,
    context: Option<Pkcs11>,
    keys: Vec<ObjectHandle>,
}

impl Module {
    pub(super) fn answer(&mut self, request: Request) -> Answer {
        let answer = match request {
            Request::Open(choice) => self.open(&choice).map(Answer::Token),
            Request::LogIn(pin) => self.log_in(pin.as_ref()).map(|()| Answer::Done),
            Request::ListKeys { object, id } => self.list_keys(object, id).map(Answer::Keys),
            Request::Decrypt {
                key,
                padding,
                encrypted,
            } => self.decrypt(key, padding, &encrypted),
            Request::Close => {
                self.close();
                Ok(Answer::Done)
            }
        };
        answer.unwrap_or_else(Answer::Failed)
    }

    /// Loads the library, and opens a session with the one token that is chosen.
    fn open(&mut self, choice: &Choice) -> Result<Token, Fault> {
        let context = self.context.insert(load(&choice.module)?);
        let slots = context.get_slots_with_token().map_err(fault)?;
        let mut found = Vec::new();
        for slot in slots {
            let info = context.get_token_info(slot).map_err(fault)?;
            if info.token_initialized() && is_chosen(choice, slot, &info) {
                found.push((slot, info));
            }
        }
        let (slot, info) = match found.as_slice() {
            [(slot, info)] => (*slot, info),
            [] => return Err(Fault::NoToken),
            several => {
                let labels = several.iter().map(|(_, info)| info.label().to_owned());
                return Err(Fault::SeveralTokens(labels.take(MAX_KEYS).collect()));
            }
        };
        self.session = Some(context.open_ro_session(slot).map_err(fault)?);
        Ok(Token {
            label: info.label().to_owned(),
            needs_login: info.login_required(),
            has_keypad: info.protected_authentication_path(),
            is_last_try: info.user_pin_final_try(),
            is_locked: info.user_pin_locked(),
        })
    }

    fn session(&self) -> Result<&Session, Fault> {
        let session = self.session.as_ref();
        session.ok_or_else(|| Fault::Invalid("no token was opened".to_owned()))
    }

    fn log_in(&self, pin: Option<&SecretText>) -> Result<(), Fault> {
        let pin = pin.map(|pin| AuthPin::new(pin.expose().into()));
        match self.session()?.login(UserType::User, pin.as_ref()) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => Err(fault(error)),
        }
    }

    fn list_keys(
        &mut self,
        object: Option<Vec<u8>>,
        id: Option<Vec<u8>>,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let mut wanted = vec![
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::RSA),
        ];
        wanted.extend(id.map(Attribute::Id));
        wanted.extend(object.map(Attribute::Label));
        let session = self.session()?;
        let mut handles = Vec::new();
        for handle in session.iter_objects(&wanted).map_err(fault)? {
            if handles.len() == MAX_KEYS {
                let what = format!("it lists more than {MAX_KEYS} private keys");
                return Err(Fault::Invalid(what));
            }
            handles.push(handle.map_err(fault)?);
        }
        let mut keys = Vec::new();
        let mut moduli = Vec::new();
        for handle in handles {
            let attributes = session.get_attributes(handle, &[AttributeType::Modulus]);
            for attribute in attributes.map_err(fault)? {
                if let Attribute::Modulus(modulus) = attribute
                    && modulus.len() <= MAX_NUMBER_LEN
                {
                    keys.push(handle);
                    moduli.push(modulus);
                }
            }
        }
        self.keys = keys;
        Ok(moduli)
    }

    fn decrypt(&self, key: u64, padding: Padding, encrypted: &[u8]) -> Result<Answer, Fault> {
        let key = usize::try_from(key).ok().and_then(|key| self.keys.get(key));
        let key = key.ok_or_else(|| Fault::Invalid("it has no such key".to_owned()))?;
        let oaep = |hash, mask| {
            Mechanism::RsaPkcsOaep(PkcsOaepParams::new(hash, mask, PkcsOaepSource::empty()))
        };
        let mechanism = match padding {
            Padding::Pkcs1 => Mechanism::RsaPkcs,
            Padding::OaepSha1 => oaep(MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
            Padding::OaepSha256 => oaep(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        };
        match self.session()?.decrypt(&mechanism, *key, encrypted) {
            Ok(message) => {
                let message = SecretBytes::new(message);
                if message.len() > MAX_NUMBER_LEN {
                    let what = format!("it decrypted {} bytes with one RSA key", message.len());
                    return Err(Fault::Invalid(what));
                }
                Ok(Answer::Decrypted(message))
            }
            Err(error) if is_padding(&error) => Ok(Answer::NotDecrypted(None)),
            Err(error) => match fault(error) {
                // Some cards return these for a wrong padding, too.
                Fault::Returned(code) => Ok(Answer::NotDecrypted(Some(code))),
                fault => Err(fault),
            },
        }
    }

    /// Closes the session, which logs out, and finalizes the library.
    fn close(&mut self) {
        drop(self.session.take());
        if let Some(context) = self.context.take() {
            // An error is of no consequence: the session is closed.
            let _ = context.finalize();
        }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.close();
    }
}

/// Loads and initializes the library.
fn load(module: &TokenModule) -> Result<Pkcs11, Fault> {
    let candidates: Vec<PathBuf> = match module {
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
                    Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
                        Ok(context)
                    }
                    Err(error) => Err(fault(error)),
                };
            }
            Err(Error::LibraryLoading(error)) => why = format!("{}: {error}", path.shown()),
            Err(Error::MissingSymbol(name)) => {
                why = format!("{}: it has no function {name}", path.shown());
            }
            Err(error) => return Err(fault(error)),
        }
    }
    Err(Fault::NoModule(why))
}

fn is_chosen(choice: &Choice, slot: Slot, info: &TokenInfo) -> bool {
    let fits = |wanted: &Option<String>, found: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted == found)
    };
    fits(&choice.label, info.label())
        && fits(&choice.manufacturer, info.manufacturer_id())
        && fits(&choice.model, info.model())
        && fits(&choice.serial, info.serial_number())
        && choice.slot.is_none_or(|number| number == slot.id())
}

/// Whether the bytes are not valid under a padding, or the token does not know the padding.
fn is_padding(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::DataInvalid
                | RvError::DataLenRange
                | RvError::MechanismInvalid
                | RvError::MechanismParamInvalid
                | RvError::FunctionNotSupported
                | RvError::ArgumentsBad
                // SoftHSM returns this for every wrong padding.
                | RvError::GeneralError
                | RvError::FunctionFailed,
            _
        )
    )
}

fn fault(error: Error) -> Fault {
    match error {
        Error::Pkcs11(code, function) => match code {
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => Fault::WrongPin,
            RvError::PinLocked => Fault::PinLocked,
            RvError::PinExpired => Fault::PinExpired,
            RvError::FunctionCanceled | RvError::Cancel | RvError::FunctionRejected => {
                Fault::Canceled
            }
            RvError::DeviceRemoved | RvError::TokenNotPresent | RvError::SessionHandleInvalid => {
                Fault::Removed
            }
            // Also for a key whose PIN is needed for every single use.
            RvError::UserNotLoggedIn | RvError::KeyFunctionNotPermitted => Fault::NotPermitted,
            code => Fault::Returned(Code {
                function: name_of(function),
                name: constant(code),
            }),
        },
        Error::NullFunctionPointer => {
            Fault::Invalid("it lacks a function that every library has".to_owned())
        }
        _ => Fault::Invalid("it returned an impossible value".to_owned()),
    }
}

/// The name of a function in the standard.
fn name_of(function: Function) -> String {
    format!("C_{function:?}")
}

/// The name of a return value in the standard, such as `CKR_DEVICE_ERROR`: cryptoki's own text for it is
/// a paragraph of the standard.
fn constant(code: RvError) -> String {
    if let RvError::VendorDefined(number) | RvError::UnknownErrorCode(number) = code {
        return format!("{number:#010x}");
    }
    let mut name = "CKR".to_owned();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_return_values_as_the_standard_does() {
        assert_eq!(constant(RvError::DeviceError), "CKR_DEVICE_ERROR");
        assert_eq!(constant(RvError::VendorDefined(0x8000_0001)), "0x80000001");
        assert_eq!(constant(RvError::UnknownErrorCode(0x7654)), "0x00007654");
        assert_eq!(name_of(Function::Login), "C_Login");
    }
}
