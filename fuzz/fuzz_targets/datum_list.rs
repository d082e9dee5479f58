#![no_main]
use fve::format::datum::Datum;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Datum::parse_list(bytes, u64::MAX);
    let _ = Datum::parse_one(bytes);
});
