//! Lists all files of a volume: `cargo run --example list_files [IMAGE RECOVERY_PASSWORD_FILE]`.

use std::sync::Arc;

use fve::files::{self, FilePath};
use fve::unlock::RecoveryPasswords;
use fve::volume::{UnlockOptions, Volume};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let testdata = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let mut arguments = std::env::args().skip(1);
    let image = arguments
        .next()
        .unwrap_or_else(|| format!("{testdata}/ntfs-xts-128.img"));
    let password = arguments
        .next()
        .unwrap_or_else(|| format!("{testdata}/ntfs-xts-128.recovery.txt"));

    let credential = RecoveryPasswords::from_file(password)?;
    let volume = Volume::open(image)?;
    let unlocked = volume.unlock(&[credential], &UnlockOptions::default())?;
    let files = files::open(Arc::new(unlocked))?;

    let properties = files.properties();
    println!("{}, {} bytes", properties.kind, properties.size);
    let mut walk = files.walk(files.root(), FilePath::default());
    while let Some(found) = walk.next() {
        // A directory that cannot be read does not hide the others.
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                eprintln!("{error}: {}", error.fault);
                continue;
            }
        };
        if files.is_internal(&found.entry) {
            walk.skip_directory();
            continue;
        }
        let stat = files.stat(found.entry.id)?;
        let modified = stat.times.modified.unwrap_or_default();
        println!("{:>12}  {modified}  {}", stat.len, found.path);
    }
    Ok(())
}
