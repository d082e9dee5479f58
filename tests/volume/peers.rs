//! Other programs read the volumes made by fve: dislocker, libbde, cryptsetup and dissect.fve, each
//! with every credential. The plaintext is compared byte for byte with the original and with what
//! fve reads.
//!
//! There is a test for every program, volume and credential. A missing program is reported as
//! ignored; `FVE_REQUIRE_TOOLS=1` makes it a failure. If a known limit applies, the program must
//! fail. `FVE_PYTHON` is a Python interpreter with dissect.fve.
//!
//! The volumes are the frozen ones, and new ones made by [`fve::create`] for every method and
//! sector size, with different key protectors, data in every byte, and an NTFS boot sector, because
//! libbde accepts no other file system. Volumes made by Windows show that the limits are those of
//! the other programs.

use std::fs::{self, File};
use std::path::Path;

use crate::common;
use crate::common::corpus;
use crate::common::harness;
use crate::common::peers::{Peer, trial};
use crate::common::testdata::{self, Entry, Kind, KnownCredential};
use crate::common::trials::{self, Trial, trials};
use crate::common::writing::writable_file;
use fve::create::{NewProtector, NewVolume, Placement, StartupKeyForm};
use fve::crypto::sector::METHODS;
use fve::secret::{ExternalKey, SecretText};
use fve::unlock::RawVmk;

const PASSWORD: &str = "a password of fresh volumes";

/// Creates a volume for every method and sector size in `directory`, each with a startup key after
/// other key protectors.
fn fresh(directory: &Path) -> Vec<Entry> {
    const EXTRA: [&[Kind]; 3] = [
        &[Kind::Password],
        &[Kind::RecoveryPassword],
        &[Kind::RecoveryPassword, Kind::Password],
    ];
    let mut entries = Vec::new();
    for method in METHODS {
        for sector_size in [512, 4096] {
            let name = format!("fresh-{}-{sector_size}", method.word);
            let extra = EXTRA[entries.len() % EXTRA.len()];
            entries.push(make(directory, &name, method.code, sector_size, extra));
        }
    }
    entries
}

fn make(directory: &Path, name: &str, method: u16, sector_size: u32, extra: &[Kind]) -> Entry {
    let method = METHODS
        .iter()
        .find(|known| known.code == method)
        .expect("method");
    let placement = Placement::after_first_copy([0x1_0000, 0x3_8000, 0x5_0000]);
    let plaintext = noise(&placement, sector_size);
    let mut volume = NewVolume::new(method, sector_size, placement).expect("new volume");
    // bdeinfo fails for a volume without a description.
    volume.describe("FVE-TEST fresh 2026-01-01");
    let mut credentials = Vec::new();
    for kind in extra {
        let (value, new) = match kind {
            Kind::Password => {
                let password = SecretText::new(PASSWORD.to_owned());
                (PASSWORD.to_owned(), NewProtector::password(&password))
            }
            Kind::RecoveryPassword => {
                let (password, new) = NewProtector::new_recovery_password().expect("digits");
                (password.expose_digits().expose().to_owned(), Ok(new))
            }
            other => panic!("{other:?}"),
        };
        let new = new.expect("protector");
        credentials.push(KnownCredential {
            kind: *kind,
            value,
            protector: new.id().to_string(),
        });
        volume.protect(new);
    }
    let key = ExternalKey::from_bytes(&[0x42; 32]);
    let new = NewProtector::startup_key(key).expect("startup key");
    let startup_key = new.id();
    volume.protect(new);
    let key = volume
        .startup_keys(StartupKeyForm::Short)
        .expect("startup key")
        .remove(0);
    let key_path = directory.join(format!("{name}.BEK"));
    fs::write(&key_path, key.content.expose()).expect("startup key");
    credentials.push(KnownCredential {
        kind: Kind::StartupKey,
        value: key_path.into_os_string().into_string().expect("UTF-8"),
        protector: startup_key.to_string(),
    });
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
        credentials,
        plaintext_sha256: common::sha256(plaintext.as_slice()).expect("hash"),
        files: Vec::new(),
    }
}

/// Plaintext with data in every byte outside the metadata areas, and a boot sector with the right
/// size.
fn noise(placement: &Placement, sector_size: u32) -> Vec<u8> {
    /// A multiple of 16 large sectors, because dislocker rounds its output up to that.
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
    for (_, range) in placement.ranges() {
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

/// Volumes made by Windows to which the known limits apply, or `None` without the corpus.
fn made_by_windows(directory: &Path) -> Option<Vec<Entry>> {
    let volumes = corpus::volumes()?;
    let named = |name: &str| {
        let found = volumes.iter().find(|volume| volume.name == name);
        found.expect("a volume of that name")
    };
    let shown = [
        ("cs-aes-xts-128-two-recovery", Kind::RecoveryPassword),
        ("cs-aes-xts-128-unicode", Kind::Password),
        ("cs-aes-xts-128-startup-key-win11", Kind::StartupKey),
        ("cs-aes-xts-128-clearkey-only", Kind::ClearKey),
        ("ds-win7_partial", Kind::ClearKey),
        ("cs-togo-aes-xts-128", Kind::Password),
    ];
    let mut entries: Vec<_> = shown
        .iter()
        .map(|(name, kind)| {
            let mut entry = named(name).entry();
            entry.credentials.retain(|key| key.kind == *kind);
            entry
        })
        .collect();
    entries.push(without_ntfs(named("cs-aes-xts-128"), directory));
    Some(entries)
}

/// A copy of a volume made by Windows, in which one sector is replaced by the start of an exFAT
/// file system.
fn without_ntfs(volume: &corpus::Volume, directory: &Path) -> Entry {
    let mut entry = volume.entry();
    entry.name += "-exfat";
    entry.file_system = "exfat".to_owned();
    entry.file = directory.join(format!("{}.img", entry.name));
    common::copy_sparse(File::open(&volume.path).expect("volume"), &entry.file).expect("copy");
    let key = RawVmk::new(volume.vmk().expect("VMK"));
    let writable = writable_file(&entry.file, Box::new(key)).expect("opens");
    let mut sector = [0; 512];
    sector[..11].copy_from_slice(b"\xEB\x76\x90EXFAT   ");
    sector[0x1FE..].copy_from_slice(&[0x55, 0xAA]);
    writable.write_all_at(0, &sector).expect("write");
    writable.flush().expect("flush");
    entry
}

#[trials]
fn every_program_volume_and_credential() -> Vec<Trial> {
    let directory = &harness::directory();
    let mut volumes = testdata::volumes();
    volumes.extend(fresh(directory));
    let mut trials = Vec::new();
    match made_by_windows(directory) {
        Some(windows) => volumes.extend(windows),
        None => trials.push(trials::trial(
            "volumes made by Windows",
            trials::corpus(),
            || (),
        )),
    }
    let nothing = KnownCredential {
        kind: Kind::ClearKey,
        value: String::new(),
        protector: String::new(),
    };
    for peer in Peer::ALL {
        let missing = peer.missing();
        for volume in &volumes {
            let all = volume.credentials.iter();
            let keyless = volume.credentials.is_empty().then_some(&nothing);
            // The dump needs no credential, so it is tested once.
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
    trials
}
