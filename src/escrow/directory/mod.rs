//! Searches Active Directory, and servers with the same schema, for recovery passwords: entries below
//! the account of each computer (docs/format-recovery.md §2.2 to §2.4).
//!
//! `ldaps://SERVER` uses TLS from the start, `ldap://SERVER` switches to it with StartTLS, so that a
//! password is never sent unencrypted. With a Kerberos ticket (feature `kerberos`), the Kerberos session
//! signs and encrypts `ldap://SERVER` instead.
//!
//! ```text
//! Directory ─ request ─► client (in a child process: the LDAP library believes what a server sends)
//!           ◄─ answer ──
//! ```

mod client;
mod filter;
mod message;

use std::path::{Path, PathBuf};
use std::time::Duration;

use self::message::{Answer, Fault, Request};
use super::{LookupResult, Query};
#[cfg(target_os = "linux")]
use crate::child::{Child, ChildFailure, Environment, Isolation, Limits, Service};
use crate::error::{Error, Remedy, Result};
use crate::secret::SecretText;
use crate::shown::{ShowPath, write_escaped};

/// How long a whole search may take, unless [`Directory::timeout`] says otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Most bytes of a file with certificates.
const MAX_CERTIFICATES: u64 = 0x40_0000;
/// Longest text of a server in a message, in characters.
const MAX_TEXT: usize = 300;

/// The child process that asks the server.
#[cfg(target_os = "linux")]
pub(crate) const SERVICE: Service = Service {
    name: "directory",
    environment: ENVIRONMENT,
    max_request: 0x80_0000,
    max_answer: message::MAX_ANSWER,
    limits: Limits {
        memory: 512 << 20,
        processor_seconds: 120,
        files: 64,
        writes_files: false,
        becomes_unprivileged: true,
        keeps_capabilities: false,
    },
    serve: |conversation| {
        while let Some(request) = conversation.next() {
            match client::answer(&request) {
                Some(answer) => conversation.answer(answer.as_bytes()),
                None => return,
            }
        }
    },
};

/// The same for a Kerberos login, which reads the ticket of the user.
#[cfg(all(target_os = "linux", feature = "kerberos"))]
pub(crate) const KERBEROS_SERVICE: Service = Service {
    name: "directory-kerberos",
    limits: Limits {
        writes_files: true,
        becomes_unprivileged: false,
        keeps_capabilities: false,
        ..SERVICE.limits
    },
    ..SERVICE
};

/// What name resolution, TLS, Kerberos and the loader of shared libraries read.
#[cfg(target_os = "linux")]
const ENVIRONMENT: Environment = Environment::Only(&[
    "HOSTALIASES",
    "KRB5CCNAME",
    "KRB5_CLIENT_KTNAME",
    "KRB5_CONFIG",
    "LD_LIBRARY_PATH",
    "LOCALDOMAIN",
    "RES_OPTIONS",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
]);

/// A directory server, and the login for it.
#[derive(Debug)]
pub struct Directory {
    url: String,
    login: Login,
    ca: Option<PathBuf>,
    base: Option<String>,
    timeout: Duration,
    #[cfg(target_os = "linux")]
    isolation: Isolation,
}

/// How to log in to a directory server.
#[derive(Debug)]
#[non_exhaustive]
pub enum Login {
    /// A user with a password, which is sent only over TLS.
    #[non_exhaustive]
    Simple {
        /// The user: `USER@DOMAIN`, `DOMAIN\\USER`, or a distinguished name.
        user: String,
        /// The user's password; never empty.
        password: SecretText,
    },
    /// The owner of the Kerberos ticket in the credential cache.
    #[cfg(feature = "kerberos")]
    Kerberos,
}

impl Login {
    /// A user with a password.
    ///
    /// # Errors
    /// [`Error::BadCredential`] for an empty password: a server would treat it as an anonymous login
    /// (RFC 4513 section 5.1.2).
    pub fn simple(user: impl Into<String>, password: SecretText) -> Result<Self> {
        if password.expose().is_empty() {
            return Err(refused("the password is empty", "check the password file"));
        }
        let user = user.into();
        Ok(Self::Simple { user, password })
    }

    fn user(&self) -> &str {
        match self {
            Self::Simple { user, .. } => user,
            #[cfg(feature = "kerberos")]
            Self::Kerberos => "the Kerberos ticket's owner",
        }
    }
}

