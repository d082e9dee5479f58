//! Lists a volume's key protectors, without a key: `cargo run --example inspect [IMAGE]`.

use std::sync::Arc;

use fve::Volume;
use fve::source::FileSource;

fn main() -> Result<(), fve::Error> {
    let path = std::env::args().nth(1).unwrap_or_else(|| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/ntfs-xts-128.img").into()
    });
    let volume = Volume::from_source(Arc::new(FileSource::open(path)?))?;
    let metadata = volume.metadata()?;
    println!(
        "volume {:X}, {}",
        metadata.dataset.id,
        volume.status().conversion.name()
    );
    for protector in metadata.protectors() {
        println!(
            "{}: {:X}, changed {}",
            protector.kind().name(),
            protector.id,
            protector.changed
        );
    }
    Ok(())
}
