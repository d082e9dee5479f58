//! What the client of a directory is asked for, and what it answers, as bytes: both pass between two
//! processes.

use std::time::Duration;

use super::Login;
use crate::child::{Reader, Writer};
use crate::escrow::{Escrowed, Query};
use crate::guid::Guid;
use crate::recovery_password::RecoveryPassword;
use crate::secret::SecretText;

/// Most bytes of an answer. The client reads no further once it is nearly this long.
pub(super) const MAX_ANSWER: usize = 0x100_0000;
/// Most identifiers in a query.
const MAX_IDS: u64 = 0x1000;

/// What to search for, and where.
pub(super) struct Request {
    pub(super) url: String,
    pub(super) login: Login,
    /// PEM, in place of the system's certificates.
    pub(super) certificates: Option<Vec<u8>>,
    pub(super) base: Option<String>,
    pub(super) query: Query,
    pub(super) timeout: Duration,
}

impl Request {
    /// A request, from parts that need not be copied.
    pub(super) fn encode(
        url: &str,
        login: &Login,
        certificates: Option<&[u8]>,
        base: Option<&str>,
        query: &Query,
        timeout: Duration,
    ) -> Writer {
        let mut to = Writer::new();
        to.text(url);
        match login {
            Login::Simple { user, password } => {
                to.number(0).text(user).text(password.expose());
            }
            #[cfg(feature = "kerberos")]
            Login::Kerberos => {
                to.number(1);
            }
        }
        to.optional(certificates, |to, pem| {
            to.bytes(pem);
        });
        to.optional(base, |to, base| {
            to.text(base);
        });
        match query {
            Query::Password(id) => {
                to.number(0).text(id);
            }
            Query::Computer(name) => {
                to.number(1).text(name);
            }
            Query::Protectors(ids) => {
                to.number(2).number(ids.len() as u64);
                for id in ids {
                    to.bytes(&id.to_disk());
                }
            }
        }
        to.number(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        to
    }

    /// Reads a request; `None` if it is malformed.
    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        let from = &mut Reader::new(message);
        let url = from.text()?.to_owned();
        let login = match from.number()? {
            0 => Login::Simple {
                user: from.text()?.to_owned(),
                password: SecretText::new(from.text()?.to_owned()),
            },
            #[cfg(feature = "kerberos")]
            1 => Login::Kerberos,
            _ => return None,
        };
        let certificates = from.optional(|from| from.bytes().map(<[u8]>::to_vec))?;
        let base = from.optional(|from| from.text().map(str::to_owned))?;
        let query = match from.number()? {
            0 => Query::Password(from.text()?.to_owned()),
            1 => Query::Computer(from.text()?.to_owned()),
            2 => {
                let count = from.number()?.min(MAX_IDS);
                let ids = (0..count).map(|_| guid(from));
                Query::Protectors(ids.collect::<Option<_>>()?)
            }
            _ => return None,
        };
        let timeout = Duration::from_millis(from.number()?);
        from.is_at_end().then_some(Self {
            url,
            login,
            certificates,
            base,
            query,
            timeout,
        })
    }
}

fn guid(from: &mut Reader<'_>) -> Option<Guid> {
    Some(Guid::from_disk(from.bytes()?.try_into().ok()?))
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) passwords: Vec<Escrowed>,
    /// How many entries have no password, or none that the user may read.
    pub(super) unreadable: u64,
    /// Whether more passwords match than are read.
    pub(super) cut: bool,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server cannot be reached, or its answer cannot be used.
    Unreachable(String),
    /// The certificates that were given cannot be used.
    Certificates(String),
    /// The server refuses the login with this LDAP result.
    Login(u32),
    /// The server does not name the entry to search below.
    NoBase,
    /// There is no entry with this name to search below.
    NoEntry(String),
    /// The server refuses the search with this LDAP result.
    Search(u32),
}

impl Answer {
    pub(super) fn encode(outcome: &Result<Self, Fault>) -> Writer {
        let mut to = Writer::new();
        match outcome {
            Ok(answer) => {
                to.number(0).number(answer.passwords.len() as u64);
                for password in &answer.passwords {
                    encode_password(&mut to, password);
                }
                to.number(answer.unreadable).flag(answer.cut);
            }
            Err(Fault::Unreachable(why)) => {
                to.number(1).text(why);
            }
            Err(Fault::Certificates(why)) => {
                to.number(2).text(why);
            }
            Err(Fault::Login(rc)) => {
                to.number(3).number(u64::from(*rc));
            }
            Err(Fault::NoBase) => {
                to.number(4);
            }
            Err(Fault::NoEntry(base)) => {
                to.number(5).text(base);
            }
            Err(Fault::Search(rc)) => {
                to.number(6).number(u64::from(*rc));
            }
        }
        to
    }

