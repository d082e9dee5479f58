//! Changes of key protectors with the library: what changes, what must not, and what a power failure or a
//! failing disk leaves.

use std::sync::Arc;

use crate::common;
use crate::common::disk::{Disk, Event, Fault, after_power_cuts};
use crate::common::testdata::{self, Entry, Kind};
use crate::common::trials::trial;
use fve::create::NewProtector;
use fve::error::{Error, Result};
use fve::format::bek::BekFile;
use fve::format::protector::ProtectorKind;
use fve::guid::Guid;
use fve::manage::{
    Backup, Change, Managed, ProtectorSecret, Rotation, RotationCause, RotationStage,
    StartupKeyChange, ValidPasswords, secret_backups,
};
use fve::recovery_password::RecoveryPassword;
use fve::secret::{SecretText, Vmk};
use fve::source::WriteAt;
use fve::unlock::Credential;
use fve::unlock::Password;
use fve::unlock::RawVmk;
use fve::unlock::RecoveryPasswords;
use fve::unlock::StartupKey;
use fve::unlock::Suspended;
use fve::volume::{UnlockOptions, Unlocked, Volume};

type Key = Box<dyn Credential>;

fn bytes(volume: &Entry) -> Vec<u8> {
    std::fs::read(&volume.file).unwrap()
}

fn manage(disk: &Arc<Disk>, key: Key) -> Result<Managed> {
    Managed::open(disk.clone(), &[key], &UnlockOptions::default())
}

fn disk_of(name: &str) -> (Entry, Arc<Disk>) {
    let volume = testdata::volume(name);
    let disk = Arc::new(Disk::new(bytes(&volume)));
    (volume, disk)
}

fn startup_key(volume: &Entry) -> Key {
    Box::new(StartupKey::read(volume.bek()).unwrap())
}

/// A protector with a new startup key, and its credential.
fn new_startup_key() -> (NewProtector, impl Fn() -> Key) {
    let protector = NewProtector::new_startup_key().unwrap();
    let file = protector.startup_key_file(None).unwrap();
    let content = file.unwrap().content;
    let key =
        move || -> Key { Box::new(StartupKey::new(BekFile::parse(content.expose()).unwrap())) };
    (protector, key)
}

/// The plaintext, unlocked with a credential.
fn plaintext(image: Vec<u8>, key: Key) -> Result<Vec<u8>> {
    let volume = Volume::from_source(Arc::new(image))?;
    let unlocked = volume.unlock(&[key], &UnlockOptions::default())?;
    let mut plaintext = vec![0; unlocked.size() as usize];
    unlocked.read_exact_at(0, &mut plaintext)?;
    Ok(plaintext)
}

/// Whether the credential unlocks any of the three copies: each in turn is put in place of all three.
fn opens_any_copy(image: &[u8], key: impl Fn() -> Key) -> bool {
    let volume = Volume::from_source(Arc::new(image.to_vec())).unwrap();
    let offsets: Vec<_> = volume
        .copies()
        .0
        .iter()
        .map(|copy| copy.offset as usize)
        .collect();
    offsets.iter().any(|from| {
        let region = image[*from..from + 0x1_0000].to_vec();
        let mut image = image.to_vec();
        for to in &offsets {
            image[*to..to + 0x1_0000].copy_from_slice(&region);
        }
        plaintext(image, key()).is_ok()
    })
}

fn id_of(managed: &Managed, kind: ProtectorKind) -> Guid {
    let protectors = managed.protectors();
    let found = protectors.iter().find(|protector| protector.kind() == kind);
    found.unwrap().id
}

