//! `--startup-key`.

use fve::format::protector::ProtectorKind;
use fve::unlock::StartupKey;

use super::kind::{CredentialKind, Group, Read};

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "startup-key",
    group: Group::Common,
    value: "FILE",
    value_is_optional: false,
    additions: &[],
    help: "A .BEK file, or a directory with the one for this volume",
    systemd: None,
    environment: None,
    read: Read::Path(|path| Ok(Box::new(StartupKey::read(path)?))),
    typed: None,
    opens: &[ProtectorKind::ExternalKey],
};
