//! New volumes with the library: they can be read back, and unsuitable plaintext is refused.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::testdata;
use crate::common::trials::trial;
use fve::create::{NewProtector, NewVolume, Placement, StartupKeyForm, WriteJob, WrittenBy};
use fve::crypto::sector::{METHODS, Method};
use fve::error::Error;
use fve::format::protector::ProtectorKind;
use fve::secret::{ClearKey, ExternalKey, SecretText};
use fve::source::{ReadAt, WriteAt};
use fve::unlock::StartupKey;
use fve::unlock::Suspended;
use fve::volume::{UnlockOptions, Volume};

const SIZE: usize = 0x8_0000;

fn placement() -> Placement {
    Placement::after_first_copy([0x1_0000, 0x3_8000, 0x6_0000])
}

/// Plaintext without zeros, except where the metadata goes.
fn plaintext() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..SIZE)
        .map(|i| (i / 512 + i % 251 + 1) as u8 | 1)
        .collect();
    for (_, range) in placement().ranges() {
        bytes[range.start as usize..range.end as usize].fill(0);
    }
    bytes[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
    bytes
}

fn suspended() -> NewProtector {
    NewProtector::clear_key(ClearKey::from_bytes(&[7; 32])).unwrap()
}

#[trial]
fn reads_back_every_method_at_both_sector_sizes() {
    let plaintext = plaintext();
    let directory = tempfile::tempdir().unwrap();
    for method in METHODS {
        for sector_size in [512, 4096] {
            let path = directory
                .path()
                .join(format!("{}-{sector_size}", method.word));
            let mut volume = NewVolume::new(method, sector_size, placement()).unwrap();
            volume.protect(suspended());
            let created = volume
                .write(&plaintext, &File::create(&path).unwrap())
                .unwrap();
            assert_eq!(created.id, volume.id());
            assert_eq!(created.protectors[0].1, ProtectorKind::ClearKey);
            let unlocked = testdata::open(&path)
                .unlock(&[Box::new(Suspended)], &UnlockOptions::default())
                .unwrap();
            let mut read = vec![0; SIZE];
            unlocked.read_exact_at(0, &mut read).unwrap();
            assert!(read == plaintext, "{} {sector_size}", method.word);
            let raw = std::fs::read(&path).unwrap();
            // No plaintext is left at the original place of the boot sectors.
            assert!(raw[512..0x2000].iter().all(|byte| *byte == 0));
            assert_eq!(raw.len(), SIZE);
        }
    }
}

#[trial]
fn both_forms_of_startup_key_unlock_the_volume() {
    let directory = tempfile::tempdir().unwrap();
    let mut volume = NewVolume::new(Method::AES_XTS_128, 512, placement()).unwrap();
    let key = ExternalKey::from_bytes(&[9; 32]);
    volume.protect(NewProtector::startup_key(key).unwrap());
    let path = directory.path().join("volume.img");
    volume
        .write(&plaintext(), &File::create(&path).unwrap())
        .unwrap();
    for (form, len) in [
        (StartupKeyForm::Short, 156),
        (StartupKeyForm::NamesVolume, 180),
    ] {
        let keys = volume.startup_keys(form).unwrap();
        assert_eq!((keys.len(), keys[0].content.len()), (1, len));
        let file = directory.path().join(&keys[0].name);
        std::fs::write(&file, keys[0].content.expose()).unwrap();
        let key = Box::new(StartupKey::read(&file).unwrap());
        let unlocked = testdata::open(&path).unlock(&[key], &UnlockOptions::default());
        assert!(unlocked.is_ok(), "{form:?}");
    }
}

#[trial]
fn the_windows_version_is_zero_unless_set() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume.img");
    let mut volume = NewVolume::new(Method::AES_XTS_128, 512, placement()).unwrap();
    volume.protect(suspended());
    let version = |volume: &NewVolume| {
        volume
            .write(&plaintext(), &File::create(&path).unwrap())
            .unwrap();
        let opened = testdata::open(&path);
        let datum = opened
            .metadata()
            .unwrap()
            .virtualization()
            .cloned()
            .unwrap();
        datum.extension.unwrap().windows
    };
    assert_eq!(version(&volume), (0, 0, 0));
    let mut windows = WrittenBy::default();
    windows.version = (10, 0, 26200);
    assert_eq!(version(volume.written_by(windows)), (10, 0, 26200));
}

