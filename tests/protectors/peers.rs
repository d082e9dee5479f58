//! Other programs open a volume after every kind of change that `fve` makes to it, with each of its
//! credentials and with the right plaintext; and nobody opens anything with what was removed.
//!
//! A volume goes through all changes one after the other, and a copy is kept after each, which the
//! trials look at: frozen volumes of every cipher, and volumes that Windows made. Programs that are
//! missing, and what they are known not to do, are treated as in
//! `tests/volume/peers.rs`. What comes out for one
//! of the volumes is the table in `docs/protectors.md`: `FVE_WRITE_TABLE=1` writes it, every other
//! run compares.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, LazyLock};

use crate::common;
use crate::common::mount::Mounted;
use crate::common::peers::{self, Peer, word};
use crate::common::swtpm::{self, Swtpm};
use crate::common::testdata::{self, Entry, Kind, KnownCredential};
use crate::common::trials::{self, Missing, Trial, trial, trials};
use crate::common::{corpus, fve, harness, table};
use fve::unlock::Credential;
use fve::volume::{UnlockOptions, Volume};
use libtest_mimic::Failed;

/// What is done to a volume, in order.
const CHANGES: &[&str] = &[
    "add a startup key",
    "add a recovery password",
    "remove",
    "add a password",
    "change the password",
    "rotate the recovery passwords",
    "suspend",
    "resume",
    "restore the metadata",
    "write through a mount",
];

/// What is done to a volume that is to have a TPM protector.
const TPM_CHANGES: &[&str] = &["remove", "add a TPM protector with a PIN", "change the PIN"];

/// After these every protector is another than before: the volume has a new master key.
const REKEYED: &[&str] = &["remove", "rotate the recovery passwords", "resume"];

const ADDED_PASSWORD: &str = "a password that was added";
const CHANGED_PASSWORD: &str = "a password that was changed";

/// Bytes that are written through a mount: across the end of the sectors that were moved, and from
/// the middle of one sector to the middle of another.
const WRITTEN: [(u64, usize); 2] = [(0x1F00, 700), (0x9005, 1234)];

/// The volume after one of the changes.
struct Stage {
    change: &'static str,
    volume: Entry,
    /// Protectors that the change made or sealed anew, and others of the kind of new ones.
    touched: Vec<String>,
}

/// A volume's way through the changes.
struct Told {
    stages: Vec<Stage>,
    /// What opened the volume once, and must not any more.
    gone: Vec<KnownCredential>,
}

type Outcome = Result<Told, String>;

struct Story {
    name: String,
    told: LazyLock<Outcome, Box<dyn FnOnce() -> Outcome + Send>>,
}

impl Story {
    fn new(original: Entry, changes: &'static [&'static str], directory: &Path) -> Arc<Self> {
        let name = match changes.contains(&"change the PIN") {
            true => format!("{}, TPM", original.name),
            false => original.name.clone(),
        };
        let place = directory.join(&name);
        let tell = move || {
            let told = Teller::new(original, place).and_then(|teller| teller.tell(changes));
            told.map_err(|failed| format!("{failed:?}"))
        };
        Arc::new(Self {
            name,
            told: LazyLock::new(Box::new(tell)),
        })
    }

    fn told(&self) -> Result<&Told, Failed> {
        self.told.as_ref().map_err(Failed::from)
    }

    fn stage(&self, change: &str) -> Result<&Stage, Failed> {
        let mut stages = self.told()?.stages.iter();
        let found = stages.find(|stage| stage.change == change);
        found.ok_or_else(|| format!("{change}: was not done").into())
    }
}

/// Makes the changes.
struct Teller {
    place: PathBuf,
    /// The volume that is changed.
    path: PathBuf,
    /// What it is now, with all credentials in the order of their protectors.
    volume: Entry,
    touched: Vec<String>,
    gone: Vec<KnownCredential>,
    tpm: Option<Swtpm>,
}

