//! An NTFS file system, made with the tools of ntfs-3g. The metadata is in placeholder files with
//! the names that Windows uses (docs/format.md §2.7), so that no NTFS driver uses their clusters.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use fve::create::Placement;

use crate::contents;
use crate::recipes::Recipe;
use crate::{Plaintext, Result};

const CLUSTER: u64 = 4096;
const FOLDER: &str = "System Volume Information";
/// Windows' names and sizes: three copies, the moved sectors, the spare area.
const PLACEHOLDERS: [(&str, u64); 5] = [
    ("FVE2.{e40ad34d-dae9-4bc7-95bd-b16218c10f72}.1", 0x1_0000),
    ("FVE2.{24e6f0ae-6a00-4f73-984b-75ce9942852d}", 0x2000),
    ("FVE2.{da392a22-cae0-4f0f-9a30-b8830385d046}", 0x1_0000),
    ("FVE2.{e40ad34d-dae9-4bc7-95bd-b16218c10f72}.2", 0x1_0000),
    ("FVE2.{e40ad34d-dae9-4bc7-95bd-b16218c10f72}.3", 0x1_0000),
];

pub(crate) fn make(recipe: &Recipe) -> Result<Plaintext> {
    let directory = tempfile::tempdir()?;
    let image = directory.path().join("ntfs.img");
    File::create(&image)?.set_len(recipe.size as u64)?;
    let cluster = CLUSTER.to_string();
    let sector = recipe.sector_size.to_string();
    run(Command::new("mkntfs")
        .args(["--force", "--quick", "--quiet", "--label", "fve test"])
        .args([
            "-p", "0", "-H", "255", "-S", "63", "-s", &sector, "-c", &cluster,
        ])
        .arg(&image))?;
    let files = contents::files(recipe.name);
    {
        let mounted = Mounted::new(&image, directory.path().join("mnt"))?;
        let folder = mounted.0.join(FOLDER);
        fs::create_dir(&folder)?;
        for (name, len) in PLACEHOLDERS {
            fs::write(folder.join(name), vec![0; usize::try_from(len)?])?;
        }
        for member in &files {
            let path = mounted.0.join(&member.path);
            fs::create_dir_all(path.parent().ok_or("no parent")?)?;
            fs::write(path, &member.content)?;
        }
    }
    let mut places = [0; 5];
    for ((name, len), place) in PLACEHOLDERS.into_iter().zip(&mut places) {
        let range = extent(&image, name)?;
        if range.end - range.start != len {
            return Err(format!("{name} has several runs of clusters").into());
        }
        *place = range.start;
    }
    let [first, moved, spare, second, third] = places;
    Ok(Plaintext {
        image: fs::read(&image)?,
        placement: Placement {
            copies: [first, second, third],
            moved,
            spare,
        },
        files,
    })
}

/// The one run of clusters of a placeholder, in bytes, as ntfscluster tells it: the last line is
/// number in the file, number on the volume, and count.
fn extent(image: &Path, name: &str) -> Result<Range<u64>> {
    let output = Command::new("ntfscluster")
        .arg("-F")
        .arg(format!("/{FOLDER}/{name}"))
        .arg(image)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let runs: Vec<Vec<u64>> = text
        .lines()
        .map(|line| line.split_whitespace().filter_map(|word| word.parse().ok()))
        .map(Iterator::collect)
        .filter(|numbers: &Vec<u64>| numbers.len() == 3)
        .collect();
    match runs.as_slice() {
        [run] => Ok(run[1] * CLUSTER..(run[1] + run[2]) * CLUSTER),
        _ => Err(format!("ntfscluster does not tell one run for {name}: {text}").into()),
    }
}

/// An NTFS image mounted for as long as this lives.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, at: PathBuf) -> Result<Self> {
        fs::create_dir(&at)?;
        run(Command::new("ntfs-3g").arg(image).arg(&at))?;
        Ok(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = run(Command::new("umount").arg(&self.0));
        if let Err(error) = unmounted {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{command:?}: {told}").into())
}
