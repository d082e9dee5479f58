//! What the help shows: `-h` is one screen with the options that most users need, `--help` has all of
//! them. Both are divided into sections.
//!
//! Most options need nothing here: they are in the section "Options", or in that of their credential,
//! and `-h` shows the first clause of their help.

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command};

/// The section of the options that every command has.
const GENERAL: &str = "General";

/// Sections, and the options that they list, by their names without dashes.
const SECTIONS: &[(&str, &[&str])] = &[
    (
        "Source",
        &["accept-damaged-metadata", "offset", "partition"],
    ),
    (
        "Owner and permissions",
        &["allow-other", "uid", "gid", "umask"],
    ),
    ("Change", &["dry-run", "backup-to", "drop-bound"]),
    (
        "TPM details",
        &["pcrs", "bank", "pcr-values", "tpm-create-srk"],
    ),
    (
        "Directory look-up",
        &[
            "lookup-user",
            "lookup-password-file",
            "lookup-ca-file",
            "lookup-base",
            "lookup-kerberos",
            "lookup-timeout",
        ],
    ),
    (
        "Limits",
        &[
            "rate-source",
            "rate-network",
            "rate-certificate",
            "rate-total",
            "replay",
        ],
    ),
    (
        "Differences from Windows servers",
        &[
            "policy-address",
            "refuse-link-local",
            "per-family-lists",
            "accept-inform",
            "reply-option-125",
        ],
    ),
    (GENERAL, &["verbose", "quiet"]),
];

/// Options that few users need: only `--help` shows them. Each row is for the commands with one of these
/// names, or for all.
const RARE: &[(&[&str], &[&str])] = &[
    (
        &[],
        &[
            "accept-damaged-metadata",
            "backup-to",
            "drop-bound",
            "no-prompt",
            "password-fd",
            "password-key",
            "recovery-password-key",
            "systemd-ask-password",
        ],
    ),
    (
        &["mount"],
        &[
            "allow-root",
            "allow-unaware-file-system",
            "auto-unmount",
            "direct-io",
            "foreground",
            "gid",
            "umask",
        ],
    ),
    (
        &["create", "add"],
        &[
            "bank",
            "json",
            "network-certificate",
            "network-sidecar-to",
            "network-timeout",
            "network-unlock",
            "new-certificate",
            "new-pin-file",
            "pcr-values",
            "pcrs",
            "tpm-create-srk",
            "tpm-startup-key-to",
        ],
    ),
    (
        &["lookup"],
        &[
            "lookup-base",
            "lookup-ca-file",
            "lookup-kerberos",
            "lookup-timeout",
        ],
    ),
    (
        &["serve"],
        &[
            "accept-inform",
            "accept-readable-keys",
            "per-family-lists",
            "policy-address",
            "rate-certificate",
            "rate-network",
            "rate-source",
            "rate-total",
            "refuse-link-local",
            "replay",
            "reply-option-125",
            "strict-certificates",
            "threads",
        ],
    ),
];

/// The commands with their help divided into sections, and `-h` short enough for one screen.
pub(crate) fn arranged(command: Command) -> Command {
    let general =
        |arg: Arg, name: &'static str| arg.long(name).help_heading(GENERAL).display_order(910);
    let help = general(Arg::new("help").short('h'), "help")
        .action(ArgAction::Help)
        .global(true)
        .help("Print this summary, or everything with --help");
    let version = general(Arg::new("version").short('V'), "version")
        .action(ArgAction::Version)
        .help("Print the version");
    let command = command
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args([help, version]);
    arranged_at("fve", command)
}

