//! Other programs that read BitLocker volumes ("peers"): how each is run, and its known limits.

use std::fs;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::Failed;

use super::testdata::{self, Entry, Kind, KnownCredential};
use super::trials::{self, Missing, Trial};

/// A program, or one of its commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// `dislocker-file`, which writes the whole plaintext, or for large volumes `dislocker-fuse`.
    Dislocker,
    /// `bdemount` shows the plaintext as a file.
    Libbde,
    /// `bdeinfo` prints the volume's identifier after it has unlocked the volume.
    LibbdeInfo,
    /// `cryptsetup bitlkOpen --test-passphrase` checks credential, FVEK and metadata hash. Reading
    /// the plaintext would need device-mapper.
    Cryptsetup,
    /// `cryptsetup bitlkDump` prints the metadata.
    CryptsetupDump,
    /// The Python library dissect.fve.
    Dissect,
}

/// A known limit of a program: to which volumes and credentials it applies, and a description. All
/// were found by running the versions in Debian 12 (dislocker 0.7.2, libbde 20190102, cryptsetup
/// 2.6.1) and dissect.fve 4.6. "(Windows too)" means that the program fails in the same way on a
/// volume made by Windows, which `tests/volume/peers.rs` checks.
///
/// The program is run in spite of a limit: [`Peer::check_within_limits`] fails if the program
/// succeeds.
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
        "dislocker 0.7.2 crashes on unknown datum types",
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
        "cryptsetup 2.6.1 unlocks only fully encrypted volumes (Windows too)",
    ),
    (
        Peer::Cryptsetup,
        |volume, _| {
            volume
                .credentials
                .iter()
                .any(|key| key.kind == Kind::ClearKey)
        },
        "cryptsetup 2.6.1 unlocks no volume with a clear key (Windows too)",
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
    "libbde 20190102 accepts only NTFS inside, from which it reads the size (Windows too)";
const XTS_256: &str = "libbde 20190102 refuses the key of XTS-AES 256";

const CLEAR_KEY_OF_WINDOWS_10: &str =
    "libbde 20190102 rejects a clear key with the flags 3 of Windows 10 (Windows too)";

fn clear_key_of_windows_10(volume: &Entry, _: &KnownCredential) -> bool {
    volume.name == "cs-aes-xts-128-clearkey-only"
}

const COPY_MISSING: &str = "libbde 20190102 rejects volumes without all three copies (Windows too)";

fn copy_missing(volume: &Entry, _: &KnownCredential) -> bool {
    volume.name == "ds-win7_partial"
}

/// The descriptions of all limits, without repetitions.
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
    /// All programs.
    pub const ALL: [Self; 6] = [
        Self::Dislocker,
        Self::Libbde,
        Self::LibbdeInfo,
        Self::Cryptsetup,
        Self::CryptsetupDump,
        Self::Dissect,
    ];

    /// Its name in the titles of tests.
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

    /// Why it cannot be run here, or `None`.
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
                let present = python.output().is_ok_and(|output| output.status.success());
                return (!present)
                    .then(|| Missing::Tool("dissect.fve cannot be imported".to_owned()));
            }
        };
        let found = probe.arg("-V").output();
        found
            .err()
            .map(|error| Missing::Tool(format!("{name} cannot be run: {error}")))
    }

    /// The known limit that applies to this volume and credential.
    pub fn limit(self, volume: &Entry, credential: &KnownCredential) -> Option<&'static str> {
        LIMITS
            .iter()
            .find(|(limited, applies, _)| *limited == self && applies(volume, credential))
            .map(|(_, _, reason)| *reason)
    }

    /// [`Self::check`], which must fail if a known limit applies. A limit that a newer version no
    /// longer has must be removed from the list.
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
                "{} succeeds in spite of the listed limit: {limit}",
                self.name()
            )
            .into()),
        }
    }

    /// Unlocks the volume with the credential, and compares what the program shows.
    pub fn check(self, volume: &Entry, credential: &KnownCredential) -> Result<(), Failed> {
        let directory = tempfile::tempdir()?;
        let place = directory.path();
        let ranges = ranges(volume);
        match self {
            Self::Dislocker => compare(
                volume,
                credential,
                &ranges,
                &dislocker(volume, credential, &ranges, place)?,
            ),
            Self::Libbde => compare(
                volume,
                credential,
                &ranges,
                &libbde(volume, credential, &ranges, place)?,
            ),
            Self::Dissect => compare(
                volume,
                credential,
                &ranges,
                &dissect(volume, credential, &ranges, place)?,
            ),
            Self::LibbdeInfo => {
                let mut info = Command::new("bdeinfo");
                let output = run(bde_options(&mut info, credential).arg(&volume.file), "")?;
                assert_prints(&output, &[&volume.volume_id])
            }
            Self::Cryptsetup => cryptsetup(volume, credential),
            Self::CryptsetupDump => {
                let mut dump = Command::new("cryptsetup");
                let output = run(dump.arg("bitlkDump").arg(&volume.file), "")?;
                let sector_size = format!("{} [bytes]", volume.sector_size);
                assert_prints(&output, &[&volume.volume_id, &sector_size])
            }
        }
    }
}

