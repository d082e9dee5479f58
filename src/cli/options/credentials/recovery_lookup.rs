//! `--recovery-lookup`, and the places that `fve recovery lookup` searches.

use std::path::Path;

#[cfg(not(all(feature = "directory", feature = "kerberos")))]
use fve::error::Error;
use fve::error::Result;
use fve::escrow::PasswordStore;
#[cfg(feature = "directory")]
use fve::escrow::{Directory, Login};
use fve::format::protector::ProtectorKind;
#[cfg(feature = "directory")]
use fve::input::read_line;
#[cfg(feature = "directory")]
use fve::secret::SecretText;
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
    read: Read::Options(|given| Ok(Box::new(RecoveryLookup::new(place_of(given)?)))),
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

const ADDITIONS: &[Addition] = &[USER, PASSWORD, CA, BASE, KERBEROS];

/// Where to look up saved passwords: `ldaps://SERVER`, `ldap://SERVER`, or a path.
///
/// # Errors
/// The user or the password for a directory server is missing, or this build lacks LDAP.
pub(crate) fn place_of(given: &OptionValues<'_>) -> Result<PasswordStore> {
    let place = given.value.unwrap_or(Path::new(""));
    match place.to_str() {
        Some(url) if url.starts_with("ldap://") || url.starts_with("ldaps://") => {
            server(url, given)
        }
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
