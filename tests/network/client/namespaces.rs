//! Exchanges between a client and a server in network namespaces on one Ethernet segment, isolated
//! from the host's network. Needs root.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::server::Authority;
use crate::common::documented::assert_documented;
use crate::common::fve;
use crate::common::output::{assert_status, json};
use crate::common::trials::{self, Missing, trial};

/// What these tests lack, if anything.
fn missing() -> Option<Missing> {
    let missing = trials::programs(&["openssl", "ip", "nsenter", "dnsmasq", "python3"])
        .or_else(trials::root)
        .or_else(trials::fuse);
    if missing.is_some() {
        return missing;
    }
    // The server's tests may have put this process into a user namespace, where it only seems to be
    // root.
    let ids = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if !ids.split_whitespace().eq(["0", "0", "4294967295"]) {
        return Some(Missing::Tool("root".to_owned()));
    }
    let name = name("probe");
    let made = Command::new("ip").args(["netns", "add", &name]).output();
    let made = made.is_ok_and(|output| output.status.success());
    let _ = Command::new("ip").args(["netns", "del", &name]).output();
    (!made).then(|| Missing::Tool("permission to make network namespaces".to_owned()))
}

/// A unique name. Names of interfaces have at most 15 characters.
fn name(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    format!("fc{:x}.{number}{what}", std::process::id())
}

#[track_caller]
fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments:?}: {stderr}");
}

/// A segment with a server and a client. Its bridge is in the server's namespace.
struct Segment {
    server: Namespace,
    client: Namespace,
    directory: tempfile::TempDir,
    authority: Authority,
    running: Vec<Running>,
}

struct Namespace(String);

