//! What a PKCS#11 library is asked, and what it answers, as plain data: requests and answers go to
//! another process and back.

use std::path::PathBuf;

use super::super::uri::TokenModule;
use crate::child::{Reader, Writer};
use crate::crypto::rsa_key::Padding;
use crate::secret::{SecretBytes, SecretText};

/// The most private keys on a token that are looked at.
pub(super) const MAX_KEYS: usize = 256;
/// Length of the longest modulus and of the longest decrypted message, in bytes: RSA with 16384 bits.
pub(super) const MAX_NUMBER_LEN: usize = 2048;
/// Length of the longest text from the library, in bytes.
const MAX_TEXT_LEN: usize = 16 * 1024;
/// Length of the longest request or answer, in bytes: as many keys as there may be.
pub(super) const MAX_LEN: usize = 16 + MAX_KEYS * (8 + MAX_NUMBER_LEN);

/// One step of using a token. The steps are taken in this order.
#[derive(Debug)]
pub(super) enum Request {
    /// Load the library, and open a session with the one token that is chosen: [`Answer::Token`].
    Open(Choice),
    /// Log in, with a PIN or on the keypad of the reader: [`Answer::Done`].
    LogIn(Option<SecretText>),
    /// List the RSA private keys with this label and this identifier: [`Answer::Keys`].
    ListKeys {
        object: Option<Vec<u8>>,
        id: Option<Vec<u8>>,
    },
    /// Decrypt with one of the listed keys: [`Answer::Decrypted`] or [`Answer::NotDecrypted`].
    Decrypt {
        key: u64,
        padding: Padding,
        encrypted: Vec<u8>,
    },
    /// Log out, and finalize the library: [`Answer::Done`].
    Close,
}

/// Which library, and which token: what is `None` matches every token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) module: TokenModule,
    pub(super) label: Option<String>,
    pub(super) manufacturer: Option<String>,
    pub(super) model: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) slot: Option<u64>,
}

/// The result of a request.
#[derive(Debug)]
pub(super) enum Answer {
    Done,
    Token(Token),
    /// The modulus of each key.
    Keys(Vec<Vec<u8>>),
    Decrypted(SecretBytes),
    /// The bytes are not valid under this padding, or the library returned this code, which says
    /// neither that nor that every further attempt would fail.
    NotDecrypted(Option<Code>),
    Failed(Fault),
}

/// A token before the login.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) label: String,
    /// Private keys can be used only after a login.
    pub(super) needs_login: bool,
    /// The PIN is typed on the reader.
    pub(super) has_keypad: bool,
    /// One more wrong PIN locks it.
    pub(super) is_last_try: bool,
    pub(super) is_locked: bool,
}

/// Why a request failed. Texts come from the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The library cannot be loaded.
    NoModule(String),
    NoToken,
    /// The labels of the tokens that match.
    SeveralTokens(Vec<String>),
    WrongPin,
    PinLocked,
    PinExpired,
    /// The user canceled on the reader.
    Canceled,
    /// The token was removed from the reader.
    Removed,
    /// The key must not decrypt, or needs a login of its own for every use.
    NotPermitted,
    /// A function of the library failed.
    Returned(Code),
    /// A value of the library is impossible.
    Invalid(String),
}

/// A return value of a function of the library, such as `C_Login` and `CKR_DEVICE_ERROR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) function: String,
    pub(super) name: String,
}

impl Request {
    pub(super) fn encode(&self) -> Writer {
        let mut to = Writer::new();
        match self {
            Self::Open(choice) => {
                to.number(0);
                match &choice.module {
                    TokenModule::System => to.number(0),
                    TokenModule::Named(name) => to.number(1).text(name),
                    TokenModule::File(path) => {
                        to.number(2).bytes(path.as_os_str().as_encoded_bytes())
                    }
                };
                for text in [
                    &choice.label,
                    &choice.manufacturer,
                    &choice.model,
                    &choice.serial,
                ] {
                    to.optional(text.as_deref(), |to, text| {
                        to.text(text);
                    });
                }
                to.optional(choice.slot.as_ref(), |to, slot| {
                    to.number(*slot);
                });
            }
            Self::LogIn(pin) => {
                to.number(1).optional(pin.as_ref(), |to, pin| {
                    to.text(pin.expose());
                });
            }
            Self::ListKeys { object, id } => {
                to.number(2);
                for bytes in [object, id] {
                    to.optional(bytes.as_deref(), |to, bytes| {
                        to.bytes(bytes);
                    });
                }
            }
            Self::Decrypt {
                key,
                padding,
                encrypted,
            } => {
                to.number(3).number(*key).number(number_of(*padding));
                to.bytes(encrypted);
            }
            Self::Close => {
                to.number(4);
            }
        }
        to
    }

