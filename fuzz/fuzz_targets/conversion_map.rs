#![no_main]
use fve::format::conversion::{EowBitmap, EowInformation};
use libfuzzer_sys::fuzz_target;

/// Corrects the checksum at `at`, which is computed with its own field as zeros.
fn repair(bytes: &mut [u8], at: usize) {
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.fill(0);
        let crc = crc32fast::hash(bytes).to_le_bytes();
        bytes[at..at + 4].copy_from_slice(&crc);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut information = bytes.to_vec();
    repair(&mut information, 0x24);
    let _ = EowInformation::parse(&information, 0);

    let mut bitmap = bytes.to_vec();
    if bitmap.len() >= 0x600 {
        repair(&mut bitmap[..0x200], 0x38);
        repair(&mut bitmap[0x200..0x400], 0x20);
        repair(&mut bitmap[0x400..0x600], 0x20);
    }
    let _ = EowBitmap::size(&bitmap, 0);
    if let Ok(bitmap) = EowBitmap::parse(&bitmap, 0, 0x80_0000) {
        let _ = (bitmap.is_encrypted(0), bitmap.is_encrypted(u64::MAX));
    }
});