impl Namespace {
    fn new(what: &str) -> Self {
        let name = name(what);
        ip(&["netns", "add", &name]);
        let namespace = Self(name);
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    #[track_caller]
    fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.0], arguments].concat());
    }

    /// A command in this network namespace. It shares the other namespaces, so that the tests see its
    /// mounts.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.0));
        command.arg("--").arg(program);
        command
    }

    fn fve(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_fve"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Segment {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let authority = Authority::make(directory.path(), "server");
        let server = Namespace::new("s");
        server.ip(&["link", "add", "br0", "type", "bridge"]);
        // Without duplicate address detection, addresses can be used at once.
        let sysctl = "for f in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $f; done";
        let done = server.command("sh").args(["-c", sysctl]).status();
        assert!(done.expect("sh").success());
        server.ip(&["addr", "add", "10.77.0.1/24", "dev", "br0"]);
        server.ip(&["link", "set", "br0", "up"]);
        let client = Namespace::new("c");
        let segment = Self {
            server,
            client,
            directory,
            authority,
            running: Vec::new(),
        };
        segment.attach(&segment.client, "10.77.0.50/24");
        segment
    }

    /// Connects `eth0` of a namespace to the segment.
    fn attach(&self, namespace: &Namespace, address: &str) {
        let port = name("p");
        let sysctl = "for f in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $f; done";
        let done = namespace.command("sh").args(["-c", sysctl]).status();
        assert!(done.expect("sh").success());
        ip(&[
            "link",
            "add",
            &port,
            "netns",
            &self.server.0,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &namespace.0,
        ]);
        self.server
            .ip(&["link", "set", &port, "master", "br0", "up"]);
        namespace.ip(&["addr", "add", address, "dev", "eth0"]);
        namespace.ip(&["link", "set", "eth0", "up"]);
        self.wait_for_link_local(namespace);
    }

    /// The kernel assigns a link-local address shortly after the interface is up.
    fn wait_for_link_local(&self, namespace: &Namespace) {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let mut command = Command::new("ip");
            command.args(["-n", &namespace.0, "-6", "addr", "show", "dev", "eth0"]);
            let shown = String::from_utf8(command.output().expect("ip").stdout).expect("text");
            if shown.contains("fe80::") && !shown.contains("tentative") {
                return;
            }
            assert!(Instant::now() < until, "no link-local address: {shown}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts the server.
    fn serve(&mut self) {
        self.serve_with(&[]);
    }

    fn serve_with(&mut self, words: &[&str]) {
        let mut command = self.server.fve();
        command
            .args([
                "network-unlock",
                "serve",
                "--interface",
                "br0",
                "--accept-readable-keys",
                "--certificate",
            ])
            .arg(self.authority.bundle())
            .args(words);
        self.start(&mut command, "listening on");
    }

    /// Starts a program, and waits until it prints `ready`.
    fn start(&mut self, command: &mut Command, ready: &str) {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start");
        let mut output = BufReader::new(child.stderr.take().expect("standard error"));
        self.running.push(Running(child));
        let mut all = String::new();
        loop {
            let mut line = String::new();
            let len = output.read_line(&mut line).expect("text");
            assert!(len > 0, "it ended: {all}");
            all += &line;
            if line.contains(ready) {
                break;
            }
        }
        // Keeps reading: writing to a closed pipe would end the program.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    }

    /// Starts a program on the client's computer that holds the ports of DHCP clients.
    fn hold_ports(&mut self) {
        let hold = "import socket, sys, time
a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(('0.0.0.0', 68))
b = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
b.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1); b.bind(('::', 546))
print('held', file=sys.stderr, flush=True)
time.sleep(600)";
        let mut holder = self.client.command("python3");
        holder.args(["-c", hold]);
        self.start(&mut holder, "held");
    }

    /// Starts another host that answers every request with forged replies (tests/cases/net_forger.py).
    fn forge(&mut self, host: &Namespace, mode: &str, count: usize) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/net_forger.py");
        let mut forger = host.command("sh");
        let run = "exec python3 -B \"$0\" eth0 \"$1\" \"$2\" 1>&2";
        forger.args(["-c", run]).arg(script);
        forger.args([mode, &count.to_string()]);
        self.start(&mut forger, "ready");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `fve create` with a Network Unlock protector and a recovery password.
    fn create(&self, transport: &str) -> Output {
        self.client
            .fve()
            .arg("create")
            .arg(self.path("volume.img"))
            .args(["--size", "8M", "--json"])
            .arg(format!("--network-unlock={transport}"))
            .arg("--network-certificate")
            .arg(&self.authority.certificate)
            .arg("--network-sidecar")
            .arg(self.directory.path())
            .arg("--recovery-password-to")
            .arg(self.path("recovery.txt"))
            .output()
            .expect("fve create")
    }

    fn unlock(&self, transport: &str, more: &[&str]) -> Output {
        let mut command = self.client.fve();
        command.arg("unlock").arg(self.path("volume.img"));
        self.network(&mut command, transport);
        command.arg("--json").args(more).output().expect("unlock")
    }

    fn network(&self, command: &mut Command, transport: &str) {
        command
            .arg(format!("--network-unlock={transport}"))
            .arg("--network-sidecar")
            .arg(self.directory.path());
    }

    fn probe(&self, transport: &str, certificate: &Path) -> (Option<i32>, Value) {
        let mut command = self.client.fve();
        command.args(["network-unlock", "probe", transport, "--json"]);
        let output = command.arg("--certificate").arg(certificate).output();
        let output = output.expect("probe");
        let document = json(&output);
        assert_documented("network-unlock-probe", &document);
        (output.status.code(), document)
    }
}

#[trial(
    "unlocks, mounts and decrypts a new volume over DHCPv4",
    needs(missing)
)]
fn over_dhcp4() {
    end_to_end("dhcp4");
}

#[trial(
    "unlocks, mounts and decrypts a new volume over DHCPv6",
    needs(missing)
)]
fn over_dhcp6() {
    end_to_end("dhcp6");
}

