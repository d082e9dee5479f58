//! `--vmk-file` and `--fvek-file`.

use super::kind::{CredentialKind, Read};
use fve::unlock::{RawFvek, RawVmk};

pub(crate) const VMK: CredentialKind = CredentialKind {
    option: "vmk-file",
    value: "FILE",
    value_is_optional: false,
    additions: &[],
    help: "The raw volume master key: 32 bytes or 64 hex digits",
    systemd: None,
    environment: None,
    read: Read::Path(|path| Ok(Box::new(RawVmk::from_file(path)?))),
    typed: None,
    opens: &[],
};

pub(crate) const FVEK: CredentialKind = CredentialKind {
    option: "fvek-file",
    value: "FILE",
    value_is_optional: false,
    additions: &[],
    help: "The raw sector key (FVEK): 16 to 64 bytes or the same in hex digits; dislocker's form too",
    systemd: None,
    environment: None,
    read: Read::Path(|path| Ok(Box::new(RawFvek::from_file(path)?))),
    typed: None,
    opens: &[],
};
