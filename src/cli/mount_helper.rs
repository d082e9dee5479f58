//! `mount -t fve` and `mount -t fuse.fve`: the words of mount(8) turned into those of `fve mount`.
//!
//! mount(8) runs `mount.fve SOURCE DIR [-sfnv] -o OPTIONS`, and for the type `fuse.fve` runs
//! `fve SOURCE DIR -o OPTIONS`. Options that are ours are taken; all others are for the generic
//! layers and are ignored.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::cli::failure::Failure;
use crate::cli::options::credentials::KINDS;

/// Name under which mount(8) looks for a helper.
const HELPER: &str = "mount.fve";

/// Options of `fve mount` that have a value, besides those of the credentials.
const WITH_VALUE: &[&str] = &[
    "offset",
    "partition",
    "metadata",
    "volume-start",
    "protector",
    "key-package",
];
/// Options of `fve mount` without one: in the words of mount(8), and ours. `rw` is none of them:
/// mount(8) passes it whenever nobody said `ro`, and a volume is only written to when somebody
/// asked.
const WITHOUT_VALUE: &[(&str, &str)] = &[
    ("allow_other", "--allow-other"),
    ("direct_io", "--direct-io"),
    ("read-write", "--read-write"),
    ("allow-unaware-file-system", "--allow-unaware-file-system"),
    ("accept-damaged-metadata", "--accept-damaged-metadata"),
];

/// The arguments of this process, translated, without the program's name.
pub(crate) fn arguments() -> Result<Vec<OsString>, Failure> {
    let mut arguments = translate(std::env::args_os().collect())?;
    if !arguments.is_empty() {
        arguments.remove(0);
    }
    Ok(arguments)
}

/// Arguments as `fve` takes them, whatever name it was started under.
pub(crate) fn translate(arguments: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    let helper = name == Some(OsStr::new(HELPER));
    let [_, rest @ ..] = arguments.as_slice() else {
        return Ok(arguments);
    };
    if !helper && !looks_like_mount(rest) {
        return Ok(arguments);
    }
    let mut words = Vec::new();
    let mut options = Vec::new();
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("-o") => options.extend(rest.next()),
            // Namespace and type: each has a value.
            Some("-N" | "-t") => drop(rest.next()),
            Some(flag) if flag.starts_with('-') => {}
            _ => words.push(argument.clone()),
        }
    }
    let [source, directory] = words.as_slice() else {
        return Err(Failure::usage(format!(
            "{HELPER} takes SOURCE DIR [-o OPTIONS]"
        )));
    };
    let mut translated: Vec<OsString> = vec![
        "fve".into(),
        "mount".into(),
        source.clone(),
        directory.clone(),
    ];
    let options: Vec<_> = options
        .iter()
        .filter_map(|options| options.to_str())
        .flat_map(|options| options.split(','))
        .collect();
    if options.contains(&"ro") && options.contains(&"read-write") {
        return Err(Failure::usage(
            "the options ro and read-write contradict each other",
        ));
    }
    for option in options {
        translated.extend(option_of_ours(option));
    }
    Ok(translated)
}

/// `SOURCE DIR -o OPTIONS`: no command of ours begins so.
fn looks_like_mount(rest: &[OsString]) -> bool {
    let [source, directory, third, ..] = rest else {
        return false;
    };
    let is_word = |word: &OsString| !word.to_string_lossy().starts_with('-');
    is_word(source) && is_word(directory) && third == "-o" && Path::new(source).exists()
}

fn option_of_ours(option: &str) -> Vec<OsString> {
    if let Some((_, ours)) = WITHOUT_VALUE.iter().find(|(theirs, _)| *theirs == option) {
        return vec![ours.into()];
    }
    let additions = || KINDS.iter().flat_map(|kind| kind.additions);
    let Some((name, value)) = option.split_once('=') else {
        let alone = KINDS
            .iter()
            .any(|kind| kind.option == option && kind.value_is_optional)
            || additions().any(|other| other.option == option && other.value.is_none());
        return alone
            .then(|| format!("--{option}").into())
            .into_iter()
            .collect();
    };
    let mut joined = KINDS.iter().filter(|kind| kind.value_is_optional);
    if joined.any(|kind| kind.option == name) {
        return vec![format!("--{name}={value}").into()];
    }
    let ours = WITH_VALUE.contains(&name)
        || KINDS.iter().any(|kind| kind.option == name)
        || additions().any(|other| other.option == name && other.value.is_some());
    if ours {
        vec![format!("--{name}").into(), value.into()]
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(words: &[&str]) -> Vec<String> {
        let words = words.iter().map(OsString::from).collect();
        let translated = translate(words).unwrap();
        translated
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn takes_what_mount_gives_a_helper() {
        assert_eq!(
            translated(&[
                "/sbin/mount.fve",
                "/dev/sda3",
                "/mnt/c",
                "-s",
                "-o",
                "ro,nofail,x-systemd.automount,recovery-password-file=/etc/fve/c.key,allow_other,uid=1000",
            ]),
            [
                "fve",
                "mount",
                "/dev/sda3",
                "/mnt/c",
                "--recovery-password-file",
                "/etc/fve/c.key",
                "--allow-other"
            ]
        );
    }

    #[test]
    fn takes_what_the_fuse_helper_gives() {
        assert_eq!(
            translated(&["fve", "/dev/null", "/mnt", "-o", "rw,dev,suid,partition=3"]),
            ["fve", "mount", "/dev/null", "/mnt", "--partition", "3"]
        );
    }

    #[test]
    fn writes_only_when_asked_by_our_own_word() {
        assert_eq!(
            translated(&["mount.fve", "/dev/sda3", "/mnt", "-o", "rw,read-write"]),
            ["fve", "mount", "/dev/sda3", "/mnt", "--read-write"]
        );
        let both = ["mount.fve", "/dev/sda3", "/mnt", "-o", "ro,read-write"];
        assert!(translate(both.iter().map(OsString::from).collect()).is_err());
    }

    #[test]
    fn leaves_the_commands_alone() {
        for words in [
            &["fve"][..],
            &["fve", "info", "disk.img"],
            &["fve", "mount", "disk.img", "/mnt"],
            &["fve", "decrypt", "disk.img", "-"],
        ] {
            assert_eq!(translated(words), words);
        }
    }
}
