//! Words of the command line that no message repeats, because they may be secrets.
//!
//! People type a password or the 48 digits where an option or a file name belongs, and messages end
//! up in logs and in reports that others read. So a word that was not expected is never shown, and
//! neither is a word that stands where a file is expected but names none.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::OnceLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command};
use zeroize::Zeroizing;

use fve::guid::Guid;

/// What stands in place of a word that was not expected.
const PLACEHOLDER: &str = "(not repeated: it may be a secret)";

/// Where secrets come from instead.
pub(crate) const ADVICE: &str = "a secret comes from a file or from standard input, as in '--recovery-password-file -' or '--password-file FILE'";

/// Arguments that name something which is there already: the others name what is to be made, and
/// their names are known to everybody once it is.
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

/// Credentials that name a place in the form of an address: `dhcp4:eth0`, `pkcs11:token=…`.
const ADDRESSES: &[&str] = &["tpm", "network-unlock", "pkcs11", "recovery-lookup"];

/// A word of the command line, and what a message calls it instead.
struct Hidden {
    word: Zeroizing<String>,
    name: String,
}

static HIDDEN: OnceLock<Vec<Hidden>> = OnceLock::new();

/// Keeps in mind which words of this command line no message may repeat.
pub(crate) fn remember(command: &Command, matches: &ArgMatches) {
    let mut hidden = Vec::new();
    collect(command, matches, &mut hidden);
    // Longer words first: a word may be part of another.
    hidden.sort_by_key(|hidden| std::cmp::Reverse(hidden.word.len()));
    let _ = HIDDEN.set(hidden);
}

/// The text with the names of arguments in place of those words.
pub(crate) fn without_secrets(text: &str) -> Cow<'_, str> {
    let hidden = HIDDEN.get().map_or(&[][..], Vec::as_slice);
    hidden.iter().fold(Cow::Borrowed(text), |text, hidden| {
        match replaced(&text, &hidden.word, &hidden.name) {
            Some(other) => Cow::Owned(other),
            None => text,
        }
    })
}

/// Whether a message would have repeated one.
pub(crate) fn has_secrets(text: &str) -> bool {
    matches!(without_secrets(text), Cow::Owned(_))
}

fn collect(command: &Command, matches: &ArgMatches, hidden: &mut Vec<Hidden>) {
    // A backup is made under this name.
    let makes = |argument: &Arg| command.get_name() == "backup" && argument.get_id() == "file";
    for argument in command.get_arguments().filter(|argument| !makes(argument)) {
        let values = matches.try_get_raw(argument.get_id().as_str());
        for value in values.ok().flatten().into_iter().flatten() {
            if may_be_secret(argument, value) {
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
        collect(command, matches, hidden);
    }
}

/// What a message calls the value of an argument: `SOURCE`, or `the FILE of --password-file`.
fn name(argument: &Arg) -> String {
    let value = value_name(argument);
    match argument.get_long() {
        Some(option) => format!("the {value} of --{option}"),
        None => value.to_owned(),
    }
}

/// What stands for its value in the help.
fn value_name(argument: &Arg) -> &str {
    let mut names = argument.get_value_names().into_iter().flatten();
    names.next().map_or("value", |name| name.as_str())
}

fn may_be_secret(argument: &Arg, value: &OsStr) -> bool {
    let Some(text) = value.to_str() else {
        return false;
    };
    if value.is_empty() || value == "-" || Path::new(value).exists() {
        return false;
    }
    let id = argument.get_id().as_str();
    if value_name(argument) == "ID" {
        return !looks_like_identifier(text) || looks_like_key(text);
    }
    let is_input = INPUTS.contains(&id)
        || argument.get_help_heading() == Some("Credentials")
        || argument
            .get_long()
            .is_some_and(|option| option.ends_with("-file"));
    let is_address = ADDRESSES.contains(&id) && text.contains(':');
    looks_like_key(text) || (is_input && !is_address && !looks_like_path(value))
}

/// Whether it is of the form of a protector's identifier, whole or its beginning.
fn looks_like_identifier(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_hexdigit() || matches!(c, '-' | '{' | '}'))
}

/// Digits of a recovery password, three blocks of them or more, or a key in hexadecimal digits.
fn looks_like_key(text: &str) -> bool {
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

/// Whether a name that names nothing was meant as one all the same: it leads into a directory that
/// is there, besides the root, or ends as names of images and key files do.
fn looks_like_path(value: &OsStr) -> bool {
    const ENDINGS: &[&str] = &[
        "001", "bek", "bin", "cer", "crt", "csv", "dd", "der", "e01", "hive", "img", "ini", "json",
        "key", "ldif", "map", "p12", "pem", "pfx", "qcow2", "raw", "txt", "vhd", "vhdx", "vmdk",
    ];
    let path = Path::new(value);
    let leads_somewhere = path
        .parent()
        .is_some_and(|parent| parent.file_name().is_some() && parent.is_dir());
    let ending = path.extension().and_then(OsStr::to_str);
    leads_somewhere
        || path.starts_with(".")
        || path.starts_with("..")
        || ending.is_some_and(|ending| ENDINGS.contains(&ending.to_ascii_lowercase().as_str()))
}

/// `text` with `name` for every place where `word` stands as a word of its own.
fn replaced(text: &str, word: &str, name: &str) -> Option<String> {
    let stands_alone = |start: usize| {
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
        .filter(|start| stands_alone(*start))
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

/// The error of a command line that could not be understood, without the words that it repeats.
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
            // What clap would suggest else is to pass the word as a value.
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
            error.insert(ContextKind::InvalidValue, placeholder());
        }
        _ => {}
    }
    error
}

/// An option as one writes it: letters and dashes alone, which a secret rarely is.
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
    fn a_word_is_replaced_where_it_stands_alone() {
        assert_eq!(
            replaced("cannot open pw: no pw, spw", "pw", "FILE").unwrap(),
            "cannot open FILE: no FILE, spw"
        );
        assert_eq!(replaced("nothing of it", "pw", "FILE"), None);
    }

    #[test]
    fn digits_of_a_key_are_told_from_other_words() {
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
    fn names_of_files_are_told_from_passwords() {
        for path in ["disk.img", "Recovery.TXT", "/etc/none-such", "/dev/none"] {
            assert!(looks_like_path(OsStr::new(path)), "{path}");
        }
        for other in ["anaconda", "pass.word", "no/such/folder/x", "Summer.2024"] {
            assert!(!looks_like_path(OsStr::new(other)), "{other}");
        }
    }

    #[test]
    fn options_are_told_from_secrets() {
        for option in ["--ro", "--readonly", "-r", "-V"] {
            assert!(is_option_word(option), "{option}");
        }
        for other in ["--235818", "-235818", "anaconda", "--Secret1", DIGITS, "--"] {
            assert!(!is_option_word(other), "{other}");
        }
    }
}