/// Makes a volume, and unlocks it with every command, with no other credential.
fn end_to_end(transport: &str) {
    let mut segment = Segment::new();
    segment.serve();
    let created = segment.create(transport);
    assert_status(&created, 0);
    assert_eq!(json(&created)["network_unlock_proved"], true);

    let unlocked = segment.unlock(transport, &[]);
    assert_status(&unlocked, 0);
    let unlocked = json(&unlocked);
    assert_eq!(unlocked["credential"], "Network Unlock");
    assert_eq!(unlocked["protector"]["type"], "startup-key");

    let plaintext = segment.path("plaintext");
    let mut decrypt = segment.client.fve();
    decrypt.arg("decrypt").arg(segment.path("volume.img"));
    decrypt.arg(&plaintext);
    segment.network(&mut decrypt, transport);
    assert_status(&decrypt.output().expect("decrypt"), 0);

    let place = tempfile::tempdir().expect("directory");
    let mut mounting = segment.client.fve();
    mounting
        .args(["mount", "--volume"])
        .arg(segment.path("volume.img"));
    mounting.arg(place.path());
    segment.network(&mut mounting, transport);
    // Without pipes for its output: the mount would keep them open.
    let status = mounting.stdin(Stdio::null()).status().expect("mount");
    assert!(status.success());
    let mounted = std::fs::read(place.path().join("volume"));
    let ended = fve().arg("unmount").arg(place.path()).output();
    assert_status(&ended.expect("unmount"), 0);
    assert_eq!(
        mounted.expect("read"),
        std::fs::read(plaintext).expect("read")
    );
}

#[trial("adds a protector to a volume, and tests it", needs(missing))]
fn added() {
    let mut segment = Segment::new();
    let image = segment.path("volume.img");
    let recovery = segment.path("recovery.txt");
    let mut create = fve();
    create.arg("create").arg(&image).args(["--size", "8M"]);
    create.arg("--recovery-password-to").arg(&recovery);
    assert_status(&create.output().expect("create"), 0);
    segment.serve();
    let mut add = segment.client.fve();
    add.args(["protector", "add"]).arg(&image);
    segment.network(&mut add, "dhcp");
    add.arg("--network-certificate");
    add.arg(&segment.authority.certificate);
    add.arg("--recovery-password-file").arg(&recovery);
    let output = add.output().expect("add");
    assert_status(&output, 0);
    let output = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.contains("was unlocked once with the key"),
        "{output}"
    );
    // The file for the requests of a second one exists already.
    let again = add.output().expect("add");
    assert_eq!(again.status.code(), Some(2));
    assert_status(&segment.unlock("dhcp", &[]), 0);
    // Without a certificate, the option is a credential, which also unlocks the volume for a change.
    let mut change = segment.client.fve();
    change.args(["protector", "add"]).arg(&image);
    segment.network(&mut change, "dhcp");
    change.arg("--recovery-password-to");
    change.arg(segment.path("second.txt"));
    assert_status(&change.output().expect("add"), 0);
}

