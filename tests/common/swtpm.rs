//! Software TPMs, which are stopped when their value is dropped, and a proxy that records and
//! disturbs the traffic to them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::trials::{self, Missing};

/// Persistent handle of the storage root key.
pub const SRK: &str = "0x81000001";

/// The `fve` binary under test. It inherits no connection to the TPM of another test.
pub fn fve() -> Command {
    inheriting_nothing(env!("CARGO_BIN_EXE_fve"))
}

/// A program that inherits only the three standard descriptors. Meanwhile, other tests talk to other TPMs, and
/// libtss2 does not mark its connections as close-on-exec: a new process would inherit them. A software TPM
/// serves one connection at a time, so it would wait until that process ends.
fn inheriting_nothing(program: &str) -> Command {
    const SCRIPT: &str = r#"
        for descriptor in /proc/$$/fd/*; do
            descriptor=${descriptor##*/}
            if [ "$descriptor" -gt 2 ]; then eval "exec $descriptor>&-"; fi
        done
        exec "$@"
    "#;
    let mut command = Command::new("bash");
    command.args(["-c", SCRIPT, program, program]);
    command
}

/// Why no software TPM can be used here, or `None`.
pub fn missing() -> Option<Missing> {
    trials::feature("tpm", cfg!(feature = "tpm"))
        .or_else(|| trials::programs(&["swtpm", "tpm2_createprimary", "tpm2_unseal"]))
}

/// A software TPM with its state in a temporary directory.
pub struct Swtpm {
    directory: tempfile::TempDir,
    child: Option<Child>,
    pub port: u16,
}

impl Swtpm {
    /// Starts a TPM with a storage root key as Windows makes it. All have the same seeds, because
    /// they are copies of one that is prepared once.
    pub fn new() -> Self {
        static PREPARED: OnceLock<tempfile::TempDir> = OnceLock::new();
        let prepared = PREPARED.get_or_init(|| {
            let mut tpm = Self::blank();
            tpm.make_srk();
            tpm.stop();
            let directory = tempfile::tempdir().expect("directory");
            copy_files(tpm.directory.path(), directory.path());
            directory
        });
        let directory = tempfile::tempdir().expect("directory");
        copy_files(prepared.path(), directory.path());
        Self::start_in(directory, &["startup-clear"])
    }

