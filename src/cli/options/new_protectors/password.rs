//! `--new-password-file` and `--new-password`.

use super::kind::{Make, NewKind};
use fve::enroll::Enrollment;
use fve::format::protector::ProtectorKind;

pub(super) const IN_FILE: NewKind = NewKind {
    option: "new-password-file",
    value: Some("FILE"),
    help: "A password, read from a file ('-' = standard input); one trailing newline is not part of it",
    kind: ProtectorKind::Password,
    make: Make::Password(Enrollment::password),
};

pub(super) const TYPED: NewKind = NewKind {
    option: "new-password",
    value: None,
    help: "A password, asked for twice on the terminal",
    kind: ProtectorKind::Password,
    make: Make::Password(Enrollment::password),
};
