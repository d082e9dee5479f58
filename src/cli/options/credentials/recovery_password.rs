//! `--recovery-password-file` and `--recovery-password-key`.

use fve::error::Result;
use fve::format::protector::ProtectorKind;
use fve::unlock::{Credential, RecoveryPasswords};

use super::keyring;
use super::kind::{CredentialKind, Group, OptionValues, Read};

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "recovery-password-file",
    group: Group::Common,
    value: "FILE",
    value_is_optional: false,
    additions: &[],
    help: "File with the 48-digit recovery password (as saved or printed by Windows; '-' = standard input)",
    systemd: Some("fve.recovery-password"),
    environment: None,
    read: Read::Path(|path| Ok(Box::new(RecoveryPasswords::from_file(path)?))),
    typed: Some(|text| Ok(Box::new(RecoveryPasswords::from_text(text.expose())?))),
    opens: &[ProtectorKind::RecoveryPassword],
};

pub(crate) const KEY: CredentialKind = CredentialKind {
    option: "recovery-password-key",
    group: Group::Common,
    value: "DESCRIPTION",
    value_is_optional: false,
    additions: &[],
    help: "Take the recovery password from the key of the type \"user\" with this description, in a keyring of the kernel",
    systemd: None,
    environment: None,
    read: Read::Options(from_key),
    typed: None,
    // Messages that list the options name the one above instead.
    opens: &[],
};

fn from_key(given: &OptionValues<'_>) -> Result<Box<dyn Credential>> {
    let content = keyring::read(given.value, "recovery password")?;
    Ok(Box::new(RecoveryPasswords::from_text(content.expose())?))
}