#[trial("tries other credentials if no server answers", needs(missing))]
fn silent() {
    let segment = Segment::new();
    let created = segment.create("dhcp4");
    assert_status(&created, 0);
    assert_eq!(json(&created)["network_unlock_proved"], false);
    let output = String::from_utf8_lossy(&created.stderr);
    assert!(output.contains("at most 4 seconds"), "{output}");
    assert!(output.contains("was not tested"), "{output}");

    let started = Instant::now();
    let refused = segment.unlock("dhcp4", &[]);
    assert_eq!(refused.status.code(), Some(4));
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(4), "{took:?}");
    let reason = &json(&refused)["attempts"][0];
    assert_eq!(reason["reason"], "no-answer");
    assert!(
        reason["message"]
            .as_str()
            .unwrap()
            .contains("no server answered over DHCPv4")
    );

    let started = Instant::now();
    let refused = segment.unlock("dhcp", &["--network-timeout", "1"]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(started.elapsed() < Duration::from_secs(4));

    let recovery = segment.path("recovery.txt");
    let opened = segment.unlock(
        "dhcp4",
        &["--recovery-password-file", recovery.to_str().unwrap()],
    );
    assert_status(&opened, 0);
    assert_eq!(json(&opened)["credential"], "recovery password");

    // The credentials of systemd come next.
    let credentials = tempfile::tempdir().expect("directory");
    std::fs::copy(&recovery, credentials.path().join("fve.recovery-password")).expect("copy");
    let mut command = segment.client.fve();
    command.env("CREDENTIALS_DIRECTORY", credentials.path());
    command.arg("unlock").arg(segment.path("volume.img"));
    segment.network(&mut command, "dhcp4");
    let opened = command.args(["--network-timeout", "1", "--json"]).output();
    let opened = opened.expect("unlock");
    assert_status(&opened, 0);
    assert_eq!(json(&opened)["credential"], "recovery password");
    let output = String::from_utf8_lossy(&opened.stderr);
    assert!(output.contains("no server answered"), "{output}");

    // A volume with no other protector is not made if no server answers.
    let alone = segment.path("alone.img");
    let mut create = segment.client.fve();
    create.arg("create").arg(&alone).args(["--size", "8M"]);
    create.args(["--network-unlock=dhcp4", "--network-timeout", "1"]);
    create.arg("--network-certificate");
    create.arg(&segment.authority.certificate);
    create
        .arg("--network-sidecar")
        .arg(segment.path("alone.nkp"));
    let refused = create.output().expect("create");
    assert_eq!(refused.status.code(), Some(4));
    assert!(!alone.exists() && !segment.path("alone.nkp").exists());
}

#[trial("probe finds servers, and says why there is none", needs(missing))]
fn probes() {
    let mut segment = Segment::new();
    segment.serve();
    let certificate = segment.authority.certificate.clone();
    let (status, found) = segment.probe("dhcp", &certificate);
    assert_eq!(status, Some(0), "{found}");
    assert_eq!(found["answered"], true);
    assert_eq!(found["certificate"]["doubts"], serde_json::json!([]));
    let transports = found["transports"].as_array().expect("a list");
    let names: Vec<_> = transports.iter().map(|one| &one["transport"]).collect();
    assert_eq!(names, ["DHCPv6", "DHCPv4"]);
    for one in transports {
        assert_eq!(one["answered"], true, "{one}");
        assert!(one["seconds"].as_f64().expect("a time") < 4.0);
    }
    assert_eq!(transports[1]["from"], "10.77.0.1");

    let other = Authority::make(segment.directory.path(), "other");
    let (status, found) = segment.probe("dhcp4", &other.certificate);
    assert_eq!(status, Some(4));
    assert_eq!(found["transports"][0]["reason"], "no-answer");
    assert_eq!(found["transports"][0]["sent"], 2);

    let (status, found) = segment.probe("dhcp4:eth9", &certificate);
    assert_eq!(status, Some(4));
    assert_eq!(found["transports"][0]["reason"], "no-address");
    segment.client.ip(&["link", "set", "eth0", "down"]);
    let mut command = segment.client.fve();
    command.args(["network-unlock", "probe", "dhcp4:eth0", "--certificate"]);
    let output = command.arg(&certificate).output().expect("probe");
    assert_eq!(output.status.code(), Some(4));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.contains("eth0 is down or has no carrier"),
        "{stdout}"
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("help: bring the interface up"), "{stderr}");
}

