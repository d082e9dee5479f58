//! Single command lines, through the tools and through fve: both succeed, or both fail, and the same files appear.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{Copied, Links, MountPoint};
use crate::common::fve;
use crate::common::loop_device::LoopDevice;
use crate::common::mount::Mounted;
use crate::common::output::{assert_status, run, text};
use crate::common::send;
use crate::common::testdata::{Kind, volume};
use crate::common::trials::{Missing, fuse, loop_devices, programs, trial};

fn dislocker() -> Option<Missing> {
    programs(&[
        "dislocker",
        "dislocker-file",
        "dislocker-find",
        "dislocker-metadata",
    ])
}

fn libbde() -> Option<Missing> {
    programs(&["bdemount", "bdeinfo"])
}

fn ntfs_3g() -> Option<Missing> {
    programs(&["ntfs-3g"])
}

/// Whether a line succeeds, and the names of the files in its directory afterwards.
type Outcome = (bool, Vec<String>);

/// Runs a line. `%V` in it is the volume, `%D` an empty directory, `%O` a file that does not exist.
fn outcome(mut command: Command, line: &[&str]) -> Outcome {
    let volume = Copied::of("ntfs-xts-128");
    let mounted = MountPoint::new();
    fs::write(volume.beside("other"), "no volume").unwrap();
    let known = |kind| volume.entry.credential(kind).value.clone();
    let names: BTreeMap<_, _> = [
        ("%V", volume.path().to_string_lossy().into_owned()),
        ("%D", mounted.path().to_string_lossy().into_owned()),
        (
            "%O",
            mounted.path().join("out").to_string_lossy().into_owned(),
        ),
        ("%X", volume.beside("other").to_string_lossy().into_owned()),
        (
            "%N",
            volume.beside("missing").to_string_lossy().into_owned(),
        ),
        ("%P", known(Kind::Password)),
        ("%R", known(Kind::RecoveryPassword)),
        ("%B", known(Kind::StartupKey)),
    ]
    .into();
    for word in line {
        let mut word = (*word).to_owned();
        for (name, value) in &names {
            word = word.replace(name, value);
        }
        command.arg(word);
    }
    let pipes = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    (pipes.status().expect("start").success(), mounted.files())
}

fn assert_same(name: &str, lines: &[&[&str]]) {
    let links = Links::new();
    for line in lines {
        let theirs = outcome(Command::new(name), line);
        let ours = outcome(links.program(name), line);
        assert_eq!(ours, theirs, "{name} {line:?}");
        // The same without a link.
        let mut command = fve();
        command.args(["compat", name]);
        assert_eq!(outcome(command, line), theirs, "fve compat {name} {line:?}");
    }
}

