//! `--recovery-lookup`, and where `fve recovery lookup` looks.

use super::kind::{Addition, CredentialKind, Given, Read};
#[cfg(not(all(feature = "directory", feature = "kerberos")))]
use fve::error::Error;
use fve::error::Result;
use fve::escrow::Place;
#[cfg(feature = "directory")]
use fve::escrow::{Directory, Login};
use fve::format::protector::ProtectorKind;
#[cfg(feature = "directory")]
use fve::input::read_line;
#[cfg(feature = "directory")]
use fve::secret::SecretText;
use fve::unlock::RecoveryLookup;
use std::path::Path;

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "recovery-lookup",
    value: "WHERE",
    value_is_optional: false,
    additions: ADDITIONS,
    help: "Look the recovery password up: in a file or directory of saved ones, or in a directory server (ldaps://SERVER)",
    systemd: None,
    environment: None,
    read: Read::Given(|given| Ok(Box::new(RecoveryLookup::new(place_of(given)?)))),
    typed: None,
    opens: &[ProtectorKind::RecoveryPassword],
};

/// Who binds to the directory.
pub(crate) const USER: Addition = Addition {
    option: "lookup-user",
    value: Some("USER"),
    help: "With a directory: the user that looks up (USER@DOMAIN, DOMAIN\\USER or a DN)",
    systemd: None,
};

/// That user's password.
pub(crate) const PASSWORD: Addition = Addition {
    option: "lookup-password-file",
    value: Some("FILE"),
    help: "File with that user's password; without it, it is asked for",
    systemd: None,
};

/// Who signs the directory's certificate.
pub(crate) const CA: Addition = Addition {
    option: "lookup-ca-file",
    value: Some("FILE"),
    help: "Trust these certificates (PEM) for the directory, in place of the system's",
    systemd: None,
};

/// Where in the directory.
pub(crate) const BASE: Addition = Addition {
    option: "lookup-base",
    value: Some("DN"),
    help: "Search below this name of the directory, not in the whole domain",
    systemd: None,
};

/// With a Kerberos ticket.
pub(crate) const KERBEROS: Addition = Addition {
    option: "lookup-kerberos",
    value: None,
    help: "Log in to the directory (ldap://SERVER) with the Kerberos ticket of 'kinit', signed and sealed",
    systemd: None,
};

const ADDITIONS: &[Addition] = &[USER, PASSWORD, CA, BASE, KERBEROS];

/// Where saved passwords are looked for: `ldaps://SERVER`, `ldap://SERVER`, or a path.
///
/// # Errors
/// What the place takes is missing: a user, a password, the feature of this program.
pub(crate) fn place_of(given: &Given<'_>) -> Result<Place> {
    let place = given.value.unwrap_or(Path::new(""));
    match place.to_str() {
        Some(url) if url.starts_with("ldap://") || url.starts_with("ldaps://") => {
            server(url, given)
        }
        _ => Ok(Place::Files(place.to_owned())),
    }
}

#[cfg(not(feature = "directory"))]
fn server(url: &str, _: &Given<'_>) -> Result<Place> {
    let what = format!("{url} cannot be asked: this program was built without LDAP");
    Err(Error::environment(what)
        .with_remedy("build it with the feature 'directory', or give exported files"))
}

#[cfg(feature = "directory")]
fn server(url: &str, given: &Given<'_>) -> Result<Place> {
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
                "a directory tells nothing to strangers",
                "give --lookup-user, and --lookup-password-file or the password when asked; or --lookup-kerberos",
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
    Ok(Place::Directory(directory))
}

#[cfg(feature = "directory")]
fn password(given: &Given<'_>, user: &str) -> Result<SecretText> {
    if let Some(path) = given.other(PASSWORD.option) {
        return read_line(path, "password for the directory");
    }
    let question = format!("Password of {user} for the directory: ");
    let asked = given.prompt.and_then(|prompt| prompt.secret(&question));
    asked.ok_or_else(|| {
        refused(
            "the directory takes a password",
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
    Err(
        Error::environment("this program was built without Kerberos")
            .with_remedy("build it with the feature 'kerberos', or give --lookup-user"),
    )
}

#[cfg(feature = "directory")]
fn refused(why: &str, help: &'static str) -> Error {
    Error::bad_credential("recovery lookup", why).with_remedy(help)
}
