//! Words of the command line that no message repeats, because they may be secrets.
//!
//! Users type a password or the 48 digits where an option or a file name is expected, and messages
//! end up in logs and bug reports. So messages never show an unexpected word, nor a word that is
//! given as a file name but names no file.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::OnceLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use fve::guid::Guid;
use fve::source::is_nbd_address;
use zeroize::Zeroizing;

/// Shown in place of an unexpected word.
const PLACEHOLDER: &str = "(not repeated: it may be a secret)";

/// How to give a secret instead.
pub(crate) const ADVICE: &str = "give a secret in a file or on standard input, as in '--recovery-password-file -' or '--password-file FILE'";

/// Arguments that name an existing file. All others name a file that the command creates, and its
/// name is no secret afterwards.
const INPUTS: &[&str] = &[
    "source",
    "places",
    "directory",
    "volume",
    "file",
    "files",
    "from",
    "policy",
    "certificate",
    "certificates",
];

/// Arguments whose value can be an address, such as `dhcp4:eth0`, `pkcs11:token=…` or `ldaps://SERVER`.
const ADDRESSES: &[&str] = &[
    "places",
    "tpm",
    "network-unlock",
    "pkcs11",
    "recovery-lookup",
];

/// A word of the command line, and the name that a message shows instead.
struct Hidden {
    word: Zeroizing<String>,
    name: String,
}

static HIDDEN: OnceLock<Vec<Hidden>> = OnceLock::new();

/// Whether an option, by its name without dashes, gives a credential.
type IsCredential = fn(&str) -> bool;

/// Records which words of this command line no message may repeat.
pub(crate) fn remember(command: &Command, matches: &ArgMatches, is_credential: IsCredential) {
    let mut hidden = Vec::new();
    collect(command, matches, is_credential, &mut hidden);
    // Longer words first, since a word may contain another.
    hidden.sort_by_key(|hidden| std::cmp::Reverse(hidden.word.len()));
    let _ = HIDDEN.set(hidden);
}

/// Records words that were given as the names of existing files or devices, each with the name that a message shows
/// instead.
pub(crate) fn remember_inputs<'a>(words: impl IntoIterator<Item = (&'a OsStr, &'a str)>) {
    let hidden = words.into_iter().filter(|(word, _)| {
        let text = word.to_str();
        text.is_some_and(|text| looks_like_key(text) || !looks_like_path(word))
            && !names_input(word)
    });
    let _ = HIDDEN.set(
        hidden
            .map(|(word, name)| Hidden {
                word: Zeroizing::new(word.to_string_lossy().into_owned()),
                name: name.to_owned(),
            })
            .collect(),
    );
}

/// The text with each recorded word replaced by the name of its argument.
pub(crate) fn without_secrets(text: &str) -> Cow<'_, str> {
    let hidden = HIDDEN.get().map_or(&[][..], Vec::as_slice);
    hidden.iter().fold(Cow::Borrowed(text), |text, hidden| {
        match replaced(&text, &hidden.word, &hidden.name) {
            Some(other) => Cow::Owned(other),
            None => text,
        }
    })
}

/// Whether the text contains a recorded word.
pub(crate) fn has_secrets(text: &str) -> bool {
    matches!(without_secrets(text), Cow::Owned(_))
}

fn collect(
    command: &Command,
    matches: &ArgMatches,
    is_credential: IsCredential,
    hidden: &mut Vec<Hidden>,
) {
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        // Defaults are no words of the command line.
        let is_given = matches.try_contains_id(id).is_ok()
            && matches.value_source(id) != Some(ValueSource::DefaultValue);
        let values = is_given.then(|| matches.get_raw(id)).flatten();
        for value in values.into_iter().flatten() {
            if may_be_secret(argument, value, is_credential) {
                hidden.push(Hidden {
                    word: Zeroizing::new(value.to_string_lossy().into_owned()),
                    name: name(argument),
                });
            }
        }
    }
    if let Some((name, matches)) = matches.subcommand()
        && let Some(command) = command.find_subcommand(name)
    {
        collect(command, matches, is_credential, hidden);
    }
}

/// The name of an argument's value in a message: `SOURCE`, or `the FILE of --password-file`. An ID
/// comes after the word "ID" there.
fn name(argument: &Arg) -> String {
    let value = value_name(argument);
    match argument.get_long() {
        Some(option) if value == "ID" => format!("given with --{option}"),
        None if value == "ID" => "given on the command line".to_owned(),
        Some(option) => format!("the {value} of --{option}"),
        None => value.to_owned(),
    }
}

