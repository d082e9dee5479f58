//! `--recovery-password-file`.

use super::kind::{CredentialKind, Read};
use fve::format::protector::ProtectorKind;
use fve::unlock::RecoveryPasswords;

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "recovery-password-file",
    value: "FILE",
    value_is_optional: false,
    additions: &[],
    help: "File with the 48-digit recovery password, as Windows saves or prints it ('-' = standard input)",
    systemd: Some("fve.recovery-password"),
    environment: None,
    read: Read::Path(|path| Ok(Box::new(RecoveryPasswords::from_file(path)?))),
    typed: Some(|text| Ok(Box::new(RecoveryPasswords::from_text(text.expose())?))),
    opens: &[ProtectorKind::RecoveryPassword],
};
