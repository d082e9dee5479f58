//! NTFS: every file against what was written, and against four other programs.

use std::sync::LazyLock;

use fve::files::{Condition, FileName, FilePath};
use libtest_mimic::Failed;

use crate::common::trials::{Missing, Trial, trial, trials};
use crate::images::tree::{Listing, Shown};
use crate::images::{Geometry, Image, ntfs};
use crate::oracles::{self, differences, dissect, makers, seven_zip, sleuth_kit};

/// Sectors, clusters and sizes. File records have 1 KiB, or 4 KiB with the larger sectors.
const GEOMETRIES: [(u32, u32, u64); 8] = [
    (512, 512, 32 << 20),
    (512, 1024, 32 << 20),
    (512, 4096, 48 << 20),
    (4096, 4096, 64 << 20),
    (512, 65_536, 256 << 20),
    (4096, 65_536, 256 << 20),
    (512, 1 << 20, 2 << 30),
    (4096, 2 << 20, 4 << 30),
];

#[trials]
fn everything_is_read_as_it_was_written() -> Vec<Trial> {
    GEOMETRIES
        .map(|(sector, cluster, size)| {
            let name = format!(
                "with sectors of {sector} bytes and clusters of {cluster}, all files are read as they \
                 were written"
            );
            let geometry = Geometry {
                sector,
                cluster,
                size,
            };
            trial(name, makers(), move || {
                let image = ntfs::assorted(geometry);
                equals(&image.expected, &oracles::library(&oracles::open(&image.path())))
            })
        })
        .into()
}

fn equals(expected: &Listing, found: &Listing) -> Result<(), Failed> {
    let different = differences(expected, found);
    let lines: Vec<String> = different
        .iter()
        .take(60)
        .map(|(path, expected, found)| format!("{path:?}: {found:?} instead of {expected:?}"))
        .collect();
    match different.len() {
        0 => Ok(()),
        count => Err(format!("{count} files differ:\n{}", lines.join("\n")).into()),
    }
}

pub static ASSORTED: LazyLock<Image> = LazyLock::new(|| {
    ntfs::assorted(Geometry {
        sector: 512,
        cluster: 4096,
        size: 48 << 20,
    })
});
static PATCHED: LazyLock<Image> = LazyLock::new(ntfs::patched);
static CROWDED: LazyLock<Image> = LazyLock::new(|| ntfs::crowded(20_000));
static FRAGMENTED_MFT: LazyLock<Image> = LazyLock::new(ntfs::fragmented_mft);

/// The images that every program reads, with their names.
const IMAGES: [(&str, &LazyLock<Image>); 4] = [
    ("an assortment", &ASSORTED),
    ("patched records", &PATCHED),
    ("a directory of 20,000 entries", &CROWDED),
    ("a fragmented $MFT", &FRAGMENTED_MFT),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Ntfs3g,
    Ntfscat,
    SevenZip,
    SleuthKit,
    Dissect,
}

impl Program {
    fn missing(self) -> Option<Missing> {
        match self {
            Self::Ntfs3g | Self::Ntfscat => None,
            Self::SevenZip => seven_zip(),
            Self::SleuthKit => sleuth_kit(),
            Self::Dissect => dissect(),
        }
    }

    /// What it finds in an image, and of which paths it was asked.
    fn finds(self, image: &Image) -> Listing {
        let path = image.path();
        match self {
            Self::Ntfs3g => oracles::ntfs_3g(&path, &image.expected),
            Self::Ntfscat => {
                let asked = image.expected.iter();
                let asked = asked.filter(|(path, expected)| self.is_asked(path, expected));
                oracles::ntfscat(&path, asked.map(|(path, _)| path))
            }
            Self::SevenZip => oracles::seven_zip_extracts(&path),
            Self::SleuthKit => oracles::sleuth_kit_finds(&path, "ntfs", Self::samples),
            Self::Dissect => oracles::dissect_ntfs(&path),
        }
    }

