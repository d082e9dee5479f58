//! The command line as a whole: all commands, and the general help.

use std::ffi::OsString;

use clap::{Args, ColorChoice, CommandFactory, Parser};

use crate::cli::commands::create::CreateArgs;
use crate::cli::commands::decrypt::DecryptArgs;
use crate::cli::commands::export::ExportArgs;
use crate::cli::commands::files::cat::CatArgs;
use crate::cli::commands::files::cp::CpArgs;
use crate::cli::commands::files::find::FindArgs;
use crate::cli::commands::files::ls::LsArgs;
use crate::cli::commands::generate::{self, CompletionsArgs, ManArgs};
use crate::cli::commands::info::InfoArgs;
use crate::cli::commands::list::ListArgs;
#[cfg(feature = "map")]
use crate::cli::commands::map::MapArgs;
use crate::cli::commands::metadata::MetadataArgs;
#[cfg(feature = "fuse")]
use crate::cli::commands::mount::MountArgs;
#[cfg(feature = "network")]
use crate::cli::commands::network_unlock::NetworkUnlockArgs;
use crate::cli::commands::protector::ProtectorArgs;
use crate::cli::commands::recovery::RecoveryArgs;
use crate::cli::commands::repair::RepairArgs;
use crate::cli::commands::report::ReportArgs;
use crate::cli::commands::serve::ServeArgs;
use crate::cli::commands::tpm::TpmArgs;
use crate::cli::commands::unlock::UnlockArgs;
#[cfg(feature = "map")]
use crate::cli::commands::unmap::UnmapArgs;
#[cfg(feature = "fuse")]
use crate::cli::commands::unmount::UnmountArgs;
use crate::cli::exit::EXIT_STATUSES;
use crate::cli::failure::Failure;
use crate::cli::help;
use crate::cli::lacking;
use crate::cli::other_tools;
use crate::cli::output::term;
use crate::cli::run::{OneOf, Run, commands};

/// Unlock, mount, decrypt, create and repair BitLocker volumes on Linux.
#[derive(Debug, Parser)]
#[command(name = "fve", version, about, long_about = None, after_help = format!("{EXAMPLES}\n\nAll options, exit statuses, and options of other tools: 'fve --help'"),
    after_long_help = format!("{EXAMPLES}{}{}{}", exit_statuses(), other_tools::help(), lacking::help()))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) general: GeneralArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command has.
#[derive(Debug, Args)]
pub(crate) struct GeneralArgs {
    /// Say each step on standard error; repeat for more detail. No line contains a secret
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 900)]
    pub(crate) verbose: u8,

    /// Print only errors on standard error: no notes, warnings or progress
    #[arg(short, long, global = true, display_order = 901)]
    pub(crate) quiet: bool,
}

/// Examples for the main jobs.
const EXAMPLES: &str = "\
Examples:
  List the volumes of this machine:
    fve list
  Describe the volume on a partition:
    fve info /dev/sda3
  Show the files of the volume in a directory, and end that:
    fve mount /dev/sda3 /mnt
    fve unmount /mnt
  Decrypt a partition to an image file:
    fve decrypt /dev/sda3 volume.img";

/// The part of the general help that lists the exit statuses.
fn exit_statuses() -> String {
    let rows = EXIT_STATUSES.iter();
    let rows = rows.map(|(status, meaning)| format!("\n  {status}  {meaning}"));
    format!("\n\nExit status:{}", rows.collect::<String>())
}

