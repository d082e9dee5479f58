//! A mount with fve's settings that answers each read with zeros, as an upper bound for any mount.
//! For comparison in `benches/end_to_end.py`.
//!
//! `cargo run --release --example null_server -- BYTES DIR [--direct-io]`

use std::io;
use std::path::Path;
use std::sync::Arc;

use fve::serve::fuse::{Mount, MountOptions};
use fve::source::ReadAt;
use fve::volume::Unlocked;

/// A source of this size that reads nothing: the buffer keeps its content.
struct Nothing(u64);

impl ReadAt for Nothing {
    fn size(&self) -> u64 {
        self.0
    }
    fn read_exact_at(&self, _offset: u64, _buf: &mut [u8]) -> io::Result<()> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [size, directory, options @ ..] = arguments.as_slice() else {
        println!("usage: null_server BYTES DIR [--direct-io]");
        return Ok(());
    };
    let volume = Unlocked::plain(Arc::new(Nothing(size.parse()?)))?;
    let direct = options.iter().any(|option| option == "--direct-io");
    let settings = MountOptions::new("null").direct_io(direct);
    Mount::new(Arc::new(volume), Path::new(directory), &settings)?.serve()?;
    Ok(())
}
