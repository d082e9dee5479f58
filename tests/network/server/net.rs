//! Network segments made of namespaces, and the running server in one of them.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::common::documented::assert_documented;
use crate::common::send;
use crate::common::trials::{self, Missing, installed};

/// The environment variable that is set in the isolated process.
const INSIDE: &str = "FVE_TEST_NAMESPACE";
const WAIT: Duration = Duration::from_secs(15);

/// Whether this process is isolated, or why not; set by [`isolate`].
static ISOLATED: OnceLock<Result<(), String>> = OnceLock::new();

/// Starts this program again in new network and mount namespaces, unless it is in them already.
pub fn isolate() {
    ISOLATED.get_or_init(try_to_isolate);
}

/// What tests lack that need an isolated network.
pub fn isolated() -> Option<Missing> {
    let isolated = ISOLATED.get()?.as_ref();
    isolated.err().map(|why| Missing::Tool(why.clone()))
}

fn try_to_isolate() -> Result<(), String> {
    if std::env::var_os(INSIDE).is_some() {
        return run(&["mount", "-t", "tmpfs", "tmpfs", "/run"]);
    }
    for tool in ["unshare", "ip", "mount"] {
        if !installed(tool) {
            return Err(format!("{tool} is not installed"));
        }
    }
    // Root needs no user namespace, in which the server could not change to another user.
    let flags = match rustix::process::geteuid().is_root() {
        true => "-nm",
        false => "-rnm",
    };
    if !Command::new("unshare")
        .args([flags, "ip", "netns"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return Err("permission to make network namespaces is missing".to_owned());
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let error = Command::new("unshare")
        .arg(flags)
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error.to_string())
}

/// The first of these programs that is missing. `python` stands for a Python with PyCryptodome.
pub fn missing(tools: &[&str]) -> Option<Missing> {
    tools.iter().find_map(|tool| match *tool {
        "python" if python().is_some() => None,
        "python" => Some(Missing::Tool("PyCryptodome is not installed".to_owned())),
        tool => trials::programs(&[tool]),
    })
}

/// A Python that has PyCryptodome.
pub fn python() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("FVE_PYTHON")?);
    let has_pycryptodome = Command::new(&python)
        .args(["-c", "import Crypto.Cipher.AES"])
        .output()
        .is_ok_and(|output| output.status.success());
    has_pycryptodome.then_some(python)
}

pub fn run(words: &[&str]) -> Result<(), String> {
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .map_err(|error| format!("{words:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

fn ip(line: &str) {
    let words: Vec<_> = std::iter::once("ip").chain(line.split(' ')).collect();
    run(&words).expect("ip");
}

/// A segment: a bridge in its own namespace, to which hosts are connected.
pub struct Segment {
    number: usize,
    ports: usize,
}

impl Segment {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        ip(&format!("netns add bridge{number}"));
        ip(&format!("-n bridge{number} link add wire type bridge"));
        ip(&format!("-n bridge{number} link set wire up"));
        Self { number, ports: 0 }
    }

    /// Connects `host` through a new interface with the addresses `10.77.N.LAST/24`, `fe80::LAST` and
    /// `2001:db8:N::LAST/64`.
    pub fn join(&mut self, host: &Host, interface: &str, network: u8, last: u8) {
        let (bridge, port) = (self.number, self.ports);
        self.ports += 1;
        let name = &host.0;
        ip(&format!(
            "link add {interface} netns {name} type veth peer name port{port} netns bridge{bridge}"
        ));
        ip(&format!(
            "-n bridge{bridge} link set port{port} master wire up"
        ));
        ip(&format!(
            "-n {name} link set {interface} addrgenmode none up"
        ));
        for address in [
            format!("10.77.{network}.{last}/24"),
            format!("fe80::{last:x}/64 nodad"),
            format!("2001:db8:{network:x}::{last:x}/64 nodad"),
        ] {
            let family = if address.contains('.') { "brd +" } else { "" };
            let line = format!("-n {name} addr add {address} {family} dev {interface}");
            let line = line.replace("  ", " ");
            ip(&line);
        }
    }
}

/// A host: a network namespace, with its name.
pub struct Host(pub String);

impl Host {
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{name}{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link set lo up"));
        Self(name)
    }

    /// A command that runs on this host.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program);
        command
    }

    pub fn route(&self, to: &str, via: &str) {
        ip(&format!("-n {} route add {to} via {via}", self.0));
    }

    /// A UDP socket of this host on its interface eth0.
    pub fn socket(&self, address: &str) -> UdpSocket {
        let (path, address) = (format!("/run/netns/{}", self.0), address.to_owned());
        let open = move || {
            let namespace = std::fs::File::open(path).expect("namespace");
            move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&namespace),
                Some(LinkNameSpaceType::Network),
            )
            .expect("namespace");
            let socket = UdpSocket::bind(address).expect("socket");
            let socket = socket2::Socket::from(socket);
            socket.bind_device(Some(b"eth0")).expect("device");
            socket.set_broadcast(true).expect("broadcast");
            let _ = socket.set_recv_buffer_size(4 << 20);
            UdpSocket::from(socket)
        };
        // In a thread of its own, which alone enters the namespace. The socket stays in it.
        std::thread::spawn(open).join().expect("socket")
    }

    /// Asks with the client in Python, and returns its output.
    pub fn ask(&self, words: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/network/client.py");
        let output = self
            .command(python().expect("python"))
            .arg(script)
            .args(words)
            .output()
            .expect("client");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            [Some(0), Some(4)].contains(&output.status.code()),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        stdout
    }
}

