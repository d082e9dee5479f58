//! What surrounds a mount: its type and owner, the options of mount(8), signals, the rights of the
//! server, other programs that try everything, and what `fve unmount` says.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use fve::source::MountEntry;

use rustix::process::Signal;

use crate::common::loop_device::LoopDevice;
use crate::common::mount::Mounted;
use crate::common::output::{assert_status, run, text};
use crate::common::trials::{Trial, fuse, loop_devices, programs, trial, trials};
use crate::common::{fve, send, testdata};

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

/// A copy of a volume, and the file with its recovery password.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("directory"));
        for name in ["ntfs-xts-128.img", "ntfs-xts-128.recovery.txt"] {
            std::fs::copy(testdata::directory().join(name), place.0.path().join(name))
                .expect("copy");
        }
        run(Command::new("chmod").arg("600").arg(place.key()));
        std::fs::create_dir(place.directory()).expect("directory");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        let place = self.0.path().canonicalize().expect("path");
        place.join(name)
    }

    fn image(&self) -> PathBuf {
        self.path("ntfs-xts-128.img")
    }

    fn key(&self) -> PathBuf {
        self.path("ntfs-xts-128.recovery.txt")
    }

    fn directory(&self) -> PathBuf {
        self.path("mnt")
    }

    /// Mounts with these options.
    fn mount(&self, options: &[&str]) {
        self.mount_on(&self.directory(), options);
    }

    fn mount_on(&self, directory: &Path, options: &[&str]) {
        let mut mount = fve();
        mount.args(["mount", "--volume"]);
        mount.arg(self.image()).arg(directory);
        mount.arg("--recovery-password-file").arg(self.key());
        run(mount.args(options));
    }

    /// Mounts as mount(8) does, with these options besides the credential.
    fn mount_helper(&self, options: &str, flags: &[&str]) -> Output {
        let helper = self.path("mount.fve");
        if !helper.exists() {
            symlink(env!("CARGO_BIN_EXE_fve"), &helper).expect("link");
        }
        let key = self.key().display().to_string();
        Command::new(helper)
            .arg(self.image())
            .arg(self.directory())
            .args(flags)
            .arg("-o")
            .arg(format!("recovery-password-file={key},volume,{options}"))
            .output()
            .expect("mount.fve")
    }

    fn is_mounted(&self) -> bool {
        self.entry().is_some()
    }

    fn entry(&self) -> Option<MountEntry> {
        MountEntry::at(&self.directory()).expect("mount table")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .args(["--lazy", "--quiet"])
            .arg(self.directory())
            .output();
    }
}

fn unmount(words: &[&Path]) -> Output {
    let mut unmount = fve();
    unmount.arg("unmount").args(words).output().expect("fve")
}

fn said(output: &Output) -> String {
    text(&output.stderr)
}

#[track_caller]
fn wait_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "timeout");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The server of the mount: the process that has the image open.
fn server(place: &Place) -> u32 {
    let image = place.image();
    let mut found = None;
    wait_until(|| {
        let all = std::fs::read_dir("/proc").expect("processes").flatten();
        found = all
            .filter(|process| {
                let files = std::fs::read_dir(process.path().join("fd"));
                let mut files = files.into_iter().flatten().flatten();
                files.any(|file| std::fs::read_link(file.path()).is_ok_and(|at| at == image))
            })
            .find_map(|process| process.file_name().to_str()?.parse().ok());
        found.is_some()
    });
    found.expect("server")
}

/// A process that has ended stays in the table until its parent asks for its status.
fn is_running(process: u32) -> bool {
    let status = Path::new("/proc").join(process.to_string()).join("status");
    std::fs::read_to_string(status).is_ok_and(|status| !status.contains("State:\tZ"))
}

#[trials]
fn clients() -> Vec<Trial> {
    [&[][..], &["--direct-io"], &["--read-write"]]
        .into_iter()
        .map(|options| {
            let name = format!("withstands every client {}", options.concat());
            let missing = fuse().or_else(|| programs(&["python3"]));
            trial(name, missing, move || withstands_clients(options))
        })
        .collect()
}

