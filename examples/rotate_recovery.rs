//! Replaces the recovery password of a volume. The new one is stored in a file before it is added to the
//! volume, and tried before the old one is removed. `cargo run --example rotate_recovery` uses a copy of a
//! volume from `testdata/`.

use std::sync::Arc;

use fve::enroll::{RecoveryFile, save_key};
use fve::manage::{Managed, Rotation};
use fve::source::ExclusiveFile;
use fve::unlock::StartupKey;
use fve::volume::UnlockOptions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let testdata = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let place = std::env::temp_dir().join(format!("fve-rotate-{}", std::process::id()));
    std::fs::create_dir(&place)?;
    let image = place.join("volume.img");
    std::fs::copy(format!("{testdata}/ntfs-xts-128.img"), &image)?;
    let escrow = place.join("recovery.txt");

    // Locks the file, so that no other program writes to it.
    let disk = Arc::new(ExclusiveFile::open(&image)?);
    let key = StartupKey::read(testdata)?;
    let mut volume = Managed::open(disk, &[key], &UnlockOptions::default())?;

    let rotation = Rotation::new(&volume, &[])?;
    println!("new password ID {}", rotation.id().short());
    // The closure may return an error of any type; `RotationError` has it as its source, and says which
    // passwords unlock the volume when something fails.
    let report = rotation.carry_out(&mut volume, |id, password| {
        save_key(&escrow, &RecoveryFile::new(id, password).content)
    })?;
    for (id, kind) in report.removed {
        println!("removed {} {id:X}", kind.name());
    }

    std::fs::remove_dir_all(&place)?;
    Ok(())
}
