//! Options and commands of other tools. A user who types one of them is told what it is called here.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::unrepeated::{looks_like_key, looks_like_path};

/// What options of other tools are called here.
struct Options {
    /// The tool, its options, and what they mean there.
    theirs: &'static [(&'static str, &'static [&'static str], &'static str)],
    /// What to use here.
    ours: &'static str,
}

const OPTIONS: &[Options] = &[
    Options {
        theirs: &[
            (
                "dislocker",
                &["-p", "--recovery-password"],
                "recovery password",
            ),
            ("bdemount", &["-r"], "recovery password"),
        ],
        ours: "--recovery-password-file FILE",
    },
    Options {
        theirs: &[
            ("dislocker", &["-u", "--user-password"], "password"),
            ("bdemount", &["-p"], "password"),
            ("cryptsetup", &["--key-file"], "password"),
        ],
        ours: "--password-file FILE",
    },
    Options {
        theirs: &[
            ("dislocker", &["-f", "--bekfile"], "startup key"),
            ("bdemount", &["-s"], "startup key"),
        ],
        ours: "--startup-key FILE",
    },
    Options {
        theirs: &[("dislocker", &["-c", "--clearkey"], "clear key")],
        ours: "(used automatically if no credential is given)",
    },
    Options {
        theirs: &[("dislocker", &["-K", "--vmk"], "volume master key")],
        ours: "--vmk-file FILE",
    },
    Options {
        theirs: &[
            ("dislocker", &["-k", "--fvek"], "sector key"),
            ("bdemount", &["-k"], "sector key"),
            ("cryptsetup", &["--volume-key-file"], "sector key"),
        ],
        ours: "--fvek-file FILE",
    },
    Options {
        theirs: &[
            ("dislocker", &["-O"], "offset"),
            ("bdemount", &["-o"], "offset"),
        ],
        ours: "--offset BYTES",
    },
    Options {
        theirs: &[("dislocker", &["-V", "--volume"], "volume")],
        ours: "SOURCE, without an option",
    },
    Options {
        theirs: &[("cryptsetup", &["--type"], "type")],
        ours: "(recognized without an option)",
    },
    Options {
        theirs: &[("mount", &["-o"], "mount options")],
        ours: "the options of 'fve mount', or 'mount -t fve -o OPTIONS SOURCE DIR'",
    },
];

/// What commands of other tools, and the tools themselves, are called here. `SOURCE` and `DIR` are filled in
/// where the command line names them.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &[
            "bitlkOpen",
            "luksOpen",
            "decode",
            "dislocker",
            "dislocker-fuse",
            "bdemount",
            "cryptsetup",
        ],
        "'fve mount SOURCE DIR' shows the files of the volume; 'fve unlock SOURCE' only checks credentials",
    ),
    (
        &["dislocker-file"],
        "'fve decrypt SOURCE OUT' writes the decrypted volume to a file",
    ),
    (
        &["bitlkClose", "luksClose"],
        "'fve unmount DIR' ends what 'fve mount' began",
    ),
    (
        &[
            "dump",
            "bitlkDump",
            "luksDump",
            "status",
            "bdeinfo",
            "dislocker-metadata",
            "isBitlk",
        ],
        "'fve info SOURCE' describes a volume",
    ),
    (
        &["scan", "dislocker-find"],
        "'fve list' lists the volumes of this machine, 'fve info SOURCE' those of a disk or image, and 'fve repair scan SOURCE' finds those without a partition",
    ),
    // manage-bde.
    (
        &["forcerecovery"],
        "'fve protector remove SOURCE --all-tpm' removes all key protectors that use a TPM, so that Windows asks for the recovery password",
    ),
    (
        &["changekey"],
        "'fve protector change-startup-key SOURCE --startup-key-to DIR' replaces the startup key",
    ),
    (
        &["changepassword"],
        "'fve protector change-password SOURCE' changes the password",
    ),
    (
        &["setidentifier"],
        "'fve metadata set-identifier SOURCE IDENTIFIER' sets the identification field",
    ),
    (
        &["changepin"],
        "'fve protector change-pin SOURCE --tpm' changes the PIN",
    ),
];