fn withstands_clients(options: &[&str]) {
    let place = Place::new();
    let plain = place.path("plain");
    let mut decrypt = fve();
    decrypt.arg("decrypt").arg(place.image()).arg(&plain);
    run(decrypt.arg("--recovery-password-file").arg(place.key()));
    place.mount(options);
    let output = Command::new("python3")
        .arg(testdata::directory().join("../tests/cases/fuse_clients.py"))
        .arg(place.directory())
        .arg(plain)
        .args(options.contains(&"--read-write").then_some("rw"))
        .output()
        .expect("python3");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.trim_end().ends_with("PASS"), "{said}");
    assert_status(&unmount(&[&place.directory()]), 0);
}

#[trial(needs(fuse))]
fn the_type_is_fuse_fve_and_the_source_is_the_image() {
    let place = Place::new();
    place.mount(&[]);
    let entry = place.entry().expect("mounted");
    assert_eq!(entry.kind, "fuse.fve");
    assert_eq!(entry.source, place.image().as_os_str());
}

#[trial("mounts where an automounter waits", needs(fuse, || programs(&["python3"])))]
fn mounts_where_an_automounter_waits() {
    let place = Place::new();
    let output = Command::new("python3")
        .arg(testdata::directory().join("../tests/cases/automount.py"))
        .arg(env!("CARGO_BIN_EXE_fve"))
        .arg(place.image())
        .arg("--recovery-password-file")
        .arg(place.key())
        .current_dir(place.path(""))
        .output()
        .expect("python3");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.trim_end().ends_with("PASS"), "{said}");
}

/// Owner, group and permissions of the directory and of the file.
fn owners(place: &Place) -> [(u32, u32, u32); 2] {
    let directory = place.directory();
    [directory.join("volume"), directory].map(|path| {
        let meta = path.metadata().expect("stat");
        (meta.uid(), meta.gid(), meta.mode() & 0o777)
    })
}

#[trial(needs(fuse))]
fn owner_and_permissions_are_those_that_were_asked_for() {
    for (options, expected) in [
        (&["--uid=1000"][..], (1000, 0, 0o400, 0o500)),
        (&["--gid=5"], (0, 5, 0o440, 0o550)),
        (
            &["--uid=1000", "--gid=5", "--umask=027"],
            (1000, 5, 0o440, 0o550),
        ),
        (&["--umask=022", "--read-write"], (0, 0, 0o644, 0o555)),
        (&[], (0, 0, 0o400, 0o500)),
    ] {
        let place = Place::new();
        place.mount(options);
        let (uid, gid, file, directory) = expected;
        assert_eq!(
            owners(&place),
            [(uid, gid, file), (uid, gid, directory)],
            "{options:?}"
        );
        // What another user may read is what the permissions say.
        let mut read = Command::new("setpriv");
        read.args(["--reuid=1000", "--clear-groups", "--regid=1000"]);
        read.args(["head", "--bytes=1"]);
        let allowed = read.arg(place.directory().join("volume")).output();
        let can_read = uid == 1000 || file & 0o004 != 0;
        run(Command::new("chmod").arg("755").arg(place.path("")));
        let allowed = allowed.is_ok_and(|output| output.status.success()) || {
            let again = read.output().expect("setpriv");
            again.status.success()
        };
        assert_eq!(allowed, can_read, "{options:?}");
    }
}

#[trial(needs(fuse))]
fn the_options_of_mount_are_honored_or_reported() {
    let place = Place::new();
    let output = place.mount_helper("rw,nofail,uid=1000,gid=5,mode=0440,compress", &["-n"]);
    assert_status(&output, 0);
    assert!(
        said(&output).contains("'compress' is unknown"),
        "{}",
        said(&output)
    );
    assert_eq!(owners(&place), [(1000, 5, 0o440), (1000, 5, 0o550)]);
    assert_status(&place.mount_helper("remount,ro", &[]), 2);
    assert_status(&unmount(&[&place.directory()]), 0);

    assert_status(&place.mount_helper("ro", &["-f"]), 0);
    assert!(!place.is_mounted());
    let output = place.mount_helper("ro,user-password=geheim", &[]);
    assert_status(&output, 2);
    let said = said(&output);
    assert!(
        said.contains("password-file=FILE") && !said.contains("geheim"),
        "{said}"
    );
    assert!(!place.is_mounted());
}

#[trials]
fn signals() -> Vec<Trial> {
    [
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("TERM", Signal::TERM),
    ]
    .into_iter()
    .map(|(name, signal)| {
        let name = format!("ends when nothing uses it after {name}");
        trial(name, fuse(), move || ends_when_free(signal))
    })
    .collect()
}

