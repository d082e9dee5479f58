//! One file for each command, or one folder.

pub(super) mod create;
pub(super) mod decrypt;
pub(super) mod export;
pub(super) mod generate;
pub(super) mod info;
pub(super) mod metadata;
#[cfg(feature = "fuse")]
pub(super) mod mount;
#[cfg(feature = "network")]
pub(super) mod network_unlock;
pub(super) mod protector;
pub(super) mod recovery;
pub(super) mod repair;
pub(super) mod report;
pub(super) mod tpm;
pub(super) mod unlock;
#[cfg(feature = "fuse")]
pub(super) mod unmount;
