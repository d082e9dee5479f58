//! dislocker, dislocker-fuse and dislocker-file, and the lines of `/etc/fstab` with the type
//! `fuse.dislocker`.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;

use zeroize::Zeroizing;

use super::fuse::{self, Mounting};
use super::secret::{self, Secrets};
use super::words::{Form, Given, Takes, Word};
use super::{Call, option, path};
use crate::cli::failure::Failure;
use crate::cli::output::term;
use crate::cli::unrepeated;

pub(super) const FORMS: &[Form] = &[
    ('c', "clearkey", Takes::Nothing),
    ('f', "bekfile", Takes::Value),
    ('F', "force-block", Takes::Maybe),
    ('h', "help", Takes::Nothing),
    ('k', "fvek", Takes::Value),
    ('K', "vmk", Takes::Value),
    ('l', "logfile", Takes::Value),
    ('o', "options", Takes::Value),
    ('O', "offset", Takes::Value),
    ('p', "recovery-password", Takes::Maybe),
    ('q', "quiet", Takes::Nothing),
    ('r', "readonly", Takes::Nothing),
    ('r', "ro", Takes::Nothing),
    ('s', "stateok", Takes::Nothing),
    ('u', "user-password", Takes::Maybe),
    ('v', "verbosity", Takes::Nothing),
    ('V', "volume", Takes::Value),
];

/// The letters of the options whose values are secrets.
pub(super) const SECRETS: &[char] = &['p', 'u'];

/// The environment variable that can hold the password.
pub(super) const PASSWORD_VARIABLE: &str = "DISLOCKER_PASSWORD";

/// The file that scripts expect in the mounted directory.
const FILE_NAME: &str = "--file-name=dislocker-file";

/// What to type instead of a secret on the command line.
pub(super) const MOUNT_INSTEAD: &str = "'fve mount --volume SOURCE DIR' asks for it, or reads it from a file with --password-file FILE or --recovery-password-file FILE";

/// The same for dislocker, which asks itself.
const DISLOCKER_INSTEAD: &str = "-u or -p without a value asks for it, and so do the commands of fve, which can also read it from a file";

/// The same in `/etc/fstab`.
const FSTAB_INSTEAD: &str = "the type fve has the options password-file=FILE and recovery-password-file=FILE: see mount.fve(8)";

/// The arguments for fve of `dislocker -V VOLUME … -- DIR`, or of `dislocker VOLUME DIR -o OPTIONS`, which is
/// what mount(8) runs for the type `fuse.dislocker`.
pub(super) fn mount(call: &Call<'_>, given: &Given) -> Result<Vec<OsString>, Failure> {
    let mut words: Vec<_> = given.words.iter().chain(&given.rest).cloned().collect();
    let by_mount = !given.has('V') && given.has('o');
    let volume = match given.value('V') {
        Some(volume) => volume.clone(),
        None if words.is_empty() => return Err(call.refused("no volume is given with -V")),
        None => words.remove(0),
    };
    let mut mounting = Mounting::parse(&words)
        .map_err(|problem| call.refused(format!("{problem}{}", detached(given))))?;
    let mut all = given.clone();
    for list in given.values('o') {
        add_options(call, list, &mut all, &mut mounting)?;
    }
    let directory = mounting.directory.clone();
    let directory = directory.ok_or_else(|| call.refused("no mount point is given"))?;
    let note = detached(given);
    if !note.is_empty() && !Path::new(&directory.os()).is_dir() {
        // The word may be the secret.
        return Err(call.refused(format!("the mount point is no directory{note}")));
    }
    let (more, instead): (&[_], _) = match by_mount {
        true => (&["--unless-mounted"], FSTAB_INSTEAD),
        false => (&[], DISLOCKER_INSTEAD),
    };
    mount_with(call, &all, mounting, &volume, &directory, more, instead)
}

/// What to know about secrets, if one may have been given as a word of its own.
fn detached(given: &Given) -> String {
    let open = given.options.iter().find_map(|(letter, value)| {
        let may_have_one = matches!(letter, 'p' | 'u') && value.is_none();
        may_have_one.then_some(*letter)
    });
    open.map_or_else(String::new, |letter| {
        format!("; a value of -{letter} must be attached to it, without a space")
    })
}