/// A program that ends with the test.
pub struct Daemon(Child);

impl Daemon {
    pub fn start(mut command: Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("daemon");
        Self(child)
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("wait").is_none()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running server, and the lines of its log.
pub struct Server {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts the server with these options, and waits until its sockets are open.
    pub fn start(host: &Host, words: &[&str]) -> Self {
        let mut command = host.command(env!("CARGO_BIN_EXE_fve"));
        command
            .args(["network-unlock", "serve", "--log", "json"])
            .args(words);
        Self::start_command(command)
    }

    /// Starts this command, and waits until the server's sockets are open.
    pub fn start_command(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("server");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().expect("stderr"));
        let log = lines.clone();
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                log.lock().expect("log").push(value);
            }
        });
        let server = Self {
            child,
            lines,
            reader: Some(reader),
        };
        server.wait_for(|line| {
            line["message"]
                .as_str()
                .is_some_and(|text| text.starts_with("listening"))
        });
        server
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn lines(&self) -> Vec<Value> {
        self.lines.lock().expect("log").clone()
    }

    /// The decision and the reason of every request. Stops the server first, because it sends a reply
    /// before it logs the request.
    pub fn verdicts(mut self) -> Vec<(String, String)> {
        self.stop();
        let reader = self.reader.take().expect("reader");
        reader.join().expect("log");
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.lines()
            .iter()
            .filter(|line| line["event"] == "request")
            .map(|line| (word(&line["decision"]), word(&line["reason"])))
            .collect()
    }

    /// All lines. Stops the server first, so that nothing is missing.
    pub fn stopped(mut self) -> Vec<Value> {
        self.stop();
        let reader = self.reader.take().expect("reader");
        reader.join().expect("log");
        self.lines()
    }

    /// Waits for a line that meets the condition.
    #[track_caller]
    pub fn wait_for(&self, condition: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            if let Some(line) = self.lines().into_iter().find(&condition) {
                return line;
            }
            assert!(start.elapsed() < WAIT, "{:#?}", self.lines());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn wait_for_reason(&self, reason: &str) -> Value {
        self.wait_for(|line| line["reason"] == reason)
    }

    pub fn signal(&self, signal: Signal) {
        send(signal, self.id());
    }

    /// Stops it as systemd does. Checks its exit status, and that docs/json.md describes its log.
    fn stop(&mut self) {
        let start = Instant::now();
        let mut signaled = false;
        loop {
            if let Some(status) = self.child.try_wait().expect("server") {
                assert!(status.success(), "{status}: {:#?}", self.lines());
                let lines = self.lines();
                // Other programs, such as systemd-socket-activate, write lines that are not JSON.
                for line in lines.iter().filter(|line| line.is_object()) {
                    assert_documented("network-unlock-serve-log", line);
                }
                return;
            }
            if !std::mem::replace(&mut signaled, true) {
                self.signal(Signal::TERM);
            }
            assert!(start.elapsed() < WAIT, "still running: {:#?}", self.lines());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes it reload its files, and waits until it has done so.
    pub fn reload(&self) {
        let before = self.lines().len();
        self.signal(Signal::HUP);
        let start = Instant::now();
        let done = |line: &Value| {
            let text = line["message"].as_str().unwrap_or_default();
            text.contains("reloaded") && !text.contains("SIGHUP") || text.contains("stay in use")
        };
        while !self.lines()[before..].iter().any(done) {
            assert!(start.elapsed() < WAIT, "{:#?}", self.lines());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