impl Teller {
    fn new(original: Entry, place: PathBuf) -> Result<Self, Failed> {
        fs::create_dir_all(&place)?;
        let path = place.join("volume.img");
        common::copy_sparse(File::open(&original.file)?, &path)?;
        Ok(Self {
            place,
            path,
            volume: original,
            touched: Vec::new(),
            gone: Vec::new(),
            tpm: None,
        })
    }

    fn tell(mut self, changes: &'static [&'static str]) -> Result<Told, Failed> {
        let mut stages = Vec::new();
        for (number, change) in changes.iter().enumerate() {
            if *change == "write through a mount" && trials::fuse().is_some() {
                continue;
            }
            self.touched.clear();
            self.make(change)?;
            let mut volume = self.volume.clone();
            volume.file = self.place.join(format!("{number}.img"));
            common::copy_sparse(File::open(&self.path)?, &volume.file)?;
            let keys = volume.credentials.iter();
            let touched = match REKEYED.contains(change) {
                true => keys.map(|key| key.protector.clone()).collect(),
                false => self.touched.clone(),
            };
            stages.push(Stage {
                change,
                volume,
                touched,
            });
        }
        Ok(Told {
            stages,
            gone: self.gone,
        })
    }

    fn make(&mut self, change: &str) -> Result<(), Failed> {
        match change {
            "add a startup key" => {
                let key = self.add_startup_key("keys")?;
                self.came(key);
            }
            "add a recovery password" => {
                let output = self.protector("add", &["--recovery-password"])?;
                let key = recovery_password(&output)?;
                self.came(key);
            }
            "remove" => {
                let new = self.touched_startup_key()?;
                let old = |key: &&KnownCredential| {
                    let kinds = [Kind::Password, Kind::StartupKey];
                    kinds.contains(&key.kind) && key.protector != new
                };
                let old: Vec<_> = self
                    .volume
                    .credentials
                    .iter()
                    .filter(old)
                    .cloned()
                    .collect();
                for key in old {
                    self.protector("remove", &[&key.protector])?;
                    self.went(&key);
                }
            }
            "add a password" => {
                let file = self.file("added-password", ADDED_PASSWORD)?;
                self.protector("add", &["--new-password-file", &file])?;
                let protector = self.last_protector()?;
                self.came(KnownCredential {
                    kind: Kind::Password,
                    value: ADDED_PASSWORD.to_owned(),
                    protector,
                });
            }
            "change the password" => {
                let file = self.file("changed-password", CHANGED_PASSWORD)?;
                self.protector("change-password", &["--new-password-file", &file])?;
                let old = self.volume.credential(Kind::Password).clone();
                self.touched.push(old.protector.clone());
                for key in &mut self.volume.credentials {
                    if key.kind == Kind::Password {
                        CHANGED_PASSWORD.clone_into(&mut key.value);
                    }
                }
                self.gone.push(old);
            }
            "rotate the recovery passwords" => {
                let escrow = self.place.join("escrow.txt");
                let escrow = ["--escrow-to", escrow.to_str().unwrap()];
                self.protector("rotate-recovery", &escrow)?;
                let keys = self.volume.credentials.clone();
                for key in keys {
                    if key.kind == Kind::RecoveryPassword {
                        self.went(&key);
                    }
                }
                let key = recovery_password(&self.protector("show-recovery", &[])?)?;
                self.came(key);
            }
            "suspend" => {
                self.protector("suspend", &[])?;
                let protector = self.last_protector()?;
                self.came(KnownCredential {
                    kind: Kind::ClearKey,
                    value: String::new(),
                    protector,
                });
            }
            "resume" => {
                self.protector("resume", &[])?;
                let key = self.volume.credential(Kind::ClearKey).clone();
                self.went(&key);
            }
            "restore the metadata" => {
                let backup = self.place.join("backup");
                let [source, backup] = [&self.path, &backup].map(|path| path.to_str().unwrap());
                self.fve(&["metadata", "backup", source, backup])?;
                let key = self.add_startup_key("more-keys")?;
                self.fve(&["metadata", "restore", source, backup])?;
                self.gone.push(key);
                let keys = self.volume.credentials.iter();
                self.touched = keys.map(|key| key.protector.clone()).collect();
            }
            "write through a mount" => self.write()?,
            "add a TPM protector with a PIN" => {
                let tpm = Swtpm::new();
                let tcti = format!("--tpm={}", tpm.tcti());
                let pin = self.file("pin", "135790")?;
                self.protector("add", &[&tcti, "--new-pin-file", &pin])?;
                self.tpm = Some(tpm);
            }
            "change the PIN" => {
                let tcti = self.tpm.as_ref().map(Swtpm::tcti).ok_or("no TPM")?;
                let tcti = format!("--tpm={tcti}");
                let [old, new] = [self.place.join("pin"), self.place.join("new-pin")];
                fs::write(&new, "246802")?;
                let source = self.path.to_str().unwrap();
                let [old, new] = [&old, &new].map(|path| path.to_str().unwrap());
                let pins = ["--pin-file", old, "--new-pin-file", new];
                let command = ["protector", "change-pin", source, &tcti];
                self.fve(&[&command[..], &pins].concat())?;
            }
            other => panic!("{other}"),
        }
        Ok(())
    }

    /// `fve` with these arguments, which must succeed.
    fn fve(&self, arguments: &[&str]) -> Result<Output, Failed> {
        let output = fve()
            .args(arguments)
            .env("XDG_STATE_HOME", self.place.join("state"))
            .output()?;
        if output.status.success() {
            return Ok(output);
        }
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("fve {}: {}: {told}", arguments.join(" "), output.status).into())
    }

    /// A command of `fve protector`, opened by the newest startup key, which costs no stretching,
    /// or else by the first credential.
    fn protector(&self, command: &str, more: &[&str]) -> Result<Output, Failed> {
        let keys = &self.volume.credentials;
        let newest = keys.iter().rfind(|key| key.kind == Kind::StartupKey);
        let [flag, value] = self.option(newest.unwrap_or(&keys[0]))?;
        let source = self.path.to_str().unwrap();
        let arguments = ["protector", command, source, &flag, &value];
        self.fve(&[&arguments[..], more].concat())
    }

    /// The option that takes a credential, and its value in a file.
    fn option(&self, key: &KnownCredential) -> Result<[String; 2], Failed> {
        let (option, value) = match key.kind {
            Kind::StartupKey => ("--startup-key", key.value.clone()),
            Kind::Password => ("--password-file", self.file("password", &key.value)?),
            _ => {
                let file = self.file("recovery-password", &key.value)?;
                ("--recovery-password-file", file)
            }
        };
        Ok([option.to_owned(), value])
    }

    /// The path of a file with that content.
    fn file(&self, name: &str, content: &str) -> Result<String, Failed> {
        let path = self.place.join(name);
        fs::write(&path, content)?;
        Ok(path.to_str().unwrap().to_owned())
    }

    fn add_startup_key(&self, directory: &str) -> Result<KnownCredential, Failed> {
        let keys = self.place.join(directory);
        fs::create_dir(&keys)?;
        self.protector("add", &["--startup-key-to", keys.to_str().unwrap()])?;
        let file = fs::read_dir(&keys)?.next().ok_or("no key file")??.path();
        Ok(KnownCredential {
            kind: Kind::StartupKey,
            value: file.to_str().unwrap().to_owned(),
            protector: self.last_protector()?,
        })
    }

    /// The startup key that stays where others are removed.
    fn touched_startup_key(&self) -> Result<String, Failed> {
        let mut keys = self.volume.credentials.iter();
        let newest = keys.rfind(|key| key.kind == Kind::StartupKey);
        Ok(newest.ok_or("no startup key")?.protector.clone())
    }

    /// The identifier of the last protector: the one that was added last.
    fn last_protector(&self) -> Result<String, Failed> {
        let opened = testdata::open(&self.path);
        let last = opened.metadata()?.protectors().last();
        Ok(last.ok_or("no protector")?.id.to_string())
    }

    /// A protector was added. Others of its kind are asked for, too: programs that try only one of
    /// a kind have to go on with the one that they took before.
    fn came(&mut self, key: KnownCredential) {
        let kind = key.kind;
        self.volume.credentials.push(key);
        let alike = self.volume.credentials.iter();
        let alike = alike.filter(|key| key.kind == kind);
        self.touched.extend(alike.map(|key| key.protector.clone()));
    }

    fn went(&mut self, key: &KnownCredential) {
        let keys = &mut self.volume.credentials;
        keys.retain(|other| other.protector != key.protector);
        self.gone.push(key.clone());
    }

    /// Writes through a mount, and to what is known of the plaintext.
    fn write(&mut self) -> Result<(), Failed> {
        let mut keys = self.volume.credentials.iter();
        let key = keys.rfind(|key| key.kind == Kind::StartupKey);
        let key = key.ok_or("no startup key")?.clone();
        let mut now = self.volume.clone();
        now.file.clone_from(&self.path);
        let mut plaintext = vec![0; usize::try_from(now.size)?];
        now.unlock(Some(&key))?.read_exact_at(0, &mut plaintext)?;
        let mounted = Mounted::volume(&self.path, &["--read-write", "--startup-key", &key.value]);
        let file = File::options().write(true).open(mounted.volume_file())?;
        for (number, (offset, len)) in (1..).zip(WRITTEN) {
            let bytes = vec![0xA0 | number; len];
            file.write_all_at(&bytes, offset)?;
            plaintext[offset as usize..][..len].copy_from_slice(&bytes);
        }
        drop(file);
        mounted.unmount();
        self.volume.plaintext_sha256 = common::sha256(plaintext.as_slice())?;
        self.touched = vec![key.protector];
        Ok(())
    }
}

