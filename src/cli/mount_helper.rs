//! `mount -t fve` and `mount -t fuse.fve`: translates the arguments of mount(8) to those of `fve
//! mount`.
//!
//! mount(8) runs `mount.fve SOURCE DIR [-sfnv] [-N NAMESPACE] [-t TYPE] [-o OPTIONS]`, and for the type
//! `fuse.fve` runs `fve SOURCE DIR -o OPTIONS`. Options of `fve mount` are passed on. Those that are
//! meant for the kernel, mount(8) or systemd are ignored, and all others are reported.

#[cfg(feature = "fuse")]
mod page;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::KINDS;

#[cfg(feature = "fuse")]
pub(crate) use self::page::page;

/// The name under which mount(8) starts this program.
const HELPER: &str = "mount.fve";

/// Options of `fve mount` with a value, other than those of the credentials.
const WITH_VALUE: &[&str] = &[
    "offset",
    "partition",
    "metadata",
    "volume-start",
    "rescue-map",
    "protector",
    "key-package",
    "uid",
    "gid",
    "umask",
    "driver",
    "overlay",
];
/// Options without a value: as mount(8) writes them, and as `fve mount` does. `rw` is not among them:
/// mount(8) passes it unless the user gave `ro`, but a volume is only written to on an explicit
/// request.
const WITHOUT_VALUE: &[(&str, &str)] = &[
    ("volume", "--volume"),
    ("allow_other", "--allow-other"),
    ("allow_root", "--allow-root"),
    ("auto_unmount", "--auto-unmount"),
    ("direct_io", "--direct-io"),
    ("systemd-ask-password", "--systemd-ask-password"),
    ("no-prompt", "--no-prompt"),
    ("noexec", "--noexec"),
    ("read-write", "--read-write"),
    ("allow-unaware-file-system", "--allow-unaware-file-system"),
    ("accept-damaged-metadata", "--accept-damaged-metadata"),
];
/// The permissions of the file: those that `umask` leaves.
const MODE: &str = "mode";

/// Options that every file system has, or that are for mount(8), systemd or FUSE: mount(8),
/// systemd.mount(5), mount.fuse3(8). They have no effect here.
const IGNORED: &[&str] = &[
    "_netdev",
    "async",
    "atime",
    "auto",
    "default_permissions",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "group",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "nofail",
    "noiversion",
    "nolazytime",
    "nomand",
    "nonempty",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "nouser",
    "owner",
    "relatime",
    "ro",
    "rw",
    "silent",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "user",
    "users",
];
/// The same, with a value.
const IGNORED_WITH_VALUE: &[&str] = &[
    "blksize",
    "comment",
    "context",
    "defcontext",
    "fscontext",
    "fsname",
    "helper",
    "max_read",
    "rootcontext",
    "subtype",
    "uhelper",
    "user",
];

/// Names that other tools or habit give to a credential, without `-` and `_`, and the option here.
const CREDENTIALS_OF_OTHERS: &[(&[&str], &str)] = &[
    (
        &[
            "userpassword",
            "password",
            "passwd",
            "pass",
            "passphrase",
            "passwordfile",
            "passwdfile",
            "passphrasefile",
            "passfile",
        ],
        "password-file",
    ),
    (
        &[
            "recoverypassword",
            "recoverypasswordfile",
            "recoverykey",
            "recoverykeyfile",
        ],
        "recovery-password-file",
    ),
    (
        &["bekfile", "bek", "startupkeyfile", "keyfile"],
        "startup-key",
    ),
    (&["fvek", "fvekfile"], "fvek-file"),
    (&["vmk", "vmkfile"], "vmk-file"),
    (&["pin", "pinfile"], "pin-file"),
];

/// Parts of a name that an option for a credential has.
const PARTS_OF_CREDENTIALS: &[&str] = &["pass", "key", "file", "pin", "secret", "vmk", "bek"];

/// How alike two names must be, from 0 to 1, for one to be a misspelling of the other.
const ALIKE: f64 = 0.9;

/// The arguments for this program.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    /// All arguments, with the name of the program.
    pub(crate) arguments: Vec<OsString>,
    /// What the user should know, for instance options without effect.
    pub(crate) warnings: Vec<String>,
}

