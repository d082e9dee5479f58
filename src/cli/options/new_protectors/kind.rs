//! How a kind of new key protector is described for the command line.

use std::path::Path;

use fve::enroll::Enrollment;
use fve::error::Result;
use fve::format::protector::ProtectorKind;
use fve::secret::SecretText;

/// A kind of key protector that can be added to a volume.
pub(crate) struct NewKind {
    /// Option of the command line, without dashes.
    pub(crate) option: &'static str,
    /// A former name of the option, which still works.
    pub(crate) former: Option<&'static str>,
    /// Placeholder of its value in the help; `None` for an option without a value.
    pub(crate) value: Option<&'static str>,
    /// One sentence of help.
    pub(crate) help: &'static str,
    /// The kind of key protector that it creates.
    pub(crate) kind: ProtectorKind,
    /// Creates the key protector.
    pub(crate) make: Make,
}

/// How a key protector is created.
#[derive(Clone, Copy)]
pub(crate) enum Make {
    /// From the value of the option, a path; empty for an option without a value.
    Value(fn(&Path) -> Result<Enrollment>),
    /// From a new password: the content of the file that the option names, or what the user types for
    /// an option without a value.
    Password(fn(&SecretText) -> Result<Enrollment>),
}