/// The one recovery password that a command printed, with its identifier.
fn recovery_password(output: &Output) -> Result<KnownCredential, Failed> {
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    let found: Vec<_> = printed
        .lines()
        .filter_map(|line| line.split_once("  "))
        .collect();
    match found.as_slice() {
        [(id, digits)] if digits.len() == 55 => Ok(KnownCredential {
            kind: Kind::RecoveryPassword,
            value: (*digits).to_owned(),
            protector: id.to_lowercase(),
        }),
        _ => Err(format!("not one recovery password: {printed}").into()),
    }
}

/// How much is asked after each change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Every credential.
    All,
    /// Those that the change made or sealed anew, and startup keys, which cost nothing.
    Touched,
}

/// One program, one change: each credential that is to be tried.
fn peer_trial(
    story: &Arc<Story>,
    change: &'static str,
    asked: Asked,
    peer: Peer,
    missing: &Option<Missing>,
) -> Trial {
    let name = format!("{}/{}/{change}", peer.name(), story.name);
    let story = story.clone();
    trial(name, missing.clone(), move || -> Result<(), Failed> {
        let stage = story.stage(change)?;
        for key in tried(stage, asked, peer) {
            peer.check_within_limits(&stage.volume, key)
                .map_err(|failed| {
                    let word = word(&stage.volume, key);
                    format!("{word}: {}", failed.message().unwrap_or_default())
                })?;
        }
        Ok(())
    })
}

