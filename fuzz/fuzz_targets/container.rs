#![no_main]
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use fve::source;
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};

mod sparse;

// Containers are opened by path, so the input is written to a file in memory.
fuzz_target!(|bytes: &[u8]| {
    let file = memfd_create("container", MemfdFlags::CLOEXEC).expect("a file in memory");
    let mut file = File::from(file);
    file.write_all(&sparse::disk(bytes)).expect("memory for the file");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    if let Ok((disk, Some(_))) = source::open(path) {
        let mut buf = [0; 700];
        for offset in [0, 511, 0x1_0000, disk.size().saturating_sub(600)] {
            let _ = disk.read_exact_at(offset, &mut buf);
        }
    }
});
