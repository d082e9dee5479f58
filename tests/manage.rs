//! Other programs open what `fve protector` changed: after each command every kind of credential,
//! with the plaintext compared byte for byte; and nobody opens anything with what was removed.
//!
//! On copies of the frozen volumes of every cipher, and on copies of volumes that Windows made. A
//! volume goes through all commands once; the trials look at what it was after each. Programs that
//! are missing, and what they are known not to do, are treated as in `peers.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, LazyLock};

use common::disk::{Disk, after_power_cuts};
use common::peers::Peer;
use common::testdata::{self, Credential, Entry, Kind};
use common::trials::{self, Missing, trial};
use common::{corpus, fve};
use fve::create::NewProtector;
use fve::format::bek::BekFile;
use fve::format::protector::ProtectorKind;
use fve::manage::{Change, KeptSecret, Managed, kept_secrets};
use fve::secret::Vmk;
use fve::unlock::KeyProtector;
use fve::unlock::raw_key::RawVmk;
use fve::unlock::recovery::RecoveryPassword;
use fve::unlock::recovery_password::RecoveryPasswords;
use fve::unlock::startup_key::StartupKey;
use fve::volume::{UnlockOptions, Volume};
use libtest_mimic::{Arguments, Failed, Trial};

/// What is done, in order, each with the credentials that others try on the result.
const STAGES: &[(&str, &[Kind])] = &[
    ("add", &[Kind::StartupKey, Kind::Password]),
    ("remove", &[Kind::Password]),
    ("rotate", &[Kind::RecoveryPassword, Kind::StartupKey]),
    ("change-password", &[Kind::Password]),
    ("suspend", &[Kind::ClearKey, Kind::Password]),
    (
        "resume",
        &[Kind::Password, Kind::RecoveryPassword, Kind::StartupKey],
    ),
];
const LAST: &str = "resume";

const NEW_PASSWORD: &str = "another password";

/// The volume after each of the commands.
type Stages = Result<Vec<Entry>, String>;

/// A volume's way through all commands.
struct Story {
    /// As it was; its file is the original.
    original: Entry,
    stages: LazyLock<Stages, Box<dyn FnOnce() -> Stages + Send>>,
}

impl Story {
    fn new(original: Entry, directory: &Path) -> Arc<Self> {
        let place = directory.join(&original.name);
        let entry = original.clone();
        let run: Box<dyn FnOnce() -> _ + Send> =
            Box::new(move || tell_story(&entry, &place).map_err(|failed| format!("{failed:?}")));
        Arc::new(Self {
            original,
            stages: LazyLock::new(run),
        })
    }

    fn stage(&self, name: &str) -> Result<&Entry, Failed> {
        let stages = self.stages.as_ref().map_err(Failed::from)?;
        let number = STAGES.iter().position(|(stage, _)| *stage == name);
        Ok(&stages[number.unwrap()])
    }
}

/// `fve` with these arguments, which must succeed.
fn run(place: &Path, arguments: &[&str]) -> Result<Output, Failed> {
    let output = fve()
        .args(arguments)
        .env("XDG_STATE_HOME", place.join("state"))
        .output()?;
    if output.status.success() {
        return Ok(output);
    }
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("fve {}: {}: {told}", arguments.join(" "), output.status).into())
}

/// The option that takes a credential, and its value in a file.
fn option(credential: &Credential, place: &Path) -> Result<[String; 2], Failed> {
    let (option, value) = match credential.kind {
        Kind::StartupKey => ("--startup-key", credential.value.clone()),
        kind => {
            let path = place.join(format!("{kind:?}-{}", credential.protector));
            fs::write(&path, &credential.value)?;
            let option = match kind {
                Kind::Password => "--password-file",
                _ => "--recovery-password-file",
            };
            (option, path.to_str().unwrap().to_owned())
        }
    };
    Ok([option.to_owned(), value])
}

