//! `fve export`: saves keys of a volume to a file, and prints the table with which the kernel maps it.
//!
//! Keys of `key-package --json`: `volume` (identifier), `file`, `size` (bytes) and `protectors`
//! (each with `id`, `type`, `name`): the key protectors whose secrets unlock the package.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use fve::enroll::save_key;
use fve::error::Error;
use fve::manage::export_key_package;
use fve::output::check_new;
use fve::secret::{SecretBytes, SecretText};
use fve::serve::mapping::{KeyText, Table};
use fve::shown::ShowPath;
use fve::source::{Extent, device_of};
use fve::volume::{Fvek, Volume};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::mappable;
use crate::cli::options::parse::parse_protector_id;
use crate::cli::options::plaintext::open_to_read_by;
use crate::cli::options::source::{self, SourceArgs};
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::run::Run;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Save the keys for all recovery passwords and external keys:
    fve export key-package /dev/sda3 keys.pkg
  Save the key of the sectors:
    fve export fvek /dev/sda3 volume.fvek")]
pub(crate) struct ExportArgs {
    #[command(subcommand)]
    command: ExportCommand,
}

#[derive(Debug, Subcommand)]
enum ExportCommand {
    /// Save the encrypted keys of a volume to a file
    ///
    /// If the metadata of the volume is damaged later, --key-package unlocks the volume with this
    /// file. The file format is fve's own: repair-bde of Windows is not known to read it.
    KeyPackage(KeyPackageArgs),
    /// Save the full volume encryption key (FVEK), the key of the sectors
    ///
    /// With it, the volume can be decrypted for ever: no change of the key protectors changes it.
    Fvek(FvekArgs),
    /// Save the volume master key (VMK), which opens all other keys of the volume
    ///
    /// With it, the volume can be decrypted without any key protector, until the volume gets another VMK.
    Vmk(KeyArgs),
    /// Print the device-mapper table of the volume, for 'dmsetup create'
    ///
    /// The table names a key in the kernel's keyring, which has to be there first, and contains no
    /// secret. 'fve map' does all of that by itself.
    DmTable(DmTableArgs),
}

/// A key of a volume, and where to write it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Save the volume master key to a file:
    fve export vmk /dev/sda3 volume.vmk
  Use it:
    fve mount /dev/sda3 /mnt --vmk-file volume.vmk")]
struct KeyArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// New file to write, which only its owner can read
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath, required_unless_present = "show", conflicts_with = "show")]
    output: Option<PathBuf>,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Print the key on standard output, in hex digits
    #[arg(long)]
    show: bool,
}

/// How the bytes of an FVEK are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// As the metadata has it, for --fvek-file
    Stored,
    /// The bytes that the cipher uses, for cryptsetup and dmsetup
    Used,
    /// With the encryption method before it, for dislocker
    Dislocker,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Save the key of the sectors, and use it later:
    fve export fvek /dev/sda3 volume.fvek
    fve decrypt /dev/sda3 volume.img --fvek-file volume.fvek
  Save it for cryptsetup:
    fve export fvek /dev/sda3 volume.fvek --form used")]
struct FvekArgs {
    #[command(flatten)]
    key: KeyArgs,

    /// Which bytes are written
    #[arg(long, value_name = "FORM", value_enum, default_value = "stored")]
    form: Form,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Print the table of a volume:
    fve export dm-table /dev/sda3
  Map the volume by hand, with a key that no program can read again:
    fve export fvek /dev/sda3 volume.fvek --form used
    keyctl padd logon fve:windows @s < volume.fvek
    fve export dm-table /dev/sda3 --key-name fve:windows | dmsetup create windows --readonly
    rm volume.fvek
    keyctl purge logon fve:windows")]
struct DmTableArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// New file to write, which only its owner can read; the default is standard output
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// The device in the table; the default is SOURCE, or the partition of it with the volume. An image
    /// needs a loop device
    #[arg(long, value_name = "DEVICE", value_hint = ValueHint::FilePath, value_parser = parse_word)]
    device: Option<String>,

    /// Name of the 'logon' key in the kernel's keyring: a word, a colon and more
    #[arg(long, value_name = "NAME", default_value = "fve:fvek", value_parser = parse_key_name)]
    key_name: String,

    /// Write the key itself instead of a name. The table is then as secret as the key
    #[arg(long, conflicts_with = "key_name")]
    with_key: bool,

    /// With --with-key: print the table on standard output
    #[arg(long, requires = "with_key", conflicts_with = "output")]
    show: bool,
}

fn parse_word(text: &str) -> Result<String, String> {
    match is_word(text) {
        false => Err("the name of a device in a table cannot have white space or \\".to_owned()),
        true => Ok(text.to_owned()),
    }
}

/// Whether the kernel reads a text in a table as it is.
fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|one: char| one.is_whitespace() || one == '\\')
}

fn parse_key_name(text: &str) -> Result<String, String> {
    let has_prefix = text
        .split_once(':')
        .is_some_and(|(prefix, _)| !prefix.is_empty());
    match has_prefix && is_word(text) {
        true => Ok(text.to_owned()),
        false => Err(
            "it needs a word and a colon at its beginning, and neither white space nor \\"
                .to_owned(),
        ),
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Save the keys for all recovery passwords and external keys:
    fve export key-package /dev/sda3 keys.pkg
  Use them later, when the metadata is damaged:
    fve decrypt disk.img volume.img --key-package keys.pkg")]
struct KeyPackageArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// New file to write. The credentials of its key protectors unlock the volume with this file
    /// even after they are changed: keep it safe
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    output: PathBuf,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Include only these key protectors (GUIDs, or their first 8 hex digits); the default is all
    /// recovery passwords and external keys
    #[arg(value_name = "ID", value_parser = parse_protector_id)]
    ids: Vec<String>,

    /// The former option for the same
    #[arg(long = "of", value_name = "ID", hide = true, value_parser = parse_protector_id)]
    former_ids: Vec<String>,

    /// Print the result as one JSON document
    #[arg(long)]
    json: bool,
}

impl Run for ExportArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &ExportArgs) -> Result<(), Failure> {
    match &args.command {
        ExportCommand::KeyPackage(args) => export_package(args),
        ExportCommand::Fvek(args) => export_fvek(args),
        ExportCommand::Vmk(args) => export_vmk(args),
        ExportCommand::DmTable(args) => export_table(args),
    }
}