/// The placeholder of its value in the help.
fn value_name(argument: &Arg) -> &str {
    let mut names = argument.get_value_names().into_iter().flatten();
    names.next().map_or("value", |name| name.as_str())
}

fn may_be_secret(argument: &Arg, value: &OsStr, is_credential: IsCredential) -> bool {
    let Some(text) = value.to_str() else {
        return false;
    };
    if names_input(value) {
        return false;
    }
    let id = argument.get_id().as_str();
    if value_name(argument) == "ID" {
        return !looks_like_identifier(text) || looks_like_key(text);
    }
    if value_name(argument) == "SECONDS" && text.parse::<u16>().is_ok() {
        return false;
    }
    let is_input = INPUTS.contains(&id)
        || is_credential(id)
        || argument
            .get_long()
            .is_some_and(|option| option.ends_with("-file"));
    let is_address = ADDRESSES.contains(&id) && text.contains(':');
    looks_like_key(text) || (is_input && !is_address && !looks_like_path(value))
}

/// Whether the word names something that can be read, or nothing at all.
fn names_input(word: &OsStr) -> bool {
    word.is_empty() || word == "-" || exists(Path::new(word)) || is_nbd_address(word)
}

/// Whether there is something at the path, also if it cannot be looked at, such as a mount point whose
/// server has ended.
fn exists(path: &Path) -> bool {
    use rustix::fs::{Mode, OFlags};
    // stat(2) would ask the server of a mount point, which may never answer; 'fve unmount' must work then, too. This
    // asks no server, and does not make an automounter mount.
    match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => true,
        Err(error) => {
            use rustix::io::Errno;
            !matches!(
                error,
                Errno::NOENT
                    | Errno::NOTDIR
                    | Errno::NAMETOOLONG
                    | Errno::LOOP
                    | Errno::INVAL
                    | Errno::ACCESS
            )
        }
    }
}

/// Whether it has the form of a key protector's ID, or of the beginning of one.
fn looks_like_identifier(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_hexdigit() || matches!(c, '-' | '{' | '}'))
}

/// Whether it looks like at least three blocks of a recovery password, or a key in hexadecimal digits.
pub(crate) fn looks_like_key(text: &str) -> bool {
    const THREE_BLOCKS: usize = 18;
    const KEY_DIGITS: usize = 32;
    let separates = |c: char| c == '-' || c.is_whitespace();
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let only_digits = text.chars().all(|c| c.is_ascii_digit() || separates(c));
    let hex = text.chars().filter(char::is_ascii_hexdigit).count();
    let only_hex = text
        .chars()
        .all(|c| c.is_ascii_hexdigit() || separates(c) || c == ':');
    let is_identifier = text.contains('-') && text.parse::<Guid>().is_ok();
    (only_digits && digits >= THREE_BLOCKS) || (only_hex && hex >= KEY_DIGITS && !is_identifier)
}

/// Whether a word that names no file was still meant as a file name: its directory exists (other
/// than the root directory), or it has the extension of an image or key file.
pub(crate) fn looks_like_path(value: &OsStr) -> bool {
    const ENDINGS: &[&str] = &[
        "001", "bek", "bin", "cer", "crt", "csv", "dd", "der", "e01", "hive", "img", "ini", "json",
        "key", "ldif", "map", "p12", "pem", "pfx", "qcow2", "raw", "txt", "vhd", "vhdx", "vmdk",
    ];
    let path = Path::new(value);
    let is_in_directory = path
        .parent()
        .is_some_and(|parent| parent.file_name().is_some() && parent.is_dir());
    let ending = path.extension().and_then(OsStr::to_str);
    is_in_directory
        || path.starts_with(".")
        || path.starts_with("..")
        || ending.is_some_and(|ending| ENDINGS.contains(&ending.to_ascii_lowercase().as_str()))
}

/// `text` with every `word` replaced by `name`, except inside a longer word; `None` if there is none.
fn replaced(text: &str, word: &str, name: &str) -> Option<String> {
    let is_whole_word = |start: usize| {
        let before = text.get(..start).and_then(|text| text.chars().next_back());
        let after = text
            .get(start + word.len()..)
            .and_then(|text| text.chars().next());
        let joins = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        !joins(before) && !joins(after)
    };
    let mut places = text
        .match_indices(word)
        .map(|(start, _)| start)
        .filter(|start| is_whole_word(*start))
        .peekable();
    places.peek()?;
    let mut out = String::new();
    let mut from = 0;
    for start in places {
        out.push_str(text.get(from..start)?);
        out.push_str(name);
        from = start + word.len();
    }
    out.push_str(text.get(from..)?);
    Some(out)
}

