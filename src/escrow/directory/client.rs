//! The LDAP client: one connection, one login, and the searches of a query. It usually runs in a child
//! process, because the LDAP library believes every length and recurses as deep as a server wants.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ldap3::asn1::{PL, StructureTag};
use ldap3::controls::{ControlType, PagedResults, RawControl};
use ldap3::{LdapConn, LdapConnSettings, LdapError, LdapResult, ResultEntry, Scope};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::message::{Answer, Fault, MAX_ANSWER, Request};
use super::{Login, filter};
use crate::child::Writer;
use crate::escrow::record::{self, Field, Record};
use crate::escrow::{Escrowed, Query, short_name};
use crate::guid::Guid;

/// How long connecting, and logging in, may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Entries per page; Active Directory allows at most 1000 (docs/format-recovery.md §2.3).
const PAGE: i32 = 500;
/// Most identifiers in one search filter.
const AT_ONCE: usize = 32;
/// Most computers of one name whose passwords are read.
const MAX_COMPUTERS: usize = 32;
/// Most pages of all searches.
const MAX_PAGES: usize = 1000;
/// Most entries and referrals of all searches.
const MAX_ENTRIES: usize = 100_000;
/// Most passwords that are kept for a volume: unlocking it tries every one.
const MAX_FOR_VOLUME: usize = 32;
/// Most passwords that are kept for a look-up by the user.
const MAX_FOR_DISPLAY: usize = 10_000;
/// Most bytes that the passwords and what belongs to them may take in the answer.
const MAX_KEPT: usize = MAX_ANSWER / 2;
/// Longest distinguished name that is kept, in characters.
const MAX_NAME: usize = 4096;
/// The attributes that are read of an entry.
const ATTRIBUTES: [&str; 5] = [
    "msFVE-RecoveryPassword",
    "msFVE-RecoveryGuid",
    "msFVE-VolumeGuid",
    "whenCreated",
    "cn",
];
/// The attributes of the root entry that name the entry to search below, the best first.
const CONTEXTS: [&str; 2] = ["defaultNamingContext", "namingContexts"];
/// LDAP result code inappropriateMatching (RFC 4511): the server cannot compare this attribute so.
const INAPPROPRIATE_MATCHING: u32 = 18;
/// LDAP result code noSuchObject (RFC 4511).
const NO_SUCH_OBJECT: u32 = 32;

/// Answers a request; `None` if it is malformed.
pub(super) fn answer(request: &[u8]) -> Option<Writer> {
    let request = Request::decode(request)?;
    Some(Answer::encode(&search(&request)))
}

fn search(request: &Request) -> Result<Answer, Fault> {
    let mut session = Session::open(request)?;
    session.look_up(&request.query)?;
    // The answer is complete by now, even if the connection does not close cleanly.
    let _ = session.ldap.unbind();
    Ok(session.progress.answer)
}

/// An open connection.
struct Session<'a> {
    ldap: LdapConn,
    base: String,
    progress: Progress<'a>,
}

/// What was found so far.
struct Progress<'a> {
    request: &'a Request,
    end: Instant,
    pages: usize,
    entries: usize,
    /// Bytes of the answer so far.
    kept: usize,
    answer: Answer,
}

/// An entry of the directory.
struct Entry {
    name: String,
    fields: Record,
}

impl<'a> Session<'a> {
    fn open(request: &'a Request) -> Result<Self, Fault> {
        let end = Instant::now() + request.timeout;
        let patience = CONNECT.min(request.timeout);
        let mut settings = LdapConnSettings::new().set_conn_timeout(patience);
        let sealed = !matches!(request.login, Login::Simple { .. });
        if request.url.starts_with("ldap://") && !sealed {
            settings = settings.set_starttls(true);
        }
        if let Some(pem) = &request.certificates {
            let config = trusting(pem).map_err(Fault::Certificates)?;
            settings = settings.set_config(Arc::new(config));
        }
        let ldap = LdapConn::with_settings(settings, &request.url);
        let mut ldap = ldap.map_err(|error| unreachable(&error))?;
        ldap.with_timeout(patience);
        log_in(&mut ldap, request)?;
        let mut session = Self {
            ldap,
            base: String::new(),
            progress: Progress {
                request,
                end,
                pages: 0,
                entries: 0,
                kept: 0,
                answer: Answer::default(),
            },
        };
        session.base = match &request.base {
            Some(base) => base.clone(),
            None => session.naming_context()?,
        };
        Ok(session)
    }

    /// The distinguished name below which all entries of the domain are.
    fn naming_context(&mut self) -> Result<String, Fault> {
        let left = self.progress.left()?;
        self.ldap.with_timeout(left);
        let root = self
            .ldap
            .streaming_search("", Scope::Base, "(objectClass=*)", CONTEXTS.to_vec())
            .and_then(|mut stream| stream.next());
        let entry = root.map_err(|error| unreachable(&error))?;
        let entry = entry.and_then(Entry::read).ok_or(Fault::NoBase)?;
        let context = CONTEXTS.iter().find_map(|wanted| {
            let mut fields = entry.fields.fields().iter();
            let field = fields.find(|field| field.name.eq_ignore_ascii_case(wanted))?;
            let text = std::str::from_utf8(&field.value).ok()?;
            (text.len() <= MAX_NAME).then(|| text.to_owned())
        });
        context.ok_or(Fault::NoBase)
    }

