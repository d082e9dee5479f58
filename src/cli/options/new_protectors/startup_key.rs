//! `--startup-key-to`.

use fve::enroll::Enrollment;
use fve::format::protector::ProtectorKind;

use super::kind::{Make, NewKind};

pub(super) const KIND: NewKind = NewKind {
    option: "startup-key-to",
    former: None,
    value: Some("DIR"),
    help: "Add a startup key, and save it as a .BEK file in this directory",
    kind: ProtectorKind::ExternalKey,
    make: Make::Value(Enrollment::startup_key),
};