/// Whether an option of mount(8), without its value, has no effect here.
pub(crate) fn is_ignored(name: &str) -> bool {
    name.starts_with("x-")
        || name.starts_with("X-")
        || IGNORED.contains(&name)
        || IGNORED_WITH_VALUE.contains(&name)
}

/// Translates the arguments if mount(8) started the program, under either name.
pub(crate) fn translate(arguments: Vec<OsString>) -> Result<Translated, Failure> {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    let helper = name == Some(OsStr::new(HELPER));
    let rest = match arguments.as_slice() {
        [_, rest @ ..] if helper || looks_like_mount(rest) => rest,
        _ => {
            return Ok(Translated {
                arguments,
                ..Translated::default()
            });
        }
    };
    let call = Call::parse(rest)?;
    let mut translated = Translated {
        arguments: vec![
            "fve".into(),
            "mount".into(),
            call.source.clone(),
            call.directory.clone(),
            "--unless-mounted".into(),
        ],
        ..Translated::default()
    };
    let flags = [(call.fake, "--fake"), (call.verbose, "--verbose")];
    for (_, option) in flags.iter().filter(|(given, _)| *given) {
        translated.arguments.push(option.into());
    }
    let has = |name: &str| call.options.iter().any(|option| option == name);
    if has("remount") {
        return Err(refused(
            "a mounted volume cannot be remounted with other options",
            "unmount it with 'fve unmount', then mount it with the new options",
        ));
    }
    if has("ro") && has("read-write") {
        return Err(Failure::usage(
            "the options ro and read-write contradict each other",
        ));
    }
    if has("ro")
        && call
            .options
            .iter()
            .any(|option| option.starts_with("overlay="))
    {
        return Err(Failure::usage(
            "the options ro and overlay contradict each other",
        ));
    }
    for option in &call.options {
        match own_option(option)? {
            Known::Own(words) => translated.arguments.extend(words),
            Known::Ignored => {}
            Known::No(warning) if !call.sloppy => translated.warnings.push(warning),
            Known::No(_) => {}
        }
    }
    Ok(translated)
}

/// The arguments of mount(8).
#[derive(Debug, Default)]
struct Call {
    source: OsString,
    directory: OsString,
    options: Vec<String>,
    /// `-f`: check everything, and mount nothing.
    fake: bool,
    /// `-s`: ignore unknown options.
    sloppy: bool,
    verbose: bool,
}

impl Call {
    fn parse(arguments: &[OsString]) -> Result<Self, Failure> {
        let usage = || Failure::usage(format!("usage: {HELPER} SOURCE DIR [-sfnv] [-o OPTIONS]"));
        let mut call = Self::default();
        let mut words = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.to_str() {
                Some("-o") => {
                    let options = rest.next().ok_or_else(usage)?;
                    let options = options
                        .to_str()
                        .ok_or_else(|| Failure::usage("the mount options are not UTF-8"))?;
                    call.options.extend(separated(options));
                }
                // Mount namespace and type of the file system, each with a value.
                Some("-N" | "-t") => drop(rest.next()),
                Some(flags) if flags.len() > 1 && flags.starts_with('-') => {
                    for flag in flags.chars().skip(1) {
                        match flag {
                            'f' => call.fake = true,
                            's' => call.sloppy = true,
                            'v' => call.verbose = true,
                            // No file /etc/mtab is written in any case.
                            'n' => {}
                            _ => return Err(usage()),
                        }
                    }
                }
                _ => words.push(argument.clone()),
            }
        }
        let [source, directory] = words.as_slice() else {
            return Err(usage());
        };
        call.source.clone_from(source);
        call.directory.clone_from(directory);
        Ok(call)
    }
}

/// The options in a list with commas. A value may be in quotation marks, and then contain commas
/// (mount(8)).
fn separated(list: &str) -> Vec<String> {
    let mut options = vec![String::new()];
    let mut quoted = false;
    for c in list.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => options.push(String::new()),
            c => options.last_mut().into_iter().for_each(|last| last.push(c)),
        }
    }
    options.retain(|option| !option.is_empty());
    options
}

