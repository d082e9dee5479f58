//! Commands and options that this build lacks because a feature is off. A user who types one is told
//! which feature adds it, instead of that it does not exist.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;

/// The commands and options that a feature adds.
struct Additions {
    feature: &'static str,
    is_on: bool,
    /// Commands without `fve`. Of a nested command, the last word is compared.
    commands: &'static [&'static str],
    /// Options with their dashes.
    options: &'static [&'static str],
}

const ADDITIONS: &[Additions] = &[
    Additions {
        feature: "fuse",
        is_on: cfg!(feature = "fuse"),
        commands: &["mount", "unmount"],
        options: &[],
    },
    Additions {
        feature: "map",
        is_on: cfg!(feature = "map"),
        commands: &["map", "unmap"],
        options: &[],
    },
    Additions {
        feature: "network",
        is_on: cfg!(feature = "network"),
        commands: &["network-unlock"],
        options: &[
            "--network-unlock",
            "--network-certificate",
            "--network-sidecar",
            "--network-timeout",
            "--network-key-file",
            "--network-request-file",
            "--network-session-key-file",
        ],
    },
    Additions {
        feature: "network-server",
        is_on: cfg!(feature = "network-server"),
        commands: &[
            "network-unlock serve",
            "network-unlock certificate",
            "network-unlock check-policy",
        ],
        options: &[],
    },
    Additions {
        feature: "certificates",
        is_on: cfg!(feature = "certificates"),
        commands: &[],
        options: &[
            "--certificate",
            "--certificate-password-file",
            "--new-certificate",
        ],
    },
    Additions {
        feature: "pkcs11",
        // Builds with `certificates` have the option, and its own message names the missing feature.
        is_on: cfg!(feature = "certificates"),
        commands: &[],
        options: &["--pkcs11"],
    },
];

/// The failure for a command line that names something which a missing feature would have added.
pub(crate) fn named_in(error: &clap::Error) -> Option<Failure> {
    let word = |kind| match error.get(kind)? {
        ContextValue::String(word) => Some(word.as_str()),
        _ => None,
    };
    let off = ADDITIONS.iter().filter(|added| !added.is_on);
    let (feature, what) = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = word(ContextKind::InvalidSubcommand)?;
            let mut commands = off.flat_map(|added| {
                let commands = added.commands.iter();
                commands.map(|command| (added.feature, *command))
            });
            let is_it = |command: &str| command.split(' ').next_back() == Some(word);
            let (feature, command) = commands.find(|(_, command)| is_it(command))?;
            (feature, format!("the command '{command}'"))
        }
        ErrorKind::UnknownArgument => {
            let word = word(ContextKind::InvalidArg)?;
            let mut options = off.flat_map(|added| {
                let options = added.options.iter();
                options.map(|option| (added.feature, *option))
            });
            let (feature, option) = options.find(|(_, option)| *option == word)?;
            (feature, format!("the option '{option}'"))
        }
        _ => return None,
    };
    Some(Failure::Other {
        status: Status::Usage,
        what: format!("this fve was built without {what}"),
        help: Some(format!(
            "build it with '--features {feature}', or with '--features full' for everything"
        )),
    })
}

/// The part of the help that lists the commands which this build lacks; empty if it has all.
pub(crate) fn help() -> String {
    let mut text = String::new();
    for added in ADDITIONS.iter().filter(|added| !added.is_on) {
        for command in added.commands {
            if text.is_empty() {
                text.push_str("\n\nNot in this build:\n");
            }
            text.push_str(&format!(
                "  {command:<31} built with '--features {}'\n",
                added.feature
            ));
        }
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::*;
    use crate::cli::command::Cli;

    fn has_option(command: &Command, option: &str) -> bool {
        let name = option.trim_start_matches('-');
        command
            .get_arguments()
            .any(|arg| arg.get_long() == Some(name))
            || command
                .get_subcommands()
                .any(|inner| has_option(inner, option))
    }

    /// Whether the words name something that a missing feature would have added.
    fn is_lacking(words: &[&str]) -> bool {
        let line = ["fve"].iter().chain(words).copied();
        let error = Cli::command().try_get_matches_from(line).err();
        let failure = error.as_ref().and_then(named_in);
        failure.is_some_and(|failure| failure.status() == Status::Usage)
    }

    #[test]
    fn everything_a_feature_adds_exists_or_is_named() {
        let all = Cli::command();
        for added in ADDITIONS {
            for command in added.commands {
                let words: Vec<_> = command.split(' ').collect();
                let mut found = Some(&all);
                for word in &words {
                    found = found.and_then(|command| command.find_subcommand(word));
                }
                assert_eq!(found.is_some(), added.is_on, "{command}");
                assert_eq!(is_lacking(&words), !added.is_on, "{command}");
            }
            for option in added.options {
                assert_eq!(has_option(&all, option), added.is_on, "{option}");
                let named = is_lacking(&["protector", "add", "volume.img", option]);
                assert_eq!(named, !added.is_on, "{option}");
            }
        }
    }
}