#[trial(needs(fuse, dislocker))]
fn lines_of_dislocker() {
    assert_same(
        "dislocker",
        &[
            &["-V", "%V", "-u%P", "--", "%D"],
            &["-V%V", "-p%R", "-r", "--", "%D"],
            &[
                "--volume=%V",
                "--user-password=%P",
                "--readonly",
                "--",
                "%D",
            ],
            &["--vol", "%V", "--recovery=%R", "--", "%D"],
            &["-rqsV", "%V", "-f", "%B", "--", "%D"],
            &["-V", "%V", "-f%B", "-O0", "%D"],
            &["-V", "%V", "-uwrong", "-p%R", "--", "%D"],
            &["-V", "%V", "-F1", "-u%P", "--", "%D"],
            &["-V", "%V", "-u%P", "--", "-o", "allow_other,ro", "%D"],
            &["-V", "%V", "-u%P", "--", "%D", "-o", "allow_other"],
            &["--ro", "-V", "%V", "-u%P", "--", "%D"],
            &["-V", "%V", "-u%P", "--", "-r", "%D"],
            // Of a repeated option, the last one counts.
            &["-V", "%N", "-V", "%V", "-uwrong", "-u%P", "--", "%D"],
            &["-V", "%V", "-u%P", "-uwrong", "--", "%D"],
            &[
                "-V",
                "%V",
                "-u%P",
                "--",
                "-o",
                "allow_other,direct_io",
                "-o",
                "direct_io,allow_other",
                "%D",
            ],
            // Without -V.
            &["%V", "-u%P", "--", "%D"],
            &["-u%P", "%V", "%D"],
            &["-V", "%V", "-u%P", "--", "--", "%D"],
            &["-V", "%V", "-u%P", "--", "%D", "--"],
            &["%V", "%D", "-o", "user-password=%P,nofail"],
            &[
                "%V",
                "%D",
                "-o",
                "rw,dev,suid,recovery-password=%R,offset=0",
            ],
            &[
                "%V",
                "%D",
                "-o",
                "bekfile=%B,readonly,stateok,force-block=1",
            ],
            // Failures.
            &["-V", "%V", "-uwrong", "--", "%D"],
            &["-V", "%V", "-u", "--", "%D"],
            &["-V", "%V", "-u", "%P", "--", "%D"],
            &["-V", "%V", "-p", "--", "%D"],
            &["-V", "%V", "-p123", "--", "%D"],
            &["-V", "%V", "-c", "--", "%D"],
            &["-V", "%V", "--", "%D"],
            &["-V", "%V", "-f", "%N", "--", "%D"],
            &["-V", "%N", "-u%P", "--", "%D"],
            &["-V", "%X", "-u%P", "--", "%D"],
            &["-V", "%V", "-u%P", "--", "%O"],
            &["-V", "%V", "-u%P"],
            &["-V", "%V", "-u", "%P"],
            &["-V", "%V", "-u%P", "--", "-V", "%D"],
            &["--", "-V", "%V", "-u%P", "%D"],
            &["-V"],
            &["-u%P", "--", "%D"],
            &["-V", "%V", "-O", "4096", "-u%P", "--", "%D"],
            &["-Z", "-V", "%V", "-u%P", "--", "%D"],
            &["%V", "%D", "-o", "user-password=wrong,nofail"],
            &["%V", "%D", "-o", "user-password=%P,b"],
            &["%V", "%D", "-o", "user-password="],
            &["%V", "%D", "-o"],
            &["-h"],
        ],
    );
}

#[trial(needs(fuse, dislocker))]
fn lines_of_the_other_programs_of_dislocker() {
    assert_same(
        "dislocker-file",
        &[
            &["-V", "%V", "-u%P", "--", "%O"],
            &["-V", "%V", "-f", "%B", "-q", "%O"],
            &["-V", "%V", "-o", "user-password=%P,offset=0", "--", "%O"],
            &["-V", "%V", "-u%P", "--", "%X"],
            &["-V", "%V", "-uwrong", "--", "%O"],
            &["-V", "%V", "-u%P"],
            &["-V", "%V", "-u%P", "--", "%N/out"],
        ],
    );
    assert_same(
        "dislocker-metadata",
        &[&["-V", "%V"], &["-V", "%X"], &["-V", "%N"], &[], &["-h"]],
    );
    assert_same(
        "dislocker-bek",
        &[&["-f", "%B"], &["-f", "%X"], &["-f", "%N"], &[]],
    );
}

#[trial(needs(fuse, libbde))]
fn lines_of_libbde() {
    assert_same(
        "bdemount",
        &[
            &["-p", "%P", "%V", "%D"],
            &["-r", "%R", "-X", "allow_other", "%V", "%D"],
            &["-s%B", "-o", "0", "%V", "%D"],
            &["%V", "%D", "-p", "%P"],
            &["-p", "%P", "-X", "ro,allow_other", "%V", "%D"],
            &["-p", "%P", "--", "%V", "%D"],
            &["-p%P", "%V", "%D"],
            &["-p", "wrong", "%V", "%D"],
            &["%V", "%D"],
            &["-p", "%P", "%N", "%D"],
            &["-p", "%P", "%X", "%D"],
            &["-p", "%P", "%V", "%O"],
            &["-p", "%P", "%V"],
            &["-p"],
            &["-p", "", "%V", "%D"],
            &["-o", "x", "-p", "%P", "%V", "%D"],
            &["-r", "1-2-3", "%V", "%D"],
            &["-Z", "-p", "%P", "%V", "%D"],
            &["-V"],
        ],
    );
    assert_same(
        "bdeinfo",
        &[
            &["-p", "%P", "%V"],
            &["-r", "%R", "%V"],
            &["-s", "%B", "-o0", "%V"],
            &["-p", "wrong", "%V"],
            &["%V"],
            &["%N"],
            &["%X"],
            &[],
            &["-V"],
        ],
    );
}

