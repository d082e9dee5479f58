#![no_main]
use std::sync::Arc;

use fve::unlock::clear_key::Suspended;
use fve::volume::{UnlockOptions, Volume};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(volume) = Volume::open(Arc::new(bytes.to_vec())) else {
        return;
    };
    let _ = (volume.status(), volume.protectors().len(), volume.conversion_fault());
    let mut options = UnlockOptions::default();
    options.accept_damaged_metadata = true;
    if let Ok(unlocked) = volume.unlock(&[Box::new(Suspended)], &options) {
        let mut buf = [0; 700];
        for offset in [0, 511, 8000, unlocked.size().saturating_sub(600)] {
            let _ = unlocked.read_at(offset, &mut buf);
        }
    }
});
