//! Reading through the server: clients of libnbd and QEMU see what `fve decrypt` writes.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use crate::common::corpus;
use crate::common::fve;
use crate::common::output::{assert_status, run, text};
use crate::common::sha256;
use crate::common::testdata::{self, Entry};
use crate::common::trials::{self, Trial, trial, trials};
use crate::common::writing::{placement, volume_with_clear_key};
use crate::server::{Server, libnbd, nbdsh, qemu, rest_of, run_nbdsh};
use fve::crypto::sector::Method;

/// A volume with a clear key in a file, and its plaintext.
pub fn made(directory: &Path) -> (PathBuf, Vec<u8>) {
    let (bytes, plaintext) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let path = directory.join("volume.img");
    fs::write(&path, bytes).unwrap();
    (path, plaintext)
}

/// The parts of the plaintext of [`made`] that read as zeros in place of BitLocker's structures.
fn hidden() -> Vec<Range<u64>> {
    let mut areas = placement().ranges().to_vec();
    // The spare area is shown as it is.
    areas.retain(|(name, _)| *name != "the spare area");
    let mut areas: Vec<_> = areas.into_iter().map(|(_, range)| range).collect();
    areas.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for area in areas {
        match joined.last_mut() {
            Some(last) if last.end == area.start => last.end = area.end,
            _ => joined.push(area),
        }
    }
    joined
}

#[trials]
fn nbdcopy_reads_what_a_volume_of_testdata_holds() -> Vec<Trial> {
    let volumes = testdata::volumes().into_iter();
    let kinds = volumes.filter(|volume| !volume.name.ends_with("paused"));
    kinds
        .map(|volume| {
            let name = format!("nbdcopy reads {}", volume.name);
            trials::trial(name, libnbd(), move || copies(&volume))
        })
        .collect()
}

fn copies(volume: &Entry) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("credential");
    // The startup key, if there is one: it needs no key stretching.
    let bek = |key: &&testdata::KnownCredential| key.kind == testdata::Kind::StartupKey;
    let keys = &volume.credentials;
    let key = keys.iter().find(bek).or(keys.first());
    let option = key.and_then(|key| match key.kind {
        testdata::Kind::StartupKey => Some("--startup-key"),
        testdata::Kind::Password => Some("--password-file"),
        testdata::Kind::RecoveryPassword => Some("--recovery-password-file"),
        testdata::Kind::ClearKey => None,
    });
    let server = match (key, option) {
        (Some(key), Some(option)) => {
            let value = match key.kind {
                testdata::Kind::StartupKey => key.value.as_str(),
                _ => {
                    fs::write(&file, &key.value).unwrap();
                    file.to_str().unwrap()
                }
            };
            Server::start(&volume.file, &[option, value])
        }
        _ => Server::start(&volume.file, &[]),
    };
    assert_eq!(
        sha256(server.nbdcopy().as_slice()).unwrap(),
        volume.plaintext_sha256
    );
}

#[trial(needs(trials::corpus, libnbd))]
fn nbdcopy_reads_volumes_made_by_windows() {
    let mut methods = Vec::new();
    for volume in corpus::volumes().expect("corpus") {
        let Some(vmk) = volume.vmk_hex.clone() else {
            continue;
        };
        if volume.must_be_refused() || volume.cut_off() || methods.contains(&volume.cipher_id) {
            continue;
        }
        methods.push(volume.cipher_id.clone());
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("vmk");
        fs::write(&key, vmk).unwrap();
        let server = Server::start(&volume.path, &["--vmk-file", key.to_str().unwrap()]);
        let out = directory.path().join("copy");
        run(Command::new("nbdcopy").arg(server.uri()).arg(&out));
        let found = sha256(fs::File::open(&out).unwrap()).unwrap();
        assert_eq!(found, volume.expected_sha256, "{}", volume.name);
    }
    assert!(methods.len() >= 4, "only {methods:?}");
}

#[trial(needs(libnbd))]
fn nbdinfo_shows_a_volume_that_cannot_be_written_and_its_zeros() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = made(directory.path());
    let server = Server::start(&path, &["--export", "a volume"]);
    assert_eq!(server.document["size"], plaintext.len());
    assert_eq!(server.document["read_write"], false);
    let uri = server.uri();
    assert!(uri.starts_with("nbd+unix:///a%20volume?socket=/"), "{uri}");

    let said = server.nbdinfo(&["--json"]);
    assert_eq!(said["protocol"], "newstyle-fixed");
    assert_eq!(said["structured"], true);
    let export = &said["exports"][0];
    assert_eq!(export["export-name"], "a volume");
    assert_eq!(export["export-size"], plaintext.len());
    let description = export["description"].as_str().unwrap();
    assert!(description.ends_with("volume.img"), "{description}");
    assert_eq!(export["contexts"], json!(["base:allocation"]));
    for (fact, value) in [
        ("is_read_only", true),
        ("can_multi_conn", true),
        ("can_df", true),
        ("can_flush", true),
        ("can_fua", false),
        ("can_trim", false),
        ("can_zero", false),
    ] {
        assert_eq!(export[fact], value, "{fact}");
    }
    assert_eq!(export["block_size_minimum"], 1);
    assert_eq!(export["block_size_maximum"], 32 << 20);

    // BitLocker's structures are the only holes.
    let map = server.nbdinfo(&["--map", "--json"]);
    let mut holes = Vec::new();
    let mut end = 0;
    for extent in map.as_array().unwrap() {
        assert_eq!(extent["offset"], end);
        let len = extent["length"].as_u64().unwrap();
        if extent["type"] == 3 {
            holes.push(end..end + len);
        }
        end += len;
    }
    assert_eq!(end, plaintext.len() as u64);
    assert_eq!(holes, hidden());
}

