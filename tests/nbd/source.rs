//! Volumes behind the NBD servers of QEMU and nbdkit, in formats that are not read directly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::fve;
use crate::common::mount::Mounted;
use crate::common::output::{assert_status, json, run, text};
use crate::common::testdata;
use crate::common::trials::{Missing, fuse, programs, trial};
use crate::serve::made;
use crate::server::{Server, nbdsh, qemu};

fn nbdkit() -> Option<Missing> {
    programs(&["nbdkit"])
}

/// A server of QEMU or nbdkit.
struct Peer {
    child: Child,
    directory: tempfile::TempDir,
}

impl Peer {
    fn qemu(image: &Path, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("qemu-nbd");
        command.args(["--persistent", "--shared=8", "--socket"]);
        command.arg(directory.path().join("s"));
        Self::start(command.args(arguments).arg(image), directory)
    }

    fn nbdkit(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("nbdkit");
        command.args(["--foreground", "--unix"]);
        command.arg(directory.path().join("s"));
        Self::start(command.args(arguments), directory)
    }

    fn start(command: &mut Command, directory: tempfile::TempDir) -> Self {
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let socket = directory.path().join("s");
        let start = Instant::now();
        while !socket.exists() {
            assert_eq!(child.try_wait().unwrap(), None, "{command:?}");
            assert!(start.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, directory }
    }

    fn uri(&self) -> String {
        let socket = self.directory.path().join("s");
        format!("nbd+unix:///?socket={}", socket.display())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn decrypted(source: impl AsRef<std::ffi::OsStr>) -> Vec<u8> {
    run(fve().arg("decrypt").arg(source.as_ref()).arg("-"))
}

fn qemu_img(arguments: &[&str], directory: &Path) {
    run(Command::new("qemu-img")
        .args(arguments)
        .current_dir(directory));
}

/// Images that are refused, with the command that shows them, and what QEMU makes of the volume.
#[trial(needs(qemu))]
fn formats_that_are_refused_are_read_through_qemu() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (_, plaintext) = made(path);
    let zstd = "compression_type=zstd,cluster_size=65536";
    for (name, making) in [
        (
            "backed.qcow2",
            vec![
                vec!["convert", "-O", "qcow2", "volume.img", "base.qcow2"],
                vec![
                    "create",
                    "-q",
                    "-f",
                    "qcow2",
                    "-b",
                    "base.qcow2",
                    "-F",
                    "qcow2",
                    "middle.qcow2",
                ],
                vec![
                    "create",
                    "-q",
                    "-f",
                    "qcow2",
                    "-b",
                    "middle.qcow2",
                    "-F",
                    "qcow2",
                    "backed.qcow2",
                ],
            ],
        ),
        (
            "zstd.qcow2",
            vec![vec![
                "convert",
                "-c",
                "-O",
                "qcow2",
                "-o",
                zstd,
                "volume.img",
                "zstd.qcow2",
            ]],
        ),
        (
            "sub.qcow2",
            vec![vec![
                "convert",
                "-O",
                "qcow2",
                "-o",
                "extended_l2=on",
                "volume.img",
                "sub.qcow2",
            ]],
        ),
        (
            "data.qcow2",
            vec![vec![
                "convert",
                "-O",
                "qcow2",
                "-o",
                "data_file=data.raw",
                "volume.img",
                "data.qcow2",
            ]],
        ),
        (
            "disk.vdi",
            vec![vec!["convert", "-O", "vdi", "volume.img", "disk.vdi"]],
        ),
        (
            "disk.qed",
            vec![vec!["convert", "-O", "qed", "volume.img", "disk.qed"]],
        ),
        (
            "child.vmdk",
            vec![
                vec!["convert", "-O", "vmdk", "volume.img", "parent.vmdk"],
                vec![
                    "create",
                    "-q",
                    "-f",
                    "vmdk",
                    "-b",
                    "parent.vmdk",
                    "-F",
                    "vmdk",
                    "child.vmdk",
                ],
            ],
        ),
    ] {
        for arguments in making {
            qemu_img(&arguments, path);
        }
        let image = path.join(name);
        let refused = fve().arg("info").arg(&image).output().unwrap();
        assert_status(&refused, 3);
        let said = text(&refused.stderr);
        let help = said
            .split("fve: help: ")
            .nth(1)
            .unwrap_or_else(|| panic!("{said}"));

        // The help, as it is printed, in a shell.
        let command = help
            .strip_prefix("let QEMU show the disk in it: ")
            .and_then(|rest| {
                rest.split_once("; then give 'nbd+unix:///?socket=nbd.socket' as SOURCE")
            });
        let (command, _) = command.unwrap_or_else(|| panic!("{said}"));
        let command = format!("{command} --pid-file=\"$PWD/pid\"");
        run(Command::new("sh").args(["-c", &command]).current_dir(path));
        let mut decrypt = fve();
        decrypt.args(["decrypt", "nbd+unix:///?socket=nbd.socket", "-"]);
        let found = run(decrypt.current_dir(path));
        run(Command::new("sh")
            .args([
                "-c",
                "kill $(cat pid); while [ -e nbd.socket ]; do sleep 0.1; done",
            ])
            .current_dir(path));
        assert!(found == plaintext, "{name}");
    }
}

/// Commands that only read, and the mounts, on an NBD source.
#[trial(needs(qemu, fuse))]
fn commands_work_on_an_nbd_source_as_on_a_file() {
    let volume = testdata::volume("ntfs-xts-128");
    let peer = Peer::qemu(&volume.file, &["--read-only", "--format=raw"]);
    let uri = peer.uri();
    let key = volume.bek();
    let with_key = |arguments: &[&str]| {
        let mut command = fve();
        command.args(arguments).arg("--startup-key").arg(&key);
        command
    };
    let info = fve().args(["info", "--json", &uri]).output().unwrap();
    assert_status(&info, 0);
    assert_eq!(
        json(&info)["volume"]["id"].as_str().map(str::to_lowercase),
        Some(volume.volume_id.clone())
    );
    run(&mut with_key(&["unlock", &uri]));
    let found = run(&mut with_key(&["decrypt", &uri, "-"]));
    assert_eq!(
        crate::common::sha256(found.as_slice()).unwrap(),
        volume.plaintext_sha256
    );
    let hello = run(&mut with_key(&["cat", &uri, "hello.txt"]));
    assert_eq!(
        crate::common::sha256(hello.as_slice()).unwrap(),
        volume.files[0].sha256
    );
    assert!(text(&run(&mut with_key(&["ls", &uri]))).contains("hello.txt"));

    let key = key.to_str().unwrap();
    let mounted = Mounted::volume(Path::new(&uri), &["--startup-key", key]);
    let bytes = fs::read(mounted.volume_file()).unwrap();
    assert_eq!(
        crate::common::sha256(bytes.as_slice()).unwrap(),
        volume.plaintext_sha256
    );
    mounted.unmount();
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().to_str().unwrap();
    run(&mut with_key(&["mount", &uri, target]));
    assert_eq!(fs::read(directory.path().join("hello.txt")).unwrap(), hello);
    // By the name of the source.
    run(fve().args(["unmount", &uri]));
    assert!(!directory.path().join("hello.txt").exists());
}

#[trial(needs(qemu))]
fn a_volume_in_a_partition_is_found_behind_a_server() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = made(directory.path());
    let disk = directory.path().join("disk.img");
    let volume = fs::read(path).unwrap();
    // One partition of type 7, at sector 2048 (MBR).
    let mut bytes = vec![0; 1 << 20];
    bytes[446 + 4] = 7;
    bytes[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
    let sectors = u32::try_from(volume.len() / 512).unwrap();
    bytes[446 + 12..446 + 16].copy_from_slice(&sectors.to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    bytes.extend(volume);
    fs::write(&disk, bytes).unwrap();
    let peer = Peer::qemu(&disk, &["--read-only", "--format=raw"]);
    assert!(decrypted(peer.uri()) == plaintext);
}

#[trial(needs(qemu))]
fn changes_reach_the_image_behind_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut plaintext) = made(directory.path());
    let uri = {
        let peer = Peer::qemu(&path, &["--format=raw"]);
        let mut add = fve();
        add.args(["protector", "add", &peer.uri(), "--new-recovery-password"]);
        let added = add.output().unwrap();
        assert_status(&added, 0);
        let said = text(&added.stderr);
        assert!(said.contains("has no locks"), "{said}");
        // Two doors, one behind the other.
        let server = Server::start(peer.uri(), &["--read-write"]);
        server.qemu_io(&["write -P 0x5A 4096 512", "flush"]);
        assert!(server.stop().success());
        peer.uri()
    };
    plaintext[4096..4608].fill(0x5A);
    assert!(decrypted(&path) == plaintext);
    let info = run(fve().arg("info").arg(&path));
    assert!(
        text(&info).contains("Numerical Password"),
        "{}",
        text(&info)
    );

    // The server has gone.
    let gone = fve().args(["info", &uri]).output().unwrap();
    assert_status(&gone, 5);

    let peer = Peer::qemu(&path, &["--read-only", "--format=raw"]);
    let refused = fve()
        .args(["protector", "suspend", &peer.uri()])
        .output()
        .unwrap();
    assert_status(&refused, 5);
    assert!(text(&refused.stderr).contains("allows only reading"));
}

#[trial(needs(nbdkit))]
fn compressed_images_and_faulty_disks_are_read_through_nbdkit() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = made(directory.path());
    let file = path.to_str().unwrap();
    run(Command::new("xz").args(["--keep", "--block-size=65536", file]));
    let packed = format!("{file}.xz");
    let peer = Peer::nbdkit(&["--readonly", "--filter=xz", "file", &packed]);
    assert!(decrypted(peer.uri()) == plaintext);
    drop(peer);

