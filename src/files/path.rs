//! Paths inside a file system.

use std::fmt;

use super::name::FileName;

/// A path from the root directory of a file system, or from another directory where that is said.
///
/// `/` and `\` separate names. A drive letter (`C:`) at the start is left out, and so are empty names
/// and `.`; `..` removes the name before it. The last name may end in `:STREAM` or `:STREAM:$DATA`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilePath {
    names: Vec<FileName>,
}

const SEPARATORS: [u16; 2] = [b'/' as u16, b'\\' as u16];
const COLON: u16 = b':' as u16;

impl FilePath {
    /// The root directory.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path that a text means.
    pub fn parse(text: &str) -> Self {
        Self::from_name(&text.into())
    }

    /// The path that an argument of a command line means. `None` if it is not WTF-8, which all names of
    /// these file systems are.
    #[cfg(unix)]
    pub fn from_os_str(text: &std::ffi::OsStr) -> Option<Self> {
        Some(Self::from_name(&FileName::from_os_str(text)?))
    }

    /// The path that a text in UTF-16 means.
    pub fn from_name(text: &FileName) -> Self {
        let units = without_drive(text.units());
        let mut names: Vec<FileName> = Vec::new();
        for part in units.split(|unit| SEPARATORS.contains(unit)) {
            match String::from_utf16_lossy(part).as_str() {
                "" | "." => {}
                ".." => drop(names.pop()),
                _ => names.push(FileName::from_units(part)),
            }
        }
        Self { names }
    }

    /// The path of these names.
    pub fn from_names(names: Vec<FileName>) -> Self {
        Self { names }
    }

    /// The names from the first directory on.
    pub fn names(&self) -> &[FileName] {
        &self.names
    }

    /// The path without its last name, and that name. `None` for the root directory.
    pub fn split_last(&self) -> Option<(Self, &FileName)> {
        let (last, before) = self.names.split_last()?;
        let before = Self {
            names: before.to_vec(),
        };
        Some((before, last))
    }

    /// The path with one more name.
    #[must_use]
    pub fn join(&self, name: FileName) -> Self {
        let mut names = self.names.clone();
        names.push(name);
        Self { names }
    }
}

/// The text without `C:` at its start.
fn without_drive(units: &[u16]) -> &[u16] {
    let is_letter = |unit: &u16| u8::try_from(*unit).is_ok_and(|byte| byte.is_ascii_alphabetic());
    match units {
        [letter, COLON] if is_letter(letter) => &[],
        [letter, COLON, rest @ ..]
            if is_letter(letter) && rest.first().is_some_and(|next| SEPARATORS.contains(next)) =>
        {
            rest
        }
        _ => units,
    }
}

/// Splits `name:stream` or `name:stream:$DATA` into the name and the stream; the stream of
/// `name::$DATA` is `None`. `None` if there is no stream in it, or one of another type.
pub(super) fn split_stream(name: &FileName) -> Option<(FileName, Option<FileName>)> {
    let mut parts = name.units().splitn(3, |unit| *unit == COLON);
    let (file, stream) = (parts.next()?, parts.next()?);
    let kind = parts.next().map(String::from_utf16_lossy);
    if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("$DATA")) {
        return None;
    }
    let stream = (!stream.is_empty()).then(|| FileName::from_units(stream));
    Some((FileName::from_units(file), stream))
}

impl fmt::Display for FilePath {
    /// With `/` before each name; the root directory is `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.names.is_empty() {
            return f.write_str("/");
        }
        self.names.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_windows_and_linux_write_it() {
        let shown = |text| FilePath::parse(text).to_string();
        assert_eq!(shown(r"C:\Users\x"), "/Users/x");
        assert_eq!(shown("c:/Users/./x/"), "/Users/x");
        assert_eq!(shown("Users//x"), "/Users/x");
        assert_eq!(shown("a/../../b"), "/b");
        assert_eq!(shown("C:"), "/");
        assert_eq!(shown(""), "/");
        assert_eq!(shown("x:stream"), "/x:stream");
    }

    #[test]
    fn a_stream_follows_a_colon() {
        let split = |text: &str| split_stream(&text.into());
        assert_eq!(split("a:b"), Some(("a".into(), Some("b".into()))));
        assert_eq!(split("a:b:$data"), Some(("a".into(), Some("b".into()))));
        assert_eq!(split("a::$DATA"), Some(("a".into(), None)));
        assert_eq!(split("a"), None);
        assert_eq!(split("a:b:$INDEX_ALLOCATION"), None);
    }
}
