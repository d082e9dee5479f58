//! The running server in network namespaces: with an independent client, with relays, beside DHCP
//! servers, with reloads under load, and its privileges after the sockets are open.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fve::network::certificate::Certificate;
use fve::network::crypto::{open_reply, seal_request};
use fve::network::message::dhcp4::{Form, Header, Reply4, Request4};
use fve::network::{Request, Thumbprint};
use fve::secret::{NetworkKey, SessionKey};

use super::core::files;
use super::net::{Daemon, Host, Segment, Server, isolated, missing, run};
use crate::common::fve;
use crate::common::trials::trial;

const THUMBPRINT: &str = "b44bf9cee0e91c92b027a18dea2d3573bd7f8506";
const WAIT: Duration = Duration::from_secs(5);

/// A segment with a server (10.77.0.1) and a client (10.77.0.50).
struct Place {
    segment: Segment,
    server: Host,
    client: Host,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let mut segment = Segment::new();
        let (server, client) = (Host::new("server"), Host::new("client"));
        segment.join(&server, "eth0", 0, 1);
        segment.join(&client, "eth0", 0, 50);
        let directory = tempfile::tempdir().expect("directory");
        // So that the user that the server changes to can read it.
        run(&["chmod", "755", directory.path().to_str().unwrap()]).unwrap();
        Self {
            segment,
            server,
            client,
            directory,
        }
    }

    fn serve(&self, words: &[&str]) -> Server {
        serve(&self.server, words)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).expect("file");
        path
    }

    fn ask(&self, words: &[&str]) -> String {
        let [certificate, _] = files();
        self.client.ask(&[&[text(&certificate)], words].concat())
    }
}

/// The server with the certificate of the tests.
fn serve(host: &Host, words: &[&str]) -> Server {
    let [certificate, key] = files();
    Server::start(host, &[&key_options(&certificate, &key), words].concat())
}

/// The messages of a server that cannot start.
#[track_caller]
fn refused(host: &Host, words: &[&str], status: i32) -> String {
    let [certificate, key] = files();
    let mut command = host.command("timeout");
    command.args(["10", env!("CARGO_BIN_EXE_fve"), "network-unlock", "serve"]);
    command.args(key_options(&certificate, &key)).args(words);
    let output = command.output().expect("fve");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{words:?}: {stderr}");
    stderr
}

/// Options for the key of the tests, which every user can read in a checkout.
fn key_options<'a>(certificate: &'a Path, key: &'a Path) -> [&'a str; 5] {
    let [certificate, key] = [text(certificate), text(key)];
    [
        "--accept-readable-keys",
        "--certificate",
        certificate,
        "--certificate",
        key,
    ]
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

#[trial("refuses a key that every user can read", needs(isolated))]
fn readable_key() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let [certificate, key] = files();
    let key = place.file("key.pem", std::fs::read(key).unwrap());
    let words = [
        "--certificate",
        text(&certificate),
        "--certificate",
        text(&key),
    ];
    let start = |mode| {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut command = place.server.command("timeout");
        command.args([
            "-s",
            "INT",
            "2",
            env!("CARGO_BIN_EXE_fve"),
            "network-unlock",
            "serve",
        ]);
        let output = command.args(words).output().expect("fve");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (
            stderr.contains("listening on"),
            output.status.code(),
            stderr,
        )
    };
    let (listens, status, stderr) = start(0o644);
    assert!(!listens, "{stderr}");
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.contains("can read its private key"), "{stderr}");
    assert!(stderr.contains("chmod 600"), "{stderr}");
    for mode in [0o600, 0o640] {
        let (listens, _, stderr) = start(mode);
        assert!(listens, "{mode:o}: {stderr}");
    }
}