/// Another program holds the ports, so packet sockets are used.
#[trial("asks beside a DHCP client that holds the port", needs(missing))]
fn beside_a_client() {
    let mut segment = Segment::new();
    segment.serve();
    segment.hold_ports();
    let certificate = segment.authority.certificate.clone();
    let (status, found) = segment.probe("dhcp", &certificate);
    assert_eq!(status, Some(0), "{found}");
    for one in found["transports"].as_array().expect("a list") {
        assert_eq!(one["answered"], true, "{one}");
    }
}
/// dnsmasq answers the request with a BOOTP reply.
#[trial("is not misled by a DHCP server on the segment", needs(missing))]
fn beside_a_server() {
    let mut segment = Segment::new();
    let other = Namespace::new("d");
    segment.attach(&other, "10.77.0.2/24");
    let leases = segment.path("leases");
    let mut dnsmasq = other.command("dnsmasq");
    dnsmasq
        .args([
            "--no-daemon",
            "--conf-file=/dev/null",
            "--port=0",
            "--no-ping",
        ])
        .args(["--dhcp-range=10.77.0.100,10.77.0.150", "--bootp-dynamic"])
        .args(["--interface=eth0", "--bind-interfaces", "--user=root"])
        .arg(format!("--dhcp-leasefile={}", leases.display()));
    segment.start(&mut dnsmasq, "DHCP, IP range");
    segment.serve();
    let certificate = segment.authority.certificate.clone();
    let (status, found) = segment.probe("dhcp4", &certificate);
    assert_eq!(status, Some(0), "{found}");
    assert_eq!(found["transports"][0]["from"], "10.77.0.1");

    // Without the server, the other replies are reported.
    segment.running.pop();
    let (status, found) = segment.probe("dhcp4", &certificate);
    assert_eq!(status, Some(4));
    let skipped = &found["transports"][0]["skipped"][0];
    assert_eq!(skipped["what"], "BOOTP reply of a DHCP server", "{found}");
    assert_eq!(skipped["from"], "10.77.0.2");
}

/// Answers every request before the server can, with forged replies: two of the right form, one for
/// another transaction, one that is cut off, one that is too short, and random bytes.
const FORGER: &str = "
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.bind(('0.0.0.0', 67))
print('forging', file=sys.stderr, flush=True)
while True:
    request, source = s.recvfrom(2048)
    head = b'\\x02' + request[1:4]
    def reply(xid, sealed, length=60):
        return (head + xid + bytes(20) + request[28:236] + request[236:240]
            + b'\\x3c\\x09BITLOCKER\\x2b' + bytes([length + 2, 2, length]) + sealed + b'\\xff')
    xid = request[4:8]
    forged = os.urandom(60)
    for packet in [reply(xid, forged), reply(xid, forged), reply(os.urandom(4), forged),
            reply(xid, forged)[:280], reply(xid, forged[:32], 32), os.urandom(400)]:
        s.sendto(packet, (source[0], 68))
";

#[trial("is not misled by a host that forges replies", needs(missing))]
fn beside_a_forger() {
    let mut segment = Segment::new();
    let other = Namespace::new("f");
    segment.attach(&other, "10.77.0.3/24");
    let mut forger = other.command("python3");
    forger.args(["-c", FORGER]);
    segment.start(&mut forger, "forging");
    let certificate = segment.authority.certificate.clone();
    let (status, found) = segment.probe("dhcp4", &certificate);
    assert_eq!(status, Some(4), "{found}");
    let alone = &found["transports"][0];
    assert_eq!(alone["reason"], "not-authentic");
    // Two of the right form for each of the two transmissions.
    assert_eq!(alone["refused"], 4, "{found}");
    let skipped = alone["skipped"].as_array().expect("a list");
    let what: Vec<_> = skipped
        .iter()
        .filter_map(|one| one["what"].as_str())
        .collect();
    assert!(what.contains(&"reply to another request"), "{what:?}");

    segment.serve();
    let (status, found) = segment.probe("dhcp4", &certificate);
    assert_eq!(status, Some(0), "{found}");
    assert_eq!(found["transports"][0]["from"], "10.77.0.1");
    assert_status(&segment.create("dhcp4"), 0);
    assert_status(&segment.unlock("dhcp4", &[]), 0);
}