/// Whether the arguments are `SOURCE DIR -o OPTIONS`, which is no command of `fve`.
fn looks_like_mount(rest: &[OsString]) -> bool {
    let [source, directory, third, ..] = rest else {
        return false;
    };
    let is_word = |word: &OsString| !word.to_string_lossy().starts_with('-');
    // mount(8) gives the source of a mounted volume as an absolute path, and it may not exist any more.
    let is_source = |word: &OsString| Path::new(word).exists() || Path::new(word).is_absolute();
    third == "-o" && is_word(source) && is_word(directory) && is_source(source)
}

/// What an option means here.
enum Known {
    /// These words of the command line.
    Own(Vec<OsString>),
    /// Nothing, as it should.
    Ignored,
    /// Unknown: the warning.
    No(String),
}

fn own_option(option: &str) -> Result<Known, Failure> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    if name.starts_with("x-") || name.starts_with("X-") {
        return Ok(Known::Ignored);
    }
    let additions = || KINDS.iter().flat_map(|kind| kind.additions);
    let addition = additions().find(|addition| addition.option == name);
    let kind = KINDS.iter().find(|kind| kind.option == name);
    let joined = kind.is_some_and(|kind| kind.value_is_optional);
    let with_value = WITH_VALUE.contains(&name)
        || (kind.is_some() && !joined)
        || addition.is_some_and(|addition| addition.value.is_some());
    if value.is_none()
        && let Some((_, own)) = WITHOUT_VALUE.iter().find(|(theirs, _)| *theirs == name)
    {
        return Ok(Known::Own(vec![(*own).into()]));
    }
    Ok(match value {
        Some(value) if with_value => Known::Own(vec![format!("--{name}").into(), value.into()]),
        // Without `=`, the value would be taken for another word.
        Some(value) if joined => Known::Own(vec![format!("--{name}={value}").into()]),
        Some(value) if name == MODE => Known::Own(vec!["--umask".into(), umask_of(value)?.into()]),
        Some(_) if IGNORED_WITH_VALUE.contains(&name) => Known::Ignored,
        None if joined || addition.is_some_and(|addition| addition.value.is_none()) => {
            Known::Own(vec![format!("--{name}").into()])
        }
        None if IGNORED.contains(&name) => Known::Ignored,
        None if with_value || name == MODE => {
            return Err(refused(
                format!("the mount option {name} needs a value"),
                format!("write it as {name}=VALUE"),
            ));
        }
        _ => unknown(name)?,
    })
}

/// The mask that leaves the permissions of a mode such as 0440.
fn umask_of(mode: &str) -> Result<String, Failure> {
    const ALL: u16 = 0o777;
    match u16::from_str_radix(mode, 8) {
        Ok(mode) if mode <= ALL => Ok(format!("{:03o}", ALL & !mode)),
        _ => Err(refused(
            "the value of the mount option mode is not an octal number from 000 to 777",
            "write the permissions of the file as in mode=0440",
        )),
    }
}

/// An unknown option. It is an error if it may have been meant as a credential: without one, the mount
/// would fail, and a secret in /etc/fstab must not stay there.
fn unknown(name: &str) -> Result<Known, Failure> {
    let plain = name.replace(['-', '_'], "").to_lowercase();
    let shown = shown(name);
    let ours = CREDENTIALS_OF_OTHERS
        .iter()
        .find(|(theirs, _)| theirs.contains(&plain.as_str()));
    let secret_here = "a secret itself never belongs in /etc/fstab or on a command line";
    if let Some((_, ours)) = ours {
        return Err(refused(
            format!("{shown} is not an option of 'mount -t fve'"),
            format!("name the file that contains the credential with {ours}=FILE; {secret_here}"),
        ));
    }
    let similar = similar(name);
    let may_be_credential = PARTS_OF_CREDENTIALS.iter().any(|part| plain.contains(part));
    match (may_be_credential, similar) {
        (true, Some(similar)) => Err(refused(
            format!("{shown} is not an option of 'mount -t fve'"),
            format!("the most similar option is {similar}"),
        )),
        (true, None) => Err(refused(
            format!("{shown} is not an option of 'mount -t fve'"),
            format!(
                "'fve mount --help' lists the options for credentials, to be written without the dashes in front; {secret_here}"
            ),
        )),
        (false, Some(similar)) => Ok(Known::No(format!(
            "{shown} is unknown and has no effect; the most similar option is {similar}"
        ))),
        (false, None) => Ok(Known::No(format!("{shown} is unknown and has no effect"))),
    }
}