fn tried(stage: &Stage, asked: Asked, peer: Peer) -> Vec<&KnownCredential> {
    let free = [Kind::StartupKey, Kind::ClearKey];
    let mut keys: Vec<_> = stage
        .volume
        .credentials
        .iter()
        .filter(|key| match peer {
            // They tell what others of their kind told already.
            Peer::LibbdeInfo | Peer::CryptsetupDump => free.contains(&key.kind),
            _ => {
                asked == Asked::All
                    || free.contains(&key.kind)
                    || stage.touched.contains(&key.protector)
            }
        })
        .collect();
    if peer == Peer::CryptsetupDump {
        keys.truncate(1);
    }
    keys
}

/// We ourselves open it with each credential, and read what went in.
fn our_trial(story: &Arc<Story>, change: &'static str) -> Trial {
    let name = format!("ours/{}/{change}", story.name);
    let story = story.clone();
    Trial::test(name, move || {
        let stage = story.stage(change)?;
        for key in &stage.volume.credentials {
            let unlocked = stage.volume.unlock(Some(key))?;
            if key.kind != Kind::StartupKey {
                continue;
            }
            let mut plaintext = vec![0; usize::try_from(unlocked.size())?];
            unlocked.read_exact_at(0, &mut plaintext)?;
            if common::sha256(plaintext.as_slice())? != stage.volume.plaintext_sha256 {
                return Err("the plaintext is another".into());
            }
        }
        Ok(())
    })
}