/// The fields of the output of bdeinfo, without the line with its version.
fn fields(mut command: Command, volume: &Path) -> Vec<String> {
    let output = command
        .arg(volume)
        .stdin(Stdio::null())
        .output()
        .expect("bdeinfo");
    let printed = text(&output.stdout);
    let lines = printed.lines().skip(1).filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

#[trial(needs(libbde))]
fn bdeinfo_prints_the_same_fields() {
    let links = Links::new();
    let mut volumes: Vec<_> = [
        "ntfs-xts-128",
        "xts-256",
        "cbc-128",
        "cbc-256",
        "elephant-128",
        "elephant-256",
        "decryption-paused",
        "two-recovery-passwords",
    ]
    .map(|name| volume(name).file)
    .into();
    let windows = crate::common::corpus::volumes().unwrap_or_default();
    let wanted = [
        "cs-aes-xts-128",
        "cs-aes-xts-128-smart-card",
        "cs-aes-xts-128-startup-key-win11",
        "cs-aes-xts-128-two-recovery",
        "cs-togo-aes-cbc-128",
        "ds-startup_key",
    ];
    let chosen = windows
        .into_iter()
        .filter(|volume| wanted.contains(&volume.name.as_str()));
    volumes.extend(chosen.map(|volume| volume.path));
    for volume in volumes {
        let theirs = fields(Command::new("bdeinfo"), &volume);
        assert!(theirs.len() > 6, "{theirs:?}");
        assert_eq!(fields(links.program("bdeinfo"), &volume), theirs);
    }
}

#[trial(needs(dislocker))]
fn dislocker_find_prints_the_volumes_and_returns_their_number() {
    let links = Links::new();
    let files = [
        volume("xts-128").file,
        Path::new("/etc/passwd").to_owned(),
        "/no/such/file".into(),
        volume("cbc-128").file,
        volume("clear-key-only").file,
    ];
    let theirs = Command::new("dislocker-find")
        .args(&files)
        .output()
        .expect("start");
    let ours = links
        .program("dislocker-find")
        .args(&files)
        .output()
        .expect("start");
    assert_eq!(text(&ours.stdout), text(&theirs.stdout));
    assert_eq!(
        (ours.status.code(), theirs.status.code()),
        (Some(3), Some(3))
    );
    // A failure is no number of volumes.
    for mut find in [
        Command::new("dislocker-find"),
        links.program("dislocker-find"),
    ] {
        let output = find.arg("-x").output().expect("start");
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout.is_empty());
    }
}

#[trial(needs(loop_devices))]
fn dislocker_find_finds_a_device() {
    let device = LoopDevice::read_only(&volume("xts-128").file).expect("losetup");
    let links = Links::new();
    let output = links.program("dislocker-find").output().expect("start");
    let listed = text(&output.stdout);
    assert!(
        listed.lines().any(|line| Path::new(line) == device.path()),
        "{listed}"
    );
    assert_eq!(
        output.status.code(),
        i32::try_from(listed.lines().count()).ok()
    );
}