impl Directory {
    /// The server with this URL, `ldaps://SERVER` or `ldap://SERVER`, and the login for it.
    ///
    /// # Errors
    /// [`Error::BadCredential`] for a URL that names no server, and for a Kerberos login over
    /// `ldaps://`, which servers refuse.
    pub fn new(url: &str, login: Login) -> Result<Self> {
        Self::check_url(url)?;
        #[cfg(feature = "kerberos")]
        if matches!(login, Login::Kerberos) && !url.starts_with("ldap://") {
            return Err(refused(
                "a Kerberos login encrypts the connection itself, and servers refuse it inside TLS",
                "use ldap://SERVER",
            ));
        }
        Ok(Self {
            url: url.to_owned(),
            login,
            ca: None,
            base: None,
            timeout: TIMEOUT,
            #[cfg(target_os = "linux")]
            isolation: Isolation::default(),
        })
    }

    /// Checks that a URL names a server.
    ///
    /// # Errors
    /// [`Error::BadCredential`] where it does not.
    pub fn check_url(url: &str) -> Result<()> {
        let known = ["ldap://", "ldaps://"];
        let rest = known.iter().find_map(|scheme| url.strip_prefix(scheme));
        if rest.is_none_or(|rest| host(rest).is_none()) {
            return Err(refused(
                "the URL names no directory server",
                "use ldaps://SERVER or ldap://SERVER",
            ));
        }
        Ok(())
    }

    /// Trusts the certificates in this PEM file instead of the system's.
    #[must_use]
    pub fn trust(mut self, certificates: &Path) -> Self {
        self.ca = Some(certificates.to_owned());
        self
    }

    /// Searches only below this distinguished name, not in the whole domain.
    #[must_use]
    pub fn base(mut self, name: impl Into<String>) -> Self {
        self.base = Some(name.into());
        self
    }

    /// How long a whole search may take, from connecting to the last entry. The default is a minute.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Where the LDAP client runs. The default is a child process.
    ///
    /// In the same process, a hostile server, or an attacker between this computer and a server with an
    /// `ldap://` URL, can abort the process or take all its memory, and the timeout holds only while
    /// the client waits.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// The URL of the server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The user that logs in, for messages.
    pub fn user(&self) -> &str {
        self.login.user()
    }

    /// Searches for passwords.
    ///
    /// # Errors
    /// [`Error::Io`] when the server cannot be reached, its certificate is not trusted, or its answer
    /// cannot be used; [`Error::BadCredential`] when it refuses the login; [`Error::Environment`] when
    /// it refuses the search.
    pub(super) fn search(&self, query: &Query, found: &mut LookupResult) -> Result<()> {
        let certificates = match &self.ca {
            Some(path) => Some(read_certificates(path)?),
            None => None,
        };
        let request = Request::encode(
            &self.url,
            &self.login,
            certificates.as_deref(),
            self.base.as_deref(),
            query,
            self.timeout,
        );
        let answer = self.ask(request.as_bytes())?;
        match answer {
            Ok(answer) => {
                for password in answer.passwords {
                    found.add(query, password);
                }
                found
                    .notes
                    .extend(self.notes(answer.unreadable, answer.cut));
                Ok(())
            }
            Err(fault) => Err(self.error(fault)),
        }
    }

    #[cfg(target_os = "linux")]
    fn ask(&self, request: &[u8]) -> Result<Result<Answer, Fault>> {
        let failed = |failure: ChildFailure| match failure {
            ChildFailure::NotPrepared => Error::environment(failure.to_string()),
            failure => self.unreachable(failure.into()),
        };
        let malformed = || failed(ChildFailure::Malformed);
        match self.isolation {
            Isolation::SameProcess => {
                let answer = client::answer(request).ok_or_else(malformed)?;
                Answer::decode(answer.as_bytes()).ok_or_else(malformed)
            }
            Isolation::ChildProcess => {
                let mut child = Child::start(self.service(), self.timeout).map_err(failed)?;
                let answer = child.ask(request).map_err(failed)?;
                Answer::decode(&answer).ok_or_else(malformed)
            }
        }
    }

    /// Other systems have no child process for it.
    #[cfg(not(target_os = "linux"))]
    fn ask(&self, request: &[u8]) -> Result<Result<Answer, Fault>> {
        let answer = client::answer(request);
        let answer = answer.and_then(|answer| Answer::decode(answer.as_bytes()));
        answer.ok_or_else(|| self.unreachable(std::io::ErrorKind::InvalidData.into()))
    }