/// What was removed on the way opens nothing any more, on any copy, for us and for others.
fn removed_trials(
    story: &Arc<Story>,
    last: &'static str,
    peers: &[(Peer, Option<Missing>)],
) -> Vec<Trial> {
    let ours = {
        let story = story.clone();
        Trial::test(format!("ours/{}/removed", story.name), move || {
            let image = fs::read(&story.stage(last)?.volume.file)?;
            for copy in 0..3 {
                let volume = Volume::from_source(Arc::new(only_copy(image.clone(), copy)?))?;
                for gone in &story.told()?.gone {
                    let key: Box<dyn Credential> = gone.protector();
                    if volume.unlock(&[key], &UnlockOptions::default()).is_ok() {
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
        let name = format!("{}/{}/removed", peer.name(), story.name);
        let (story, peer) = (story.clone(), *peer);
        let ask = move || -> Result<(), Failed> {
            let volume = &story.stage(last)?.volume;
            for gone in &story.told()?.gone {
                // Only dislocker is told to use a clear key.
                let asked = gone.kind != Kind::ClearKey || peer == Peer::Dislocker;
                if asked && peer.check(volume, gone).is_ok() {
                    return Err(format!("{:?} still opens the volume", gone.kind).into());
                }
            }
            Ok(())
        };
        trials.push(trial(name, missing.clone(), ask));
    }
    trials
}

/// The image with one of its metadata copies in the place of all.
fn only_copy(mut image: Vec<u8>, copy: usize) -> Result<Vec<u8>, Failed> {
    let places = Volume::from_source(Arc::new(image.clone()))?
        .metadata()?
        .copies;
    let region = |place: u64| place as usize..place as usize + 0x1_0000;
    let bytes = image[region(places[copy])].to_vec();
    for place in places {
        image[region(place)].copy_from_slice(&bytes);
    }
    Ok(image)
}

/// Volumes that Windows made, with whether they are looked at after each change: of Windows 7,
/// whose metadata lies in another order, of BitLocker To Go, and of Windows 10.
fn windows_volumes() -> Option<Vec<(Entry, bool)>> {
    const NAMES: [(&str, bool); 6] = [
        ("cs-aes-cbc-elephant-128", true),
        ("cs-togo-aes-cbc-128", true),
        ("cs-aes-xts-128", true),
        ("cs-aes-cbc-256", false),
        ("cs-aes-xts-128-4k", false),
        ("cs-aes-xts-128-crc", false),
    ];
    let volumes = corpus::volumes()?;
    let found = NAMES.iter().map(|(name, each)| {
        let volume = volumes.iter().find(|volume| volume.name == *name);
        (volume.expect("a volume of that name").entry(), *each)
    });
    Some(found.collect())
}

// The table in docs/protectors.md.

const PLACE: table::Place = table::Place {
    file: "docs/protectors.md",
    begin: "<!-- table of other programs, made by tests/protectors/peers.rs -->",
    end: "<!-- end of table of other programs -->",
    made_by: "cargo test --test protectors",
};

/// What each program opens after each change, by its limits, which the trials prove.
fn table_of(told: &Told) -> String {
    const COLUMNS: [(Peer, &str); 4] = [
        (Peer::Cryptsetup, "cryptsetup"),
        (Peer::Dislocker, "dislocker"),
        (Peer::Libbde, "libbde"),
        (Peer::Dissect, "dissect.fve"),
    ];
    let mut table = "\n| after |".to_owned();
    for (_, name) in COLUMNS {
        let _ = write!(table, " {name} |");
    }
    table += "\n|---|---|---|---|---|\n";
    for stage in &told.stages {
        let _ = write!(table, "| {} |", stage.change);
        for (peer, _) in COLUMNS {
            let keys = &stage.volume.credentials;
            let limits: Vec<_> = keys
                .iter()
                .filter_map(|key| Some((key, peer.limit(&stage.volume, key)?)))
                .collect();
            let cell = match limits.as_slice() {
                [] => "each".to_owned(),
                all if all.len() == keys.len() => "none".to_owned(),
                some => {
                    let names = some.iter().map(|(key, _)| match key.kind {
                        Kind::RecoveryPassword => "the second recovery password".to_owned(),
                        _ => word(&stage.volume, key),
                    });
                    format!("all but {}", names.collect::<Vec<_>>().join(", "))
                }
            };
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    table += "\nKnown of these programs:\n\n";
    for limit in peers::limits() {
        let _ = writeln!(table, "* {limit}");
    }
    table
}

#[trials]
fn after_every_change() -> Vec<Trial> {
    let directory = harness::directory();
    let peers: Vec<_> = Peer::ALL
        .into_iter()
        .map(|peer| (peer, peer.missing()))
        .collect();
    let last = *CHANGES.last().unwrap();
    let no_mount = trials::fuse();
    let after = |story: &Arc<Story>, change: &'static str, asked: Asked| {
        let no_mount = no_mount.clone().filter(|_| change == last);
        let mut trials: Vec<_> = peers
            .iter()
            .map(|(peer, missing)| {
                let missing = missing.clone().or_else(|| no_mount.clone());
                peer_trial(story, change, asked, *peer, &missing)
            })
            .collect();
        if no_mount.is_none() {
            trials.push(our_trial(story, change));
        }
        trials
    };
    let mut trials = Vec::new();
    let new = |entry| Story::new(entry, CHANGES, &directory);
    let first = new(testdata::volume("ntfs-xts-128"));
    for change in CHANGES {
        trials.extend(after(&first, change, Asked::All));
    }
    trials.extend(removed_trials(&first, "restore the metadata", &peers));
    for name in [
        "xts-256",
        "cbc-128",
        "cbc-256",
        "elephant-128",
        "elephant-256",
        "xts-128-4k",
        "cbc-128-4k",
        "elephant-128-4k",
    ] {
        let story = new(testdata::volume(name));
        trials.extend(after(&story, last, Asked::Touched));
    }
    match windows_volumes() {
        Some(volumes) => {
            for (volume, each) in volumes {
                let story = new(volume);
                let changes: &[_] = if each { CHANGES } else { &[last] };
                for change in changes {
                    trials.extend(after(&story, change, Asked::Touched));
                }
                if each {
                    trials.extend(removed_trials(&story, "restore the metadata", &[]));
                }
            }
        }
        None => trials.push(trial("volumes made by Windows", trials::corpus(), || ())),
    }
    let with_tpm = Story::new(testdata::volume("ntfs-xts-128"), TPM_CHANGES, &directory);
    for change in &TPM_CHANGES[1..] {
        for (peer, missing) in &peers {
            let missing = swtpm::missing().or_else(|| missing.clone());
            trials.push(peer_trial(&with_tpm, change, Asked::All, *peer, &missing));
        }
    }
    let story = first.clone();
    trials.push(trial(
        "table",
        no_mount.clone(),
        move || -> Result<(), Failed> {
            Ok(table::compare_or_write(&PLACE, &table_of(story.told()?))?)
        },
    ));
    trials
}