commands! {
    /// The commands, in the order of the help.
    Command {
        /// List the BitLocker volumes of this machine, and where they are mounted
        "list" List(ListArgs),
        /// Show everything that can be known about a volume without a key
        "info" Info(InfoArgs),
        /// Check whether credentials unlock a volume, and which key protector; mounts nothing
        "unlock" Unlock(UnlockArgs),
        /// Show the files of a volume in a directory, read-only
        #[cfg(feature = "fuse")]
        "mount" Mount(MountArgs),
        /// Unmount, after writing everything to disk
        #[cfg(feature = "fuse")]
        "unmount" Unmount(UnmountArgs),
        /// List files of a volume, without mounting it
        "ls" Ls(LsArgs),
        /// Write files of a volume to standard output
        "cat" Cat(CatArgs),
        /// Copy files and directories of a volume
        "cp" Cp(CpArgs),
        /// Find files of a volume by name, type, size and time
        "find" Find(FindArgs),
        /// Write the whole decrypted volume to a file, to a device or to standard output
        "decrypt" Decrypt(DecryptArgs),
        /// Serve the decrypted volume to other programs, over NBD
        "serve" Serve(ServeArgs),
        /// Map the decrypted volume as a device of the kernel
        ///
        /// The kernel's dm-crypt decrypts the volume then, until 'fve unmap' ends that; no program of
        /// fve has to run. Only root can do it. SOURCE must be a block device or a raw image.
        #[cfg(feature = "map")]
        "map" Map(MapArgs),
        /// Remove a device that 'fve map' has made
        ///
        /// Devices that cryptsetup made for BitLocker volumes can be removed, too; those of other kinds
        /// cannot.
        #[cfg(feature = "map")]
        "unmap" Unmap(UnmapArgs),
        /// Create a new volume in a file or on a block device
        "create" Create(CreateArgs),
        /// Check recovery passwords, search for unreadable digits, and find saved ones
        "recovery" Recovery(RecoveryArgs),
        /// Show a volume's history, and why Windows may have asked for the recovery password
        "report" Report(ReportArgs),
        /// Show the status of the TPM, and whether it would unlock a volume
        "tpm" Tpm(TpmArgs),
        /// Network Unlock: find servers, run a server, manage its certificates and policy
        #[cfg(feature = "network")]
        "network-unlock" NetworkUnlock(NetworkUnlockArgs),
        /// List and change the key protectors of a volume
        "protector" Protector(ProtectorArgs),
        /// Back up or restore the metadata of a volume
        "metadata" Metadata(MetadataArgs),
        /// Find volumes whose boot record or partition table is lost, and rebuild it
        "repair" Repair(RepairArgs),
        /// Save keys of a volume to a file, and print the table that maps it
        "export" Export(ExportArgs),
        /// Print shell completions
        "completions" Completions(CompletionsArgs),
        /// Show the manual page of a command, or write all pages to a directory
        "man" Man(ManArgs),
}
}

/// All commands, with their help divided into sections.
pub(crate) fn command() -> clap::Command {
    // By itself, clap prints colors on every terminal where the variable CI is set.
    let color = match term::wants_styles() {
        true => ColorChoice::Auto,
        false => ColorChoice::Never,
    };
    help::arranged(other_tools::accepting_read_only(Cli::command())).color(color)
}

/// The command line with only the command that the arguments name. It can parse them, but has no help to show.
/// Building all commands takes longer than most commands run.
pub(crate) fn named_by(arguments: &[OsString]) -> Option<clap::Command> {
    // No option before the command has a value.
    let mut words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    let name = words.find(|word| !word.starts_with('-'))?;
    let all = GeneralArgs::augment_args(clap::Command::new("fve"));
    Some(other_tools::accepting_read_only(
        all.subcommand(Command::named(name)?),
    ))
}

impl Run for CompletionsArgs {
    fn run(&self) -> Result<(), Failure> {
        generate::completions(self, command())
    }
}

impl Run for ManArgs {
    fn run(&self) -> Result<(), Failure> {
        generate::man(self, command())
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    #[test]
    fn the_command_line_has_no_conflicts() {
        command().debug_assert();
    }

    #[test]
    fn a_command_alone_is_parsed_like_one_of_all() {
        let parsed = |command: clap::Command, line: &[OsString]| {
            let matches = command.try_get_matches_from(line).ok()?;
            Some(format!("{:?}", Cli::from_arg_matches(&matches).ok()?))
        };
        let lines = [
            "info v.img",
            "-qv --verbose info v.img --json",
            "info -v -- v.img",
            "list",
            "unlock v.img --password-file pw",
            "decrypt -r v.img out --offset 512",
            "recovery check -",
            "protector list --quiet v.img",
            "export dm-table v.img",
            #[cfg(feature = "fuse")]
            "mount --read-only v.img /mnt",
            #[cfg(feature = "network")]
            "network-unlock probe --certificate server.cer",
        ];
        for line in lines {
            let words = std::iter::once("fve").chain(line.split(' '));
            let line: Vec<_> = words.map(OsString::from).collect();
            let alone = parsed(named_by(&line).unwrap(), &line);
            assert_eq!(alone, parsed(command(), &line), "{line:?}");
            assert!(alone.is_some(), "{line:?}");
        }
        for one in command().get_subcommands() {
            let line = ["fve", one.get_name()].map(OsString::from);
            assert!(named_by(&line).is_some(), "{line:?}");
        }
        for line in [&["fve"][..], &["fve", "-V"], &["fve", "v.img", "info"]] {
            let line: Vec<_> = line.iter().map(OsString::from).collect();
            assert!(named_by(&line).is_none(), "{line:?}");
        }
    }
}
