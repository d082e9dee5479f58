//! Data volumes that are unlocked through the system volume. hivex writes the registry, mkntfs and
//! ntfs-3g the file system. No pair of volumes from Windows has been published.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fve::create::{NewProtector, NewVolume, Placement};
use fve::crypto::envelope;
use fve::crypto::sector::Method;
use fve::recovery_password::RecoveryPassword;
use fve::secret::{AutoUnlockKey, ExternalKey, SecretText};
use fve::unlock::Credential;
use fve::unlock::RecoveryPasswords;
use fve::unlock::auto_unlock::{AutoUnlock, SystemVolume};
use fve::volume::UnlockOptions;

use crate::common::output::json;
use crate::common::trials::{self, Missing, trial};
use crate::common::{self, corpus, fve, ntfs, testdata};
use crate::{assert_refused, volume};

fn hivex() -> Option<Missing> {
    trials::programs(&["hivexsh"])
}

fn missing_for_mounts() -> Option<Missing> {
    trials::programs(&["hivexsh", "mkntfs", "ntfscluster", "ntfs-3g"]).or_else(trials::fuse)
}

const PASSWORD: &str = "correct horse";
const AUTO_UNLOCK_KEY: [u8; 32] = [0xA7; 32];
const EXTERNAL_KEY: [u8; 32] = [0x42; 32];

/// A system volume, a data volume, and the hive with the key of the data volume.
struct Computer {
    directory: tempfile::TempDir,
    /// Identifier of the data volume's key protector, as text and as stored on disk.
    protector: (String, [u8; 16]),
}

impl Computer {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let path = |name: &str| directory.path().join(name);
        let startup_key =
            NewProtector::startup_key(ExternalKey::from_bytes(&EXTERNAL_KEY)).expect("key");
        let id = startup_key.id();
        volume::write(&path("data.img"), vec![startup_key]);
        std::fs::write(path("password"), PASSWORD).expect("password");
        let mut system = small();
        system
            .protect(NewProtector::password(&SecretText::new(PASSWORD.into())).expect("password"));
        system.auto_unlock_key(AutoUnlockKey::from_bytes(&AUTO_UNLOCK_KEY));
        write(&system, &path("system.img"));
        Self {
            protector: (format!("{id:X}"), id.to_disk()),
            directory,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The registry value that Windows stores for the data volume.
    fn value(&self, auto_unlock_key: &[u8; 32]) -> Vec<u8> {
        let key = [
            &[0x2C, 0, 0, 0, 1, 0, 0, 0, 2, 0x20, 0, 0][..],
            &EXTERNAL_KEY,
        ]
        .concat();
        let nonce = [7; 12];
        let (encrypted, tag) = envelope::seal(auto_unlock_key, &nonce, &key).expect("sealed");
        let sealed = [&[0x50, 0, 0, 0, 5, 0, 1, 0][..], &nonce, &tag, &encrypted].concat();
        let head = [0x70, 0, 0, 0, 9, 0, 0, 0];
        [
            &head[..],
            &self.protector.1,
            &[0xE0, 0xC6, 0xB3, 0x8E, 0x20, 0x31, 0xD7, 1],
            &sealed,
        ]
        .concat()
    }

    /// A hive with this value, whose current control set has this number.
    fn hive(&self, name: &str, current: u32, value: Option<&[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, blank_hive()).expect("hive");
        let mut script =
            format!("add Select\ncd Select\nsetval 1\nCurrent\ndword:{current:#x}\ncd ..\n");
        for number in 1..=2 {
            script += &format!(
                "add ControlSet{number:03}\ncd ControlSet{number:03}\nadd Control\ncd Control\n"
            );
            // More subkeys, so that the list of keys has several entries.
            for other in ["Arbiters", "Class", "Lsa", "Windows"] {
                script += &format!("add {other}\n");
            }
            if let Some(value) = value.filter(|_| number == current) {
                let hex: Vec<_> = value.iter().map(|byte| format!("{byte:02x}")).collect();
                script += &format!(
                    "add FVEAutoUnlock\ncd FVEAutoUnlock\nadd {{3F2504E0-4F89-11D3-9A0C-0305E82C3301}}\ncd {{3F2504E0-4F89-11D3-9A0C-0305E82C3301}}\nsetval 1\nData\nhex:3:{}\ncd \\ControlSet{number:03}\\Control\n",
                    hex.join(",")
                );
            }
            script += "cd \\\n";
        }
        script += "commit\nquit\n";
        let mut child = Command::new("hivexsh")
            .arg("-w")
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("hivexsh");
        child
            .stdin
            .take()
            .expect("input")
            .write_all(script.as_bytes())
            .expect("script");
        let output = child.wait_with_output().expect("hivexsh");
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success() && !String::from_utf8_lossy(&said).contains("rror"),
            "{}",
            String::from_utf8_lossy(&said)
        );
        path
    }