#[trial]
fn an_added_protector_unlocks_and_all_other_datums_stay_unchanged() {
    let (volume, disk) = disk_of("unknown-datums");
    let password = || volume.credential(Kind::Password).protector();
    let before = Volume::from_source(Arc::new(disk.bytes())).unwrap();
    let old = before.metadata().unwrap();
    let mut managed = manage(&disk, password()).unwrap();
    let (protector, key) = new_startup_key();
    let report = managed.commit(&Change::new().enroll(protector)).unwrap();
    assert_eq!(report.added.len(), 1);
    assert!(!report.rekeyed);

    let after = Volume::from_source(Arc::new(disk.bytes())).unwrap();
    let new = after.metadata().unwrap();
    assert_eq!(new.datums.len(), old.datums.len() + 1);
    // The new protector is before the virtualization datum.
    let place = new
        .datums
        .iter()
        .position(|datum| datum.role == 0xF)
        .unwrap();
    assert_eq!(new.datums[place - 1].role, 2);
    let raw = |block: &fve::format::block::MetadataBlock, index: usize| {
        let datum = &block.datums[index];
        let at = (datum.position - block.position) as usize;
        block.bytes()[at..at + usize::from(datum.size)].to_vec()
    };
    for index in 0..old.datums.len() {
        let moved = if index < place - 1 { index } else { index + 1 };
        assert_eq!(raw(old, index), raw(new, moved), "datum {index}");
    }
    let fine = |key| plaintext(disk.bytes(), key).unwrap();
    assert_eq!(
        common::sha256(&fine(key())[..]).unwrap(),
        volume.plaintext_sha256
    );
    assert_eq!(fine(key()), fine(password()));
}

#[trial]
fn writes_only_the_three_regions_and_flushes_every_write() {
    let (volume, disk) = disk_of("xts-128");
    let before = disk.bytes();
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    let offsets = managed.volume().metadata().unwrap().copies;
    let gone = id_of(&managed, ProtectorKind::Password);
    managed.commit(&Change::new().remove(gone)).unwrap();
    let events = disk.events();
    let order: Vec<_> = offsets.iter().rev().copied().collect();
    let written: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Write(offset, bytes) => {
                assert_eq!(bytes.len(), 0x1_0000);
                Some(*offset)
            }
            Event::Flush => None,
        })
        .collect();
    assert_eq!(written, order);
    assert_eq!(events.len(), 6);
    assert!(
        events
            .iter()
            .skip(1)
            .step_by(2)
            .all(|event| *event == Event::Flush)
    );
    let mut after = disk.bytes();
    for offset in offsets {
        let range = offset as usize..offset as usize + 0x1_0000;
        after[range.clone()].copy_from_slice(&before[range]);
    }
    assert!(after == before);
}

#[trial]
fn neither_a_removed_credential_nor_the_old_master_key_unlocks_any_copy() {
    let (volume, disk) = disk_of("xts-128");
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    let old = managed.master_key().expose().expose().to_owned();
    let gone = id_of(&managed, ProtectorKind::Password);
    let report = managed.commit(&Change::new().remove(gone)).unwrap();
    assert!(report.rekeyed);
    let password = || volume.credential(Kind::Password).protector();
    let old_vmk = || -> Key { Box::new(RawVmk::new(Vmk::from_bytes(&old))) };
    assert!(!opens_any_copy(&disk.bytes(), password));
    assert!(!opens_any_copy(&disk.bytes(), old_vmk));
    // The other protectors have the new VMK, and the backups in them stay readable.
    for credential in &volume.credentials {
        if credential.kind != Kind::Password {
            let plaintext = plaintext(disk.bytes(), credential.protector()).unwrap();
            assert_eq!(
                common::sha256(&plaintext[..]).unwrap(),
                volume.plaintext_sha256
            );
        }
    }
    let kept = secret_backups(managed.volume(), managed.master_key()).unwrap();
    let digits = kept.iter().find_map(|kept| match &kept.secret {
        ProtectorSecret::RecoveryPassword(password) => Some(password.expose_digits()),
        _ => None,
    });
    let known = volume.credential(Kind::RecoveryPassword);
    assert_eq!(digits.unwrap().expose(), known.value);
    let file = kept
        .iter()
        .find_map(|kept| kept.startup_key_file(None).unwrap())
        .unwrap();
    assert_eq!(
        BekFile::parse(file.expose()).unwrap().key.expose(),
        BekFile::parse(&std::fs::read(volume.bek()).unwrap())
            .unwrap()
            .key
            .expose()
    );
}

#[trial]
fn never_uses_a_nonce_twice() {
    let (volume, disk) = disk_of("ntfs-xts-128");
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    let mut seen = std::collections::HashMap::new();
    let mut meet = |image: Vec<u8>| {
        let volume = Volume::from_source(Arc::new(image)).unwrap();
        let block = volume.metadata().unwrap();
        let mut sealed = Vec::new();
        collect(&block.datums, &mut sealed);
        if let fve::format::block::ValidationHash::Sealed(hash) = &block.validation.hash {
            sealed.push(hash.clone());
        }
        for datum in &sealed {
            assert!(datum.counter() < block.dataset.next_nonce);
            // A nonce occurs only with the same datum.
            let first = seen.entry(datum.nonce).or_insert_with(|| datum.clone());
            assert_eq!(first, datum);
        }
    };
    meet(disk.bytes());
    let (protector, _) = new_startup_key();
    let id = protector.id();
    for change in [
        Change::new().enroll(protector),
        Change::new().enroll(NewProtector::suspension(3).unwrap()),
        Change::new().remove(id),
        Change::new(),
    ] {
        managed.commit(&change).unwrap();
        meet(disk.bytes());
    }
}