    /// `None` for bytes that [`Self::encode`] does not write.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let request = match from.number()? {
            0 => Self::Open(Choice {
                module: match from.number()? {
                    0 => TokenModule::System,
                    1 => TokenModule::Named(from.text()?.to_owned()),
                    2 => TokenModule::File(path_of(from.bytes()?)?),
                    _ => return None,
                },
                label: from.optional(text)?,
                manufacturer: from.optional(text)?,
                model: from.optional(text)?,
                serial: from.optional(text)?,
                slot: from.optional(Reader::number)?,
            }),
            1 => Self::LogIn(from.optional(|from| from.text().map(SecretText::from))?),
            2 => Self::ListKeys {
                object: from.optional(|from| from.bytes().map(<[u8]>::to_vec))?,
                id: from.optional(|from| from.bytes().map(<[u8]>::to_vec))?,
            },
            3 => Self::Decrypt {
                key: from.number()?,
                padding: padding_of(from.number()?)?,
                encrypted: from.bytes()?.to_vec(),
            },
            4 => Self::Close,
            _ => return None,
        };
        from.is_at_end().then_some(request)
    }
}

impl Answer {
    pub(super) fn encode(&self) -> Writer {
        let mut to = Writer::new();
        match self {
            Self::Done => {
                to.number(0);
            }
            Self::Token(token) => {
                to.number(1).text(&token.label);
                for flag in [
                    token.needs_login,
                    token.has_keypad,
                    token.is_last_try,
                    token.is_locked,
                ] {
                    to.flag(flag);
                }
            }
            Self::Keys(keys) => {
                to.number(2).number(keys.len() as u64);
                for key in keys {
                    to.bytes(key);
                }
            }
            Self::Decrypted(message) => {
                to.number(3).bytes(message.expose());
            }
            Self::NotDecrypted(code) => {
                to.number(4).optional(code.as_ref(), |to, code| {
                    to.text(&code.function).text(&code.name);
                });
            }
            Self::Failed(fault) => write_fault(to.number(5), fault),
        }
        to
    }

    /// `None` for bytes that [`Self::encode`] does not write, or that exceed a limit.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let answer = match from.number()? {
            0 => Self::Done,
            1 => Self::Token(Token {
                label: text(&mut from)?,
                needs_login: from.flag()?,
                has_keypad: from.flag()?,
                is_last_try: from.flag()?,
                is_locked: from.flag()?,
            }),
            2 => Self::Keys(list(&mut from, |from| number(from).map(<[u8]>::to_vec))?),
            3 => Self::Decrypted(SecretBytes::new(number(&mut from)?.to_vec())),
            4 => Self::NotDecrypted(from.optional(code)?),
            5 => Self::Failed(fault(&mut from)?),
            _ => return None,
        };
        from.is_at_end().then_some(answer)
    }
}

const PADDINGS: [(u64, Padding); 3] = [
    (0, Padding::Pkcs1),
    (1, Padding::OaepSha1),
    (2, Padding::OaepSha256),
];

fn number_of(padding: Padding) -> u64 {
    let row = PADDINGS.iter().find(|(_, one)| *one == padding);
    row.map_or(u64::MAX, |(number, _)| *number)
}

fn padding_of(number: u64) -> Option<Padding> {
    let row = PADDINGS.iter().find(|(one, _)| *one == number);
    row.map(|(_, padding)| *padding)
}

#[cfg(unix)]
fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Some(std::ffi::OsStr::from_bytes(bytes).into())
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

fn write_fault(to: &mut Writer, fault: &Fault) {
    match fault {
        Fault::NoModule(why) => to.number(0).text(why),
        Fault::NoToken => to.number(1),
        Fault::SeveralTokens(labels) => {
            to.number(2).number(labels.len() as u64);
            labels.iter().fold(to, |to, label| to.text(label))
        }
        Fault::WrongPin => to.number(3),
        Fault::PinLocked => to.number(4),
        Fault::PinExpired => to.number(5),
        Fault::Canceled => to.number(6),
        Fault::Removed => to.number(7),
        Fault::NotPermitted => to.number(8),
        Fault::Returned(code) => to.number(9).text(&code.function).text(&code.name),
        Fault::Invalid(what) => to.number(10).text(what),
    };
}

fn fault(from: &mut Reader<'_>) -> Option<Fault> {
    Some(match from.number()? {
        0 => Fault::NoModule(text(from)?),
        1 => Fault::NoToken,
        2 => Fault::SeveralTokens(list(from, text)?),
        3 => Fault::WrongPin,
        4 => Fault::PinLocked,
        5 => Fault::PinExpired,
        6 => Fault::Canceled,
        7 => Fault::Removed,
        8 => Fault::NotPermitted,
        9 => Fault::Returned(code(from)?),
        10 => Fault::Invalid(text(from)?),
        _ => return None,
    })
}

