#![no_main]
use fve::source::partition;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = partition::read(&bytes.to_vec());
});