    /// Reads an answer; `None` if it is malformed.
    pub(super) fn decode(message: &[u8]) -> Option<Result<Self, Fault>> {
        let from = &mut Reader::new(message);
        let outcome = match from.number()? {
            0 => {
                let mut answer = Self::default();
                // Each takes some bytes, so that the message bounds their number.
                for _ in 0..from.number()? {
                    answer.passwords.push(decode_password(from)?);
                }
                answer.unreadable = from.number()?;
                answer.cut = from.flag()?;
                Ok(answer)
            }
            1 => Err(Fault::Unreachable(from.text()?.to_owned())),
            2 => Err(Fault::Certificates(from.text()?.to_owned())),
            3 => Err(Fault::Login(result_code(from)?)),
            4 => Err(Fault::NoBase),
            5 => Err(Fault::NoEntry(from.text()?.to_owned())),
            6 => Err(Fault::Search(result_code(from)?)),
            _ => return None,
        };
        from.is_at_end().then_some(outcome)
    }
}

fn result_code(from: &mut Reader<'_>) -> Option<u32> {
    u32::try_from(from.number()?).ok()
}

fn encode_password(to: &mut Writer, found: &Escrowed) {
    let put_guid = |to: &mut Writer, id: &Guid| {
        to.bytes(&id.to_disk());
    };
    let put_text = |to: &mut Writer, text: &str| {
        to.text(text);
    };
    to.optional(found.id.as_ref(), put_guid);
    to.optional(found.volume.as_ref(), put_guid);
    to.optional(found.computer.as_deref(), put_text);
    to.optional(found.saved.as_deref(), put_text);
    to.text(&found.origin);
    to.text(found.password.expose_digits().expose());
}

fn decode_password(from: &mut Reader<'_>) -> Option<Escrowed> {
    let text = |from: &mut Reader<'_>| from.text().map(str::to_owned);
    Some(Escrowed {
        id: from.optional(guid)?,
        volume: from.optional(guid)?,
        computer: from.optional(text)?,
        saved: from.optional(text)?,
        origin: text(from)?,
        password: RecoveryPassword::parse(from.text()?).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "471207-278498-422125-177177-561902-537405-468006-693451";
    const ID: &str = "5BC8FBBC-BDE5-C099-4164-D8399F767C45";

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let login = Login::simple("user", SecretText::new("secret".to_owned())).unwrap();
        let query = Query::Protectors(vec![ID.parse().unwrap()]);
        let timeout = Duration::from_secs(9);
        let pem: &[u8] = &[7; 9];
        let written = Request::encode("ldaps://x", &login, Some(pem), None, &query, timeout);
        let request = Request::decode(written.as_bytes()).unwrap();
        assert_eq!(request.url, "ldaps://x");
        assert_eq!(request.certificates.as_deref(), Some(pem));
        assert_eq!(request.base, None);
        assert_eq!((request.query, request.timeout), (query, timeout));
        assert!(
            matches!(request.login, Login::Simple { user, password } if user == "user" && password.expose() == "secret")
        );
    }

    #[test]
    fn an_answer_is_read_as_it_was_written_and_no_part_of_it_is() {
        let found = Escrowed {
            id: Some(ID.parse().unwrap()),
            volume: None,
            computer: Some("PC".to_owned()),
            saved: None,
            origin: "there".to_owned(),
            password: RecoveryPassword::parse(PASSWORD).unwrap(),
        };
        let answer = Answer {
            passwords: vec![found],
            unreadable: 2,
            cut: true,
        };
        let written = Answer::encode(&Ok(answer));
        let read = Answer::decode(written.as_bytes()).unwrap().unwrap();
        assert_eq!((read.unreadable, read.cut), (2, true));
        let [found] = &read.passwords[..] else {
            panic!("one");
        };
        assert_eq!(found.password.expose_digits().expose(), PASSWORD);
        assert_eq!(found.computer.as_deref(), Some("PC"));
        for len in 0..written.as_bytes().len() {
            assert!(
                Answer::decode(&written.as_bytes()[..len]).is_none(),
                "{len}"
            );
        }
        for fault in [
            Fault::Unreachable("x".to_owned()),
            Fault::Certificates("x".to_owned()),
            Fault::Login(49),
            Fault::NoBase,
            Fault::NoEntry("dc=x".to_owned()),
            Fault::Search(1),
        ] {
            let written = Answer::encode(&Err(fault));
            let read = Answer::decode(written.as_bytes()).unwrap();
            assert_eq!(Answer::encode(&read).as_bytes(), written.as_bytes());
        }
    }
}