fn collect(
    datums: &[fve::format::datum::Datum],
    sealed: &mut Vec<fve::format::datum::SealedDatum>,
) {
    for datum in datums {
        sealed.extend(datum.sealed().cloned());
        collect(datum.nested(), sealed);
    }
}

#[trial]
fn after_resuming_nothing_from_the_suspension_unlocks_the_volume() {
    let (volume, disk) = disk_of("cbc-256");
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    managed
        .commit(&Change::new().enroll(NewProtector::suspension(2).unwrap()))
        .unwrap();
    let clear = id_of(&managed, ProtectorKind::ClearKey);
    assert_eq!(
        managed.find(&clear.short()).unwrap().reboots_left(),
        Some(2)
    );
    let suspended = disk.bytes();
    let open = plaintext(suspended.clone(), Box::new(Suspended)).unwrap();
    assert_eq!(common::sha256(&open[..]).unwrap(), volume.plaintext_sha256);
    let twice = Change::new().enroll(NewProtector::suspension(0).unwrap());
    assert!(matches!(
        managed.preview(&twice),
        Err(Error::Unchangeable { .. })
    ));

    managed.commit(&Change::new().remove(clear)).unwrap();
    assert!(!opens_any_copy(&disk.bytes(), || Box::new(Suspended)));
    // An old copy of the metadata with the clear key gives the old VMK, which unlocks nothing now.
    let old = Volume::from_source(Arc::new(suspended)).unwrap();
    let key = old
        .unlock_master_key(&[Box::new(Suspended)], &UnlockOptions::default())
        .unwrap();
    let key = || -> Key { Box::new(RawVmk::new(Vmk::from_bytes(key.expose().expose()))) };
    assert!(!opens_any_copy(&disk.bytes(), key));
    assert!(plaintext(disk.bytes(), startup_key(&volume)).is_ok());
}

#[trial]
fn a_changed_password_keeps_its_identifier() {
    let (volume, disk) = disk_of("xts-256");
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    let id = id_of(&managed, ProtectorKind::Password);
    let text = || SecretText::new("ein neues Kennwort".to_owned());
    let new = NewProtector::password(&text()).unwrap();
    managed.commit(&Change::new().replace(id, new)).unwrap();
    assert_eq!(id_of(&managed, ProtectorKind::Password), id);
    assert!(plaintext(disk.bytes(), Box::new(Password::new(&text()))).is_ok());
    let old = || volume.credential(Kind::Password).protector();
    assert!(!opens_any_copy(&disk.bytes(), old));
}

