//! Independent programs that read BitLocker volumes: what each can do, and how it is asked.

use std::fs;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::Failed;

use super::testdata::{self, Entry, Kind, KnownCredential};
use super::trials::{self, Missing, Trial};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// `dislocker-file` writes the whole plaintext; of large volumes `dislocker-fuse` shows it.
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
/// "(Windows too)" where it fails alike on a volume that Windows made; `peers.rs` asks for that.
///
/// A limit is no excuse from being asked: [`Peer::check_within_limits`] fails where a program does
/// what it is said not to do.
type Limit = (Peer, fn(&Entry, &KnownCredential) -> bool, &'static str);

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
        Peer::Libbde,
        clear_key_of_windows_10,
        CLEAR_KEY_OF_WINDOWS_10,
    ),
    (
        Peer::LibbdeInfo,
        clear_key_of_windows_10,
        CLEAR_KEY_OF_WINDOWS_10,
    ),
    (Peer::Libbde, copy_missing, COPY_MISSING),
    (Peer::LibbdeInfo, copy_missing, COPY_MISSING),
    (
        Peer::Dislocker,
        |volume, _| volume.name == "unknown-datums",
        "dislocker 0.7.2 crashes on datum types that it does not know",
    ),
    (
        Peer::Dislocker,
        second_recovery_password,
        "dislocker tries only the first recovery password (Windows too)",
    ),
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

const ONLY_FIRST: &str = "libbde 20190102 tries only the first recovery password (Windows too)";
const NTFS: &str = "ntfs";
const NOT_NTFS: &str =
    "libbde 20190102 takes only NTFS inside: it asks it for the volume's size (Windows too)";
const XTS_256: &str = "libbde 20190102 refuses the key of XTS-AES 256";

const CLEAR_KEY_OF_WINDOWS_10: &str =
    "libbde 20190102 takes no clear key with the flags 3 that Windows 10 gives it (Windows too)";

fn clear_key_of_windows_10(volume: &Entry, _: &KnownCredential) -> bool {
    volume.name == "cs-aes-xts-128-clearkey-only"
}

const COPY_MISSING: &str = "libbde 20190102 takes no volume without all three copies (Windows too)";

fn copy_missing(volume: &Entry, _: &KnownCredential) -> bool {
    volume.name == "ds-win7_partial"
}

/// All that programs are known not to do, each once.
pub fn limits() -> Vec<&'static str> {
    let mut limits: Vec<_> = LIMITS.iter().map(|(_, _, limit)| *limit).collect();
    limits.sort_unstable();
    limits.dedup();
    limits
}

fn second_recovery_password(volume: &Entry, credential: &KnownCredential) -> bool {
    let mut recovery = volume
        .credentials
        .iter()
        .filter(|key| key.kind == Kind::RecoveryPassword);
    credential.kind == Kind::RecoveryPassword
        && recovery
            .next()
            .is_some_and(|first| first.protector != credential.protector)
}

fn not_ntfs(volume: &Entry, _: &KnownCredential) -> bool {
    ![NTFS, testdata::TO_GO].contains(&volume.file_system.as_str())
}