#[trial(needs(qemu, libnbd))]
fn qemu_compares_converts_and_maps_the_volume() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = made(directory.path());
    let plain = directory.path().join("plain");
    fs::write(&plain, &plaintext).unwrap();
    let server = Server::start(&path, &[]);
    let qemu_img = |arguments: &[&str]| {
        let arguments = arguments.iter();
        let arguments = arguments.map(|word| match *word {
            "PLAIN" => plain.display().to_string(),
            "URI" => server.uri(),
            "COPY" => directory.path().join("copy.qcow2").display().to_string(),
            word => word.to_owned(),
        });
        text(&run(Command::new("qemu-img").args(arguments)))
    };
    let same = "Images are identical.\n";
    assert_eq!(
        qemu_img(&["compare", "-f", "raw", "-F", "raw", "URI", "PLAIN"]),
        same
    );
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", "URI", "COPY"]);
    assert_eq!(
        qemu_img(&["compare", "-f", "qcow2", "-F", "raw", "COPY", "PLAIN"]),
        same
    );
    let map = qemu_img(&["map", "--output=json", "-f", "raw", "URI"]);
    let map: serde_json::Value = serde_json::from_str(&map).unwrap();
    let zeros = map.as_array().unwrap().iter();
    let zeros: Vec<_> = zeros
        .filter(|extent| extent["zero"] == true)
        .map(|extent| {
            let start = extent["start"].as_u64().unwrap();
            start..start + extent["length"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(zeros, hidden());
}

#[trial(needs(nbdsh))]
fn keeps_to_the_protocol_at_its_edges() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = made(directory.path());
    fs::write(directory.path().join("plain"), &plaintext).unwrap();
    let server = Server::start(&path, &[]);
    let plain = directory.path().join("plain");
    server.nbdsh(&format!(
        "
plain = open({plain:?}, 'rb').read()
size = len(plain)
assert h.get_size() == size
h.set_strict_mode(0)
# Any offset and length.
for offset, count in ((0, 1), (511, 2), (1, 4095), (size - 1, 1), (0, size), (65535, 131073)):
    assert h.pread(count, offset) == plain[offset:offset + count]
# In pieces, and in one.
got = bytearray(size)
def chunk(buf, offset, status, err):
    assert status == nbd.READ_DATA
    got[offset:offset + len(buf)] = buf
h.pread_structured(size, 0, chunk)
assert bytes(got) == plain
assert h.pread(4096, 512, nbd.CMD_FLAG_DF) == plain[512:4608]
refused(errno.EINVAL, lambda: h.pread(1, size))
refused(errno.EINVAL, lambda: h.pread(2, size - 1))
refused(errno.EINVAL, lambda: h.pread(1, 2**63))
refused(errno.EPERM, lambda: h.pwrite(b'x', 0))
refused(errno.EPERM, lambda: h.zero(512, 0))
refused(errno.EPERM, lambda: h.trim(512, 0))
refused(errno.EINVAL, lambda: h.cache(512, 0))
h.flush()
# The connection is as good as before.
assert h.pread(16, 0) == plain[:16]
"
    ));
    // Without structured replies, and with the oldest way to select an export.
    run_nbdsh(None, &format!(
        "
import nbd
plain = open({plain:?}, 'rb').read()
for flags in (0, nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE, nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE | nbd.HANDSHAKE_FLAG_NO_ZEROES):
    h = nbd.NBD()
    h.set_request_structured_replies(False)
    h.set_handshake_flags(flags)
    h.connect_uri({uri:?})
    assert h.get_structured_replies_negotiated() == False
    assert h.pread(len(plain), 0) == plain
    h.shutdown()
h = nbd.NBD()
h.set_opt_mode(True)
h.connect_uri({uri:?})
names = []
h.opt_list(lambda name, description: names.append(name))
assert names == [''], names
h.set_export_name('other')
try:
    h.opt_go()
    raise AssertionError('found')
except nbd.Error:
    pass
contexts = []
h.set_export_name('')
h.opt_list_meta_context(contexts.append)
assert contexts == ['base:allocation'], contexts
h.opt_info()
assert h.get_size() == len(plain)
h.opt_abort()
# One extent, if one is asked for.
h = nbd.NBD()
h.add_meta_context('base:allocation')
h.connect_uri({uri:?})
extents = []
h.block_status(len(plain), 0, lambda context, offset, entries, err: extents.append(entries[:]), nbd.CMD_FLAG_REQ_ONE)
assert extents == [[65536, 0]], extents
",
        uri = server.uri(),
    ));
}

#[trial(needs(libnbd))]
fn many_clients_read_at_the_same_time() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = made(directory.path());
    let server = Server::start(&path, &[]);
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let out = directory.path().join(format!("out-{number}"));
            let child = Command::new("nbdcopy").arg(server.uri()).arg(&out).spawn();
            (child.unwrap(), out)
        })
        .collect();
    for (mut child, out) in clients {
        assert!(child.wait().unwrap().success());
        assert!(fs::read(out).unwrap() == plaintext);
    }
}

