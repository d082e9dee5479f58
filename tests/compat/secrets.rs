//! A secret on the command line: it is overwritten there, the server of the mount never has it, and no message
//! repeats it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fve::source::MountEntry;
use rustix::process::Signal;

use super::{Links, MountPoint};
use crate::common::output::{assert_status, run, text};
use crate::common::send;
use crate::common::testdata::{Kind, volume};
use crate::common::trials::{fuse, programs, trial};

/// The command line of a process as every user sees it.
fn command_line(process: u32) -> Vec<u8> {
    fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default()
}

/// Whether this is the command line of a program that was started under this name. A process has another one until
/// it runs the program, and none after its end.
fn is_of(line: &[u8], name: &str) -> bool {
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    first.ends_with(format!("/{name}").as_bytes())
}

fn contains(bytes: &[u8], secret: &str) -> bool {
    bytes
        .windows(secret.len())
        .any(|window| window == secret.as_bytes())
}

/// The processes that run this program with a word in their command line.
fn processes_with(word: &str) -> Vec<u32> {
    let own = fs::metadata(env!("CARGO_BIN_EXE_fve")).expect("program");
    let entries = fs::read_dir("/proc").expect("/proc");
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let ours = |process: &u32| {
        let program = fs::metadata(format!("/proc/{process}/exe"));
        program.is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino()))
    };
    numbers
        .filter(ours)
        .filter(|process| contains(&command_line(*process), word))
        .collect()
}

/// Command lines with a secret: the name, the words with `%D` for the mount point, and the secret.
fn lines() -> Vec<(&'static str, Vec<String>, String)> {
    let entry = volume("xts-128");
    let file = entry.file.to_string_lossy().into_owned();
    let password = entry.credential(Kind::Password).value.clone();
    let digits = entry.credential(Kind::RecoveryPassword).value.clone();
    let line = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    vec![
        (
            "dislocker",
            line(&["-rV", &file, &format!("-u{password}"), "--", "%D", "-f"]),
            password.clone(),
        ),
        (
            "dislocker",
            line(&[
                "-rV",
                &file,
                &format!("--recovery-password={digits}"),
                "--",
                "-f",
                "%D",
            ]),
            digits.clone(),
        ),
        (
            "bdemount",
            line(&["-v", "-p", &password, &file, "%D"]),
            password.clone(),
        ),
        (
            "bdemount",
            line(&["-v", &format!("-r{digits}"), &file, "%D"]),
            digits,
        ),
        (
            "mount.fuse.dislocker",
            line(&[
                &file,
                "%D",
                "-o",
                &format!("ro,user-password={password},nofail"),
            ]),
            password.clone(),
        ),
        // As the scripts of the RPM package call it.
        (
            "fve",
            line(&[
                "compat",
                "dislocker",
                "-rV",
                &file,
                &format!("-u{password}"),
                "%D",
            ]),
            password,
        ),
    ]
}

