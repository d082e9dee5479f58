//! Recovery passwords that were saved somewhere, found again by their identifier, by computer or for
//! a volume: in files and in a directory such as Active Directory (docs/format-recovery.md §2).
//!
//! ```text
//! a Place ─ files: LDIF, CSV, JSON, any text ─┐
//!         └ a directory over LDAP ────────────┴─ record: names and values ─► Escrowed
//! ```
//! What does not match the [`Query`] is dropped, and wiped, as soon as it is read. Text that
//! passed through the LDAP library is in that library's memory, too, and is not wiped there.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod csv;
#[cfg(feature = "directory")]
pub mod directory;
mod files;
mod json;
mod ldif;
mod record;
mod text;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::guid::Guid;
use crate::recovery_password::RecoveryPassword;
use crate::shown::ShowPath;

/// A recovery password as somebody saved it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Escrowed {
    /// Identifier of its protector, the password ID.
    pub id: Option<Guid>,
    /// Identifier of the volume, where that was saved, too.
    pub volume: Option<Guid>,
    /// The computer it belongs to.
    pub computer: Option<String>,
    /// When it was saved, as it stands there.
    pub saved: Option<String>,
    /// Where it was found.
    pub origin: String,
    /// The password.
    pub password: RecoveryPassword,
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Query {
    /// The password with this identifier, or whose identifier begins so.
    Password(String),
    /// All of a computer.
    Computer(String),
    /// Those of these protectors.
    Protectors(Vec<Guid>),
}

impl Query {
    /// The password with this identifier: the whole of it, or its first eight or more digits.
    ///
    /// # Errors
    /// [`Error::BadCredential`] for text that is none.
    pub fn password(id: &str) -> Result<Self> {
        let bare = id.trim().trim_start_matches('{').trim_end_matches('}');
        let digits = bare.chars().filter(char::is_ascii_hexdigit).count();
        let fine = bare.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
        if !fine || !(8..=32).contains(&digits) {
            return Err(Error::BadCredential {
                credential: "password ID".to_owned(),
                why: "it is not what the recovery screen shows".to_owned(),
                remedy: Some(
                    "give its first eight hex digits, or the whole identifier of 32".into(),
                ),
            });
        }
        Ok(Self::Password(bare.to_owned()))
    }

    /// Whether this is what is looked for.
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

/// What was found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Found {
    /// The passwords, in the order in which they were found.
    pub entries: Vec<Escrowed>,
    /// Passwords without any identifier, which may be the one: only for [`Query::Protectors`].
    pub unnamed: Vec<Escrowed>,
    /// What could not be read, and why.
    pub notes: Vec<String>,
}

impl Found {
    /// Most passwords that are kept: more than anybody reads, and fewer than fill the memory.
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

/// How far a search is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// How many files were read.
    pub files: usize,
    /// The file that is read now.
    pub path: &'a Path,
}

/// Where passwords were saved.
#[derive(Debug)]
#[non_exhaustive]
pub enum Place {
    /// A file, or a directory of files.
    Files(PathBuf),
    /// A directory server.
    #[cfg(feature = "directory")]
    Directory(directory::Directory),
}

impl Place {
    /// What it is called.
    pub fn name(&self) -> String {
        match self {
            Self::Files(path) => path.shown().to_string(),
            #[cfg(feature = "directory")]
            Self::Directory(directory) => directory.url().to_owned(),
        }
    }

    /// Who looks up there, where that is known to the other side.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Files(_) => None,
            #[cfg(feature = "directory")]
            Self::Directory(directory) => Some(directory.user()),
        }
    }

    /// Looks for passwords.
    ///
    /// # Errors
    /// The place cannot be read or reached, or refuses.
    pub fn search(&self, query: &Query) -> Result<Found> {
        self.search_watched(query, &mut |_| {})
    }

    /// The same, and `progress` is told of each file of a directory before it is read.
    ///
    /// # Errors
    /// Those of [`Self::search`].
    pub fn search_watched(
        &self,
        query: &Query,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Found> {
        let mut found = Found::default();
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
    fn an_identifier_is_eight_digits_or_more() {
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
    fn computers_match_without_their_domain() {
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