    fn unlock(&self, system: &Path, more: &[&std::ffi::OsStr]) -> Output {
        fve()
            .args(["unlock", "--json"])
            .arg(self.path("data.img"))
            .arg("--auto-unlock-from")
            .arg(system)
            .arg("--password-file")
            .arg(self.path("password"))
            .args(more)
            .stdin(Stdio::null())
            .output()
            .expect("fve")
    }

    #[track_caller]
    fn assert_opened(&self, output: &Output) {
        let answer = json(output);
        assert_eq!(answer["unlocked"], true, "{answer}");
        assert_eq!(answer["credential"], "auto-unlock key");
        assert_eq!(answer["protector"]["id"], self.protector.0);
    }
}

fn small() -> NewVolume {
    let placement = Placement::after_first_copy([0x1_0000, 0x3_8000, 0x6_0000]);
    NewVolume::new(Method::AES_XTS_128, 512, placement).expect("volume")
}

fn write(volume: &NewVolume, path: &Path) {
    let mut plaintext = vec![0; 0x8_0000];
    plaintext[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
    volume
        .write(&plaintext, &std::fs::File::create(path).expect("image"))
        .expect("volume");
}

/// A hive that contains only its root key, since hivex cannot create a hive.
fn blank_hive() -> Vec<u8> {
    let mut hive = vec![0; 0x2000];
    let mut put = |at: usize, bytes: &[u8]| hive[at..at + bytes.len()].copy_from_slice(bytes);
    let number = |number: i32| number.to_le_bytes();
    put(0, b"regf\x01\0\0\0\x01\0\0\0");
    for (at, value) in [
        (0x14, 1),
        (0x18, 3),
        (0x20, 1),
        (0x24, 0x20),
        (0x28, 0x1000),
        (0x2C, 1),
    ] {
        put(at, &number(value));
    }
    put(0x1000, b"hbin\0\0\0\0\0\x10\0\0");
    // The root key, a security descriptor, and a free cell for the rest.
    let (root, security, free) = (0x1020, 0x1078, 0x10A8);
    put(root, &number(-0x58));
    put(root + 4, b"nk\x2C\0");
    for at in [0x10, 0x1C, 0x20, 0x28, 0x30] {
        put(root + 4 + at, &number(-1));
    }
    put(root + 4 + 0x2C, &number(0x78));
    put(root + 4 + 0x48, b"\x04\0\0\0root");
    put(security, &number(-0x30));
    put(security + 4, b"sk\0\0");
    for (at, value) in [(4, 0x78), (8, 0x78), (12, 1), (16, 20)] {
        put(security + 4 + at, &number(value));
    }
    put(security + 4 + 20, b"\x01\0\0\x80");
    put(free, &number(0x2000 - 0x10A8));
    let sum = (0..0x1FC).step_by(4).fold(0, |sum, at| {
        sum ^ u32::from_le_bytes(hive[at..at + 4].try_into().expect("four"))
    });
    hive[0x1FC..0x200].copy_from_slice(&sum.to_le_bytes());
    hive
}

#[trial(
    "a separate hive and the metadata of the system volume unlock a data volume",
    needs(hivex)
)]
fn unlocks_a_data_volume_with_a_separate_hive() {
    let computer = Computer::new();
    let value = computer.value(&AUTO_UNLOCK_KEY);
    for current in [1, 2] {
        let hive = computer.hive(&format!("hive-{current}"), current, Some(&value));
        let option = ["--auto-unlock-hive".as_ref(), hive.as_os_str()];
        computer.assert_opened(&computer.unlock(&computer.path("system.img"), &option));
        // --protector names a key protector of the data volume, not of the system volume.
        let only = ["--protector".as_ref(), computer.protector.0[..8].as_ref()];
        let options = [&option[..], &only].concat();
        computer.assert_opened(&computer.unlock(&computer.path("system.img"), &options));
    }
    // The system volume as a partition of a disk.
    let disk = [
        vec![0; 0x10_0000],
        std::fs::read(computer.path("system.img")).expect("volume"),
    ]
    .concat();
    std::fs::write(computer.path("disk.img"), disk).expect("disk");
    let hive = computer.path("hive-1");
    let options = [
        "--auto-unlock-hive".as_ref(),
        hive.as_os_str(),
        "--auto-unlock-offset".as_ref(),
        "0x100000".as_ref(),
    ];
    computer.assert_opened(&computer.unlock(&computer.path("disk.img"), &options));
}

