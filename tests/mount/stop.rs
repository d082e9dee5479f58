//! Mounts that are stopped while a program uses them.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fve::crypto::sector::Method;
use fve::error::Error;
use fve::serve::fuse::{BackgroundMount, Busy, Mount, MountOptions, Unserved, unmount};
use fve::source::{self, MountEntry};
use fve::volume::Unlocked;
use tempfile::TempDir;

use crate::common::trials::{fuse, trial};
use crate::common::writing::{Disk, plaintext_of, volume_with_clear_key, writable};

/// Longer than any test needs.
const LIMIT: Duration = Duration::from_secs(20);

const LEN: usize = 0x10_0000;

/// A source of `LEN` bytes 7, slow when asked to be.
#[derive(Default)]
struct Source {
    slow: AtomicBool,
    reads: AtomicBool,
}

impl source::ReadAt for Source {
    fn size(&self) -> u64 {
        LEN as u64
    }

    fn read_exact_at(&self, _offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if self.slow.load(Ordering::SeqCst) {
            self.reads.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(700));
        }
        buf.fill(7);
        Ok(())
    }
}

fn options() -> MountOptions {
    // Every read reaches the source.
    MountOptions::new("stopped").direct_io(true)
}

fn read_only(source: Arc<Source>, directory: &Path) -> Mount {
    let volume = Unlocked::plain(source).expect("plain");
    Mount::new(Arc::new(volume), directory, &options()).expect("mount")
}

/// A volume that is mounted read-write: its disk, the mount, the file in it, opened for writing, and
/// the plaintext.
fn read_write(directory: &Path) -> (Arc<Disk>, BackgroundMount, File, Vec<u8>) {
    let (bytes, plaintext) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let disk = Disk::new(bytes);
    let volume = Arc::new(writable(disk.clone()).expect("volume"));
    let mount = Mount::read_write(volume, directory, &options()).expect("mount");
    let mount = mount.spawn().expect("server");
    let path = directory.join("volume");
    let file = File::options().write(true).open(path).expect("volume");
    (disk, mount, file, plaintext)
}

fn entry_at(directory: &Path) -> Option<MountEntry> {
    let directory = directory.canonicalize().expect("directory");
    MountEntry::at(&directory).expect("mount table")
}

fn is_mounted(directory: &Path) -> bool {
    entry_at(directory).is_some()
}

fn is_busy(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::ResourceBusy)
}

/// Waits for the server on another thread, so that one that does not end fails the test.
fn join(mount: BackgroundMount) -> fve::Result<()> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(mount.join()));
    receiver.recv_timeout(LIMIT).expect("the server ends")
}

#[trial(needs(fuse))]
fn a_busy_mount_is_stopped_only_with_detach() {
    let directory = tempfile::tempdir().expect("directory");
    let mount = read_only(Arc::default(), directory.path());
    let mount = mount.spawn().expect("server");
    let file = File::open(directory.path().join("volume")).expect("volume");
    let mut bytes = [0; 5000];
    file.read_exact_at(&mut bytes, 100).expect("read");

    let refused = mount.stop(Busy::Refuse).expect_err("the mount is in use");
    assert!(is_busy(&refused), "{refused:?}");
    assert!(is_busy(&unmount(directory.path()).expect_err("in use")));
    file.read_exact_at(&mut bytes, 9000).expect("still served");
    assert_eq!(bytes, [7; 5000]);

    mount.stop(Busy::Detach).expect("detached");
    assert!(!is_mounted(directory.path()));
    let stopper = mount.stopper();
    join(mount).expect("served");
    assert!(file.read_exact_at(&mut bytes, 0).is_err());
    // Stopping again does nothing, also where another mount took the place.
    let other = read_only(Arc::default(), directory.path());
    stopper.stop(Busy::Detach).expect("nothing to stop");
    assert!(is_mounted(directory.path()));
    drop(other);
    assert!(!is_mounted(directory.path()));
}

#[trial(needs(fuse))]
fn an_unused_mount_is_stopped_without_detach() {
    let directory = tempfile::tempdir().expect("directory");
    let mount = read_only(Arc::default(), directory.path());
    let mount = mount.spawn().expect("server");
    assert_eq!(
        mount.directory(),
        directory.path().canonicalize().expect("path")
    );
    mount.stop(Busy::Refuse).expect("unmounted");
    join(mount).expect("served");
    assert!(!is_mounted(directory.path()));
}

#[trial(needs(fuse))]
fn a_request_in_progress_is_completed() {
    let directory = tempfile::tempdir().expect("directory");
    let source = Arc::<Source>::default();
    let mount = read_only(source.clone(), directory.path());
    let mount = mount.spawn().expect("server");
    let file = File::open(directory.path().join("volume")).expect("volume");
    source.slow.store(true, Ordering::SeqCst);
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        file.read_exact_at(&mut bytes, 0).map(|()| bytes)
    });
    let start = Instant::now();
    while !source.reads.load(Ordering::SeqCst) {
        assert!(start.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(5));
    }
    mount.stop(Busy::Detach).expect("detached");
    let read = reader.join().expect("reader");
    assert_eq!(read.expect("the read in progress"), [7; 4096]);
    join(mount).expect("served");
}

