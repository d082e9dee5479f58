//! `--startup-key-to`.

use super::kind::{Make, NewKind};
use fve::enroll::Enrollment;
use fve::format::protector::ProtectorKind;

pub(super) const KIND: NewKind = NewKind {
    option: "startup-key-to",
    value: Some("DIR"),
    help: "A new startup key, saved as a .BEK file in this directory",
    kind: ProtectorKind::ExternalKey,
    make: Make::Given(Enrollment::startup_key),
};
