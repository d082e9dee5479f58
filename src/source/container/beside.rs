//! The files in the directory of an image: segments, parts and extents.
//!
//! The maker of an image must not be able to make us read any other file. So these are opened by name
//! in the directory, which is opened once, and no link is followed. If the path of the image itself
//! is a link, which the user chose to open, the directory is that of the file it leads to, where the
//! other files of a moved image are.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::folder::{Entry, Folder};
use super::{damaged, unsupported, unsupported_with};
use crate::shown::ShowPath;
use crate::source::FileSource;

/// The directory of an image.
pub(super) struct Beside {
    /// Without links.
    image: PathBuf,
    /// As the user gave it, if the image itself is no link.
    shown: PathBuf,
    folder: Folder,
}

impl Beside {
    /// The directory of the image at this path.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let image = path.canonicalize()?;
        let parent = image.parent().ok_or(io::ErrorKind::NotADirectory)?;
        let folder = Folder::open(parent)?;
        let shown = match path.is_symlink() {
            true => image.clone(),
            false => path.to_owned(),
        };
        Ok(Self {
            image,
            shown,
            folder,
        })
    }

    /// The file name of the image.
    pub(super) fn name(&self) -> &OsStr {
        self.image.file_name().unwrap_or_default()
    }

    /// The path of a file in the directory, for messages.
    pub(super) fn path(&self, name: &OsStr) -> PathBuf {
        self.shown.with_file_name(name)
    }

    /// Size in bytes of the regular file of this name in the directory, if there is one.
    pub(super) fn file_size(&self, name: &OsStr) -> Option<u64> {
        is_name(name).then(|| self.folder.file_size(name)).flatten()
    }

    /// Whether there is something of this name in the directory.
    pub(super) fn has(&self, name: &OsStr) -> bool {
        is_name(name)
            && self
                .folder
                .entry(name)
                .is_ok_and(|entry| !matches!(entry, Entry::Absent))
    }

    /// Opens a file in the directory; `None` if there is none of this name.
    pub(super) fn open(&self, name: &OsStr) -> io::Result<Option<FileSource>> {
        if !is_name(name) {
            return Err(unsupported(format!(
                "the image names the file '{}' outside its directory, and no such file is read",
                Path::new(name).shown()
            )));
        }
        let path = self.path(name);
        let fail = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!(
                    "cannot open {}: {}",
                    path.shown(),
                    crate::shown::WithCauses(&error)
                ),
            )
        };
        match self.folder.entry(name).map_err(fail)? {
            Entry::Absent => Ok(None),
            Entry::Link => Err(unsupported_with(
                format!(
                    "{} is a link, and links among the files of an image are not followed",
                    path.shown()
                ),
                "put all files of the image into one directory, and no links to them",
            )),
            Entry::Other => Err(unsupported(format!(
                "{} is not a regular file, and is not read as a part of the image",
                path.shown()
            ))),
            Entry::File(file) => FileSource::of_file(file, path.clone())
                .map(Some)
                .map_err(fail),
        }
    }

    /// Opens a file without which the image is not complete.
    pub(super) fn required(&self, name: &OsStr) -> io::Result<FileSource> {
        self.open(name)?
            .ok_or_else(|| damaged(format!("{} is missing", self.path(name).shown())))
    }
}

/// Whether it is the name of a file in a directory, and not a path.
fn is_name(name: &OsStr) -> bool {
    let mut parts = Path::new(name).components();
    matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(first)), None) if first == name
    )
}

/// A file name: `beginning` and `end`.
pub(super) fn joined(beginning: &OsStr, end: &str) -> OsString {
    let mut name = beginning.to_owned();
    name.push(end);
    name
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_in_the_directory_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("d/image"), [1]).unwrap();
        std::fs::write(at("d/part"), [2; 7]).unwrap();
        std::fs::write(at("outside"), [3]).unwrap();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, at(name)).unwrap();
        link("../outside", "d/out");
        link("part", "d/in");
        let beside = Beside::of(&at("d/image")).unwrap();
        let open = |name: &str| beside.open(OsStr::new(name));
        assert_eq!(
            crate::source::ReadAt::size(&open("part").unwrap().unwrap()),
            7
        );
        assert!(open("absent").unwrap().is_none());
        for refused in [
            "out",
            "in",
            ".",
            "..",
            "",
            "../outside",
            "/etc/passwd",
            "part/",
        ] {
            let error = open(refused).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{refused}");
            assert_eq!(beside.file_size(OsStr::new(refused)), None, "{refused}");
        }
    }

    #[test]
    fn the_directory_is_that_of_the_file_that_a_link_leads_to() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("d/image.001"), [1]).unwrap();
        std::fs::write(at("d/image.002"), [2]).unwrap();
        std::fs::write(at("image.002"), [3; 3]).unwrap();
        std::os::unix::fs::symlink("d/image.001", at("link")).unwrap();
        let beside = Beside::of(&at("link")).unwrap();
        assert_eq!(beside.name(), "image.001");
        assert_eq!(beside.file_size(OsStr::new("image.002")), Some(1));
    }

    #[test]
    fn a_directory_that_is_replaced_by_a_link_leads_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for folder in ["d", "other"] {
            std::fs::create_dir(at(folder)).unwrap();
            std::fs::write(at(folder).join("image"), folder).unwrap();
        }
        let beside = Beside::of(&at("d/image")).unwrap();
        std::fs::rename(at("d"), at("moved")).unwrap();
        std::os::unix::fs::symlink("other", at("d")).unwrap();
        assert_eq!(beside.file_size(OsStr::new("image")), Some(1));
    }
}
