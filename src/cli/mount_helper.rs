//! `mount -t fve` and `mount -t fuse.fve`: translates the arguments of mount(8) to those of `fve
//! mount`.
//!
//! mount(8) runs `mount.fve SOURCE DIR [-sfnv] -o OPTIONS`, and for the type `fuse.fve` runs
//! `fve SOURCE DIR -o OPTIONS`. Options of `fve mount` are passed on; all others are meant for
//! mount(8) itself or for systemd, and are ignored.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::cli::failure::Failure;
use crate::cli::options::credentials::KINDS;

/// The name under which mount(8) starts this program.
const HELPER: &str = "mount.fve";

/// Options of `fve mount` with a value, other than those of the credentials.
const WITH_VALUE: &[&str] = &[
    "offset",
    "partition",
    "metadata",
    "volume-start",
    "protector",
    "key-package",
    "rescue-map",
];
/// Options without a value: as mount(8) writes them, and as `fve mount` does. `rw` is not among them:
/// mount(8) passes it unless the user gave `ro`, but a volume is only written to on an explicit
/// request.
const WITHOUT_VALUE: &[(&str, &str)] = &[
    ("allow_other", "--allow-other"),
    ("direct_io", "--direct-io"),
    ("read-write", "--read-write"),
    ("allow-unaware-file-system", "--allow-unaware-file-system"),
    ("accept-damaged-metadata", "--accept-damaged-metadata"),
];

/// The translated arguments of this process, without the name of the program.
pub(crate) fn arguments() -> Result<Vec<OsString>, Failure> {
    let mut arguments = translate(std::env::args_os().collect())?;
    if !arguments.is_empty() {
        arguments.remove(0);
    }
    Ok(arguments)
}

/// Translates the arguments if mount(8) started the program, under either name.
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
            // Mount namespace and file system type, each with a value.
            Some("-N" | "-t") => drop(rest.next()),
            Some(flag) if flag.starts_with('-') => {}
            _ => words.push(argument.clone()),
        }
    }
    let [source, directory] = words.as_slice() else {
        return Err(Failure::usage(format!(
            "usage: {HELPER} SOURCE DIR [-o OPTIONS]"
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
        translated.extend(own_option(option));
    }
    Ok(translated)
}

/// Whether the arguments are `SOURCE DIR -o OPTIONS`, which is no command of `fve`.
fn looks_like_mount(rest: &[OsString]) -> bool {
    let [source, directory, third, ..] = rest else {
        return false;
    };
    let is_word = |word: &OsString| !word.to_string_lossy().starts_with('-');
    is_word(source) && is_word(directory) && third == "-o" && Path::new(source).exists()
}

fn own_option(option: &str) -> Vec<OsString> {
    if let Some((_, own)) = WITHOUT_VALUE.iter().find(|(name, _)| *name == option) {
        return vec![own.into()];
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
    let is_own = WITH_VALUE.contains(&name)
        || KINDS.iter().any(|kind| kind.option == name)
        || additions().any(|other| other.option == name && other.value.is_some());
    if is_own {
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
    fn translates_the_arguments_of_a_mount_helper() {
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
    fn translates_the_arguments_of_the_fuse_helper() {
        assert_eq!(
            translated(&["fve", "/dev/null", "/mnt", "-o", "rw,dev,suid,partition=3"]),
            ["fve", "mount", "/dev/null", "/mnt", "--partition", "3"]
        );
    }

    #[test]
    fn writes_only_with_the_option_read_write() {
        assert_eq!(
            translated(&["mount.fve", "/dev/sda3", "/mnt", "-o", "rw,read-write"]),
            ["fve", "mount", "/dev/sda3", "/mnt", "--read-write"]
        );
        let both = ["mount.fve", "/dev/sda3", "/mnt", "-o", "ro,read-write"];
        assert!(translate(both.iter().map(OsString::from).collect()).is_err());
    }

    #[test]
    fn passes_other_commands_on_unchanged() {
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