fn ends_when_free(signal: Signal) {
    let place = Place::new();
    place.mount(&["--read-write"]);
    let server = server(&place);
    let held = File::open(place.directory().join("volume")).expect("open");
    send(signal, server);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(place.is_mounted() && is_running(server));
    drop(held);
    wait_until(|| !place.is_mounted() && !is_running(server));
}

/// A mount of a file system in memory, over that of the volume.
fn hide(place: &Place) {
    let mut mount = Command::new("mount");
    run(mount.args(["-t", "tmpfs", "none"]).arg(place.directory()));
    std::fs::write(place.directory().join("other"), "file").expect("write");
}

#[trial(needs(fuse))]
fn what_is_mounted_over_the_mount_of_a_killed_server_is_left_alone() {
    let place = Place::new();
    place.mount(&["--auto-unmount"]);
    let server = server(&place);
    hide(&place);
    send(Signal::KILL, server);
    wait_until(|| !is_running(server));
    std::thread::sleep(Duration::from_millis(500));
    assert!(place.directory().join("other").exists());
    run(Command::new("umount").arg(place.directory()));
    // As soon as it can be unmounted.
    wait_until(|| !place.is_mounted());
}

#[trial(needs(fuse))]
fn a_later_mount_of_the_same_volume_is_left_alone() {
    for (options, signal) in [(&["--auto-unmount"][..], None), (&[], Some(Signal::TERM))] {
        let start = Instant::now();
        let (place, first) = loop {
            match mounted_again(options) {
                Some(found) => break found,
                None => assert!(start.elapsed() < 6 * LIMIT, "no number was given again"),
            }
        };
        if let Some(signal) = signal {
            send(signal, first);
        }
        send(Signal::CONT, first);
        wait_until(|| !is_running(first));
        std::thread::sleep(Duration::from_millis(1500));
        assert!(place.is_mounted(), "{options:?}");
        std::fs::read(place.directory().join("volume")).expect("it serves");
    }
}

/// A volume that was mounted with these options, unmounted and mounted again, and the first server, which was stopped
/// before that. The second mount has the device number of the first. `None` if the kernel gives it to no mount for a
/// while: other tests mount, too, and one may keep the first mount in a mount namespace.
fn mounted_again(options: &[&str]) -> Option<(Place, u32)> {
    let place = Place::new();
    place.mount(options);
    let first = server(&place);
    let device = place.entry().expect("mounted").device;
    send(Signal::STOP, first);
    let end = |directory: &Path| {
        // Another test may look at it for a moment.
        wait_until(|| fve::serve::fuse::unmount(directory).is_ok());
    };
    end(&place.directory());
    // Numbers that are free before are taken until the number is.
    let mut taken = Vec::new();
    for _ in 0..500 {
        let other = tempfile::tempdir().expect("directory");
        let mut mount = Command::new("mount");
        run(mount.args(["-t", "tmpfs", "none"]).arg(other.path()));
        let entry = MountEntry::at(other.path()).expect("mount table");
        if entry.is_some_and(|entry| entry.device == device) {
            end(other.path());
            place.mount(&[]);
            if place.entry().expect("mounted").device == device {
                taken
                    .drain(..)
                    .for_each(|other: tempfile::TempDir| end(other.path()));
                return Some((place, first));
            }
            end(&place.directory());
            continue;
        }
        taken.push(other);
        if taken.len() > 100 {
            taken.drain(..).for_each(|other| end(other.path()));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    taken.drain(..).for_each(|other| end(other.path()));
    send(Signal::CONT, first);
    None
}

#[trial(needs(fuse))]
fn a_signal_ends_the_mount_on_other_directories_too() {
    let place = Place::new();
    place.mount(&[]);
    let server = server(&place);
    let other = tempfile::tempdir().expect("directory");
    let mut bind = Command::new("mount");
    run(bind.arg("--bind").arg(place.directory()).arg(other.path()));
    send(Signal::TERM, server);
    wait_until(|| !place.is_mounted() && !is_running(server));
    assert_eq!(MountEntry::at(other.path()).expect("mount table"), None);
}

#[trial(needs(fuse))]
fn a_mount_whose_connection_was_closed_is_unmounted() {
    let place = Place::new();
    place.mount(&[]);
    let server = server(&place);
    let (_, minor) = place.entry().expect("mounted").device;
    let connections = tempfile::tempdir().expect("directory");
    let mut mount = Command::new("mount");
    run(mount
        .args(["-t", "fusectl", "none"])
        .arg(connections.path()));
    let abort = connections.path().join(minor.to_string()).join("abort");
    let aborted = std::fs::write(abort, b"1");
    run(Command::new("umount").arg(connections.path()));
    aborted.expect("abort");
    wait_until(|| !place.is_mounted() && !is_running(server));
}

#[trial(needs(fuse))]
fn the_server_has_no_capability_and_gets_no_new_one() {
    for options in [&[][..], &["--read-write"]] {
        let place = Place::new();
        place.mount(options);
        std::fs::read(place.directory().join("volume")).expect("read");
        let process = Path::new("/proc").join(server(&place).to_string());
        let threads = std::fs::read_dir(process.join("task")).expect("threads");
        let mut seen = 0;
        for thread in threads.flatten() {
            let status = std::fs::read_to_string(thread.path().join("status")).expect("status");
            let value = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name));
                line.expect("in the status").trim().to_owned()
            };
            for set in ["CapEff:", "CapPrm:", "CapInh:", "CapBnd:", "CapAmb:"] {
                assert_eq!(value(set), "0000000000000000", "{set}");
            }
            assert_eq!(value("NoNewPrivs:"), "1");
            seen += 1;
        }
        assert!(seen > 1);
    }
}