fn xts_256(volume: &Entry, _: &KnownCredential) -> bool {
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
    pub fn limit(self, volume: &Entry, credential: &KnownCredential) -> Option<&'static str> {
        LIMITS
            .iter()
            .find(|(limited, applies, _)| *limited == self && applies(volume, credential))
            .map(|(_, _, reason)| *reason)
    }

    /// [`Self::check`], which must fail where the program has a known limit: one that has been
    /// mended since, or never was one, is to be taken out of the list.
    pub fn check_within_limits(
        self,
        volume: &Entry,
        credential: &KnownCredential,
    ) -> Result<(), Failed> {
        let outcome = self.check(volume, credential);
        match (self.limit(volume, credential), outcome) {
            (None, outcome) => outcome,
            (Some(_), Err(_)) => Ok(()),
            (Some(limit), Ok(())) => Err(format!(
                "{} opens it, although it is listed with a limit: {limit}",
                self.name()
            )
            .into()),
        }
    }

    /// Opens the volume with the credential and compares what comes out, where anything does.
    pub fn check(self, volume: &Entry, credential: &KnownCredential) -> Result<(), Failed> {
        let directory = tempfile::tempdir()?;
        let place = directory.path();
        let pieces = pieces(volume);
        match self {
            Self::Dislocker => compare(
                volume,
                credential,
                &pieces,
                &dislocker(volume, credential, &pieces, place)?,
            ),
            Self::Libbde => compare(
                volume,
                credential,
                &pieces,
                &libbde(volume, credential, &pieces, place)?,
            ),
            Self::Dissect => compare(
                volume,
                credential,
                &pieces,
                &dissect(volume, credential, &pieces, place)?,
            ),
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

/// Volumes of which programs need not show everything: it takes them minutes.
const LARGE: u64 = 64 << 20;

/// What a program shows of a volume: its size, and some or all of its plaintext.
struct Shown {
    size: u64,
    bytes: Vec<u8>,
}

impl Shown {
    fn of_file(path: &Path, pieces: &[Range<u64>]) -> Result<Self, Failed> {
        let file = File::open(path)?;
        let mut shown = Self {
            size: file.metadata()?.len(),
            bytes: Vec::new(),
        };
        for piece in pieces {
            let start = shown.bytes.len();
            shown
                .bytes
                .resize(start + usize::try_from(piece.end - piece.start)?, 0);
            file.read_exact_at(&mut shown.bytes[start..], piece.start)?;
        }
        Ok(shown)
    }
}

/// What is looked at: everything, or of a large volume its ends and what lies around the metadata.
fn pieces(volume: &Entry) -> Vec<Range<u64>> {
    const LEN: u64 = 0x1_0000;
    if volume.size <= LARGE {
        return std::iter::once(0..volume.size).collect();
    }
    let opened = testdata::open(&volume.file);
    let mut places = vec![0, volume.size - LEN];
    if let Ok(metadata) = opened.metadata() {
        let moved = metadata.header_source;
        for place in metadata.copies.into_iter().chain([moved]) {
            places.extend([place.saturating_sub(LEN), place, place + LEN]);
        }
    }
    let aligned = places.into_iter().map(|place| place & !0xFFF);
    aligned
        .filter(|place| place + LEN <= volume.size)
        .map(|place| place..place + LEN)
        .collect()
}

fn dislocker(
    volume: &Entry,
    key: &KnownCredential,
    pieces: &[Range<u64>],
    place: &Path,
) -> Result<Shown, Failed> {
    let large = volume.size > LARGE;
    let mut dislocker = Command::new(if large {
        "dislocker-fuse"
    } else {
        "dislocker-file"
    });
    dislocker.arg("-V").arg(&volume.file);
    match key.kind {
        Kind::Password => dislocker.arg(format!("-u{}", key.value)),
        Kind::RecoveryPassword => dislocker.arg(format!("-p{}", key.value)),
        Kind::StartupKey => dislocker.arg("-f").arg(&key.value),
        Kind::ClearKey => dislocker.arg("-c"),
    };
    if large {
        let mounted = Mounted(place.join("mounted"));
        fs::create_dir(&mounted.0)?;
        run(dislocker.arg("--").arg(&mounted.0), "")?;
        return Shown::of_file(&mounted.0.join("dislocker-file"), pieces);
    }
    let plaintext = place.join("plaintext");
    run(dislocker.arg("--").arg(&plaintext), "")?;
    Shown::of_file(&plaintext, pieces)
}

fn libbde(
    volume: &Entry,
    key: &KnownCredential,
    pieces: &[Range<u64>],
    place: &Path,
) -> Result<Shown, Failed> {
    let mounted = Mounted(place.join("mounted"));
    fs::create_dir(&mounted.0)?;
    let mut bdemount = Command::new("bdemount");
    bde_options(&mut bdemount, key)
        .arg(&volume.file)
        .arg(&mounted.0);
    run(&mut bdemount, "")?;
    Shown::of_file(&mounted.0.join("bde1"), pieces)
}

fn bde_options<'a>(command: &'a mut Command, key: &KnownCredential) -> &'a mut Command {
    match key.kind {
        Kind::Password => command.args(["-p", &key.value]),
        Kind::RecoveryPassword => command.args(["-r", &key.value]),
        Kind::StartupKey => command.args(["-s", &key.value]),
        Kind::ClearKey => command,
    }
}