/// The words that scripts look for in the output of dislocker-metadata, each with its value.
#[trial(needs(dislocker))]
fn dislocker_metadata_prints_the_values_that_scripts_look_for() {
    let links = Links::new();
    let values = |mut command: Command| {
        let output = command
            .arg("-V")
            .arg(volume("xts-128").file)
            .output()
            .expect("start");
        let printed = text(&output.stdout);
        let after = |word: &str| {
            let lines = printed.lines().filter_map(|line| line.split_once(word));
            lines
                .map(|(_, value)| value.trim().to_owned())
                .collect::<Vec<_>>()
        };
        [
            after("Recovery Key GUID:"),
            after("Dataset GUID:"),
            after("Encryption Type:"),
            after("Current state:"),
            after("No clear key found."),
        ]
    };
    let theirs = values(Command::new("dislocker-metadata"));
    assert_eq!(theirs[0].len(), 3);
    assert_eq!(values(links.program("dislocker-metadata")), theirs);
}

#[trial(needs(fuse))]
fn an_offset_is_that_of_the_volume_in_a_disk() {
    let links = Links::new();
    let entry = volume("ntfs-xts-128");
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk.img");
    let mut bytes = vec![0; 1 << 20];
    bytes.extend(fs::read(&entry.file).unwrap());
    fs::write(&disk, bytes).unwrap();
    let password = &entry.credential(Kind::Password).value;
    for (name, offset, file) in [
        ("dislocker", "-O", "dislocker-file"),
        ("bdemount", "-o", "bde1"),
    ] {
        let mounted = MountPoint::new();
        let mut command = links.program(name);
        command.args([offset, "1048576"]);
        match name {
            "dislocker" => command
                .arg(format!("-u{password}"))
                .arg("-V")
                .arg(&disk)
                .arg("--"),
            _ => command.args(["-p", password]).arg(&disk),
        };
        run(command.arg(mounted.path()));
        let plain = fs::File::open(mounted.path().join(file)).unwrap();
        assert_eq!(
            crate::common::sha256(plain).unwrap(),
            entry.plaintext_sha256
        );
    }
}

#[trial(needs(fuse, dislocker, ntfs_3g))]
fn what_is_written_is_in_the_volume() {
    let links = Links::new();
    let volume = Copied::of("ntfs-xts-128");
    let password = format!("-u{}", volume.entry.credential(Kind::Password).value);
    let mounted = MountPoint::new();
    let mut command = links.program("dislocker");
    command
        .arg("-V")
        .arg(volume.path())
        .arg(&password)
        .arg("--");
    run(command.arg(mounted.path()));
    let files = Mounted::ntfs_for_writing(&mounted.path().join("dislocker-file"));
    fs::write(files.path().join("new.txt"), "written").unwrap();
    run(Command::new("umount").arg(files.path()));
    // By the name of the file, as its manual page shows it.
    run(fve()
        .arg("unmount")
        .arg(mounted.path().join("dislocker-file")));
    let mut theirs = Command::new("dislocker");
    theirs
        .arg("-rV")
        .arg(volume.path())
        .arg(&password)
        .arg("--");
    run(theirs.arg(mounted.path()));
    let files = Mounted::ntfs(&mounted.path().join("dislocker-file"));
    let read = fs::read_to_string(files.path().join("new.txt"));
    assert_eq!(read.unwrap(), "written");
}

#[trial(needs(fuse, loop_devices, || programs(&["qemu-img"])))]
fn a_volume_that_cannot_be_written_to_is_mounted_read_only() {
    let links = Links::new();
    let device = LoopDevice::read_only(&volume("xts-128").file).expect("losetup");
    let part_converted = Copied::of("decryption-paused");
    let container = part_converted.beside("volume.qcow2");
    run(Command::new("qemu-img")
        .args(["convert", "-O", "qcow2"])
        .args([&volume("xts-128").file, &container]));
    for source in [device.path().to_owned(), part_converted.path(), container] {
        let mounted = MountPoint::new();
        let mut command = links.program("dislocker");
        let password = part_converted
            .entry
            .credential(Kind::Password)
            .value
            .clone();
        command
            .arg("-V")
            .arg(&source)
            .arg(format!("-u{password}"))
            .arg("--");
        let output = command.arg(mounted.path()).output().expect("start");
        assert_status(&output, 0);
        assert!(
            text(&output.stderr).contains("is mounted read-only"),
            "{}",
            text(&output.stderr)
        );
        let file = fs::OpenOptions::new()
            .write(true)
            .open(mounted.path().join("dislocker-file"));
        assert!(file.is_err());
    }
}