/// Commands that only read SOURCE unless told otherwise: `--read-only` asks for what they do in any case.
const READERS: &[&str] = &[
    "backup",
    "cat",
    "cp",
    "decrypt",
    "explain",
    "find",
    "hash",
    "info",
    "key-package",
    "list",
    "ls",
    "mount",
    "nbd",
    "rebuild-header",
    "report",
    "save-startup-key",
    "scan",
    "search",
    "show-recovery",
    "unlock",
];

/// The commands, where those that read also accept the options with which users of other tools ask for
/// that: `-r`, `--readonly`, `--read-only` and `--ro`.
pub(crate) fn accepting_read_only(command: Command) -> Command {
    let name = command.get_name();
    let reads = command
        .get_positionals()
        .any(|arg| arg.get_id() == "source")
        && READERS.contains(&name);
    let command = match reads {
        false => command,
        true => {
            let arg = Arg::new("read-only")
                .long("read-only")
                .aliases(["readonly", "ro"])
                .action(ArgAction::SetTrue)
                .hide(true);
            let uses_r = command
                .get_arguments()
                .any(|arg| arg.get_short() == Some('r'));
            let arg = if uses_r { arg } else { arg.short('r') };
            let writes = command
                .get_arguments()
                .any(|arg| arg.get_id() == "read_write");
            command.arg(if writes {
                arg.conflicts_with("read_write")
            } else {
                arg
            })
        }
    };
    command.mut_subcommands(accepting_read_only)
}

/// The part of the general help that lists the options of other tools.
pub(crate) fn help() -> String {
    let mut text = String::from("\n\nOptions of other tools:");
    for row in OPTIONS {
        // Long options are left out: their names say what they mean.
        let short: Vec<_> = row
            .theirs
            .iter()
            .filter_map(|(tool, options, meaning)| {
                let option = options
                    .first()
                    .filter(|option| option.len() == 2 && *tool != "mount")?;
                Some((format!("{tool} {option}"), *meaning))
            })
            .collect();
        if let Some((_, meaning)) = short.first() {
            let names: Vec<_> = short.iter().map(|(name, _)| name.as_str()).collect();
            let theirs = format!("{}, {meaning}", names.join(", "));
            text.push_str(&format!("\n  {theirs:<47} {}", row.ours));
        }
    }
    text
}

/// What a command line of another tool names.
#[derive(Debug, Default, PartialEq)]
struct Named {
    source: Option<String>,
    directory: Option<String>,
    /// The options of fve for the credentials, with the placeholder of their values.
    credentials: Vec<&'static str>,
    /// Whether a word is a recovery password or a key.
    has_digits: bool,
}

/// Options of other tools whose value is the next word.
const WITH_VALUE: &[&str] = &[
    "-f",
    "--bekfile",
    "-K",
    "--vmk",
    "-k",
    "--fvek",
    "-O",
    "-o",
    "-s",
    "--key-file",
    "--type",
    "--volume-key-file",
];

/// What the words name, for `tool`. A word is named only if it plainly is a device, an image or a
/// directory that exists: everything else may be a secret.
fn named(words: &[OsString], tool: &str) -> Named {
    let mut named = Named::default();
    let mut words = words.iter().filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        if word.starts_with("-V") || word == "--volume" {
            // The volume follows.
            let attached = word.strip_prefix("-V").unwrap_or_default();
            if is_source(attached) {
                named.source.get_or_insert(attached.to_owned());
            }
            continue;
        }
        let option = |row: &&Options| {
            let mut theirs = row.theirs.iter().filter(|(name, ..)| *name == tool);
            theirs.any(|(_, options, _)| options.iter().any(|option| is_option(word, option)))
        };
        if let Some(row) = OPTIONS.iter().find(option)
            && row.ours.ends_with("FILE")
            && !named.credentials.contains(&row.ours)
        {
            named.credentials.push(row.ours);
        }
        if WITH_VALUE.contains(&word) {
            words.next();
        } else if looks_like_key(word) {
            named.has_digits = true;
        } else if is_source(word) {
            named.source.get_or_insert(word.to_owned());
        } else if is_directory(word) {
            named.directory = Some(word.to_owned());
        }
    }
    named
}

