//! `--password-file`.

use super::kind::{CredentialKind, Read};
use fve::format::protector::ProtectorKind;
use fve::unlock::Password;

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "password-file",
    value: "FILE",
    value_is_optional: false,
    additions: &[],
    help: "File with the volume's password ('-' = standard input); one trailing newline is not part of it",
    systemd: Some("fve.password"),
    environment: None,
    read: Read::Path(|path| Ok(Box::new(Password::from_file(path)?))),
    typed: Some(|text| Ok(Box::new(Password::new(text)))),
    opens: &[ProtectorKind::Password],
};
