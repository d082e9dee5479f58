//! Reads credentials from files: whole, up to a maximum size, without leaving copies in memory.

use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::secret::{SecretBytes, SecretText};
use crate::shown::ShowPath;

/// Most bytes of a credential file. A text with recovery passwords may be the export of a whole
/// directory.
const MAX_LEN: u64 = 1024 * 1024;

/// The whole content of a file; `-` is standard input.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::BadCredential`] if it is larger than 1 MiB.
pub fn read(path: &Path, credential: &str) -> Result<SecretBytes> {
    let fail = |source| {
        Error::io(
            format!("cannot read the {credential} from {}", path.shown()),
            source,
        )
    };
    // Reserves the whole size at once: a vector that grows leaves copies of its content in memory.
    let mut bytes = Zeroizing::new(Vec::new());
    let limit = MAX_LEN + 1;
    if path == Path::new("-") {
        bytes.reserve_exact(limit as usize);
        std::io::stdin()
            .take(limit)
            .read_to_end(&mut bytes)
            .map_err(fail)?;
    } else {
        let file = std::fs::File::open(path).map_err(fail)?;
        let len = file.metadata().map_err(fail)?.len().clamp(4096, limit);
        bytes.reserve_exact(len as usize + 1);
        file.take(limit).read_to_end(&mut bytes).map_err(fail)?;
    }
    if bytes.len() as u64 > MAX_LEN {
        return Err(Error::bad_credential(
            credential,
            format!(
                "{} is too large for a {credential} file: it has more than 1 MiB",
                path.shown()
            ),
        ));
    }
    Ok(SecretBytes::new(std::mem::take(&mut *bytes)))
}

/// The text in a file, without one newline at its end.
///
/// # Errors
/// As [`read`]; [`Error::BadCredential`] also if the file is empty, has more than one line, or is neither
/// UTF-8 nor UTF-16 with a byte-order mark.
pub fn read_line(path: &Path, credential: &str) -> Result<SecretText> {
    line_of(&read(path, credential)?, path, credential)
}

/// The same for the content of a file that was read.
pub(crate) fn line_of(content: &SecretBytes, path: &Path, credential: &str) -> Result<SecretText> {
    line_in(content, "file", &path.shown().to_string(), credential)
}

/// The same for what was read from something else than a file: its kind is `holder`, and `name` is what
/// messages call this one.
///
/// # Errors
/// [`Error::BadCredential`] as for [`read_line`].
pub fn line_in(
    content: &SecretBytes,
    holder: &str,
    name: &str,
    credential: &str,
) -> Result<SecretText> {
    let text = decode(content.expose()).ok_or_else(|| Error::BadCredential {
        credential: credential.to_owned(),
        why: format!("{name} is not text in UTF-8"),
        remedy: Some(format!("save the {holder} as UTF-8").into()),
    })?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let fault = |what: String, advice: String| Error::BadCredential {
        credential: credential.to_owned(),
        why: format!("{name} {what}"),
        remedy: Some(advice.into()),
    };
    let put = || format!("put the secret into the {holder}");
    if text.is_empty() {
        return Err(fault("is empty".to_owned(), put()));
    }
    if line.trim_matches(['\r', '\n']).is_empty() {
        return Err(fault("has only empty lines".to_owned(), put()));
    }
    let lines = line.split('\n').count();
    if lines > 1 {
        return Err(fault(
            format!("has {lines} lines, but a {credential} {holder} has one"),
            format!("leave only the secret in the {holder}, in its first line"),
        ));
    }
    Ok(SecretText::new(line.to_owned()))
}

fn decode(bytes: &[u8]) -> Option<Zeroizing<String>> {
    let units = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Zeroizing<Vec<u16>> =
            Zeroizing::new(bytes.chunks_exact(2).map(|b| unit([b[0], b[1]])).collect());
        // Reserved at once, as above: at most three bytes for each UTF-16 unit.
        let mut text = Zeroizing::new(String::with_capacity(3 * units.len()));
        for char in char::decode_utf16(units.iter().copied()) {
            text.push(char.ok()?);
        }
        Some(text)
    };
    let copied = |bytes| Some(Zeroizing::new(std::str::from_utf8(bytes).ok()?.to_owned()));
    match bytes {
        [0xFF, 0xFE, rest @ ..] => units(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => units(rest, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => copied(rest),
        _ => copied(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(content: &[u8]) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let text = read_line(file.path(), "password").ok()?;
        Some(text.expose().to_owned())
    }

    #[test]
    fn strips_one_newline() {
        assert_eq!(line(b"secret\n").unwrap(), "secret");
        assert_eq!(line(b"secret\r\n").unwrap(), "secret");
        assert_eq!(line(b" secret \n").unwrap(), " secret ");
    }

    #[test]
    fn refuses_what_is_not_one_line() {
        for (content, fault) in [
            (&b""[..], "is empty"),
            (b"\n", "has only empty lines"),
            (b"\r\n\r\n", "has only empty lines"),
            (b"secret\n\n", "has 2 lines"),
            (b"secret\nother\nthird", "has 3 lines"),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), content).unwrap();
            let error = read_line(file.path(), "password").err().unwrap();
            assert!(error.to_string().contains(fault), "{error}");
        }
    }

    #[test]
    fn reads_the_encodings_of_common_editors() {
        assert_eq!(line("anaconda£\n".as_bytes()).unwrap(), "anaconda£");
        assert_eq!(line(b"\xEF\xBB\xBFanaconda").unwrap(), "anaconda");
        assert_eq!(line(b"\xFF\xFEa\0\xA3\0\n\0").unwrap(), "a£");
        assert_eq!(line(b"anaconda\xA3"), None);
    }
}