/// Runs all commands, and keeps a copy of the volume after each.
fn tell_story(original: &Entry, place: &Path) -> Result<Vec<Entry>, Failed> {
    fs::create_dir_all(place.join("keys"))?;
    let volume = place.join("volume.img");
    common::copy_sparse(fs::File::open(&original.file)?, &volume)?;
    let source = volume.to_str().unwrap().to_owned();
    let mut entry = original.clone();
    let mut stages = Vec::new();
    for (name, _) in STAGES {
        let [flag, value] = option(&entry.credentials[0], place)?;
        let go = |command: &str, more: &[&str]| {
            let arguments = ["protector", command, &source, &flag, &value];
            run(place, &[&arguments[..], more].concat())
        };
        match *name {
            "add" => {
                let keys = place.join("keys");
                go("add", &["--startup-key-to", keys.to_str().unwrap()])?;
                let file = fs::read_dir(&keys)?.next().unwrap()?.path();
                let id = file.file_stem().unwrap().to_str().unwrap().to_owned();
                entry.credentials.retain(|key| key.kind != Kind::StartupKey);
                // The new key does the rest of the work: it costs no stretching.
                entry.credentials.insert(
                    0,
                    Credential {
                        kind: Kind::StartupKey,
                        value: file.to_str().unwrap().to_owned(),
                        protector: id,
                    },
                );
            }
            "remove" => {
                for old in original
                    .credentials
                    .iter()
                    .filter(|key| key.kind == Kind::StartupKey)
                {
                    go("remove", &[&old.protector])?;
                }
                if !original
                    .credentials
                    .iter()
                    .any(|key| key.kind == Kind::StartupKey)
                {
                    // Something has to go: a second startup key that comes for this.
                    let keys = place.join("more");
                    fs::create_dir(&keys)?;
                    go("add", &["--startup-key-to", keys.to_str().unwrap()])?;
                    let file = fs::read_dir(&keys)?.next().unwrap()?.path();
                    go("remove", &[file.file_stem().unwrap().to_str().unwrap()])?;
                }
            }
            "rotate" => {
                let escrow = place.join("escrow.txt");
                go(
                    "rotate-recovery",
                    &["--escrow-to", escrow.to_str().unwrap()],
                )?;
                let shown = go("show-recovery", &[])?;
                let shown = String::from_utf8(shown.stdout).unwrap();
                let (id, digits) = shown.trim_end().split_once("  ").unwrap();
                entry
                    .credentials
                    .retain(|key| key.kind != Kind::RecoveryPassword);
                entry.credentials.push(Credential {
                    kind: Kind::RecoveryPassword,
                    value: digits.to_owned(),
                    protector: id.to_owned(),
                });
            }
            "change-password" => {
                let file = place.join("new-password");
                fs::write(&file, NEW_PASSWORD)?;
                go(
                    "change-password",
                    &["--new-password-file", file.to_str().unwrap()],
                )?;
                for key in &mut entry.credentials {
                    if key.kind == Kind::Password {
                        NEW_PASSWORD.clone_into(&mut key.value);
                    }
                }
            }
            "suspend" => {
                go("suspend", &[])?;
                entry.credentials.push(Credential {
                    kind: Kind::ClearKey,
                    value: String::new(),
                    protector: String::new(),
                });
            }
            "resume" => {
                go("resume", &[])?;
                entry.credentials.retain(|key| key.kind != Kind::ClearKey);
            }
            other => panic!("{other}"),
        }
        let copy = place.join(format!("{name}.img"));
        common::copy_sparse(fs::File::open(&volume)?, &copy)?;
        entry.file = copy;
        stages.push(entry.clone());
    }
    Ok(stages)
}

/// The volume as the limits of a program look at it, before the story is told.
fn outline(original: &Entry, stage: &str) -> Entry {
    let mut entry = original.clone();
    entry.credentials.retain(|key| key.kind != Kind::StartupKey);
    let mut kinds = vec![Kind::StartupKey];
    if stage == "suspend" {
        kinds.push(Kind::ClearKey);
    }
    for kind in kinds {
        entry.credentials.push(Credential {
            kind,
            value: String::new(),
            protector: String::new(),
        });
    }
    entry
}

