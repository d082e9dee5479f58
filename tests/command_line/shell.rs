//! Runs commands as a user types them, in a directory with all kinds of files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::harness::directory;
use crate::common::testdata::{self, Kind};
use crate::common::trials::Missing;

/// Width at which the help is wrapped, in columns.
const COLUMNS: &str = "100";

/// Without a feature, options and commands are missing from the help.
pub fn all_features() -> Option<Missing> {
    let built = cfg!(all(
        feature = "containers",
        feature = "directory",
        feature = "event-logs",
        feature = "fuse",
        feature = "network-server",
        feature = "pkcs11",
        feature = "tpm"
    ));
    (!built).then(|| Missing::Optional("a feature of the command is left out".to_owned()))
}

/// Creates a directory with all files that the cases name.
pub fn place() -> PathBuf {
    let place = directory();
    let write = |name: &str, content: &[u8]| {
        fs::write(place.join(name), content).expect(name);
        // The command warns of secrets that others can read.
        let owner = fs::Permissions::from_mode(0o600);
        fs::set_permissions(place.join(name), owner).expect(name);
    };
    let sample = testdata::volume("xts-128");
    let volume = fs::read(&sample.file).expect("volume");
    write(
        "password",
        sample.credential(Kind::Password).value.as_bytes(),
    );
    write("wrong-password", b"not the password");
    let digits = &sample.credential(Kind::RecoveryPassword).value;
    write("digits", digits.as_bytes());
    write("mistyped-digits", digits.replacen('1', "7", 1).as_bytes());
    write("pattern", digits.replacen(&digits[..1], "?", 1).as_bytes());
    write("policy", b"[SUBNETS]\nOFFICE=10.0.0.0/24\n");
    write("key.BEK", &fs::read(sample.bek()).expect("key"));
    let other = testdata::volume("xts-256");
    write("other.BEK", &fs::read(other.bek()).expect("key"));
    write("volume.img", &volume);
    write("cut-off.img", &volume[..volume.len() / 2]);
    write("exists", b"something else\n");
    write("zeros.img", &[0; 1 << 20]);
    let mut ntfs = vec![0; 1 << 20];
    ntfs[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
    ntfs[510..512].copy_from_slice(b"\x55\xAA");
    write("ntfs.img", &ntfs);
    write("disk.img", &disk(&[&volume, &ntfs]));
    write("two-volumes.img", &disk(&[&volume, &volume]));
    let other = fs::read(&other.file).expect("volume");
    let third = fs::read(testdata::volume("two-recovery-passwords").file).expect("volume");
    write("different-volumes.img", &disk(&[&volume, &other, &third]));
    fs::create_dir(place.join("directory")).expect("directory");
    place
}

/// A disk with an MBR and partitions with this content.
fn disk(partitions: &[&[u8]]) -> Vec<u8> {
    const SECTOR: usize = 512;
    let mut disk = vec![0; 1 << 20];
    disk[510..512].copy_from_slice(b"\x55\xAA");
    for (number, content) in partitions.iter().enumerate() {
        let start = u32::try_from(disk.len() / SECTOR).expect("small");
        let count = u32::try_from(content.len() / SECTOR).expect("small");
        let row = &mut disk[446 + 16 * number..][..16];
        row[4] = 7;
        row[8..12].copy_from_slice(&start.to_le_bytes());
        row[12..].copy_from_slice(&count.to_le_bytes());
        disk.extend_from_slice(content);
    }
    disk
}

/// Runs a command line in a shell, without a terminal.
pub fn run(line: &str, place: &Path) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_fve"));
    let path = std::env::var("PATH").unwrap_or_default();
    let folder = program.parent().expect("folder").display();
    Command::new("sh")
        .args(["-c", line])
        .current_dir(place)
        .env("PATH", format!("{folder}:{path}"))
        .env("COLUMNS", COLUMNS)
        .env("LC_ALL", "C")
        .env("HOME", place)
        .env_remove("XDG_STATE_HOME")
        .stdin(Stdio::null())
        .output()
        .expect("sh")
}