#[trial(needs(fuse))]
fn a_mount_is_found_by_a_link_its_file_and_its_source() {
    let place = Place::new();
    let link = place.path("link");
    symlink(place.directory(), &link).expect("link");
    let volume = place.directory().join("volume");
    for word in [&link, &volume, &place.image()] {
        place.mount(&[]);
        let output = unmount(&[word]);
        assert!(
            output.status.success(),
            "{}: {}",
            word.display(),
            said(&output)
        );
        assert!(!place.is_mounted());
    }
    place.mount(&[]);
    let output = unmount(&[]);
    assert_status(&output, 0);
    let listed = String::from_utf8_lossy(&output.stdout);
    assert!(
        listed.contains(&place.directory().display().to_string()),
        "{listed}"
    );

    let second = place.path("second");
    std::fs::create_dir(&second).expect("directory");
    place.mount_on(&second, &[]);
    let output = unmount(&[&place.image()]);
    assert_status(&output, 2);
    let listed = said(&output);
    assert!(listed.contains(&second.display().to_string()), "{listed}");
    assert!(place.is_mounted());
    run(fve().arg("close").arg(&second));
    run(fve().arg("umount").arg(place.directory()));
    assert!(!place.is_mounted());
}

#[trial(needs(fuse))]
fn a_mount_without_a_server_is_recognized() {
    let place = Place::new();
    place.mount(&[]);
    send(Signal::KILL, server(&place));
    let mut mount = fve();
    mount.arg("mount").arg(place.image()).arg(place.directory());
    let output = mount.output().expect("fve");
    assert_status(&output, 5);
    let text = said(&output);
    let command = format!("fve unmount {}", place.directory().display());
    assert!(
        text.contains("whose server has ended") && text.contains(&command),
        "{text}"
    );
    let mut info = fve();
    let output = info
        .arg("info")
        .arg(place.directory().join("volume"))
        .output();
    let text = said(&output.expect("fve"));
    assert!(text.contains("fve unmount"), "{text}");
    let link = place.path("link");
    symlink(place.directory(), &link).expect("link");
    assert_status(&unmount(&[&link]), 0);
    assert!(!place.is_mounted());
}

#[trial(needs(fuse, loop_devices, || programs(&["ntfs-3g"])))]
fn what_keeps_a_mount_busy_is_named_with_the_command_that_ends_it() {
    let place = Place::new();
    place.mount(&[]);
    let volume = place.directory().join("volume");
    let files = Mounted::ntfs(&volume);
    let output = unmount(&[&place.directory()]);
    assert_status(&output, 5);
    let text = said(&output);
    let command = format!("umount {}", files.path().display());
    assert!(text.contains(&command), "{text}");
    drop(files);

    let device = LoopDevice::read_only(&volume).expect("loop device");
    // The working directory of fve itself is no reason.
    let output = fve()
        .arg("unmount")
        .arg(place.directory())
        .current_dir(place.directory())
        .output()
        .expect("fve");
    let text = said(&output);
    let command = format!("losetup --detach {}", device.path().display());
    assert!(text.contains(&command) && !text.contains("fve ("), "{text}");
    device.detach().expect("detached");
    assert_status(&unmount(&[&place.directory()]), 0);
}