/// Adds a list of mount options: long options of dislocker, and those of FUSE.
fn add_options(
    call: &Call<'_>,
    list: &Word,
    given: &mut Given,
    mounting: &mut Mounting,
) -> Result<(), Failure> {
    for word in list.separated() {
        let (name, value) = word.name_and_value();
        match FORMS.iter().find(|(_, long, _)| *long == name.as_str()) {
            Some((_, long, Takes::Value)) if value.is_none() => {
                return Err(call.refused(format!("the mount option '{long}' needs a value")));
            }
            Some(('h' | 'o' | 'V', ..)) | None => mounting.add(&word),
            Some((letter, ..)) => {
                mounting.hides_names |= SECRETS.contains(letter) && value.is_some();
                given.options.push((*letter, value));
            }
        }
    }
    Ok(())
}

/// The part of a list of mount options from the first value on that may be a secret: also one with a name that is
/// unknown, since it may have been meant so. A secret with a comma seems to end before it.
pub(super) fn secret_in(list: &Word) -> Option<Word> {
    let start = list.separated().iter().find_map(|option| {
        let (name, value) = option.name_and_value();
        let may_be_secret = match FORMS.iter().find(|(_, long, _)| *long == name.as_str()) {
            Some((letter, ..)) => SECRETS.contains(letter),
            None => !fuse::is_known(&name),
        };
        value
            .filter(|_| may_be_secret)
            .map(|value| value.range.start)
    });
    start.map(|start| list.from(start - list.range.start))
}

fn mount_with(
    call: &Call<'_>,
    given: &Given,
    mounting: Mounting,
    volume: &Word,
    directory: &Word,
    more: &[&str],
    instead: &str,
) -> Result<Vec<OsString>, Failure> {
    if mounting.is_remount {
        return Err(call
            .refused("a mounted volume cannot be remounted with other options: unmount it first"));
    }
    let mut words: Vec<OsString> = ["fve", "mount", "--volume", FILE_NAME]
        .map(Into::into)
        .into();
    words.extend([path(volume), path(directory)]);
    if !given.has('r') && !mounting.read_only {
        words.extend(["--read-write", "--or-read-only"].map(Into::into));
    }
    words.extend(more.iter().map(Into::into));
    if mounting.foreground {
        words.push("--foreground".into());
    }
    words.extend(mounting.options);
    if mounting.is_verbose && !given.has('q') {
        words.push("--verbose".into());
    }
    add_common(call, given, &mut words, instead)?;
    for warning in mounting.warnings {
        call.note(&warning);
    }
    Ok(words)
}

/// The arguments for fve of `dislocker-file -V VOLUME … -- FILE`.
pub(super) fn decrypt(call: &Call<'_>, given: &Given) -> Result<Vec<OsString>, Failure> {
    let volume = given.value('V');
    let volume = volume.ok_or_else(|| call.refused("no volume is given with -V"))?;
    let mut files = given.words.iter().chain(&given.rest);
    let (Some(file), None) = (files.next(), files.next()) else {
        return Err(call.refused(format!(
            "exactly one file must be given to write the volume to{}",
            detached(given)
        )));
    };
    if !detached(given).is_empty() && unrepeated::looks_like_key(&file.text()) {
        // A file with this name would hold the whole volume, and show the secret.
        return Err(call.refused(format!(
            "the file to write to has the form of a secret{}",
            detached(given)
        )));
    }
    let mut all = given.clone();
    for list in given.values('o') {
        // There is no mount that the others could be for.
        add_options(call, list, &mut all, &mut Mounting::default())?;
    }
    let mut words = vec!["fve".into(), "decrypt".into(), path(volume), path(file)];
    add_common(call, &all, &mut words, DISLOCKER_INSTEAD)?;
    Ok(words)
}

/// Adds what mounting and decrypting have in common: credentials, place of the volume, messages.
fn add_common(
    call: &Call<'_>,
    given: &Given,
    words: &mut Vec<OsString>,
    instead: &str,
) -> Result<(), Failure> {
    // Before any message.
    if given.has('q') {
        term::be_quiet();
        words.push("--quiet".into());
    } else {
        words.extend((0..given.count('v')).map(|_| "--verbose".into()));
    }
    let (credentials, has_secret) = credentials(call, given)?;
    words.extend(credentials);
    if let Some(log) = given.value('l')
        && let Err(problem) = write_messages_to(log)
    {
        // As with dislocker, this is no reason to fail.
        call.note(&problem);
    }
    if has_secret {
        Secrets::warn(call.name, instead);
    }
    if let Some(offset) = given.value('O') {
        words.push(super::offset(call, offset)?);
    }
    if given.has('F') {
        call.note(
            "the option -F has no effect: fve compares all metadata copies, and uses a good one",
        );
    }
    if given.has('v') {
        call.say_translated(words);
    }
    Ok(())
}