#[trial("hives, volumes and values that do not fit are refused", needs(hivex))]
fn refuses_hives_volumes_and_values_that_do_not_fit() {
    let computer = Computer::new();
    let system = computer.path("system.img");
    let refused = |hive: &Path, reason| {
        let option = ["--auto-unlock-hive".as_ref(), hive.as_os_str()];
        assert_refused(&computer.unlock(&system, &option), 4, reason);
    };
    refused(&computer.hive("none", 1, None), "not-auto-unlocked");
    let other = computer.value(&[1; 32]);
    refused(&computer.hive("other", 1, Some(&other)), "wrong-key");
    let mut foreign = computer.value(&AUTO_UNLOCK_KEY);
    foreign[8] ^= 1;
    refused(
        &computer.hive("foreign", 1, Some(&foreign)),
        "not-auto-unlocked",
    );
    // A system volume without keys, and a file that is not a hive.
    let hive = computer.path("none");
    let option = ["--auto-unlock-hive".as_ref(), hive.as_os_str()];
    let mut plain = small();
    plain.protect(NewProtector::password(&SecretText::new(PASSWORD.into())).expect("password"));
    write(&plain, &computer.path("plain.img"));
    let output = computer.unlock(&computer.path("plain.img"), &option);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        json(&output)["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("has no auto-unlock key for other volumes"))
    );
    let password = computer.path("password");
    let option = ["--auto-unlock-hive".as_ref(), password.as_os_str()];
    assert_eq!(computer.unlock(&system, &option).status.code(), Some(4));
    // The other credentials are for the system volume only.
    std::fs::write(&password, "wrong horse").expect("password");
    let option = ["--auto-unlock-hive".as_ref(), hive.as_os_str()];
    assert_refused(&computer.unlock(&system, &option), 4, "wrong-key");
    // Values that are not numbers.
    let option = ["--auto-unlock-partition".as_ref(), "one".as_ref()];
    assert_eq!(computer.unlock(&system, &option).status.code(), Some(2));
}

#[trial(
    "a damaged hive is refused without a panic or an endless loop",
    needs(hivex)
)]
fn refuses_a_damaged_hive() {
    let computer = Computer::new();
    let value = computer.value(&AUTO_UNLOCK_KEY);
    let whole = std::fs::read(computer.hive("hive", 1, Some(&value))).expect("hive");
    let read = |hive: Vec<u8>| {
        AutoUnlock::new(&SystemVolume {
            key: AutoUnlockKey::from_bytes(&AUTO_UNLOCK_KEY),
            hive,
        })
    };
    assert!(read(whole.clone()).is_ok());
    for at in (0..whole.len()).filter(|at| *at < 0x200 || *at >= 0x1000) {
        for flip in [0x01, 0xFF] {
            let mut flipped = whole.clone();
            flipped[at] ^= flip;
            let _ = read(flipped);
        }
    }
    for len in (0..whole.len()).step_by(13) {
        let _ = read(whole[..len].to_vec());
    }
    assert!(read(Vec::new()).is_err());
}

/// A system volume whose file system contains the hive.
fn system_volume(computer: &Computer, hive: &Path) -> ntfs::NtfsVolume {
    let directory = computer.path("system");
    std::fs::create_dir(&directory).expect("directory");
    ntfs::make_with(
        &directory,
        "aes-xts-128",
        512,
        24 << 20,
        |root| {
            let config = root.join("Windows/System32/config");
            std::fs::create_dir_all(&config).expect("directories");
            // More files, so that the index of the directory has several records.
            for number in 0..40 {
                let name =
                    format!("a neighbour with a long name that fills the index, number {number}");
                std::fs::write(config.join(name), "content").expect("neighbour");
            }
            std::fs::copy(hive, config.join("SYSTEM")).expect("hive");
        },
        |volume| {
            volume.auto_unlock_key(AutoUnlockKey::from_bytes(&AUTO_UNLOCK_KEY));
        },
    )
}

