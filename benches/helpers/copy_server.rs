//! A mount with fve's settings that reads its source but does not decrypt. For comparison in
//! `benches/end_to_end.py`.
//!
//! `cargo run --release --example copy_server -- IMAGE DIR [--direct-io]`

use std::path::Path;
use std::sync::Arc;

use fve::serve::fuse::{Mount, MountOptions};
use fve::source::FileSource;
use fve::volume::Unlocked;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, directory, options @ ..] = arguments.as_slice() else {
        println!("usage: copy_server IMAGE DIR [--direct-io]");
        return Ok(());
    };
    let volume = Unlocked::plain(Arc::new(FileSource::open(image)?))?;
    let direct = options.iter().any(|option| option == "--direct-io");
    let settings = MountOptions::new("copy").direct_io(direct);
    Mount::new(Arc::new(volume), Path::new(directory), &settings)?.serve()?;
    Ok(())
}