fn cryptsetup(volume: &Entry, key: &KnownCredential) -> Result<(), Failed> {
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
image, kind, value, plaintext, size, step, *pieces = sys.argv[1:]
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
    for piece in pieces:
        start, end = map(int, piece.split("-"))
        for offset in range(start, end, step):
            stream.seek(offset)
            out.write(stream.read(min(step, end - offset)))
    stream.seek(size)
    out.write(stream.read(512))
"#;

fn dissect(
    volume: &Entry,
    key: &KnownCredential,
    pieces: &[Range<u64>],
    place: &Path,
) -> Result<Shown, Failed> {
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
    command.args(
        pieces
            .iter()
            .map(|piece| format!("{}-{}", piece.start, piece.end)),
    );
    run(&mut command, "")?;
    let mut bytes = fs::read(plaintext)?;
    // What stands behind the pieces was read from behind the end of the volume.
    let asked = usize::try_from(
        pieces
            .iter()
            .map(|piece| piece.end - piece.start)
            .sum::<u64>(),
    )?;
    let more = bytes.len().saturating_sub(asked);
    bytes.truncate(asked);
    Ok(Shown {
        size: volume.size + more as u64,
        bytes,
    })
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

/// Compares what a program shows with what went in, or, of a large volume, with what we read.
fn compare(
    volume: &Entry,
    credential: &KnownCredential,
    pieces: &[Range<u64>],
    theirs: &Shown,
) -> Result<(), Failed> {
    let whole = volume.size <= LARGE;
    let right = |bytes: &[u8]| Ok::<_, Failed>(super::sha256(bytes)? == volume.plaintext_sha256);
    if whole && theirs.size == volume.size && right(&theirs.bytes)? {
        return Ok(());
    }
    // A key that costs no stretching, if there is one: what it opens is the same.
    let cheap = [Kind::StartupKey, Kind::ClearKey];
    let mut keys = volume.credentials.iter();
    let key = keys.find(|key| cheap.contains(&key.kind));
    let keyless = volume.credentials.is_empty();
    let unlocked = volume.unlock((!keyless).then_some(key.unwrap_or(credential)))?;
    if theirs.size != volume.size {
        return Err(format!("{} bytes, not {}", theirs.size, volume.size).into());
    }
    let mut at = 0;
    for piece in pieces {
        let mut ours = vec![0; usize::try_from(piece.end - piece.start)?];
        unlocked.read_exact_at(piece.start, &mut ours)?;
        let shown = theirs.bytes.get(at..at + ours.len());
        let shown = shown.ok_or_else(|| format!("it ends in {piece:#x?}"))?;
        if let Some(first) = ours.iter().zip(shown).position(|(a, b)| a != b) {
            let first = piece.start + first as u64;
            return Err(format!("the first difference is at {first:#x}").into());
        }
        at += ours.len();
    }
    match whole {
        true => Err("both read alike, but not what went in".into()),
        false => Ok(()),
    }
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

/// [`Peer::check_within_limits`] as a trial: ignored where the program is missing.
pub fn trial(
    peer: Peer,
    volume: &Entry,
    credential: &KnownCredential,
    missing: Option<Missing>,
) -> Trial {
    let name = format!(
        "{}/{}/{}",
        peer.name(),
        volume.name,
        word(volume, credential)
    );
    if let Some(limit) = peer.limit(volume, credential) {
        println!("has to fail: {name}: {limit}");
    }
    let (volume, credential) = (volume.clone(), credential.clone());
    trials::trial(name, missing, move || {
        peer.check_within_limits(&volume, &credential)
    })
}

/// The credential in a trial's name: its kind, and its number where there are several.
pub fn word(volume: &Entry, credential: &KnownCredential) -> String {
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
