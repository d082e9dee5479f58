//! `--vmk-file` and `--fvek-file`.

use fve::unlock::{RawFvek, RawVmk};

use super::kind::{CredentialKind, Group, Read};

pub(crate) const VMK: CredentialKind = CredentialKind {
    option: "vmk-file",
    group: Group::Examiner,
    value: "FILE",
    value_is_optional: false,
    additions: &[],
    help: "The volume master key (VMK): 32 bytes or 64 hex digits",
    systemd: None,
    environment: None,
    read: Read::Path(|path| Ok(Box::new(RawVmk::from_file(path)?))),
    typed: None,
    opens: &[],
};

pub(crate) const FVEK: CredentialKind = CredentialKind {
    option: "fvek-file",
    group: Group::Examiner,
    value: "FILE",
    value_is_optional: false,
    additions: &[],
    help: "The sector key (FVEK): 16 to 64 bytes, or the same in hex digits; dislocker's format is accepted, too",
    systemd: None,
    environment: None,
    read: Read::Path(|path| Ok(Box::new(RawFvek::from_file(path)?))),
    typed: None,
    opens: &[],
};