#[trial]
fn refuses_changes_that_would_lock_the_volume_or_unlock_it_for_anyone() {
    let refused = |managed: &Managed, change: Change| match managed.preview(&change) {
        Err(error @ Error::Unchangeable { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let (_, disk) = disk_of("clear-key-only");
    let managed = manage(&disk, Box::new(Suspended)).unwrap();
    let last = managed.protectors()[0].id;
    assert!(refused(&managed, Change::new().remove(last)).contains("last protector"));

    let (volume, disk) = disk_of("suspended");
    let managed = manage(&disk, volume.credential(Kind::Password).protector()).unwrap();
    let password = id_of(&managed, ProtectorKind::Password);
    let message = refused(&managed, Change::new().remove(password));
    assert!(message.contains("only the clear key"), "{message}");
    let allowed = Change::new().remove(password).allow_only_clear_key(true);
    assert!(managed.preview(&allowed).is_ok());
    let second = NewProtector::password(&SecretText::new("second".to_owned())).unwrap();
    assert!(refused(&managed, Change::new().enroll(second)).contains("only one"));
    let unknown = Change::new().remove(Guid::from_disk([1; 16]));
    assert!(refused(&managed, unknown).contains("no protector"));
    assert!(managed.find("FFFFFFFF").is_err());
    assert!(disk.events().is_empty());
}

#[trial]
fn refuses_metadata_that_is_too_large_before_writing() {
    let (volume, disk) = disk_of("xts-128");
    let managed = manage(&disk, startup_key(&volume)).unwrap();
    let many = (0..400).fold(Change::new(), |change, _| {
        change.enroll(new_startup_key().0)
    });
    let error = managed.preview(&many).unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
    assert!(disk.events().is_empty());
}

#[trial]
fn refuses_volumes_that_it_must_not_change() {
    let refuse = |image: Vec<u8>, key: Key| {
        let disk = Arc::new(Disk::new(image));
        let error = manage(&disk, key).unwrap_err();
        assert!(disk.events().is_empty());
        error
    };
    let (decrypted, _) = disk_of("decrypted");
    let error = refuse(bytes(&decrypted), Box::new(Suspended));
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");

    let (volume, _) = disk_of("xts-128");
    let mut cut = bytes(&volume);
    let last = Volume::from_source(Arc::new(cut.clone())).unwrap();
    let last = last.metadata().unwrap().copies[2] as usize;
    cut.truncate(last + 0x8000);
    let error = refuse(cut, startup_key(&volume));
    assert!(error.to_string().contains("inside the source"), "{error}");

    let wrong = refuse(
        bytes(&volume),
        Box::new(Password::new(&SecretText::new("no".into()))),
    );
    assert!(matches!(wrong, Error::Refused { .. }), "{wrong}");
}

/// Checks every state that a power failure may leave: the volume unlocks with the old or the new credential,
/// always to the same plaintext.
fn survives_power_cuts(name: &str, change: impl Fn(&Managed) -> (Change, Box<dyn Fn() -> Key>)) {
    let (volume, disk) = disk_of(name);
    let before = disk.bytes();
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    let (change, new_key) = change(&managed);
    managed.commit(&change).unwrap();
    let wanted = plaintext(before.clone(), startup_key(&volume)).unwrap();
    let states = after_power_cuts(&before, &disk.events());
    assert!(states.len() > 120);
    for (name, image) in states {
        let [old, new] = [startup_key(&volume), new_key()]
            .map(|key| plaintext(image.clone(), key).is_ok_and(|read| read == wanted));
        assert!(
            old || new,
            "{name}: neither the old nor the new key unlocks it"
        );
        // With a credential that unlocks it, the copies can be made equal again.
        let key = if old { startup_key(&volume) } else { new_key() };
        let disk = Arc::new(Disk::new(image));
        let Ok(mut managed) = manage(&disk, key) else {
            let managed = manage(&disk, new_key());
            assert!(
                managed.is_ok(),
                "{name}: neither credential can repair the copies"
            );
            continue;
        };
        managed.commit(&Change::new()).unwrap();
        let copies = managed.volume().copies();
        assert!(copies.faults().is_empty() && !copies.disagree(), "{name}");
    }
}

#[trial]
fn an_added_protector_survives_power_cuts() {
    survives_power_cuts("xts-128", |_| {
        let (protector, key) = new_startup_key();
        (Change::new().enroll(protector), Box::new(key))
    });
}

#[trial]
fn a_replaced_startup_key_survives_power_cuts() {
    survives_power_cuts("elephant-128", |managed| {
        let (protector, key) = new_startup_key();
        let old = id_of(managed, ProtectorKind::ExternalKey);
        (Change::new().enroll(protector).remove(old), Box::new(key))
    });
}

#[trial]
fn reports_a_failing_disk_and_leaves_a_volume_that_unlocks() {
    let (volume, disk) = disk_of("cbc-128");
    let before = disk.bytes();
    let wanted = plaintext(before.clone(), startup_key(&volume)).unwrap();
    for at in 0..6 {
        for written in [0, 512, 0x8000] {
            let fault = Some(Fault { at, written });
            let disk = Arc::new(Disk::failing(before.clone(), fault));
            let mut managed = manage(&disk, startup_key(&volume)).unwrap();
            let (protector, key) = new_startup_key();
            let old = id_of(&managed, ProtectorKind::ExternalKey);
            let change = Change::new().enroll(protector).remove(old);
            let error = managed.commit(&change).unwrap_err();
            let message = error.to_string();
            assert!(matches!(error, Error::Io { .. }), "{message}");
            assert!(message.contains("not complete"), "{message}");
            let [old, new] = [startup_key(&volume), key()]
                .map(|key| plaintext(disk.bytes(), key).is_ok_and(|read| read == wanted));
            assert!(old || new, "{at} {written}");
            if message.contains("still unlocks with its old") {
                assert!(old, "{at} {written}");
            }
        }
    }
}

/// The key in the file of a change, as it would be read again.
fn saved(content: &[u8]) -> StartupKey {
    StartupKey::new(BekFile::parse(content).unwrap())
}

#[trial]
fn a_new_startup_key_must_unlock_as_it_was_saved() {
    let (volume, disk) = disk_of("xts-128");
    let before = disk.bytes();
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    let other = StartupKeyChange::new(&managed, None).unwrap();
    let change = StartupKeyChange::new(&managed, None).unwrap();
    let failed = change.carry_out(&mut managed, |_| Ok(saved(other.file().content.expose())));
    let failed = failed.unwrap_err();
    assert!(failed.new_is_void && failed.to_string().contains("does not unlock"));
    let change = StartupKeyChange::new(&managed, None).unwrap();
    let failed = change.carry_out(&mut managed, |_| Err(Error::bad_credential("key", "lost")));
    assert!(failed.unwrap_err().new_is_void);
    assert!(disk.bytes() == before);
    // It can still be changed.
    let mut new = None;
    let change = StartupKeyChange::new(&managed, None).unwrap();
    let (id, old) = (change.id(), id_of(&managed, ProtectorKind::ExternalKey));
    let report = change.carry_out(&mut managed, |file| {
        new = Some(file.content.duplicate());
        Ok(saved(file.content.expose()))
    });
    let report = report.unwrap();
    let kind = ProtectorKind::ExternalKey;
    assert_eq!(
        (report.added, report.removed),
        (vec![(id, kind)], vec![(old, kind)])
    );
    let new = new.unwrap();
    let wanted = plaintext(before, startup_key(&volume)).unwrap();
    let read = plaintext(disk.bytes(), Box::new(saved(new.expose())));
    assert!(read.unwrap() == wanted);
    assert!(!opens_any_copy(&disk.bytes(), || startup_key(&volume)));
}

#[trial]
fn a_startup_key_whose_change_failed_is_void_only_if_nothing_was_written() {
    let (volume, disk) = disk_of("cbc-128");
    let before = disk.bytes();
    for at in 0..6 {
        let fault = Some(Fault { at, written: 512 });
        let disk = Arc::new(Disk::failing(before.clone(), fault));
        let mut managed = manage(&disk, startup_key(&volume)).unwrap();
        let change = StartupKeyChange::new(&managed, None).unwrap();
        let mut new = None;
        let failed = change.carry_out(&mut managed, |file| {
            new = Some(file.content.duplicate());
            Ok(saved(file.content.expose()))
        });
        assert!(!failed.unwrap_err().new_is_void, "{at}");
        let new = new.unwrap();
        let opens = |key: Key| plaintext(disk.bytes(), key).is_ok();
        assert!(
            opens(startup_key(&volume)) || opens(Box::new(saved(new.expose()))),
            "{at}"
        );
    }
}

#[trial]
fn makes_differing_copies_equal_first() {
    let (volume, disk) = disk_of("xts-128-4k");
    let mut image = disk.bytes();
    let offsets = manage(&disk, startup_key(&volume))
        .unwrap()
        .volume()
        .metadata()
        .unwrap()
        .copies;
    image[offsets[0] as usize + 0x80] ^= 1;
    image[offsets[2] as usize..][..0x200].fill(0);
    let disk = Arc::new(Disk::new(image));
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    let (protector, key) = new_startup_key();
    let change = Change::new().enroll(protector);
    assert_eq!(managed.preview(&change).unwrap().repaired, [3, 1]);
    assert!(disk.events().is_empty());
    assert_eq!(managed.commit(&change).unwrap().repaired, [3, 1]);
    assert_eq!(disk.events().len(), 10);
    assert!(plaintext(disk.bytes(), key()).is_ok());
}

/// Needs a volume with a datum that this library does not write otherwise.
#[cfg(feature = "testing")]
mod bound_to_a_tpm {
    use fve::create::testing::ExtraDatum;
    use fve::create::{NewVolume, Placement};
    use fve::crypto::sector::Method;
    use fve::error::Remedy;

    use super::*;

    /// A volume with a startup key, and a protector for which only a TPM could seal a new VMK.
    fn volume_with_a_tpm() -> (Vec<u8>, impl Fn() -> Key) {
        let mut volume = NewVolume::new(
            Method::AES_XTS_128,
            512,
            Placement::after_first_copy([0x1_0000, 0x3_8000, 0x5_0000]),
        )
        .unwrap();
        let (protector, key) = new_startup_key();
        volume.protect(protector);
        let body = [&[7; 16][..], &[1; 8], &[0, 0], &0x0100u16.to_le_bytes()].concat();
        volume.extra_datum(ExtraDatum {
            role: 2,
            datum_type: 8,
            body,
        });
        let file = tempfile::tempfile().unwrap();
        volume.write(&vec![0; 0x7_0000], &file).unwrap();
        let mut image = vec![0; 0x7_0000];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut image, 0).unwrap();
        (image, key)
    }

    #[trial]
    fn names_or_drops_a_protector_that_cannot_be_given_a_new_master_key() {
        let (image, key) = volume_with_a_tpm();
        let disk = Arc::new(Disk::new(image));
        let mut managed = manage(&disk, key()).unwrap();
        let (protector, new_key) = new_startup_key();
        // A change without a new VMK does not concern the TPM protector.
        managed.commit(&Change::new().enroll(protector)).unwrap();
        assert_eq!(managed.protectors().len(), 3);
        let password = NewProtector::password(&SecretText::new("a".to_owned())).unwrap();
        let error = managed
            .preview(&Change::new().enroll(password))
            .unwrap_err();
        assert!(error.to_string().contains("TPM"), "{error}");

        let old = managed.protectors()[0].id;
        let events = disk.events().len();
        let error = managed.commit(&Change::new().remove(old)).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("TPM 07070707"), "{message}");
        assert_eq!(error.remedy(), Some(Remedy::RemoveBoundProtector));
        assert_eq!(disk.events().len(), events);

        let report = managed
            .commit(&Change::new().remove(old).drop_bound(true))
            .unwrap();
        assert_eq!(report.removed.len(), 2);
        assert_eq!(managed.protectors().len(), 1);
        assert!(plaintext(disk.bytes(), new_key()).is_ok());
        assert!(!opens_any_copy(&disk.bytes(), key));
    }
}

/// The error of a service that stores recovery passwords.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the vault answers with status {0}")]
struct VaultError(u16);

#[trial]
fn a_rotation_whose_escrow_fails_changes_nothing_and_returns_the_callers_error() {
    let (volume, disk) = disk_of("xts-128");
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    let rotation = Rotation::new(&managed, &[]).unwrap();
    let id = rotation.id();
    let error = rotation
        .carry_out(&mut managed, |_, _| Err(VaultError(503)))
        .unwrap_err();
    assert_eq!((error.id, error.stage), (id, RotationStage::Escrow));
    assert_eq!(error.valid, ValidPasswords::Old);
    assert!(matches!(
        error.cause,
        RotationCause::Escrow(VaultError(503))
    ));
    assert_eq!(
        error.to_string(),
        "the new recovery password could not be stored; only the old ones unlock the volume"
    );
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.downcast_ref(), Some(&VaultError(503)));
    assert!(disk.events().is_empty());
    managed.commit(&Change::new()).unwrap();
}