    // A server that reads only whole blocks.
    let peer = Peer::nbdkit(&[
        "--readonly",
        "--filter=blocksize-policy",
        "file",
        file,
        "blocksize-minimum=4096",
        "blocksize-error-policy=error",
    ]);
    assert!(decrypted(peer.uri()) == plaintext);
    let part = Server::start(peer.uri(), &[]);
    part.nbdsh("assert len(h.pread(1000, 777)) == 1000");
    drop(part);
    drop(peer);

    // A bad sector: an error, and with a map of errors zeros in its place alone.
    let peer = Peer::nbdkit(&[
        "--readonly",
        "eval",
        &format!("get_size=stat -c %s {file}"),
        &format!(
            "pread=if [ $4 -le 310784 ] && [ $(($4 + $3)) -gt 310784 ]; then echo EIO bad >&2; exit 1; fi; dd if={file} iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none"
        ),
    ]);
    let out: PathBuf = directory.path().join("out");
    let failed = fve().arg("decrypt").arg(peer.uri()).arg(&out).output();
    let failed = failed.unwrap();
    assert_status(&failed, 5);
    let said = text(&failed.stderr);
    assert!(said.contains("reading or writing failed there"), "{said}");
    assert!(!out.exists());
    let mut rescue = fve();
    rescue.arg("decrypt").arg(peer.uri()).arg(&out);
    rescue
        .arg("--error-map-to")
        .arg(directory.path().join("map"));
    let rescued = rescue.output().unwrap();
    assert_status(&rescued, 5);
    let found = fs::read(&out).unwrap();
    let differing: Vec<_> = (0..plaintext.len())
        .filter(|at| found[*at] != plaintext[*at])
        .collect();
    let (first, last) = (differing[0], *differing.last().unwrap());
    assert!(
        first >= 310_784 - 511 && last < 310_784 + 512,
        "{first} to {last}"
    );
}

