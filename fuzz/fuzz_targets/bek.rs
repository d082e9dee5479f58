#![no_main]
use fve::format::bek::BekFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = BekFile::parse(bytes);
});