/// What is neither writable nor a volume is not said to be mounted.
#[trial(needs(fuse))]
fn nothing_is_said_to_be_mounted_that_is_not() {
    let links = Links::new();
    let volume = Copied::of("decryption-paused");
    let mounted = MountPoint::new();
    let mut command = links.program("dislocker");
    command.arg("-V").arg(volume.path()).args(["-uwrong", "--"]);
    let output = command.arg(mounted.path()).output().expect("start");
    assert_status(&output, 4);
    let said = text(&output.stderr);
    assert!(!said.contains("mounted read-only"), "{said}");
    assert!(said.contains("dislocker -h"), "{said}");
}

#[trial(needs(fuse))]
fn what_is_mounted_already_is_not_mounted_again_by_a_helper() {
    let links = Links::new();
    let entry = volume("xts-128");
    let mounted = MountPoint::new();
    let password = &entry.credential(Kind::Password).value;
    for _ in 0..2 {
        let mut helper = links.program("mount.fuse.dislocker");
        helper.arg(&entry.file).arg(mounted.path());
        run(helper.args(["-o", &format!("ro,user-password={password}")]));
    }
    assert!(mounted.unmount());
    assert!(mounted.files().is_empty());
}

#[trial(needs(fuse))]
fn a_quiet_mount_says_nothing() {
    let links = Links::new();
    let entry = volume("xts-128");
    let mounted = MountPoint::new();
    let mut child = links.program("dislocker");
    child
        .args(["-rq", "-f"])
        .arg(&entry.credential(Kind::StartupKey).value)
        .arg("-V")
        .arg(&entry.file)
        .args(["--", "-d"])
        .arg(mounted.path());
    let pipes = child.stdin(Stdio::null()).stderr(Stdio::piped());
    let child = pipes.spawn().expect("start");
    let start = std::time::Instant::now();
    while mounted.files().is_empty() {
        assert!(start.elapsed().as_secs() < 30, "not mounted");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(mounted.unmount());
    let output = child.wait_with_output().expect("end");
    assert_eq!(text(&output.stderr), "");
}

/// dislocker takes the bytes of a password for characters of Latin-1; we take those of UTF-8, too.
#[trial(needs(fuse, dislocker))]
fn a_password_beyond_ascii_can_be_in_latin_1() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let links = Links::new();
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let password = directory.path().join("password");
    fs::write(&password, "caf\u{e9}-password").unwrap();
    run(fve()
        .args(["create", "--size", "128M"])
        .arg(&image)
        .arg("--new-password-file")
        .arg(&password));
    let latin_1 = OsString::from_vec(b"-ucaf\xe9-password".to_vec());
    let mount = |mut command: Command, password: OsString| {
        let mounted = MountPoint::new();
        command.arg("-rV").arg(&image).arg(password).arg("--");
        let output = command.arg(mounted.path()).output().expect("start");
        output.status.success()
    };
    assert!(mount(Command::new("dislocker"), latin_1.clone()));
    assert!(mount(links.program("dislocker"), latin_1));
    assert!(mount(
        links.program("dislocker"),
        "-ucaf\u{e9}-password".into()
    ));
}

/// A file system that may write where BitLocker's own structures are is safe to read, and a script that only reads
/// works as it did.
#[trial(needs(fuse))]
fn a_file_system_that_does_not_know_the_reserved_places_is_mounted_read_only() {
    use std::os::unix::fs::FileExt;
    let links = Links::new();
    let volume = Copied::of("xts-128");
    let password = format!("-u{}", volume.entry.credential(Kind::Password).value);
    let mounted = MountPoint::new();
    let mount = || {
        let mut command = links.program("dislocker");
        command
            .arg("-V")
            .arg(volume.path())
            .args([&password, "--"])
            .arg(mounted.path());
        let output = command.output().expect("start");
        assert_status(&output, 0);
        text(&output.stderr)
    };
    let open = || {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(mounted.path().join("dislocker-file"))
    };
    mount();
    let shown = open().unwrap();
    shown.write_all_at(&[0; 0x1000], 0).unwrap();
    // The signature of ext4.
    shown.write_all_at(b"\x53\xEF", 0x438).unwrap();
    drop(shown);
    run(fve().arg("unmount").arg(mounted.path()));
    let said = mount();
    assert!(
        said.contains("is mounted read-only") && said.contains("--allow-unaware-file-system"),
        "{said}"
    );
    assert!(open().is_err());
    let file = fs::File::open(mounted.path().join("dislocker-file")).unwrap();
    let mut mark = [0; 2];
    file.read_exact_at(&mut mark, 0x438).unwrap();
    assert_eq!(mark, *b"\x53\xEF");
}

