//! `--new-recovery-password` and `--recovery-password-to`.

use fve::enroll::Enrollment;
use fve::format::protector::ProtectorKind;

use super::kind::{Make, NewKind};

pub(super) const SHOWN: NewKind = NewKind {
    option: "new-recovery-password",
    former: Some("recovery-password"),
    value: None,
    help: "Add a recovery password, and print it once on standard output",
    kind: ProtectorKind::RecoveryPassword,
    make: Make::Value(|_| Enrollment::recovery_password(None)),
};

pub(super) const SAVED: NewKind = NewKind {
    option: "recovery-password-to",
    former: None,
    value: Some("FILE"),
    help: "Add a recovery password, and save it in a new file in the format of Windows; in a directory, under the file name that Windows uses",
    kind: ProtectorKind::RecoveryPassword,
    make: Make::Value(|path| Enrollment::recovery_password(Some(path))),
};
