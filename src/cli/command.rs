//! The command line as a whole: all commands, and the general help.

use clap::{ColorChoice, CommandFactory, Parser};

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
use crate::cli::run::{Run, commands};

/// Unlock, mount, decrypt, create and repair BitLocker volumes on Linux.
#[derive(Debug, Parser)]
#[command(name = "fve", version, about, long_about = None, after_help = format!("{EXAMPLES}\n\nAll options, exit statuses, and options of other tools: 'fve --help'"),
    after_long_help = format!("{EXAMPLES}{}{}{}", exit_statuses(), other_tools::help(), lacking::help()))]
pub(crate) struct Cli {
    /// Say each step on standard error; repeat for more detail. No line contains a secret
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 900)]
    pub(crate) verbose: u8,

    /// Print only errors on standard error: no notes, warnings or progress
    #[arg(short, long, global = true, display_order = 901)]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
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
        List(ListArgs),
        /// Show everything that can be known about a volume without a key
        Info(InfoArgs),
        /// Check whether credentials unlock a volume, and which key protector; mounts nothing
        Unlock(UnlockArgs),
        /// Show the files of a volume in a directory, read-only
        #[cfg(feature = "fuse")]
        Mount(MountArgs),
        /// Unmount, after writing everything to disk
        #[cfg(feature = "fuse")]
        Unmount(UnmountArgs),
        /// List files of a volume, without mounting it
        Ls(LsArgs),
        /// Write files of a volume to standard output
        Cat(CatArgs),
        /// Copy files and directories of a volume
        Cp(CpArgs),
        /// Find files of a volume by name, type, size and time
        Find(FindArgs),
        /// Write the whole decrypted volume to a file, to a device or to standard output
        Decrypt(DecryptArgs),
        /// Serve the decrypted volume to other programs, over NBD
        Serve(ServeArgs),
        /// Map the decrypted volume as a device of the kernel
        ///
        /// The kernel's dm-crypt decrypts the volume then, until 'fve unmap' ends that; no program of
        /// fve has to run. Only root can do it. SOURCE must be a block device or a raw image.
        #[cfg(feature = "map")]
        Map(MapArgs),
        /// Remove a device that 'fve map' has made
        ///
        /// Devices that cryptsetup made for BitLocker volumes can be removed, too; those of other kinds
        /// cannot.
        #[cfg(feature = "map")]
        Unmap(UnmapArgs),
        /// Create a new volume in a file or on a block device
        Create(CreateArgs),
        /// Check recovery passwords, search for unreadable digits, and find saved ones
        Recovery(RecoveryArgs),
        /// Show a volume's history, and why Windows may have asked for the recovery password
        Report(ReportArgs),
        /// Show the status of the TPM, and whether it would unlock a volume
        Tpm(TpmArgs),
        /// Network Unlock: find servers, run a server, manage its certificates and policy
        #[cfg(feature = "network")]
        NetworkUnlock(NetworkUnlockArgs),
        /// List and change the key protectors of a volume
        Protector(ProtectorArgs),
        /// Back up or restore the metadata of a volume
        Metadata(MetadataArgs),
        /// Find volumes whose boot record or partition table is lost, and rebuild it
        Repair(RepairArgs),
        /// Save keys of a volume to a file, and print the table that maps it
        Export(ExportArgs),
        /// Print shell completions
        Completions(CompletionsArgs),
        /// Show the manual page of a command, or write all pages to a directory
        Man(ManArgs),
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
    use super::*;

    #[test]
    fn the_command_line_has_no_conflicts() {
        command().debug_assert();
    }
}
