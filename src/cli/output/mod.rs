//! Output: text for the user, JSON for programs.

pub(crate) mod json;
pub(crate) mod stdout;
pub(crate) mod term;
