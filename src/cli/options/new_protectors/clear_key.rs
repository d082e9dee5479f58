//! `--clear-key`.

use super::kind::{Make, NewKind};
use fve::enroll::Enrollment;
use fve::format::protector::ProtectorKind;

pub(super) const KIND: NewKind = NewKind {
    option: "clear-key",
    value: None,
    help: "A clear key: anybody can open the volume until protection is resumed",
    kind: ProtectorKind::ClearKey,
    make: Make::Given(|_| Enrollment::clear_key()),
};
