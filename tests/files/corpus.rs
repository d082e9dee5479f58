//! The file systems in the volumes of the corpus.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use fve::files;
use fve::unlock::Credential;
use fve::volume::UnlockOptions;
use fve::{Unlocked, files::Files};
use libtest_mimic::Failed;

use crate::common::corpus::{self, Volume};
use crate::common::trials::{self, trial};
use crate::images::tree::Shown;
use crate::oracles::{self, differences, dissect, makers};

fn unlock(volume: &Volume) -> Option<Unlocked> {
    if volume.must_be_refused() {
        return None;
    }
    let entry = volume.entry();
    let credentials: Vec<Box<dyn Credential>> = entry
        .credentials
        .iter()
        .map(|credential| credential.protector())
        .collect();
    let unlocked = entry.open().unlock(&credentials, &UnlockOptions::default());
    Some(unlocked.unwrap_or_else(|error| panic!("{}: {error}", volume.name)))
}

/// Writes the plaintext to a file, with holes for zeros.
fn decrypt(unlocked: &Unlocked, path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(unlocked.size()).unwrap();
    let mut buffer = vec![0; 1 << 16];
    for at in (0..unlocked.available()).step_by(buffer.len()) {
        let len = (unlocked.available() - at).min(buffer.len() as u64) as usize;
        unlocked.read_exact_at(at, &mut buffer[..len]).unwrap();
        if buffer[..len].iter().any(|byte| *byte != 0) {
            file.write_all_at(&buffer[..len], at).unwrap();
        }
    }
}

#[trial(
    "every file is what other programs read and the index says",
    needs(trials::corpus, makers, dissect)
)]
fn whole() -> Result<(), Failed> {
    let mut checked = 0;
    for volume in corpus::volumes().unwrap() {
        if volume.files.is_empty() {
            continue;
        }
        let unlocked = unlock(&volume).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        decrypt(&unlocked, &image);
        let files = files::open(Arc::new(unlocked)).unwrap();
        let found = oracles::library(&files);
        for member in &volume.files {
            let path = member.path.trim_start_matches('/');
            match &found.get(path) {
                Some(Shown::Content(_, hash)) if *hash == member.sha256 => checked += 1,
                other => return Err(format!("{}: {path}: {other:?}", volume.name).into()),
            }
        }
        let others = [
            ("ntfs-3g", oracles::ntfs_3g(&image, &found)),
            ("dissect.ntfs", oracles::dissect_ntfs(&image)),
        ];
        for (program, other) in others {
            let different = differences(&found, &other);
            if !different.is_empty() {
                return Err(format!("{}, {program}: {different:?}", volume.name).into());
            }
        }
    }
    assert!(checked > 0, "no volume of the corpus has files");
    Ok(())
}

/// Most volumes of the corpus hold only a few sectors: their file systems end in errors.
#[trial("the others are listed or refused", needs(trials::corpus))]
fn stripped() {
    for volume in corpus::volumes().unwrap() {
        let Some(unlocked) = unlock(&volume) else {
            continue;
        };
        match files::open(Arc::new(unlocked)) {
            Err(error) => println!("{}: {}", volume.name, error.with_causes()),
            Ok(files) => {
                println!("{}: {}", volume.name, all(&files));
            }
        }
    }
}

fn all(files: &Files) -> String {
    format!(
        "{:?}, {} entries",
        files.properties(),
        oracles::library(files).len()
    )
}
