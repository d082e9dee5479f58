//! Every frozen volume can be unlocked with all credentials in the index and with no others, and
//! has the plaintext from before it was encrypted.

use crate::common;
use crate::common::testdata::{self, Entry, Kind};
use crate::common::trials::trial;
use fve::error::Error;
use fve::secret::SecretText;
use fve::unlock::Credential;
use fve::unlock::Password;
use fve::unlock::RawVmk;
use fve::unlock::StartupKey;
use fve::volume::{Conversion, UnlockOptions, Unlocked};

fn sha256(unlocked: &Unlocked) -> String {
    common::sha256(unlocked.cursor()).unwrap()
}

fn keyed() -> impl Iterator<Item = Entry> {
    let volumes = testdata::volumes().into_iter();
    volumes.filter(|volume| !volume.credentials.is_empty())
}

#[trial]
fn every_credential_opens_its_volume() {
    for volume in keyed() {
        for credential in &volume.credentials {
            let what = format!("{} with {:?}", volume.name, credential.kind);
            let unlocked = volume.unlock(Some(credential)).expect(&what);
            assert_eq!(unlocked.size(), volume.size, "{what}");
            assert_eq!(sha256(&unlocked), volume.plaintext_sha256, "{what}");
            // No key confirms the map of an encrypt-on-write conversion under way.
            let converting = volume.encrypt_on_write && volume.state == (4, 4);
            let warnings = unlocked.warnings();
            assert_eq!(
                warnings.len(),
                usize::from(converting),
                "{what}: {warnings:?}"
            );
            let of_map = |warning: &String| warning.contains("no key proves the map");
            assert!(warnings.iter().all(of_map), "{what}: {warnings:?}");
        }
    }
}

#[trial]
fn the_files_inside_have_the_expected_content() {
    use std::io::{Cursor, Read};
    let volumes = testdata::volumes().into_iter();
    for volume in volumes.filter(|volume| volume.file_system == "fat") {
        let unlocked = volume.unlock(volume.credentials.last()).unwrap();
        let mut image = Vec::new();
        unlocked.cursor().read_to_end(&mut image).unwrap();
        let options = fatfs::FsOptions::new().update_accessed_date(false);
        let files = fatfs::FileSystem::new(Cursor::new(image), options).unwrap();
        for member in &volume.files {
            let file = files.root_dir().open_file(&member.path).unwrap();
            let hash = common::sha256(file).unwrap();
            assert_eq!(hash, member.sha256, "{} {}", volume.name, member.path);
        }
    }
}

#[trial]
fn a_decrypted_volume_needs_no_credential() {
    let volume = testdata::volume("decrypted");
    let unlocked = volume.unlock(None).unwrap();
    assert_eq!(sha256(&unlocked), volume.plaintext_sha256);
}

#[trial]
fn refuses_wrong_credentials() {
    for volume in keyed() {
        let password = SecretText::new("not the password".to_owned());
        let other = testdata::volumes().into_iter().find_map(|other| {
            let mut credentials = other.credentials.into_iter();
            credentials.find(|key| key.kind == Kind::StartupKey && other.name != volume.name)
        });
        let wrong: Vec<Box<dyn Credential>> = vec![
            Box::new(Password::new(&password)),
            Box::new(StartupKey::read(&other.unwrap().value).unwrap()),
            Box::new(RawVmk::new(testdata::wrong_vmk())),
        ];
        let refused = volume.open().unlock(&wrong, &UnlockOptions::default());
        assert!(
            matches!(refused, Err(Error::Refused { .. })),
            "{}",
            volume.name
        );
    }
}

#[trial]
fn the_metadata_agrees_with_the_index() {
    for volume in testdata::volumes() {
        let name = &volume.name;
        let opened = volume.open();
        let block = opened.metadata().unwrap();
        assert_eq!(block.dataset.id.to_string(), volume.volume_id, "{name}");
        assert_eq!((block.state.0, block.next_state.0), volume.state, "{name}");
        assert_eq!(opened.sector_size(), volume.sector_size, "{name}");
        let method = opened.method().map_or("none", |method| method.word);
        assert_eq!(method, volume.method, "{name}");
        assert_eq!(
            opened.conversion_map().is_some(),
            volume.encrypt_on_write,
            "{name}"
        );
        let ids: Vec<_> = opened
            .protectors()
            .iter()
            .map(|p| p.id.to_string())
            .collect();
        let expected: Vec<_> = volume
            .credentials
            .iter()
            .map(|c| c.protector.clone())
            .collect();
        assert_eq!(ids, expected, "{name}");
        assert!(!opened.copies().disagree(), "{name}");
        assert_eq!(opened.copies().faults(), [], "{name}");
    }
}

#[trial]
fn reports_the_state_of_conversion() {
    let stages = [
        ("xts-128", Conversion::FullyEncrypted),
        ("decryption-paused", Conversion::DecryptionPaused),
        ("encryption-paused", Conversion::EncryptionPaused),
        ("encrypt-on-write", Conversion::Converting),
        ("decrypted", Conversion::FullyDecrypted),
    ];
    for (name, conversion) in stages {
        let status = testdata::volume(name).open().status();
        assert_eq!(status.conversion, conversion, "{name}");
    }
}

/// The next nonce is greater than every counter in use, and no nonce is used twice.
#[trial]
fn nonces_increase_and_never_repeat() {
    use fve::format::block::ValidationHash;
    use fve::format::datum::Datum;
    fn collect(datums: &[Datum], nonces: &mut Vec<[u8; 12]>) {
        for datum in datums {
            nonces.extend(datum.sealed().map(|sealed| sealed.nonce));
            collect(datum.nested(), nonces);
        }
    }
    for volume in keyed() {
        let opened = volume.open();
        let block = opened.metadata().unwrap();
        let ValidationHash::Sealed(last) = &block.validation.hash else {
            panic!("{}: the hash is not sealed", volume.name);
        };
        let mut nonces = vec![last.nonce];
        collect(&block.datums, &mut nonces);
        assert_eq!(
            last.counter() + 1,
            block.dataset.next_nonce,
            "{}",
            volume.name
        );
        let counter = |nonce: &[u8; 12]| u32::from_le_bytes(nonce[8..].try_into().unwrap());
        assert!(
            nonces.iter().all(|nonce| counter(nonce) <= last.counter()),
            "{}",
            volume.name
        );
        let count = nonces.len();
        nonces.sort_unstable();
        nonces.dedup();
        assert_eq!(nonces.len(), count, "{}", volume.name);
    }
}
