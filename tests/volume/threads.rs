//! Types that threads can share. A type that lost this would break programs that use it.

use fve::create::NewVolume;
use fve::error::Error;
use fve::manage::Managed;
use fve::serve::fuse::{BackgroundMount, Mount, Stopper};
use fve::source::Cursor;
use fve::unlock::{RawFvek, RawVmk};
use fve::{
    Guid, KeyProtector, MasterKey, Password, RecoveryPassword, RecoveryPasswords, SecretText,
    StartupKey, TpmUnlock, UnlockOptions, Unlocked, Volume, Writable,
};

use crate::common::trials::trial;

fn is_send_and_sync<T: Send + Sync>() {}

#[trial]
fn threads_can_share_volumes_credentials_and_errors() {
    is_send_and_sync::<Volume>();
    is_send_and_sync::<UnlockOptions>();
    is_send_and_sync::<Unlocked>();
    is_send_and_sync::<Writable>();
    is_send_and_sync::<Managed>();
    is_send_and_sync::<NewVolume>();
    is_send_and_sync::<Cursor<Unlocked>>();
    is_send_and_sync::<Mount>();
    is_send_and_sync::<BackgroundMount>();
    is_send_and_sync::<Stopper>();
    is_send_and_sync::<Error>();
    is_send_and_sync::<Guid>();
    is_send_and_sync::<KeyProtector>();
    is_send_and_sync::<MasterKey>();
    is_send_and_sync::<SecretText>();
    is_send_and_sync::<RecoveryPassword>();
    is_send_and_sync::<Password>();
    is_send_and_sync::<RecoveryPasswords>();
    is_send_and_sync::<StartupKey>();
    is_send_and_sync::<TpmUnlock>();
    is_send_and_sync::<RawVmk>();
    is_send_and_sync::<RawFvek>();
}
