//! Independent programs that read BitLocker volumes: what each can do, and how it is asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::{Failed, Trial};

use super::testdata::{Credential, Entry, Kind};
use super::trials::{self, Missing};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// `dislocker-file` writes the whole plaintext.
    Dislocker,
    /// `bdemount` shows the plaintext as a file.
    Libbde,
    /// `bdeinfo` tells the volume's identifier after unlocking it.
    LibbdeInfo,
    /// `cryptsetup bitlkOpen --test-passphrase` checks credential, sector key and metadata hash;
    /// its plaintext would take device-mapper.
    Cryptsetup,
    /// `cryptsetup bitlkDump` tells the metadata.
    CryptsetupDump,
    /// The Python library.
    Dissect,
}

/// What a program cannot do, and since when we know. Told by running it, of the versions in
/// Debian 12 (dislocker 0.7.2, libbde 20190102, cryptsetup 2.6.1) and dissect.fve 4.6. Marked
/// "(Windows too)" where it fails alike on a volume that Windows made.
type Limit = (Peer, fn(&Entry, &Credential) -> bool, &'static str);

const LIMITS: &[Limit] = &[
    (
        Peer::Dislocker,
        |volume, _| volume.encrypt_on_write,
        "dislocker 0.7.2 crashes on encrypt-on-write volumes",
    ),
    (
        Peer::Dislocker,
        |volume, _| volume.state.0 == 3,
        "dislocker ends the plaintext of a part-converted volume at the watermark (Windows too)",
    ),
    (
        Peer::Dislocker,
        |_, credential| credential.kind == Kind::Password && !credential.value.is_ascii(),
        "dislocker fails on passwords beyond ASCII (Windows too)",
    ),
    (
        Peer::Dislocker,
        |_, credential| credential.kind == Kind::StartupKey && len(&credential.value) == 180,
        "dislocker 0.7.2 crashes on the .BEK files of Windows 11 (Windows too)",
    ),
    (
        Peer::Dislocker,
        |volume, _| volume.name == "unknown-datums",
        "dislocker 0.7.2 crashes on datum types that it does not know",
    ),
    (Peer::Dislocker, second_recovery_password, ONLY_FIRST),
    (Peer::Libbde, second_recovery_password, ONLY_FIRST),
    (Peer::LibbdeInfo, second_recovery_password, ONLY_FIRST),
    (Peer::Libbde, not_ntfs, NOT_NTFS),
    (Peer::LibbdeInfo, not_ntfs, NOT_NTFS),
    (Peer::Libbde, xts_256, XTS_256),
    (Peer::LibbdeInfo, xts_256, XTS_256),
    (
        Peer::Cryptsetup,
        |volume, _| volume.encrypt_on_write || volume.state != (4, 4),
        "cryptsetup 2.6.1 opens only volumes that are encrypted as a whole (Windows too)",
    ),
    (
        Peer::Cryptsetup,
        |volume, _| {
            volume
                .credentials
                .iter()
                .any(|key| key.kind == Kind::ClearKey)
        },
        "cryptsetup 2.6.1 opens no volume with a clear key (Windows too)",
    ),
    (
        Peer::Cryptsetup,
        |_, credential| credential.kind == Kind::Password && !credential.value.is_ascii(),
        "cryptsetup 2.6.1 fails on passwords beyond ASCII (Windows too)",
    ),
    (
        Peer::CryptsetupDump,
        |volume, _| volume.method == "none",
        "cryptsetup 2.6.1 refuses volumes without an encryption method",
    ),
];

const ONLY_FIRST: &str = "tries only the first recovery password (Windows too)";
const NOT_NTFS: &str = "libbde 20190102 takes only NTFS inside: it asks it for the volume's size";
const XTS_256: &str = "libbde 20190102 refuses the key of XTS-AES 256";

fn second_recovery_password(volume: &Entry, credential: &Credential) -> bool {
    let mut recovery = volume
        .credentials
        .iter()
        .filter(|key| key.kind == Kind::RecoveryPassword);
    credential.kind == Kind::RecoveryPassword
        && recovery
            .next()
            .is_some_and(|first| first.protector != credential.protector)
}

fn not_ntfs(volume: &Entry, _: &Credential) -> bool {
    volume.file_system != "ntfs"
}

fn xts_256(volume: &Entry, _: &Credential) -> bool {
    volume.method == "aes-xts-256"
}

fn len(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Dislocker,
        Self::Libbde,
        Self::LibbdeInfo,
        Self::Cryptsetup,
        Self::CryptsetupDump,
        Self::Dissect,
    ];

    /// What it is called in the names of trials.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dislocker => "dislocker",
            Self::Libbde => "libbde",
            Self::LibbdeInfo => "bdeinfo",
            Self::Cryptsetup => "cryptsetup",
            Self::CryptsetupDump => "cryptsetup-dump",
            Self::Dissect => "dissect",
        }
    }

    /// Why it cannot be run here, if it cannot.
    pub fn missing(self) -> Option<Missing> {
        let (mut probe, name) = match self {
            Self::Dislocker => (Command::new("dislocker-file"), "dislocker-file"),
            Self::Libbde if trials::fuse().is_some() => return trials::fuse(),
            Self::Libbde => (Command::new("bdemount"), "bdemount"),
            Self::LibbdeInfo => (Command::new("bdeinfo"), "bdeinfo"),
            Self::Cryptsetup | Self::CryptsetupDump => (Command::new("cryptsetup"), "cryptsetup"),
            Self::Dissect => {
                let mut python = Command::new(python());
                python.args(["-c", "import dissect.fve"]);
                let there = python.output().is_ok_and(|output| output.status.success());
                return (!there)
                    .then(|| Missing::Tool("dissect.fve cannot be imported".to_owned()));
            }
        };
        let found = probe.arg("-V").output();
        found
            .err()
            .map(|error| Missing::Tool(format!("{name} cannot be run: {error}")))
    }

    /// Why it cannot open this volume with this credential, if that is known.
    pub fn limit(self, volume: &Entry, credential: &Credential) -> Option<Missing> {
        LIMITS
            .iter()
            .find(|(limited, applies, _)| *limited == self && applies(volume, credential))
            .map(|(_, _, reason)| Missing::Optional((*reason).to_owned()))
    }

    /// Opens the volume with the credential and compares what comes out, where anything does.
    pub fn check(self, volume: &Entry, credential: &Credential) -> Result<(), Failed> {
        let directory = tempfile::tempdir()?;
        let place = directory.path();
        match self {
            Self::Dislocker => compare(volume, credential, &dislocker(volume, credential, place)?),
            Self::Libbde => compare(volume, credential, &libbde(volume, credential, place)?),
            Self::Dissect => compare(volume, credential, &dissect(volume, credential, place)?),
            Self::LibbdeInfo => {
                let mut info = Command::new("bdeinfo");
                let output = run(bde_options(&mut info, credential).arg(&volume.file), "")?;
                told(&output, &[&volume.volume_id])
            }
            Self::Cryptsetup => cryptsetup(volume, credential),
            Self::CryptsetupDump => {
                let mut dump = Command::new("cryptsetup");
                let output = run(dump.arg("bitlkDump").arg(&volume.file), "")?;
                let sector_size = format!("{} [bytes]", volume.sector_size);
                told(&output, &[&volume.volume_id, &sector_size])
            }
        }
    }
}

