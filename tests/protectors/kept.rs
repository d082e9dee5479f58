//! What survives a change of key protectors: the backups of secrets in the metadata, protectors that get
//! a new VMK, and a volume that unlocks after a power failure at any moment, also for other programs.
//! What other programs unlock after each change is tested in `peers.rs`.

use std::fs;
use std::sync::Arc;

use crate::common::corpus;
use crate::common::disk::{Disk, after_power_cuts};
use crate::common::harness;
use crate::common::peers::Peer;
use crate::common::testdata::{self, Kind, KnownCredential};
use crate::common::trials::{self, Missing, Trial, trial, trials};
use fve::enroll::NewProtector;
use fve::format::bek::BekFile;
use fve::format::protector::ProtectorKind;
use fve::manage::{Change, Managed, ProtectorSecret, secret_backups};
use fve::recovery_password::RecoveryPassword;
use fve::unlock::Credential;
use fve::unlock::RawVmk;
use fve::unlock::RecoveryPasswords;
use fve::unlock::StartupKey;
use fve::volume::{UnlockOptions, Volume};
use libtest_mimic::Failed;

/// From volumes that Windows made, every known recovery password and startup key can be read, whichever
/// credential unlocked them.
#[trials]
fn kept_trials() -> Vec<Trial> {
    let Some(volumes) = corpus::volumes() else {
        return vec![trial("volumes made by Windows", trials::corpus(), || ())];
    };
    volumes
        .into_iter()
        .filter(|volume| volume.metadata_version == 2 && volume.credentials.len() > 1)
        .map(|volume| Trial::test(format!("kept/{}", volume.name), move || gives_back(&volume)))
        .collect()
}

fn gives_back(volume: &corpus::Volume) -> Result<(), Failed> {
    let opened = testdata::open(&volume.path);
    let vmk = RawVmk::new(volume.vmk().ok_or("the index has no VMK")?);
    let key = opened.unlock_master_key(&[Box::new(vmk)], &UnlockOptions::default())?;
    let kept = secret_backups(&opened, &key)?;
    for known in &volume.credentials {
        let found = kept
            .iter()
            .any(|kept| match (&kept.secret, known.kind.as_str()) {
                (ProtectorSecret::RecoveryPassword(password), "recovery-password") => {
                    password.expose_digits().expose() == known.value
                }
                (ProtectorSecret::ExternalKey(key), "startup-key-file") => {
                    let file = fs::read(corpus::unpacked(&known.value)).unwrap();
                    BekFile::parse(&file).unwrap().key.expose() == key.expose()
                }
                (_, kind) => !["recovery-password", "startup-key-file"].contains(&kind),
            });
        if !found {
            return Err(format!("its {} is not given back", known.kind).into());
        }
    }
    Ok(())
}

/// The certificate protector of a volume that Windows made gets a new VMK without the smart card, from the
/// backup of its key.
#[trial(
    "ours/a smart card protector gets a new master key without the card",
    needs(trials::corpus)
)]
fn a_smart_card_follows() -> Result<(), Failed> {
    let volume = corpus::volumes()
        .ok_or("no corpus")?
        .into_iter()
        .find(|volume| volume.name == "cs-aes-xts-128-smart-card")
        .ok_or("no volume with a smart card")?;
    let disk = Arc::new(Disk::new(fs::read(&volume.path)?));
    let digits = RecoveryPassword::parse(&volume.credentials[0].value)?;
    let key: Box<dyn Credential> = Box::new(RecoveryPasswords::new(&digits));
    let mut managed = Managed::open(disk, &[key], &UnlockOptions::default())?;
    let old = managed
        .protectors()
        .iter()
        .find(|protector| protector.kind() == ProtectorKind::RecoveryPassword)
        .map(|protector| protector.id)
        .ok_or("no recovery password")?;
    let (_, new) = NewProtector::new_recovery_password()?;
    // This fails, and names the protector, if one cannot be given the new VMK.
    managed.commit(&Change::new().enroll(new).remove(old))?;
    let certificate = ProtectorKind::Certificate;
    let kinds: Vec<_> = managed.protectors().iter().map(|one| one.kind()).collect();
    match kinds.contains(&certificate) && kinds.len() == 2 {
        true => Ok(()),
        false => Err(format!("{kinds:?}").into()),
    }
}

/// Some of the states that a power failure can leave, tried with other programs.
#[trials]
fn crash_trials() -> Vec<Trial> {
    /// One of this many states is tried; the states with a half-written copy are counted separately.
    const SAMPLES: usize = 12;
    const TORN_SAMPLES: usize = 3;
    let peers = [Peer::Dislocker, Peer::Cryptsetup].map(|peer| (peer, peer.missing()));
    let directory = harness::directory();
    let volume = testdata::volume("ntfs-xts-128");
    let before = fs::read(&volume.file).expect("volume");
    let disk = Arc::new(Disk::new(before.clone()));
    let key = Box::new(StartupKey::read(volume.bek()).expect("key"));
    let mut managed =
        Managed::open(disk.clone(), &[key], &UnlockOptions::default()).expect("opens");
    let new = NewProtector::new_startup_key().expect("key");
    let file = new.startup_key_file(None).expect("file").expect("file");
    let path = directory.join(&file.name);
    fs::write(&path, file.content.expose()).expect("key");
    let old = volume.credential(Kind::StartupKey).clone();
    let change = Change::new()
        .enroll(new)
        .remove(old.protector.parse().expect("identifier"));
    managed.commit(&change).expect("change");
    let new = KnownCredential {
        value: path.to_str().expect("UTF-8").to_owned(),
        ..old.clone()
    };
    let states = after_power_cuts(&before, &disk.events());
    let mut trials = Vec::new();
    let mut torn_states = 0;
    for (number, (what, image)) in states.into_iter().enumerate() {
        let opened = Volume::from_source(Arc::new(image.clone())).expect("volume");
        let copies = opened.copies();
        let whole = copies.0[0].fault().is_none();
        let torn = !copies.faults().is_empty();
        torn_states += usize::from(torn);
        if number % SAMPLES != 0 && !(torn && torn_states % TORN_SAMPLES == 0) {
            continue;
        }
        let mut entry = volume.clone();
        entry.file = directory.join(format!("crash-{number}.img"));
        fs::write(&entry.file, image).expect("image");
        for (peer, missing) in &peers {
            let torn = *peer == Peer::Cryptsetup && !whole;
            let limit = torn.then(|| {
                Missing::Optional(
                    "cryptsetup 2.6.1 reads the first copy without its CRC-32".to_owned(),
                )
            });
            let (entry, peer) = (entry.clone(), *peer);
            let keys = [old.clone(), new.clone()];
            let name = format!("{}/power cut {number}: {what}", peer.name());
            trials.push(trial(name, limit.or_else(|| missing.clone()), move || {
                let opened = keys.iter().any(|key| peer.check(&entry, key).is_ok());
                match opened {
                    true => Ok(()),
                    false => Err("neither the old nor the new key opens".into()),
                }
            }));
        }
    }
    trials
}
