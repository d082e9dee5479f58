#![no_main]
use std::sync::Arc;

use fve::unlock::Suspended;
use fve::volume::{UnlockOptions, Volume};
use libfuzzer_sys::fuzz_target;

mod sparse;

/// Corrects the checksums of the three metadata copies; otherwise they would be refused early.
fn repair(disk: &mut [u8]) {
    for at in [0xB0, 0xB8, 0xC0] {
        let Some(offset) = disk.get(at..at + 4) else {
            return;
        };
        let offset = offset.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let Some(block) = disk.get_mut(offset..) else {
            continue;
        };
        let Some(&[low, high]) = block.get(8..10) else {
            continue;
        };
        let size = usize::from(u16::from_le_bytes([low, high])) * 16;
        if block.len() >= size + 8 {
            let crc = crc32fast::hash(&block[..size]).to_le_bytes();
            block[size + 4..size + 8].copy_from_slice(&crc);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut disk = sparse::disk(bytes);
    repair(&mut disk);
    let Ok(volume) = Volume::from_source(Arc::new(disk)) else {
        return;
    };
    let _ = (volume.status(), volume.protectors().len(), volume.conversion_fault());
    let mut options = UnlockOptions::default();
    options.accept_damaged_metadata = true;
    if let Ok(unlocked) = volume.unlock(&[Box::new(Suspended)], &options) {
        let mut buf = [0; 700];
        for offset in [0, 511, 8000, unlocked.size().saturating_sub(600)] {
            let _ = unlocked.read_exact_at(offset, &mut buf);
        }
    }
});
