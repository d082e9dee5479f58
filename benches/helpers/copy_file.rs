//! Copies a file with the code with which `fve decrypt` writes a volume, without decryption. For
//! comparison in `benches/end_to_end.py`.
//!
//! `cargo run --release --example copy_file -- IMAGE OUT`

use std::fs::File;
use std::sync::Arc;

use fve::serve::export::Export;
use fve::source::FileSource;
use fve::volume::Unlocked;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, output] = arguments.as_slice() else {
        println!("usage: copy_file IMAGE OUT");
        return Ok(());
    };
    let output = File::create(output)?;
    let image = Unlocked::plain(Arc::new(FileSource::open(image)?))?;
    Export::new(&image).to_file(&output)?;
    output.sync_all()?;
    Ok(())
}