#[trial("answers an independent client over both protocols", needs(isolated, || missing(&["python"])))]
fn independent_client() {
    let place = Place::new();
    let server = place.serve(&[]);
    for form in ["bootp", "discover"] {
        let output = place.ask(&["dhcp4", "eth0", "10.77.0.50", form]);
        assert_eq!(output, "key 10.77.0.1 67\n", "{form}");
    }
    // Without an address in the header, the reply goes to the source address.
    assert!(place.ask(&["dhcp4", "eth0", "0.0.0.0"]).starts_with("key"));
    let output = place.ask(&["dhcp6", "eth0", "-"]);
    assert_eq!(output, "key fe80::1 547\n");
    let line = server.wait_for(|line| line["transport"] == "dhcp6");
    assert_eq!(line["decision"], "answered");
    assert_eq!(line["source"], "fe80::32");
    assert_eq!(line["thumbprint"], THUMBPRINT);
}

#[trial("answers through ISC's relay over both protocols", needs(isolated, || missing(&["python", "dhcrelay"])))]
fn relayed() {
    let place = Place::new();
    let (relay, far) = (Host::new("relay"), Host::new("far"));
    let mut other = Segment::new();
    let mut near = place.segment;
    near.join(&relay, "eth0", 0, 2);
    other.join(&relay, "eth1", 8, 1);
    other.join(&far, "eth0", 8, 50);
    place.server.route("10.77.8.0/24", "10.77.0.2");
    let list = format!(
        "[SUBNETS]\nFAR=10.77.8.0/24\nFAR6=2001:db8:8::/64\nCORE=2001:db8:0::2\n[{THUMBPRINT}]\nFAR\nFAR6\n[RELAYS]\nCORE\n"
    );
    let file = place.directory.path().join("policy.ini");
    std::fs::write(&file, list).expect("policy");
    let [certificate, _] = files();
    let server = serve(&place.server, &["--policy", text(&file)]);
    let pid = place.directory.path().join("pid");
    let start_relay = |words: &[&str]| {
        let mut command = relay.command("dhcrelay");
        command.args(["-d", "-pf"]).arg(&pid).args(words);
        let daemon = Daemon::start(command);
        std::thread::sleep(Duration::from_millis(700));
        daemon
    };
    let _v4 = start_relay(&["-4", "-a", "-id", "eth1", "-iu", "eth0", "10.77.0.1"]);
    let output = far.ask(&[text(&certificate), "dhcp4", "eth0", "10.77.8.50"]);
    assert!(
        output.ends_with("67\n") && output.contains("key"),
        "{output}: {:?}",
        server.lines()
    );
    let line = server.wait_for(|line| line["decision"] == "answered");
    assert_eq!(line["relay"], "10.77.8.1");
    let _v6 = start_relay(&["-6", "-l", "eth1", "-u", "eth0"]);
    let output = far.ask(&[text(&certificate), "dhcp6", "eth0", "-"]);
    assert!(output.contains("key"), "{output}: {:?}", server.lines());
    let line = server.wait_for(|line| line["transport"] == "dhcp6");
    assert_eq!(line["peer"], "fe80::32");
}

