//! Options and commands of other tools. A user who types one of them is told what it is called here.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;

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
        theirs: &[
            ("dislocker", &["-r", "--readonly"], "read-only access"),
            (
                "cryptsetup",
                &["-r", "--readonly", "--read-only"],
                "read-only access",
            ),
            ("mount", &["--ro"], "read-only access"),
        ],
        ours: "(the default of every command)",
    },
    Options {
        theirs: &[("mount", &["-o"], "mount options")],
        ours: "the options of 'fve mount', or 'mount -t fve -o OPTIONS SOURCE DIR'",
    },
];

/// What commands of other tools are called here.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["open", "bitlkOpen", "luksOpen", "decode"],
        "'fve mount SOURCE DIR' shows the files of the volume; 'fve unlock SOURCE' only checks credentials",
    ),
    (
        &["dump", "bitlkDump", "luksDump", "status"],
        "'fve info SOURCE' describes a volume",
    ),
    (
        &["list", "scan"],
        "'fve info DISK' finds the volumes of a disk, and 'fve repair scan DISK' those without a partition",
    ),
];

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

/// The failure for `fve -V VOLUME …`, which is dislocker's way to name the volume. Alone, `-V` prints the
/// version.
pub(crate) fn volume_option(arguments: &[OsString]) -> Option<Failure> {
    let [_, first, rest @ ..] = arguments else {
        return None;
    };
    let first = first.to_str()?;
    let has_more = !rest.is_empty() || first.len() > "-V".len();
    (first.starts_with("-V") && has_more).then(|| {
        failure(
            "'-V' is dislocker's option; with 'fve' it prints the version, and nothing may follow it",
            "the command for the same is 'fve mount --volume SOURCE DIR'; 'fve --help' lists the options of both",
        )
    })
}

/// The failure for a command line that uses an option or a command of another tool, or no command at
/// all.
pub(crate) fn named_in(error: &clap::Error) -> Option<Failure> {
    let word = |kind| match error.get(kind)? {
        ContextValue::String(word) => Some(word.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::UnknownArgument => unknown_option(word(ContextKind::InvalidArg)?),
        ErrorKind::InvalidSubcommand => unknown_command(word(ContextKind::InvalidSubcommand)?),
        _ => None,
    }
}

fn unknown_option(word: &str) -> Option<Failure> {
    let mut meanings = Vec::new();
    for row in OPTIONS {
        let tools: Vec<_> = row
            .theirs
            .iter()
            .filter(|(_, options, _)| options.contains(&word))
            .collect();
        if let Some((_, _, meaning)) = tools.first() {
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
    (!meanings.is_empty()).then(|| {
        failure(
            format!("'{word}' is an option of another tool"),
            meanings.join("; "),
        )
    })
}

fn unknown_command(word: &str) -> Option<Failure> {
    if let Some((_, ours)) = COMMANDS.iter().find(|(names, _)| names.contains(&word)) {
        return Some(failure(format!("'{word}' is not a command of fve"), *ours));
    }
    let is_source = word != "." && Path::new(word).exists();
    is_source.then(|| {
        failure(
            "no command was given",
            "'fve info SOURCE' describes a volume, 'fve mount SOURCE DIR' shows its files; 'fve --help' lists all",
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
    use clap::CommandFactory;

    use super::*;
    use crate::cli::command::Cli;

    fn named(words: &[&str]) -> Option<String> {
        let line = ["fve"].iter().chain(words);
        let error = Cli::command().try_get_matches_from(line).err()?;
        named_in(&error)?.help()
    }

    #[test]
    fn every_option_of_another_tool_has_its_counterpart() {
        for row in OPTIONS {
            for (tool, options, _) in row.theirs {
                for option in *options {
                    let help = named(&["unlock", "v.img", option]).unwrap_or_default();
                    let ours = row.ours.trim_matches(['(', ')']);
                    assert!(help.contains(ours), "{tool} {option}: {help}");
                    assert!(help.contains(tool), "{tool} {option}: {help}");
                }
            }
        }
    }

    #[test]
    fn counterparts_are_options_that_exist() {
        let all = Cli::command();
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
            assert!(named(&[name, "v.img"]).is_some(), "{name}");
        }
        assert!(named(&["Cargo.toml"]).unwrap().contains("fve info SOURCE"));
        assert_eq!(named(&["anaconda"]), None);
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
