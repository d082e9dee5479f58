//! `--clear-key`.

use fve::enroll::Enrollment;
use fve::format::protector::ProtectorKind;

use super::kind::{Make, NewKind};

pub(super) const KIND: NewKind = NewKind {
    option: "clear-key",
    former: None,
    value: None,
    help: "Add a clear key: anyone can read the volume until protection is resumed",
    kind: ProtectorKind::ClearKey,
    make: Make::Value(|_| Enrollment::clear_key()),
};
