//! Creates the frozen volumes in `testdata/`: `cargo run --features testing --example make_testdata`.
//!
//! Every volume holds a real file system with files of known content. The index, `volumes.json`, is
//! computed from the plaintext image before it is encrypted, never by reading a volume. Keys and
//! salts are random, so each run gives different files. The NTFS volume needs `mkntfs`, `ntfs-3g`,
//! `ntfscluster` and the right to mount with FUSE.

mod contents;
mod fat;
mod index;
mod ntfs;
mod recipes;

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

use fve::create::{NewProtector, NewVolume, Placement};
use fve::enroll::RecoveryFile;
use fve::recovery_password::RecoveryPassword;
use fve::secret::{ClearKey, ExternalKey, RecoveryKey, SecretText};
use fve::volume::{UnlockOptions, Volume};
use sha2::{Digest, Sha256};

use contents::Member;
use index::{Credential, Entry};
use recipes::{FileSystem, Recipe, Secret};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// A file system, and the positions in it that are reserved for the metadata.
struct Plaintext {
    image: Vec<u8>,
    placement: Placement,
    files: Vec<Member>,
}

fn main() -> Result<()> {
    let directory = match std::env::args_os().nth(1) {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata"),
    };
    std::fs::create_dir_all(&directory)?;
    index::remove_old(&directory)?;
    let mut entries = Vec::new();
    for recipe in recipes::all() {
        println!("{}", recipe.name);
        entries.push(make(&recipe, &directory)?);
    }
    index::write(&entries, &directory)
}

fn make(recipe: &Recipe, directory: &Path) -> Result<Entry> {
    let plaintext = match recipe.file_system {
        FileSystem::Fat => fat::make(recipe)?,
        FileSystem::Ntfs => ntfs::make(recipe)?,
    };
    let mut volume = NewVolume::new(recipe.method(), recipe.sector_size, plaintext.placement)?;
    volume.describe(format!("FVE-TEST {} 2026-01-01", recipe.name));
    volume.stage(recipe.stage);
    for extra in &recipe.extra_datums {
        volume.extra_datum(extra.clone());
    }
    let mut credentials = Vec::new();
    for (number, secret) in recipe.secrets.iter().enumerate() {
        let (protector, mut credential) = protector(recipe, number, secret)?;
        credential.protector = protector.id().to_string();
        credentials.push(credential);
        volume.protect(protector);
    }
    let keys = volume.startup_keys(recipe.startup_key_form)?;
    let key_credentials = credentials
        .iter_mut()
        .filter(|credential| credential.kind == index::STARTUP_KEY);
    for (credential, key) in key_credentials.zip(keys) {
        std::fs::write(directory.join(&key.name), key.content.expose())?;
        credential.value = Some(key.name);
    }
    if recipe.file_system == FileSystem::Ntfs {
        let mut saved = credentials.iter();
        let saved = saved.find(|credential| credential.kind == index::RECOVERY_PASSWORD);
        let path = directory.join(format!("{}.recovery.txt", recipe.name));
        let file = key_file(saved.ok_or("no recovery password")?)?;
        std::fs::write(path, file.content.expose())?;
    }
    let file = format!("{}.img", recipe.name);
    let path = directory.join(&file);
    let created = volume.write(&plaintext.image, &File::create(&path)?)?;
    check_opens(&path)?;
    Ok(Entry {
        name: recipe.name.to_owned(),
        file,
        about: recipe.about.to_owned(),
        volume_id: created.id.to_string(),
        method: recipe.method_word().to_owned(),
        sector_size: recipe.sector_size,
        size: created.size,
        state: recipe.state(),
        encrypt_on_write: recipe.is_encrypt_on_write(),
        file_system: recipe.file_system.word().to_owned(),
        credentials,
        plaintext_sha256: hex(&Sha256::digest(&plaintext.image)),
        files: plaintext.files,
    })
}

/// A new key protector, and its credential in the index. The keys are derived from the name of the
/// volume: they are public, and can be recomputed.
fn protector(
    recipe: &Recipe,
    number: usize,
    secret: &Secret,
) -> Result<(NewProtector, Credential)> {
    let seed = Sha256::digest(format!("fve testdata {} {number}", recipe.name));
    let key: [u8; 32] = seed.into();
    let (protector, kind, value) = match secret {
        Secret::Password(text) => {
            let protector = NewProtector::password(&SecretText::new((*text).to_owned()))?;
            (protector, index::PASSWORD, Some((*text).to_owned()))
        }
        Secret::RecoveryPassword => {
            let bits = RecoveryKey::from_slice(&key[..16]).ok_or("16 bytes")?;
            let protector = NewProtector::recovery_password(&bits)?;
            let password = RecoveryPassword::from_key(&bits);
            let digits = password.expose_digits().expose().to_owned();
            (protector, index::RECOVERY_PASSWORD, Some(digits))
        }
        Secret::StartupKey => {
            let protector = NewProtector::startup_key(ExternalKey::from_bytes(&key))?;
            (protector, index::STARTUP_KEY, None)
        }
        Secret::ClearKey { flags } => {
            let protector = NewProtector::clear_key(ClearKey::from_bytes(&key))?;
            (protector.with_flags(*flags), index::CLEAR_KEY, None)
        }
    };
    let credential = Credential {
        kind: kind.to_owned(),
        value,
        protector: String::new(),
    };
    Ok((protector, credential))
}

/// The recovery key file that Windows would save for this recovery password.
fn key_file(credential: &Credential) -> Result<RecoveryFile> {
    let digits = credential.value.as_deref().unwrap_or_default();
    let password = RecoveryPassword::parse(digits)?;
    Ok(RecoveryFile::new(credential.protector.parse()?, &password))
}

/// A quick check that fve can open the volume. The tests verify it thoroughly.
fn check_opens(path: &Path) -> Result<()> {
    let source = fve::source::FileSource::open(path)?;
    let volume = Volume::from_source(std::sync::Arc::new(source))?;
    volume.metadata()?;
    if volume.protectors().is_empty() {
        volume.unlock(fve::unlock::NO_CREDENTIAL, &UnlockOptions::default())?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
