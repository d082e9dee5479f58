//! Options that several commands share.

pub(crate) mod backup;
pub(crate) mod confirm;
pub(crate) mod credentials;
pub(crate) mod file;
pub(crate) mod file_system;
pub(crate) mod mappable;
pub(crate) mod new_protectors;
pub(crate) mod parse;
pub(crate) mod plaintext;
pub(crate) mod readable;
pub(crate) mod rescue_map;
pub(crate) mod source;
pub(crate) mod threads;
