//! Independent programs read our volumes: dislocker, libbde, cryptsetup and dissect.fve, each with
//! every credential, compared byte for byte with what we read and with what went in.
//!
//! One trial for every program, volume and credential. Where a program is missing or has a known
//! limit the trial is reported as ignored and the reason printed; `FVE_REQUIRE_TOOLS=1` makes a
//! missing program a failure. `FVE_PYTHON` names the Python that has dissect.fve.
//!
//! Besides the frozen volumes there are fresh ones, made here by [`fve::create`] for every method
//! and sector size with data in every byte, and with a boot sector of NTFS: libbde opens nothing
//! else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::{self, File};
use std::path::Path;

use common::peers::{Peer, trial};
use common::testdata::{self, Credential, Entry, Kind};
use fve::create::{NewProtector, NewVolume, Placement, StartupKeyForm};
use fve::crypto::sector::METHODS;
use fve::secret::ExternalKey;
use libtest_mimic::Arguments;

/// A fresh volume for every method and sector size, in `directory`.
fn fresh(directory: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    for method in METHODS {
        for sector_size in [512, 4096] {
            let name = format!("fresh-{}-{sector_size}", method.word);
            entries.push(make(directory, &name, method.code, sector_size));
        }
    }
    entries
}

fn make(directory: &Path, name: &str, method: u16, sector_size: u32) -> Entry {
    let method = METHODS
        .iter()
        .find(|known| known.code == method)
        .expect("method");
    let placement = Placement::after_first_copy([0x1_0000, 0x3_8000, 0x5_0000]);
    let plaintext = noise(&placement, sector_size);
    let mut volume = NewVolume::new(method, sector_size, placement).expect("new volume");
    // bdeinfo stops at a volume without a description.
    volume.describe("FVE-TEST fresh 2026-01-01");
    let key = ExternalKey::from_bytes(&[0x42; 32]);
    volume.protect(NewProtector::startup_key(key).expect("startup key"));
    let key = volume
        .startup_keys(StartupKeyForm::Short)
        .expect("startup key")
        .remove(0);
    let key_path = directory.join(format!("{name}.BEK"));
    fs::write(&key_path, key.content.expose()).expect("startup key");
    let file = directory.join(format!("{name}.img"));
    let created = volume
        .write(&plaintext, &File::create(&file).expect("image"))
        .expect("volume");
    Entry {
        name: name.to_owned(),
        file,
        volume_id: created.id.to_string(),
        method: method.word.to_owned(),
        sector_size,
        size: created.size,
        state: (4, 4),
        encrypt_on_write: false,
        file_system: "ntfs".to_owned(),
        credentials: vec![Credential {
            kind: Kind::StartupKey,
            value: key_path.into_os_string().into_string().expect("UTF-8"),
            protector: created.protectors[0].0.to_string(),
        }],
        plaintext_sha256: common::sha256(plaintext.as_slice()).expect("hash"),
        files: Vec::new(),
    }
}

/// Data in every byte that the metadata leaves, behind a boot sector that tells its own size.
fn noise(placement: &Placement, sector_size: u32) -> Vec<u8> {
    /// Of 16 large sectors a piece: dislocker's output is rounded up to that.
    const SIZE: usize = 0x7_0000;
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut bytes: Vec<u8> = (0..SIZE)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[5]
        })
        .collect();
    for (_, range) in placement.stretches() {
        bytes[range.start as usize..range.end as usize].fill(0);
    }
    bytes[..0x40].fill(0);
    bytes[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
    bytes[0x0B..0x0D].copy_from_slice(&(sector_size as u16).to_le_bytes());
    bytes[0x0D] = (4096 / sector_size) as u8;
    let sectors = SIZE as u64 / u64::from(sector_size);
    bytes[0x28..0x30].copy_from_slice(&(sectors - 1).to_le_bytes());
    bytes[0x1FE..0x200].copy_from_slice(&[0x55, 0xAA]);
    bytes
}

fn main() {
    let arguments = Arguments::from_args();
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut volumes = testdata::volumes();
    volumes.extend(fresh(directory.path()));
    let nothing = Credential {
        kind: Kind::ClearKey,
        value: String::new(),
        protector: String::new(),
    };
    let mut trials = Vec::new();
    for peer in Peer::ALL {
        let missing = peer.missing();
        for volume in &volumes {
            let all = volume.credentials.iter();
            let keyless = volume.credentials.is_empty().then_some(&nothing);
            // What is told without unlocking is told once.
            let count = if peer == Peer::CryptsetupDump {
                1
            } else {
                usize::MAX
            };
            trials.extend(
                all.chain(keyless)
                    .take(count)
                    .map(|credential| trial(peer, volume, credential, missing.clone())),
            );
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // `exit` runs no destructors, and the fresh volumes are to go.
    drop(directory);
    conclusion.exit();
}
