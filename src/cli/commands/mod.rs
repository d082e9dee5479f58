//! One file for each command.

pub(super) mod create;
pub(super) mod decrypt;
pub(super) mod generate;
pub(super) mod info;
pub(super) mod metadata;
#[cfg(feature = "fuse")]
pub(super) mod mount;
pub(super) mod network_unlock;
pub(super) mod protector;
pub(super) mod recovery;
pub(super) mod recovery_hash;
pub(super) mod recovery_search;
pub(super) mod repair;
pub(super) mod report;
pub(super) mod tpm;
pub(super) mod unlock;
#[cfg(feature = "fuse")]
pub(super) mod unmount;
