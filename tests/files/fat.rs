//! FAT12, FAT16 and FAT32: every file as mtools wrote it, and as 7-Zip, The Sleuth Kit and dissect.fat read
//! it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use fve::files::{Attributes, FilePath};
use libtest_mimic::Failed;
use serde_json::Value;

use crate::common::output::run;
use crate::common::trials::{Missing, Trial, programs, trial, trials};
use crate::images::tree::{Listing, Shown, noise};
use crate::oracles::{self, differences, dissect, python, seven_zip, sleuth_kit};

/// Name, options of mkfs.vfat, size, and the name of the kind for fls.
type Variant = (&'static str, &'static [&'static str], u64, &'static str);

/// Number of files in one directory: mcopy takes long for many.
const FEW: usize = 50;

const VARIANTS: [Variant; 5] = [
    ("FAT12", &["-F", "12", "-s", "1"], 1900 << 10, "fat12"),
    ("FAT16", &["-F", "16", "-s", "1"], 8 << 20, "fat16"),
    ("FAT32", &["-F", "32", "-s", "2"], 72 << 20, "fat32"),
    (
        "FAT32 with clusters of 4 KiB",
        &["-F", "32", "-s", "8"],
        280 << 20,
        "fat32",
    ),
    (
        "FAT16 with sectors of 4096 bytes",
        &["-F", "16", "-S", "4096", "-s", "1"],
        32 << 20,
        "fat16",
    ),
];

fn makers() -> Option<Missing> {
    programs(&["mkfs.vfat", "mcopy", "mdel", "mattrib", "mlabel"])
}

/// Files to copy into a file system, and what must be found there.
pub fn tree(root: &Path, many: usize) -> Listing {
    let mut expected = Listing::new();
    let mut add = |path: &str, content: &[u8]| {
        let place = root.join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, content).unwrap();
        for (at, _) in path.match_indices('/') {
            expected.insert(path[..at].to_owned(), Shown::Directory);
        }
        expected.insert(path.to_owned(), Shown::content(content));
    };
    let names = [
        "readme.txt",
        "UPPER.TXT",
        "Mixed Case.Text",
        "no extension",
        "Grüße – ß.txt",
        "Русский файл.doc",
        "日本語のファイル.txt",
        "dots.in.the.name.tar.gz",
        "UPPER.low",
        "low.UPP",
        "sub/deeper/leaf.bin",
    ];
    for (seed, name) in names.into_iter().enumerate() {
        add(name, &noise(seed as u64, seed * 700));
    }
    add(&"n".repeat(250), &noise(50, 20_000));
    add("empty.dat", b"");
    for number in 0..many {
        let name = format!("many/file number {number}.txt");
        add(&name, name.as_bytes());
    }
    expected
}

struct Image {
    directory: tempfile::TempDir,
    expected: Listing,
}

impl Image {
    fn new((_, options, size, _): Variant) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        File::create(&path).unwrap().set_len(size).unwrap();
        run(Command::new("mkfs.vfat").args(options).arg(&path));
        let source = tempfile::tempdir().unwrap();
        let mut expected = tree(source.path(), FEW);
        let image = Self {
            directory,
            expected: Listing::new(),
        };
        let mut mcopy = image.mtools("mcopy");
        mcopy.arg("-s");
        for entry in fs::read_dir(source.path()).unwrap() {
            mcopy.arg(entry.unwrap().path());
        }
        run(mcopy.arg("::"));
        // A file in pieces: between those that stay, every other one is deleted.
        let pieces = tempfile::tempdir().unwrap();
        let piece = |number: usize| pieces.path().join(format!("piece{number}"));
        let content = noise(99, 40_000);
        let mut mcopy = image.mtools("mcopy");
        for number in 0..20 {
            fs::write(piece(number), &content).unwrap();
            mcopy.arg(piece(number));
        }
        run(mcopy.arg("::"));
        let mut mdel = image.mtools("mdel");
        for number in 0..20 {
            let name = format!("piece{number}");
            if number % 2 == 0 {
                mdel.arg(format!("::{name}"));
            } else {
                expected.insert(name, Shown::content(&content));
            }
        }
        run(&mut mdel);
        let fragmented = noise(100, 300_000);
        fs::write(piece(100), &fragmented).unwrap();
        let mut mcopy = image.mtools("mcopy");
        run(mcopy.arg(piece(100)).arg("::in pieces"));
        expected.insert("in pieces".to_owned(), Shown::content(&fragmented));
        run(image.mtools("mattrib").args(["+r", "+h", "::readme.txt"]));
        run(image.mtools("mlabel").arg("::A LABEL"));
        Self { expected, ..image }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn mtools(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // mtools converts names from the character set of the locale.
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.arg("-i").arg(self.path());
        command
    }
}

