//! `--new-password-file` and `--new-password`.

use fve::enroll::Enrollment;
use fve::format::protector::ProtectorKind;

use super::kind::{Make, NewKind};

pub(super) const IN_FILE: NewKind = NewKind {
    option: "new-password-file",
    former: None,
    value: Some("FILE"),
    help: "Add the password in this file ('-' = standard input); one newline at the end is ignored",
    kind: ProtectorKind::Password,
    make: Make::Password(Enrollment::password),
};

pub(super) const TYPED: NewKind = NewKind {
    option: "new-password",
    former: None,
    value: None,
    help: "Add a password, which you type twice on the terminal",
    kind: ProtectorKind::Password,
    make: Make::Password(Enrollment::password),
};
