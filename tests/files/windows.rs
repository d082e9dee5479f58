//! File systems that Windows made, and some of Linux: the test images in the source packages of dissect.ntfs
//! and dissect.fat. `.ci/run` unpacks the packages.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use fve::files::{FileError, FilePath, Unreadable};
use libtest_mimic::Failed;

use crate::common::trials::{Missing, Trial, trial, trials};
use crate::fat::equals;
use crate::images::tree::{Listing, Shown};
use crate::oracles::{self, dissect, seven_zip, sleuth_kit};

const NTFS: &str = "dissect_ntfs-3.16/tests/_data";
const FAT: &str = "dissect_fat-3.13/tests/data";

/// The directory with the unpacked source packages.
fn sources() -> PathBuf {
    let directory = std::env::var_os("FVE_DISSECT_SOURCES");
    directory.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dissect/sources"),
        PathBuf::from,
    )
}

fn images() -> Option<Missing> {
    let is_present = sources().join(NTFS).exists() && sources().join(FAT).exists();
    let what = "the source packages of dissect.ntfs and dissect.fat are not unpacked: set FVE_DISSECT_SOURCES";
    (!is_present).then(|| Missing::Tool(what.to_owned()))
}

/// An NTFS image, unpacked with holes for zeros.
fn unpacked(name: &str) -> tempfile::NamedTempFile {
    let packed = File::open(sources().join(NTFS).join(name)).unwrap();
    let mut packed = GzDecoder::new(packed);
    let image = tempfile::NamedTempFile::new().unwrap();
    let mut piece = Vec::new();
    let mut at = 0;
    loop {
        piece.clear();
        (&mut packed).take(1 << 20).read_to_end(&mut piece).unwrap();
        if piece.is_empty() {
            break;
        }
        if piece.iter().any(|byte| *byte != 0) {
            image.as_file().write_all_at(&piece, at).unwrap();
        }
        at += piece.len() as u64;
    }
    image.as_file().set_len(at).unwrap();
    image
}

#[trial(
    "an NTFS of Windows is what dissect.ntfs, ntfs-3g and The Sleuth Kit read",
    needs(images, oracles::makers, dissect, sleuth_kit)
)]
fn ntfs() -> Result<(), Failed> {
    let image = unpacked("ntfs.bin.gz");
    let found = oracles::library(&oracles::open(image.path()));
    assert!(found.len() > 1000, "{}", found.len());
    assert_eq!(found["File.txt"], Shown::content(b"Contents here"));
    assert_eq!(found["Large.txt"], Shown::content(&vec![b'A'; 2_097_152]));
    equals(&oracles::dissect_ntfs(image.path()), &found)?;
    equals(&oracles::ntfs_3g(image.path(), &found), &found)?;
    let wanted = |path: &str| !path.starts_with("Large Directory/");
    let theirs = oracles::sleuth_kit_finds(image.path(), "ntfs", wanted);
    let ours = found.into_iter().filter(|(path, _)| wanted(path)).collect();
    equals(&theirs, &ours)
}

/// In `OneDrive`, Windows 11 fetched all files but one.
#[trial(
    "files in the cloud are read once Windows has fetched them",
    needs(images, dissect)
)]
fn cloud() -> Result<(), Failed> {
    const PLACEHOLDER: &str = "OneDrive/created-online.txt";
    let image = unpacked("ntfs-cloud.bin.gz");
    let files = oracles::open(image.path());
    let mut found = oracles::library(&files);
    let content = b"this file was created in explorer.exe while being logged in.\r\n";
    assert_eq!(
        found["OneDrive/created-from-desktop-while-online.txt"],
        Shown::content(content)
    );
    let placeholder = files.find(&FilePath::parse(PLACEHOLDER))?.id;
    let refused = files.open(placeholder, None).map(|_| ());
    let is_cloud = |fault: &_| matches!(fault, Unreadable::Cloud { .. });
    assert!(
        matches!(&refused, Err(FileError::Unreadable(fault)) if is_cloud(fault)),
        "{refused:?}"
    );
    assert!(
        files
            .stat(placeholder)?
            .unreadable
            .as_ref()
            .is_some_and(is_cloud)
    );
    // dissect.ntfs shows zeros for it.
    let mut theirs = oracles::dissect_ntfs(image.path());
    assert_eq!(theirs.remove(PLACEHOLDER), Some(Shown::content(&[0; 70])));
    found.remove(PLACEHOLDER);
    equals(&theirs, &found)
}

#[trials]
fn exfat_and_fat() -> Vec<Trial> {
    [
        "exfat.bin",
        "exfat4m.bin",
        "fat12.bin",
        "fat16.bin",
        "fat32.bin",
    ]
    .map(|name| {
        trial(
            format!("{name} of dissect.fat is what 7-Zip or The Sleuth Kit reads"),
            images().or_else(sleuth_kit).or_else(seven_zip),
            move || same(name),
        )
    })
    .into()
}

fn same(name: &str) -> Result<(), Failed> {
    let image = sources().join(FAT).join(name);
    let ours = oracles::library(&oracles::open(&image));
    assert!(ours.len() >= 3, "{ours:?}");
    if !name.starts_with("exfat") {
        return equals(&oracles::seven_zip_extracts(&image), &ours);
    }
    // Entries that are no files have names with `$` or in brackets.
    let is_file = |path: &str| !path.starts_with('$') && !path.contains('(');
    let theirs = oracles::sleuth_kit_finds(&image, "exfat", is_file);
    let ours: Listing = ours.into_iter().filter(|(path, _)| is_file(path)).collect();
    equals(&theirs, &ours)
}