#[trial]
fn a_failed_rotation_names_the_passwords_that_unlock_the_volume() {
    let (volume, disk) = disk_of("cbc-128");
    let before = disk.bytes();
    let old = || volume.credential(Kind::RecoveryPassword).protector();
    let mut seen = std::collections::HashSet::new();
    // Adding the new password and removing the old ones write three copies each, every one of them
    // followed by a flush: twelve events.
    for at in 0..12 {
        for written in [0, 0x8000] {
            let fault = Some(Fault { at, written });
            let disk = Arc::new(Disk::failing(before.clone(), fault));
            let mut managed = manage(&disk, startup_key(&volume)).unwrap();
            let rotation = Rotation::new(&managed, &[]).unwrap();
            let digits = rotation.password().expose_digits();
            let new = || -> Key {
                let password = RecoveryPassword::parse(digits.expose()).unwrap();
                Box::new(RecoveryPasswords::new(&password))
            };
            let error = rotation
                .carry_out(&mut managed, |_, _| Ok::<_, VaultError>(()))
                .unwrap_err();
            let stage = match at {
                0..6 => RotationStage::Add,
                _ => RotationStage::Remove,
            };
            assert_eq!(error.stage, stage, "{at} {written}");
            assert!(matches!(
                error.cause,
                RotationCause::Volume(Error::Io { .. })
            ));
            let unlocks = [old(), new()].map(|key| plaintext(disk.bytes(), key).is_ok());
            match error.valid {
                ValidPasswords::Old => assert_eq!(unlocks, [true, false], "{at} {written}"),
                ValidPasswords::OldAndPerhapsNew => assert!(unlocks[0], "{at} {written}"),
                ValidPasswords::Both => assert_eq!(unlocks, [true, true], "{at} {written}"),
                ValidPasswords::NewAndPerhapsOld => assert!(unlocks[1], "{at} {written}"),
                ValidPasswords::New => assert_eq!(unlocks, [false, true], "{at} {written}"),
                other => panic!("{other:?}"),
            }
            seen.insert(error.valid);
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[trial]
fn one_unlock_gives_the_plaintext_and_the_means_to_change_the_protectors() {
    let (volume, disk) = disk_of("xts-128");
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    let hash = |unlocked: &Unlocked| common::sha256(unlocked.cursor()).unwrap();
    let unlocked = managed.unlocked().unwrap();
    assert_eq!(hash(&unlocked), volume.plaintext_sha256);
    assert!(unlocked.is_proved());
    assert_eq!(
        unlocked.opened_by().protector,
        managed.master_key().opened_by().protector
    );
    // A removal changes the master key; the plaintext stays readable, before and after.
    let password = id_of(&managed, ProtectorKind::Password);
    managed.commit(&Change::new().remove(password)).unwrap();
    assert_eq!(hash(&unlocked), volume.plaintext_sha256);
    assert_eq!(hash(&managed.unlocked().unwrap()), volume.plaintext_sha256);
}

#[trial]
fn a_master_key_of_another_volume_or_of_replaced_metadata_unlocks_nothing() {
    let (volume, disk) = disk_of("xts-128");
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    let locked = Volume::from_source(disk.clone()).unwrap();
    let key = locked
        .unlock_master_key(&[startup_key(&volume)], &UnlockOptions::default())
        .unwrap();
    assert!(locked.unlock_with_master_key(&key).is_ok());
    let (_, other) = disk_of("xts-256");
    let other = Volume::from_source(other).unwrap();
    let refused = other.unlock_with_master_key(&key);
    assert!(matches!(
        refused,
        Err(Error::Damaged { .. } | Error::BadCredential { .. })
    ));
    let password = id_of(&managed, ProtectorKind::Password);
    managed.commit(&Change::new().remove(password)).unwrap();
    let reread = Volume::from_source(disk.clone()).unwrap();
    let refused = reread.unlock_with_master_key(&key);
    assert!(matches!(refused, Err(Error::Damaged { .. })));
}

#[trial]
fn calls_escrow_before_the_new_recovery_password_is_on_the_volume() {
    let (volume, disk) = disk_of("xts-128");
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    let rotation = Rotation::new(&managed, &[]).unwrap();
    let mut stored = None;
    let seen = disk.clone();
    let report = rotation.carry_out(&mut managed, |id, password| {
        assert!(seen.events().is_empty());
        stored = Some((id, password.expose_digits()));
        Ok::<_, VaultError>(())
    });
    let report = report.unwrap();
    let (id, digits) = stored.unwrap();
    assert_eq!(report.added, [(id, ProtectorKind::RecoveryPassword)]);
    let old = volume.credential(Kind::RecoveryPassword);
    assert_eq!(report.removed[0].0.to_string(), old.protector);
    let new = || -> Key {
        let password = RecoveryPassword::parse(digits.expose()).unwrap();
        Box::new(RecoveryPasswords::new(&password))
    };
    assert!(plaintext(disk.bytes(), new()).is_ok());
    assert!(!opens_any_copy(&disk.bytes(), || old.protector()));
    let unknown = Rotation::new(&managed, &[Guid::from_disk([9; 16])]);
    assert!(matches!(unknown, Err(Error::Unchangeable { .. })));
}

fn target(disk: &Arc<Disk>) -> Arc<dyn WriteAt> {
    disk.clone()
}

#[trial]
fn a_restored_backup_has_removed_protectors_again() {
    let (volume, disk) = disk_of("xts-128");
    let before = disk.bytes();
    let backup = Backup::of(&Volume::from_source(disk.clone()).unwrap()).unwrap();
    let backup = Backup::parse(&backup.to_bytes()).unwrap();
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    let gone = id_of(&managed, ProtectorKind::Password);
    managed.commit(&Change::new().remove(gone)).unwrap();
    let restoration = backup
        .restore(&target(&disk), fve::unlock::NO_CREDENTIAL)
        .unwrap();
    assert_eq!(
        (restoration.copies, restoration.boot_record),
        (vec![1, 2, 3], false)
    );
    assert!(disk.bytes() == before);
}

#[trial]
fn restores_a_volume_without_any_metadata_if_a_credential_proves_it() {
    // The other volume has the same size: only the decrypted data shows which one it is.
    let (volume, disk) = disk_of("xts-128");
    let before = disk.bytes();
    let opened = Volume::from_source(disk.clone()).unwrap();
    let backup = Backup::of(&opened).unwrap();
    let wipe = |mut image: Vec<u8>| {
        image[..512].fill(0);
        for place in opened.metadata().unwrap().copies {
            image[place as usize..][..0x1_0000].fill(0);
        }
        Arc::new(Disk::new(image))
    };
    let wiped = wipe(before.clone());
    let error = backup
        .restore(&target(&wiped), fve::unlock::NO_CREDENTIAL)
        .unwrap_err();
    assert!(
        error.remedy().unwrap().to_string().contains("credential"),
        "{error}"
    );
    assert!(wiped.events().is_empty());
    let restoration = backup.restore(&target(&wiped), &[startup_key(&volume)]);
    assert!(restoration.unwrap().boot_record);
    assert!(wiped.bytes() == before);

    let other = wipe(bytes(&testdata::volume("cbc-128")));
    let error = backup
        .restore(&target(&other), &[startup_key(&volume)])
        .unwrap_err();
    assert!(error.to_string().contains("no file system"), "{error}");
    assert!(other.events().is_empty());
}

#[trial]
fn refuses_to_restore_a_backup_to_another_volume() {
    let (_, disk) = disk_of("xts-128");
    let backup = Backup::of(&Volume::from_source(disk.clone()).unwrap()).unwrap();
    let (_, other) = disk_of("xts-256");
    let error = backup
        .restore(&target(&other), fve::unlock::NO_CREDENTIAL)
        .unwrap_err();
    assert!(
        error.to_string().contains("the backup is of volume"),
        "{error}"
    );
    let (_, larger) = disk_of("ntfs-xts-128");
    let error = backup
        .restore(&target(&larger), fve::unlock::NO_CREDENTIAL)
        .unwrap_err();
    assert!(error.to_string().contains("bytes"), "{error}");
    assert!(other.events().is_empty() && larger.events().is_empty());
}

#[trial]
fn refuses_a_damaged_backup() {
    let (_, disk) = disk_of("xts-128");
    let good = Backup::of(&Volume::from_source(disk).unwrap())
        .unwrap()
        .to_bytes();
    for at in (0..good.len())
        .step_by(97)
        .chain([0, 8, 12, 48, 60, good.len() - 1])
    {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(Backup::parse(&bad).is_err(), "byte {at}");
    }
    for len in [0, 7, 48, 100, good.len() - 1] {
        assert!(Backup::parse(&good[..len]).is_err(), "{len} bytes");
    }
    assert!(Backup::parse(&[&good[..], &[0]].concat()).is_err());
    assert!(good.len() as u64 <= Backup::MAX_LEN);
}

#[trial]
fn suspending_survives_power_cuts() {
    survives_power_cuts("cbc-256", |_| {
        let protector = NewProtector::suspension(0).unwrap();
        (
            Change::new().enroll(protector),
            Box::new(|| Box::new(Suspended)),
        )
    });
}

#[trial]
fn resuming_survives_power_cuts() {
    let (volume, disk) = disk_of("xts-256");
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    let protector = NewProtector::suspension(0).unwrap();
    let clear = protector.id();
    managed.commit(&Change::new().enroll(protector)).unwrap();
    let before = disk.bytes();
    let disk = Arc::new(Disk::new(before.clone()));
    let mut managed = manage(&disk, startup_key(&volume)).unwrap();
    managed.commit(&Change::new().remove(clear)).unwrap();
    for (name, image) in after_power_cuts(&before, &disk.events()) {
        assert!(plaintext(image, startup_key(&volume)).is_ok(), "{name}");
    }
}
