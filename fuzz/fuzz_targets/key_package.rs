#![no_main]
use fve::format::key_package::KeyPackage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = KeyPackage::parse(bytes);
});