#[trial(
    "the hive is read from the NTFS file system of the system volume",
    needs(missing_for_mounts)
)]
fn unlocks_a_data_volume_with_the_hive_on_the_system_volume() {
    let computer = Computer::new();
    let value = computer.value(&AUTO_UNLOCK_KEY);
    let hive = computer.hive("hive", 1, Some(&value));
    let system = system_volume(&computer, &hive);
    computer.assert_opened(&computer.unlock(&system.path, &[]));
    // The decrypted plaintext is that of the data volume.
    let out = computer.path("plaintext");
    common::ntfs::run(
        fve()
            .arg("decrypt")
            .arg(computer.path("data.img"))
            .arg(&out)
            .arg("--auto-unlock-from")
            .arg(&system.path)
            .arg("--password-file")
            .arg(computer.path("password")),
    );
    let plaintext = std::fs::read(out).expect("plaintext");
    assert_eq!(&plaintext[3..11], b"NTFS    ");
    // A system volume without Windows.
    let output = computer.unlock(&computer.path("system.img"), &[]);
    assert_eq!(
        output.status.code(),
        Some(5),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[trial(
    "a damaged NTFS is refused without a panic or an endless loop",
    needs(missing_for_mounts)
)]
fn refuses_a_damaged_file_system() {
    let computer = Computer::new();
    let value = computer.value(&AUTO_UNLOCK_KEY);
    let hive = computer.hive("hive", 1, Some(&value));
    let system = system_volume(&computer, &hive);
    let whole = system.plaintext();
    // Each changed byte is laid over the image, which is too large to copy every time.
    let disk = std::sync::Arc::new(whole);
    let read = |at: usize, flip: u8| {
        let overlay = Flipped {
            disk: disk.clone(),
            at: at as u64,
            flip,
        };
        let files = fve::files::open(std::sync::Arc::new(overlay)).map_err(|e| e.to_string())?;
        let path = fve::files::FilePath::parse(&fve::unlock::auto_unlock::HIVE_PATH.join("/"));
        files.read(&path, 1 << 20).map_err(|e| e.to_string())
    };
    let written = std::fs::read(&hive).expect("hive");
    assert_eq!(read(0, 0).expect("hive"), written);
    // The boot sector, and the beginning of the master file table.
    let table = u64::from_le_bytes(disk[0x30..0x38].try_into().expect("eight")) as usize * 4096;
    for at in (0..0x54).chain((table..table + 0x1_8000).step_by(97)) {
        let _ = read(at, 0x41);
    }
}

/// A disk with one byte changed.
struct Flipped {
    disk: std::sync::Arc<Vec<u8>>,
    at: u64,
    flip: u8,
}

impl fve::ReadAt for Flipped {
    fn size(&self) -> u64 {
        self.disk.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.disk.read_exact_at(offset, buf)?;
        let place = self.at.checked_sub(offset).map(|place| place as usize);
        if let Some(byte) = place.and_then(|place| buf.get_mut(place)) {
            *byte ^= self.flip;
        }
        Ok(())
    }
}

#[trial(
    "the auto-unlock keys of system volumes of Vista and Windows 7 are read",
    needs(trials::corpus)
)]
fn reads_the_auto_unlock_keys_of_windows_volumes() {
    let volumes = corpus::volumes().expect("corpus");
    let mut found = 0;
    for sample in volumes
        .iter()
        .filter(|one| ["vista.bin.gz", "win7_partial.bin.gz"].contains(&one.file.as_str()))
    {
        let digits = sample
            .credentials
            .iter()
            .find(|one| one.kind == "recovery-password")
            .expect("digits");
        let password = RecoveryPassword::parse(&digits.value).expect("digits");
        let credential: [Box<dyn Credential>; 1] = [Box::new(RecoveryPasswords::new(&password))];
        let volume = testdata::open(&sample.path);
        let key = volume
            .unlock_master_key(&credential, &UnlockOptions::default())
            .expect("unlocked");
        let key = volume.auto_unlock_key(&key).expect("auto-unlock key");
        assert!(key.expose().iter().any(|byte| *byte != 0));
        found += 1;
    }
    assert_eq!(found, 2);
}
