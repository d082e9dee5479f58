//! TPMs that stall or fault: a proxy in front of a software TPM disturbs one command. After each fault,
//! another credential of the same unlock must open the volume, in time.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fve::create::NewProtector;
use fve::crypto::hash::HashAlgorithm;
use fve::enroll::TpmBinding;
use fve::error::{Error, UnlockReport};
use fve::secret::SecretText;
use fve::tpm::{Pin, Tss, TssOptions, Unsealer};
use fve::unlock::tpm::TpmUnlock;
use fve::unlock::{Credential, StartupKey};
use fve::volume::UnlockOptions;

use super::volume::{self, TestVolume};
use crate::common::swtpm::{self, SRK, Swtpm, secret_file};
use crate::common::testdata;
use crate::common::trials::trial;

/// Commands of the TPM: code and name (TPM 2.0 library, part 2, section 6.5.2).
const COMMANDS: &[(u32, &str)] = &[
    (0x17A, "TPM2_GetCapability"),
    (0x173, "TPM2_ReadPublic"),
    (0x157, "TPM2_Load"),
    (0x17E, "TPM2_PCR_Read"),
    (0x176, "TPM2_StartAuthSession"),
    (0x16B, "TPM2_PolicyAuthValue"),
    (0x17F, "TPM2_PolicyPCR"),
    (0x15E, "TPM2_Unseal"),
];
const GET_CAPABILITY: u32 = 0x17A;
const READ_PUBLIC: u32 = 0x173;
const LOAD: u32 = 0x157;
const CREATE: u32 = 0x153;
const CREATE_PRIMARY: u32 = 0x131;
const START_AUTH_SESSION: u32 = 0x176;
const POLICY_PCR: u32 = 0x17F;
const UNSEAL: u32 = 0x15E;
const FLUSH_CONTEXT: u32 = 0x165;

/// What the proxy does with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Never answers.
    Stall,
    /// Answers with this code, and the TPM does not get the command.
    Code(u32),
    /// Answers with this code after the TPM has carried out the command.
    CodeAfter(u32),
    /// Sends half of the answer and ends the connection.
    Cut,
    /// The answer with a length that is too small.
    Short,
    /// The answer with eight bytes more.
    Long,
    /// The answer with a length of almost 2 GiB, and a MiB.
    Huge,
    /// A correct header, and other bytes than those of the TPM after it.
    Garbage,
}

struct Liar {
    port: u16,
    /// Codes of all commands that were sent.
    seen: Arc<Mutex<Vec<u32>>>,
    /// All connections. They end when this is dropped, whatever the program does: swtpm serves one
    /// connection at a time, and one that stays open would keep the TPM from all others.
    held: Arc<Mutex<Vec<TcpStream>>>,
    ended: Arc<AtomicBool>,
}

