//! `--startup-key`.

use super::kind::{CredentialKind, Read};
use fve::format::protector::ProtectorKind;
use fve::unlock::StartupKey;

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "startup-key",
    value: "FILE",
    value_is_optional: false,
    additions: &[],
    help: "A .BEK file, or a directory in which the one that fits the volume is looked for",
    systemd: None,
    environment: None,
    read: Read::Path(|path| Ok(Box::new(StartupKey::read(path)?))),
    typed: None,
    opens: &[ProtectorKind::ExternalKey],
};
