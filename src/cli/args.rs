//! The words of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use super::commands::create::CreateArgs;
use super::commands::export::ExportArgs;
use super::commands::lookup::LookupArgs;
use super::commands::metadata::MetadataArgs;
use super::commands::network_unlock::NetworkUnlockArgs;
use super::commands::protector::ProtectorArgs;
use super::commands::recovery_hash::HashArgs;
use super::commands::recovery_search::SearchArgs;
use super::commands::repair::RepairArgs;
use super::commands::report::ReportArgs;
use super::commands::tpm::TpmArgs;
use super::credentials::CredentialArgs;
use super::{Failure, json};

/// BitLocker volumes on Linux: read them, mount them, check their recovery passwords.
#[derive(Debug, Parser)]
#[command(name = "fve", version, about, long_about = None, after_long_help = AFTER_HELP)]
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

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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

impl Command {
    /// How a failure is told where one JSON document is to be all that standard output gets.
    pub(crate) fn json_failure(&self) -> Option<fn(&Failure) -> String> {
        match self {
            Self::Unlock(args) if args.json => Some(json::not_unlocked),
            Self::Info(args) if args.json => Some(json::failure),
            Self::Report(args) if args.json => Some(json::failure),
            Self::Tpm(args) if args.json() => Some(json::failure),
            Self::NetworkUnlock(args) if args.json() => Some(json::failure),
            Self::Create(args) if args.json => Some(json::failure),
            Self::Recovery(RecoveryArgs {
                command: RecoveryCommand::Check(args),
            }) if args.json => Some(json::failure),
            Self::Recovery(RecoveryArgs {
                command: RecoveryCommand::Search(args),
            }) if args.json => Some(json::failure),
            Self::Recovery(RecoveryArgs {
                command: RecoveryCommand::Hash(args),
            }) if args.json => Some(json::failure),
            Self::Recovery(RecoveryArgs {
                command: RecoveryCommand::Lookup(args),
            }) if args.json => Some(json::failure),
            Self::Protector(args) if args.json() => Some(json::failure),
            Self::Repair(args) if args.json() => Some(json::failure),
            Self::Export(args) if args.json() => Some(json::failure),
            _ => None,
        }
    }
}

/// Where the volume is.
#[derive(Debug, Clone, Args)]
pub(crate) struct SourceArgs {
    /// Image file or block device: the volume itself, or a whole disk that holds it
    #[arg(value_name = "SOURCE", value_hint = ValueHint::FilePath)]
    pub(crate) source: PathBuf,

    /// The volume begins this many bytes into SOURCE (0x for hexadecimal)
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, conflicts_with = "partition")]
    pub(crate) offset: Option<u64>,

    /// The volume is this partition of SOURCE
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<u32>,

    #[command(flatten)]
    pub(crate) lost: LostArgs,
}

/// A volume that does not begin with a boot record any more.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LostArgs {
    /// Open the volume, read-only, by the metadata copy this many bytes into SOURCE: its first
    /// sector is lost ('fve repair scan' finds the copies)
    #[arg(long, value_name = "OFFSET", value_parser = parse_bytes, conflicts_with_all = ["offset", "partition"])]
    pub(crate) metadata: Option<u64>,

    /// The volume begins this many bytes into SOURCE, or with a minus sign before it, where SOURCE
    /// lacks its first bytes. Without --metadata, its metadata is searched for
    #[arg(long, value_name = "N", value_parser = parse_start, allow_hyphen_values = true, conflicts_with_all = ["offset", "partition"])]
    pub(crate) volume_start: Option<i64>,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Answer with one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UnlockArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,

    /// Answer with one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "fuse")]
