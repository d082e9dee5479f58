//! Writing through the server, compared with `fve decrypt` of the image, and checked by QEMU's own checks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::fve;
use crate::common::output::{assert_status, run, text};
use crate::common::trials::trial;
use crate::common::writing::{Random, reserved};
use crate::serve::made;
use crate::server::{Server, libnbd, nbdsh, qemu};

/// A volume that another program writes to, and its plaintext.
struct Case {
    _directory: tempfile::TempDir,
    path: PathBuf,
    plaintext: Vec<u8>,
}

impl Case {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (path, plaintext) = made(directory.path());
        Self {
            path,
            plaintext,
            _directory: directory,
        }
    }

    fn serve(&self) -> Server {
        let server = Server::start(&self.path, &["--read-write"]);
        assert_eq!(server.document["read_write"], true);
        server
    }

    /// Stops the server, and checks the plaintext.
    fn check(&self, server: Server) {
        assert!(server.stop().success());
        assert!(decrypted(&self.path) == self.plaintext);
    }
}

fn decrypted(path: &Path) -> Vec<u8> {
    run(fve().arg("decrypt").arg(path).arg("-"))
}

#[trial(needs(qemu))]
fn qemu_io_writes_patterns_and_reads_them_back() {
    let mut case = Case::new();
    let server = case.serve();
    let said = server.qemu_io(&[
        "write -P 0x11 4096 8192",
        "write -P 0x22 5000 3",
        "write -f -P 0x33 327680 65536",
        "write -z 8192 1024",
        "flush",
        "read -P 0x22 5000 3",
        "read -P 0 8192 1024",
        "read -P 0x33 327680 65536",
        "discard 300032 512",
    ]);
    assert!(said.contains("wrote 65536/65536 bytes"), "{said}");
    let plain = &mut case.plaintext;
    plain[4096..12288].fill(0x11);
    plain[5000..5003].fill(0x22);
    plain[8192..9216].fill(0);
    plain[327_680..393_216].fill(0x33);
    assert!(server.stop().success());
    let now = decrypted(&case.path);
    // What was discarded has no defined content.
    assert!(now[..300_032] == plain[..300_032] && now[300_544..] == plain[300_544..]);
}

#[trial(needs(libnbd))]
fn nbdcopy_writes_a_whole_volume_through_several_connections() {
    let mut case = Case::new();
    let mut random = Random::new(16);
    let mut areas = reserved();
    areas.sort_by_key(|area| area.start);
    for pair in areas.windows(2) {
        let free = pair[0].end as usize..pair[1].start as usize;
        case.plaintext[free.clone()].copy_from_slice(&random.bytes(free.len()));
    }
    let new = case.path.with_extension("new");
    fs::write(&new, &case.plaintext).unwrap();
    let server = case.serve();
    run(Command::new("nbdcopy")
        .arg("--flush")
        .arg(&new)
        .arg(server.uri()));
    assert!(server.nbdcopy() == case.plaintext);
    case.check(server);
}

#[trial(needs(nbdsh))]
fn refuses_writes_that_would_change_the_structures_of_bitlocker() {
    let mut case = Case::new();
    let server = case.serve();
    let area = reserved()[0].clone();
    server.nbdsh(&format!(
        "
h.set_strict_mode(0)
size = h.get_size()
refused(errno.EPERM, lambda: h.pwrite(b'x' * 512, {start}))
refused(errno.ENOSPC, lambda: h.pwrite(b'x' * 512, size))
refused(errno.ENOSPC, lambda: h.zero(512, size - 1))
refused(errno.ENOTSUP, lambda: h.zero(512, 0, nbd.CMD_FLAG_FAST_ZERO))
h.pwrite(bytes(512), {start})
h.zero(512, {start})
h.pwrite(b'y' * 700, {before}, nbd.CMD_FLAG_FUA)
assert h.pread(700, {before}) == b'y' * 700
assert h.can_fua() and h.can_trim() and h.can_zero() and h.can_fast_zero() and h.can_multi_conn()
# The longest requests that a client may send, and one more.
data = h.pread(size, 0)
h.pwrite(data, 0)
",
        start = area.start,
        before = area.start - 700,
    ));
    let before = area.start as usize;
    case.plaintext[before - 700..before].fill(b'y');
    case.check(server);
}

#[trial(needs(nbdsh))]
fn what_a_client_wrote_is_kept_though_it_never_flushed() {
    let mut case = Case::new();
    let mut server = case.serve();
    server.nbdsh("h.pwrite(b'z' * 512, 4096)");
    server.kill();
    case.plaintext[4096..4608].fill(b'z');
    assert!(decrypted(&case.path) == case.plaintext);
}

#[trial]
fn a_volume_that_is_served_for_writing_is_locked() {
    let case = Case::new();
    let server = case.serve();
    let mut second = fve();
    second
        .args(["serve", "nbd", "--read-write"])
        .arg(&case.path);
    second
        .arg("--socket")
        .arg(case.path.with_extension("socket"));
    let refused = second.output().unwrap();
    assert_status(&refused, 5);
    let said = text(&refused.stderr);
    assert!(said.contains("is in use"), "{said}");
    case.check(server);
}
