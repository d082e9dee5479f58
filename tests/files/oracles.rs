//! What other programs find in a file system, in the form of [`Listing`], and what the library finds.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fve::files::{self, FileKind, FilePath, Files};
use fve::source::ReadAt;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::common::output::run;
use crate::common::trials::{Missing, programs};
use crate::images::NtfsMount;
use crate::images::tree::{Listing, Shown};

/// The Python interpreter with dissect.ntfs and dissect.fat.
pub fn python() -> String {
    std::env::var("FVE_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

pub fn dissect() -> Option<Missing> {
    let script = "import dissect.ntfs, dissect.fat";
    let output = Command::new(python()).args(["-c", script]).output();
    let present = output.is_ok_and(|output| output.status.success());
    let what = "dissect.ntfs and dissect.fat are not installed: set FVE_PYTHON";
    (!present).then(|| Missing::Tool(what.to_owned()))
}

/// What makes NTFS images: mounts of ntfs-3g, and libwim through Python.
pub fn makers() -> Option<Missing> {
    let fuse = crate::common::trials::fuse();
    fuse.or_else(|| programs(&["mkntfs", "ntfs-3g", "python3", "wimlib-imagex"]))
}

pub fn seven_zip() -> Option<Missing> {
    programs(&["7zz"])
}

pub fn sleuth_kit() -> Option<Missing> {
    programs(&["fls", "icat"])
}

/// The files that mkntfs makes in the root directory of NTFS.
fn is_system(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "$MFT", "$MFTMirr", "$LogFile", "$Volume", "$AttrDef", "$Bitmap", "$Boot", "$BadClus",
        "$Secure", "$UpCase", "$Extend", "$Quota",
    ];
    NAMES.contains(&name)
}

pub fn open(image: &Path) -> Files {
    let file = fs::File::open(image).unwrap();
    files::open(Arc::new(file)).unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

/// What the library finds.
pub fn library(files: &Files) -> Listing {
    let mut found = Listing::new();
    let mut walk = files.walk(files.root(), FilePath::root());
    while let Some(next) = walk.next() {
        let walked = match next {
            Ok(walked) => walked,
            Err(error) => {
                let path = error.path.to_string();
                found.insert(
                    format!("{path} (list)"),
                    Shown::Error(error.fault.to_string()),
                );
                continue;
            }
        };
        let names: Vec<String> = walked
            .path
            .names()
            .iter()
            .map(|name| String::from_utf8_lossy(&name.to_wtf8()).into_owned())
            .collect();
        if is_system(&names[0]) {
            walk.skip_directory();
            continue;
        }
        let path = names.join("/");
        let id = walked.entry.id;
        let shown = match files.stat(id) {
            Err(error) => Shown::Error(error.to_string()),
            Ok(stat) => {
                assert_eq!(stat.kind, walked.entry.kind, "{path}");
                match stat.kind {
                    FileKind::Directory => Shown::Directory,
                    FileKind::Link => match files.link(id) {
                        Ok(link) => Shown::Link(link.target.to_text_lossy()),
                        Err(error) => Shown::Error(error.to_string()),
                    },
                    _ => {
                        let shown = content(files, id, None);
                        if let Shown::Content(len, _) = shown {
                            assert_eq!(stat.len, len, "{path}");
                        }
                        shown
                    }
                }
            }
        };
        found.insert(path.clone(), shown);
        match files.streams(id) {
            Ok(streams) => {
                for stream in streams {
                    let shown = content(files, id, Some(&stream.name));
                    if let Shown::Content(len, _) = shown {
                        assert_eq!(stream.len, len, "{path}:{}", stream.name);
                    }
                    found.insert(format!("{path}:{}", stream.name.to_text_lossy()), shown);
                }
            }
            Err(error) => {
                found.insert(format!("{path}:"), Shown::Error(error.to_string()));
            }
        }
    }
    found
}

/// The content of a file, read in pieces of different sizes; between the ranges that are stored
/// there must be only zeros.
fn content(files: &Files, id: fve::files::FileId, stream: Option<&files::FileName>) -> Shown {
    let content = match files.open(id, stream) {
        Ok(content) => content,
        Err(error) => return Shown::Error(error.to_string()),
    };
    let mut hash = Sha256::new();
    let mut at = 0;
    let sizes = [4096, 100_000, 1, 65_536, 1 << 20];
    let mut buffer = vec![0; 1 << 20];
    for size in sizes.iter().cycle() {
        let size = content.size().saturating_sub(at).min(*size);
        if size == 0 {
            break;
        }
        let piece = &mut buffer[..size as usize];
        if let Err(error) = content.read_exact_at(at, piece) {
            return Shown::Error(error.to_string());
        }
        hash.update(&piece);
        let mut checked = at;
        while checked < at + size {
            let stored = content.stored_from(checked);
            let start = stored.as_ref().map_or(u64::MAX, |range| range.start);
            let hole =
                &piece[(checked - at) as usize..(start.clamp(checked, at + size) - at) as usize];
            assert!(
                hole.iter().all(|byte| *byte == 0),
                "a hole that is not zero"
            );
            let Some(range) = stored else { break };
            assert!(
                range.end > checked,
                "{range:?} does not end after {checked}"
            );
            checked = range.end;
        }
        at += size;
    }
    let hash = hash.finalize();
    let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Shown::Content(content.size(), hash)
}

/// What is below a directory of this computer. Links are not followed.
fn directory(root: &Path) -> Listing {
    let mut found = Listing::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().as_os_str();
            let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
            if is_system(&name) {
                continue;
            }
            let shown = match fs::symlink_metadata(&path) {
                Err(error) => Shown::Error(error.to_string()),
                Ok(metadata) if metadata.is_dir() => {
                    directories.push(path);
                    Shown::Directory
                }
                Ok(metadata) if metadata.is_symlink() => {
                    let target = fs::read_link(&path).unwrap();
                    Shown::Link(target.to_string_lossy().into_owned())
                }
                Ok(_) => match fs::read(&path) {
                    Ok(bytes) => Shown::content(&bytes),
                    Err(error) => Shown::Error(error.to_string()),
                },
            };
            found.insert(name, shown);
        }
    }
    found
}