impl Liar {
    /// Disturbs the command with this code, `times` times. With `other`, that TPM answers it instead.
    fn to(tpm: &Swtpm, command: u32, fault: Fault, times: usize, other: Option<u16>) -> Self {
        let (data, control, port) = loop {
            let data = TcpListener::bind(("127.0.0.1", 0)).expect("port");
            let port = data.local_addr().expect("address").port();
            if let Some(next) = port.checked_add(1)
                && let Ok(control) = TcpListener::bind(("127.0.0.1", next))
            {
                break (data, control, port);
            }
        };
        let liar = Self {
            port,
            seen: Arc::default(),
            held: Arc::default(),
            ended: Arc::default(),
        };
        let far = tpm.port;
        let (held, ended) = (liar.held.clone(), liar.ended.clone());
        std::thread::spawn(move || {
            for near in control.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", far + 1)) else {
                    return;
                };
                if !hold(&held, &ended, &[&near, &far]) {
                    return;
                }
                let (mut near_back, mut far_back) =
                    (near.try_clone().unwrap(), far.try_clone().unwrap());
                let (mut near, mut far) = (near, far);
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut far_back, &mut near_back);
                });
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut near, &mut far);
                    let _ = far.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        let left = Arc::new(AtomicUsize::new(times));
        let (seen, held, ended) = (liar.seen.clone(), liar.held.clone(), liar.ended.clone());
        std::thread::spawn(move || {
            for near in data.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (left, seen, held) = (left.clone(), seen.clone(), held.clone());
                let ended = ended.clone();
                std::thread::spawn(move || {
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", far)) else {
                        return;
                    };
                    let mut near = near;
                    if !hold(&held, &ended, &[&near, &far]) {
                        return;
                    }
                    // It ends with an error or with the connection of the program.
                    let talked = talk(&mut near, &mut far, other, command, fault, &left, &seen);
                    let _ = far.shutdown(std::net::Shutdown::Both);
                    if !talked.is_ok_and(|end| end == End::Stalls) {
                        let _ = near.shutdown(std::net::Shutdown::Both);
                    }
                });
            }
        });
        liar
    }

    fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    fn saw(&self, command: u32) -> bool {
        self.seen.lock().expect("seen").contains(&command)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        for stream in self.held.lock().expect("held").drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Keeps connections until the end; false if it has come.
fn hold(held: &Mutex<Vec<TcpStream>>, ended: &AtomicBool, streams: &[&TcpStream]) -> bool {
    let mut held = held.lock().expect("held");
    if ended.load(Ordering::SeqCst) {
        return false;
    }
    held.extend(streams.iter().filter_map(|stream| stream.try_clone().ok()));
    true
}

/// A command or an answer: both have their length in bytes 2 to 6.
fn message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; 10];
    stream.read_exact(&mut bytes)?;
    let len = u32::from_be_bytes(bytes[2..6].try_into().expect("four"));
    bytes.resize(usize::try_from(len).expect("length"), 0);
    stream.read_exact(&mut bytes[10..])?;
    Ok(bytes)
}

fn code_of(message: &[u8]) -> u32 {
    u32::from_be_bytes(message[6..10].try_into().expect("four"))
}

fn set_len(message: &mut [u8], len: usize) {
    message[2..6].copy_from_slice(&u32::try_from(len).expect("length").to_be_bytes());
}

/// How a connection to the program ends.
#[derive(PartialEq)]
enum End {
    Closes,
    Stalls,
}

fn talk(
    near: &mut TcpStream,
    far: &mut TcpStream,
    other: Option<u16>,
    wanted: u32,
    fault: Fault,
    left: &AtomicUsize,
    seen: &Mutex<Vec<u32>>,
) -> std::io::Result<End> {
    let error_answer = |code: u32| [&[0x80, 1, 0, 0, 0, 10][..], &code.to_be_bytes()].concat();
    loop {
        let command = message(near)?;
        seen.lock().expect("seen").push(code_of(&command));
        let lies = code_of(&command) == wanted
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok();
        if lies {
            match (fault, other) {
                // The connection stays open, and nothing comes.
                (Fault::Stall, _) => return Ok(End::Stalls),
                (Fault::Code(code), _) => {
                    near.write_all(&error_answer(code))?;
                    continue;
                }
                _ => {}
            }
        }
        let mut answer = match other.filter(|_| lies) {
            Some(port) => {
                let mut other = TcpStream::connect(("127.0.0.1", port))?;
                other.write_all(&command)?;
                message(&mut other)?
            }
            None => {
                far.write_all(&command)?;
                message(far)?
            }
        };
        let len = answer.len();
        if lies && other.is_none() {
            match fault {
                Fault::CodeAfter(code) => answer = error_answer(code),
                Fault::Cut => {
                    near.write_all(&answer[..len / 2])?;
                    return Ok(End::Closes);
                }
                Fault::Short => set_len(&mut answer, (len - 1).max(10)),
                Fault::Long => {
                    answer.extend([0; 8]);
                    set_len(&mut answer, len + 8);
                }
                Fault::Huge => {
                    answer.resize(1 << 20, 0xA5);
                    set_len(&mut answer, 0x7FFF_FFF0);
                }
                Fault::Garbage => answer[10..].fill(0xA5),
                Fault::Stall | Fault::Code(_) => {}
            }
        }
        near.write_all(&answer)?;
    }
}