fn export_fvek(args: &FvekArgs) -> Result<(), Failure> {
    let volume = args.key.open()?;
    let fvek = fvek_of(&args.key.credentials, &volume)?;
    let key = match args.form {
        Form::Stored => fvek.expose().duplicate(),
        Form::Used => fvek.used(),
        Form::Dislocker => {
            let mut bytes = Vec::with_capacity(DISLOCKER_LEN);
            bytes.extend_from_slice(&fvek.method().code.to_le_bytes());
            bytes.extend_from_slice(fvek.expose().expose());
            bytes.resize(DISLOCKER_LEN, 0);
            SecretBytes::new(bytes)
        }
    };
    args.key.write(&key)
}

/// Length of dislocker's key files: the code of the method in two bytes, then 64 for the key.
const DISLOCKER_LEN: usize = 66;

fn export_vmk(args: &KeyArgs) -> Result<(), Failure> {
    let key = args.credentials.unlock_master_key(&args.open()?)?;
    args.write(&SecretBytes::new(key.expose().expose().to_vec()))
}

impl KeyArgs {
    /// Opens the volume, once it is known that the key can be written.
    fn open(&self) -> Result<Volume, Failure> {
        if let Some(output) = &self.output {
            check_new(output)?;
        }
        let opened = source::open(&self.source)
            .print_notes()
            .map_err(|failure| self.credentials.name_fitting(failure))?;
        Ok(opened.volume)
    }

    fn write(&self, key: &SecretBytes) -> Result<(), Failure> {
        let Some(output) = &self.output else {
            return term::print_all(hex(key).expose());
        };
        save_key(output, key)?;
        term::note(format_args!("saved to {}", output.shown()));
        Ok(())
    }
}

fn fvek_of(credentials: &CredentialArgs, volume: &Volume) -> Result<Fvek, Failure> {
    let (_, fvek) = credentials.unlock_keeping_fvek(volume)?;
    fvek.ok_or_else(|| Error::unsupported("the volume is decrypted: it has no keys").into())
}

/// The key as a line of hex digits.
fn hex(key: &SecretBytes) -> SecretText {
    let mut text = String::with_capacity(key.len() * 2 + 1);
    for byte in key.expose() {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    SecretText::new(text)
}

fn export_table(args: &DmTableArgs) -> Result<(), Failure> {
    if args.with_key && args.output.is_none() && !args.show {
        return Err(Failure::usage(
            "with --with-key the table is a secret: name a new file for it, or give --show",
        ));
    }
    mappable::check_source(&args.source)?;
    if let Some(output) = &args.output {
        check_new(output)?;
    }
    let ((unlocked, fvek), opened, _holds) =
        open_to_read_by(&args.source, &args.credentials, |volume| {
            args.credentials.unlock_keeping_fvek(volume)
        })?;
    let start = mappable::start_of(&opened)?;
    let (device, start) = match &args.device {
        Some(device) => (device.clone(), start),
        None => {
            let extent = Extent::part(&opened.path, start, unlocked.size());
            let (device, start) = device_of(&extent).unwrap_or((extent.path, start));
            let device = parse_word(&device.to_string_lossy())
                .map_err(|why| Failure::usage(format!("{why}: name the device with --device")))?;
            (device, start)
        }
    };
    let table = Table::of(&unlocked, start)?;
    let key = match &fvek {
        Some(fvek) if args.with_key => KeyText::Exposed(fvek),
        _ => KeyText::Keyring {
            kind: "logon",
            description: &args.key_name,
        },
    };
    let text = table.text(&device, key);
    match &args.output {
        Some(output) => {
            save_key(output, &SecretBytes::new(text.expose().as_bytes().to_vec()))?;
            term::note(format_args!("saved to {}", output.shown()));
        }
        None => term::print_all(text.expose())?,
    }
    Ok(())
}

fn export_package(args: &KeyPackageArgs) -> Result<(), Failure> {
    check_new(&args.output)?;
    let volume = source::open(&args.source)
        .print_notes()
        .map_err(|failure| args.credentials.name_fitting(failure))?
        .volume;
    let key = args.credentials.unlock_master_key(&volume)?;
    let ids = [args.ids.as_slice(), &args.former_ids].concat();
    let exported = export_key_package(&volume, &key, &ids)?;
    save_key(&args.output, &exported.content)?;
    if args.json {
        let protectors = exported.protectors.iter().map(|(id, kind)| {
            json!({
                "id": format!("{id:X}"),
                "type": kind.word(),
                "name": kind.name(),
            })
        });
        return term::print(&document(&json!({
            "volume": format!("{:X}", exported.volume),
            "file": args.output.to_string_lossy().into_owned(),
            "size": exported.content.len(),
            "protectors": protectors.collect::<Vec<_>>(),
        })));
    }
    term::note(format_args!(
        "saved to {}; any of these key protectors unlocks the volume with it:",
        args.output.shown()
    ));
    for (id, kind) in &exported.protectors {
        term::note(format_args!("  {} {{{id:X}}}", kind.name()));
    }
    Ok(())
}