/// Whether the word is this option, alone or with its value.
fn is_option(word: &str, option: &str) -> bool {
    let rest = word.strip_prefix(option);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('=') || !option.starts_with("--"))
}

/// Whether a message may show the path as it is typed.
fn is_plain(word: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@,".contains(c);
    !word.starts_with('-') && word.chars().all(is_fine) && !looks_like_key(word)
}

fn is_source(word: &str) -> bool {
    let path = Path::new(word);
    is_plain(word)
        && path.metadata().is_ok_and(|meta| !meta.is_dir())
        && (word.contains('/') || looks_like_path(path.as_os_str()))
}

fn is_directory(word: &str) -> bool {
    is_plain(word) && word.contains('/') && Path::new(word).is_dir()
}

impl Named {
    /// The text with what was named in place of `SOURCE` and `DIR`.
    fn fill(&self, text: &str) -> String {
        let source = self.source.as_deref().unwrap_or("SOURCE");
        let directory = self.directory.as_deref().unwrap_or("DIR");
        let fill = |word: &str| {
            let bare = word.trim_end_matches(['\'', ';', ',']);
            let rest = word.get(bare.len()..).unwrap_or_default();
            match bare {
                "SOURCE" => format!("{source}{rest}"),
                "DIR" => format!("{directory}{rest}"),
                _ => word.to_owned(),
            }
        };
        text.split(' ').map(fill).collect::<Vec<_>>().join(" ")
    }

    /// The command that shows the files of what was named.
    fn mount(&self) -> String {
        let credentials: String = self
            .credentials
            .iter()
            .map(|option| format!(" {option}"))
            .collect();
        self.fill(&format!("'fve mount SOURCE DIR{credentials}'"))
    }
}

/// The failure for `fve -V VOLUME …`, which is dislocker's way to name the volume. Alone, `-V` prints the
/// version.
pub(crate) fn volume_option(arguments: &[OsString]) -> Option<Failure> {
    let [_, words @ ..] = arguments else {
        return None;
    };
    let first = words.first()?.to_str()?;
    let has_more = words.len() > 1 || first.len() > "-V".len();
    (first.starts_with("-V") && has_more).then(|| {
        let named = named(words, "dislocker");
        let volume = named.mount().replacen("fve mount", "fve mount --volume", 1);
        failure(
            "'-V' is dislocker's option; with 'fve' it prints the version, and nothing may follow it",
            format!("{} shows the files; {volume} shows the decrypted volume as a file", named.mount()),
        )
    })
}

/// The failure for a command line that uses an option or a command of another tool, or no command at
/// all.
pub(crate) fn named_in(error: &clap::Error, arguments: &[OsString]) -> Option<Failure> {
    let word = |kind| match error.get(kind)? {
        ContextValue::String(word) => Some(word.as_str()),
        _ => None,
    };
    let words = arguments.get(1..).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument => command_like_an_option(words)
            .or_else(|| unknown_option(word(ContextKind::InvalidArg)?, words)),
        ErrorKind::InvalidSubcommand => {
            unknown_command(word(ContextKind::InvalidSubcommand)?, words)
        }
        _ => None,
    }
}

/// The failure for a command of manage-bde in the form in which it is typed there: `-forcerecovery`.
fn command_like_an_option(words: &[OsString]) -> Option<Failure> {
    let name = words.first()?.to_str()?.strip_prefix('-')?;
    let mut names = COMMANDS.iter().flat_map(|(names, _)| *names);
    let name = names.find(|known| name.eq_ignore_ascii_case(known))?;
    unknown_command(name, words.get(1..).unwrap_or_default())
}