fn python() -> std::ffi::OsString {
    std::env::var_os("FVE_PYTHON").unwrap_or_else(|| "python3".into())
}

fn dislocker(volume: &Entry, key: &Credential, place: &Path) -> Result<Vec<u8>, Failed> {
    let plaintext = place.join("plaintext");
    let mut dislocker = Command::new("dislocker-file");
    dislocker.arg("-V").arg(&volume.file);
    match key.kind {
        Kind::Password => dislocker.arg(format!("-u{}", key.value)),
        Kind::RecoveryPassword => dislocker.arg(format!("-p{}", key.value)),
        Kind::StartupKey => dislocker.arg("-f").arg(&key.value),
        Kind::ClearKey => dislocker.arg("-c"),
    };
    run(dislocker.arg("--").arg(&plaintext), "")?;
    Ok(fs::read(plaintext)?)
}

fn libbde(volume: &Entry, key: &Credential, place: &Path) -> Result<Vec<u8>, Failed> {
    let mounted = Mounted(place.join("mounted"));
    fs::create_dir(&mounted.0)?;
    let mut bdemount = Command::new("bdemount");
    bde_options(&mut bdemount, key)
        .arg(&volume.file)
        .arg(&mounted.0);
    run(&mut bdemount, "")?;
    Ok(fs::read(mounted.0.join("bde1"))?)
}

fn bde_options<'a>(command: &'a mut Command, key: &Credential) -> &'a mut Command {
    match key.kind {
        Kind::Password => command.args(["-p", &key.value]),
        Kind::RecoveryPassword => command.args(["-r", &key.value]),
        Kind::StartupKey => command.args(["-s", &key.value]),
        Kind::ClearKey => command,
    }
}

fn cryptsetup(volume: &Entry, key: &Credential) -> Result<(), Failed> {
    let mut cryptsetup = Command::new("cryptsetup");
    cryptsetup.args(["bitlkOpen", "--test-passphrase"]);
    let typed = match key.kind {
        Kind::StartupKey => {
            cryptsetup.args(["--key-file", &key.value]);
            ""
        }
        _ => &key.value,
    };
    run(cryptsetup.arg(&volume.file), typed).map(drop)
}

