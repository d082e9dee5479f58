//! `--recovery-password-file`.

use fve::format::protector::ProtectorKind;
use fve::unlock::RecoveryPasswords;

use super::kind::{CredentialKind, Group, Read};

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