/// The options for the credentials, and whether one of them was a secret on the command line.
fn credentials(call: &Call<'_>, given: &Given) -> Result<(Vec<OsString>, bool), Failure> {
    let mut words = Vec::new();
    let mut has_secret = false;
    let mut asks = false;
    for (letter, value) in given.last_of_each() {
        match (letter, value) {
            ('f', Some(file)) => words.push(option("startup-key", file)),
            ('k', Some(file)) => words.push(option("fvek-file", file)),
            ('K', Some(file)) => words.push(option("vmk-file", file)),
            ('u' | 'p', Some(secret)) => {
                let option = if letter == 'u' {
                    "password-file"
                } else {
                    "recovery-password-file"
                };
                let secret = match letter {
                    'u' => in_utf8(secret),
                    _ => secret.clone(),
                };
                words.push(call.pass_on(&secret, letter, option)?);
                has_secret = true;
            }
            ('u', None) => match password_from_elsewhere(call)? {
                Some(option) => words.push(option),
                None => asks = true,
            },
            ('p', None) => asks = true,
            _ => {}
        }
    }
    if words.is_empty() && !asks {
        // Only a clear key may unlock the volume then.
        words.push("--no-prompt".into());
    }
    Ok((words, has_secret))
}

/// dislocker takes each byte of a password for a character of Latin-1, so scripts with other characters than those of
/// ASCII give it so.
fn in_utf8(password: &Word) -> Word {
    let mut password = password.clone();
    if std::str::from_utf8(&password.bytes).is_err() {
        let mut text = Zeroizing::new(String::with_capacity(2 * password.bytes.len()));
        text.extend(password.bytes.iter().copied().map(char::from));
        password.bytes = Zeroizing::new(text.as_bytes().to_vec());
    }
    password
}

/// The password from the environment or, where there is no terminal, from standard input.
fn password_from_elsewhere(call: &Call<'_>) -> Result<Option<OsString>, Failure> {
    if let Some(password) = &call.password {
        return secret::pipe(password, "password-file").map(Some);
    }
    if std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let line = secret::line_of_standard_input()?;
    if line.is_empty() {
        return Err(call.refused(format!(
            "-u has no value, and there is neither a terminal nor a line on standard input nor ${PASSWORD_VARIABLE}"
        )));
    }
    secret::pipe(&line, "password-file").map(Some)
}

/// Lets all messages go to the end of a file.
fn write_messages_to(log: &Word) -> Result<(), String> {
    use std::os::unix::fs::FileTypeExt;
    let path = log.os();
    let is_device = std::fs::metadata(&path).is_ok_and(|meta| meta.file_type().is_block_device());
    if is_device {
        return Err("the log file is a block device".to_owned());
    }
    let mut options = std::fs::OpenOptions::new();
    let file = options.append(true).create(true).open(path);
    file.and_then(|file| rustix::stdio::dup2_stderr(&file).map_err(Into::into))
        .map_err(|error| format!("cannot write to the log file: {error}"))
}

/// The options of mount(8) for its helpers.
pub(super) const HELPER_FORMS: &[Form] = &[
    ('f', "", Takes::Nothing),
    ('h', "", Takes::Nothing),
    ('N', "", Takes::Value),
    ('n', "", Takes::Nothing),
    ('o', "", Takes::Value),
    ('s', "", Takes::Nothing),
    ('t', "", Takes::Value),
    ('v', "", Takes::Nothing),
];

/// The arguments for fve of `mount.fuse.dislocker SOURCE DIR -o OPTIONS`.
pub(super) fn helper(call: &Call<'_>, given: &Given) -> Result<Vec<OsString>, Failure> {
    let [volume, directory] = given.words.as_slice() else {
        return Err(call
            .refused("exactly one volume and one mount point are needed, as mount(8) gives them"));
    };
    let mut mounting = Mounting::default();
    let mut options = Given::default();
    for list in given.values('o') {
        add_options(call, list, &mut options, &mut mounting)?;
    }
    if given.has('v') {
        options.options.push(('v', None));
    }
    let mut more = vec!["--unless-mounted"];
    if given.has('f') {
        more.push("--fake");
    }
    if given.has('s') {
        mounting.warnings.clear();
    }
    mount_with(
        call,
        &options,
        mounting,
        volume,
        directory,
        &more,
        FSTAB_INSTEAD,
    )
}
