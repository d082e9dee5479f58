//! One file for each command.

pub(super) mod create;
pub(super) mod decrypt;
pub(super) mod generate;
pub(super) mod info;
#[cfg(feature = "fuse")]
pub(super) mod mount;
pub(super) mod recovery;
pub(super) mod unlock;
#[cfg(feature = "fuse")]
pub(super) mod unmount;