/// A volume with a TPM protector, with this PIN if there is one, and a startup key.
fn made(tpm: &Swtpm, pin: Option<&str>) -> TestVolume {
    let tss = Arc::new(Tss::new(Some(&tpm.tcti()), TssOptions::default()).unwrap());
    let bound = TpmBinding::to_current(tss, HashAlgorithm::Sha256, &[7, 11]).unwrap();
    let pin = pin.map(|pin| Pin::new(&SecretText::new(pin.to_owned())));
    volume::with(vec![
        NewProtector::tpm(bound, pin, None).unwrap(),
        NewProtector::new_startup_key().unwrap(),
    ])
}

/// How one unlock went: what the TPM said, and how long it took.
struct Ended {
    by_tpm: bool,
    report: String,
    time: Duration,
}

/// Unlocks the volume with the TPM, and then with the startup key.
fn unlock(made: &TestVolume, tcti: &str, pin: Option<&str>, patience: Duration) -> Ended {
    let options = TssOptions::new().patience(patience);
    let tpm = || Tss::new(Some(tcti), options.clone()).unwrap();
    let credential = |tpm: Tss| {
        let credential = TpmUnlock::new(Box::new(tpm));
        match pin {
            Some(pin) => credential.pin(&SecretText::new(pin.to_owned())),
            None => credential,
        }
    };
    let key = StartupKey::read(made.directory.path()).unwrap();
    let credentials: [Box<dyn Credential>; 2] = [Box::new(credential(tpm())), Box::new(key)];
    let start = Instant::now();
    let opened = testdata::open(&made.image).unlock(&credentials, &UnlockOptions::default());
    let time = start.elapsed();
    let opened = opened.expect("the startup key unlocks the volume");
    let report: &UnlockReport = &opened.opened_by().report;
    let by_tpm = report.attempts.len() == 1;
    Ended {
        by_tpm,
        report: report.to_string(),
        time,
    }
}

/// Removes what a disturbed TPM2_FlushContext left. Not while a connection may be open: two clients of
/// a software TPM, one with its data and one with its control channel, wait for each other.
fn clean(tpm: &Swtpm) {
    for kind in ["-t", "-l", "-s"] {
        tpm.tool("tpm2_flushcontext", &[kind]);
    }
}

/// Enough for a software TPM that answers.
const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(20);

#[trial(
    "a software TPM inherits no connection of the test program",
    needs(swtpm::missing)
)]
fn inherits_nothing() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    // As those of libtss2: without close-on-exec.
    let inheritable = rustix::io::dup(&near).unwrap();
    let _tpm = Swtpm::new();
    drop((near, inheritable));
    far.set_read_timeout(Some(LONG)).unwrap();
    let end = far.read(&mut [0]);
    assert_eq!(end.expect("no process keeps the connection"), 0);
}

#[trial(
    "a TPM that stalls at any command ends in a failure that names it, and another credential opens the volume",
    needs(swtpm::missing)
)]
fn stalls() {
    let tpm = Swtpm::new();
    let made = made(&tpm, None);
    for (command, name) in COMMANDS {
        // On a busy computer, the time may be up before the command is sent.
        let mut tries = 0..3;
        let (_tpm, _liar, ended) = loop {
            let tpm = Swtpm::new();
            let liar = Liar::to(&tpm, *command, Fault::Stall, 1, None);
            let ended = unlock(&made, &liar.tcti(), None, SHORT);
            if liar.saw(*command) || tries.next().is_none() {
                break (tpm, liar, ended);
            }
        };
        assert!(!ended.by_tpm, "{name}");
        assert!(
            ended.report.contains(name) || *command == GET_CAPABILITY,
            "{}",
            ended.report
        );
        assert!(ended.time < SHORT * 3, "{name}: {:?}", ended.time);
    }
    // The key is there: nothing waits for the rest.
    let tpm = Swtpm::new();
    let liar = Liar::to(&tpm, FLUSH_CONTEXT, Fault::Stall, 1, None);
    let before = unlock(&made, &liar.tcti(), None, LONG);
    assert!(before.time < LONG / 2, "{:?}", before.time);
}

