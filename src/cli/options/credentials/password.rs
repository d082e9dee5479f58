//! `--password-file`.

use fve::format::protector::ProtectorKind;
use fve::unlock::Password;

use super::kind::{CredentialKind, Group, Read};

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
