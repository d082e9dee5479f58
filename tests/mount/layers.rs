//! The layers of files that another driver shows: they end together, from the top, also after a process
//! was killed, and stay while a program uses them.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::output::{assert_status, run, text};
use crate::common::trials::{fuse, programs, trial};
use crate::common::{fve, send};
use crate::driver::{Volume, exfat_tools, ntfs_tools};

const WAIT: Duration = Duration::from_secs(20);

/// The command lines of all processes that have `word` in them, by number.
fn processes(word: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("processes").flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains(word) {
            found.push((entry.file_name().into_string().expect("number"), line));
        }
    }
    found
}

/// Sends a signal to the process whose name is `name`, with `word` in its command line.
fn signal(name: &str, signal: Signal, word: &Path) {
    let mut sent = 0;
    for (id, line) in processes(word.to_str().expect("path")) {
        let program = line.split('\0').next().unwrap_or_default();
        if program.ends_with(name) && !line.contains("--on-request") {
            send(signal, id.parse().expect("number"));
            sent += 1;
        }
    }
    assert_eq!(sent, 1, "{name} {word:?}");
}

/// The name of the volume's directory, which is in the names of all its places.
fn name_of(volume: &Volume) -> String {
    let path = volume.path();
    let name = path.parent().and_then(Path::file_name).expect("name");
    name.to_str().expect("name").to_owned()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < WAIT, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn wait_until_unmounted(volume: &Volume) {
    wait_until("unmounted", || volume.private().is_none());
    wait_until("removed", || {
        let left = fs::read_dir("/run/fve/mounts").into_iter().flatten();
        let name = name_of(volume);
        !left
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().contains(&name))
    });
    volume.assert_nothing_left();
}

#[trial("a killed driver", needs(fuse, ntfs_tools, exfat_tools))]
fn a_killed_driver() {
    for (volume, program) in [
        (Volume::ntfs(), "ntfs-3g"),
        (Volume::exfat(), "mount.exfat-fuse"),
    ] {
        volume.mount(&["--read-write"]);
        signal(program, Signal::KILL, &volume.shown());
        let unmounted = volume.try_to_unmount();
        assert_status(&unmounted, 0);
        assert!(text(&unmounted.stderr).contains("lost"));
        volume.assert_nothing_left();
    }
}

#[trial("a killed server", needs(fuse, ntfs_tools, exfat_tools))]
fn a_killed_server() {
    for volume in [Volume::ntfs(), Volume::exfat()] {
        volume.mount(&["--read-write"]);
        signal("fve", Signal::KILL, &volume.shown());
        // What is left is named, with the command that ends it.
        let again = text(&volume.try_to_mount(&["--read-write"]).stderr);
        let way = format!("fve unmount {}", volume.shown().display());
        assert!(
            again.contains("already mounted") && again.contains(&way),
            "{again}"
        );
        let unmounted = volume.try_to_unmount();
        // 5 if the driver reports that it could not write the rest.
        assert!(matches!(unmounted.status.code(), Some(0 | 5)));
        assert!(text(&unmounted.stderr).contains("lost"));
        volume.assert_nothing_left();
    }
}

#[trial("a killed server with --auto-unmount", needs(fuse, ntfs_tools))]
fn a_killed_server_with_auto_unmount() {
    let volume = Volume::ntfs();
    volume.mount(&["--read-write", "--auto-unmount"]);
    signal("fve", Signal::KILL, &volume.shown());
    wait_until_unmounted(&volume);
}

#[trial("only the private mount is left", needs(fuse, ntfs_tools))]
fn only_the_private_mount_is_left() {
    let volume = Volume::ntfs();
    for name in [volume.shown(), volume.path()] {
        volume.mount(&["--read-write"]);
        signal("fve", Signal::KILL, &volume.shown());
        signal("ntfs-3g", Signal::KILL, &volume.shown());
        // The process that unmounts could still notice that the files are unmounted, and end the rest.
        wait_until("no process of the mount is left", || {
            processes(&name_of(&volume)).is_empty()
        });
        run(Command::new("umount").arg(volume.shown()));
        let private = volume.private().expect("the volume is mounted");
        let listed = fve().arg("unmount").output().expect("fve");
        let listed = text(&listed.stdout);
        assert!(
            listed.contains(volume.shown().to_str().expect("path")),
            "{listed}"
        );
        assert!(
            !listed.contains(private.to_str().expect("path")),
            "{listed}"
        );
        let unmounted = fve().arg("unmount").arg(name).output().expect("fve");
        assert_status(&unmounted, 0);
        volume.assert_nothing_left();
    }
}