#[trial(
    "does not wait for a TPM that stalls once it has released the key",
    needs(swtpm::missing)
)]
fn stalls_after_the_key_is_there() {
    let tpm = Swtpm::new();
    let made = made(&tpm, None);
    // After Unseal, no command is sent but TPM2_FlushContext.
    let tss = Tss::new(Some(&tpm.tcti()), TssOptions::default()).unwrap();
    assert!(tss.srk_name().unwrap().is_some());
    let liar = Liar::to(&tpm, FLUSH_CONTEXT, Fault::Stall, 1, None);
    let options = TssOptions::new().patience(LONG);
    let tss = Tss::new(Some(&liar.tcti()), options).unwrap();
    let volume = testdata::open(&made.image);
    let protectors = volume.protectors();
    let object = protectors[0].tpm().unwrap().sealed.as_ref().unwrap();
    let policy = fve::tpm::Policy::solve(object).unwrap();
    let start = Instant::now();
    tss.unseal(object, &policy, None, None).expect("released");
    assert!(start.elapsed() < LONG / 2);
    // Later calls fail at once.
    let start = Instant::now();
    assert!(tss.lockout().is_err());
    assert!(start.elapsed() < SHORT);
}

#[trial(
    "a TPM that answers falsely at any command does not stop another credential",
    needs(swtpm::missing)
)]
fn lies() {
    let tpm = Swtpm::new();
    let made = made(&tpm, None);
    for fault in [
        Fault::Code(0x101),
        Fault::Code(0x902),
        Fault::Code(0x98E),
        Fault::Cut,
        Fault::Short,
        Fault::Long,
        Fault::Huge,
        Fault::Garbage,
    ] {
        for (command, name) in COMMANDS {
            let tpm = Swtpm::new();
            let liar = Liar::to(&tpm, *command, fault, usize::MAX, None);
            let ended = unlock(&made, &liar.tcti(), None, SHORT);
            // PolicyAuthValue and PolicyPCR answer with nothing but a header and an empty session.
            let harmless = matches!(fault, Fault::Short | Fault::Garbage | Fault::Long);
            assert!(
                !ended.by_tpm || harmless,
                "{fault:?} at {name}: {}",
                ended.report
            );
            assert!(
                ended.time < LONG / 2,
                "{fault:?} at {name}: {:?}",
                ended.time
            );
            drop(liar);
            assert_eq!(tpm.failures(), 0, "{fault:?} at {name}");
        }
    }
}

#[trial(
    "says what the TPM's codes mean, also for its first answer",
    needs(swtpm::missing)
)]
fn codes_in_words() {
    let tpm = Swtpm::new();
    let made = made(&tpm, None);
    for (command, code, words) in [
        (GET_CAPABILITY, 0x101, "failure mode"),
        (GET_CAPABILITY, 0x922, "busy"),
        (READ_PUBLIC, 0x902, "no memory for another object"),
        (UNSEAL, 0x905, "no memory for another session"),
        (LOAD, 0x923, "memory cannot be reached"),
    ] {
        let tpm = Swtpm::new();
        let liar = Liar::to(&tpm, command, Fault::Code(code), usize::MAX, None);
        let ended = unlock(&made, &liar.tcti(), None, LONG);
        assert!(ended.report.contains(words), "{code:#x}: {}", ended.report);
        assert!(
            !ended.report.contains("nothing answers"),
            "{}",
            ended.report
        );
    }
}

#[trial(
    "sends no PIN again after a false answer, and tries again when a PCR changes before",
    needs(swtpm::missing)
)]
fn false_answers_cost_one_attempt() {
    const PIN: &str = "135790";
    let tpm = Swtpm::new();
    let made = made(&tpm, Some(PIN));
    let liar = Liar::to(&tpm, UNSEAL, Fault::CodeAfter(0x128), usize::MAX, None);
    let ended = unlock(&made, &liar.tcti(), Some("000000"), LONG);
    assert!(!ended.by_tpm);
    assert_eq!(tpm.failures(), 1);
    drop(liar);
    clean(&tpm);
    let liar = Liar::to(&tpm, POLICY_PCR, Fault::Code(0x128), 1, None);
    let ended = unlock(&made, &liar.tcti(), Some(PIN), LONG);
    assert!(ended.by_tpm, "{}", ended.report);
    let liar = Liar::to(&tpm, POLICY_PCR, Fault::Code(0x128), usize::MAX, None);
    let ended = unlock(&made, &liar.tcti(), Some(PIN), LONG);
    assert!(ended.report.contains("PCRs differs"), "{}", ended.report);
}

