//! Searches Active Directory, and servers with the same schema, for recovery passwords: entries below
//! the account of each computer (docs/format-recovery.md §2.2 to §2.4).
//!
//! `ldaps://SERVER` uses TLS from the start, `ldap://SERVER` switches to it with StartTLS, so that a
//! password is never sent unencrypted. With a Kerberos ticket (feature `kerberos`), the Kerberos session
//! signs and encrypts `ldap://SERVER` instead.

mod filter;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::{LdapConn, LdapConnSettings, LdapError, Scope, SearchEntry};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::record::{self, Field};
use super::{LookupResult, Query};
use crate::error::{Error, Remedy, Result};
use crate::guid::Guid;
use crate::secret::SecretText;
use crate::shown::ShowPath;

/// How long connecting and logging in may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the server may take for each entry of an answer.
const ANSWER: Duration = Duration::from_secs(60);
/// Entries per page; Active Directory allows at most 1000 (docs/format-recovery.md §2.3).
const PAGE: i32 = 500;
/// Most identifiers in one search filter.
const AT_ONCE: usize = 32;
/// Most computers of one name whose passwords are read.
const MAX_COMPUTERS: usize = 32;
/// The attributes that are read of an entry.
const ATTRIBUTES: [&str; 5] = [
    "msFVE-RecoveryPassword",
    "msFVE-RecoveryGuid",
    "msFVE-VolumeGuid",
    "whenCreated",
    "cn",
];
/// LDAP result code inappropriateMatching (RFC 4511): the server cannot compare this attribute so.
const INAPPROPRIATE_MATCHING: u32 = 18;
/// LDAP result code noSuchObject (RFC 4511).
const NO_SUCH_OBJECT: u32 = 32;

/// A directory server, and the login for it.
#[derive(Debug)]
pub struct Directory {
    url: String,
    login: Login,
    ca: Option<PathBuf>,
    base: Option<String>,
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
}

impl Directory {
    /// The server with this URL, `ldaps://SERVER` or `ldap://SERVER`, and the login for it.
    ///
    /// # Errors
    /// [`Error::BadCredential`] for a Kerberos login over `ldaps://`, which servers refuse.
    pub fn new(url: &str, login: Login) -> Result<Self> {
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
        })
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

    /// The URL of the server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The user that logs in, for messages.
    pub fn user(&self) -> &str {
        match &self.login {
            Login::Simple { user, .. } => user,
            #[cfg(feature = "kerberos")]
            Login::Kerberos => "the Kerberos ticket's owner",
        }
    }

    /// Searches for passwords.
    ///
    /// # Errors
    /// [`Error::Io`] when the server cannot be reached or its certificate is not trusted,
    /// [`Error::BadCredential`] when it refuses the login, [`Error::Environment`] when it refuses the
    /// search.
    pub(super) fn search(&self, query: &Query, found: &mut LookupResult) -> Result<()> {
        let mut session = self.open()?;
        let outcome = session.look_up(query, found);
        // The result is complete by now, even if the connection does not close cleanly.
        let _ = session.ldap.unbind();
        outcome
    }

    fn open(&self) -> Result<Session<'_>> {
        let mut settings = LdapConnSettings::new().set_conn_timeout(CONNECT);
        let sealed = !matches!(self.login, Login::Simple { .. });
        if self.url.starts_with("ldap://") && !sealed {
            settings = settings.set_starttls(true);
        }
        if let Some(path) = &self.ca {
            settings = settings.set_config(Arc::new(trusting(path)?));
        }
        let ldap = LdapConn::with_settings(settings, &self.url);
        let mut ldap = ldap.map_err(|error| self.unreachable(&error))?;
        ldap.with_timeout(CONNECT);
        self.log_in(&mut ldap)?;
        let base = match &self.base {
            Some(base) => base.clone(),
            None => self.naming_context(&mut ldap)?,
        };
        Ok(Session {
            directory: self,
            ldap,
            base,
        })
    }

    fn log_in(&self, ldap: &mut LdapConn) -> Result<()> {
        let result = match &self.login {
            Login::Simple { user, password } => ldap.simple_bind(user, password.expose()),
            #[cfg(feature = "kerberos")]
            Login::Kerberos => ldap.sasl_gssapi_bind(host(&self.url)),
        };
        match result {
            Ok(result) if result.rc == 0 => Ok(()),
            Ok(result) => Err(refused(
                format!(
                    "{} refuses the login of {} (LDAP result {})",
                    self.url,
                    self.user(),
                    result.rc
                ),
                "check user and password; for Active Directory, give the user as USER@DOMAIN",
            )),
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    /// The distinguished name below which all entries of the domain are.
    fn naming_context(&self, ldap: &mut LdapConn) -> Result<String> {
        let wanted = ["defaultNamingContext", "namingContexts"];
        ldap.with_timeout(ANSWER);
        let root = ldap
            .search("", Scope::Base, "(objectClass=*)", wanted.to_vec())
            .and_then(ldap3::SearchResult::success);
        let (entries, _) = root.map_err(|error| self.unreachable(&error))?;
        let root = entries.into_iter().next().map(SearchEntry::construct);
        let context = root.and_then(|root| {
            wanted
                .iter()
                .find_map(|name| root.attrs.get(*name)?.first().cloned())
        });
        context.ok_or_else(|| Error::Environment {
            what: format!("{} does not name the entry to search below", self.url),
            remedy: Some(Remedy::NameSearchBase),
        })
    }

    fn unreachable(&self, error: &LdapError) -> Error {
        Error::io(
            format!("cannot query {}", self.url),
            std::io::Error::other(printable(&error.to_string())),
        )
    }
}

/// An open connection.
struct Session<'a> {
    directory: &'a Directory,
    ldap: LdapConn,
    base: String,
}

