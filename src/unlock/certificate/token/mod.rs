//! Private keys on PKCS#11 tokens: smart cards, hardware security modules, SoftHSM.
//!
//! A token counts wrong PINs and locks itself after a few. So the PIN is sent to one token only, at most
//! once, and only if the URI matches exactly one token.

mod failures;
mod library;
mod message;
mod module;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::failures::{failure, impossible};
use self::library::Library;
pub(crate) use self::library::TOKENS;
use self::message::{Answer as Reply, Choice, Code, Fault, Request, Token};
use super::uri::{NAME, TokenUri};
use super::{Recipient, open_with, other_certificate};
use crate::child::Isolation;
use crate::crypto::rsa_key::Padding;
use crate::error::{Failure, Reason, Remedy, Result};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::secret::{SecretBytes, SecretText};
use crate::shown::Escaped;
use crate::unlock::{Answer, Context, Credential, Prompt, Silent};

/// How long the library may take by default.
const TIME: Duration = Duration::from_secs(60);
/// The longest time that it can be given.
const A_DAY: Duration = Duration::from_secs(86_400);

/// The credential for certificate protectors: a private key on a token.
pub struct TokenKey {
    uri: TokenUri,
    pin: Option<SecretText>,
    prompt: Arc<dyn Prompt>,
    isolation: Isolation,
    time: Duration,
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
            isolation: Isolation::default(),
            time: TIME,
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

    /// Sets where the library runs. The default is a child process.
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Sets how long the library may take in all, at most a day; 60 seconds by default. The time in which the user types
    /// the PIN is not counted; to enter it on the reader, the user has twice this time. In the same
    /// process ([`Isolation::SameProcess`]), the time is not limited.
    #[must_use]
    pub fn time_limit(mut self, time: Duration) -> Self {
        self.time = time.min(A_DAY);
        self
    }

    fn open(&self, protector: &KeyProtector) -> Result<Answer, Failure> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let token = opened.get_or_insert_with(|| self.log_in()).as_mut();
        let token = token.map_err(|failure| failure.clone())?;
        let answer = token.open(protector);
        if token.library.is_lost()
            && let Err(failure) = &answer
        {
            *opened = Some(Err(failure.clone()));
        }
        answer
    }

    /// Finds the one token that the URI matches, logs in, and lists the keys.
    fn log_in(&self) -> Result<OpenToken, Failure> {
        let uri = &self.uri;
        let mut library = Library::start(self.isolation, self.time)?;
        let token = match library.ask(Request::Open(Choice {
            module: uri.module.clone(),
            label: uri.token.clone(),
            manufacturer: uri.manufacturer.clone(),
            model: uri.model.clone(),
            serial: uri.serial.clone(),
            slot: uri.slot,
        }))? {
            Reply::Token(token) => token,
            _ => return Err(impossible()),
        };
        if token.needs_login {
            self.give_pin(&mut library, &token)?;
        }
        let request = Request::ListKeys {
            object: uri.object.clone(),
            id: uri.id.clone(),
        };
        match library.ask(request)? {
            Reply::Keys(keys) => Ok(OpenToken { library, keys }),
            _ => Err(impossible()),
        }
    }

    fn give_pin(&self, library: &mut Library, token: &Token) -> Result<(), Failure> {
        if token.is_locked {
            return Err(failure(Fault::PinLocked));
        }
        let pin = if token.has_keypad {
            self.prompt.tell("enter the PIN on the reader");
            return match library.ask_within(Request::LogIn(None), self.time.saturating_mul(2))? {
                Reply::Done => Ok(()),
                _ => Err(impossible()),
            };
        } else if let Some(pin) = &self.pin {
            if token.is_last_try {
                return Err(Failure::new(Reason::LastPinTry, "the token locks itself if the next PIN is wrong, so the PIN in the file was not tried")
                    .with_remedy(Remedy::TypePin));
            }
            pin.duplicate()
        } else {
            if token.is_last_try {
                self.prompt
                    .tell("the token locks itself if the next PIN is wrong");
            }
            let question = format!("PIN of the token '{}': ", Escaped(&token.label));
            let typed = self.prompt.secret(&question);
            typed.ok_or_else(|| {
                Failure::new(Reason::NoPin, "the token needs a PIN").with_remedy(Remedy::GivePin)
            })?
        };
        match library.ask(Request::LogIn(Some(pin)))? {
            Reply::Done => Ok(()),
            _ => Err(impossible()),
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

/// A token after login.
struct OpenToken {
    library: Library,
    /// The modulus of each RSA private key that the URI matches.
    keys: Vec<Vec<u8>>,
}

impl OpenToken {
    fn open(&mut self, protector: &KeyProtector) -> Result<Answer, Failure> {
        let recipient = Recipient::of(protector);
        let mut keys = (0..).zip(&self.keys);
        let ours = keys.find(|(_, modulus)| recipient.may_be(modulus));
        let key = ours.map(|(number, _)| number);
        let key = key.ok_or_else(|| other_certificate(protector))?;
        let mut code = None;
        let mut decrypted = false;
        let answer = open_with(protector, |padding, encrypted| {
            match self.decrypt(key, padding, encrypted)? {
                Ok(message) => {
                    decrypted = true;
                    Ok(Some(message))
                }
                Err(returned) => {
                    code = code.take().or(returned);
                    Ok(None)
                }
            }
        });
        Ok(match (answer, code) {
            // The token itself failed each time: that says nothing about the padding.
            (Answer::Failed(why), Some(code))
                if why.reason == Reason::UnknownPadding && !decrypted =>
            {
                Answer::Failed(failure(Fault::Returned(code)))
            }
            (answer, _) => answer,
        })
    }

    /// The decrypted bytes. If they are not valid under the padding, what the library returned, where
    /// this may have another reason.
    fn decrypt(
        &mut self,
        key: u64,
        padding: Padding,
        encrypted: &[u8],
    ) -> Result<Result<SecretBytes, Option<Code>>, Failure> {
        let encrypted = encrypted.to_vec();
        match self.library.ask(Request::Decrypt {
            key,
            padding,
            encrypted,
        })? {
            Reply::Decrypted(message) => Ok(Ok(message)),
            Reply::NotDecrypted(code) => {
                tracing::debug!("the token does not decrypt with {}", padding.name());
                Ok(Err(code))
            }
            _ => Err(impossible()),
        }
    }
}
