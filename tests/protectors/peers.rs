//! Other programs unlock a volume after every kind of change that `fve` makes, with each credential and
//! with the right plaintext; and no program unlocks it with a removed credential.
//!
//! A volume goes through all changes one after the other, and a copy is kept after each for the trials:
//! test volumes of every cipher, and volumes that Windows made. Missing programs, and what programs are
//! known not to do, are handled as in `tests/volume/peers.rs`. The results for one of the volumes are the
//! table in `docs/protectors.md`: `FVE_WRITE_TABLE=1` writes it, every other run compares it.

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

/// The changes, in order.
const CHANGES: &[&str] = &[
    "add a startup key",
    "add a recovery password",
    "remove",
    "add a password",
    "change the password",
    "change the startup key",
    "rotate the recovery passwords",
    "suspend",
    "resume",
    "set the identification field",
    "restore the metadata",
    "write through a mount",
];

/// The changes to a volume that gets a TPM protector.
const TPM_CHANGES: &[&str] = &["remove", "add a TPM protector with a PIN", "change the PIN"];

/// The changes after which every protector is different, because the volume has a new VMK.
const REKEYED: &[&str] = &[
    "remove",
    "change the startup key",
    "rotate the recovery passwords",
    "resume",
];

const ADDED_PASSWORD: &str = "a password that was added";
const CHANGED_PASSWORD: &str = "a password that was changed";

/// Offset and length of what is written through a mount: across the end of the moved boot sectors, and from
/// the middle of one sector to the middle of another.
const WRITTEN: [(u64, usize); 2] = [(0x1F00, 700), (0x9005, 1234)];

/// The volume after one of the changes.
struct Stage {
    change: &'static str,
    volume: Entry,
    /// Protectors that the change made or sealed again, and all others of the same kind as a new one.
    touched: Vec<String>,
}

/// A volume after each of the changes.
struct History {
    stages: Vec<Stage>,
    /// Credentials that were removed and must no longer unlock the volume.
    gone: Vec<KnownCredential>,
}

type Outcome = Result<History, String>;

struct Subject {
    name: String,
    history: LazyLock<Outcome, Box<dyn FnOnce() -> Outcome + Send>>,
}

impl Subject {
    fn new(original: Entry, changes: &'static [&'static str], directory: &Path) -> Arc<Self> {
        let name = match changes.contains(&"change the PIN") {
            true => format!("{}, TPM", original.name),
            false => original.name.clone(),
        };
        let place = directory.join(&name);
        let run = move || {
            let history = Changer::new(original, place).and_then(|changer| changer.run(changes));
            history.map_err(|failed| format!("{failed:?}"))
        };
        Arc::new(Self {
            name,
            history: LazyLock::new(Box::new(run)),
        })
    }

    fn history(&self) -> Result<&History, Failed> {
        self.history.as_ref().map_err(Failed::from)
    }

    fn stage(&self, change: &str) -> Result<&Stage, Failed> {
        let mut stages = self.history()?.stages.iter();
        let found = stages.find(|stage| stage.change == change);
        found.ok_or_else(|| format!("the change was not made: {change}").into())
    }
}

/// Makes the changes.
struct Changer {
    place: PathBuf,
    /// The volume that is changed.
    path: PathBuf,
    /// Its present state, with all credentials in the order of their protectors.
    volume: Entry,
    touched: Vec<String>,
    gone: Vec<KnownCredential>,
    tpm: Option<Swtpm>,
}

impl Changer {
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

