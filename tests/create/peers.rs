//! Other programs unlock every volume that `fve create` makes, with each of its credentials, for every
//! cipher and sector size.

use std::fs;
use std::path::Path;

use crate::common;
use crate::common::fve;
use crate::common::harness;
use crate::common::peers::{self, Peer};
use crate::common::testdata::{Entry, Kind, KnownCredential};
use crate::common::trials::{self, Trial, trials};

use fve::create::Plaintext;
use fve::crypto::sector::METHODS;

use super::command::{MIB, PASSWORD, made, make_ntfs, source, whole};

#[trials]
fn every_cipher_sector_size_and_protector() -> Vec<Trial> {
    let directory = &harness::directory();
    let mkntfs = trials::programs(&["mkntfs"]);
    if mkntfs.is_some() {
        return vec![trials::trial(
            "other programs unlock new volumes",
            mkntfs,
            || (),
        )];
    }
    let volumes = volumes(directory);
    let mut trials = Vec::new();
    for peer in Peer::ALL {
        let missing = peer.missing();
        for volume in &volumes {
            // What the program prints does not depend on the credential: one trial is enough.
            let count = if peer == Peer::CryptsetupDump { 1 } else { 9 };
            let credentials = volume.credentials.iter().take(count);
            trials.extend(credentials.map(|key| peers::trial(peer, volume, key, missing.clone())));
        }
    }
    trials
}

/// A volume for every cipher and sector size with three kinds of protector, one with a clear key,
/// and an empty one of each sector size.
fn volumes(directory: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    for sector_size in [512, 4096] {
        let image = directory.join(format!("{sector_size}.ntfs"));
        make_ntfs(&image, 3 * MIB / 2, sector_size).expect("mkntfs");
        let from = image.to_str().expect("UTF-8");
        for method in METHODS {
            let name = format!("made-{}-{sector_size}", method.word);
            let arguments = ["--from", from, "--cipher", method.word];
            entries.push(entry(directory, &name, &arguments, Some(&image), false));
        }
        let name = format!("made-suspended-{sector_size}");
        entries.push(entry(
            directory,
            &name,
            &["--from", from],
            Some(&image),
            true,
        ));
        let size = sector_size.to_string();
        let arguments = ["--size", "1M", "--sector-size", &size];
        let name = format!("made-empty-{sector_size}");
        entries.push(entry(directory, &name, &arguments, None, false));
    }
    entries
}

/// Makes a volume, and describes it for the tests without unlocking it.
fn entry(
    directory: &Path,
    name: &str,
    arguments: &[&str],
    image: Option<&Path>,
    clear_key: bool,
) -> Entry {
    let file = directory.join(format!("{name}.img"));
    let password_file = directory.join("password");
    fs::write(&password_file, format!("{PASSWORD}\n")).expect("password");
    let mut create = fve();
    create
        .arg("create")
        .arg(&file)
        .args(arguments)
        .arg("--json");
    if clear_key {
        create.arg("--clear-key");
    } else {
        create.arg("--recovery-password");
        create.arg("--new-password-file").arg(&password_file);
        create.arg("--startup-key-to").arg(directory);
    }
    let made = made(&create.output().expect("fve create")).expect("volume");
    let protectors = made["protectors"].as_array().expect("protectors");
    let credentials = protectors.iter().map(|protector| {
        let text = |key: &str| protector[key].as_str().unwrap_or_default().to_owned();
        let (kind, value) = match text("type").as_str() {
            "password" => (Kind::Password, PASSWORD.to_owned()),
            "recovery-password" => {
                let digits = made["recovery_password"].as_str().expect("digits");
                (Kind::RecoveryPassword, digits.to_owned())
            }
            "startup-key" => (Kind::StartupKey, text("file")),
            _ => (Kind::ClearKey, String::new()),
        };
        KnownCredential {
            kind,
            value,
            protector: text("id").to_lowercase(),
        }
    });
    let size = made["size"].as_u64().expect("size");
    // The hash of the plaintext, before it is encrypted.
    let plaintext = match image {
        Some(image) => whole(&Plaintext::of_file_system(source(image)).expect("plaintext")),
        None => vec![0; size as usize],
    };
    Entry {
        name: name.to_owned(),
        credentials: credentials.collect(),
        volume_id: made["volume"].as_str().expect("volume").to_lowercase(),
        method: made["encryption_method_word"]
            .as_str()
            .expect("method")
            .to_owned(),
        sector_size: made["sector_size"].as_u64().expect("sector size") as u32,
        size,
        state: (4, 4),
        encrypt_on_write: false,
        file_system: image.map_or("none", |_| "ntfs").to_owned(),
        plaintext_sha256: common::sha256(plaintext.as_slice()).expect("hash"),
        files: Vec::new(),
        file,
    }
}
