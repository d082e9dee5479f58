#![no_main]
use fve::secret::AutoUnlockKey;
use fve::unlock::auto_unlock::{AutoUnlock, SystemVolume};
use libfuzzer_sys::fuzz_target;

// From a registry hive to the auto-unlock keys in it.
fuzz_target!(|bytes: &[u8]| {
    let _ = AutoUnlock::new(&SystemVolume {
        key: AutoUnlockKey::from_bytes(&[0; 32]),
        hive: bytes.to_vec(),
    });
});