    fn look_up(&mut self, query: &Query) -> Result<(), Fault> {
        let base = self.base.clone();
        match query {
            Query::Password(digits) => {
                let ids: Vec<Guid> = digits.parse().into_iter().collect();
                if ids.is_empty() {
                    self.by_prefix(&base, digits)
                } else {
                    self.by_ids(&base, &ids)
                }
            }
            Query::Protectors(ids) => self.by_ids(&base, ids),
            Query::Computer(name) => {
                for computer in self.computers(&base, name)? {
                    self.read(&computer, Scope::OneLevel, filter::ANY)?;
                }
                Ok(())
            }
        }
    }

    /// Searches by the attribute with the identifier, which is indexed. If that finds nothing, searches
    /// by the name of the entry, which contains the identifier, too.
    fn by_ids(&mut self, base: &str, ids: &[Guid]) -> Result<(), Fault> {
        for ids in ids.chunks(AT_ONCE) {
            self.read(base, Scope::Subtree, &filter::by_ids(ids))?;
        }
        if self.progress.has_no_match() {
            for id in ids {
                let name = filter::by_name(&id.short());
                self.read(base, Scope::Subtree, &name)?;
            }
        }
        Ok(())
    }

    fn by_prefix(&mut self, base: &str, digits: &str) -> Result<(), Fault> {
        if let Some(prefix) = filter::by_prefix(digits) {
            self.read(base, Scope::Subtree, &prefix)?;
        }
        if self.progress.has_no_match() {
            let name = filter::by_name(digits);
            self.read(base, Scope::Subtree, &name)?;
        }
        Ok(())
    }

    /// The distinguished names of the computers with that name.
    fn computers(&mut self, base: &str, name: &str) -> Result<Vec<String>, Fault> {
        let filter = filter::computer(short_name(name));
        let mut names = Vec::new();
        self.entries(base, Scope::Subtree, &filter, &["cn"], &mut |_, entry| {
            names.push(entry.name);
            names.len() < MAX_COMPUTERS
        })?;
        Ok(names)
    }

    /// Reads the passwords that the filter selects. What does not match the query is dropped: a filter
    /// can be less exact than the query.
    fn read(&mut self, base: &str, scope: Scope, filter: &str) -> Result<(), Fault> {
        let url = &self.progress.request.url;
        self.entries(base, scope, filter, &ATTRIBUTES, &mut |progress, entry| {
            let origin = || format!("{url}: {}", entry.name);
            let passwords = record::escrowed(entry.fields.fields(), Some(&entry.name), origin);
            if passwords.is_empty() {
                progress.answer.unreadable += 1;
            }
            passwords
                .into_iter()
                .all(|password| progress.keep(password))
        })
    }

    /// Calls `each` for every entry that a filter selects, fetched page by page, until it returns
    /// `false`. A filter that the server cannot compare selects nothing.
    fn entries(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&str],
        each: &mut dyn FnMut(&mut Progress<'a>, Entry) -> bool,
    ) -> Result<(), Fault> {
        let mut cookie = Vec::new();
        loop {
            let before = self.progress.entries;
            let result = self.page(base, scope, filter, attributes, &cookie, each)?;
            let Some(result) = result else { return Ok(()) };
            match result.rc {
                0 => {}
                INAPPROPRIATE_MATCHING => return Ok(()),
                NO_SUCH_OBJECT => return Err(Fault::NoEntry(base.to_owned())),
                rc => return Err(Fault::Search(rc)),
            }
            let next = next_page(result);
            if next.is_empty() {
                return Ok(());
            }
            // Some servers, such as Samba, give every page of a search the same cookie, but there each
            // page has entries.
            if next == cookie && self.progress.entries == before {
                return Err(endless("it has the same empty page twice"));
            }
            cookie = next;
        }
    }