#[trial(needs(nbdsh))]
fn what_cannot_be_read_is_an_error_and_the_rest_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = made(directory.path());
    let cut = plaintext.len() as u64 - 1024;
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(cut)
        .unwrap();
    let server = Server::start(&path, &[]);
    assert_eq!(server.document["size"], plaintext.len());
    server.nbdsh(&format!(
        "
refused(errno.EIO, lambda: h.pread(512, {cut}))
assert len(h.pread(512, {cut} - 512)) == 512
"
    ));
}

/// libnbd starts the server and passes it a socket, as systemd does.
#[trial(needs(libnbd))]
fn uses_a_socket_that_is_passed_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = made(directory.path());
    let fve = env!("CARGO_BIN_EXE_fve");
    let out = directory.path().join("copy");
    let mut copy = Command::new("nbdcopy");
    copy.args(["--", "[", fve, "serve", "nbd"]).arg(&path);
    run(copy.arg("]").arg(&out));
    assert!(fs::read(out).unwrap() == plaintext);
}

#[trial(needs(libnbd))]
fn listens_on_tcp_for_other_computers_only_if_that_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = made(directory.path());
    let mut local = fve();
    local.args(["serve", "nbd"]).arg(&path);
    local.args(["--listen", "127.0.0.1:0"]);
    let server = Server::run(local, tempfile::tempdir().unwrap());
    assert!(
        server.uri().starts_with("nbd://127.0.0.1:"),
        "{}",
        server.uri()
    );
    assert!(server.nbdcopy() == plaintext);

    let mut remote = fve();
    remote.args(["serve", "nbd"]).arg(&path);
    remote.args(["--listen", "0.0.0.0:0"]);
    let refused = remote.output().unwrap();
    assert_status(&refused, 2);
    let said = text(&refused.stderr);
    assert!(said.contains("--allow-remote"), "{said}");

    remote.arg("--allow-remote").stderr(Stdio::piped());
    remote.stdout(Stdio::null());
    let mut child = remote.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    crate::common::send(Signal::TERM, child.id());
    let ended = child.wait().unwrap();
    let said = rest_of(&mut child);
    assert!(ended.success(), "{said}");
    assert!(
        said.contains("every computer that reaches this address"),
        "{said}"
    );
}

#[trial]
fn a_socket_is_private_and_goes_with_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = made(directory.path());
    let server = Server::start(&path, &[]);
    let socket = server.socket();
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
    let second = |socket: &Path| {
        let mut command = fve();
        command.args(["serve", "nbd"]).arg(&path);
        command.arg("--socket").arg(socket).output().unwrap()
    };
    let refused = second(&socket);
    assert_status(&refused, 2);
    assert!(text(&refused.stderr).contains("exists already"));
    assert!(server.stop().success());
    assert!(!socket.exists());

    // A file of another kind stays.
    let file = directory.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert_status(&second(&file), 2);
    assert_eq!(fs::read(&file).unwrap(), b"mine");

    // The socket of a server that was killed is replaced.
    let mut killed = Server::start(&path, &[]);
    killed.kill();
    let left = killed.socket();
    assert!(left.exists());
    let mut command = fve();
    command.args(["serve", "nbd"]).arg(&path);
    command.arg("--socket").arg(&left);
    let next = Server::run(command, tempfile::tempdir().unwrap());
    assert!(next.stop().success());
    assert!(!left.exists());
    // The socket of another server that has its path by now stays.
    let mut first = Server::start(&path, &[]);
    let socket = first.socket();
    fs::remove_file(&socket).unwrap();
    let mut command = fve();
    command.args(["serve", "nbd"]).arg(&path);
    command.arg("--socket").arg(&socket);
    let second = Server::run(command, tempfile::tempdir().unwrap());
    assert!(first.stop_in_place().success());
    assert!(socket.exists());
    assert!(second.stop().success());
    assert!(!socket.exists());
}

/// The server has given up its capabilities by then.
#[trial(needs(trials::root))]
fn root_removes_its_socket_from_the_directory_of_a_user() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = made(directory.path());
    let theirs = directory.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::chown(&theirs, Some(1000), Some(1000)).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = fve();
    command.args(["serve", "nbd"]).arg(&path);
    command.arg("--socket").arg(theirs.join("s"));
    let server = Server::run(command, tempfile::tempdir().unwrap());
    assert!(theirs.join("s").exists());
    assert!(server.stop().success());
    assert!(!theirs.join("s").exists());
}