/// Python with the package dissect.fve.
pub fn python() -> std::ffi::OsString {
    std::env::var_os("FVE_PYTHON").unwrap_or_else(|| "python3".into())
}

/// Volumes larger than this are compared only in part, because the programs need minutes for all.
const LARGE: u64 = 64 << 20;

/// The plaintext that a program shows: the size, and the bytes of the compared ranges.
struct Shown {
    size: u64,
    bytes: Vec<u8>,
}

impl Shown {
    fn of_file(path: &Path, ranges: &[Range<u64>]) -> Result<Self, Failed> {
        let file = File::open(path)?;
        let mut shown = Self {
            size: file.metadata()?.len(),
            bytes: Vec::new(),
        };
        for range in ranges {
            let start = shown.bytes.len();
            shown
                .bytes
                .resize(start + usize::try_from(range.end - range.start)?, 0);
            file.read_exact_at(&mut shown.bytes[start..], range.start)?;
        }
        Ok(shown)
    }
}

/// The ranges to compare: everything, or for a large volume its ends and the surroundings of the
/// metadata.
fn ranges(volume: &Entry) -> Vec<Range<u64>> {
    const LEN: u64 = 0x1_0000;
    if volume.size <= LARGE {
        return std::iter::once(0..volume.size).collect();
    }
    let opened = testdata::open(&volume.file);
    let mut starts = vec![0, volume.size - LEN];
    if let Ok(metadata) = opened.metadata() {
        let moved = metadata.header_source;
        for start in metadata.copies.into_iter().chain([moved]) {
            starts.extend([start.saturating_sub(LEN), start, start + LEN]);
        }
    }
    let aligned = starts.into_iter().map(|start| start & !0xFFF);
    aligned
        .filter(|start| start + LEN <= volume.size)
        .map(|start| start..start + LEN)
        .collect()
}

fn dislocker(
    volume: &Entry,
    key: &KnownCredential,
    ranges: &[Range<u64>],
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
        return Shown::of_file(&mounted.0.join("dislocker-file"), ranges);
    }
    let plaintext = place.join("plaintext");
    run(dislocker.arg("--").arg(&plaintext), "")?;
    Shown::of_file(&plaintext, ranges)
}