    /// Starts a new TPM, with other seeds and without a storage root key.
    pub fn blank() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        Self::start_in(directory, &["startup-clear"])
    }

    /// Starts the program without TPM2_Startup.
    pub fn without_startup() -> Self {
        Self::start_in(tempfile::tempdir().expect("directory"), &[])
    }

    fn start_in(directory: tempfile::TempDir, flags: &[&str]) -> Self {
        let mut tpm = Self {
            directory,
            child: None,
            port: 0,
        };
        tpm.start(flags);
        tpm
    }

    fn start(&mut self, flags: &[&str]) {
        // A port that was free when it was looked for may be in use by now: try again.
        for _ in 0..10 {
            let port = free_port_pair();
            let address = |port: u16| format!("type=tcp,port={port},bindaddr=127.0.0.1");
            let mut child = inheriting_nothing("swtpm")
                .args(["socket", "--tpm2", "--tpmstate"])
                .arg(format!("dir={}", self.directory.path().display()))
                .args(["--server", &address(port), "--ctrl", &address(port + 1)])
                .args(["--flags", &[&["not-need-init"], flags].concat().join(",")])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("swtpm");
            if answers(port, &mut child) {
                self.port = port;
                self.child = Some(child);
                return;
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("swtpm does not start");
    }

    /// Stops the TPM as a computer does at shutdown.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // CMD_SHUTDOWN of swtpm's control channel.
        if let Ok(mut control) = TcpStream::connect(("127.0.0.1", self.port + 1)) {
            // Another client may keep the channel for itself; the process is then killed.
            let _ = control.set_read_timeout(Some(Duration::from_secs(2)));
            let _ = control.write_all(&3u32.to_be_bytes());
            let _ = control.read(&mut [0; 4]);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Restarts the TPM, which resets the PCRs.
    pub fn restart(&mut self) {
        self.stop();
        self.start(&["startup-clear"]);
    }

    /// Its TCTI string for libtss2.
    pub fn tcti(&self) -> String {
        tcti(self.port)
    }

    /// Runs a program of tpm2-tools, and returns its standard output.
    pub fn tool(&self, program: &str, arguments: &[&str]) -> String {
        // Another connection that stays open would keep it waiting.
        let output = inheriting_nothing("timeout")
            .args(["60", program])
            .args(arguments)
            .current_dir(self.directory.path())
            .env("TPM2TOOLS_TCTI", self.tcti())
            .output()
            .expect(program);
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Creates the storage root key from the template of Windows, with tpm2-tools instead of fve.
    pub fn make_srk(&self) {
        let unique = [&[0, 1][..], &[0; 256]].concat();
        std::fs::write(self.path().join("unique"), unique).expect("unique");
        let attributes =
            "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";
        let primary = ["-C", "o", "-G", "rsa2048:aes128cfb", "-g", "sha256"];
        let rest = ["-a", attributes, "-u", "unique", "-c", "srk.ctx"];
        self.tool("tpm2_createprimary", &[primary, rest].concat());
        self.tool("tpm2_evictcontrol", &["-C", "o", "-c", "srk.ctx", SRK]);
        self.tool("tpm2_flushcontext", &["-t"]);
    }

    pub fn extend(&self, pcr: u8) {
        let digest = format!("{pcr}:sha1={},sha256={}", "ab".repeat(20), "cd".repeat(32));
        self.tool("tpm2_pcrextend", &[&digest]);
    }

    /// The lockout counter: wrong passwords that the TPM has counted.
    pub fn failures(&self) -> u32 {
        let text = self.tool("tpm2_getcap", &["properties-variable"]);
        let line = text.lines().find(|line| line.contains("LOCKOUT_COUNTER"));
        let (_, number) = line.expect("counter").split_once("0x").expect("number");
        u32::from_str_radix(number.trim(), 16).expect("number")
    }

    /// Transient objects and sessions that were not flushed.
    pub fn unflushed(&self) -> String {
        [
            "handles-transient",
            "handles-loaded-session",
            "handles-saved-session",
        ]
        .map(|kind| self.tool("tpm2_getcap", &[kind]))
        .concat()
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.stop();
    }
}

fn tcti(port: u16) -> String {
    format!("swtpm:host=127.0.0.1,port={port}")
}

fn answers(port: u16, child: &mut Child) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return false;
        }
        if TcpStream::connect(("127.0.0.1", port + 1)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// A port that is free together with the next one. No other caller in this process gets it, and it is below the
/// ports that the kernel chooses for connections: if something else took the port first, swtpm would end, and
/// [`answers`] would take the other listener for it.
fn free_port_pair() -> u16 {
    static NEXT: OnceLock<AtomicUsize> = OnceLock::new();
    let next = NEXT.get_or_init(|| {
        // Each process begins at another port.
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanoseconds = time.expect("time").subsec_nanos();
        AtomicUsize::new(nanoseconds as usize / 1000)
    });
    loop {
        let pair = next.fetch_add(1, Ordering::Relaxed) % 10_000;
        let port = 12_000 + 2 * pair as u16;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 1) {
            return port;
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("state") {
        let entry = entry.expect("state");
        if entry.file_type().expect("state").is_file() && !is_lock(&entry.path()) {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copy");
        }
    }
}

fn is_lock(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == ".lock")
}

/// How the proxy disturbs the traffic.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Interference {
    None,
    /// Extends this PCR just before TPM2_Unseal, for this many of these commands.
    ExtendBeforeUnseal(u8, usize),
    /// Ends the connection when this command is sent.
    CutAt(u32),
}

/// Command code of TPM2_Unseal.
pub const UNSEAL: u32 = 0x15E;
/// Command code of TPM2_Load.
pub const LOAD: u32 = 0x157;

/// A proxy for a software TPM, on two other ports.
pub struct Proxy {
    pub port: u16,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    pub fn to(tpm: &Swtpm, interference: Interference) -> Self {
        let (data, control, port) = loop {
            let port = free_port_pair();
            let listen = |port| TcpListener::bind(("127.0.0.1", port));
            if let (Ok(data), Ok(control)) = (listen(port), listen(port + 1)) {
                break (data, control, port);
            }
        };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let left = Arc::new(Mutex::new(match interference {
            Interference::ExtendBeforeUnseal(_, times) => times,
            _ => 0,
        }));
        for (listener, to, is_data) in [(data, tpm.port, true), (control, tpm.port + 1, false)] {
            let (seen, left) = (seen.clone(), left.clone());
            std::thread::spawn(move || {
                for near in listener.incoming().flatten() {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else {
                        return;
                    };
                    let interference = if is_data {
                        interference
                    } else {
                        Interference::None
                    };
                    let (seen, left) = (seen.clone(), left.clone());
                    std::thread::spawn(move || carry(near, far, interference, &left, &seen));
                }
            });
        }
        Self { port, seen }
    }

    pub fn tcti(&self) -> String {
        tcti(self.port)
    }

    /// Whether these bytes were sent in either direction.
    pub fn carried(&self, bytes: &[u8]) -> bool {
        let seen = self.seen.lock().expect("traffic");
        seen.windows(bytes.len()).any(|window| window == bytes)
    }
}

fn carry(
    mut near: TcpStream,
    mut far: TcpStream,
    interference: Interference,
    left: &Mutex<usize>,
    seen: &Mutex<Vec<u8>>,
) {
    let (mut back_from, mut back_to) = (
        far.try_clone().expect("socket"),
        near.try_clone().expect("socket"),
    );
    // The responses to inserted commands are dropped.
    let swallow = Arc::new(Mutex::new(0usize));
    std::thread::scope(|scope| {
        let swallowed = swallow.clone();
        scope.spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = back_from.read(&mut buffer) {
                let mut swallow = swallowed.lock().expect("traffic");
                if *swallow > 0 {
                    *swallow -= 1;
                    continue;
                }
                drop(swallow);
                seen.lock()
                    .expect("traffic")
                    .extend_from_slice(&buffer[..len]);
                if back_to.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
            let _ = back_to.shutdown(Shutdown::Both);
        });
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = near.read(&mut buffer) {
            let command = &buffer[..len];
            let code = command
                .get(6..10)
                .map(|code| u32::from_be_bytes(code.try_into().expect("four")));
            match interference {
                Interference::CutAt(cut) if code == Some(cut) => break,
                Interference::ExtendBeforeUnseal(pcr, _) if code == Some(UNSEAL) => {
                    let mut left = left.lock().expect("traffic");
                    if *left > 0 {
                        *left -= 1;
                        *swallow.lock().expect("traffic") += 1;
                        far.write_all(&pcr_extend(pcr)).expect("TPM");
                        while *swallow.lock().expect("traffic") > 0 {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                }
                _ => {}
            }
            seen.lock().expect("traffic").extend_from_slice(command);
            if far.write_all(command).is_err() {
                break;
            }
        }
        let _ = far.shutdown(Shutdown::Both);
        let _ = near.shutdown(Shutdown::Both);
    });
}

/// TPM2_PCR_Extend of a PCR in the SHA-256 bank, with an empty password.
fn pcr_extend(pcr: u8) -> Vec<u8> {
    let mut command = vec![0x80, 2, 0, 0, 0, 0, 0, 0, 1, 0x82, 0, 0, 0, pcr];
    command.extend([0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
    command.extend([0, 0, 0, 1, 0, 0xB]);
    command.extend([0xEE; 32]);
    let len = u32::try_from(command.len()).expect("length").to_be_bytes();
    command[2..6].copy_from_slice(&len);
    command
}

/// Writes a secret to a file.
pub fn secret_file(directory: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, content).expect("secret");
    path
}
