//! `--new-certificate`.

use super::kind::{Make, NewKind};
use fve::enroll::Enrollment;
use fve::format::protector::ProtectorKind;

pub(super) const KIND: NewKind = NewKind {
    option: "new-certificate",
    value: Some("FILE"),
    help: "A certificate (PEM, DER, or PFX without a password), whose private key is to open the volume. That Windows takes it is not proven",
    kind: ProtectorKind::Certificate,
    make: Make::Given(Enrollment::certificate),
};
