#![no_main]
use libfuzzer_sys::fuzz_target;

mod explore;
mod sparse;

fuzz_target!(|bytes: &[u8]| explore::explore(sparse::disk(bytes)));