#[trial(needs(fuse, dislocker, libbde))]
fn file_names_may_have_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let links = Links::new();
    let volume = Copied::of("ntfs-xts-128");
    let odd = |name: &[u8]| volume.directory.path().join(OsStr::from_bytes(name));
    let image = odd(b"-im\xffage=a,b");
    fs::rename(volume.path(), &image).unwrap();
    let directory = odd(b"m\xfe nt");
    fs::create_dir(&directory).unwrap();
    let known = |kind| volume.entry.credential(kind).value.clone();
    let bek = odd(b"\xfd,key.bek");
    fs::copy(known(Kind::StartupKey), &bek).unwrap();
    let hash = |mut command: Command, file: &str| {
        run(command.current_dir(volume.directory.path()));
        let shown = fs::File::open(directory.join(file)).unwrap();
        let hash = crate::common::sha256(shown).unwrap();
        assert!(
            Command::new("umount")
                .arg(&directory)
                .status()
                .unwrap()
                .success()
        );
        hash
    };
    for mut command in [Command::new("dislocker"), links.program("dislocker")] {
        command.args(["-r", "-V"]).arg(&image).arg("-f").arg(&bek);
        command.arg("--").arg(&directory);
        assert_eq!(
            hash(command, "dislocker-file"),
            volume.entry.plaintext_sha256
        );
    }
    let password = known(Kind::Password);
    for mut command in [Command::new("bdemount"), links.program("bdemount")] {
        command.args(["-p", &password, "--"]);
        command.arg(image.file_name().unwrap()).arg(&directory);
        assert_eq!(hash(command, "bde1"), volume.entry.plaintext_sha256);
    }
    // dislocker-find of the tools fails on a name that is not UTF-8.
    let mut find = links.program("dislocker-find");
    let output = find.arg(&image).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        output.stdout,
        [image.as_os_str().as_bytes(), b"\n"].concat()
    );
}

/// A service manager ends a mount in the foreground with a signal.
#[trial(needs(fuse, dislocker))]
fn a_signal_ends_the_mount_in_the_foreground() {
    let links = Links::new();
    let entry = volume("ntfs-xts-128");
    let password = &entry.credential(Kind::Password).value;
    for name in ["dislocker", "bdemount"] {
        let ended = |mut command: Command| {
            let mounted = MountPoint::new();
            let file = entry.file.to_str().unwrap();
            let place = mounted.path().to_str().unwrap();
            let attached = format!("-u{password}");
            let words: &[&str] = match name {
                "dislocker" => &["-rV", file, &attached, "--", "-f", place],
                _ => &["-v", "-p", password, file, place],
            };
            let pipes = command
                .args(words)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut child = pipes.spawn().unwrap();
            let start = std::time::Instant::now();
            while mounted.files().is_empty() {
                assert!(start.elapsed().as_secs() < 30, "{name}: not mounted");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            send(Signal::TERM, child.id());
            let status = child.wait().unwrap();
            (status.success(), mounted.files())
        };
        let ours = ended(links.program(name));
        assert_eq!(ours, (true, Vec::new()), "{name}");
        // bdemount of libbde leaves a dead mount behind.
        if name == "dislocker" {
            assert_eq!(ended(Command::new(name)), ours, "{name}");
        }
    }
}
