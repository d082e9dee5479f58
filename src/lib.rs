//! fve
pub mod error;
pub mod guid;
pub mod secret;
pub mod source;
