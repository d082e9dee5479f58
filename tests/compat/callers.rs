//! Programs of others that call bdemount as a subprocess: imagemounter and turbinia.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Copied, Links, MountPoint};
use crate::common::output::{assert_status, run, text};
use crate::common::testdata::Kind;
use crate::common::trials::{Missing, fuse, programs, trial};

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
        print(volume.fstype, *sorted(os.listdir(volume.mountpoint)))
finally:
    parser.clean()
"#;

#[trial(needs(fuse, imagemounter))]
fn imagemounter_shows_the_files() {
    let links = Links::new();
    let volume = Copied::of("ntfs-xts-128");
    let known = |kind| volume.entry.credential(kind).value.clone();
    for key in [
        format!("p:{}", known(Kind::Password)),
        format!("r:{}", known(Kind::RecoveryPassword)),
        format!("s:{}", known(Kind::StartupKey)),
    ] {
        let mut imagemounter = Command::new(python());
        imagemounter
            .args(["-c", IMAGEMOUNTER])
            .arg(volume.path())
            .arg(&key);
        let output = imagemounter
            .env("PATH", links.search_path())
            .output()
            .expect("python");
        assert_status(&output, 0);
        let printed = text(&output.stdout);
        // That it is ours that ran, and not another one.
        assert!(printed.contains("bdemount (fve"), "{printed}");
        assert!(
            printed.contains("ntfs ") && printed.contains("hello.txt"),
            "{printed}"
        );
    }
}

const TURBINIA: &str = r#"
import sys
from turbinia.processors.mount_local import PreprocessEncryptedVolume
image, offset, kind, value = sys.argv[1:]
print(PreprocessEncryptedVolume(image, partition_offset=int(offset), credentials=[("password", "wrong"), (kind, value)],
    encryption_type="BDE"))
"#;

#[trial(needs(fuse, turbinia))]
fn turbinia_finds_the_decrypted_volume() {
    let links = Links::new();
    let volume = Copied::of("ntfs-xts-128");
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