#[trial(needs(nbdkit))]
fn a_server_that_dies_is_an_error_and_no_hang() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = made(directory.path());
    let mut peer = Peer::nbdkit(&["--readonly", "file", path.to_str().unwrap()]);
    let server = Server::start(peer.uri(), &[]);
    assert!(server.nbdcopy() == plaintext);
    peer.child.kill().unwrap();
    peer.child.wait().unwrap();
    server.nbdsh(
        "
refused(errno.EIO, lambda: h.pread(512, 0))
",
    );
    assert!(server.stop().success());
}

/// A volume of 24 MiB, which several threads read, and its plaintext.
fn large(directory: &Path) -> (PathBuf, Vec<u8>) {
    let path = directory.join("large.img");
    let mut create = fve();
    create.arg("create").arg(&path);
    run(create.args(["--size", "24M", "--clear-key"]));
    let plaintext = decrypted(&path);
    assert_eq!(plaintext.len(), 24 << 20);
    (path, plaintext)
}

/// QEMU's server accepts one client by default, and others may close further connections.
#[trial(needs(qemu, nbdkit))]
fn a_server_with_one_connection_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = large(directory.path());
    let socket = directory.path().join("s");
    let mut command = Command::new("qemu-nbd");
    command.args(["--read-only", "--persistent", "--format=raw", "--socket"]);
    let peer = Peer::start(command.arg(&socket).arg(&path), directory);
    assert!(decrypted(peer.uri()) == plaintext);
    drop(peer);

    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = large(directory.path());
    let image = path.to_str().unwrap();
    let peer = Peer::nbdkit(&["--readonly", "--filter=limit", "file", image, "limit=1"]);
    assert!(decrypted(peer.uri()) == plaintext);
    drop(peer);
    let peer = Peer::nbdkit(&["--filter=limit", "file", image, "limit=1"]);
    let server = Server::start(peer.uri(), &["--read-write"]);
    server.qemu_io(&["write -P 0x5A 8M 64k", "flush"]);
    assert!(server.nbdcopy()[8 << 20..][..65536] == [0x5A; 65536]);
    assert!(server.stop().success());
}

