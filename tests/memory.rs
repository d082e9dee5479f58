//! Secrets in the memory of a process after a volume is unlocked. It must hold only the key
//! schedules of the sector keys, once each, in locked pages that are excluded from core dumps. It
//! must hold neither the volume master key nor anything from which it can be computed, with any
//! credential.
//!
//! The tests run as root and search the memory of a mount's server. They compute the secrets from
//! the credential, without the library's code.

mod common;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use aes::Aes256;
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U12, U16};
use common::fve;
use common::testdata::{self, Entry, Kind};
use common::trials::{self, Trial, trial, trials};
use fve::crypto::sector::{Engine, Engines};
use fve::format::datum::SealedDatum;
use fve::format::protector::KeyProtector;
use fve::recovery_password::RecoveryPassword;
use hex_literal::hex;
use sha2::{Digest, Sha256};

const WAIT: Duration = Duration::from_secs(30);

/// How the volume is unlocked.
#[derive(Clone, Copy, PartialEq, Debug)]
enum UnlockWith {
    StartupKey,
    Password,
    TypedPassword,
    RecoveryPassword,
    Vmk,
}

#[trials]
fn every_method_and_every_credential() -> Vec<Trial> {
    let methods = [
        "xts-128",
        "xts-256",
        "cbc-128",
        "cbc-256",
        "elephant-128",
        "elephant-256",
    ];
    let methods = methods.map(|method| {
        let name = format!("a mount of {method} holds only key schedules");
        trial(name, trials::root(), move || {
            holds_only_key_schedules(method, UnlockWith::StartupKey)
        })
    });
    let ways = [
        (UnlockWith::Password, "a password"),
        (UnlockWith::TypedPassword, "a password from standard input"),
        (UnlockWith::RecoveryPassword, "a recovery password"),
        (UnlockWith::Vmk, "a volume master key"),
    ];
    let ways = ways.map(|(way, title)| {
        let name = format!("a mount unlocked with {title} holds only key schedules");
        trial(name, trials::root(), move || {
            holds_only_key_schedules("xts-128", way)
        })
    });
    methods.into_iter().chain(ways).collect()
}

fn holds_only_key_schedules(volume: &str, way: UnlockWith) {
    let sample = testdata::volume(volume);
    let secrets = Secrets::of(&sample);
    let files = tempfile::tempdir().expect("directory");
    let directory = tempfile::tempdir().expect("directory");
    let mut command = fve();
    command.args(["mount", "--volume", "--foreground"]);
    command.arg(&sample.file).arg(directory.path());
    let input = add_credential(&mut command, way, &sample, &secrets, files.path());
    let server = Server(command.stdin(Stdio::piped()).spawn().expect("fve mount"));
    let mut server = server;
    let mut stdin = server.0.stdin.take().expect("pipe");
    stdin.write_all(&input).expect("standard input");
    drop(stdin);
    let shown = directory.path().join("volume");
    let begun = Instant::now();
    while !shown.exists() {
        assert!(begun.elapsed() < WAIT, "the mount does not appear");
        std::thread::sleep(Duration::from_millis(20));
    }
    read_by_many(&shown);
    let memory = Memory::of(&server.0);
    drop(server);
    let _ = fve().arg("unmount").arg(directory.path()).output();
    memory.assert_only_schedules(&secrets);
}

