//! Helpers that several test programs share.
#![allow(dead_code, unreachable_pub, unused_imports)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod corpus;
pub mod damage;
pub mod disk;
#[cfg(feature = "cli")]
pub mod documented;
pub mod evtx;
pub mod harness;
pub mod log;
pub mod loop_device;
pub mod mount;
pub mod mutants;
pub mod ntfs;
pub mod output;
pub mod peers;
pub mod slapd;
pub mod swtpm;
pub mod table;
pub mod testdata;
pub mod trials;
pub mod unit;
pub mod writing;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A directory in the build directory, which is kept between runs of the tests.
pub fn cache_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// The `fve` binary under test.
pub fn fve() -> std::process::Command {
    std::process::Command::new(env!("CARGO_BIN_EXE_fve"))
}

/// Makes child processes react to HUP even if the tests were started with HUP ignored (nohup(1)):
/// ignored signals are inherited, but signals with a handler are reset in a child process.
#[cfg(feature = "cli")]
pub fn let_children_receive_hup() {
    let caught = std::sync::Arc::default();
    signal_hook::flag::register(signal_hook::consts::SIGHUP, caught).expect("HUP");
}

/// Sends a signal to a process. The program kill(1) may be missing.
pub fn send(signal: rustix::process::Signal, process: u32) {
    let process = i32::try_from(process).ok();
    let process = process.and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(process.expect("number"), signal).expect("signal");
}

/// Copies `from` to the file `path`, with holes for blocks of zeros. Returns the number of bytes.
pub fn copy_sparse(mut from: impl Read, path: &Path) -> io::Result<u64> {
    let unfinished = path.with_extension("part");
    let mut to = File::create(&unfinished)?;
    let mut buffer = vec![0; 1 << 16];
    let mut len = 0;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match from.read(&mut buffer[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        if filled == 0 {
            break;
        }
        if buffer[..filled].iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(len))?;
            to.write_all(&buffer[..filled])?;
        }
        len += filled as u64;
    }
    to.set_len(len)?;
    drop(to);
    std::fs::rename(&unfinished, path)?;
    Ok(len)
}

/// The SHA-256 of everything in `from`, in lower-case hex digits.
pub fn sha256(mut from: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