/// One program, one stage, every credential of the stage; of large volumes, programs that take out
/// the whole plaintext take it out once.
fn peer_trials(
    story: &Arc<Story>,
    peer: Peer,
    missing: &Option<Missing>,
    stages: &[&str],
) -> Vec<Trial> {
    const LARGE: u64 = 16 << 20;
    let whole = [Peer::Dislocker, Peer::Libbde, Peer::Dissect].contains(&peer);
    let once = whole && story.original.size > LARGE;
    // libbde and dissect take minutes over a hundred mebibytes.
    let slow = once && peer != Peer::Dislocker;
    if slow && !["cs-aes-xts-128", "cs-aes-cbc-256"].contains(&story.original.name.as_str()) {
        return Vec::new();
    }
    let mut trials = Vec::new();
    for (stage, kinds) in STAGES.iter().filter(|(name, _)| stages.contains(name)) {
        let outline = outline(&story.original, stage);
        let count = if peer == Peer::CryptsetupDump {
            1
        } else {
            usize::MAX
        };
        let wanted = |kind: &Kind| !once || *kind == Kind::RecoveryPassword;
        for kind in kinds.iter().copied().filter(wanted).take(count) {
            let name = format!("{}/{}/{stage}/{kind:?}", peer.name(), story.original.name);
            let Some(key) = outline.credentials.iter().find(|key| key.kind == kind) else {
                continue;
            };
            let limit = peer.limit(&outline, key);
            let story = story.clone();
            trials.push(trial(name, limit.or_else(|| missing.clone()), move || {
                let entry = story.stage(stage)?;
                peer.check(entry, entry.credential(kind))
            }));
        }
    }
    trials
}

/// What was removed on the way opens nothing any more, on any copy, for us and for others.
fn removed_trials(story: &Arc<Story>, peers: &[(Peer, Option<Missing>)]) -> Vec<Trial> {
    let ours = {
        let story = story.clone();
        Trial::test(format!("ours/{}/removed", story.original.name), move || {
            let image = fs::read(&story.stage(LAST)?.file)?;
            for gone in &story.original.credentials {
                for copy in 0..3 {
                    let image = only_copy(image.clone(), copy)?;
                    let volume = Volume::open(Arc::new(image))?;
                    let opened = volume.unlock(&[gone.protector()], &UnlockOptions::default());
                    if opened.is_ok() {
                        return Err(format!("{:?} opens copy {}", gone.kind, copy + 1).into());
                    }
                }
            }
            Ok(())
        })
    };
    let mut trials = vec![ours];
    for (peer, missing) in peers {
        if ![Peer::LibbdeInfo, Peer::Cryptsetup, Peer::Dislocker].contains(peer) {
            continue;
        }
        let outline = outline(&story.original, LAST);
        for gone in story.original.credentials.clone() {
            let name = format!(
                "{}/{}/removed/{:?}",
                peer.name(),
                story.original.name,
                gone.kind
            );
            let limit = peer.limit(&outline, &gone);
            let (story, peer) = (story.clone(), *peer);
            trials.push(trial(name, limit.or_else(|| missing.clone()), move || {
                let entry = story.stage(LAST)?;
                match peer.check(entry, &gone) {
                    Ok(()) => Err("it still opens the volume".into()),
                    Err(_) => Ok(()),
                }
            }));
        }
    }
    trials
}

/// The image with one of its metadata copies in the place of all.
fn only_copy(mut image: Vec<u8>, copy: usize) -> Result<Vec<u8>, Failed> {
    let places = Volume::open(Arc::new(image.clone()))?.metadata()?.copies;
    let region = |place: u64| place as usize..place as usize + 0x1_0000;
    let bytes = image[region(places[copy])].to_vec();
    for place in places {
        image[region(place)].copy_from_slice(&bytes);
    }
    Ok(image)
}

