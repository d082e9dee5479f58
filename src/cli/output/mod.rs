//! Output: text for the user, JSON for programs.

mod agent;
mod digits;
pub(crate) mod json;
pub(crate) mod keyboard;
pub(crate) mod stdout;
pub(crate) mod term;
