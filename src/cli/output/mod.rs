//! What the program says: to a person on a terminal, to a program as JSON.

pub(crate) mod json;
pub(crate) mod stdout;
pub(crate) mod term;