fn libbde(
    volume: &Entry,
    key: &KnownCredential,
    ranges: &[Range<u64>],
    place: &Path,
) -> Result<Shown, Failed> {
    let mounted = Mounted(place.join("mounted"));
    fs::create_dir(&mounted.0)?;
    let mut bdemount = Command::new("bdemount");
    bde_options(&mut bdemount, key)
        .arg(&volume.file)
        .arg(&mounted.0);
    run(&mut bdemount, "")?;
    Shown::of_file(&mounted.0.join("bde1"), ranges)
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

/// Reads encrypt-on-write volumes sector by sector: dissect counts chunks from the start of a read
/// instead of the start of the region, so longer reads are wrong, also on real volumes.
const DISSECT: &str = r#"
import sys
from dissect.fve.bde import BDE
image, kind, value, plaintext, size, step, *ranges = sys.argv[1:]
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
    for text in ranges:
        start, end = map(int, text.split("-"))
        for offset in range(start, end, step):
            stream.seek(offset)
            out.write(stream.read(min(step, end - offset)))
    stream.seek(size)
    out.write(stream.read(512))
"#;

fn dissect(
    volume: &Entry,
    key: &KnownCredential,
    ranges: &[Range<u64>],
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
        ranges
            .iter()
            .map(|range| format!("{}-{}", range.start, range.end)),
    );
    run(&mut command, "")?;
    let mut bytes = fs::read(plaintext)?;
    // The script also reads beyond the end of the volume, to show that nothing is there.
    let expected = usize::try_from(
        ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum::<u64>(),
    )?;
    let more = bytes.len().saturating_sub(expected);
    bytes.truncate(expected);
    Ok(Shown {
        size: volume.size + more as u64,
        bytes,
    })
}

/// Runs a program with this text on standard input.
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
    let text = [output.stdout, output.stderr].concat();
    Err(format!("{}: {}", output.status, String::from_utf8_lossy(&text)).into())
}

/// Fails if the output lacks one of these words.
fn assert_prints(output: &Output, words: &[&str]) -> Result<(), Failed> {
    let text = String::from_utf8_lossy(&output.stdout);
    match words.iter().find(|word| !text.contains(*word)) {
        Some(word) => Err(format!("it does not print {word}: {text}").into()),
        None => Ok(()),
    }
}

/// Compares what a program shows with the SHA-256 of the plaintext, and with what fve reads, so
/// that a failure names the first difference. For a large volume, it compares only with fve.
fn compare(
    volume: &Entry,
    credential: &KnownCredential,
    ranges: &[Range<u64>],
    theirs: &Shown,
) -> Result<(), Failed> {
    let whole = volume.size <= LARGE;
    let right = |bytes: &[u8]| Ok::<_, Failed>(super::sha256(bytes)? == volume.plaintext_sha256);
    if whole && theirs.size == volume.size && right(&theirs.bytes)? {
        return Ok(());
    }
    // Prefer a credential without key stretching: the plaintext is the same.
    let cheap = [Kind::StartupKey, Kind::ClearKey];
    let mut keys = volume.credentials.iter();
    let key = keys.find(|key| cheap.contains(&key.kind));
    let keyless = volume.credentials.is_empty();
    let unlocked = volume.unlock((!keyless).then_some(key.unwrap_or(credential)))?;
    if theirs.size != volume.size {
        return Err(format!("{} bytes, not {}", theirs.size, volume.size).into());
    }
    let mut at = 0;
    for range in ranges {
        let mut ours = vec![0; usize::try_from(range.end - range.start)?];
        unlocked.read_exact_at(range.start, &mut ours)?;
        let shown = theirs.bytes.get(at..at + ours.len());
        let shown = shown.ok_or_else(|| format!("it ends in {range:#x?}"))?;
        if let Some(first) = ours.iter().zip(shown).position(|(a, b)| a != b) {
            let first = range.start + first as u64;
            return Err(format!("the first difference is at {first:#x}").into());
        }
        at += ours.len();
    }
    match whole {
        true => Err("fve and the program agree on a wrong plaintext".into()),
        false => Ok(()),
    }
}

/// A mount point that is unmounted when this value is dropped.
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

/// [`Peer::check_within_limits`] as a test, which is ignored if the program is missing.
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
        println!("expected to fail: {name}: {limit}");
    }
    let (volume, credential) = (volume.clone(), credential.clone());
    trials::trial(name, missing, move || {
        peer.check_within_limits(&volume, &credential)
    })
}

/// The credential in the title of a test: its kind, with a number if there are several.
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
