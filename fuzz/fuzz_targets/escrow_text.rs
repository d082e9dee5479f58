#![no_main]
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use fve::escrow::{PasswordStore, Query};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};

// LDIF, CSV, JSON and saved passwords. They are read from a path, so the input is written to a file in
// memory.
fuzz_target!(|bytes: &[u8]| {
    let file = memfd_create("escrow", MemfdFlags::CLOEXEC).expect("a file in memory");
    let mut file = File::from(file);
    file.write_all(bytes).expect("room in memory");
    let place = PasswordStore::Files(format!("/proc/self/fd/{}", file.as_raw_fd()).into());
    for query in [Query::Password("6DC6C38E".to_owned()), Query::Computer("PC".to_owned())] {
        let _ = place.search(&query);
    }
});