/// The option in a message. A word that has not the form of an option may be a secret.
fn shown(name: &str) -> Cow<'_, str> {
    let is_option = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || matches!(c, '-' | '_'));
    match is_option {
        true => format!("the mount option '{name}'").into(),
        false => "one of the mount options (not repeated: it may be a secret)".into(),
    }
}

/// The option of ours that is most similar to this word.
fn similar(name: &str) -> Option<&'static str> {
    let kinds = KINDS.iter().map(|kind| kind.option);
    let additions = KINDS.iter().flat_map(|kind| kind.additions);
    let alone = WITHOUT_VALUE.iter().map(|(name, _)| *name);
    let all = kinds
        .chain(additions.map(|addition| addition.option))
        .chain(WITH_VALUE.iter().copied())
        .chain(alone)
        .chain(IGNORED.iter().copied());
    all.map(|option| (option, strsim::jaro_winkler(name, option)))
        .filter(|(_, alike)| *alike >= ALIKE)
        .max_by(|(_, one), (_, other)| one.total_cmp(other))
        .map(|(option, _)| option)
}

fn refused(what: impl Into<String>, help: impl Into<String>) -> Failure {
    Failure::Other {
        status: Status::Usage,
        what: what.into(),
        help: Some(help.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translate_words(words: &[&str]) -> Result<Translated, Failure> {
        translate(words.iter().map(OsString::from).collect())
    }

    fn translated(words: &[&str]) -> Vec<String> {
        let translated = translate_words(words).unwrap();
        assert!(translated.warnings.is_empty(), "{translated:?}");
        let words = translated.arguments.into_iter();
        words.map(|word| word.into_string().unwrap()).collect()
    }

    fn of_options(options: &str) -> Result<Translated, Failure> {
        translate_words(&["mount.fve", "/dev/sda3", "/mnt", "-o", options])
    }

    #[cfg(feature = "fuse")]
    #[test]
    fn the_document_and_the_page_name_every_option() {
        let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mounting.md");
        let document = std::fs::read_to_string(document).unwrap();
        let page = page(&clap::Command::new("fve")).replace('\\', "");
        let names = WITH_VALUE.iter().map(|name| format!("{name}="));
        let alone = WITHOUT_VALUE.iter().map(|(name, _)| (*name).to_owned());
        for name in names.chain(alone) {
            assert!(document.contains(&format!("`{name}")), "{name}");
            assert!(page.contains(&format!(".B {name}")), "{name}");
        }
        for kind in KINDS {
            assert!(page.contains(&format!(".B {}", kind.option)));
        }
    }

    #[test]
    fn translates_the_arguments_of_a_mount_helper() {
        assert_eq!(
            translated(&[
                "/sbin/mount.fve",
                "/dev/sda3",
                "/mnt/c",
                "-sn",
                "-o",
                "ro,nofail,volume,x-systemd.automount,recovery-password-file=/etc/fve/c.key,allow_other,uid=1000",
            ]),
            [
                "fve",
                "mount",
                "/dev/sda3",
                "/mnt/c",
                "--unless-mounted",
                "--volume",
                "--recovery-password-file",
                "/etc/fve/c.key",
                "--allow-other",
                "--uid",
                "1000"
            ]
        );
        assert_eq!(
            translated(&["mount.fve", "/dev/sda3", "/mnt", "-fv", "-o", "rw"]),
            [
                "fve",
                "mount",
                "/dev/sda3",
                "/mnt",
                "--unless-mounted",
                "--fake",
                "--verbose"
            ]
        );
        assert!(translate_words(&["mount.fve", "/dev/sda3", "/mnt", "-z"]).is_err());
    }

    #[test]
    fn translates_the_arguments_of_the_fuse_helper() {
        assert_eq!(
            translated(&["fve", "/dev/null", "/mnt", "-o", "rw,dev,suid,partition=3"]),
            [
                "fve",
                "mount",
                "/dev/null",
                "/mnt",
                "--unless-mounted",
                "--partition",
                "3"
            ]
        );
    }

    #[test]
    fn writes_only_with_the_option_read_write() {
        assert_eq!(
            translated(&["mount.fve", "/dev/sda3", "/mnt", "-o", "rw,read-write"]),
            [
                "fve",
                "mount",
                "/dev/sda3",
                "/mnt",
                "--unless-mounted",
                "--read-write"
            ]
        );
        assert_eq!(
            translated(&["mount.fve", "a", "b", "-o", "rw,read-write,driver=ntfs-3g"])[5..],
            ["--read-write", "--driver", "ntfs-3g"]
        );
        assert_eq!(
            translated(&["mount.fve", "a", "b", "-o", "rw,noexec,nosuid,read-write"])[5..],
            ["--noexec", "--read-write"]
        );
        assert!(of_options("ro,read-write").is_err());
    }

    #[test]
    fn passes_on_who_may_use_the_mount_and_how_to_ask() {
        assert_eq!(
            translated(&[
                "mount.fve",
                "a",
                "b",
                "-o",
                "allow_root,auto_unmount,systemd-ask-password,password-key=fve"
            ])[5..],
            [
                "--allow-root",
                "--auto-unmount",
                "--systemd-ask-password",
                "--password-key",
                "fve"
            ]
        );
    }

    #[test]
    fn a_value_in_quotation_marks_may_contain_a_comma() {
        assert_eq!(
            separated(r#"ro,password-file="/etc/a,b",gid=5,"#),
            ["ro", "password-file=/etc/a,b", "gid=5"]
        );
    }

    #[test]
    fn a_mode_becomes_a_mask() {
        let words = translated(&["mount.fve", "a", "b", "-o", "mode=0440"]);
        assert_eq!(words[5..], ["--umask", "337"]);
        assert!(of_options("mode=rw").is_err());
    }

    #[test]
    fn options_of_every_file_system_and_of_systemd_are_ignored() {
        let options = [
            &IGNORED.join(","),
            "x-systemd.device-timeout=5,X-mount.mkdir,comment=anything,user=me",
        ];
        for options in options {
            let words = translated(&["mount.fve", "a", "b", "-o", options]);
            assert_eq!(words.len(), 5, "{words:?}");
        }
    }

    #[test]
    fn a_mount_is_not_changed_by_remount() {
        assert!(of_options("remount,ro").is_err());
        let words = ["fve", "/no/such/image", "/mnt", "-o", "remount,ro"];
        assert!(translate_words(&words).is_err());
    }

    #[test]
    fn what_may_be_meant_as_a_credential_is_refused_without_its_value() {
        for (option, ours) in [
            ("user-password=geheim", "password-file=FILE"),
            ("password=geheim", "password-file=FILE"),
            ("password_file=geheim", "password-file=FILE"),
            ("passwordfile=geheim", "password-file=FILE"),
            ("recovery-password=geheim", "recovery-password-file=FILE"),
            ("bekfile=geheim", "startup-key=FILE"),
            ("vmk=geheim", "vmk-file=FILE"),
            ("pasword-file=geheim", "password-file"),
            ("rescue-key=geheim", "fve mount --help"),
        ] {
            let failure = of_options(option).unwrap_err();
            let text = [failure.message(), failure.help()]
                .map(Option::unwrap)
                .concat();
            let name = option.split('=').next().unwrap();
            assert!(text.contains(name) && text.contains(ours), "{text}");
            assert!(!text.contains("geheim"), "{text}");
        }
    }

    #[test]
    fn other_unknown_options_cause_a_warning() {
        let warned = |options: &str| of_options(options).unwrap().warnings.join("; ");
        assert!(warned("partion=3").contains("'partion'"));
        assert!(warned("partion=3").contains("similar option is partition"));
        assert!(warned("compress").contains("'compress' is unknown"));
        assert!(!warned("Anaconda1").contains("Anaconda1"));
        let sloppy = ["mount.fve", "a", "b", "-s", "-o", "compress"];
        assert!(translate_words(&sloppy).unwrap().warnings.is_empty());
        assert!(of_options("partition").is_err());
    }

    #[test]
    fn passes_other_commands_on_unchanged() {
        for words in [
            &["fve"][..],
            &["fve", "info", "disk.img"],
            &["fve", "mount", "disk.img", "/mnt"],
            &["fve", "mount", "disk.img", "-o", "ro"],
            &["fve", "decrypt", "disk.img", "-"],
        ] {
            assert_eq!(translated(words), words);
        }
    }
}
