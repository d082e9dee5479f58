//! NTFS volumes with the layout of Windows: the metadata is in hidden files, so that no file system
//! driver writes there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use fve::create::{NewProtector, NewVolume, Placement, StartupKeyForm};
use fve::crypto::sector::Method;
use fve::secret::{ExternalKey, SecretText};
use fve::volume::UnlockOptions;

use super::mount::Mounted;
pub use super::output::run;
use super::testdata::{self, Entry, Kind, KnownCredential};
use super::writing::plaintext_of;

const PASSWORD: &str = "correct horse";
const CLUSTER: u64 = 4096;
/// Names and sizes of the files for the three metadata copies, the moved boot sectors and the spare
/// area.
const PLACEHOLDERS: [(&str, u64); 5] = [
    ("FVE2.1", 0x1_0000),
    ("FVE2.moved", 0x2000),
    ("FVE2.spare", 0x1_0000),
    ("FVE2.2", 0x1_0000),
    ("FVE2.3", 0x1_0000),
];

/// A volume with a password and a startup key.
pub struct NtfsVolume {
    pub path: PathBuf,
    pub startup_key: PathBuf,
    /// The volume in the form that [`super::peers`] expects.
    pub entry: Entry,
}

impl NtfsVolume {
    /// The plaintext, as fve reads it.
    pub fn plaintext(&self) -> Vec<u8> {
        let key = self.entry.credential(Kind::StartupKey).protector();
        let unlocked = testdata::open(&self.path).unlock(&[key], &UnlockOptions::default());
        plaintext_of(&unlocked.unwrap())
    }
}

/// Creates an NTFS file system of `size` bytes, with clusters of 4096 bytes, in a new file.
pub fn format(image: &Path, sector_size: u32, size: u64) {
    File::create(image).unwrap().set_len(size).unwrap();
    run(Command::new("mkntfs")
        .args(["--force", "--quick", "--quiet"])
        .args(["-p", "0", "-H", "255", "-S", "63", "-c", "4096"])
        .args(["-s", &sector_size.to_string()])
        .arg(image));
}

/// Creates a volume of `size` bytes in `directory` with the tools of ntfs-3g.
pub fn make(directory: &Path, method: &str, sector_size: u32, size: u64) -> NtfsVolume {
    make_with(directory, method, sector_size, size, |_| (), |_| ())
}

/// Like [`make`]; `files` writes files to the mounted file system, and `finish` changes the volume
/// before it is written.
pub fn make_with(
    directory: &Path,
    method: &str,
    sector_size: u32,
    size: u64,
    files: impl FnOnce(&Path),
    finish: impl FnOnce(&mut NewVolume),
) -> NtfsVolume {
    let image = directory.join("ntfs.img");
    format(&image, sector_size, size);
    {
        let mounted = Mounted::ntfs_for_writing(&image);
        for (name, len) in PLACEHOLDERS {
            fs::write(mounted.path().join(name), vec![0; len as usize]).unwrap();
        }
        files(mounted.path());
    }
    let [first, moved, spare, second, third] =
        PLACEHOLDERS.map(|(name, len)| offset_of(&image, name, len));
    let placement = Placement {
        copies: [first, second, third],
        moved,
        spare,
    };
    let method: &'static Method = method.parse().unwrap();
    let mut volume = NewVolume::new(method, sector_size, placement).unwrap();
    // bdeinfo fails without a description.
    volume
        .describe("COMPUTER C: 1/2/2026")
        .protect(NewProtector::password(&SecretText::new(PASSWORD.into())).unwrap())
        .protect(NewProtector::startup_key(ExternalKey::from_bytes(&[9; 32])).unwrap());
    finish(&mut volume);
    let keys = volume.startup_keys(StartupKeyForm::Short).unwrap();
    let startup_key = directory.join(&keys[0].name);
    fs::write(&startup_key, keys[0].content.expose()).unwrap();
    let path = directory.join("volume.img");
    let plaintext = fs::read(&image).unwrap();
    volume
        .write(&plaintext, &File::create(&path).unwrap())
        .unwrap();
    let credential = |kind, value: &str| KnownCredential {
        kind,
        value: value.to_owned(),
        protector: String::new(),
    };
    let entry = Entry {
        name: "ntfs".to_owned(),
        file: path.clone(),
        volume_id: volume.id().to_string(),
        method: method.word.to_owned(),
        sector_size,
        size,
        state: (4, 4),
        encrypt_on_write: false,
        file_system: "ntfs".to_owned(),
        credentials: vec![
            credential(Kind::Password, PASSWORD),
            credential(Kind::StartupKey, startup_key.to_str().unwrap()),
        ],
        plaintext_sha256: String::new(),
        files: Vec::new(),
    };
    NtfsVolume {
        path,
        startup_key,
        entry,
    }
}

/// The offset in bytes of a file that must have a single run of clusters. ntfscluster prints runs
/// as cluster in the file, cluster on the volume, and count.
fn offset_of(image: &Path, name: &str, len: u64) -> u64 {
    let mut ntfscluster = Command::new("ntfscluster");
    ntfscluster.args(["-F", &format!("/{name}")]).arg(image);
    let text = String::from_utf8(run(&mut ntfscluster)).unwrap();
    let runs: Vec<Vec<u64>> = text
        .lines()
        .map(|line| line.split_whitespace().filter_map(|word| word.parse().ok()))
        .map(Iterator::collect)
        .filter(|numbers: &Vec<u64>| numbers.len() == 3)
        .collect();
    let [run] = runs.as_slice() else {
        panic!("{name} has several runs of clusters: {text}");
    };
    assert_eq!(run[2] * CLUSTER, len, "{text}");
    run[1] * CLUSTER
}