impl Session<'_> {
    fn look_up(&mut self, query: &Query, found: &mut LookupResult) -> Result<()> {
        let base = self.base.clone();
        match query {
            Query::Password(digits) => {
                let ids: Vec<Guid> = digits.parse().into_iter().collect();
                if ids.is_empty() {
                    self.by_prefix(&base, digits, query, found)
                } else {
                    self.by_ids(&base, &ids, query, found)
                }
            }
            Query::Protectors(ids) => self.by_ids(&base, ids, query, found),
            Query::Computer(name) => {
                for computer in self.computers(&base, name)? {
                    self.read(&computer, Scope::OneLevel, filter::ANY, query, found)?;
                }
                Ok(())
            }
        }
    }

    /// Searches by the attribute with the identifier, which is indexed. If that finds nothing, searches
    /// by the name of the entry, which contains the identifier, too.
    fn by_ids(
        &mut self,
        base: &str,
        ids: &[Guid],
        query: &Query,
        found: &mut LookupResult,
    ) -> Result<()> {
        for ids in ids.chunks(AT_ONCE) {
            self.read(base, Scope::Subtree, &filter::by_ids(ids), query, found)?;
        }
        if found.entries.is_empty() {
            for id in ids {
                let name = filter::by_name(&id.short());
                self.read(base, Scope::Subtree, &name, query, found)?;
            }
        }
        Ok(())
    }

    fn by_prefix(
        &mut self,
        base: &str,
        digits: &str,
        query: &Query,
        found: &mut LookupResult,
    ) -> Result<()> {
        if let Some(prefix) = filter::by_prefix(digits) {
            self.read(base, Scope::Subtree, &prefix, query, found)?;
        }
        if found.entries.is_empty() {
            let name = filter::by_name(digits);
            self.read(base, Scope::Subtree, &name, query, found)?;
        }
        Ok(())
    }

    /// The distinguished names of the computers with that name.
    fn computers(&mut self, base: &str, name: &str) -> Result<Vec<String>> {
        let filter = filter::computer(super::short_name(name));
        let mut names = Vec::new();
        self.entries(base, Scope::Subtree, &filter, &["cn"], &mut |entry| {
            if names.len() < MAX_COMPUTERS {
                names.push(entry.dn);
            }
        })?;
        Ok(names)
    }

    /// Reads the passwords that the filter selects. What does not match the query is dropped: a filter
    /// can be less exact than the query.
    fn read(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        query: &Query,
        found: &mut LookupResult,
    ) -> Result<()> {
        let url = self.directory.url.clone();
        let mut unreadable = 0;
        self.entries(base, scope, filter, &ATTRIBUTES, &mut |entry| {
            let name = entry.dn.clone();
            let fields = fields(entry);
            let origin = format!("{url}: {name}");
            let passwords = record::escrowed(&fields, Some(&name), || origin.clone());
            if passwords.is_empty() {
                unreadable += 1;
            }
            for password in passwords {
                found.add(query, password);
            }
        })?;
        if unreadable > 0 {
            found.notes.push(format!(
                "{url}: {unreadable} entries have no password that {} may read",
                self.directory.user()
            ));
        }
        Ok(())
    }

    /// Calls `each` for every entry that a filter selects, fetched page by page. A filter that the
    /// server cannot compare selects nothing.
    fn entries(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&str],
        each: &mut dyn FnMut(SearchEntry),
    ) -> Result<()> {
        let adapters: Vec<Box<dyn Adapter<_, _>>> = vec![
            Box::new(EntriesOnly::new()),
            Box::new(PagedResults::new(PAGE)),
        ];
        let directory = self.directory;
        let fail = |error: LdapError| match error {
            LdapError::LdapResult { result } => directory.refuses(result.rc, base),
            error => directory.unreachable(&error),
        };
        self.ldap.with_timeout(ANSWER);
        let mut stream = self
            .ldap
            .streaming_search_with(adapters, base, scope, filter, attributes.to_vec())
            .map_err(fail)?;
        while let Some(entry) = stream.next().map_err(fail)? {
            each(SearchEntry::construct(entry));
        }
        let result = stream.result();
        match result.rc {
            0 | INAPPROPRIATE_MATCHING => Ok(()),
            rc => Err(directory.refuses(rc, base)),
        }
    }
}

