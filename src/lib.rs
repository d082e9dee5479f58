//! fve
pub mod create;
pub mod crypto;
pub mod error;
pub mod format;
pub mod guid;
pub mod secret;
pub mod serve;
pub mod source;
pub mod unlock;
pub mod volume;