/// A medium on which one of the writes fails in the middle.
struct Failing {
    bytes: Mutex<Vec<u8>>,
    left: AtomicUsize,
}

impl ReadAt for Failing {
    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.bytes.lock().unwrap().read_exact_at(offset, buf)
    }
}

impl WriteAt for Failing {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        // Half of the write arrives, in whole sectors, as on a real disk.
        let half = bytes.len() / 2 / 512 * 512;
        let len = if left == 0 { half } else { bytes.len() };
        let at = offset as usize;
        self.bytes.lock().unwrap()[at..at + len].copy_from_slice(&bytes[..len]);
        if left == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.left.store(left - 1, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[trial]
fn a_failure_at_any_write_but_the_last_leaves_no_volume() {
    let mut volume = NewVolume::new(Method::AES_XTS_128, 512, placement()).unwrap();
    volume.protect(suspended());
    let plaintext = plaintext();
    let medium = |bytes: &[u8], left| Failing {
        bytes: Mutex::new(bytes.to_vec()),
        left: AtomicUsize::new(left),
    };
    let job = WriteJob::new();
    // The medium holds a volume that unlocks, and is overwritten.
    let old = medium(&vec![0; SIZE], usize::MAX);
    volume.write_to(&plaintext, &old, &job).unwrap();
    let old = old.bytes.into_inner().unwrap();
    for writes in 0.. {
        let out = medium(&old, writes);
        let made = volume.write_to(&plaintext, &out, &job);
        let opened = Volume::from_source(Arc::new(out.bytes.into_inner().unwrap()));
        let opens = opened.is_ok_and(|volume| {
            let options = UnlockOptions::default();
            volume.unlock(&[Box::new(Suspended)], &options).is_ok()
        });
        assert_eq!(opens, made.is_ok(), "after {writes} writes");
        if opens {
            // The first sectors, the data, the moved sectors, three copies, the boot record.
            assert_eq!(writes, 7);
            break;
        }
    }
}

#[trial]
fn stops_soon_after_it_is_cancelled() {
    let mut volume = NewVolume::new(Method::AES_XTS_128, 512, placement()).unwrap();
    volume.protect(suspended());
    let out = Failing {
        bytes: Mutex::new(vec![0; SIZE]),
        left: AtomicUsize::new(usize::MAX),
    };
    let cancelled = AtomicBool::new(true);
    let job = WriteJob::new().threads(2).cancelled_by(&cancelled);
    let made = volume.write_to(&plaintext(), &out, &job);
    assert!(matches!(made, Err(Error::Interrupted)));
    assert!(Volume::from_source(Arc::new(out.bytes.into_inner().unwrap())).is_err());
}

#[trial]
fn refuses_unsuitable_plaintext_before_writing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume.img");
    let fault = |volume: &NewVolume, plaintext: &Vec<u8>| {
        let error = volume
            .write(plaintext, &File::create(&path).unwrap())
            .unwrap_err();
        assert!(matches!(error, Error::Uncreatable { .. }), "{error}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "{error}");
        error.to_string()
    };
    let good = plaintext();
    let mut volume = NewVolume::new(Method::AES_XTS_128, 512, placement()).unwrap();
    assert!(fault(&volume, &good).contains("no key protector"));

    volume.protect(suspended());
    let mut used = good.clone();
    used[0x6_0123] = 1;
    let message = fault(&volume, &used);
    assert!(
        message.contains("metadata copy 3") && message.contains("0x60123"),
        "{message}"
    );

    let odd = good[..SIZE - 1].to_vec();
    assert!(fault(&volume, &odd).contains("whole sectors"));
    assert!(fault(&volume, &good[..0x6_0000].to_vec()).contains("end of the volume at 0x60000"));

    let password = || NewProtector::password(&SecretText::new("a".to_owned())).unwrap();
    volume.protect(password()).protect(password());
    assert!(fault(&volume, &good).contains("only one password"));
    assert!(NewVolume::new(Method::AES_XTS_128, 1024, placement()).is_err());
}