fn code(from: &mut Reader<'_>) -> Option<Code> {
    Some(Code {
        function: text(from)?,
        name: text(from)?,
    })
}

/// A text with at most [`MAX_TEXT_LEN`] bytes.
fn text(from: &mut Reader<'_>) -> Option<String> {
    let text = from.text()?;
    (text.len() <= MAX_TEXT_LEN).then(|| text.to_owned())
}

/// A number of RSA, or a message decrypted with it: at most [`MAX_NUMBER_LEN`] bytes.
fn number<'a>(from: &mut Reader<'a>) -> Option<&'a [u8]> {
    let number = from.bytes()?;
    (number.len() <= MAX_NUMBER_LEN).then_some(number)
}

/// At most [`MAX_KEYS`] items.
fn list<'a, T>(
    from: &mut Reader<'a>,
    item: impl Fn(&mut Reader<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = usize::try_from(from.number()?).ok()?;
    if count > MAX_KEYS {
        return None;
    }
    (0..count).map(|_| item(from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests() -> Vec<Request> {
        vec![
            Request::Open(Choice {
                module: TokenModule::File("/usr/lib/module.so".into()),
                label: Some("card".to_owned()),
                manufacturer: None,
                model: Some(String::new()),
                serial: None,
                slot: Some(u64::MAX),
            }),
            Request::LogIn(Some("1234".into())),
            Request::LogIn(None),
            Request::Close,
            Request::ListKeys {
                object: None,
                id: Some(vec![1, 0xFF]),
            },
            Request::Decrypt {
                key: 7,
                padding: Padding::OaepSha256,
                encrypted: vec![0xA5; 256],
            },
        ]
    }

    fn answers() -> Vec<Answer> {
        let code = Code {
            function: "C_Decrypt".to_owned(),
            name: "CKR_DEVICE_ERROR".to_owned(),
        };
        let faults = [
            Fault::NoModule("not found".to_owned()),
            Fault::NoToken,
            Fault::SeveralTokens(vec!["a".to_owned(), "b".to_owned()]),
            Fault::WrongPin,
            Fault::PinLocked,
            Fault::PinExpired,
            Fault::Canceled,
            Fault::Removed,
            Fault::NotPermitted,
            Fault::Returned(code.clone()),
            Fault::Invalid("it lists more keys than there is memory".to_owned()),
        ];
        let mut answers = vec![
            Answer::Done,
            Answer::Token(Token {
                label: "card".to_owned(),
                has_keypad: true,
                ..Token::default()
            }),
            Answer::Keys(vec![vec![1; 256], vec![]]),
            Answer::Decrypted(SecretBytes::new(vec![1, 2, 3])),
            Answer::NotDecrypted(Some(code)),
            Answer::NotDecrypted(None),
        ];
        answers.extend(faults.into_iter().map(Answer::Failed));
        answers
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        for request in requests() {
            let bytes = request.encode();
            let read = Request::decode(bytes.as_bytes()).unwrap();
            assert_eq!(read.encode().as_bytes(), bytes.as_bytes(), "{request:?}");
        }
        for answer in answers() {
            let bytes = answer.encode();
            let read = Answer::decode(bytes.as_bytes()).unwrap();
            assert_eq!(read.encode().as_bytes(), bytes.as_bytes(), "{answer:?}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for message in requests().iter().map(Request::encode) {
            damage(message.as_bytes(), |bytes| Request::decode(bytes).is_none());
        }
        for message in answers().iter().map(Answer::encode) {
            damage(message.as_bytes(), |bytes| Answer::decode(bytes).is_none());
        }
        let mut keys = Writer::new();
        keys.number(2).number(u64::MAX);
        assert!(Answer::decode(keys.as_bytes()).is_none());
        let long = Answer::Failed(Fault::Invalid("a".repeat(MAX_TEXT_LEN + 1)));
        assert!(Answer::decode(long.encode().as_bytes()).is_none());
        let long = Answer::Decrypted(SecretBytes::new(vec![0; MAX_NUMBER_LEN + 1]));
        assert!(Answer::decode(long.encode().as_bytes()).is_none());
    }

    /// Cuts a message at every place, extends it, and changes each byte. A changed message may be
    /// another valid one.
    fn damage(bytes: &[u8], is_refused: impl Fn(&[u8]) -> bool) {
        for at in 0..bytes.len() {
            assert!(is_refused(&bytes[..at]), "{at}");
            let mut changed = bytes.to_vec();
            changed[at] ^= 0xFF;
            is_refused(&changed);
        }
        assert!(is_refused(&[bytes, &[0]].concat()));
    }
}