/// A mount of ntfs-3g. It lists no streams: those of `expected` are read.
pub fn ntfs_3g(image: &Path, expected: &Listing) -> Listing {
    let mounted = NtfsMount::new(image, "ro,streams_interface=windows,efs_raw");
    let mut found = directory(mounted.path());
    for path in expected.keys().filter(|path| path.contains(':')) {
        let shown = match fs::read(mounted.path().join(path)) {
            Ok(bytes) => Shown::content(&bytes),
            Err(error) => Shown::Error(error.to_string()),
        };
        found.insert(path.clone(), shown);
    }
    found
}

/// ntfscat, for the content of these files.
pub fn ntfscat<'a>(image: &Path, paths: impl Iterator<Item = &'a String>) -> Listing {
    paths
        .map(|path| {
            let mut command = Command::new("ntfscat");
            command.arg("--force");
            let (file, stream) = path.split_once(':').unwrap_or((path, ""));
            if !stream.is_empty() {
                command.args(["-n", stream]);
            }
            let output = command.arg(image).arg(format!("/{file}")).output().unwrap();
            let shown = match output.status.success() {
                true => Shown::content(&output.stdout),
                false => Shown::Error(String::from_utf8_lossy(&output.stderr).into_owned()),
            };
            (path.clone(), shown)
        })
        .collect()
}

/// What 7-Zip extracts.
pub fn seven_zip_extracts(image: &Path) -> Listing {
    let target = tempfile::tempdir().unwrap();
    // It ends with a warning where a link leads out of the directory.
    let mut command = Command::new("7zz");
    command.args(["x", "-y", "-snld", "-bd"]);
    command.arg(format!("-o{}", target.path().display()));
    let output = command.arg(image).output().unwrap();
    assert!(
        output.status.code().is_some_and(|code| code <= 2),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    directory(target.path())
}

/// The Sleuth Kit: `fls` lists, `icat` reads what `wanted` selects.
pub fn sleuth_kit_finds(image: &Path, kind: &str, wanted: impl Fn(&str) -> bool) -> Listing {
    let listed = run(Command::new("fls")
        .args(["-f", kind, "-r", "-p", "-u"])
        .arg(image));
    let mut found = Listing::new();
    for line in String::from_utf8_lossy(&listed).lines() {
        let (head, path) = line.split_once('\t').unwrap();
        let mut words = head.trim_end_matches(':').split(' ');
        let (types, id) = (words.next().unwrap(), words.next().unwrap());
        let first = path.split(['/', ':']).next().unwrap();
        if is_system(first) || first == "$OrphanFiles" || !wanted(path) {
            continue;
        }
        // A directory with streams is listed once more for each, as r.
        let shown = match types.starts_with('d') && !path.contains(':') {
            true => Shown::Directory,
            false => {
                let mut icat = Command::new("icat");
                let output = icat.args(["-f", kind]).arg(image).arg(id).output().unwrap();
                match output.status.success() {
                    true => Shown::content(&output.stdout),
                    false => Shown::Error(String::from_utf8_lossy(&output.stderr).into_owned()),
                }
            }
        };
        // Streams of a directory are listed as those of its entry `.`.
        found.insert(path.replace("/.:", ":"), shown);
    }
    found
}

/// dissect.ntfs.
pub fn dissect_ntfs(image: &Path) -> Listing {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/dissect_ntfs.py");
    let output = run(Command::new(python()).arg(script).arg(image));
    let text = String::from_utf8(output).unwrap();
    let documents = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    documents
        .map(|document| {
            let text = |key: &str| document[key].as_str().map(str::to_owned);
            let shown = if let Some(error) = text("error") {
                Shown::Error(error)
            } else if let Some(link) = text("link") {
                Shown::Link(link)
            } else if let Some(hash) = text("sha256") {
                Shown::Content(document["len"].as_u64().unwrap(), hash)
            } else {
                Shown::Directory
            };
            (text("path").unwrap(), shown)
        })
        .collect()
}

/// In what two listings differ: the path, and what each shows. Errors of both are equal, whatever
/// they say.
pub fn differences(one: &Listing, other: &Listing) -> Vec<(String, Option<Shown>, Option<Shown>)> {
    let mut paths: Vec<&String> = one.keys().chain(other.keys()).collect();
    paths.sort();
    paths.dedup();
    let different = paths
        .into_iter()
        .filter(|path| match (one.get(*path), other.get(*path)) {
            (Some(Shown::Error(_)), Some(Shown::Error(_))) => false,
            (one, other) => one != other,
        });
    different
        .map(|path| {
            (
                path.clone(),
                one.get(path).cloned(),
                other.get(path).cloned(),
            )
        })
        .collect()
}