#[trial(needs(fuse))]
fn a_secret_is_overwritten_in_every_command_line() {
    let links = Links::new();
    for (name, words, secret) in lines() {
        let mounted = MountPoint::new();
        let place = mounted.path().to_string_lossy().into_owned();
        let words: Vec<_> = words
            .iter()
            .map(|word| word.replace("%D", &place))
            .collect();
        let mut child = links
            .program(name)
            .args(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start");
        // It may be seen until the process has read it, which takes a moment.
        let start = Instant::now();
        let (mut was_overwritten, mut is_mounted) = (false, false);
        while !is_mounted {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "{name}: not mounted"
            );
            // The server in the background never has it, from its first moment on.
            for process in processes_with(&place) {
                let seen = contains(&command_line(process), &secret);
                assert!(!seen || process == child.id(), "{name}: in another process");
            }
            let line = command_line(child.id());
            if is_of(&line, name) {
                let seen = contains(&line, &secret);
                assert!(!(was_overwritten && seen), "{name}: the secret came back");
                was_overwritten |= !seen;
            }
            is_mounted = !mounted.files().is_empty();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(was_overwritten, "{name}");
        // Now for all processes: a server in the background has its own command line.
        let servers = processes_with(&place);
        assert!(!servers.is_empty(), "{name}");
        for process in servers {
            let line = command_line(process);
            assert!(!contains(&line, &secret), "{name}: {}", text(&line));
            let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            assert!(
                !contains(&environment, &secret),
                "{name}: in the environment"
            );
        }
        assert!(mounted.unmount(), "{name}");
        child.wait().expect("end");
    }
}

#[trial(needs(fuse))]
fn the_user_is_warned_and_no_message_has_the_secret() {
    let links = Links::new();
    let entry = volume("xts-128");
    let password = &entry.credential(Kind::Password).value;
    for secret in [password, "Wr0ng secret"] {
        let mounted = MountPoint::new();
        let mut dislocker = links.program("dislocker");
        dislocker
            .args(["-vvvr", &format!("-u{secret}"), "-V"])
            .arg(&entry.file);
        let output = dislocker
            .arg("--")
            .arg(mounted.path())
            .output()
            .expect("start");
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(said.contains("every user of this computer"), "{said}");
        assert!(said.contains("-u or -p without a value"), "{said}");
        assert!(!said.contains(secret), "{said}");
    }
    // The rest of a password with a comma in it, in a list of mount options.
    let mounted = MountPoint::new();
    let mut helper = links.program("mount.fuse.dislocker");
    helper.arg(&entry.file).arg(mounted.path());
    helper.args(["-o", "ro,user-password=correct,horse,battery"]);
    let output = helper.output().expect("start");
    assert_status(&output, 4);
    let said = text(&output.stderr);
    assert!(said.contains("comma"), "{said}");
    assert!(!said.contains("horse") && !said.contains("battery"));
    // A line that cannot be read: nothing says which of its words is a secret.
    let output = links
        .program("bdemount")
        .args(["-Z", "-p", "Wr0ng"])
        .output()
        .expect("start");
    assert_status(&output, 2);
    assert!(!text(&output.stderr).contains("Wr0ng"));
}

#[trial(needs(fuse))]
fn a_password_comes_from_a_pipe_or_from_the_environment() {
    use std::io::Write;
    let links = Links::new();
    let entry = volume("xts-128");
    let password = &entry.credential(Kind::Password).value;
    let command = |mounted: &MountPoint| {
        let mut dislocker = links.program("dislocker");
        dislocker
            .args(["-r", "-u", "-V"])
            .arg(&entry.file)
            .arg("--")
            .arg(mounted.path());
        dislocker
    };
    let mounted = MountPoint::new();
    let mut piped = command(&mounted);
    let mut child = piped.stdin(Stdio::piped()).spawn().expect("start");
    writeln!(child.stdin.take().expect("pipe"), "{password}").expect("write");
    assert!(child.wait().expect("end").success());
    assert_eq!(mounted.files(), ["dislocker-file"]);
    let mounted = MountPoint::new();
    let mut from_environment = command(&mounted);
    from_environment.stdin(Stdio::null());
    run(from_environment.env("DISLOCKER_PASSWORD", password));
    let place = mounted.path().to_string_lossy().into_owned();
    for process in processes_with(&place) {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        assert!(!contains(&environment, password));
    }
}

/// The word may be a secret in the place of a file name.
#[trial]
fn what_names_no_file_is_not_repeated() {
    let links = Links::new();
    let entry = volume("xts-128");
    let digits = &entry.credential(Kind::RecoveryPassword).value;
    let file = entry.file.to_str().expect("UTF-8");
    for (name, words) in [
        ("bdeinfo", &[digits.as_str()][..]),
        ("bdeinfo", &["-s", digits, file]),
        ("dislocker-bek", &["-f", digits]),
        ("dislocker-metadata", &["-V", digits]),
        ("dislocker-metadata", &["-V", "correcthorse"]),
        ("dislocker-file", &["-V", digits, "-c", "--", "/no/such"]),
    ] {
        let output = links.program(name).args(words).output().expect("start");
        assert!(!output.status.success(), "{name} {words:?}");
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(!said.contains(digits) && !said.contains("horse"), "{said}");
    }
    // Also not if it is asked what is run.
    let mounted = MountPoint::new();
    let place = mounted.path().to_str().expect("UTF-8");
    let list = format!("uid={digits},pass=correct,horse");
    for (name, words) in [
        (
            "dislocker",
            &["-v", "-V", file, "-f", digits, "--", place][..],
        ),
        ("dislocker", &["-v", "-V", digits, "-c", "--", place]),
        ("dislocker", &["-v", "-r", "-p", digits, file, "--", place]),
        (
            "dislocker",
            &["-v", "-V", file, "-c", "--", "-o", &list, place],
        ),
        ("bdemount", &["-v", "-p", "wrong", file, digits]),
        ("bdemount", &["-v", "-p", "wrong", "-X", &list, file, place]),
        ("mount.fuse.dislocker", &[file, place, "-v", "-o", &list]),
    ] {
        let output = links
            .program(name)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("start");
        assert!(!output.status.success(), "{name} {words:?}");
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(!said.contains(digits) && !said.contains("horse"), "{said}");
        assert!(!said.contains("correct"), "{said}");
    }
    // A name that is meant for a file is repeated.
    let output = links.program("bdeinfo").arg("/dev/no-disk").output();
    let said = text(&output.expect("start").stderr);
    assert!(said.contains("/dev/no-disk"), "{said}");
}

/// Before anything is waited for.
#[trial]
fn all_secrets_are_overwritten_while_another_is_awaited() {
    let links = Links::new();
    let entry = volume("xts-128");
    let mut command = links.program("dislocker-file");
    command.args(["-u", "-pSECRET1", "-o", "offset=0,pass=SECRET2,SECRET3"]);
    command
        .arg("-V")
        .arg(&entry.file)
        .args(["--", "/no/such/file"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start");
    let start = Instant::now();
    let mut slept = 0;
    // It has a moment of sleep at its start, too.
    while slept < 5 {
        let sleeps = fs::read_to_string(format!("/proc/{}/stat", child.id()))
            .is_ok_and(|stat| stat.contains("(dislocker-file) S "));
        slept = if sleeps { slept + 1 } else { 0 };
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "it does not wait"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let line = command_line(child.id());
    assert!(!contains(&line, "SECRET"), "{}", text(&line));
    assert!(contains(&line, "offset=0,pass="));
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).expect("limits");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let fields: Vec<_> = core.expect("limit").split_whitespace().collect();
    assert_eq!(fields.get(4..6), Some(&["0", "0"][..]), "{fields:?}");
    drop(child.stdin.take());
    child.wait().expect("end");
}

/// FUSE's helper, which mounts for ordinary users.
#[trial(needs(fuse, || programs(&["setpriv", "fusermount3"])))]
fn no_program_gets_the_password_from_the_environment() {
    let entry = volume("xts-128");
    let directory = tempfile::tempdir().expect("directory");
    let place = |name: &str| directory.path().join(name);
    for (from, to) in [
        (Path::new(env!("CARGO_BIN_EXE_fve")), "dislocker"),
        (&entry.file, "volume.img"),
    ] {
        fs::copy(from, place(to)).expect("copy");
    }
    fs::create_dir(place("m")).expect("directory");
    let script =
        "#!/bin/sh\nenv >\"${0%/*}/environment\"\nPATH=${PATH#*:}\nexec fusermount3 \"$@\"\n";
    fs::write(place("fusermount3"), script).expect("script");
    for name in ["", "dislocker", "volume.img", "m", "fusermount3"] {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place(name), mode).expect("mode");
        std::os::unix::fs::chown(place(name), Some(65534), Some(65534)).expect("owner");
    }
    let path = std::env::var("PATH").expect("PATH");
    let mut user = Command::new("setpriv");
    user.args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(place("dislocker"))
        .args(["-r", "-u", "-V"])
        .arg(place("volume.img"))
        .args(["--", "-f"])
        .arg(place("m"))
        .env("PATH", format!("{}:{path}", directory.path().display()))
        .env(
            "DISLOCKER_PASSWORD",
            &entry.credential(Kind::Password).value,
        );
    let mut child = user.stderr(Stdio::null()).spawn().expect("start");
    let start = Instant::now();
    let wait_for = |mounted: bool| {
        while MountEntry::at(&place("m")).expect("mount table").is_some() != mounted {
            assert!(start.elapsed() < Duration::from_secs(30), "{mounted}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for(true);
    send(Signal::TERM, child.id());
    child.wait().expect("end");
    wait_for(false);
    let environment = fs::read_to_string(place("environment")).expect("environment");
    assert!(environment.contains("PATH="));
    assert!(!environment.contains("DISLOCKER"), "{environment}");
}

/// A small container may have no link `/dev/fd`.
#[trial(needs(|| programs(&["unshare"])))]
fn a_secret_needs_no_link_in_dev() {
    let links = Links::new();
    let entry = volume("xts-128");
    let script = "mount -t tmpfs none /dev && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command.arg(links.path().join("bdeinfo")).arg("-p");
    command.arg(&entry.credential(Kind::Password).value);
    run(command.arg(&entry.file));
}

/// The processes that are not mounts: a decrypted copy, and a description.
#[trial]
fn a_secret_is_overwritten_while_a_copy_is_made() {
    let links = Links::new();
    let entry = volume("xts-128");
    let password = &entry.credential(Kind::Password).value;
    let directory = tempfile::tempdir().unwrap();
    for (name, words) in [
        (
            "dislocker-file",
            vec![format!("-u{password}"), "-V".to_owned()],
        ),
        ("bdeinfo", vec!["-p".to_owned(), password.clone()]),
    ] {
        let mut command = links.program(name);
        command.args(words).arg(&entry.file);
        if name == "dislocker-file" {
            command.arg("--").arg(directory.path().join("out"));
        }
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start");
        let mut was_overwritten = false;
        while child.try_wait().expect("wait").is_none() {
            let line = command_line(child.id());
            if is_of(&line, name) {
                let seen = contains(&line, password);
                assert!(!(was_overwritten && seen), "{name}: the secret came back");
                was_overwritten |= !seen;
            }
        }
        // Stretching the password takes long enough to see it.
        assert!(was_overwritten, "{name}");
    }
}

/// A shell that finds the old tool by its name, as scripts call it.
#[trial(needs(fuse))]
fn a_script_finds_the_file_under_its_old_name() {
    let links = Links::new();
    let entry = volume("ntfs-xts-128");
    let mounted = MountPoint::new();
    let script = r#"set -e
        dislocker -r -V "$1" -u"$2" -- "$3"
        test -f "$3/dislocker-file"
        test "$(stat -c %s "$3/dislocker-file")" = "$4"
        umount "$3""#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(&entry.file);
    shell
        .arg(&entry.credential(Kind::Password).value)
        .arg(mounted.path());
    run(shell
        .arg(entry.size.to_string())
        .env("PATH", links.search_path()));
}
