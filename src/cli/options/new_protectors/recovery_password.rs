//! `--recovery-password` and `--recovery-password-to`.

use super::kind::{Make, NewKind};
use fve::enroll::Enrollment;
use fve::format::protector::ProtectorKind;

pub(super) const SHOWN: NewKind = NewKind {
    option: "recovery-password",
    value: None,
    help: "A new recovery password, printed once on standard output",
    kind: ProtectorKind::RecoveryPassword,
    make: Make::Given(|_| Enrollment::recovery_password(None)),
};

pub(super) const SAVED: NewKind = NewKind {
    option: "recovery-password-to",
    value: Some("FILE"),
    help: "A new recovery password, saved in a new file as Windows saves it; in a directory, under the name that Windows gives it",
    kind: ProtectorKind::RecoveryPassword,
    make: Make::Given(|path| Enrollment::recovery_password(Some(path))),
};