    fn run(mut self, changes: &'static [&'static str]) -> Result<History, Failed> {
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
        Ok(History {
            stages,
            gone: self.gone,
        })
    }

    fn make(&mut self, change: &str) -> Result<(), Failed> {
        match change {
            "add a startup key" => {
                let key = self.add_startup_key("keys")?;
                self.record_added(key);
            }
            "add a recovery password" => {
                let output = self.protector("add", &["--recovery-password"])?;
                let key = recovery_password(&output)?;
                self.record_added(key);
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
                    self.record_removed(&key);
                }
            }
            "add a password" => {
                let file = self.file("added-password", ADDED_PASSWORD)?;
                self.protector("add", &["--new-password-file", &file])?;
                let protector = self.last_protector()?;
                self.record_added(KnownCredential {
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
            "change the startup key" => {
                let old = self.newest(Kind::StartupKey)?.clone();
                let key = self.startup_key("change-startup-key", "changed-keys")?;
                self.record_removed(&old);
                self.record_added(key);
            }
            "rotate the recovery passwords" => {
                let escrow = self.place.join("escrow.txt");
                let escrow = ["--escrow-to", escrow.to_str().unwrap()];
                self.protector("rotate-recovery", &escrow)?;
                let keys = self.volume.credentials.clone();
                for key in keys {
                    if key.kind == Kind::RecoveryPassword {
                        self.record_removed(&key);
                    }
                }
                let key = recovery_password(&self.protector("show-recovery", &[])?)?;
                self.record_added(key);
            }
            "suspend" => {
                self.protector("suspend", &[])?;
                let protector = self.last_protector()?;
                self.record_added(KnownCredential {
                    kind: Kind::ClearKey,
                    value: String::new(),
                    protector,
                });
            }
            "resume" => {
                self.protector("resume", &[])?;
                let key = self.volume.credential(Kind::ClearKey).clone();
                self.record_removed(&key);
            }
            "set the identification field" => {
                let [flag, value] = self.option(self.newest(Kind::StartupKey)?)?;
                let source = self.path.to_str().unwrap();
                let arguments = ["metadata", "set-identifier", source, "example.org"];
                self.fve(&[&arguments[..], &[&flag, &value]].concat())?;
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
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("fve {}: {}: {message}", arguments.join(" "), output.status).into())
    }

    /// Runs a command of `fve protector` with the newest startup key, which needs no stretching, or else with
    /// the first credential.
    fn protector(&self, command: &str, more: &[&str]) -> Result<Output, Failed> {
        let keys = &self.volume.credentials;
        let newest = keys.iter().rfind(|key| key.kind == Kind::StartupKey);
        let [flag, value] = self.option(newest.unwrap_or(&keys[0]))?;
        let source = self.path.to_str().unwrap();
        let arguments = ["protector", command, source, &flag, &value];
        self.fve(&[&arguments[..], more].concat())
    }

    /// The option for a credential, and its value, which is a file.
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

    /// Writes a file, and returns its path.
    fn file(&self, name: &str, content: &str) -> Result<String, Failed> {
        let path = self.place.join(name);
        fs::write(&path, content)?;
        Ok(path.to_str().unwrap().to_owned())
    }

    fn add_startup_key(&self, directory: &str) -> Result<KnownCredential, Failed> {
        self.startup_key("add", directory)
    }

    /// The startup key that a command of `fve protector` saves in a new directory.
    fn startup_key(&self, command: &str, directory: &str) -> Result<KnownCredential, Failed> {
        let keys = self.place.join(directory);
        fs::create_dir(&keys)?;
        self.protector(command, &["--startup-key-to", keys.to_str().unwrap()])?;
        let file = fs::read_dir(&keys)?.next().ok_or("no key file")??.path();
        Ok(KnownCredential {
            kind: Kind::StartupKey,
            value: file.to_str().unwrap().to_owned(),
            protector: self.last_protector()?,
        })
    }

    /// The protector of the newest startup key, which stays when others are removed.
    fn touched_startup_key(&self) -> Result<String, Failed> {
        Ok(self.newest(Kind::StartupKey)?.protector.clone())
    }

    fn newest(&self, kind: Kind) -> Result<&KnownCredential, Failed> {
        let mut keys = self.volume.credentials.iter();
        let newest = keys.rfind(|key| key.kind == kind);
        Ok(newest.ok_or("no credential of that kind")?)
    }

    /// The identifier of the last protector: the one that was added last.
    fn last_protector(&self) -> Result<String, Failed> {
        let opened = testdata::open(&self.path);
        let last = opened.metadata()?.protectors().last();
        Ok(last.ok_or("no protector")?.id.to_string())
    }

    /// Records an added protector. Others of its kind count as touched, too: programs that try only one of a
    /// kind must still try the same one.
    fn record_added(&mut self, key: KnownCredential) {
        let kind = key.kind;
        self.volume.credentials.push(key);
        let alike = self.volume.credentials.iter();
        let alike = alike.filter(|key| key.kind == kind);
        self.touched.extend(alike.map(|key| key.protector.clone()));
    }

    fn record_removed(&mut self, key: &KnownCredential) {
        let keys = &mut self.volume.credentials;
        keys.retain(|other| other.protector != key.protector);
        self.gone.push(key.clone());
    }

    /// Writes through a mount, and updates the expected hash of the plaintext.
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

/// How many credentials are tried after each change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tried {
    /// Every credential.
    All,
    /// Those of touched protectors, and startup keys, which need no stretching.
    Touched,
}

/// A trial of one program after one change, with each credential to try.
fn peer_trial(
    subject: &Arc<Subject>,
    change: &'static str,
    tried_with: Tried,
    peer: Peer,
    missing: &Option<Missing>,
) -> Trial {
    let name = format!("{}/{}/{change}", peer.name(), subject.name);
    let subject = subject.clone();
    trial(name, missing.clone(), move || -> Result<(), Failed> {
        let stage = subject.stage(change)?;
        for key in tried(stage, tried_with, peer) {
            peer.check_within_limits(&stage.volume, key)
                .map_err(|failed| {
                    let word = word(&stage.volume, key);
                    format!("{word}: {}", failed.message().unwrap_or_default())
                })?;
        }
        Ok(())
    })
}

fn tried(stage: &Stage, tried_with: Tried, peer: Peer) -> Vec<&KnownCredential> {
    let free = [Kind::StartupKey, Kind::ClearKey];
    let mut keys: Vec<_> = stage
        .volume
        .credentials
        .iter()
        .filter(|key| match peer {
            // Libbde and Cryptsetup try the others; here those without stretching are enough.
            Peer::LibbdeInfo | Peer::CryptsetupDump => free.contains(&key.kind),
            _ => {
                tried_with == Tried::All
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

/// A trial of `fve` itself: each credential unlocks the volume, and the plaintext is right.
fn our_trial(subject: &Arc<Subject>, change: &'static str) -> Trial {
    let name = format!("ours/{}/{change}", subject.name);
    let subject = subject.clone();
    Trial::test(name, move || {
        let stage = subject.stage(change)?;
        for key in &stage.volume.credentials {
            let unlocked = stage.volume.unlock(Some(key))?;
            if key.kind != Kind::StartupKey {
                continue;
            }
            let mut plaintext = vec![0; usize::try_from(unlocked.size())?];
            unlocked.read_exact_at(0, &mut plaintext)?;
            if common::sha256(plaintext.as_slice())? != stage.volume.plaintext_sha256 {
                return Err("the plaintext is wrong".into());
            }
        }
        Ok(())
    })
}

/// Trials that removed credentials unlock none of the copies, with `fve` and with other programs.
fn removed_trials(
    subject: &Arc<Subject>,
    last: &'static str,
    peers: &[(Peer, Option<Missing>)],
) -> Vec<Trial> {
    let ours = {
        let subject = subject.clone();
        Trial::test(format!("ours/{}/removed", subject.name), move || {
            let image = fs::read(&subject.stage(last)?.volume.file)?;
            for copy in 0..3 {
                let volume = Volume::from_source(Arc::new(only_copy(image.clone(), copy)?))?;
                for gone in &subject.history()?.gone {
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
        let name = format!("{}/{}/removed", peer.name(), subject.name);
        let (subject, peer) = (subject.clone(), *peer);
        let ask = move || -> Result<(), Failed> {
            let volume = &subject.stage(last)?.volume;
            for gone in &subject.history()?.gone {
                // Of the other programs, only dislocker has an option to use the clear key.
                let tried_with = gone.kind != Kind::ClearKey || peer == Peer::Dislocker;
                if tried_with && peer.check(volume, gone).is_ok() {
                    return Err(format!("{:?} still opens the volume", gone.kind).into());
                }
            }
            Ok(())
        };
        trials.push(trial(name, missing.clone(), ask));
    }
    trials
}

/// The image with one of its metadata copies in place of all three.
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

/// Volumes that Windows made, and whether they are tried after each change: of Windows 7, which has the
/// datums in another order, of BitLocker To Go, and of Windows 10.
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

/// What each program unlocks after each change, according to its known limits, which the trials prove.
fn table_of(history: &History) -> String {
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
    for stage in &history.stages {
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
    let after = |subject: &Arc<Subject>, change: &'static str, tried_with: Tried| {
        let no_mount = no_mount.clone().filter(|_| change == last);
        let mut trials: Vec<_> = peers
            .iter()
            .map(|(peer, missing)| {
                let missing = missing.clone().or_else(|| no_mount.clone());
                peer_trial(subject, change, tried_with, *peer, &missing)
            })
            .collect();
        if no_mount.is_none() {
            trials.push(our_trial(subject, change));
        }
        trials
    };
    let mut trials = Vec::new();
    let new = |entry| Subject::new(entry, CHANGES, &directory);
    let first = new(testdata::volume("ntfs-xts-128"));
    for change in CHANGES {
        trials.extend(after(&first, change, Tried::All));
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
        let subject = new(testdata::volume(name));
        trials.extend(after(&subject, last, Tried::Touched));
    }
    match windows_volumes() {
        Some(volumes) => {
            for (volume, each) in volumes {
                let subject = new(volume);
                let changes: &[_] = if each { CHANGES } else { &[last] };
                for change in changes {
                    trials.extend(after(&subject, change, Tried::Touched));
                }
                if each {
                    trials.extend(removed_trials(&subject, "restore the metadata", &[]));
                }
            }
        }
        None => trials.push(trial("volumes made by Windows", trials::corpus(), || ())),
    }
    let with_tpm = Subject::new(testdata::volume("ntfs-xts-128"), TPM_CHANGES, &directory);
    for change in &TPM_CHANGES[1..] {
        for (peer, missing) in &peers {
            let missing = swtpm::missing().or_else(|| missing.clone());
            trials.push(peer_trial(&with_tpm, change, Tried::All, *peer, &missing));
        }
    }
    let subject = first.clone();
    trials.push(trial(
        "table",
        no_mount.clone(),
        move || -> Result<(), Failed> {
            Ok(table::compare_or_write(
                &PLACE,
                &table_of(subject.history()?),
            )?)
        },
    ));
    trials
}
