#![no_main]
use std::sync::Arc;

use fve::Unlocked;
use fve::volume::files::read_file;
use libfuzzer_sys::fuzz_target;

mod sparse;

// The crate that reads NTFS panics on some inputs, and the library catches that and returns an error. So
// a panic alone is not a failure here, but one that leaves the library is.
fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| {
        let Ok(volume) = Unlocked::plain(Arc::new(sparse::disk(bytes))) else {
            return;
        };
        for path in [&["hello.txt"][..], &["data", "numbers.bin"], &["$UpCase"]] {
            let _ = read_file(&volume, path, 1 << 20);
        }
    }
);
