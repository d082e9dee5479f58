//! `--password-file`, `--password-fd` and `--password-key`.

use std::path::Path;

use fve::error::Result;
use fve::format::protector::ProtectorKind;
use fve::unlock::{Credential, Password};

use super::keyring;
use super::kind::{CredentialKind, Group, OptionValues, Read};
use crate::cli::process::DESCRIPTORS;

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "password-file",
    group: Group::Common,
    value: "FILE",
    value_is_optional: false,
    additions: &[],
    help: "File with the password of the volume ('-' = standard input); one newline at the end is ignored",
    systemd: Some("fve.password"),
    environment: None,
    read: Read::Path(|path| Ok(Box::new(Password::from_file(path)?))),
    typed: Some(|text| Ok(Box::new(Password::new(text)))),
    opens: &[ProtectorKind::Password],
};

/// The option whose value is the number of a file descriptor.
pub(super) const FD_OPTION: &str = "password-fd";

pub(crate) const FD: CredentialKind = CredentialKind {
    option: FD_OPTION,
    group: Group::Common,
    value: "N",
    value_is_optional: false,
    additions: &[],
    help: "Read the password from this open file descriptor, as from a file",
    systemd: None,
    environment: None,
    read: Read::Options(from_descriptor),
    typed: None,
    // Messages that list the options name the one above instead.
    opens: &[],
};

pub(crate) const KEY: CredentialKind = CredentialKind {
    option: "password-key",
    group: Group::Common,
    value: "DESCRIPTION",
    value_is_optional: false,
    additions: &[],
    help: "Take the password from the key of the type \"user\" with this description, in a keyring of the kernel",
    systemd: None,
    environment: None,
    read: Read::Options(|given| {
        Ok(Box::new(Password::new(&keyring::line(
            given.value,
            "password",
        )?)))
    }),
    typed: None,
    opens: &[],
};

fn from_descriptor(given: &OptionValues<'_>) -> Result<Box<dyn Credential>> {
    let number = given.value.unwrap_or(Path::new(""));
    let path = Path::new(DESCRIPTORS).join(number);
    Ok(Box::new(Password::from_file(path)?))
}

/// Whether this is the number of a file descriptor.
pub(super) fn is_descriptor(value: Option<&Path>) -> bool {
    let text = value.and_then(Path::to_str);
    text.is_some_and(|text| text.parse::<u16>().is_ok())
}
