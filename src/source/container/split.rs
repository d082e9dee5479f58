//! A raw image that is split into several files: `disk.001`, `disk.002`, …, or as split(1) names
//! them: `disk.aa`, `disk.ab`, …, `xaa`, `xab`, …, `disk.part00`, `disk.part01`, ….

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::beside::{Beside, joined};
use super::concat::Concat;
use super::{damaged, unsupported};
use crate::shown::ShowPath;
use crate::source::ReadAt;

/// Limit on the files: about as many as a process may usually have open.
const MAX_PARTS: usize = 1000;
/// How many numbers may be missing before a part that is found after them.
const MAX_GAP: usize = 8;

/// The name of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    /// The same for all parts.
    beginning: OsString,
    /// The number of the part, in digits or letters.
    number: String,
    /// Whether the number is the whole extension. Other names may end in digits or letters by chance.
    is_extension: bool,
}

impl Name {
    /// Splits the name of a first part. Its number is zeros with at most a 1 at the end, or only the
    /// letter `a`, at least two of either. `None` if it is none.
    fn first(name: &OsStr) -> Option<Self> {
        let path = Path::new(name);
        if let Some(number) = path.extension().and_then(OsStr::to_str)
            && (is_first_in_digits(number) || is_first_in_letters(number))
        {
            return Some(Self {
                beginning: joined(path.file_stem()?, "."),
                number: number.to_owned(),
                is_extension: true,
            });
        }
        let name = name.to_str()?;
        let split = |beginning: &str| {
            Some(Self {
                beginning: beginning.into(),
                number: name.strip_prefix(beginning)?.to_owned(),
                is_extension: false,
            })
        };
        let letters = split(name.trim_end_matches('a'))?;
        if is_first_in_letters(&letters.number) {
            return Some(letters);
        }
        let digits = split(name.trim_end_matches(|c: char| c.is_ascii_digit()))?;
        let beginning = digits.beginning.to_str()?.to_ascii_lowercase();
        // Other digits are more often the number of a disk or partition than that of a part.
        let counts_parts = beginning == "x" || beginning.ends_with("part");
        (counts_parts && is_first_in_digits(&digits.number)).then_some(digits)
    }

    /// The ways to split the name of any part. Its number is its extension, or the digits or the two
    /// or three letters at its end.
    fn all(name: &OsStr) -> Vec<Self> {
        let path = Path::new(name);
        let counts = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let letters = text.bytes().all(|byte| byte.is_ascii_lowercase());
            (1..=8).contains(&text.len()) && (digits || letters && text.len() >= 2)
        };
        let extension = path.extension().and_then(OsStr::to_str);
        let extension = extension.filter(|number| counts(number));
        let extension = extension.zip(path.file_stem()).map(|(number, stem)| Self {
            beginning: joined(stem, "."),
            number: number.to_owned(),
            is_extension: true,
        });
        let name = name.to_str().unwrap_or_default();
        let digits = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let letters = [2, 3].map(|count| name.len().saturating_sub(count));
        let others = [digits].into_iter().chain(letters).filter_map(|at| {
            let (beginning, number) = name.split_at_checked(at)?;
            counts(number).then(|| Self {
                beginning: beginning.into(),
                number: number.to_owned(),
                is_extension: false,
            })
        });
        extension.into_iter().chain(others).collect()
    }

    fn whole(&self) -> OsString {
        joined(&self.beginning, &self.number)
    }

    fn with_number(&self, number: String) -> Self {
        Self {
            number,
            ..self.clone()
        }
    }

    /// The name of the next part.
    fn next(&self) -> Option<Self> {
        let mut number = self.number.clone().into_bytes();
        for byte in number.iter_mut().rev() {
            match *byte {
                b'9' => *byte = b'0',
                b'z' => *byte = b'a',
                b'0'..=b'8' | b'a'..=b'y' => {
                    *byte = byte.saturating_add(1);
                    return String::from_utf8(number)
                        .ok()
                        .map(|number| self.with_number(number));
                }
                _ => return None,
            }
        }
        None
    }

    /// The name of the next part, if split(1) makes the number longer here so that the names stay in
    /// alphabetical order: `yz` is followed by `zaaa`, `zyzz` by `zzaaaa`, `89` by `9000`.
    fn widened(&self) -> Option<Self> {
        let (zero, last, before) = match self.number.bytes().next()? {
            b'0'..=b'9' => ('0', '9', '8'),
            _ => ('a', 'z', 'y'),
        };
        let rest = self.number.trim_start_matches(last).strip_prefix(before)?;
        let is_end = !rest.is_empty() && rest.chars().all(|c| c == last);
        let lasts = self.number.len().saturating_sub(rest.len());
        let zeros = rest.len().saturating_add(2);
        let number = last.to_string().repeat(lasts) + &zero.to_string().repeat(zeros);
        is_end.then(|| self.with_number(number))
    }

    /// The names of the parts that may follow this one.
    fn following(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.next(), Self::next).take(MAX_GAP)
    }
}