#[trial("answers beside dnsmasq on the same host and on the same segment", needs(isolated, || missing(&["python", "dnsmasq"])))]
fn beside_dnsmasq() {
    let place = Place::new();
    let start = |host: &Host, name: &str| {
        let mut command = host.command("dnsmasq");
        let lease = place.directory.path().join(name);
        command.args([
            "--no-daemon",
            "--port=0",
            "--conf-file=/dev/null",
            "--no-ping",
            "--bootp-dynamic",
        ]);
        command.args([
            "--dhcp-range=10.77.0.100,10.77.0.150,1h",
            "--dhcp-authoritative",
            "--user=root",
        ]);
        command.arg(format!("--dhcp-leasefile={}", lease.display()));
        let daemon = Daemon::start(command);
        std::thread::sleep(Duration::from_millis(500));
        daemon
    };
    let mut dnsmasq = start(&place.server, "same");
    // dnsmasq holds the port, so the server needs packet sockets.
    let output = refused(&place.server, &["--transport", "dhcp4"], 5);
    assert!(output.contains("UDP port 67 is in use"), "{output}");
    let server = place.serve(&["--mode", "tap"]);
    for form in ["bootp", "discover"] {
        let output = place.ask(&["dhcp4", "eth0", "10.77.0.50", form]);
        assert!(output.ends_with("key 10.77.0.1 67\n"), "{output}");
    }
    assert!(
        place
            .ask(&["dhcp6", "eth0", "-"])
            .ends_with("key fe80::1 547\n")
    );
    assert!(dnsmasq.is_running());
    drop((server, dnsmasq));
    // dnsmasq on another host of the segment.
    let other = Host::new("dhcp");
    let mut segment = place.segment;
    segment.join(&other, "eth0", 0, 3);
    let mut dnsmasq = start(&other, "other");
    let [certificate, _] = files();
    let server = serve(&place.server, &[]);
    for form in ["bootp", "discover"] {
        let output = place
            .client
            .ask(&[text(&certificate), "dhcp4", "eth0", "10.77.0.50", form]);
        assert!(output.contains("key 10.77.0.1 67"), "{output}");
    }
    assert!(dnsmasq.is_running());
    drop(server);
}

#[trial("answers beside Kea on the same host", needs(isolated, || missing(&["python", "kea-dhcp4"])))]
fn beside_kea() {
    let place = Place::new();
    let configuration = r#"{ "Dhcp4": {
        "interfaces-config": { "interfaces": ["eth0"] },
        "lease-database": { "type": "memfile", "persist": false },
        "control-socket": { "socket-type": "unix", "socket-name": "SOCKET" },
        "subnet4": [{ "subnet": "10.77.0.0/24",
                      "pools": [{ "pool": "10.77.0.100 - 10.77.0.150" }] }] } }"#;
    let socket = place.directory.path().join("socket");
    let file = place.file("kea.json", configuration.replace("SOCKET", text(&socket)));
    let mut command = place.server.command("kea-dhcp4");
    command.args(["-c", text(&file)]);
    command.env("KEA_PIDFILE_DIR", place.directory.path());
    command.env("KEA_LOCKFILE_DIR", place.directory.path());
    let mut kea = Daemon::start(command);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(kea.is_running(), "Kea did not start");
    let _server = place.serve(&["--mode", "tap", "--transport", "dhcp4"]);
    for form in ["bootp", "discover"] {
        let output = place.ask(&["dhcp4", "eth0", "10.77.0.50", form]);
        assert!(output.ends_with("key 10.77.0.1 67\n"), "{output}");
        // Kea answers a DISCOVER with an offer, which may arrive before or after the reply.
        assert!(
            form == "discover" || !output.contains("foreign"),
            "{output}"
        );
    }
    assert!(kea.is_running());
}

#[trial("follows the policy, and answers nothing while it is invalid", needs(isolated, || missing(&["python"])))]
fn policy() {
    let place = Place::new();
    let list =
        |range: &str, more: &str| format!("[SUBNETS]\nHERE={range}\n[{THUMBPRINT}]\nHERE\n{more}");
    let file = place.file("policy.ini", list("10.77.0.0/24", ""));
    let server = place.serve(&["--policy", text(&file)]);
    let ask = || place.ask(&["dhcp4", "eth0", "10.77.0.50"]);
    assert!(ask().starts_with("key"));
    for (content, reason) in [
        (list("10.78.0.0/24", ""), "policy-subnet"),
        (list("10.77.0.0/24", "DISABLED\n"), "policy-disabled"),
        (list("10.77.0.0/24", "NOWHERE\n"), "policy-invalid"),
    ] {
        place.file("policy.ini", content);
        server.reload();
        assert_eq!(ask(), "silence\n", "{reason}");
        server.wait_for_reason(reason);
    }
    std::fs::remove_file(&file).unwrap();
    server.reload();
    assert_eq!(ask(), "silence\n");
    place.file("policy.ini", list("10.77.0.0/24", ""));
    server.reload();
    assert!(ask().starts_with("key"));
    // A certificate that the server does not have.
    let made = fve()
        .args(["network-unlock", "certificate", "--to"])
        .arg(place.directory.path())
        .output()
        .expect("fve");
    assert!(made.status.success());
    let other = place.directory.path().join("network-unlock.cer");
    let output = place
        .client
        .ask(&[text(&other), "dhcp4", "eth0", "10.77.0.50"]);
    assert_eq!(output, "silence\n");
    let line = server.wait_for_reason("unknown-thumbprint");
    let thumbprint = Thumbprint::of(&std::fs::read(&other).unwrap()).to_string();
    assert_eq!(line["thumbprint"], thumbprint);
}