/// Also where the socket was named relative to a directory that a mount has left.
#[trial(needs(nbdkit, fuse))]
fn a_mount_goes_on_when_its_server_has_been_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = large(directory.path());
    let serve = || {
        let mut command = Command::new("nbdkit");
        command.args(["--foreground", "--readonly", "--unix"]);
        command
            .arg(directory.path().join("s"))
            .arg("file")
            .arg(&path);
        let child = command.spawn().unwrap();
        while !directory.path().join("s").exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    };
    let mut server = serve();
    let shown = tempfile::tempdir().unwrap();
    let mut mount = fve();
    mount.args(["mount", "--volume", "nbd+unix:///?socket=s"]);
    run(mount.arg(shown.path()).current_dir(directory.path()));
    server.kill().unwrap();
    server.wait().unwrap();
    fs::remove_file(directory.path().join("s")).unwrap();
    let mut server = serve();
    let found = fs::read(shown.path().join("volume")).unwrap();
    run(fve().arg("unmount").arg(shown.path()));
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(found == plaintext);
}

/// The rest of a block is written back as it was read, so two changes of a block must not overlap.
#[trial(needs(nbdkit, nbdsh))]
fn writes_to_parts_of_one_block_keep_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = made(directory.path());
    let peer = Peer::nbdkit(&[
        "--filter=blocksize-policy",
        "--filter=delay",
        "file",
        path.to_str().unwrap(),
        "blocksize-minimum=4096",
        "blocksize-error-policy=error",
        "rdelay=20ms",
    ]);
    let server = Server::start(peer.uri(), &["--read-write"]);
    server.nbdsh(
        "
for turn in range(1, 6):
    for part in range(8):
        h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([turn * 16 + part]) * 512), 331776 + part * 512)
    while h.aio_in_flight() > 0:
        h.poll(-1)
    h.flush()
    assert h.pread(4096, 331776) == b''.join(bytes([turn * 16 + part]) * 512 for part in range(8)), turn
",
    );
    assert!(server.stop().success());
}