/// Zeros with at most a 1 at the end, at least two digits.
fn is_first_in_digits(number: &str) -> bool {
    let zeros = number.strip_suffix('1').unwrap_or(number);
    number.len() >= 2 && zeros.bytes().all(|byte| byte == b'0')
}

fn is_first_in_letters(number: &str) -> bool {
    number.len() >= 2 && number.bytes().all(|byte| byte == b'a')
}

pub(super) fn fits(path: &Path) -> io::Result<bool> {
    if path.file_name().is_none() {
        return Ok(false);
    }
    let beside = Beside::of(path)?;
    let Some(first) = Name::first(beside.name()) else {
        return Ok(false);
    };
    if let Some(zeros) = first.number.strip_suffix('1') {
        let zeroth = first.with_number(format!("{zeros}0"));
        if beside.has(&zeroth.whole()) {
            return Ok(false);
        }
    }
    let mut following = first.following();
    if first.is_extension {
        return Ok(following.any(|name| beside.has(&name.whole())));
    }
    // Such a name may be chance. The files are taken for parts only if their sizes are those of
    // parts.
    let size = |name: &Name| beside.file_size(&name.whole());
    let Some(second) = following.next() else {
        return Ok(false);
    };
    let third = following.next().and_then(|third| size(&third));
    let Some(first) = size(&first).filter(|first| *first > 0) else {
        return Ok(false);
    };
    Ok(match (size(&second), third) {
        (Some(second), _) if second == first => true,
        (Some(second), None) => second < first,
        // The second is missing.
        (None, Some(third)) => third == first,
        _ => false,
    })
}

pub(super) fn open(path: &Path, file: Arc<dyn ReadAt>) -> io::Result<Arc<dyn ReadAt>> {
    let beside = Beside::of(path)?;
    let mut name = Name::first(beside.name())
        .ok_or_else(|| damaged("its name is not that of a first part"))?;
    let part_len = file.size();
    let mut last_len = part_len;
    let mut parts = vec![file];
    loop {
        let (next, part) = match following(&beside, &name)? {
            Following::Part(next, part) => (next, part),
            Following::End => break,
            Following::Missing { part, found } => {
                return Err(damaged(format!(
                    "{} is missing, but there is {}",
                    beside.path(&part.whole()).shown(),
                    beside.path(&found.whole()).shown()
                )));
            }
        };
        // All parts except the last have the same size; otherwise one was cut off, or they do not
        // belong together.
        if last_len != part_len || parts.len() >= MAX_PARTS {
            return Err(unsupported(format!(
                "the parts before {} are not all of one size, or are more than {MAX_PARTS}",
                beside.path(&next.whole()).shown()
            )));
        }
        last_len = part.size();
        parts.push(part);
        name = next;
    }
    if last_len > part_len {
        return Err(unsupported("a split image whose last part is the largest"));
    }
    let disk = Concat::new(parts).ok_or_else(|| damaged("larger than any disk"))?;
    Ok(Arc::new(disk))
}

/// What comes after a part.
enum Following {
    Part(Name, Arc<dyn ReadAt>),
    /// A part is missing, but a later one is there.
    Missing {
        part: Name,
        found: Name,
    },
    End,
}

fn following(beside: &Beside, name: &Name) -> io::Result<Following> {
    for next in [name.next(), name.widened()].into_iter().flatten() {
        if let Some(part) = beside.open(&next.whole())? {
            return Ok(Following::Part(next, Arc::new(part)));
        }
    }
    let mut later = name.following();
    let Some(part) = later.next() else {
        return Ok(Following::End);
    };
    Ok(match later.find(|later| beside.has(&later.whole())) {
        Some(found) => Following::Missing { part, found },
        None => Following::End,
    })
}

/// The file that may be the next part of a split image of which `path` is one part. `None` for an
/// image that is opened as a whole.
pub(in crate::source) fn next_part(path: &Path) -> Option<PathBuf> {
    if fits(path).unwrap_or(false) {
        return None;
    }
    let beside = Beside::of(path).ok()?;
    let names = Name::all(beside.name()).into_iter();
    names
        .filter_map(|name| Some(name.next()?.whole()))
        .find(|next| beside.file_size(next).is_some())
        .map(|next| beside.path(&next))
}

