//! `--new-certificate`.

use fve::enroll::Enrollment;
use fve::format::protector::ProtectorKind;

use super::kind::{Make, NewKind};

pub(super) const KIND: NewKind = NewKind {
    option: "new-certificate",
    former: None,
    value: Some("FILE"),
    help: "Add a certificate (PEM, DER, or PFX without a password), whose private key will unlock the volume. Not yet tested with Windows",
    kind: ProtectorKind::Certificate,
    make: Make::Value(Enrollment::certificate),
};