/// Volumes that Windows made, as the trials take them.
fn windows_volumes() -> Option<Vec<Entry>> {
    const NAMES: [&str; 6] = [
        "cs-aes-xts-128",
        "cs-aes-cbc-256",
        "cs-aes-cbc-elephant-128",
        "cs-togo-aes-cbc-128",
        "cs-aes-xts-128-4k",
        "cs-aes-xts-128-crc",
    ];
    let method = |id: &str| match id {
        "0x8000" => "aes-cbc-128-elephant",
        "0x8002" => "aes-cbc-128",
        "0x8003" => "aes-cbc-256",
        _ => "aes-xts-128",
    };
    let volumes = corpus::volumes()?.into_iter();
    let entry = |volume: corpus::Volume| Entry {
        credentials: volume
            .credentials
            .iter()
            .filter_map(|key| {
                Some(Credential {
                    kind: match key.kind.as_str() {
                        "password" => Kind::Password,
                        "recovery-password" => Kind::RecoveryPassword,
                        _ => return None,
                    },
                    value: key.value.clone(),
                    protector: key.protector.clone().unwrap_or_default(),
                })
            })
            .collect(),
        method: method(&volume.cipher_id).to_owned(),
        name: volume.name,
        file: volume.path,
        volume_id: volume.volume_guid.to_lowercase(),
        sector_size: volume.sector_size,
        size: volume.plaintext_size,
        state: volume.state,
        encrypt_on_write: false,
        file_system: "ntfs".to_owned(),
        plaintext_sha256: volume.expected_sha256,
        files: Vec::new(),
    };
    Some(
        volumes
            .filter(|volume| NAMES.contains(&volume.name.as_str()))
            .map(entry)
            .collect(),
    )
}

/// Volumes that Windows made give back every recovery password and startup key that they are known
/// to have, whatever opened them.
fn kept_trials() -> Vec<Trial> {
    let volumes = corpus::volumes().unwrap_or_default().into_iter();
    volumes
        .filter(|volume| volume.metadata_version == 2 && volume.credentials.len() > 1)
        .map(|volume| Trial::test(format!("kept/{}", volume.name), move || gives_back(&volume)))
        .collect()
}

