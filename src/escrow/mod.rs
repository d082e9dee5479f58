//! Finds recovery passwords that were saved in files or in a directory such as Active Directory, by the
//! password ID, by computer, or for a volume (docs/format-recovery.md §2).
//!
//! ```text
//! PasswordStore ─ files: LDIF, CSV, JSON, any text ─┐
//!               └ a directory server, over LDAP ────┴─ record: names and values ─► Escrowed
//! ```
//! Passwords that do not match the [`Query`] are dropped, and wiped, as soon as they are read. Text from
//! a directory server also passes through the memory of the LDAP library, where it is not wiped.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod csv;
#[cfg(feature = "directory")]
mod directory;
mod files;
mod json;
mod ldif;
mod record;
mod text;

#[cfg(all(target_os = "linux", feature = "kerberos"))]
pub(crate) use directory::KERBEROS_SERVICE;
#[cfg(all(target_os = "linux", feature = "directory"))]
pub(crate) use directory::SERVICE as DIRECTORY_SERVICE;
#[cfg(feature = "directory")]
pub use directory::{Directory, Login};

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::guid::Guid;
use crate::recovery_password::RecoveryPassword;
use crate::shown::ShowPath;

/// A recovery password that was saved, with what the file or directory says about it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Escrowed {
    /// Identifier of its key protector: the password ID.
    pub id: Option<Guid>,
    /// Identifier of the volume, if that was saved, too.
    pub volume: Option<Guid>,
    /// Name of the computer.
    pub computer: Option<String>,
    /// When it was saved, as text from the file or directory, usually in ISO 8601.
    pub saved: Option<String>,
    /// Where it was found, for messages: a path and a line, or the URL of a server and an entry.
    pub origin: String,
    /// The recovery password that was saved.
    pub password: RecoveryPassword,
}

/// Which passwords to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Query {
    /// The passwords whose identifier is this, or begins with these hex digits; see
    /// [`Query::password`].
    Password(String),
    /// All passwords of the computer with this name; the domain is ignored.
    Computer(String),
    /// The passwords of these key protectors.
    Protectors(Vec<Guid>),
}

impl Query {
    /// A query for a password ID: the whole identifier, or its first eight or more hex digits.
    ///
    /// # Errors
    /// [`Error::BadCredential`] for any other text.
    pub fn password(id: &str) -> Result<Self> {
        let bare = id.trim().trim_start_matches('{').trim_end_matches('}');
        let digits = bare.chars().filter(char::is_ascii_hexdigit).count();
        let fine = bare.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
        if !fine || !(8..=32).contains(&digits) {
            return Err(Error::BadCredential {
                credential: "password ID".to_owned(),
                why: "it is not the GUID of a recovery password, nor the beginning of one"
                    .to_owned(),
                remedy: Some("give its first eight hex digits, or all 32".into()),
            });
        }
        Ok(Self::Password(bare.to_owned()))
    }

    /// Whether a password matches.
    pub fn matches(&self, found: &Escrowed) -> bool {
        match self {
            Self::Password(text) => found.id.is_some_and(|id| id.is_named_by(text)),
            Self::Computer(name) => {
                let of = found.computer.as_deref();
                of.is_some_and(|other| short_name(other).eq_ignore_ascii_case(short_name(name)))
            }
            Self::Protectors(ids) => found.id.is_some_and(|id| ids.contains(&id)),
        }
    }
}

/// A computer's name without its domain and the `$` of its account.
fn short_name(name: &str) -> &str {
    let host = name.trim().trim_end_matches('$');
    host.split('.').next().unwrap_or(host)
}

/// The result of a search.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct LookupResult {
    /// The passwords that match, in the order in which they were found.
    pub entries: Vec<Escrowed>,
    /// Passwords without an identifier, any of which may match; only for [`Query::Protectors`].
    pub unnamed: Vec<Escrowed>,
    /// Sentences about what could not be read, for the user.
    pub notes: Vec<String>,
}

impl LookupResult {
    /// Most passwords that are kept, so that a large export cannot exhaust memory.
    const MAX: usize = 10_000;

    fn add(&mut self, query: &Query, found: Escrowed) {
        if query.matches(&found) {
            if self.entries.len() < Self::MAX {
                self.entries.push(found);
            }
        } else if found.id.is_none()
            && matches!(query, Query::Protectors(_))
            && self.unnamed.len() < Self::MAX
        {
            self.unnamed.push(found);
        }
    }
}

/// How far a search through a directory of files has come.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// How many files were looked at before this one.
    pub files: usize,
    /// The file that is read next.
    pub path: &'a Path,
}

/// A place where passwords were saved.
#[derive(Debug)]
#[non_exhaustive]
pub enum PasswordStore {
    /// A file, or a directory of files.
    Files(PathBuf),
    /// A directory server.
    #[cfg(feature = "directory")]
    Directory(Directory),
}

impl PasswordStore {
    /// Its path or URL, for messages.
    pub fn name(&self) -> String {
        match self {
            Self::Files(path) => path.shown().to_string(),
            #[cfg(feature = "directory")]
            Self::Directory(directory) => directory.url().to_owned(),
        }
    }

    /// The user that logs in; `None` for files.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Files(_) => None,
            #[cfg(feature = "directory")]
            Self::Directory(directory) => Some(directory.user()),
        }
    }

    /// Searches the place.
    ///
    /// # Errors
    /// [`Error::Io`] when the place cannot be read or reached; [`Error::BadCredential`] and
    /// [`Error::Environment`] when a server refuses the user or the search.
    pub fn search(&self, query: &Query) -> Result<LookupResult> {
        self.search_watched(query, &mut |_| {})
    }

    /// As [`Self::search`], and calls `progress` before it reads each file of a directory.
    ///
    /// # Errors
    /// Those of [`Self::search`].
    pub fn search_watched(
        &self,
        query: &Query,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<LookupResult> {
        let mut found = LookupResult::default();
        match self {
            Self::Files(path) => files::search(path, query, &mut found, progress)?,
            #[cfg(feature = "directory")]
            Self::Directory(directory) => directory.search(query, &mut found)?,
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "471207-278498-422125-177177-561902-537405-468006-693451";

    fn entry(id: Option<&str>, computer: Option<&str>) -> Escrowed {
        Escrowed {
            id: id.map(|id| id.parse().unwrap()),
            volume: None,
            computer: computer.map(str::to_owned),
            saved: None,
            origin: String::new(),
            password: RecoveryPassword::parse(PASSWORD).unwrap(),
        }
    }

    #[test]
    fn a_password_id_needs_at_least_eight_digits() {
        for good in [
            "5bc8fbbc",
            "{5BC8FBBC-BDE5-C099-4164-D8399F767C45}",
            "5BC8FBBC-BDE5",
        ] {
            assert!(Query::password(good).is_ok(), "{good}");
        }
        for bad in ["", "5bc8fbb", "5bc8fbbg", "*", "5bc8fbbc)(cn=*"] {
            assert!(Query::password(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn compares_computer_names_without_the_domain() {
        let of = entry(None, Some("PC01.example.org"));
        for name in ["pc01", "PC01$", "pc01.other.org"] {
            assert!(Query::Computer(name.to_owned()).matches(&of), "{name}");
        }
        assert!(!Query::Computer("PC011".to_owned()).matches(&of));
    }

    #[test]
    fn no_debug_output_holds_a_digit_of_a_password() {
        let id = "5BC8FBBC-BDE5-C099-4164-D8399F767C45";
        let shown = format!("{:?}", entry(Some(id), None));
        assert!(
            PASSWORD.split('-').all(|block| !shown.contains(block)),
            "{shown}"
        );
    }
}