    #[cfg(target_os = "linux")]
    fn service(&self) -> &'static Service {
        match self.login {
            Login::Simple { .. } => &SERVICE,
            #[cfg(feature = "kerberos")]
            Login::Kerberos => &KERBEROS_SERVICE,
        }
    }

    fn notes(&self, unreadable: u64, cut: bool) -> Vec<String> {
        let (url, user) = (&self.url, self.user());
        let mut notes = Vec::new();
        if unreadable > 0 {
            notes.push(format!(
                "{url}: {unreadable} entries have no password that {user} may read"
            ));
        }
        if cut {
            notes.push(format!(
                "{url}: more passwords match than are read of one server"
            ));
        }
        notes
    }

    fn unreachable(&self, cause: std::io::Error) -> Error {
        Error::io(format!("cannot query {}", self.url), cause)
    }

    fn error(&self, fault: Fault) -> Error {
        let environment = |why: String, remedy| Error::Environment {
            what: format!("{}: {why}", self.url),
            remedy: Some(remedy),
        };
        match fault {
            Fault::Unreachable(why) => self.unreachable(std::io::Error::other(printable(&why))),
            Fault::Certificates(why) => {
                let path = self.ca.as_deref().unwrap_or(Path::new(""));
                bad_certificates(path, &printable(&why))
            }
            Fault::Login(rc) => refused(
                format!(
                    "{} refuses the login of {} (LDAP result {rc})",
                    self.url,
                    self.user(),
                ),
                "check user and password; for Active Directory, give the user as USER@DOMAIN",
            ),
            Fault::NoBase => Error::Environment {
                what: format!("{} does not name the entry to search below", self.url),
                remedy: Some(Remedy::NameSearchBase),
            },
            Fault::NoEntry(base) => environment(
                format!("it has no entry {}", printable(&base)),
                Remedy::CompareSearchBase,
            ),
            Fault::Search(rc) => environment(
                format!("it refuses the search (LDAP result {rc})"),
                Remedy::CompareSearchBase,
            ),
        }
    }
}

/// The server that a URL names after its scheme; `None` where it names none.
fn host(rest: &str) -> Option<&str> {
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split_once(']')?.0,
        None => authority.split(':').next()?,
    };
    // A name before '@' would be a user, whose password is given elsewhere.
    let strange = |c: char| c == '@' || c.is_whitespace() || c.is_control();
    let fine = !host.is_empty() && !authority.contains(strange);
    fine.then_some(host)
}

/// Reads a PEM file. The child process may be unable to: it is another user.
fn read_certificates(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;

    let failed = |error| Error::io(format!("cannot read {}", path.shown()), error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut pem = Vec::new();
    file.take(MAX_CERTIFICATES + 1)
        .read_to_end(&mut pem)
        .map_err(failed)?;
    match pem.len() as u64 > MAX_CERTIFICATES {
        true => Err(bad_certificates(path, "it is too large")),
        false => Ok(pem),
    }
}

fn bad_certificates(path: &Path, why: &str) -> Error {
    Error::bad_credential(
        "certificates of the directory",
        format!("{}: {why}", path.shown()),
    )
}

fn refused(why: impl Into<String>, remedy: impl Into<Remedy>) -> Error {
    Error::BadCredential {
        credential: "recovery lookup".to_owned(),
        why: why.into(),
        remedy: Some(remedy.into()),
    }
}

/// Text from a server, made safe and short enough for a message.
fn printable(text: &str) -> String {
    let beginning: String = text.chars().take(MAX_TEXT).collect();
    let mut shown = String::new();
    // Writing to a string cannot fail.
    let _ = write_escaped(&beginning, &mut shown);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_server() {
        for good in [
            "ldap://a",
            "ldaps://dc.example.com:636/",
            "ldap://[::1]:389",
            "ldaps://10.0.0.1",
        ] {
            assert!(Directory::check_url(good).is_ok(), "{good}");
        }
        for bad in [
            "ldap://",
            "ldaps:///",
            "ldap://:389",
            "ldap://[]",
            "ldap://[::1",
            "ldap:// ",
            "http://a",
            "ldap://?x",
            "ldap://user:secret@a",
        ] {
            assert!(Directory::check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn text_of_a_server_cannot_act_on_a_terminal() {
        assert_eq!(printable("a\x1b[2J\n"), "a\\u{1b}[2J\\u{a}");
        assert_eq!(printable(&"x".repeat(10_000)).len(), MAX_TEXT);
    }

    /// A test program does not call `run_if_requested`.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_program_that_is_not_prepared_starts_no_child_process() {
        let login = Login::simple("user", SecretText::new("secret".to_owned())).unwrap();
        let directory = Directory::new("ldaps://127.0.0.1:1", login).unwrap();
        let query = Query::password("01234567").unwrap();
        let error = directory.search(&query, &mut LookupResult::default());
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Environment { .. }), "{error}");
        assert!(error.to_string().contains("run_if_requested"), "{error}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_same_process_can_be_chosen() {
        let login = Login::simple("user", SecretText::new("secret".to_owned())).unwrap();
        let directory = Directory::new("ldaps://127.0.0.1:1", login)
            .unwrap()
            .isolation(Isolation::SameProcess);
        let query = Query::password("01234567").unwrap();
        let error = directory.search(&query, &mut LookupResult::default());
        assert!(matches!(error, Err(Error::Io { .. })), "{error:?}");
    }
}