/// New requests, each with the session key that decrypts its reply.
fn requests(count: u32) -> Vec<(Request4, SessionKey)> {
    let certificate = Certificate::parse(&std::fs::read(&files()[0]).unwrap()).unwrap();
    (0..count)
        .map(|number| {
            let network = NetworkKey::from_bytes(&[number as u8; 32]);
            let (key_protector, session) = seal_request(&certificate, &network).unwrap();
            let mut mac = [2, 0, 0, 0, 0, 0];
            mac[2..].copy_from_slice(&number.to_be_bytes());
            let request = Request4 {
                header: Header::ethernet(number, mac, [10, 77, 0, 50].into()),
                form: Form::Bootp,
                relay_information: None,
                request: Request {
                    thumbprint: certificate.thumbprint(),
                    key_protector,
                },
            };
            (request, session)
        })
        .collect()
}

/// Sends the requests, with at most `window` unanswered at a time, and counts the authentic replies.
fn exchange(socket: &UdpSocket, requests: &[(Request4, SessionKey)], window: u32) -> u32 {
    let server: SocketAddr = "10.77.0.1:67".parse().unwrap();
    let answered = AtomicU32::new(0);
    let sent_all = AtomicBool::new(false);
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 2048];
            let mut last = Instant::now();
            let mut done = vec![false; requests.len()];
            while !sent_all.load(Relaxed) || last.elapsed() < Duration::from_secs(2) {
                if answered.load(Relaxed) as usize == requests.len() {
                    break;
                }
                let Ok(len) = socket.recv(&mut buffer) else {
                    continue;
                };
                last = Instant::now();
                let reply = Reply4::parse(&buffer[..len]).expect("a reply");
                let number = reply.header.xid as usize;
                let (request, session) = &requests[number];
                assert!(reply.answers(request));
                open_reply(session, &reply.sealed).expect("an authentic reply");
                assert!(
                    !std::mem::replace(&mut done[number], true),
                    "answered twice"
                );
                answered.fetch_add(1, Relaxed);
            }
        });
        for (number, (request, _)) in (0..).zip(requests) {
            let start = Instant::now();
            while number - answered.load(Relaxed) > window && start.elapsed() < WAIT {
                std::thread::sleep(Duration::from_micros(200));
            }
            socket.send_to(&request.encode(), server).expect("send");
        }
        sent_all.store(true, Relaxed);
    });
    answered.into_inner()
}

const UNLIMITED: [&str; 8] = [
    "--rate-source",
    "0/1",
    "--rate-network",
    "0/1",
    "--rate-certificate",
    "0/1",
    "--rate-total",
    "0/1",
];

#[trial("loses no request during reloads under load", needs(isolated))]
fn reload_under_load() {
    let place = Place::new();
    let list = format!("[SUBNETS]\nHERE=10.77.0.0/24\n[{THUMBPRINT}]\nHERE\n");
    let file = place.file("policy.ini", list);
    let words = [&UNLIMITED[..], &["--policy", text(&file)]].concat();
    let server = place.serve(&words);
    let requests = requests(1500);
    let socket = place.client.socket("0.0.0.0:68");
    let done = AtomicBool::new(false);
    let answered = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                server.signal(rustix::process::Signal::HUP);
                std::thread::sleep(Duration::from_millis(60));
            }
        });
        let answered = exchange(&socket, &requests, 16);
        done.store(true, Relaxed);
        answered
    });
    assert_eq!(answered, 1500);
    let reloads = server
        .lines()
        .iter()
        .filter(|line| line["message"] == "certificates and policy were reloaded")
        .count();
    assert!(reloads >= 2, "{reloads} reloads");
    assert!(
        server
            .verdicts()
            .iter()
            .all(|(_, reason)| reason == "valid")
    );
}