#[trial(needs(fuse))]
fn what_was_written_is_on_the_disk_after_detach() {
    let directory = tempfile::tempdir().expect("directory");
    let (disk, mount, file, mut expected) = read_write(directory.path());
    file.write_all_at(&[9; 3000], 0x5_0100).expect("write");
    expected[0x5_0100..0x5_0100 + 3000].fill(9);

    assert!(is_busy(&mount.stop(Busy::Refuse).expect_err("in use")));
    mount.stop(Busy::Detach).expect("detached");
    join(mount).expect("served");
    assert!(!is_mounted(directory.path()));
    assert!(file.write_all_at(&[1; 10], 0).is_err());
    // The volume was released, and holds what was written.
    let bytes = disk.bytes.lock().expect("disk").clone();
    let again = writable(Disk::new(bytes)).expect("volume");
    assert!(plaintext_of(&again) == expected);
}

#[trial(needs(fuse))]
fn a_disk_that_fails_to_flush_is_reported_and_the_mount_still_stops() {
    let directory = tempfile::tempdir().expect("directory");
    let (disk, mount, file, _) = read_write(directory.path());
    file.write_all_at(&[9; 100], 0x5_0100).expect("write");
    disk.fails_to_flush.store(true, Ordering::SeqCst);

    let lost = mount.stop(Busy::Detach).expect_err("the flush fails");
    assert!(lost.to_string().contains("not everything"), "{lost}");
    assert!(!is_mounted(directory.path()));
    join(mount).expect_err("the flush failed");
}

#[trial(needs(fuse))]
fn a_mount_in_the_foreground_is_stopped_from_another_thread() {
    let directory = tempfile::tempdir().expect("directory");
    let mount = read_only(Arc::default(), directory.path());
    let stopper = mount.stopper();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(mount.serve()));
    let file = File::open(directory.path().join("volume")).expect("volume");
    let refused = stopper.clone().stop(Busy::Refuse).expect_err("in use");
    assert!(is_busy(&refused));
    stopper.stop(Busy::Detach).expect("detached");
    receiver
        .recv_timeout(LIMIT)
        .expect("the server ends")
        .expect("served");
    drop(file);
}

#[trial(needs(fuse))]
fn dropping_the_handle_stops_the_mount() {
    let directory = tempfile::tempdir().expect("directory");
    let mount = read_only(Arc::default(), directory.path());
    let mount = mount.spawn().expect("server");
    let file = File::open(directory.path().join("volume")).expect("volume");
    drop(mount);
    assert!(!is_mounted(directory.path()));
    let mut byte = [0];
    assert!(file.read_exact_at(&mut byte, 0).is_err());
}

#[trial(needs(fuse))]
fn a_mount_whose_directory_was_moved_is_stopped() {
    let parent = tempfile::tempdir().expect("directory");
    let (old, new) = (parent.path().join("old"), parent.path().join("new"));
    std::fs::create_dir_all(old.join("mount")).expect("mount point");
    let mount = read_only(Arc::default(), &old.join("mount"));
    let mount = mount.spawn().expect("server");
    std::fs::rename(&old, &new).expect("move");
    assert!(is_mounted(&new.join("mount")));
    mount.stop(Busy::Refuse).expect("stop");
    assert!(!is_mounted(&new.join("mount")));
    join(mount).expect("end");
}

#[trial(needs(fuse))]
fn a_mount_that_is_hidden_by_another_is_not_taken_for_stopped() {
    let directory = tempfile::tempdir().expect("directory");
    let hidden = read_only(Arc::default(), directory.path());
    let hidden = hidden.spawn().expect("server");
    let status = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(directory.path())
        .status();
    assert!(status.expect("mount").success());
    let error = hidden.stop(Busy::Detach).expect_err("hidden");
    assert!(is_busy(&error), "{error}");
    unmount(directory.path()).expect("unmount");
    assert!(is_mounted(directory.path()));
    hidden.stop(Busy::Detach).expect("stop");
    join(hidden).expect("end");
}