#[trial(
    "refuses another storage root key than the stored one before anything is sent under it",
    needs(swtpm::missing)
)]
fn swapped_srk() {
    let tpm = Swtpm::new();
    let made = made(&tpm, Some("135790"));
    let other = Swtpm::blank();
    other.make_srk();
    let liar = Liar::to(
        &tpm,
        READ_PUBLIC,
        Fault::Short,
        usize::MAX,
        Some(other.port),
    );
    let ended = unlock(&made, &liar.tcti(), Some("135790"), LONG);
    assert!(!ended.by_tpm);
    assert!(
        ended.report.contains("intercepts the traffic"),
        "{}",
        ended.report
    );
    for command in [LOAD, START_AUTH_SESSION, UNSEAL] {
        assert!(!liar.saw(command), "{command:#x}");
    }
    // Nothing hides that key where no name is stored: the program must be told it.
    let name = |tcti: &str| {
        Tss::new(Some(tcti), TssOptions::new())
            .unwrap()
            .srk_name()
            .unwrap()
    };
    assert_eq!(name(&liar.tcti()), name(&other.tcti()));
    let volume = testdata::open(&made.image);
    assert_eq!(volume.protectors()[0].srk_name(), name(&tpm.tcti()));
}

#[trial(
    "leaves no object in the TPM where libtss2 refused an answer",
    needs(swtpm::missing)
)]
fn flushes_what_was_lost() {
    let tpm = Swtpm::new();
    let options = || TssOptions::new().recreate_srk(true).patience(LONG);
    for fault in [Fault::Garbage, Fault::Short, Fault::Long] {
        let liar = Liar::to(&tpm, CREATE_PRIMARY, fault, usize::MAX, None);
        let tss = Tss::new(Some(&liar.tcti()), options()).unwrap();
        let found = tss.srk_name();
        assert!(
            found.is_err() || fault == Fault::Long,
            "{fault:?}: {found:?}"
        );
        assert_eq!(tpm.unflushed(), "", "{fault:?}");
    }
}