/// Reads an encrypt-on-write volume sector by sector: dissect rounds to whole chunks from wherever
/// a read starts, so longer reads come out wrong on real volumes too.
const DISSECT: &str = r#"
import sys
from dissect.fve.bde import BDE
image, kind, value, plaintext, size, step = sys.argv[1:]
bde = BDE(open(image, "rb"))
if kind == "Password":
    bde.unlock_with_passphrase(value)
elif kind == "RecoveryPassword":
    bde.unlock_with_recovery_password(value)
elif kind == "StartupKey":
    bde.unlock_with_bek(open(value, "rb"))
elif kind == "ClearKey":
    bde.unlock_with_clear_key()
stream = bde.open()
size, step = int(size), int(step)
with open(plaintext, "wb") as out:
    for offset in range(0, size, step):
        stream.seek(offset)
        out.write(stream.read(min(step, size - offset)))
    stream.seek(size)
    out.write(stream.read(512))
"#;

fn dissect(volume: &Entry, key: &Credential, place: &Path) -> Result<Vec<u8>, Failed> {
    let plaintext = place.join("plaintext");
    let step = if volume.encrypt_on_write {
        512
    } else {
        1 << 20
    };
    let kind = match volume.credentials.as_slice() {
        [] => "nothing".to_owned(),
        _ => format!("{:?}", key.kind),
    };
    let mut command = Command::new(python());
    command.args(["-c", DISSECT]).arg(&volume.file);
    command.args([&kind, &key.value]).arg(&plaintext);
    command.args([volume.size.to_string(), step.to_string()]);
    run(&mut command, "")?;
    Ok(fs::read(plaintext)?)
}

/// Runs a program with something typed into it.
pub fn run(command: &mut Command, typed: &str) -> Result<Output, Failed> {
    use std::io::Write;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read ends the pipe early.
        let _ = input.write_all(typed.as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(output);
    }
    let told = [output.stdout, output.stderr].concat();
    Err(format!("{}: {}", output.status, String::from_utf8_lossy(&told)).into())
}

fn told(output: &Output, words: &[&str]) -> Result<(), Failed> {
    let text = String::from_utf8_lossy(&output.stdout);
    match words.iter().find(|word| !text.contains(*word)) {
        Some(word) => Err(format!("it does not tell {word}: {text}").into()),
        None => Ok(()),
    }
}

/// Compares a program's plaintext with ours and with the index.
fn compare(volume: &Entry, credential: &Credential, theirs: &[u8]) -> Result<(), Failed> {
    let keyless = volume.credentials.is_empty();
    let unlocked = volume.unlock((!keyless).then_some(credential))?;
    let mut ours = vec![0; usize::try_from(unlocked.size())?];
    unlocked.read_at(0, &mut ours)?;
    if ours.len() != theirs.len() {
        return Err(format!("{} bytes, we read {}", theirs.len(), ours.len()).into());
    }
    if let Some(at) = ours.iter().zip(theirs).position(|(a, b)| a != b) {
        return Err(format!("the first difference is at {at:#x}").into());
    }
    let hash = super::sha256(theirs)?;
    if hash != volume.plaintext_sha256 {
        return Err("both read alike, but not what went in".into());
    }
    Ok(())
}

/// A mount point, unmounted whatever happens.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        for command in [&["fusermount", "-u"][..], &["umount"]] {
            let mut unmount = Command::new(command[0]);
            unmount.args(&command[1..]).arg(&self.0);
            if unmount.output().is_ok_and(|output| output.status.success()) {
                return;
            }
        }
    }
}

/// [`Peer::check`] as a trial: ignored where the program has a known limit or is missing.
pub fn trial(
    peer: Peer,
    volume: &Entry,
    credential: &Credential,
    missing: Option<Missing>,
) -> Trial {
    let name = format!(
        "{}/{}/{}",
        peer.name(),
        volume.name,
        word(volume, credential)
    );
    let limit = peer.limit(volume, credential);
    let (volume, credential) = (volume.clone(), credential.clone());
    trials::trial(name, limit.or(missing), move || {
        peer.check(&volume, &credential)
    })
}

/// The credential in a trial's name: its kind, and its number where there are several.
fn word(volume: &Entry, credential: &Credential) -> String {
    let word = match credential.kind {
        Kind::Password => "password",
        Kind::RecoveryPassword => "recovery-password",
        Kind::StartupKey => "startup-key",
        Kind::ClearKey if volume.credentials.is_empty() => "nothing",
        Kind::ClearKey => "clear-key",
    };
    let same: Vec<_> = volume
        .credentials
        .iter()
        .filter(|key| key.kind == credential.kind)
        .collect();
    match same
        .iter()
        .position(|key| key.protector == credential.protector)
    {
        Some(number) if same.len() > 1 => format!("{word}-{}", number + 1),
        _ => word.to_owned(),
    }
}
