//! Unlocks a volume and reads its plaintext: at an offset, and through `Read` and `Seek`.
//! `cargo run --example read_at [IMAGE RECOVERY_PASSWORD_FILE]`.

use std::io::{Read, Seek, SeekFrom};

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
    let plaintext = volume.unlock(&[credential], &UnlockOptions::default())?;

    let mut name = [0; 8];
    plaintext.read_exact_at(3, &mut name)?;
    println!("file system: {}", String::from_utf8_lossy(&name));

    let mut cursor = plaintext.cursor();
    cursor.seek(SeekFrom::End(-512))?;
    let mut last = Vec::new();
    cursor.read_to_end(&mut last)?;
    println!("last sector: {} bytes of {}", last.len(), plaintext.size());
    Ok(())
}