#[trial(
    "keeps the old certificate if the new one cannot be read",
    needs(isolated)
)]
fn bad_reload() {
    let place = Place::new();
    let [certificate, key] = files();
    let both = place.file("key.pem", std::fs::read(&key).unwrap());
    let cer = place.file("certificate.cer", std::fs::read(&certificate).unwrap());
    let server = Server::start(&place.server, &key_options(&cer, &both));
    place.file("key.pem", "garbage");
    server.reload();
    let socket = place.client.socket("0.0.0.0:68");
    assert_eq!(exchange(&socket, &requests(1), 1), 1);
    server.wait_for(|line| {
        let text = line["message"].as_str().unwrap_or_default();
        text.contains("stay in use") && text.contains("neither a certificate")
    });
}

#[trial("limits the rate of one client", needs(isolated))]
fn rate() {
    let place = Place::new();
    let server = place.serve(&[]);
    let socket = place.client.socket("0.0.0.0:68");
    let answered = exchange(&socket, &requests(40), 40);
    assert!((8..=14).contains(&answered), "{answered}");
    let logged = server
        .verdicts()
        .iter()
        .filter(|(_, reason)| reason == "rate")
        .count();
    assert!((1..=6).contains(&logged), "{logged} lines");
}

#[trial("does not log datagrams of other protocols", needs(isolated))]
fn noise() {
    let place = Place::new();
    let server = place.serve(&[]);
    let socket = place.client.socket("0.0.0.0:68");
    let to: SocketAddr = "10.77.0.1:67".parse().unwrap();
    let mut other = vec![0; 300];
    other[..4].copy_from_slice(&[1, 1, 6, 0]);
    other[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    other[240..244].copy_from_slice(&[53, 1, 1, 255]);
    for number in 0..20_000_usize {
        let len = if number % 2 == 0 { 300 } else { number % 300 };
        socket.send_to(&other[..len], to).expect("send");
    }
    socket.send_to(&[0x5A; 9000], to).expect("send");
    // By then, the server has emptied the socket's buffer.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(exchange(&socket, &requests(1), 1), 1);
    let verdict = ("answered".to_owned(), "valid".to_owned());
    assert_eq!(server.verdicts(), [verdict]);
}

fn status(server: &Server, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.expect(name)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[trial("gives up its privileges after opening the sockets", needs(isolated))]
fn privileges() {
    let place = Place::new();
    let [certificate, key] = files();
    let root = can_change_user();
    for user in [None, Some("nobody")] {
        if user.is_some() && !root {
            continue;
        }
        // Files that the user can read, because they are read again later.
        let readable = place.file("key.pem", std::fs::read(&key).unwrap());
        let cer = place.file("certificate.cer", std::fs::read(&certificate).unwrap());
        let mut words = key_options(&cer, &readable).to_vec();
        if let Some(user) = user {
            words.extend(["--user", user]);
        }
        let server = Server::start(&place.server, &words);
        for name in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(status(&server, name), "0000000000000000", "{name}");
        }
        assert_eq!(status(&server, "NoNewPrivs:"), "1");
        if user.is_some() {
            assert_eq!(status(&server, "Uid:"), "65534 65534 65534 65534");
            assert_eq!(status(&server, "Groups:"), "65534");
        }
        // Every thread has its own capabilities.
        for thread in std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap() {
            let text = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            assert!(text.contains("CapEff:\t0000000000000000"));
        }
        server.reload();
        let socket = place.client.socket("0.0.0.0:68");
        assert_eq!(exchange(&socket, &requests(1), 1), 1);
    }
}

/// Whether this process is root and can change to other users: not in a user namespace with one user.
fn can_change_user() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().nth(2) != Some("1"))
}

