#![no_main]
use std::sync::Arc;

use fve::Unlocked;
use fve::volume::files::read_file;
use libfuzzer_sys::fuzz_target;

mod pieces;

fuzz_target!(|bytes: &[u8]| {
    let volume = Unlocked::plain(Arc::new(pieces::disk(bytes)));
    for path in [&["hello.txt"][..], &["data", "numbers.bin"], &["$UpCase"]] {
        let _ = read_file(&volume, path, 1 << 20);
    }
});
