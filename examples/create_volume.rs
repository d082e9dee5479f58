//! Creates a volume from the image of a file system, with a password and a new recovery password, and
//! unlocks it. `cargo run --example create_volume [IMAGE]`; without an image, the volume is empty.

use std::sync::Arc;

use fve::create::{NewProtector, NewVolume, Plaintext, WriteJob};
use fve::crypto::sector::Method;
use fve::enroll::{RecoveryFile, save_key};
use fve::secret::SecretText;
use fve::source::{ExclusiveFile, FileSource, ReadAt};
use fve::unlock::Password;
use fve::volume::{UnlockOptions, Volume};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plaintext = match std::env::args_os().nth(1) {
        Some(image) => Plaintext::of_file_system(Arc::new(FileSource::open(image)?))?,
        None => Plaintext::empty(4 << 20, 512)?,
    };
    let mut volume = NewVolume::of(Method::AES_XTS_128, &plaintext)?;
    volume.describe("EXAMPLE volume 2026-01-01");
    let text = SecretText::new("correct horse".to_owned());
    volume.protect(NewProtector::password(&text)?);
    let (digits, recovery) = NewProtector::new_recovery_password()?;

    // Save the recovery password before the volume exists: no one could unlock a volume without it.
    let directory = tempfile::tempdir()?;
    let file = RecoveryFile::new(recovery.id(), &digits);
    save_key(&directory.path().join(&file.name), &file.content)?;
    volume.protect(recovery);

    let path = directory.path().join("volume.img");
    let out = ExclusiveFile::create(&path, plaintext.size())?;
    let created = volume.write_to(&plaintext, &out, &WriteJob::new().threads(2))?;
    println!("volume {} of {} bytes", created.id, created.size);
    println!("recovery password in '{}'", file.name);

    let opened = Volume::from_source(Arc::new(FileSource::open(&path)?))?;
    let unlocked = opened.unlock(&[Password::new(&text)], &UnlockOptions::default())?;
    println!("unlocked: {} bytes of plaintext", unlocked.size());
    Ok(())
}