fn unknown_option(word: &str, words: &[OsString]) -> Option<Failure> {
    let mut meanings = Vec::new();
    let mut found = None;
    for row in OPTIONS {
        let tools: Vec<_> = row
            .theirs
            .iter()
            .filter(|(_, options, _)| options.contains(&word))
            .collect();
        if let Some((tool, _, meaning)) = tools.first() {
            found = found.or(Some(*tool));
            let tools: Vec<_> = tools.iter().map(|(tool, ..)| *tool).collect();
            let tools = tools.join(" and ");
            // A remark in parentheses, where no option is needed.
            let remark = row
                .ours
                .strip_prefix('(')
                .and_then(|text| text.strip_suffix(')'));
            meanings.push(match remark {
                Some(remark) => format!("the {meaning} of {tools} is {remark}"),
                None => format!("for the {meaning} of {tools}, use {}", row.ours),
            });
        }
    }
    // An option with several meanings is of no certain tool.
    let tool = found.filter(|_| meanings.len() == 1).unwrap_or_default();
    let named = named(words, tool);
    let is_mount = words
        .first()
        .is_some_and(|word| word == "mount" || word == "open");
    if is_mount && (named.source.is_some() || named.directory.is_some()) {
        match meanings.len() {
            0 => {}
            1 => meanings.push(format!("the whole command is {}", named.mount())),
            _ => meanings.push(format!(
                "the whole command is {} with that option",
                named.mount()
            )),
        }
    }
    if meanings.is_empty() && named.has_digits {
        return Some(failure(
            "a recovery password or a key was given on the command line, where the shell's history and the process list keep it",
            "save it in a file that only you can read, and give --recovery-password-file FILE; or leave it out, and type it when fve asks for it",
        ));
    }
    (!meanings.is_empty()).then(|| {
        failure(
            format!("'{word}' is an option of another tool"),
            meanings.join("; "),
        )
    })
}

fn unknown_command(word: &str, words: &[OsString]) -> Option<Failure> {
    let named = named(words, "dislocker");
    if let Some((_, ours)) = COMMANDS.iter().find(|(names, _)| names.contains(&word)) {
        return Some(failure(
            format!("'{word}' is not a command of fve"),
            named.fill(ours),
        ));
    }
    let is_source = word != "." && Path::new(word).exists();
    is_source.then(|| {
        failure(
            "no command was given",
            named.fill(
                "'fve info SOURCE' describes a volume, 'fve mount SOURCE DIR' shows its files; 'fve --help' lists all",
            ),
        )
    })
}