#[trial(
    "a TPM that answers falsely while a key is sealed leaves the volume as it was",
    needs(swtpm::missing)
)]
fn lies_at_enrollment() {
    let tpm = Swtpm::new();
    for fault in [
        Fault::Stall,
        Fault::Code(0x101),
        Fault::Garbage,
        Fault::Huge,
    ] {
        let liar = Liar::to(&tpm, CREATE, fault, usize::MAX, None);
        let tss =
            Arc::new(Tss::new(Some(&liar.tcti()), TssOptions::new().patience(SHORT)).unwrap());
        let bound = TpmBinding::to_current(tss, HashAlgorithm::Sha256, &[7, 11]).unwrap();
        let mut volume = crate::common::writing::small_volume();
        volume.protect(NewProtector::tpm(bound, None, None).unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        let start = Instant::now();
        let result = volume.write(&vec![0; crate::common::writing::SIZE], file.as_file());
        assert!(
            matches!(result, Err(Error::Environment { .. })),
            "{fault:?}: {result:?}"
        );
        assert!(start.elapsed() < LONG / 2, "{fault:?}");
    }
}

#[trial(
    "a wrong PIN costs one attempt however many protectors have one",
    needs(swtpm::missing)
)]
fn one_attempt_for_all_protectors() {
    let tpm = Swtpm::new();
    let tss = Arc::new(Tss::new(Some(&tpm.tcti()), TssOptions::default()).unwrap());
    let protector = |pin: &str| {
        let bound = TpmBinding::to_current(tss.clone(), HashAlgorithm::Sha256, &[7, 11]).unwrap();
        let pin = Pin::new(&SecretText::new(pin.to_owned()));
        NewProtector::tpm(bound, Some(pin), None).unwrap()
    };
    let made = volume::with(vec![
        protector("111111"),
        protector("222222"),
        protector("333333"),
    ]);
    let place = made.directory.path();
    secret_file(place, "wrong", b"000000");
    secret_file(place, "second", b"222222");
    let unlock = |arguments: &[&str]| {
        swtpm::fve()
            .args(["unlock", "volume.img", "--json"])
            .arg(format!("--tpm={}", tpm.tcti()))
            .args(arguments)
            .current_dir(place)
            .output()
            .expect("fve")
    };
    let output = unlock(&["--pin-file", "wrong"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(4));
    let reasons: Vec<_> = said["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["wrong-pin", "pin-not-tried", "pin-not-tried"]);
    assert_eq!(tpm.failures(), 1);
    // The PIN of the second protector costs one attempt, and the help names the way.
    let output = unlock(&["--pin-file", "second"]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(tpm.failures(), 2);
    let volume = testdata::open(&made.image);
    let id = format!("{:X}", volume.protectors()[1].id);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let help = said["error"]["help"].as_str().unwrap();
    assert!(help.contains(&format!("--protector {id}")), "{help}");
    let output = unlock(&["--pin-file", "second", "--protector", &id]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(tpm.failures(), 2);
}

#[trial(
    "creates the storage root key that Windows would, if the TPM has none",
    needs(swtpm::missing)
)]
fn creates_the_srk() {
    let tpm = Swtpm::blank();
    let made = volume::with(vec![NewProtector::new_startup_key().unwrap()]);
    let named = format!("--tpm={}", tpm.tcti());
    let run = |arguments: &[&str]| {
        swtpm::fve()
            .args(arguments)
            .arg(&named)
            .current_dir(made.directory.path())
            .output()
            .expect("fve")
    };
    let add = ["protector", "add", "volume.img", "--startup-key", "."];
    let output = run(&add);
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--tpm-create-srk"), "{said}");
    let status = run(&["tpm", "status"]);
    assert!(status.status.success());
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        said.contains("--tpm-create-srk") && said.contains("SHA-256"),
        "{said}"
    );
    let persistent = || tpm.tool("tpm2_getcap", &["handles-persistent"]);
    let output = run(&[&add[..], &["--tpm-create-srk", "--dry-run"]].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(persistent(), "");
    let output = run(&[&add[..], &["--tpm-create-srk"]].concat());
    assert!(output.status.success(), "{output:?}");
    assert!(persistent().contains(SRK));
    assert_eq!(tpm.unflushed(), "");
    let name = |text: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with("name: "))
            .expect("name");
        line.trim_start_matches("name: ").to_owned()
    };
    let created = name(&tpm.tool("tpm2_readpublic", &["-c", SRK]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&created), "{said}");
    // tpm2-tools create the same key from the template of Windows.
    tpm.tool("tpm2_evictcontrol", &["-C", "o", "-c", SRK]);
    tpm.make_srk();
    assert_eq!(name(&tpm.tool("tpm2_readpublic", &["-c", SRK])), created);
    let output = run(&["unlock", "volume.img"]);
    assert!(output.status.success(), "{output:?}");
    // With a key, the option changes nothing.
    let output = run(&[&add[..], &["--tpm-create-srk", "--pcrs", "4"]].concat());
    assert!(output.status.success(), "{output:?}");
}

#[trial(
    "other programs read a volume whose protector stores the name of a storage root key",
    needs(swtpm::missing)
)]
fn others_read_a_stored_name() {
    let tpm = Swtpm::new();
    let made = made(&tpm, Some("135790"));
    let name: String = testdata::open(&made.image).protectors()[0]
        .srk_name()
        .expect("a name")
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let output = swtpm::fve()
        .args(["info", "--json"])
        .arg(&made.image)
        .output()
        .unwrap();
    let info = crate::common::output::json(&output);
    assert_eq!(info["protectors"][0]["tpm_srk_name"], name.as_str());
    assert_eq!(info["protectors"][0]["label"], "TPMAndPin");
    assert_eq!(
        info["protectors"][1]["tpm_srk_name"],
        serde_json::Value::Null
    );
    for (program, arguments) in [
        ("cryptsetup", &["bitlkDump"][..]),
        ("dislocker-metadata", &["-V"]),
    ] {
        if !crate::common::trials::installed(program) {
            continue;
        }
        let output = std::process::Command::new(program)
            .args(arguments)
            .arg(&made.image)
            .output()
            .unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
    }
}
