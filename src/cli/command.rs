//! The words of the command line.

use clap::{CommandFactory, Parser};

use crate::cli::commands::create::CreateArgs;
use crate::cli::commands::decrypt::DecryptArgs;
use crate::cli::commands::export::ExportArgs;
use crate::cli::commands::generate::{self, CompletionsArgs, ManArgs};
use crate::cli::commands::info::InfoArgs;
use crate::cli::commands::metadata::MetadataArgs;
#[cfg(feature = "fuse")]
use crate::cli::commands::mount::MountArgs;
#[cfg(feature = "network")]
use crate::cli::commands::network_unlock::NetworkUnlockArgs;
use crate::cli::commands::protector::ProtectorArgs;
use crate::cli::commands::recovery::RecoveryArgs;
use crate::cli::commands::repair::RepairArgs;
use crate::cli::commands::report::ReportArgs;
use crate::cli::commands::tpm::TpmArgs;
use crate::cli::commands::unlock::UnlockArgs;
#[cfg(feature = "fuse")]
use crate::cli::commands::unmount::UnmountArgs;
use crate::cli::failure::Failure;
use crate::cli::lacking;
use crate::cli::run::{Run, commands};

/// BitLocker volumes on Linux: read them, mount them, check their recovery passwords.
#[derive(Debug, Parser)]
#[command(name = "fve", version, about, long_about = None, after_long_help = format!("{AFTER_HELP}{}", lacking::help()))]
pub(crate) struct Cli {
    /// Log to standard error; more with every repetition. A log line never holds a secret.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Exit status:
  0  done
  1  failed in a way that no other status names
  2  the command line is wrong
  3  not a BitLocker volume, or one of a kind that is not supported
  4  the credentials were read but none opens the volume
  5  reading or writing failed
  6  the metadata is damaged beyond what its other copies make good
  7  'recovery check': the password is malformed

Options of other tools:
  dislocker -p, bdemount -r, recovery password    --recovery-password-file FILE
  dislocker -u, bdemount -p, password             --password-file FILE
  dislocker -f, bdemount -s, startup key          --startup-key FILE
  dislocker -c, clear key                         (used at once when no credential is given)
  dislocker -K, volume master key                 --vmk-file FILE
  dislocker -k, bdemount -k, sector key           --fvek-file FILE
  dislocker -O, bdemount -o, offset               --offset BYTES";

commands! {
    /// All commands.
    Command {
        /// Show everything that can be known of a volume without a key
        Info(InfoArgs),
        /// Try credentials on a volume and say which protector they open; mounts nothing
        Unlock(UnlockArgs),
        /// Show the decrypted volume as the file DIR/volume until it is unmounted, read-only unless asked
        #[cfg(feature = "fuse")]
        Mount(MountArgs),
        /// End a mount, everything that was written on the disk
        #[cfg(feature = "fuse")]
        Unmount(UnmountArgs),
        /// Write the whole decrypted volume to a file or to standard output
        Decrypt(DecryptArgs),
        /// Make a new volume in a file or on a block device
        Create(CreateArgs),
        /// Check recovery passwords, search for unreadable digits, and find saved ones
        Recovery(RecoveryArgs),
        /// Say what a volume tells of its history, and why Windows may have asked for its recovery password
        Report(ReportArgs),
        /// Ask the TPM about a volume's protectors
        Tpm(TpmArgs),
        /// Network Unlock: a probe for servers, a server, its certificates, its policy
        #[cfg(feature = "network")]
        NetworkUnlock(NetworkUnlockArgs),
        /// Show and change the key protectors of a volume
        Protector(ProtectorArgs),
        /// Back up the metadata of a volume, and restore it
        Metadata(MetadataArgs),
        /// Find volumes whose first sector or place is lost, and make what they lack anew elsewhere
        Repair(RepairArgs),
        /// Save what belongs to a volume apart from it
        Export(ExportArgs),
        /// Print completions for a shell
        Completions(CompletionsArgs),
        /// Print the manual page, or write all pages to a directory
        Man(ManArgs),
}
}

impl Run for CompletionsArgs {
    fn run(&self) -> Result<(), Failure> {
        generate::completions(self, Cli::command())
    }
}

impl Run for ManArgs {
    fn run(&self) -> Result<(), Failure> {
        generate::man(self, Cli::command())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