/// A parse error without the words of the command line that its message would repeat.
pub(crate) fn without_values(mut error: clap::Error) -> clap::Error {
    let placeholder = || ContextValue::String(PLACEHOLDER.to_owned());
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let word = error.get(ContextKind::InvalidArg).map(ToString::to_string);
            let is_option = word.is_some_and(|word| is_option_word(&word));
            if !is_option {
                error.insert(ContextKind::InvalidArg, placeholder());
                error.remove(ContextKind::SuggestedArg);
            }
            // Otherwise clap would suggest to pass the word as a value.
            if error.get(ContextKind::SuggestedArg).is_none() {
                error.insert(
                    ContextKind::Suggested,
                    ContextValue::StyledStrs(vec![ADVICE.into()]),
                );
            }
        }
        ErrorKind::InvalidSubcommand => {
            error.insert(ContextKind::InvalidSubcommand, placeholder());
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::TooManyValues => {
            let value = error.get(ContextKind::InvalidValue);
            // Without a value, the message says so.
            if value.is_none_or(|value| !value.to_string().is_empty()) {
                error.insert(ContextKind::InvalidValue, placeholder());
            }
        }
        _ => {}
    }
    error
}

/// Whether it is written like an option: only lower-case letters and dashes, which is rare in a
/// secret.
fn is_option_word(word: &str) -> bool {
    let letters = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    };
    match word.strip_prefix("--") {
        Some(name) => letters(name),
        None => matches!(word.as_bytes(), [b'-', letter] if letter.is_ascii_alphabetic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "235818-357951-253979-013365-241120-245575-342914-591910";

    #[test]
    fn replaces_whole_words_only() {
        assert_eq!(
            replaced("cannot open pw: no pw, spw", "pw", "FILE").unwrap(),
            "cannot open FILE: no FILE, spw"
        );
        assert_eq!(replaced("nothing of it", "pw", "FILE"), None);
    }

    #[test]
    fn recognizes_the_digits_of_a_key() {
        for secret in [
            DIGITS,
            "235818-357951-253979",
            "235818357951253979",
            "000102030405060708090a0b0c0d0e0f",
            "00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f",
        ] {
            assert!(looks_like_key(secret), "{secret}");
        }
        for other in [
            "64311DEA",
            "1099511627776",
            "6DC6C38E-1D6F-4B2A-9F5A-0123456789AB",
            "{6DC6C38E-1D6F-4B2A-9F5A-0123456789AB}",
            "disk-2024-11-26.img",
            "aes-xts-128",
        ] {
            assert!(!looks_like_key(other), "{other}");
        }
    }

    #[test]
    fn distinguishes_file_names_from_passwords() {
        for path in ["disk.img", "Recovery.TXT", "/etc/none-such", "/dev/none"] {
            assert!(looks_like_path(OsStr::new(path)), "{path}");
        }
        for other in ["anaconda", "pass.word", "no/such/folder/x", "Summer.2024"] {
            assert!(!looks_like_path(OsStr::new(other)), "{other}");
        }
    }

    #[test]
    fn a_missing_value_is_called_missing() {
        let told = |words: &[&str]| {
            let command = Command::new("fve").args([
                Arg::new("source"),
                Arg::new("offset")
                    .long("offset")
                    .value_parser(clap::value_parser!(u64)),
            ]);
            let error = command.try_get_matches_from(words).unwrap_err();
            without_values(error).to_string()
        };
        let missing = told(&["fve", "--offset"]);
        assert!(
            missing.contains("a value is required for '--offset"),
            "{missing}"
        );
        let empty = told(&["fve", "--offset="]);
        assert!(empty.contains("invalid value ''"), "{empty}");
        assert!(told(&["fve", "--offset=geheim"]).contains(PLACEHOLDER));
    }

    #[test]
    fn distinguishes_options_from_secrets() {
        for option in ["--ro", "--readonly", "-r", "-V"] {
            assert!(is_option_word(option), "{option}");
        }
        for other in ["--235818", "-235818", "anaconda", "--Secret1", DIGITS, "--"] {
            assert!(!is_option_word(other), "{other}");
        }
    }
}