/// Unlocks a volume and probes beside an honest server and a forger, for each number of forgeries.
fn opens_beside(segment: &mut Segment, transport: &str, mode: &str, counts: &[usize]) {
    assert_status(&segment.create(transport), 0);
    let certificate = segment.authority.certificate.clone();
    for count in counts {
        let host = Namespace::new("f");
        segment.attach(&host, "10.77.0.3/24");
        segment.forge(&host, mode, *count);
        for _ in 0..2 {
            assert_status(&segment.unlock(transport, &[]), 0);
        }
        let (status, found) = segment.probe(transport, &certificate);
        assert_eq!(status, Some(0), "{count}: {found}");
        segment.running.pop();
    }
}

#[trial(
    "opens beside any number of forged replies over DHCPv4",
    needs(missing)
)]
fn many_forged4() {
    let mut segment = Segment::new();
    segment.serve();
    opens_beside(&mut segment, "dhcp4", "garbage", &[70, 200, 2000]);
}

#[trial(
    "opens beside any number of forged replies over DHCPv6",
    needs(missing)
)]
fn many_forged6() {
    let mut segment = Segment::new();
    segment.serve();
    opens_beside(&mut segment, "dhcp6", "6garbage", &[70, 200, 2000]);
}

#[trial(
    "opens beside forged replies with packet sockets on both sides",
    needs(missing)
)]
fn many_forged_frames() {
    let mut segment = Segment::new();
    segment.serve_with(&["--mode", "tap"]);
    segment.hold_ports();
    opens_beside(&mut segment, "dhcp4", "garbage", &[200, 2000]);
    std::fs::remove_file(segment.path("volume.img")).expect("remove");
    std::fs::remove_file(segment.path("recovery.txt")).expect("remove");
    opens_beside(&mut segment, "dhcp6", "6garbage", &[2000]);
}

#[trial(
    "opens beside thousands of replies to others, and malformed ones",
    needs(missing)
)]
fn many_others() {
    let mut segment = Segment::new();
    segment.serve();
    opens_beside(&mut segment, "dhcp4", "other", &[5000]);
    std::fs::remove_file(segment.path("volume.img")).expect("remove");
    std::fs::remove_file(segment.path("recovery.txt")).expect("remove");
    opens_beside(&mut segment, "dhcp4", "malformed", &[1]);
}

/// The server answers two requests of a client at once, and one a second after that. So others are only
/// answered when they are sent again, and by then there are twice as many forged replies.
#[trial(
    "opens beside forged replies although the server limits the rate",
    needs(missing)
)]
fn forged_and_limited() {
    let mut segment = Segment::new();
    segment.serve_with(&["--rate-source", "1/2"]);
    assert_status(&segment.create("dhcp4"), 0);
    let host = Namespace::new("f");
    segment.attach(&host, "10.77.0.3/24");
    segment.forge(&host, "garbage", 63);
    for _ in 0..5 {
        assert_status(&segment.unlock("dhcp4", &[]), 0);
    }
}

#[trial("divides a short time, and says what was not asked", needs(missing))]
fn short_time() {
    let mut segment = Segment::new();
    let certificate = segment.authority.certificate.clone();
    let probe = |segment: &Segment| {
        let mut command = segment.client.fve();
        command.args(["network-unlock", "probe", "--json", "--timeout", "3"]);
        let output = command.arg("--certificate").arg(&certificate).output();
        json(&output.expect("probe"))
    };
    let started = Instant::now();
    let found = probe(&segment);
    assert!(started.elapsed() < Duration::from_secs(6));
    for one in found["transports"].as_array().expect("a list") {
        assert_eq!(one["reason"], "no-answer", "{one}");
        assert_eq!(one["sent"], 2, "{one}");
    }
    segment.serve();
    let found = probe(&segment);
    for one in found["transports"].as_array().expect("a list") {
        assert_eq!(one["answered"], true, "{one}");
    }
}
