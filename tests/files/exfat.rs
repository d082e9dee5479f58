//! exFAT: every file as exfat-fuse wrote it, and as The Sleuth Kit reads it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use fve::files::FilePath;
use libtest_mimic::Failed;

use crate::common::loop_device::LoopDevice;
use crate::common::output::run;
use crate::common::trials::{Missing, Trial, loop_devices, programs, trial, trials};
use crate::fat::{equals, tree};
use crate::images::tree::{Listing, Shown, noise};
use crate::oracles::{self, sleuth_kit};

/// Name, options of mkfs.exfat, size, and number of files in one directory.
type Variant = (&'static str, &'static [&'static str], u64, usize);

const VARIANTS: [Variant; 2] = [
    (
        "exFAT with clusters of 4 KiB",
        &["-c", "4K", "-b", "64K"],
        48 << 20,
        5000,
    ),
    (
        "exFAT with clusters of 512 bytes",
        &["-c", "512", "-b", "64K"],
        16 << 20,
        300,
    ),
];

fn makers() -> Option<Missing> {
    let fuse = crate::common::trials::fuse();
    fuse.or_else(loop_devices)
        .or_else(|| programs(&["mkfs.exfat", "mount.exfat-fuse", "umount"]))
}

struct Image {
    directory: tempfile::TempDir,
    expected: Listing,
    free: u64,
}

impl Image {
    fn new((_, options, size, many): Variant) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        File::create(&path).unwrap().set_len(size).unwrap();
        let mut mkfs = Command::new("mkfs.exfat");
        run(mkfs.args(options).args(["-L", "A label"]).arg(&path));
        // The server takes block devices only.
        let device = LoopDevice::writable(&path).unwrap();
        let mount = tempfile::tempdir().unwrap();
        let mut server = Command::new("mount.exfat-fuse");
        run(server.arg(device.path()).arg(mount.path()));
        let expected = fill(mount.path(), many);
        let stat = rustix::fs::statvfs(mount.path()).unwrap();
        // On a block device, umount waits until everything is written.
        run(Command::new("umount").arg(mount.path()));
        device.detach().unwrap();
        Self {
            directory,
            expected,
            free: stat.f_bfree * stat.f_frsize,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("image")
    }
}

fn fill(root: &Path, many: usize) -> Listing {
    let mut expected = tree(root, many);
    let emoji = "emoji 😀.txt";
    fs::write(root.join(emoji), emoji).unwrap();
    expected.insert(emoji.to_owned(), Shown::content(emoji.as_bytes()));
    let content = noise(99, 40_000);
    let piece = |number: usize| format!("piece{number}");
    for number in 0..20 {
        fs::write(root.join(piece(number)), &content).unwrap();
    }
    for number in 0..20 {
        if number % 2 == 0 {
            fs::remove_file(root.join(piece(number))).unwrap();
        } else {
            expected.insert(piece(number), Shown::content(&content));
        }
    }
    // Two files that grow in turns, so that their clusters do not follow one another.
    let mut turns = [Vec::new(), Vec::new()];
    for step in 0..40u64 {
        for (which, whole) in turns.iter_mut().enumerate() {
            let more = noise(step * 2 + which as u64, 9000);
            let path = root.join(format!("turn {which}"));
            let mut file = File::options()
                .append(true)
                .create(true)
                .open(path)
                .unwrap();
            std::io::Write::write_all(&mut file, &more).unwrap();
            whole.extend_from_slice(&more);
        }
    }
    for (which, whole) in turns.iter().enumerate() {
        expected.insert(format!("turn {which}"), Shown::content(whole));
    }
    // A file that was made longer without writing.
    let mut longer = noise(7, 5000);
    fs::write(root.join("longer"), &longer).unwrap();
    longer.resize(50_000, 0);
    let file = File::options()
        .write(true)
        .open(root.join("longer"))
        .unwrap();
    file.set_len(50_000).unwrap();
    expected.insert("longer".to_owned(), Shown::content(&longer));
    expected
}

#[trials]
fn files_of_exfat_are_read_as_they_were_written() -> Vec<Trial> {
    VARIANTS
        .map(|variant| {
            let name = format!("{}: all files are read as exfat-fuse wrote them", variant.0);
            trial(name, makers(), move || {
                let image = Image::new(variant);
                let files = oracles::open(&image.path());
                equals(&image.expected, &oracles::library(&files))?;
                let properties = files.properties();
                assert_eq!(properties.label.as_deref(), Some("A label"));
                assert!(properties.conditions.is_empty());
                assert_eq!(files.free().unwrap(), image.free);
                for (asked, name) in [
                    ("MIXED case.TEXT", "/Mixed Case.Text"),
                    ("РУССКИЙ ФАЙЛ.DOC", "/Русский файл.doc"),
                    ("GRÜßE – ß.TXT", "/Grüße – ß.txt"),
                ] {
                    let found = files.find(&FilePath::parse(asked)).unwrap();
                    assert_eq!(found.path.to_string(), name);
                }
                Ok::<(), Failed>(())
            })
        })
        .into()
}

#[trials]
fn the_sleuth_kit_reads_the_same_from_exfat() -> Vec<Trial> {
    VARIANTS
        .map(|variant| {
            let name = format!("{}: The Sleuth Kit reads the same", variant.0);
            trial(name, makers().or_else(sleuth_kit), move || {
                let image = Image::new(variant);
                // One process for each file: not for all of the many.
                let wanted = |path: &str| {
                    !path.starts_with("many/")
                        && !path.starts_with('$')
                        && !path.contains("(Volume")
                };
                let found = oracles::sleuth_kit_finds(&image.path(), "exfat", wanted);
                let mut ours = oracles::library(&oracles::open(&image.path()));
                ours.retain(|path, _| wanted(path));
                equals(&found, &ours)
            })
        })
        .into()
}