pub fn equals(expected: &Listing, found: &Listing) -> Result<(), Failed> {
    let different = differences(expected, found);
    let lines: Vec<String> = different
        .iter()
        .take(20)
        .map(|(path, expected, found)| format!("{path:?}: {found:?} instead of {expected:?}"))
        .collect();
    match different.len() {
        0 => Ok(()),
        count => Err(format!("{count} files differ:\n{}", lines.join("\n")).into()),
    }
}

#[trials]
fn files_of_fat_are_read_as_they_were_written() -> Vec<Trial> {
    VARIANTS
        .map(|variant| {
            let name = format!("{}: all files are read as mtools wrote them", variant.0);
            trial(name, makers(), move || {
                let image = Image::new(variant);
                let files = oracles::open(&image.path());
                equals(&image.expected, &oracles::library(&files))?;
                let properties = files.properties();
                assert_eq!(properties.label.as_deref(), Some("A LABEL"));
                assert!(properties.conditions.is_empty());
                // By the short name, and without regard to case.
                let find = |path: &str| files.find(&FilePath::parse(path)).unwrap();
                let found = find("MIXEDC~1.TEX");
                assert_eq!(found.path.to_string(), "/Mixed Case.Text");
                let found = find("GRÜSSE – ß.TXT".replace("SS", "ß").as_str());
                assert_eq!(found.path.to_string(), "/Grüße – ß.txt");
                let stat = files.stat(find("Readme.TXT").id).unwrap();
                assert!(stat.attributes.contains(Attributes::READ_ONLY));
                assert!(stat.attributes.contains(Attributes::HIDDEN));
                assert_eq!(files.free().unwrap(), free_of_mdir(&image));
                Ok::<(), Failed>(())
            })
        })
        .into()
}

#[trial("FAT without its tables is damaged, not something else", needs(makers))]
fn without_tables() -> Result<(), Failed> {
    let image = tempfile::NamedTempFile::new()?;
    image.as_file().set_len(8 << 20)?;
    run(Command::new("mkfs.vfat")
        .args(["-F", "16", "-s", "1", "-R", "1"])
        .arg(image.path()));
    let mut bytes = fs::read(image.path())?;
    bytes[512..100_000].fill(0x55);
    let error = fve::files::open(std::sync::Arc::new(bytes)).unwrap_err();
    assert!(matches!(error, fve::Error::Io { .. }), "{error}");
    let error = error.with_causes().to_string();
    assert!(error.contains("it begins as a FAT file system"), "{error}");
    Ok(())
}

#[trial("the copy of an empty boot sector of FAT32", needs(makers))]
fn a_copy_of_the_boot_sector() -> Result<(), Failed> {
    let image = tempfile::NamedTempFile::new()?;
    image.as_file().set_len(40 << 20)?;
    run(Command::new("mkfs.vfat")
        .args(["-F", "32", "-s", "1", "-n", "A LABEL"])
        .arg(image.path()));
    let write = |at: u64, bytes: &[u8]| {
        std::os::unix::fs::FileExt::write_all_at(image.as_file(), bytes, at)
    };
    write(0, &[0; 512])?;
    let files = oracles::open(image.path());
    let properties = files.properties();
    assert_eq!(properties.label.as_deref(), Some("A LABEL"));
    assert_eq!(properties.conditions.len(), 1);
    // Something else that begins with zeros: then the copy is a remainder.
    write(0x218, b"LVM2")?;
    let bytes = fs::read(image.path())?;
    let error = fve::files::open(std::sync::Arc::new(bytes)).unwrap_err();
    assert!(error.to_string().contains("LVM"), "{error}");
    Ok(())
}

