//! `--recovery-lookup`, and the places that `fve recovery lookup` searches.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use fve::error::{Error, Result};
use fve::escrow::PasswordStore;
#[cfg(feature = "directory")]
use fve::escrow::{Directory, Login};
use fve::format::protector::ProtectorKind;
#[cfg(feature = "directory")]
use fve::input::read_line;
#[cfg(feature = "directory")]
use fve::secret::SecretText;
use fve::shown::ShowPath;
use fve::unlock::RecoveryLookup;

use super::kind::{Addition, CredentialKind, Group, OptionValues, Read};

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "recovery-lookup",
    group: Group::Directory,
    value: "WHERE",
    value_is_optional: false,
    additions: ADDITIONS,
    help: "Look up the recovery password in a file or directory with saved ones, or on a directory server (ldaps://SERVER)",
    systemd: None,
    environment: None,
    read: Read::Options(|given| {
        let place = place_of(given)?;
        if let PasswordStore::Files(path) = &place {
            // As for every other credential: a file that is missing is an error at once.
            let cannot = |error| Error::io(format!("cannot read {}", path.shown()), error);
            path.metadata().map_err(cannot)?;
        }
        Ok(Box::new(RecoveryLookup::new(place)))
    }),
    typed: None,
    opens: &[ProtectorKind::RecoveryPassword],
};

/// The user who logs in to the directory server.
pub(crate) const USER: Addition = Addition {
    option: "lookup-user",
    group: Group::Directory,
    value: Some("USER"),
    help: "With a directory server: the user to log in as (USER@DOMAIN, DOMAIN\\USER or a DN)",
    systemd: None,
};

/// The password of that user.
pub(crate) const PASSWORD: Addition = Addition {
    option: "lookup-password-file",
    group: Group::Directory,
    value: Some("FILE"),
    help: "File with the password of that user; without it, fve asks for the password",
    systemd: None,
};

/// The certificate authorities that sign the certificate of the directory server.
pub(crate) const CA: Addition = Addition {
    option: "lookup-ca-file",
    group: Group::Directory,
    value: Some("FILE"),
    help: "With a directory server: trust these certificates (PEM) instead of those of the system",
    systemd: None,
};

/// The search base.
pub(crate) const BASE: Addition = Addition {
    option: "lookup-base",
    group: Group::Directory,
    value: Some("DN"),
    help: "With a directory server: search below this entry instead of the whole domain",
    systemd: None,
};

/// Log in with a Kerberos ticket.
pub(crate) const KERBEROS: Addition = Addition {
    option: "lookup-kerberos",
    group: Group::Directory,
    value: None,
    help: "With a directory server (ldap://SERVER): log in with the Kerberos ticket from 'kinit'; the connection is signed and encrypted",
    systemd: None,
};

/// How long the search in a directory may take.
pub(crate) const TIMEOUT: Addition = Addition {
    option: "lookup-timeout",
    group: Group::Directory,
    value: Some("SECONDS"),
    help: "With a directory server: end the search after this time (default: 60)",
    systemd: None,
};

const ADDITIONS: &[Addition] = &[USER, PASSWORD, CA, BASE, KERBEROS, TIMEOUT];

/// Checks where to look up passwords: a URL must name a server.
pub(crate) fn checked_place(place: OsString) -> Result<OsString, String> {
    match place.to_str().filter(|place| is_url(place)) {
        Some(url) if !names_server(url) => {
            Err("the URL names no directory server: give ldaps://SERVER".to_owned())
        }
        _ => Ok(place),
    }
}

/// Checks how long a search may take: some seconds, at most a day.
pub(crate) fn checked_timeout(seconds: OsString) -> Result<OsString, String> {
    match timeout_of(Path::new(&seconds)) {
        Some(_) => Ok(seconds),
        None => Err("not a number of seconds from 1 to 86400".to_owned()),
    }
}

fn timeout_of(seconds: &Path) -> Option<Duration> {
    let seconds = seconds.to_str()?.parse().ok()?;
    (1..=86400)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

fn is_url(place: &str) -> bool {
    place.starts_with("ldap://") || place.starts_with("ldaps://")
}

#[cfg(feature = "directory")]
fn names_server(url: &str) -> bool {
    Directory::check_url(url).is_ok()
}

/// A build without LDAP says so instead.
#[cfg(not(feature = "directory"))]
fn names_server(_: &str) -> bool {
    true
}

/// Where to look up saved passwords: `ldaps://SERVER`, `ldap://SERVER`, or a path.
///
/// # Errors
/// The user or the password for a directory server is missing, or this build lacks LDAP.
pub(crate) fn place_of(given: &OptionValues<'_>) -> Result<PasswordStore> {
    let place = given.value.unwrap_or(Path::new(""));
    match place.to_str() {
        Some(url) if is_url(url) => server(url, given),
        _ => Ok(PasswordStore::Files(place.to_owned())),
    }
}

#[cfg(not(feature = "directory"))]
fn server(url: &str, _: &OptionValues<'_>) -> Result<PasswordStore> {
    let what = format!("cannot use {url}: this fve was built without LDAP");
    Err(Error::environment(what)
        .with_remedy("build it with the feature 'directory', or give exported files"))
}

#[cfg(feature = "directory")]
fn server(url: &str, given: &OptionValues<'_>) -> Result<PasswordStore> {
    let text = |option: &str| {
        let value = given.other(option)?;
        value.to_str().map(str::to_owned)
    };
    let login = if given.other(KERBEROS.option).is_some() {
        kerberos()?
    } else {
        let user = text(USER.option).filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| {
            refused(
                "the directory server requires a login",
                "give --lookup-user and --lookup-password-file, or --lookup-kerberos",
            )
        })?;
        let password = password(given, &user)?;
        Login::simple(user, password)?
    };
    let mut directory = Directory::new(url, login)?;
    if let Some(path) = given.other(CA.option) {
        directory = directory.trust(path);
    }
    if let Some(base) = text(BASE.option) {
        directory = directory.base(base);
    }
    if let Some(timeout) = given.other(TIMEOUT.option).and_then(timeout_of) {
        directory = directory.timeout(timeout);
    }
    Ok(PasswordStore::Directory(directory))
}

#[cfg(feature = "directory")]
fn password(given: &OptionValues<'_>, user: &str) -> Result<SecretText> {
    if let Some(path) = given.other(PASSWORD.option) {
        return read_line(path, "password for the directory");
    }
    let question = format!("Password of {user} on the directory server: ");
    let asked = given.prompt.and_then(|prompt| prompt.secret(&question));
    asked.ok_or_else(|| {
        refused(
            "the directory server requires a password",
            "give it with --lookup-password-file FILE",
        )
    })
}

#[cfg(all(feature = "directory", feature = "kerberos"))]
fn kerberos() -> Result<Login> {
    Ok(Login::Kerberos)
}

#[cfg(all(feature = "directory", not(feature = "kerberos")))]
fn kerberos() -> Result<Login> {
    Err(Error::environment("this fve was built without Kerberos")
        .with_remedy("build it with the feature 'kerberos', or give --lookup-user"))
}

#[cfg(feature = "directory")]
fn refused(why: &str, help: &'static str) -> Error {
    Error::bad_credential("recovery lookup", why).with_remedy(help)
}
