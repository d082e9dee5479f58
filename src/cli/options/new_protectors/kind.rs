//! What a kind of new key protector is on the command line.

use std::path::Path;

use fve::enroll::Enrollment;
use fve::error::Result;
use fve::format::protector::ProtectorKind;
use fve::secret::SecretText;

/// A kind of protector that can be put on a volume.
pub(crate) struct NewKind {
    /// Option of the command line, without dashes.
    pub(crate) option: &'static str,
    /// What stands for its value in the help; none for an option that takes none.
    pub(crate) value: Option<&'static str>,
    /// One line of help.
    pub(crate) help: &'static str,
    /// What it makes.
    pub(crate) kind: ProtectorKind,
    /// Makes it.
    pub(crate) make: Make,
}

/// How a protector is made.
#[derive(Clone, Copy)]
pub(crate) enum Make {
    /// From the option's value, a path; or from none.
    Given(fn(&Path) -> Result<Enrollment>),
    /// From a new password: what the file holds that the option's value names, or what a person
    /// types where the option has none.
    Password(fn(&SecretText) -> Result<Enrollment>),
}