#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Empty directory to mount on
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,

    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,

    /// Let the file be written to; nobody else may use SOURCE meanwhile
    #[arg(long, conflicts_with = "accept-damaged-metadata")]
    pub(crate) read_write: bool,

    /// With --read-write: also where the volume holds a file system other than NTFS, FAT and exFAT,
    /// which does not keep off the places of BitLocker's own structures. What it puts there is lost
    #[arg(long, requires = "read_write")]
    pub(crate) allow_unaware_file_system: bool,

    /// Let other users read the file too
    #[arg(long)]
    pub(crate) allow_other: bool,

    /// Bypass the page cache: faster for one pass over the whole volume, slower for all else
    #[arg(long)]
    pub(crate) direct_io: bool,

    /// Stay in the foreground until unmounted
    #[arg(long)]
    pub(crate) foreground: bool,

    /// Serve from the process that `mount` started, and tell it on standard output
    #[arg(long, hide = true)]
    pub(crate) background_child: bool,
}

#[cfg(feature = "fuse")]
#[derive(Debug, Args)]
pub(crate) struct UnmountArgs {
    /// The directory that the volume is mounted on
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// File to write, or '-' for standard output
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,

    /// Write over OUT if it is a file that exists
    #[arg(long)]
    pub(crate) force: bool,

    /// Keep what is written in OUT.partial when the work ends early, and go on from there if an
    /// earlier run left it
    #[arg(long)]
    pub(crate) resume: bool,

    /// Everything on OUT, a block device, may be destroyed: its path once more
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) device_confirm: Option<PathBuf>,

    /// Compute the SHA-256 of the plaintext on the way, and print it
    #[arg(long)]
    pub(crate) sha256: bool,

    /// Go on where SOURCE cannot be read, with zeros there, and list the places in this new file
    /// in the form of ddrescue's map files
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) error_map: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RecoveryArgs {
    #[command(subcommand)]
    pub(crate) command: RecoveryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RecoveryCommand {
    /// Check a recovery password block by block, and suggest corrections
    Check(CheckArgs),
    /// Find unreadable digits of a recovery password by trying them on the volume
    Search(SearchArgs),
    /// Print the hashes of the volume's passwords, for hashcat and John the Ripper
    Hash(HashArgs),
    /// Find a saved recovery password by its ID, by computer, or for a volume: in files or in Active Directory
    Lookup(LookupArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The password, or '-' for standard input. As an argument it stays in the shell's history and
    /// shows in the process list: prefer '-' or --file. Without any, it is asked for
    #[arg(value_name = "PASSWORD", conflicts_with = "file")]
    pub(crate) password: Option<String>,

    /// File that holds the password: what Windows saves or prints, in any language
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,

    /// Try the password on this volume, too
    #[arg(long, value_name = "SOURCE", value_hint = ValueHint::FilePath)]
    pub(crate) volume: Option<PathBuf>,

    /// The volume begins this many bytes into SOURCE
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, requires = "volume")]
    pub(crate) offset: Option<u64>,

    /// The volume is this partition of SOURCE
    #[arg(long, value_name = "N", requires = "volume", conflicts_with = "offset")]
    pub(crate) partition: Option<u32>,

    #[command(flatten)]
    pub(crate) lost: LostArgs,

    /// Show digits: the password as understood, and the corrections
    #[arg(long)]
    pub(crate) show: bool,

    /// Read letters that look like digits as those digits, in suggestions only
    #[arg(long)]
    pub(crate) ocr: bool,

    /// Answer with one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for every command to this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) to: Option<PathBuf>,
}

/// A number of bytes, decimal or with `0x` hexadecimal.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "not a number of bytes".to_owned())
}

/// The same, with a minus sign for a place before the first byte.
fn parse_start(text: &str) -> Result<i64, String> {
    let (sign, bytes) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let bytes = i64::try_from(parse_bytes(bytes)?).map_err(|error| error.to_string())?;
    Ok(sign * bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn offsets_are_decimal_or_hexadecimal() {
        assert_eq!(parse_bytes("1048576"), Ok(1 << 20));
        assert_eq!(parse_bytes("0x100000"), Ok(1 << 20));
        for bad in ["", "0x", "-1", "1M", "99999999999999999999"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
