//! Programs of others that call bdemount as a subprocess: imagemounter and turbinia.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Copied, Links, MountPoint};
use crate::common::corpus;
use crate::common::mount::Mounted;
use crate::common::output::{assert_status, run, text};
use crate::common::testdata::{self, Entry, Kind};
use crate::common::trials::{self, Missing, Trial, fuse, programs, trial, trials};

/// The Python with these programs, which `.ci/run` installs.
fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/callers/bin/python")
}

fn imports(module: &str) -> Option<Missing> {
    let tried = Command::new(python())
        .args(["-c", &format!("import {module}")])
        .output();
    let works = tried.is_ok_and(|output| output.status.success());
    (!works).then(|| Missing::Tool(format!("{module} cannot be imported")))
}

fn imagemounter() -> Option<Missing> {
    imports("imagemounter.parser").or_else(|| programs(&["mount.ntfs", "fsstat", "file"]))
}

fn turbinia() -> Option<Missing> {
    imports("turbinia.processors.mount_local")
}

const IMAGEMOUNTER: &str = r#"
import os, sys
from imagemounter.parser import ImageParser
image, key = sys.argv[1:]
parser = ImageParser([image], disk_mounter="dummy", keys={"*": key}, fstypes={"?": "bde"})
try:
    for volume in parser.init(single=True, swallow_exceptions=False):
        for name in sorted(os.listdir(volume.mountpoint)):
            # It also shows the files of NTFS itself.
            if not name.startswith("$"):
                print(volume.fstype, name)
finally:
    parser.clean()
"#;

/// A volume of the corpus with files, and one of the frozen volumes, as trials.
fn trials_with(name: &str, missing: Option<Missing>, run: fn(Copied)) -> Vec<Trial> {
    let on = |volume: &str, missing: Option<Missing>, entry: Option<Entry>| {
        let name = format!("{name} {volume}");
        trial(name, missing, move || {
            run(Copied::from(entry.expect("volume")))
        })
    };
    const OF_CORPUS: &str = "made-ntfs-xts128";
    const FROZEN: &str = "ntfs-xts-128";
    let volumes = corpus::volumes().unwrap_or_default();
    let of_corpus = volumes.iter().find(|volume| volume.name == OF_CORPUS);
    vec![
        on(FROZEN, missing.clone(), Some(testdata::volume(FROZEN))),
        on(
            OF_CORPUS,
            trials::corpus().or(missing),
            of_corpus.map(corpus::Volume::entry),
        ),
    ]
}

/// The names of the files in the volume, as dislocker and ntfs-3g show them, in order.
fn names_of_files(volume: &Copied) -> Vec<String> {
    let mounted = MountPoint::new();
    let password = &volume.entry.credential(Kind::Password).value;
    let mut dislocker = Command::new("dislocker");
    dislocker.arg("-rV").arg(volume.path());
    run(dislocker
        .args([&format!("-u{password}"), "--"])
        .arg(mounted.path()));
    let files = Mounted::ntfs(&mounted.path().join("dislocker-file"));
    let entries = std::fs::read_dir(files.path()).expect("directory");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("entry").file_name())
        .map(|name| name.into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[trials]
fn imagemounter_shows_the_files() -> Vec<Trial> {
    let missing = fuse()
        .or_else(imagemounter)
        .or_else(|| programs(&["dislocker"]));
    trials_with("imagemounter", missing, |volume| {
        let names = names_of_files(&volume);
        assert!(names.len() > 1, "{names:?}");
        let links = Links::new();
        for credential in &volume.entry.credentials {
            let letter = match credential.kind {
                Kind::Password => 'p',
                Kind::RecoveryPassword => 'r',
                Kind::StartupKey => 's',
                Kind::ClearKey => continue,
            };
            let mut imagemounter = Command::new(python());
            imagemounter
                .args(["-c", IMAGEMOUNTER])
                .arg(volume.path())
                .arg(format!("{letter}:{}", credential.value));
            let output = imagemounter
                .env("PATH", links.search_path())
                .output()
                .expect("python");
            assert_status(&output, 0);
            let printed = text(&output.stdout);
            // That it is ours that ran, and not another one.
            assert!(printed.contains("bdemount (fve"), "{printed}");
            let files = printed
                .lines()
                .filter_map(|line| line.strip_prefix("ntfs "));
            assert_eq!(files.collect::<Vec<_>>(), names, "{printed}");
        }
    })
}

const TURBINIA: &str = r#"
import sys
from turbinia.processors.mount_local import PreprocessEncryptedVolume
image, offset, kind, value = sys.argv[1:]
print(PreprocessEncryptedVolume(image, partition_offset=int(offset), credentials=[("password", "wrong"), (kind, value)],
    encryption_type="BDE"))
"#;

#[trials]
fn turbinia_finds_the_decrypted_volume() -> Vec<Trial> {
    let missing = fuse().or_else(turbinia);
    trials_with("turbinia", missing, find_with_turbinia)
}

fn find_with_turbinia(volume: Copied) {
    let links = Links::new();
    let disk = volume.beside("disk.img");
    let mut bytes = vec![0; 65536];
    bytes.extend(std::fs::read(volume.path()).unwrap());
    std::fs::write(&disk, bytes).unwrap();
    // It calls sudo, which this machine need not have.
    let sudo = links.path().join("sudo");
    std::fs::write(&sudo, "#!/bin/sh\nexec \"$@\"\n").unwrap();
    run(Command::new("chmod").arg("+x").arg(&sudo));
    // The directory in which it makes its own mount point.
    let parent = MountPoint::new();
    let template = "import os, turbinia.config as c; print(os.path.join(os.path.dirname(c.__file__), 'turbinia_config_tmpl.py'))";
    let template = text(&run(Command::new(python()).args(["-c", template])));
    let config = std::fs::read_to_string(template.trim()).unwrap();
    let own = config
        .lines()
        .map(|line| match line.starts_with("MOUNT_DIR_PREFIX") {
            true => format!("MOUNT_DIR_PREFIX = '{}'\n", parent.path().display()),
            false => format!("{line}\n"),
        });
    std::fs::write(volume.beside(".turbiniarc"), own.collect::<String>()).unwrap();
    for kind in [Kind::Password, Kind::RecoveryPassword] {
        let word = if kind == Kind::Password {
            "password"
        } else {
            "recovery_password"
        };
        let mut turbinia = Command::new(python());
        turbinia
            .args(["-c", TURBINIA])
            .arg(&disk)
            .args(["65536", word]);
        turbinia.arg(&volume.entry.credential(kind).value);
        turbinia
            .env("PATH", links.search_path())
            .env("HOME", volume.beside(""));
        let output = turbinia.output().expect("python");
        assert_status(&output, 0);
        let printed = text(&output.stdout);
        let path = Path::new(printed.lines().last().expect("path"));
        assert!(path.ends_with("bde1"), "{printed}");
        let plain = std::fs::File::open(path).expect("file");
        let hash = crate::common::sha256(plain).expect("read");
        run(Command::new("umount").arg(path.parent().expect("directory")));
        assert_eq!(hash, volume.entry.plaintext_sha256);
    }
}