    /// Reads a page, and returns its result; `None` where `each` wants no more entries.
    fn page(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: &[&str],
        cookie: &[u8],
        each: &mut dyn FnMut(&mut Progress<'a>, Entry) -> bool,
    ) -> Result<Option<LdapResult>, Fault> {
        let Self { ldap, progress, .. } = self;
        progress.pages += 1;
        if progress.pages > MAX_PAGES {
            return Err(endless("it has too many pages"));
        }
        let page: RawControl = PagedResults {
            size: PAGE,
            cookie: cookie.to_vec(),
        }
        .into();
        let mut stream = ldap
            .with_timeout(progress.left()?)
            .with_controls(page)
            .streaming_search(base, scope, filter, attributes.to_vec())
            .map_err(|error| unreachable(&error))?;
        while let Some(entry) = stream.next().map_err(|error| unreachable(&error))? {
            progress.left()?;
            progress.entries += 1;
            if progress.entries > MAX_ENTRIES {
                return Err(endless("it has too many entries"));
            }
            if entry.is_ref() || entry.is_intermediate() {
                continue;
            }
            let entry = Entry::read(entry)
                .ok_or_else(|| Fault::Unreachable("the answer has a malformed entry".to_owned()))?;
            if !each(progress, entry) {
                return Ok(None);
            }
        }
        Ok(Some(stream.result()))
    }
}

impl Progress<'_> {
    /// The time that is left.
    fn left(&self) -> Result<Duration, Fault> {
        let left = self.end.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(Fault::Unreachable(
                "the time for the search is over".to_owned(),
            )),
            false => Ok(left),
        }
    }

    fn has_no_match(&self) -> bool {
        let query = &self.request.query;
        let mut found = self.answer.passwords.iter();
        !found.any(|found| query.matches(found))
    }

    /// Keeps a password that matches, or may match. Returns whether there is room for more.
    fn keep(&mut self, password: Escrowed) -> bool {
        let query = &self.request.query;
        let is_for_volume = matches!(query, Query::Protectors(_));
        let is_without_id = is_for_volume && password.id.is_none();
        if !(query.matches(&password) || is_without_id) {
            return true;
        }
        let is_same = |kept: &Escrowed| {
            kept.id == password.id
                && kept.password.expose_digits().expose()
                    == password.password.expose_digits().expose()
        };
        if is_for_volume && self.answer.passwords.iter().any(is_same) {
            return true;
        }
        let most = if is_for_volume {
            MAX_FOR_VOLUME
        } else {
            MAX_FOR_DISPLAY
        };
        if self.answer.passwords.len() >= most || self.kept >= MAX_KEPT {
            self.answer.cut = true;
            return false;
        }
        let texts = [&password.computer, &password.saved];
        let texts = texts.into_iter().flatten().map(String::len);
        self.kept += 256 + password.origin.len() + texts.sum::<usize>();
        self.answer.passwords.push(password);
        true
    }
}

impl Entry {
    /// Reads an entry (RFC 4511 section 4.5.2); `None` if it is malformed.
    fn read(entry: ResultEntry) -> Option<Self> {
        let mut parts = constructed(entry.0)?.into_iter();
        let name = parts.next().and_then(StructureTag::expect_primitive)?;
        let name = String::from_utf8_lossy(&name);
        let name = name.chars().take(MAX_NAME).collect();
        let mut fields = Record::default();
        for attribute in constructed(parts.next()?)? {
            let mut parts = constructed(attribute)?.into_iter();
            let kind = parts.next().and_then(StructureTag::expect_primitive)?;
            let kind = String::from_utf8_lossy(&kind);
            for value in constructed(parts.next()?)? {
                fields.push(Field::new(&*kind, value.expect_primitive()?));
            }
        }
        Some(Self { name, fields })
    }
}

fn constructed(tag: StructureTag) -> Option<Vec<StructureTag>> {
    match tag.payload {
        PL::C(parts) => Some(parts),
        PL::P(_) => None,
    }
}

/// The cookie of the next page; empty after the last one.
fn next_page(result: LdapResult) -> Vec<u8> {
    let mut controls = result.ctrls.into_iter();
    let paging = controls.find(|control| matches!(control.0, Some(ControlType::PagedResults)));
    // Parsing panics where there is no value.
    let paging = paging.map(|control| control.1);
    let paging = paging.filter(|control| control.val.is_some());
    paging.map_or_else(Vec::new, |control| control.parse::<PagedResults>().cookie)
}

fn log_in(ldap: &mut LdapConn, request: &Request) -> Result<(), Fault> {
    let result = match &request.login {
        Login::Simple { user, password } => ldap.simple_bind(user, password.expose()),
        #[cfg(feature = "kerberos")]
        Login::Kerberos => ldap.sasl_gssapi_bind(host(&request.url)),
    };
    match result {
        Ok(result) if result.rc == 0 => Ok(()),
        Ok(result) => Err(Fault::Login(result.rc)),
        Err(error) => Err(unreachable(&error)),
    }
}

fn unreachable(error: &LdapError) -> Fault {
    Fault::Unreachable(match error {
        // The library ends the connection where it cannot read a message.
        LdapError::OpSend { .. }
        | LdapError::ResultRecv { .. }
        | LdapError::IdScrubSend { .. }
        | LdapError::MiscSend { .. }
        | LdapError::EndOfStream => {
            "the connection ended early, or a message was malformed".to_owned()
        }
        LdapError::Timeout { .. } => "the server does not answer in time".to_owned(),
        LdapError::LdapResult { result } => {
            format!(
                "it refuses encryption with StartTLS (LDAP result {})",
                result.rc
            )
        }
        error => error.to_string(),
    })
}

fn endless(why: &str) -> Fault {
    Fault::Unreachable(format!("the answer does not end: {why}"))
}

/// A TLS configuration that trusts only the certificates in a PEM file.
fn trusting(pem: &[u8]) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it contains no certificate".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The host name in a URL.
#[cfg(feature = "kerberos")]
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    super::host(rest).unwrap_or_default()
}