    /// Whether this path can be compared: ntfscat only reads content, and icat and it are run once for
    /// each file, so that a few of many files of the same kind must be enough.
    fn is_asked(self, path: &str, expected: &Shown) -> bool {
        match self {
            Self::Ntfscat => Self::samples(path) && matches!(expected, Shown::Content(..)),
            Self::SleuthKit => Self::samples(path),
            _ => true,
        }
    }

    fn samples(path: &str) -> bool {
        let one_of_many = ["many/", "crowded/", "late/", "filler ", "a/b/name"];
        let digits = path.trim_end_matches(|last: char| !last.is_ascii_digit());
        !one_of_many.iter().any(|start| path.starts_with(start)) || digits.ends_with("77")
    }

    /// Whether what it found is what we expect. Where the library sees a link or refuses a file, other
    /// programs show links of Linux or empty files; only dissect.ntfs shows the target as it is stored.
    fn agrees(self, expected: &Shown, found: &Shown) -> bool {
        match expected {
            Shown::Error(_) => true,
            Shown::Link(target) => self != Self::Dissect || found == &Shown::Link(target.clone()),
            _ => expected == found,
        }
    }
}

/// What a program gets wrong: the program, whether it concerns a path, and a description. All were
/// found by running the versions in Debian 12 (ntfs-3g 2022.10.3, 7-Zip 26.02, The Sleuth Kit 4.11.1)
/// and dissect.ntfs 3.16.
type Limit = (Program, fn(&str) -> bool, &'static str);

const LIMITS: &[Limit] = &[
    (
        Program::Ntfs3g,
        is_wof,
        "ntfs-3g needs a plugin for files that WOF compressed",
    ),
    (
        Program::Ntfscat,
        is_wof,
        "ntfscat shows zeros for files that WOF compressed",
    ),
    (
        Program::SevenZip,
        is_wof,
        "7-Zip shows zeros for files that WOF compressed",
    ),
    (
        Program::SleuthKit,
        is_wof,
        "The Sleuth Kit shows zeros for files that WOF compressed",
    ),
    (
        Program::Dissect,
        is_wof,
        "dissect.ntfs shows zeros for files that WOF compressed",
    ),
    (
        Program::SevenZip,
        is_sparse,
        "7-Zip ends files too early at holes",
    ),
    (
        Program::Dissect,
        is_initialised_in_part,
        "dissect.ntfs shows old content behind the initialised size",
    ),
    (
        Program::Dissect,
        is_wsl_link,
        "dissect.ntfs takes links of the Windows Subsystem for Linux for empty files",
    ),
    (
        Program::SevenZip,
        is_late,
        "7-Zip finds no files if $MFT has an attribute list",
    ),
];

/// Whether the file of [`ntfs::assorted`] has stored parts and holes.
fn is_sparse(path: &str) -> bool {
    ["holes", "hole at the start", "hole at the end"].contains(&path)
}

fn is_initialised_in_part(path: &str) -> bool {
    ntfs::INITIALISED.iter().any(|(name, _)| *name == path)
}

/// All files of [`ntfs::fragmented_mft`].
fn is_late(path: &str) -> bool {
    ["late", "one"].contains(&path) || path.starts_with("late/")
}

fn is_wsl_link(path: &str) -> bool {
    path == "wsl link"
}

fn is_wof(path: &str) -> bool {
    path.starts_with("wof/")
}

#[trials]
fn other_programs_read_the_same() -> Vec<Trial> {
    use Program::{Dissect, Ntfs3g, Ntfscat, SevenZip, SleuthKit};
    let mut trials = Vec::new();
    for (what, image) in IMAGES {
        for program in [Ntfs3g, Ntfscat, SevenZip, SleuthKit, Dissect] {
            let name = format!("{program:?} reads the same in {what}");
            let missing = makers().or_else(|| program.missing());
            trials.push(trial(name, missing, move || agree(program, image)));
        }
    }
    trials
}

/// Compares what a program finds with what was written, which `everything_is_read_as_it_was_written`
/// compares with what the library finds.
fn agree(program: Program, image: &Image) -> Result<(), Failed> {
    let found = program.finds(image);
    let mut wrong = Vec::new();
    for (path, expected) in &image.expected {
        if !program.is_asked(path, expected) {
            continue;
        }
        let shown = found.get(path);
        let agrees = shown.is_some_and(|shown| program.agrees(expected, shown));
        let limited = LIMITS
            .iter()
            .any(|(other, concerns, _)| *other == program && concerns(path));
        if agrees && limited && *expected != Shown::Directory {
            wrong.push(format!(
                "{path:?} is right, in spite of a limit of the program"
            ));
        }
        if !agrees && !limited {
            wrong.push(format!("{path:?}: {shown:?} instead of {expected:?}"));
        }
    }
    let own = |path: &str| path.starts_with("[SYSTEM]") || path.ends_with(":WofCompressedData");
    for (path, shown) in &found {
        if !image.expected.contains_key(path) && !own(path) {
            wrong.push(format!("{path:?}: {shown:?} was never written"));
        }
    }
    match wrong.len() {
        0 => Ok(()),
        count => {
            wrong.truncate(40);
            Err(format!("{count} files differ:\n{}", wrong.join("\n")).into())
        }
    }
}

#[trials]
fn each_image_is_read_as_it_was_written() -> Vec<Trial> {
    let name = |what| format!("in {what}, all files are read as they were written");
    let images = IMAGES.iter().skip(1);
    images
        .map(|(what, image)| {
            trial(name(what), makers(), move || {
                let files = oracles::open(&image.path());
                equals(&image.expected, &oracles::library(&files))
            })
        })
        .collect()
}

#[trial("links of Unix systems are shown as ntfs-3g shows them", needs(makers))]
fn unix_links() -> Result<(), Failed> {
    let image = ntfs::unix_links();
    let files = oracles::open(&image.path());
    equals(&image.expected, &oracles::library(&files))?;
    let theirs = oracles::ntfs_3g(&image.path(), &image.expected);
    for (path, expected) in &image.expected {
        let is_known = !path.starts_with("nfs") && path != "fetched";
        if is_known && theirs.get(path) != Some(expected) {
            return Err(format!("{path}: {:?}", theirs.get(path)).into());
        }
    }
    assert_eq!(
        files.read(&FilePath::parse("/link"), 100).unwrap(),
        b"content"
    );
    assert_eq!(
        files.read(&FilePath::parse("/a/up/file"), 100).unwrap(),
        b"content"
    );
    assert_eq!(
        files.read(&FilePath::parse("/long"), 100).unwrap(),
        b"content"
    );
    let outside = files.find(&FilePath::parse("/absolute")).unwrap_err();
    assert!(outside.to_string().contains("leads out of the volume"));
    let missing = files.find(&FilePath::parse("/backslash")).unwrap_err();
    assert!(missing.to_string().contains("no such file"));
    Ok(())
}

#[trial(
    "a name with half of a surrogate pair is found and read",
    needs(makers)
)]
fn lone_surrogate() {
    let image = ntfs::lone_surrogate();
    let files = oracles::open(&image.path());
    let mut units: Vec<u16> = "lone ".encode_utf16().collect();
    units.push(0xD800);
    let name = FileName::from_units(units);
    let path = FilePath::from_names(vec![name.clone()]);
    assert_eq!(files.read(&path, 100).unwrap(), ntfs::LONE);
    let found = files.find(&path).unwrap();
    assert_eq!(found.path.names(), [name]);
}

#[trial("a volume that is dirty and hibernated says so", needs(makers))]
fn conditions() {
    let files = oracles::open(&PATCHED.path());
    let conditions = &files.properties().conditions;
    assert!(
        conditions.contains(&Condition::Hibernated),
        "{conditions:?}"
    );
    let dirty = |one: &Condition| matches!(one, Condition::Dirty { .. });
    assert!(conditions.iter().any(dirty), "{conditions:?}");
    let clean = oracles::open(&ASSORTED.path());
    assert_eq!(clean.properties().conditions, []);
}