/// The free bytes that mdir prints in its last line.
fn free_of_mdir(image: &Image) -> u64 {
    let output = run(&mut image.mtools("mdir"));
    let text = String::from_utf8_lossy(&output).into_owned();
    let line = text.lines().rev().find(|line| line.contains("bytes free"));
    let digits: String = line.unwrap().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[trials]
fn other_programs_read_the_same_from_fat() -> Vec<Trial> {
    VARIANTS
        .iter()
        .flat_map(|variant| {
            let variant = *variant;
            let seven_zip = trial(
                format!("{}: 7-Zip reads the same", variant.0),
                makers().or_else(seven_zip),
                move || {
                    let image = Image::new(variant);
                    let found = oracles::seven_zip_extracts(&image.path());
                    equals(&found, &oracles::library(&oracles::open(&image.path())))
                },
            );
            let sleuth_kit = trial(
                format!("{}: The Sleuth Kit reads the same", variant.0),
                makers().or_else(sleuth_kit),
                move || {
                    let image = Image::new(variant);
                    // One process for each file: not for all of the many.
                    let wanted = |path: &str| {
                        !path.starts_with("many/")
                            && !path.starts_with('$')
                            && !path.contains("(Volume")
                    };
                    let found = oracles::sleuth_kit_finds(&image.path(), variant.3, wanted);
                    let ours = oracles::library(&oracles::open(&image.path()));
                    let ours = ours.into_iter().filter(|(path, _)| wanted(path));
                    // It reads at most 19 of the entries of a long name, each of 13 characters.
                    let cut = |path: String| path.chars().take(19 * 13).collect::<String>();
                    equals(
                        &found,
                        &ours.map(|(path, shown)| (cut(path), shown)).collect(),
                    )
                },
            );
            let dissect = trial(
                format!("{}: dissect.fat reads the same", variant.0),
                makers().or_else(dissect),
                move || same_as_dissect(&Image::new(variant)),
            );
            [seven_zip, sleuth_kit, dissect]
        })
        .collect()
}

fn same_as_dissect(image: &Image) -> Result<(), Failed> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/dissect_fat.py");
    let output = run(Command::new(python()).arg(script).arg(image.path()));
    let text = String::from_utf8(output).unwrap();
    let mut found = Listing::new();
    let mut times = BTreeMap::new();
    for line in text.lines() {
        let document: Value = serde_json::from_str(line)?;
        let text = |key: &str| document[key].as_str().map(str::to_owned);
        let shown = match text("sha256") {
            Some(hash) => Shown::Content(document["len"].as_u64().unwrap(), hash),
            None => Shown::Directory,
        };
        // It does not know the bits for lower case.
        let path = text("path").unwrap().to_lowercase();
        times.insert(path.clone(), text("modified").unwrap());
        found.insert(path, shown);
    }
    let files = oracles::open(&image.path());
    let ours = oracles::library(&files).into_iter();
    let ours = ours.map(|(path, shown)| (path.to_lowercase(), shown));
    equals(&found, &ours.collect())?;
    for (path, time) in times {
        let id = files.find(&FilePath::parse(&path))?.id;
        let ours = files.stat(id)?.times.modified.unwrap().to_string();
        assert_eq!(ours.trim_end_matches('Z'), time, "{path}");
    }
    Ok(())
}

/// Names of many files, made with the crate `fatfs`.
#[trial("a directory of FAT with 2,000 files is listed", needs(makers))]
fn lists_a_large_directory() -> Result<(), Failed> {
    const COUNT: usize = 2000;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("image");
    File::create(&path)?.set_len(40 << 20)?;
    run(Command::new("mkfs.vfat")
        .args(["-F", "32", "-s", "1"])
        .arg(&path));
    let mut disk = std::io::Cursor::new(fs::read(&path)?);
    let system = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new())?;
    let many = system.root_dir().create_dir("many")?;
    let mut expected = Listing::from([("many".to_owned(), Shown::Directory)]);
    for number in 0..COUNT {
        let name = format!("the long name of the file number {number}.txt");
        let mut file = many.create_file(&name)?;
        file.write_all(name.as_bytes())?;
        expected.insert(format!("many/{name}"), Shown::content(name.as_bytes()));
    }
    drop(many);
    system.unmount()?;
    fs::write(&path, disk.into_inner())?;
    let files = oracles::open(&path);
    equals(&expected, &oracles::library(&files))
}