#[trial("uses the sockets that systemd passes", needs(isolated, || missing(&["systemd-socket-activate", "setpriv"])))]
fn inherited_sockets() {
    let place = Place::new();
    let [certificate, key] = files();
    let certificate = place.file("certificate.cer", std::fs::read(certificate).unwrap());
    let key = place.file("key.pem", std::fs::read(key).unwrap());
    let mut command = place.server.command("systemd-socket-activate");
    command.args(["--datagram", "-l", "0.0.0.0:67", "-l", "[::]:547"]);
    // Without any capability, and as the user nobody if possible.
    let nobody: &[&str] = match can_change_user() {
        true => &["--reuid=65534", "--regid=65534", "--clear-groups"],
        false => &[],
    };
    command
        .arg("setpriv")
        .args(nobody)
        .args(["--bounding-set=-all", "--inh-caps=-all"]);
    command.arg(env!("CARGO_BIN_EXE_fve"));
    command.args([
        "network-unlock",
        "serve",
        "--log",
        "json",
        "--interface",
        "eth0",
    ]);
    command.args(key_options(&certificate, &key));
    // The first packet starts the server, and waits in the socket meanwhile.
    let socket = place.client.socket("0.0.0.0:68");
    let requests = requests(2);
    let early = socket.try_clone().unwrap();
    let first = requests[0].0.encode();
    let waker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        early.send_to(&first, "10.77.0.1:67").expect("send");
    });
    let server = Server::start_command(command);
    waker.join().unwrap();
    server.wait_for(|line| line["decision"] == "answered");
    let mut buffer = [0; 600];
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let len = socket.recv(&mut buffer).expect("the first reply");
    let reply = Reply4::parse(&buffer[..len]).unwrap();
    open_reply(&requests[0].1, &reply.sealed).expect("authentic");
}

#[trial("serves counters on the loopback interface only", needs(isolated))]
fn counters() {
    let place = Place::new();
    let server = place.serve(&["--metrics", "127.0.0.1:9547"]);
    let socket = place.client.socket("0.0.0.0:68");
    assert_eq!(exchange(&socket, &requests(3), 1), 3);
    let path = format!("/run/netns/{}", place.server.0);
    let shown = std::thread::spawn(move || {
        let namespace = std::fs::File::open(path).unwrap();
        rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&namespace),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .unwrap();
        let mut stream = TcpStream::connect("127.0.0.1:9547").unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
    .join()
    .unwrap();
    assert!(shown.starts_with("HTTP/1.1 200 OK\r\n"), "{shown}");
    for line in [
        "fve_network_unlock_healthy 1",
        "fve_network_unlock_requests_total{reason=\"valid\"} 3",
        "fve_network_unlock_private_operations_total 3",
        &format!("fve_network_unlock_answers_total{{thumbprint=\"{THUMBPRINT}\"}} 3"),
    ] {
        assert!(shown.lines().any(|found| found == line), "{line}: {shown}");
    }
    drop(server);
    refused(&place.server, &["--metrics", "10.77.0.1:9547"], 5);
}

#[trial("says why it cannot start", needs(isolated))]
fn failed_starts() {
    let place = Place::new();
    for (words, status, reason) in [
        (&["--interface", "eth7"][..], 5, "eth7"),
        (
            &["--mode", "tap", "--interface", "lo"],
            5,
            "not an Ethernet interface",
        ),
        (&["--user", "nobody-of-that-name"], 5, "there is no user"),
        (&["--rate-source", "many"], 2, "not a rate"),
        (&["--replay", "refuse"], 2, "refuse:SECONDS"),
    ] {
        let output = refused(&place.server, words, status);
        assert!(output.contains(reason), "{words:?}: {output}");
    }
}