fn gives_back(volume: &corpus::Volume) -> Result<(), Failed> {
    let opened = testdata::open(&volume.path);
    let vmk = volume.vmk_hex.as_deref().ok_or("the index has no VMK")?;
    let bytes: Vec<u8> = (0..vmk.len() / 2)
        .map(|at| u8::from_str_radix(&vmk[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let vmk = RawVmk::new(Vmk::from_slice(&bytes).ok_or("no VMK")?);
    let key = opened.unlock_master_key(&[Box::new(vmk)], &UnlockOptions::default())?;
    let kept = kept_secrets(&opened, &key)?;
    for known in &volume.credentials {
        let found = kept
            .iter()
            .any(|kept| match (&kept.secret, known.kind.as_str()) {
                (KeptSecret::RecoveryPassword(password), "recovery-password") => {
                    password.expose_digits().expose() == known.value
                }
                (KeptSecret::ExternalKey(key), "startup-key-file") => {
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

/// The certificate protector of a volume that Windows made gets a new master key without the card:
/// what it keeps for that is enough.
fn certificate_trial() -> Option<Trial> {
    let volume = corpus::volumes()?
        .into_iter()
        .find(|volume| volume.name == "cs-aes-xts-128-smart-card")?;
    Some(Trial::test(
        "ours/smart card follows a new master key",
        move || {
            let disk = Arc::new(Disk::new(fs::read(&volume.path)?));
            let digits = RecoveryPassword::parse(&volume.credentials[0].value)?;
            let key: Box<dyn KeyProtector> = Box::new(RecoveryPasswords::new(&digits));
            let mut managed = Managed::open(disk, &[key], &UnlockOptions::default())?;
            let old = managed
                .protectors()
                .iter()
                .find(|protector| protector.kind() == ProtectorKind::RecoveryPassword)
                .map(|protector| protector.id)
                .ok_or("no recovery password")?;
            let (_, new) = NewProtector::new_recovery_password()?;
            // It fails by name where a protector cannot follow.
            managed.commit(&Change::new().enrol(new).remove(old))?;
            let certificate = ProtectorKind::Certificate;
            let kinds: Vec<_> = managed.protectors().iter().map(|one| one.kind()).collect();
            match kinds.contains(&certificate) && kinds.len() == 2 {
                true => Ok(()),
                false => Err(format!("{kinds:?}").into()),
            }
        },
    ))
}

/// Some of the states that a power cut leaves, for programs that know nothing of us.
fn crash_trials(directory: &Path, peers: &[(Peer, Option<Missing>)]) -> Vec<Trial> {
    /// One in so many of the states is looked at, and of those in which a copy is torn.
    const SAMPLES: usize = 12;
    const TORN_SAMPLES: usize = 3;
    let volume = testdata::volume("ntfs-xts-128");
    let before = fs::read(&volume.file).expect("volume");
    let disk = Arc::new(Disk::new(before.clone()));
    let key = Box::new(StartupKey::read(&volume.bek()).expect("key"));
    let mut managed =
        Managed::open(disk.clone(), &[key], &UnlockOptions::default()).expect("opens");
    let new = NewProtector::new_startup_key().expect("key");
    let file = new.startup_key_file(None).expect("file").expect("file");
    let path = directory.join(&file.name);
    fs::write(&path, file.content.expose()).expect("key");
    let old = volume.credential(Kind::StartupKey).clone();
    let change = Change::new()
        .enrol(new)
        .remove(old.protector.parse().expect("identifier"));
    managed.commit(&change).expect("change");
    let new = Credential {
        value: path.to_str().expect("UTF-8").to_owned(),
        ..old.clone()
    };
    let states = after_power_cuts(&before, &disk.events());
    let mut trials = Vec::new();
    let mut torn_states = 0;
    for (number, (what, image)) in states.into_iter().enumerate() {
        let opened = Volume::open(Arc::new(image.clone())).expect("volume");
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
        for (peer, missing) in peers {
            if ![Peer::Dislocker, Peer::Cryptsetup].contains(peer) {
                continue;
            }
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

fn main() {
    let arguments = Arguments::from_args();
    let directory = tempfile::tempdir().expect("temporary directory");
    let peers: Vec<_> = Peer::ALL
        .into_iter()
        .map(|peer| (peer, peer.missing()))
        .collect();
    let all: Vec<_> = STAGES.iter().map(|(name, _)| *name).collect();
    let mut trials = Vec::new();
    for name in [
        "ntfs-xts-128",
        "xts-256",
        "cbc-128",
        "cbc-256",
        "elephant-128",
        "elephant-256",
        "xts-128-4k",
        "cbc-128-4k",
        "elephant-128-4k",
    ] {
        let story = Story::new(testdata::volume(name), directory.path());
        // Every command on one of them; what all of them led to on each.
        let stages = if name == "ntfs-xts-128" {
            &all[..]
        } else {
            &[LAST]
        };
        for (peer, missing) in &peers {
            trials.extend(peer_trials(&story, *peer, missing, stages));
        }
        trials.extend(removed_trials(&story, &peers));
    }
    match windows_volumes() {
        Some(volumes) => {
            for volume in volumes {
                let story = Story::new(volume, directory.path());
                for (peer, missing) in &peers {
                    trials.extend(peer_trials(&story, *peer, missing, &[LAST]));
                }
                trials.extend(removed_trials(&story, &peers));
            }
        }
        None => {
            trials.push(trial("volumes made by Windows", trials::corpus(), || ()));
        }
    }
    trials.extend(kept_trials());
    trials.extend(certificate_trial());
    trials.extend(crash_trials(directory.path(), &peers));
    let conclusion = libtest_mimic::run(&arguments, trials);
    // `exit` runs no destructors, and the volumes are to go.
    drop(directory);
    conclusion.exit();
}