impl Directory {
    fn refuses(&self, rc: u32, base: &str) -> Error {
        let why = if rc == NO_SUCH_OBJECT {
            format!("it has no entry {base}")
        } else {
            format!("it refuses the search (LDAP result {rc})")
        };
        Error::Environment {
            what: format!("{}: {why}", self.url),
            remedy: Some(Remedy::CompareSearchBase),
        }
    }
}

/// All attributes of an entry, text and binary.
fn fields(entry: SearchEntry) -> Vec<Field> {
    let texts = entry.attrs.into_iter().flat_map(|(name, values)| {
        let values = values.into_iter().map(String::into_bytes);
        values.map(move |value| Field::new(name.clone(), value))
    });
    let bytes = entry.bin_attrs.into_iter().flat_map(|(name, values)| {
        let values = values.into_iter();
        values.map(move |value| Field::new(name.clone(), value))
    });
    texts.chain(bytes).collect()
}

/// A TLS configuration that trusts only the certificates in a PEM file.
fn trusting(path: &std::path::Path) -> Result<rustls::ClientConfig> {
    let bad = |why: String| {
        Error::bad_credential(
            "certificates of the directory",
            format!("{}: {why}", path.shown()),
        )
    };
    let pem = std::fs::read(path)
        .map_err(|error| Error::io(format!("cannot read {}", path.shown()), error))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("it contains no certificate".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The host name in a URL.
#[cfg(feature = "kerberos")]
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find([':', '/']).unwrap_or(rest.len());
    rest.get(..end).unwrap_or(rest)
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
    const LONGEST: usize = 300;
    let fine = text.chars().filter(|c| !c.is_control());
    fine.take(LONGEST).collect()
}