/// Mounts until the kernel gives the new mount the device number of one that was unmounted. That may be kept in another
/// test's mount namespace for a while.
fn with_device(device: (u32, u32)) -> (BackgroundMount, TempDir) {
    let start = Instant::now();
    let mut others = Vec::new();
    while start.elapsed() < 2 * LIMIT {
        let directory = tempfile::tempdir().expect("directory");
        let mount = read_only(Arc::default(), directory.path());
        let mount = mount.spawn().expect("server");
        if entry_at(directory.path()).is_some_and(|entry| entry.device == device) {
            return (mount, directory);
        }
        others.push((mount, directory));
        if others.len() > 50 {
            others.clear();
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    panic!("device {device:?} was not given to another mount");
}

#[trial(needs(fuse))]
fn a_later_mount_with_the_same_device_number_is_left_alone() {
    let ended = tempfile::tempdir().expect("directory");
    let mount = read_only(Arc::default(), ended.path());
    let stopper = mount.stopper();
    let device = entry_at(ended.path()).expect("mounted").device;
    unmount(ended.path()).expect("unmount");
    let (other, directory) = with_device(device);
    for busy in [Busy::Refuse, Busy::Detach] {
        stopper.stop(busy).expect("it has ended");
    }
    drop(mount);
    assert!(is_mounted(directory.path()));
    other.stop(Busy::Refuse).expect("stop");
    join(other).expect("end");
}

#[trial(needs(fuse))]
fn what_hides_a_mount_is_left_alone() {
    let directory = tempfile::tempdir().expect("directory");
    let mount = read_only(Arc::default(), directory.path());
    let status = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(directory.path())
        .status();
    assert!(status.expect("mount").success());
    let kind = || entry_at(directory.path()).map(|entry| entry.kind);
    drop(mount);
    assert_eq!(kind().as_deref(), Some("tmpfs".as_ref()));
    unmount(directory.path()).expect("unmount");
    assert_eq!(kind().as_deref(), Some("fuse.fve".as_ref()));
    unmount(directory.path()).expect("unmount");
}

#[trial(needs(fuse))]
fn a_bind_mount_is_not_taken_for_the_mount() {
    let directory = tempfile::tempdir().expect("directory");
    let bound = tempfile::tempdir().expect("directory");
    let mount = read_only(Arc::default(), directory.path());
    let mount = mount.spawn().expect("server");
    let status = std::process::Command::new("mount")
        .arg("--bind")
        .args([directory.path(), bound.path()])
        .status();
    assert!(status.expect("mount").success());
    let stopper = mount.stopper();
    stopper.stop(Busy::Refuse).expect("stop");
    assert!(!is_mounted(directory.path()) && is_mounted(bound.path()));
    assert!(!stopper.has_ended());
    stopper.stop(Busy::Refuse).expect("stop");
    join(mount).expect("end");
    assert!(stopper.has_ended());
}

/// The kernel's interface to FUSE connections is mounted where systemd does it, as it is needed here.
#[trial(needs(fuse))]
fn a_mount_that_another_program_has_detached_is_stopped() {
    const CONNECTIONS: &str = "/sys/fs/fuse/connections";
    let directory = tempfile::tempdir().expect("directory");
    let mount = read_only(Arc::default(), directory.path());
    let mount = mount.spawn().expect("server");
    let file = File::open(directory.path().join("volume")).expect("volume");
    let run = |program: &str, arguments: &[&str]| {
        let status = std::process::Command::new(program).args(arguments).status();
        assert!(status.expect(program).success());
    };
    run("umount", &["-l", directory.path().to_str().expect("UTF-8")]);
    let is_missing = entry_at(Path::new(CONNECTIONS)).is_none();
    if is_missing {
        run("mount", &["-t", "fusectl", "none", CONNECTIONS]);
    }
    let stopped = mount.stop(Busy::Detach);
    if is_missing {
        run("umount", &["-l", CONNECTIONS]);
    }
    stopped.expect("stopped");
    join(mount).expect("end");
    let mut byte = [0];
    assert!(file.read_exact_at(&mut byte, 0).is_err());
}

#[trial(needs(fuse))]
fn what_was_mounted_for_a_server_is_left_alone_when_it_was_unmounted() {
    let ended = tempfile::tempdir().expect("directory");
    let unserved = Unserved::mount(ended.path(), &options(), false).expect("mount");
    let device = entry_at(ended.path()).expect("mounted").device;
    unmount(ended.path()).expect("unmount");
    let (other, directory) = with_device(device);
    drop(unserved);
    assert!(is_mounted(directory.path()));
    drop(other);
}

#[trial(needs(fuse))]
fn a_mount_whose_connection_was_closed_is_unmounted() {
    let directory = tempfile::tempdir().expect("directory");
    let mount = read_only(Arc::default(), directory.path());
    let mount = mount.spawn().expect("server");
    let (_, minor) = entry_at(directory.path()).expect("mounted").device;
    let connections = tempfile::tempdir().expect("directory");
    let run = |program: &str, arguments: &[&str]| {
        let status = std::process::Command::new(program)
            .args(arguments)
            .arg(connections.path())
            .status();
        assert!(status.expect(program).success());
    };
    run("mount", &["-t", "fusectl", "none"]);
    let abort = connections.path().join(minor.to_string()).join("abort");
    let aborted = std::fs::write(abort, b"1");
    run("umount", &[]);
    aborted.expect("abort");
    // The server may report it as an error.
    let _ = join(mount);
    assert!(!is_mounted(directory.path()));
}
