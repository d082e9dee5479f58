//! Lists the key protectors of every volume on a disk, without a key:
//! `cargo run --example inspect [IMAGE]`.

use fve::Disk;

fn main() -> fve::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/ntfs-xts-128.img").into()
    });
    let disk = Disk::open(path)?;
    for candidate in disk.volumes()? {
        let volume = disk.open_volume(&candidate)?;
        println!("{candidate}: {}", volume.status().conversion);
        for protector in volume.metadata()?.protectors() {
            println!(
                "  {}: {:X}, changed {}",
                protector.kind().name(),
                protector.id,
                protector.changed
            );
        }
    }
    Ok(())
}