/// The first part of a split image, if `path` is a later part.
pub(in crate::source) fn first_part(path: &Path) -> Option<PathBuf> {
    let beside = Beside::of(path).ok()?;
    Name::all(beside.name()).into_iter().find_map(|name| {
        let zero = match name.number.bytes().next()? {
            b'0'..=b'9' => "0",
            _ => "a",
        };
        let zeros = zero.repeat(name.number.len());
        let one = zero.repeat(name.number.len().saturating_sub(1)) + "1";
        [zeros, one]
            .into_iter()
            .map(|number| name.with_number(number).whole())
            .filter(|first| *first != name.whole())
            .map(|first| beside.path(&first))
            .find(|first| fits(first).unwrap_or(false))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::FileSource;

    #[test]
    fn parts_are_counted_in_digits_and_letters() {
        for (first, second) in [("d.001", "d.002"), ("d.00", "d.01"), ("d.aa", "d.ab")] {
            let first = Name::first(OsStr::new(first)).expect(first);
            assert_eq!(first.next().unwrap().whole(), second);
        }
        for (part, following) in [
            ("d.099", "d.100"),
            ("d.az", "d.ba"),
            ("xaz", "xba"),
            ("d.part9", ""),
        ] {
            let next = Name::all(OsStr::new(part))[0].next();
            assert_eq!(next.map(|next| next.whole()).unwrap_or_default(), following);
        }
        for other in [
            "d", "d.img", "d.1", "d.002", "d.011", "d.E01", "d.part1", "sda", "sda1", "disk00",
        ] {
            assert_eq!(Name::first(OsStr::new(other)), None, "{other}");
        }
        assert_eq!(Name::all(OsStr::new("d.999"))[0].next(), None);
    }

    #[test]
    fn numbers_get_longer_as_in_split() {
        for (number, longer) in [
            ("yz", Some("zaaa")),
            ("zyzz", Some("zzaaaa")),
            ("89", Some("9000")),
            ("9899", Some("990000")),
            ("xz", None),
            ("zz", None),
            ("99", None),
        ] {
            let name = Name {
                beginning: "x".into(),
                number: number.to_owned(),
                is_extension: false,
            };
            let widened = name.widened().map(|name| name.number);
            assert_eq!(widened.as_deref(), longer, "{number}");
        }
    }

    #[test]
    fn parts_as_split_names_them_are_joined() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (first, others) in [
            ("xaa", ["xab", "xac"]),
            ("d.imgaaa", ["d.imgaab", "d.imgaac"]),
            ("x00", ["x01", "x02"]),
            ("d.part01", ["d.part02", "d.part03"]),
        ] {
            std::fs::write(at(first), [1; 1000]).unwrap();
            assert!(!fits(&at(first)).unwrap(), "{first}");
            std::fs::write(at(others[0]), [2; 1000]).unwrap();
            std::fs::write(at(others[1]), [3; 10]).unwrap();
            assert!(fits(&at(first)).unwrap(), "{first}");
            let file = Arc::new(FileSource::open(at(first)).unwrap());
            assert_eq!(open(&at(first), file).unwrap().size(), 2010, "{first}");
            assert_eq!(next_part(&at(first)), None);
            assert_eq!(next_part(&at(others[0])), Some(at(others[1])));
            assert_eq!(first_part(&at(others[1])), Some(at(first)));
            assert_eq!(first_part(&at(first)), None);
            assert_eq!(first_part(&at("sda2")), None);
            // Files whose sizes are not those of parts have such names by chance.
            std::fs::write(at(others[0]), [2; 1001]).unwrap();
            assert!(!fits(&at(first)).unwrap(), "{first}");
        }
    }

    #[test]
    fn a_link_to_the_first_part_leads_to_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("images")).unwrap();
        std::fs::write(at("images/d.001"), [7; 1000]).unwrap();
        std::fs::write(at("images/d.002"), [8; 10]).unwrap();
        std::os::unix::fs::symlink("images/d.001", at("case.img")).unwrap();
        assert!(fits(&at("case.img")).unwrap());
        let first = Arc::new(FileSource::open(at("case.img")).unwrap());
        assert_eq!(open(&at("case.img"), first).unwrap().size(), 1010);
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
        std::fs::remove_file(at("d.002")).unwrap();
        assert!(fits(&at("d.001")).unwrap());
        let error = open(&at("d.001"), first()).err().unwrap().to_string();
        assert!(error.contains("d.002 is missing, but there is"), "{error}");
    }
}
