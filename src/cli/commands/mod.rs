//! The commands, one file or folder each.

pub(super) mod create;
pub(super) mod decrypt;
pub(super) mod export;
pub(super) mod files;
pub(super) mod generate;
pub(super) mod info;
pub(super) mod list;
#[cfg(feature = "map")]
pub(super) mod map;
pub(super) mod metadata;
#[cfg(feature = "fuse")]
pub(super) mod mount;
#[cfg(feature = "network")]
pub(super) mod network_unlock;
pub(super) mod protector;
pub(super) mod recovery;
pub(super) mod repair;
pub(super) mod report;
pub(super) mod serve;
pub(super) mod tpm;
pub(super) mod unlock;
#[cfg(feature = "map")]
pub(super) mod unmap;
#[cfg(feature = "fuse")]
pub(super) mod unmount;

#[cfg(all(
    test,
    feature = "directory",
    feature = "fuse",
    feature = "network",
    feature = "tpm"
))]
mod tests {
    use clap::{Command, CommandFactory, Parser};

    use crate::cli::command::Cli;

    /// The text after the options of this command and of all commands below it.
    fn texts(command: &Command) -> Vec<String> {
        let own = [command.get_after_help(), command.get_after_long_help()];
        let own = own.into_iter().flatten().map(ToString::to_string);
        let below = command.get_subcommands().flat_map(texts);
        own.chain(below).collect()
    }

    /// Examples are lines that begin with four spaces and `fve`; what the shell does with the output
    /// is not for `fve` to accept.
    #[test]
    fn accepts_every_command_line_that_the_help_gives_as_an_example() {
        let mut examples = 0;
        for text in texts(&Cli::command()) {
            for line in text.lines().filter(|line| line.starts_with("    fve ")) {
                let own = line.split(['|', '>']).next().unwrap_or_default();
                if let Err(error) = Cli::try_parse_from(own.split_whitespace()) {
                    panic!("{line}\n{error}");
                }
                examples += 1;
            }
        }
        assert!(examples > 40, "only {examples} examples were found");
    }
}
