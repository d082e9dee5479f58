//! A raw image that is split into several files: `disk.001`, `disk.002`, … or `disk.aa`, `disk.ab`,
//! ….

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::concat::Concat;
use super::{damaged, unsupported};
use crate::shown::ShowPath;
use crate::source::{FileSource, ReadAt};

/// Limit on the files: about as many as a process may usually have open.
const MAX_PARTS: usize = 1000;

pub(super) fn fits(path: &Path) -> io::Result<bool> {
    Ok(is_first(path) && next(path).is_some_and(|next| next.is_file()))
}

/// Whether the extension is that of a first part: zeros with at most a 1 at the end, or only the
/// letter `a`.
fn is_first(path: &Path) -> bool {
    let Some(extension) = path.extension().and_then(|extension| extension.to_str()) else {
        return false;
    };
    let zeros = extension.trim_end_matches('1').trim_start_matches('0');
    let letters = extension.trim_start_matches('a');
    extension.len() >= 2
        && (letters.is_empty()
            || (zeros.is_empty() && extension.parse::<u32>().is_ok_and(|number| number <= 1)))
}

/// The name of the next part.
fn next(path: &Path) -> Option<PathBuf> {
    let mut extension = path.extension()?.to_str()?.as_bytes().to_vec();
    for byte in extension.iter_mut().rev() {
        match *byte {
            b'9' => *byte = b'0',
            b'z' => *byte = b'a',
            b'0'..=b'8' | b'a'..=b'y' => {
                *byte = byte.saturating_add(1);
                return Some(path.with_extension(String::from_utf8(extension).ok()?));
            }
            _ => return None,
        }
    }
    None
}

pub(super) fn open(path: &Path, file: Arc<dyn ReadAt>) -> io::Result<Arc<dyn ReadAt>> {
    let part_len = file.size();
    let mut last_len = part_len;
    let mut parts = vec![file];
    let mut path = path.to_owned();
    while let Some(following) = next(&path) {
        path = following;
        let Ok(meta) = path.symlink_metadata() else {
            break;
        };
        // The maker of an image must not be able to make us read any other file.
        if meta.is_symlink() {
            return Err(unsupported(format!(
                "{} is a link, and parts of an image that are links are not followed; put the files beside each other",
                path.shown()
            )));
        }
        if !meta.is_file() {
            break;
        }
        // All parts except the last have the same size; otherwise one was cut off, or they do not
        // belong together.
        if last_len != part_len || parts.len() >= MAX_PARTS {
            return Err(unsupported(format!(
                "the parts before {} are not all of one size, or are more than {MAX_PARTS}",
                path.shown()
            )));
        }
        let part =
            FileSource::open(&path).map_err(|error| damaged(error.with_causes().to_string()))?;
        last_len = part.size();
        parts.push(Arc::new(part));
    }
    if let Some(beyond) = next(&path).filter(|beyond| beyond.is_file()) {
        return Err(damaged(format!(
            "{} is missing, but there is {}",
            path.shown(),
            beyond.shown()
        )));
    }
    if last_len > part_len {
        return Err(unsupported("a split image whose last part is the largest"));
    }
    let disk = Concat::new(parts).ok_or_else(|| damaged("larger than any disk"))?;
    Ok(Arc::new(disk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_in_digits_and_letters() {
        for (first, second) in [("d.001", "d.002"), ("d.00", "d.01"), ("d.aa", "d.ab")] {
            assert!(is_first(Path::new(first)), "{first}");
            assert_eq!(next(Path::new(first)).unwrap(), Path::new(second));
        }
        for (part, following) in [("d.099", "d.100"), ("d.az", "d.ba")] {
            assert_eq!(next(Path::new(part)).unwrap(), Path::new(following));
        }
        for other in ["d", "d.img", "d.1", "d.002", "d.011", "d.E01"] {
            assert!(!is_first(Path::new(other)), "{other}");
        }
        assert_eq!(next(Path::new("d.999")), None);
    }

    #[test]
    fn parts_that_are_links_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("d.001"), [7; 1000]).unwrap();
        std::fs::write(at("elsewhere"), [8; 1000]).unwrap();
        std::os::unix::fs::symlink(at("elsewhere"), at("d.002")).unwrap();
        assert!(fits(&at("d.001")).unwrap());
        let first = Arc::new(FileSource::open(at("d.001")).unwrap());
        let error = open(&at("d.001"), first).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains("d.002 is a link"), "{error}");
    }

    #[test]
    fn parts_that_are_cut_off_or_missing_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let write = |name: &str, len: usize| std::fs::write(at(name), vec![7; len]).unwrap();
        let first = || Arc::new(FileSource::open(at("d.001")).unwrap());
        write("d.001", 1000);
        assert!(!fits(&at("d.001")).unwrap());
        write("d.002", 1000);
        write("d.003", 10);
        assert_eq!(open(&at("d.001"), first()).unwrap().size(), 2010);
        write("d.002", 999);
        let error = open(&at("d.001"), first()).err().unwrap().to_string();
        assert!(error.contains("not all of one size"), "{error}");
        write("d.002", 1000);
        std::fs::rename(at("d.003"), at("d.004")).unwrap();
        let error = open(&at("d.001"), first()).err().unwrap().to_string();
        assert!(error.contains("d.003 is missing"), "{error}");
    }
}
