//! The running server under attack, in network namespaces: floods of requests and of log lines, and
//! files that are no certificates. The packets come from tests/cases.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::core::files;
use super::net::{Host, Segment, Server, isolated, missing, python, run};
use crate::common::fve;
use crate::common::trials::trial;

/// A server (10.77.0.1), and a host that attacks it (10.77.0.3) and on which another client is, too
/// (10.77.9.4).
struct Place {
    server: Host,
    attacker: Host,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let mut segment = Segment::new();
        let (server, attacker) = (Host::new("server"), Host::new("attacker"));
        segment.join(&server, "eth0", 0, 1);
        segment.join(&attacker, "eth0", 0, 3);
        let [server_name, attacker_name] = [&server.0, &attacker.0];
        for line in [
            format!("ip -n {attacker_name} addr add 10.77.9.4/32 dev eth0"),
            format!("ip -n {server_name} route add 10.77.9.4 dev eth0"),
        ] {
            run(&line.split(' ').collect::<Vec<_>>()).expect("ip");
        }
        let directory = tempfile::tempdir().expect("directory");
        let [certificate, _] = files();
        std::fs::copy(certificate, directory.path().join("network-unlock.cer")).expect("copy");
        Self {
            server,
            attacker,
            directory,
        }
    }

    fn serve(&self) -> Server {
        let [certificate, key] = files();
        let [certificate, key] = [&certificate, &key].map(|path| path.to_str().expect("a path"));
        let words = [
            "--accept-readable-keys",
            "--certificate",
            certificate,
            "--certificate",
            key,
        ];
        Server::start(&self.server, &words)
    }

    /// Runs a script of tests/cases, and returns its output.
    fn run(&self, script: &str, words: &[&str]) -> String {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
        let output = self
            .attacker
            .command(python().expect("python"))
            .arg("-B")
            .arg(cases.join(script))
            .args(words)
            .current_dir(self.directory.path())
            .output()
            .expect("python");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// How many requests of the other client were answered, of six.
fn served(kind: &str) -> (u32, String) {
    let place = Place::new();
    let _server = place.serve();
    let output = place.run("flood_starves_others.py", &[kind, "7", "6"]);
    let line = output.lines().find_map(|line| line.strip_prefix("served "));
    let count = line.and_then(|line| line.split(' ').next()?.parse().ok());
    (count.expect("a count"), output)
}

#[trial("serves others during a flood from one host", needs(isolated, || missing(&["python"])))]
fn flood() {
    for kind in ["none", "direct"] {
        let (count, output) = served(kind);
        // One may be lost on a busy computer.
        assert!(count >= 5, "{kind}: {output}");
    }
}

#[trial("serves others during a flood of made-up relayed clients", needs(isolated, || missing(&["python"])))]
fn relayed_flood() {
    for kind in ["relayed", "spoofed"] {
        let (count, output) = served(kind);
        assert!(count >= 5, "{kind}: {output}");
    }
}

#[trial("limits its log, and says how much was left out", needs(isolated, || missing(&["python"])))]
fn log_flood() {
    let place = Place::new();
    let server = place.serve();
    place.run("log_flood.py", &[]);
    let lines = server.stopped();
    let of_event = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
    let refused = lines
        .iter()
        .filter(|line| line["decision"] == "refused")
        .count();
    assert!((4..200).contains(&refused), "{refused} lines");
    assert!(of_event("request") < 300, "{} lines", lines.len());
    let left_out = |reason: &str| -> u64 {
        lines
            .iter()
            .filter(|line| line["event"] == "left-out" && line["reason"] == reason)
            .filter_map(|line| line["requests"].as_u64())
            .sum()
    };
    assert!(left_out("rate") > 1000, "{lines:#?}");
    assert!(left_out("unknown-thumbprint") > 1000, "{lines:#?}");
}

#[trial("makes the directory for a new key, which only its owner can read")]
fn new_directory() {
    let place = tempfile::tempdir().expect("directory");
    let directory = place.path().join("etc/fve");
    let mut make = fve();
    make.args(["network-unlock", "certificate", "--to"])
        .arg(&directory);
    let output = make.output().expect("fve");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // The certificate has the permissions that the user gives new files.
    let ordinary = place.path().join("ordinary");
    std::fs::write(&ordinary, "").expect("file");
    let mode = |path: &Path| {
        let data = std::fs::metadata(path).expect("file");
        data.permissions().mode() & 0o777
    };
    assert_eq!(mode(&directory.join("network-unlock.pem")), 0o600);
    assert_eq!(mode(&directory.join("network-unlock.cer")), mode(&ordinary));
    // A file in the way is named.
    std::fs::write(place.path().join("file"), "").expect("file");
    let mut make = fve();
    make.args(["network-unlock", "certificate", "--to"]);
    let output = make
        .arg(place.path().join("file/fve"))
        .output()
        .expect("fve");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
}

#[trial("ends with the same status for every file that is no certificate")]
fn no_certificates() {
    let place = tempfile::tempdir().expect("directory");
    let file = place.path().join("some.cer");
    for content in [&b""[..], b"hello\n", &[0x30; 3000]] {
        std::fs::write(&file, content).expect("file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("mode");
        for words in [
            &["network-unlock", "certificate"][..],
            &["network-unlock", "serve", "--certificate"],
            &["network-unlock", "probe", "--certificate"],
        ] {
            let output = fve().args(words).arg(&file).output().expect("fve");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{words:?}: {stderr}");
            assert!(stderr.contains("some.cer"), "{words:?}: {stderr}");
        }
    }
    std::fs::remove_file(&file).expect("remove");
    let output = fve()
        .args(["network-unlock", "certificate"])
        .arg(&file)
        .output();
    assert_eq!(output.expect("fve").status.code(), Some(5));
}