#[trial("nothing ends while a program uses it", needs(fuse, ntfs_tools))]
fn nothing_ends_while_it_is_used() {
    let volume = Volume::ntfs();
    volume.mount(&["--read-write"]);
    let shown = volume.shown();
    let refused = |word: &str| {
        let refused = volume.try_to_unmount();
        assert_status(&refused, 5);
        let said = text(&refused.stderr);
        assert!(said.contains(word), "{said}");
        // All layers are still there.
        fs::write(shown.join("works"), b"still").expect("write");
    };
    let own = format!("({})", std::process::id());
    let held = File::create(shown.join("held")).expect("create");
    refused(&own);
    drop(held);
    // Another process: this one also serves mounts of other tests, as drivers do.
    let below = File::open(volume.private().expect("private").join("volume")).expect("volume");
    let mut other = Command::new("sleep")
        .arg("60")
        .stdin(below)
        .spawn()
        .expect("sleep");
    refused(&format!("({})", other.id()));
    other.kill().expect("kill");
    other.wait().expect("wait");
    // One that is a FUSE server, too, but not that of these files.
    let below = File::open(volume.private().expect("private").join("volume")).expect("volume");
    let server = File::options().read(true).write(true).open("/dev/fuse");
    let mut other = Command::new("sleep")
        .arg("60")
        .stdin(below)
        .stdout(server.expect("/dev/fuse"))
        .spawn()
        .expect("sleep");
    refused(&format!("({})", other.id()));
    other.kill().expect("kill");
    other.wait().expect("wait");
    let nested = shown.join("nested");
    fs::create_dir(&nested).expect("directory");
    run(Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(&nested));
    refused(&format!("umount {}", nested.display()));
    run(Command::new("umount").arg(&nested));
    volume.unmount();
    assert_eq!(volume.ntfs_file("/works"), b"still");
}

#[trial("what is mounted elsewhere, too, is named", needs(fuse, ntfs_tools, || programs(&["unshare"])))]
fn mounted_elsewhere() {
    let volume = Volume::ntfs();
    volume.mount(&["--volume", "--read-write"]);
    let bound = tempfile::tempdir().expect("directory");
    let mut bind = Command::new("mount");
    run(bind.arg("--bind").arg(volume.shown()).arg(bound.path()));
    let unmounted = fve().arg("unmount").arg(bound.path()).output();
    let unmounted = unmounted.expect("fve");
    assert_status(&unmounted, 5);
    let said = text(&unmounted.stderr);
    let also = format!("also mounted on {}", volume.shown().display());
    assert!(said.contains(&also), "{said}");
    assert!(volume.shown().join("volume").exists());
    let mut other = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sleep", "60"])
        .spawn()
        .expect("unshare");
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let id = other.id().to_string();
    wait_until("its own namespace", || namespace(&id) != namespace("self"));
    let unmounted = volume.try_to_unmount();
    assert_status(&unmounted, 5);
    let said = text(&unmounted.stderr);
    let process = format!("sleep ({id})");
    assert!(
        said.contains("namespace") && said.contains(&process),
        "{said}"
    );
    other.kill().expect("kill");
    other.wait().expect("wait");
    volume.assert_nothing_left();
}

#[trial("umount ends the lower layers", needs(fuse, ntfs_tools, exfat_tools))]
fn umount_ends_the_lower_layers() {
    for volume in [Volume::ntfs(), Volume::exfat()] {
        volume.mount(&["--read-write"]);
        fs::write(volume.shown().join("written"), b"before").expect("write");
        run(Command::new("umount").arg(volume.shown()));
        wait_until_unmounted(&volume);
    }
}

/// The process that unmounts may be slow: it must not miss that the files were mounted and unmounted.
#[trial(
    "umount ends the lower layers at once after mounting",
    needs(fuse, ntfs_tools)
)]
fn umount_at_once() {
    let volume = Volume::ntfs();
    let name = name_of(&volume);
    let unmounter = || {
        let mut processes = processes(&name).into_iter();
        let (id, _) = processes.find(|(_, line)| line.contains("--on-request"))?;
        id.parse().ok()
    };
    std::thread::scope(|scope| {
        let mounted = scope.spawn(|| volume.mount(&["--read-write"]));
        let mut stopped: Option<u32> = None;
        wait_until("the process", || {
            stopped = unmounter();
            stopped.is_some()
        });
        let stopped = stopped.expect("number");
        send(Signal::STOP, stopped);
        mounted.join().expect("mounted");
        run(Command::new("umount").arg(volume.shown()));
        send(Signal::CONT, stopped);
    });
    wait_until_unmounted(&volume);
}

#[trial("a signal ends all layers when they are free", needs(fuse, ntfs_tools))]
fn a_signal_ends_all_layers() {
    let volume = Volume::ntfs();
    volume.mount(&["--read-write"]);
    let held = File::create(volume.shown().join("held")).expect("create");
    signal("fve", Signal::TERM, &volume.shown());
    std::thread::sleep(Duration::from_millis(300));
    fs::write(volume.shown().join("works"), b"still").expect("write");
    drop(held);
    wait_until_unmounted(&volume);
    assert_eq!(volume.ntfs_file("/works"), b"still");
}