/// The process blocks on a full standard output while its memory is searched. The volume is larger than the
/// 1 MiB that the process lets a pipe hold.
#[trial("a running decryption holds only key schedules", needs(trials::root))]
fn a_running_decryption_holds_only_key_schedules() {
    let sample = testdata::volume("ntfs-xts-128");
    let secrets = Secrets::of(&sample);
    let mut command = fve();
    command.arg("decrypt").arg(&sample.file).arg("-");
    command.arg("--startup-key").arg(sample.bek());
    let child = command.stdout(Stdio::piped()).spawn().expect("fve decrypt");
    let child = Server(child);
    let begun = Instant::now();
    let waits = |id| std::fs::read_to_string(format!("/proc/{id}/wchan")).unwrap_or_default();
    while !waits(child.0.id()).contains("pipe") {
        assert!(
            begun.elapsed() < WAIT,
            "the process does not wait for its pipe"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Memory::of(&child.0).assert_only_schedules(&secrets);
}

/// Adds the credential to the command, and returns the input for its standard input.
fn add_credential(
    command: &mut Command,
    way: UnlockWith,
    sample: &Entry,
    secrets: &Secrets,
    files: &Path,
) -> Vec<u8> {
    let file = files.join("secret");
    let save = |bytes: &[u8]| std::fs::write(&file, bytes).expect("secret");
    match way {
        UnlockWith::StartupKey => {
            command.arg("--startup-key").arg(sample.bek());
        }
        UnlockWith::Password => {
            save(sample.credential(Kind::Password).value.as_bytes());
            command.arg("--password-file").arg(&file);
        }
        UnlockWith::TypedPassword => {
            command.args(["--password-file", "-"]);
            return sample.credential(Kind::Password).value.clone().into_bytes();
        }
        UnlockWith::RecoveryPassword => {
            save(sample.credential(Kind::RecoveryPassword).value.as_bytes());
            command.arg("--recovery-password-file").arg(&file);
        }
        UnlockWith::Vmk => {
            save(&secrets.vmk);
            command.arg("--vmk-file").arg(&file);
        }
    }
    Vec::new()
}

/// Reads of different sizes at unaligned offsets, in several threads.
fn read_by_many(shown: &Path) {
    std::thread::scope(|scope| {
        for reader in 0..8u64 {
            scope.spawn(move || {
                let file = File::open(shown).expect("volume");
                let len = file.metadata().expect("stat").len();
                let mut buffer = vec![0; 1 << 17];
                for at in (0..len).step_by(4096 * 7 + 512 * reader as usize) {
                    let size = [1 << 17, 4096, 100][(at % 3) as usize];
                    file.read_at(&mut buffer[..size], at).expect("read");
                }
            });
        }
    });
}

/// A process that is stopped when this value is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, so that the process also unmounts.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::TERM,
        );
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            if let Ok(Some(_)) = self.0.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The keys of a volume, computed from its credentials.
struct Secrets {
    vmk: Vec<u8>,
    /// AES keys that encrypt and decrypt sectors.
    sector_keys: Vec<Vec<u8>>,
    /// Name and bytes of everything that must not be in memory.
    forbidden: Vec<(String, Vec<u8>)>,
}

impl Secrets {
    fn of(sample: &Entry) -> Self {
        let volume = sample.open();
        let protector = |kind| -> &KeyProtector {
            let id = &sample.credential(kind).protector;
            let found = volume.protectors().into_iter();
            let mut found = found.filter(|protector| protector.id.to_string() == *id);
            found.next().expect("protector")
        };
        let mut forbidden = Vec::new();
        let bek = std::fs::read(sample.bek()).expect("BEK");
        let external = &bek[bek.len() - 32..];
        let sealed = protector(Kind::StartupKey).sealed_vmk().expect("VMK");
        let vmk = unsealed(external, sealed);
        forbid_key(&mut forbidden, "external key", external);
        forbid_key(&mut forbidden, "VMK", &vmk);

        let has = |kind| sample.credentials.iter().any(|other| other.kind == kind);
        if has(Kind::Password) {
            let password = &sample.credential(Kind::Password).value;
            let units: Vec<u8> = password.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let once = Sha256::digest(&units);
            let twice = Sha256::digest(once);
            let stretched = stretched(&twice, protector(Kind::Password));
            assert_eq!(
                unsealed(
                    &stretched,
                    protector(Kind::Password).sealed_vmk().expect("VMK")
                ),
                vmk
            );
            forbidden.push(("password".to_owned(), password.clone().into_bytes()));
            forbidden.push(("password in UTF-16".to_owned(), units));
            forbid(&mut forbidden, "hash of the password", &once);
            forbid(&mut forbidden, "hash of the password's hash", &twice);
            forbid_key(&mut forbidden, "key stretched of the password", &stretched);
        }
        if has(Kind::RecoveryPassword) {
            let digits = &sample.credential(Kind::RecoveryPassword).value;
            let key = RecoveryPassword::parse(digits).expect("digits").to_key();
            let hash = Sha256::digest(key.expose());
            let stretched = stretched(&hash, protector(Kind::RecoveryPassword));
            assert_eq!(
                unsealed(
                    &stretched,
                    protector(Kind::RecoveryPassword).sealed_vmk().expect("VMK")
                ),
                vmk
            );
            forbidden.push(("recovery password".to_owned(), digits.clone().into_bytes()));
            let plain = digits.replace('-', "");
            forbidden.push(("recovery digits".to_owned(), plain.into_bytes()));
            for block in digits.as_bytes().chunks(14) {
                forbidden.push(("two blocks of the digits".to_owned(), block[..13].to_vec()));
            }
            forbid(&mut forbidden, "recovery key", key.expose());
            forbid(&mut forbidden, "hash of the recovery key", &hash);
            forbid_key(
                &mut forbidden,
                "key stretched of the recovery password",
                &stretched,
            );
        }

        let datum = unsealed_datum(
            &vmk,
            volume
                .metadata()
                .expect("metadata")
                .sealed_fvek()
                .expect("FVEK"),
        );
        let fvek = &datum[12..];
        let sector_keys: Vec<Vec<u8>> = match sample.method.as_str() {
            "aes-xts-128" | "aes-xts-256" => {
                fvek.chunks(fvek.len() / 2).map(<[u8]>::to_vec).collect()
            }
            "aes-cbc-128-elephant" => vec![fvek[..16].to_vec(), fvek[32..48].to_vec()],
            "aes-cbc-256-elephant" => vec![fvek[..32].to_vec(), fvek[32..].to_vec()],
            _ => vec![fvek.to_vec()],
        };
        Self {
            vmk,
            sector_keys,
            forbidden,
        }
    }
}

/// Forbids both halves of every 16 bytes, since a vector register holds 16 bytes and a general
/// register holds 8.
fn forbid(forbidden: &mut Vec<(String, Vec<u8>)>, name: &str, bytes: &[u8]) {
    for (nth, half) in bytes.chunks(8).enumerate() {
        forbidden.push((format!("{name}, bytes {} on", 8 * nth), half.to_vec()));
    }
}

/// Forbids an AES-256 key and its whole key schedule, for encryption and decryption.
fn forbid_key(forbidden: &mut Vec<(String, Vec<u8>)>, name: &str, key: &[u8]) {
    for (nth, round_key) in expanded(key).iter().enumerate() {
        forbid(forbidden, &format!("{name}, round key {nth}"), round_key);
        let inverse = inverse_mixed(round_key);
        forbid(
            forbidden,
            &format!("{name}, inverse round key {nth}"),
            &inverse,
        );
    }
}

fn stretched(initial: &[u8], protector: &KeyProtector) -> Vec<u8> {
    let salt = protector.stretch().expect("salt").salt;
    let mut last = [0; 32];
    for count in 0..0x10_0000u64 {
        let hash = Sha256::new().chain_update(last).chain_update(initial);
        last = hash
            .chain_update(salt)
            .chain_update(count.to_le_bytes())
            .finalize()
            .into();
    }
    last.to_vec()
}

/// Decrypts the key in a sealed KEY datum: the bytes after its header of 12 bytes.
fn unsealed(key: &[u8], sealed: &SealedDatum) -> Vec<u8> {
    unsealed_datum(key, sealed)[12..].to_vec()
}

fn unsealed_datum(key: &[u8], sealed: &SealedDatum) -> Vec<u8> {
    let cipher = ccm::Ccm::<Aes256, U16, U12>::new_from_slice(key).expect("key");
    let mut content = sealed.ciphertext.clone();
    let opened = cipher.decrypt_inout_detached(
        (&sealed.nonce).into(),
        &[],
        content.as_mut_slice().into(),
        (&sealed.tag).into(),
    );
    opened.expect("the tag");
    content
}

/// The round keys of AES (FIPS 197, section 5.2).
fn expanded(key: &[u8]) -> Vec<[u8; 16]> {
    let words = key.len() / 4;
    let rounds = words + 7;
    let mut schedule = key.to_vec();
    let mut constant = 1;
    for word in words..4 * rounds {
        let mut mixed: [u8; 4] = schedule[4 * word - 4..].try_into().expect("a word");
        if word % words == 0 {
            mixed = mixed.map(substituted);
            mixed.rotate_left(1);
            mixed[0] ^= constant;
            constant = doubled(constant);
        } else if words > 6 && word % words == 4 {
            mixed = mixed.map(substituted);
        }
        for byte in mixed {
            schedule.push(schedule[schedule.len() - key.len()] ^ byte);
        }
    }
    schedule.as_chunks().0.to_vec()
}

/// The S-box, by its definition (FIPS 197, section 5.1.1).
fn substituted(byte: u8) -> u8 {
    // Its inverse is its 254th power.
    let inverse = (0..253).fold(byte, |power, _| product(power, byte));
    (0..5).fold(0x63, |sum, by| sum ^ inverse.rotate_left(by))
}

fn doubled(byte: u8) -> u8 {
    (byte << 1) ^ ((byte >> 7) * 0x1B)
}

fn product(a: u8, b: u8) -> u8 {
    let mut shifted = a;
    let mut sum = 0;
    for bit in 0..8 {
        sum ^= shifted * (b >> bit & 1);
        shifted = doubled(shifted);
    }
    sum
}

/// InvMixColumns (FIPS 197, section 5.3.3), which is applied to round keys for decryption.
fn inverse_mixed(round_key: &[u8; 16]) -> [u8; 16] {
    std::array::from_fn(|at| {
        let column = &round_key[at / 4 * 4..][..4];
        let factors = [0x0E, 0x0B, 0x0D, 0x09];
        (0..4).fold(0, |sum, nth| {
            sum ^ product(column[(at % 4 + nth) % 4], factors[nth])
        })
    })
}

/// The schedule for decryption: the encryption schedule in reverse order, with InvMixColumns
/// applied to all but the first and last round key (FIPS 197, section 5.3.5).
fn decrypting(schedule: &[[u8; 16]]) -> Vec<[u8; 16]> {
    let last = schedule.len() - 1;
    let backwards = schedule.iter().rev().enumerate();
    let mixed = backwards.map(|(nth, key)| match nth {
        0 => *key,
        nth if nth == last => *key,
        _ => inverse_mixed(key),
    });
    mixed.collect()
}

/// FIPS 197, appendix A.3, and the decryption schedule of appendix B in the aes crate's words.
#[trial("the expected key schedules are those of FIPS 197")]
fn schedules_are_those_of_aes() {
    let key = hex!("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    let schedule = expanded(&key);
    assert_eq!(schedule.len(), 15);
    assert_eq!(schedule[2], hex!("9ba354118e6925afa51a8b5f2067fcde"));
    assert_eq!(schedule[14], hex!("fe4890d1e6188d0b046df344706c631e"));
    let short = expanded(&hex!("2b7e151628aed2a6abf7158809cf4f3c"));
    assert_eq!(short[10], hex!("d014f9a8c9ee2589e13f0cc8b6630ca6"));
    // FIPS 197, section 5.1.3: MixColumns of db135345 is 8e4da1bc.
    let mixed = hex!("8e4da1bc8e4da1bc8e4da1bc8e4da1bc");
    assert_eq!(
        inverse_mixed(&mixed),
        hex!("db135345db135345db135345db135345")
    );
}

/// The readable memory of a process.
struct Memory {
    mappings: Vec<Mapping>,
}

/// A line of /proc/PID/smaps.
struct Mapping {
    start: usize,
    name: String,
    /// Locked, and excluded from core dumps.
    is_locked: bool,
    bytes: Vec<u8>,
}

impl Memory {
    fn of(process: &Child) -> Self {
        let id = process.id();
        let memory = File::open(format!("/proc/{id}/mem")).expect("memory");
        let maps = std::fs::read_to_string(format!("/proc/{id}/smaps")).expect("maps");
        let mut mappings: Vec<Mapping> = Vec::new();
        for line in maps.lines() {
            if let Some(flags) = line.strip_prefix("VmFlags:") {
                let has = |flag| flags.split_whitespace().any(|other| other == flag);
                if let Some(mapping) = mappings.last_mut() {
                    mapping.is_locked = has("lo") && has("dd");
                }
                continue;
            }
            let mut words = line.split_whitespace();
            let range = words.next().unwrap_or_default();
            let Some((start, end)) = range.split_once('-') else {
                continue;
            };
            let number = |text| usize::from_str_radix(text, 16).ok();
            let (Some(start), Some(end)) = (number(start), number(end)) else {
                continue;
            };
            let permissions = words.next().unwrap_or_default();
            let mut bytes = Vec::new();
            if permissions.starts_with('r') && !line.contains("[vvar") {
                bytes.resize(end - start, 0);
                // Pages that are not mapped cannot be read, and stay zero.
                for (nth, page) in bytes.chunks_mut(4096).enumerate() {
                    let _ = memory.read_exact_at(page, (start + 4096 * nth) as u64);
                }
            }
            mappings.push(Mapping {
                start,
                name: words.nth(3).unwrap_or("anonymous").to_owned(),
                is_locked: false,
                bytes,
            });
        }
        assert!(mappings.iter().any(|mapping| mapping.name == "[stack]"));
        Self { mappings }
    }

    fn assert_only_schedules(&self, secrets: &Secrets) {
        let mut needles = Vec::new();
        for (name, bytes) in &secrets.forbidden {
            needles.push((name.clone(), bytes.clone(), None));
        }
        // Each round key, with its number of occurrences in the two schedules.
        for (nth, key) in secrets.sector_keys.iter().enumerate() {
            let encrypting = expanded(key);
            let decrypting = decrypting(&encrypting);
            let all = [encrypting, decrypting].concat();
            let mut seen: Vec<[u8; 16]> = Vec::new();
            for round_key in &all {
                if seen.contains(round_key) {
                    continue;
                }
                seen.push(*round_key);
                let count = all.iter().filter(|other| *other == round_key).count();
                let name = format!("sector key {nth}, round key {}", seen.len() - 1);
                needles.push((name, round_key.to_vec(), Some(count)));
            }
        }
        let hits = self.search(&needles);
        let mut wrong = Vec::new();
        for ((name, _, wanted), hits) in needles.iter().zip(&hits) {
            match wanted {
                None => wrong.extend(hits.iter().map(|hit| format!("{name} at {hit}"))),
                Some(count) => {
                    let outside = hits.iter().filter(|hit| !hit.contains("locked"));
                    wrong.extend(outside.map(|hit| format!("{name} at {hit}")));
                    let exact = Engines::best().aes != Engine::Batch;
                    if hits.is_empty() || exact && hits.len() != *count {
                        wrong.push(format!("{name}: {} times, not {count}", hits.len()));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// All addresses of each of the needles.
    fn search(&self, needles: &[(String, Vec<u8>, Option<usize>)]) -> Vec<Vec<String>> {
        let mut hits = vec![Vec::new(); needles.len()];
        let mut starts = vec![Vec::new(); 1 << 16];
        for (nth, (_, bytes, _)) in needles.iter().enumerate() {
            starts[usize::from(u16::from_le_bytes([bytes[0], bytes[1]]))].push(nth);
        }
        for mapping in &self.mappings {
            for at in 0..mapping.bytes.len().saturating_sub(1) {
                let first = u16::from_le_bytes([mapping.bytes[at], mapping.bytes[at + 1]]);
                for nth in &starts[usize::from(first)] {
                    if mapping.bytes[at..].starts_with(&needles[*nth].1) {
                        let locked = if mapping.is_locked { ", locked" } else { "" };
                        let place = mapping.start + at;
                        hits[*nth].push(format!("{place:#x} ({}{locked})", mapping.name));
                    }
                }
            }
        }
        hits
    }
}

/// Locked memory of this process in KiB.
fn locked() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let words = line.expect("VmLck").split_whitespace().next();
    words.expect("a number").parse().expect("a number")
}

#[trial("recovery passwords return their locked memory")]
fn recovery_passwords_return_their_locked_memory() {
    let key = fve::secret::RecoveryKey::from_bytes(&[7; 16]);
    let digits = "555632-349998-029634-163350-674817-126192-386815-170764";
    let before = locked();
    for _ in 0..200_000 {
        let password = RecoveryPassword::parse(digits).expect("digits");
        assert_ne!(password.to_key().expose(), key.expose());
    }
    assert!(locked() <= before + 64, "{} KiB of {before}", locked());
    // 10,000 passwords at once use little memory, and return most of it.
    let many: Vec<_> = (0..10_000)
        .map(|_| RecoveryPassword::parse(digits).expect("digits"))
        .collect();
    let peak = locked();
    assert!(peak <= before + 1024, "{peak} KiB of {before}");
    drop(many);
    assert!(locked() <= before + 64, "{} KiB of {before}", locked());
}

fn main() -> ExitCode {
    common::harness::main()
}