fn failure(what: impl Into<String>, help: impl Into<String>) -> Failure {
    Failure::Other {
        status: Status::Usage,
        what: what.into(),
        help: Some(help.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command::command;

    fn helped(words: &[&str]) -> Option<String> {
        let line: Vec<_> = ["fve"].iter().chain(words).map(OsString::from).collect();
        let error = command().try_get_matches_from(&line).err()?;
        named_in(&error, &line)?.help()
    }

    #[test]
    fn every_option_of_another_tool_has_its_counterpart() {
        for row in OPTIONS {
            for (tool, options, _) in row.theirs {
                // Here, -r asks for read-only access, as with most tools.
                for option in options.iter().filter(|option| **option != "-r") {
                    let help = helped(&["unlock", "v.img", option]).unwrap_or_default();
                    let ours = row.ours.trim_matches(['(', ')']);
                    assert!(help.contains(ours), "{tool} {option}: {help}");
                    assert!(help.contains(tool), "{tool} {option}: {help}");
                }
            }
        }
    }

    #[test]
    fn counterparts_are_options_that_exist() {
        let all = command();
        let unlock = all.find_subcommand("unlock").unwrap();
        let options: Vec<_> = OPTIONS
            .iter()
            .filter_map(|row| row.ours.split(' ').next()?.strip_prefix("--"))
            .collect();
        assert!(options.len() > 4);
        for option in options {
            let mut there = unlock.get_arguments().filter_map(|arg| arg.get_long());
            assert!(there.any(|long| long == option), "--{option}");
        }
    }

    #[test]
    fn commands_of_other_tools_are_not_commands_here() {
        for name in COMMANDS.iter().flat_map(|(names, _)| *names) {
            assert!(helped(&[name, "v.img"]).is_some(), "{name}");
        }
        assert!(
            helped(&["Cargo.toml"])
                .unwrap()
                .contains("fve info Cargo.toml")
                || !is_source("Cargo.toml")
        );
        for typed in ["-forcerecovery", "-ForceRecovery"] {
            let help = helped(&[typed, "/dev/null"]).unwrap();
            let whole = "'fve protector remove /dev/null --all-tpm'";
            assert!(help.contains(whole), "{help}");
        }
        assert_eq!(helped(&["anaconda"]), None);
    }

    /// Devices and directories that exist are filled in; what may be a secret never is.
    #[test]
    fn names_the_whole_command() {
        const DIGITS: &str = "235818-357951-253979-013365-241120-245575-342914-591910";
        let volume = |words: &[&str]| {
            let words = ["fve"]
                .iter()
                .chain(words)
                .map(OsString::from)
                .collect::<Vec<_>>();
            volume_option(&words).unwrap().help().unwrap()
        };
        let digits = format!("-p{DIGITS}");
        let help = volume(&["-V", "/dev/null", &digits, "--", "/tmp"]);
        let whole = "'fve mount /dev/null /tmp --recovery-password-file FILE'";
        assert!(help.contains(whole) && !help.contains(DIGITS), "{help}");
        let help = volume(&["-V/dev/null", "-uhunter2", "--", "/tmp"]);
        assert!(
            help.contains("'fve mount /dev/null /tmp --password-file FILE'"),
            "{help}"
        );
        assert!(!help.contains("hunter2"), "{help}");
        let help = helped(&["bitlkOpen", "/dev/null", "name"]).unwrap();
        assert!(help.contains("'fve mount /dev/null DIR'"), "{help}");
        let help = helped(&["/dev/null", "/tmp"]).unwrap();
        assert!(help.contains("'fve mount /dev/null /tmp'"), "{help}");
        let help = helped(&["open", "--type", "bitlk", "/dev/null", "/tmp"]).unwrap();
        assert!(help.contains("'fve mount /dev/null /tmp'"), "{help}");
        let help = helped(&["mount", "-p", "hunter2", "/dev/null", "/tmp"]).unwrap();
        assert!(
            help.contains("'fve mount /dev/null /tmp' with that option")
                && !help.contains("hunter2"),
            "{help}"
        );
        let help = helped(&["mount", "-r", DIGITS, "/dev/null", "/tmp"]).unwrap();
        assert!(
            help.contains("--recovery-password-file FILE") && !help.contains(DIGITS),
            "{help}"
        );
    }

    #[test]
    fn commands_that_read_accept_read_only() {
        for name in READERS {
            let all = command();
            let mut commands = all
                .get_subcommands()
                .flat_map(|one| std::iter::once(one).chain(one.get_subcommands()));
            let mut of_name = commands.by_ref().filter(|one| one.get_name() == *name);
            let accepts =
                |one: &Command| one.get_arguments().any(|arg| arg.get_id() == "read-only");
            assert!(of_name.any(accepts), "{name}");
        }
        let parses = |words: &[&str]| {
            let line = ["fve"].iter().chain(words);
            command().try_get_matches_from(line).is_ok()
        };
        assert!(parses(&["mount", "-r", "v.img", "/mnt"]));
        assert!(parses(&["open", "--readonly", "v.img", "/mnt"]));
        assert!(parses(&["decrypt", "--read-only", "v.img", "out"]));
        assert!(!parses(&["mount", "-r", "--read-write", "v.img", "/mnt"]));
        assert!(!parses(&["protector", "suspend", "-r", "v.img"]));
    }

    #[test]
    fn the_version_alone_is_no_volume() {
        let line = |words: &[&str]| {
            let words = ["fve"].iter().chain(words);
            volume_option(&words.map(OsString::from).collect::<Vec<_>>()).is_some()
        };
        assert!(!line(&["-V"]));
        assert!(!line(&[]));
        assert!(line(&["-V", "/dev/sda3", "-u", "--", "/mnt"]));
        assert!(line(&["-V/dev/sda3"]));
    }
}