/// The same for the command with this name, and those below it.
fn arranged_at(path: &str, command: Command) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| arranged_option(&name, arg));
    let hides = command
        .get_arguments()
        .any(|arg| arg.is_hide_short_help_set() && !arg.is_hide_set());
    let command = match (hides, command.get_after_help().cloned()) {
        (true, Some(examples)) => {
            let pointer = format!("{examples}\n\nAll options: '{path} --help'");
            command.after_long_help(examples).after_help(pointer)
        }
        _ => command,
    };
    command.mut_subcommands(|below| {
        let path = format!("{path} {}", below.get_name());
        arranged_at(&path, below)
    })
}

fn arranged_option(command: &str, arg: Arg) -> Arg {
    let arg = match (arg.get_help(), arg.get_long_help()) {
        (Some(help), None) => {
            let text = help.to_string();
            match first_clause(&text) {
                first if first == text => arg,
                first => {
                    let first = StyledStr::from(first.to_owned());
                    arg.help(first).long_help(text)
                }
            }
        }
        _ => arg,
    };
    let Some(name) = arg.get_long().map(str::to_owned) else {
        return arg;
    };
    let has = |names: &[&str]| names.contains(&name.as_str());
    let rare = RARE.iter().any(|(commands, names)| {
        (commands.is_empty() || commands.contains(&command)) && has(names)
    });
    let arg = match SECTIONS.iter().find(|(_, names)| has(names)) {
        Some((heading, _)) => arg.help_heading(*heading),
        None => arg,
    };
    match rare {
        true => arg.hide_short_help(true),
        false => arg,
    }
}

/// The part of a help text that says what an option is for. Details follow in a second clause, or in
/// parentheses.
fn first_clause(text: &str) -> &str {
    const ENDS: [&str; 4] = ["; ", ". ", " (", " ["];
    let ends = ENDS.iter().filter_map(|end| text.find(end));
    ends.min().and_then(|end| text.get(..end)).unwrap_or(text)
}

#[cfg(all(
    test,
    feature = "directory",
    feature = "fuse",
    feature = "network-server",
    feature = "tpm"
))]
mod tests {
    use super::*;
    use crate::cli::command::command;

    /// The command and all commands below it.
    fn all(command: &Command) -> Vec<&Command> {
        let below = command.get_subcommands().flat_map(all);
        std::iter::once(command).chain(below).collect()
    }

    fn has(command: &Command, name: &str) -> bool {
        command
            .get_arguments()
            .any(|arg| arg.get_long() == Some(name))
    }

    #[test]
    fn the_tables_name_options_that_exist() {
        let root = command();
        let commands = all(&root);
        for name in SECTIONS.iter().flat_map(|(_, names)| *names) {
            assert!(commands.iter().any(|command| has(command, name)), "{name}");
        }
        for (of, names) in RARE {
            for name in *names {
                let fits = |command: &&Command| of.is_empty() || of.contains(&command.get_name());
                let mut commands = commands.iter().copied().filter(fits);
                assert!(commands.any(|command| has(command, name)), "{of:?} {name}");
            }
        }
    }

    /// A long list without sections is not read.
    #[test]
    fn no_section_is_a_wall() {
        for command in all(&command()) {
            let mut counts = std::collections::BTreeMap::new();
            for arg in command
                .get_arguments()
                .filter(|arg| !arg.is_hide_set() && !arg.is_positional())
            {
                *counts.entry(arg.get_help_heading()).or_insert(0) += 1;
            }
            let most = counts.iter().max_by_key(|(_, count)| **count);
            assert!(
                most.is_none_or(|(_, count)| *count <= 14),
                "{}: {most:?}",
                command.get_name()
            );
        }
    }

    #[test]
    fn the_first_clause_says_what_an_option_is_for() {
        assert_eq!(
            first_clause("File with the PIN ('-' = standard input); a"),
            "File with the PIN"
        );
        assert_eq!(
            first_clause("Seal to these PCRs [default: 7,11; or]"),
            "Seal to these PCRs"
        );
        assert_eq!(first_clause("Read it. Not tested"), "Read it");
        assert_eq!(first_clause("With --tpm: refuse"), "With --tpm: refuse");
    }
}
