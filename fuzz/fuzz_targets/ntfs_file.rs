#![no_main]
use std::sync::Arc;

use fve::files::{self, FilePath};
use libfuzzer_sys::fuzz_target;

mod sparse;

fuzz_target!(|bytes: &[u8]| {
    let Ok(files) = files::open(Arc::new(sparse::disk(bytes))) else {
        return;
    };
    for path in ["hello.txt", "data/numbers.bin", "$UpCase"] {
        let _ = files.read(&FilePath::parse(path), 1 << 20);
    }
});
