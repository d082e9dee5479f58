//! Commands and options that this build lacks because a feature is off: whoever types one is told
//! which feature brings it, and not that no such thing exists.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::exit::Status;
use crate::cli::failure::Failure;

/// What a feature brings to the command line.
struct Brought {
    feature: &'static str,
    is_on: bool,
    /// Words behind `fve`; of a command inside another the last is compared.
    commands: &'static [&'static str],
    /// Options, with their dashes.
    options: &'static [&'static str],
}

const BROUGHT: &[Brought] = &[
    Brought {
        feature: "fuse",
        is_on: cfg!(feature = "fuse"),
        commands: &["mount", "unmount"],
        options: &[],
    },
    Brought {
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
    Brought {
        feature: "network-server",
        is_on: cfg!(feature = "network-server"),
        commands: &[
            "network-unlock serve",
            "network-unlock certificate",
            "network-unlock check-policy",
        ],
        options: &[],
    },
    Brought {
        feature: "certificates",
        is_on: cfg!(feature = "certificates"),
        commands: &[],
        options: &[
            "--certificate",
            "--certificate-password-file",
            "--new-certificate",
        ],
    },
    Brought {
        feature: "pkcs11",
        // With certificates the option is there, and says itself what it lacks.
        is_on: cfg!(feature = "certificates"),
        commands: &[],
        options: &["--pkcs11"],
    },
];

/// The failure to tell where the command line names something that a feature would have brought.
pub(crate) fn named_in(error: &clap::Error) -> Option<Failure> {
    let word = |kind| match error.get(kind)? {
        ContextValue::String(word) => Some(word.as_str()),
        _ => None,
    };
    let off = BROUGHT.iter().filter(|brought| !brought.is_on);
    let (feature, what) = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = word(ContextKind::InvalidSubcommand)?;
            let mut commands = off.flat_map(|brought| {
                let commands = brought.commands.iter();
                commands.map(|command| (brought.feature, *command))
            });
            let is_it = |command: &str| command.split(' ').next_back() == Some(word);
            let (feature, command) = commands.find(|(_, command)| is_it(command))?;
            (feature, format!("the command '{command}'"))
        }
        ErrorKind::UnknownArgument => {
            let word = word(ContextKind::InvalidArg)?;
            let mut options = off.flat_map(|brought| {
                let options = brought.options.iter();
                options.map(|option| (brought.feature, *option))
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

/// The part of the help that names the commands which this build lacks; empty where it has all.
pub(crate) fn help() -> String {
    let mut text = String::new();
    for brought in BROUGHT.iter().filter(|brought| !brought.is_on) {
        for command in brought.commands {
            if text.is_empty() {
                text.push_str("\n\nNot in this build:\n");
            }
            text.push_str(&format!(
                "  {command:<31} built with '--features {}'\n",
                brought.feature
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

    /// What is typed is there, or is named with the feature that brings it.
    fn is_known(words: &[&str]) -> bool {
        let line = ["fve"].iter().chain(words).copied();
        let error = Cli::command().try_get_matches_from(line).err();
        let failure = error.as_ref().and_then(named_in);
        failure.is_some_and(|failure| failure.status() == Status::Usage)
    }

    #[test]
    fn what_a_feature_brings_is_there_or_named() {
        let all = Cli::command();
        for brought in BROUGHT {
            for command in brought.commands {
                let words: Vec<_> = command.split(' ').collect();
                let mut found = Some(&all);
                for word in &words {
                    found = found.and_then(|command| command.find_subcommand(word));
                }
                assert_eq!(found.is_some(), brought.is_on, "{command}");
                assert_eq!(is_known(&words), !brought.is_on, "{command}");
            }
            for option in brought.options {
                assert_eq!(has_option(&all, option), brought.is_on, "{option}");
                let named = is_known(&["protector", "add", "volume.img", option]);
                assert_eq!(named, !brought.is_on, "{option}");
            }
        }
    }
}
