#![no_main]
use fve::format::boot::BootRecord;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(boot)) = BootRecord::parse(bytes) {
        let _ = boot.sector_size(None);
    }
});
