//! `fve create`: creates a volume, empty or from the image of a file system.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};
use fve::create::{Created, NewVolume, Plaintext, Target, TargetKind, WriteJob};
use fve::crypto::sector::{METHODS, Method};
use fve::enroll::{Enrollment, NewSecret, PendingSecrets};
use fve::error::Error;
use fve::format::protector::ProtectorKind;
use fve::format::time::FileTime;
use fve::guid::Guid;
use fve::shown::ShowPath;
use fve::source::{Extent, FileSource, ReadAt, StableHold, check_overwrite};
use fve::volume::Volume;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::advice;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::confirm::confirm_device;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::new_protectors::NewProtectorArgs;
use crate::cli::options::new_protectors::network::{
    NetworkProof, NewNetwork, NewNetworkVolumeArgs,
};
use crate::cli::options::new_protectors::tpm::{NewTpmArgs, Proof, TPM};
use crate::cli::options::parse::parse_size;
use crate::cli::output::{json as documents, term};
use crate::cli::run::Run;
use crate::cli::signals;

/// The default of Windows for fixed disks since version 1511.
const DEFAULT_CIPHER: &str = "aes-xts-128";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Encrypt the image of a file system, and print a new recovery password:
    fve create volume.img --from fs.img --new-recovery-password
  Encrypt it onto a partition, with a startup key on a USB stick:
    fve create /dev/sdb1 --from fs.img --startup-key-to /media/usb
  Create an empty volume, and ask for its password:
    fve create volume.img --size 1G --new-password")]
pub(crate) struct CreateArgs {
    /// File or block device to create the volume in
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    output: PathBuf,

    /// Size of an empty volume in bytes, or with the suffix K, M, G or T (1K is 1024 bytes)
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    size: Option<u64>,

    /// Encrypt this image of an NTFS, FAT16, FAT32 or exFAT file system. The image is only read;
    /// the volume gets its size
    #[arg(long, value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    from: Option<PathBuf>,

    /// Encryption method
    #[arg(long, value_name = "CIPHER", default_value = DEFAULT_CIPHER, value_parser = cipher_parser())]
    cipher: &'static Method,

    /// Sector size in bytes: 512 or 4096; the default is that of the file system or of the device,
    /// else 512
    #[arg(long, value_name = "BYTES", value_parser = PossibleValuesParser::new(["512", "4096"])
        .map(|text| if text == "512" { 512u32 } else { 4096 }))]
    sector_size: Option<u32>,

    /// Description that Windows shows when it asks for a recovery password; the default is the name
    /// of this computer, the name of the volume, and the date
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    #[command(flatten)]
    protectors: NewProtectorArgs,

    /// Add a TPM protector, with this computer's TPM or the one at TCTI
    #[arg(long, value_name = "TCTI", num_args = 0..=1, require_equals = true,
        default_missing_value = "", help_heading = "TPM")]
    tpm: Option<String>,

    #[command(flatten)]
    new_tpm: NewTpmArgs,

    #[command(flatten)]
    network: NewNetworkVolumeArgs,

    /// Overwrite OUT if it is an existing file
    #[arg(long)]
    force: bool,

    /// Confirm that all data on OUT, a block device, may be destroyed, by repeating its path
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    device_confirm: Option<PathBuf>,

    /// Never ask on the terminal
    // Read by its name, as that of the commands that unlock a volume.
    #[arg(id = "no-prompt", long = "no-prompt")]
    _no_prompt: bool,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

fn cipher_parser() -> impl TypedValueParser<Value = &'static Method> {
    PossibleValuesParser::new(METHODS.iter().map(|method| method.word))
        .try_map(|word| word.parse::<&'static Method>())
}

impl Run for CreateArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &CreateArgs) -> Result<(), Failure> {
    check_protectors(args)?;
    let mut target = open_target(args)?;
    let (plaintext, _held) = content(args, &target)?;
    let mut volume = NewVolume::of(args.cipher, &plaintext)?;
    volume.describe(description(args, &plaintext)?);
    if let Some(sectors) = target.hidden_sectors(plaintext.sector_size()) {
        volume.hidden_sectors(sectors);
    }
    let mut secrets = Vec::new();
    let (tpm_enrollment, proof) = args.new_tpm.enrollment(&args.tpm_named(), false)?.unzip();
    let proof = tpm_enrollment
        .as_ref()
        .map(Enrollment::id)
        .zip(proof.flatten());
    let prepared = args.protectors.prepare()?;
    prepared.check_places()?;
    for enrollment in prepared.ask()?.into_iter().chain(tpm_enrollment) {
        enrollment.check_place()?;
        let (protector, secret) = enrollment.into_parts();
        volume.protect(protector);
        secrets.push(secret);
    }
    let network = enroll_network(args, &mut volume, &mut secrets)?;
    // Last check before anything is saved: a key file must not be left behind by a volume that cannot
    // be created.
    volume.check(&plaintext)?;
    note_content(args, &plaintext);

    // Keys are saved before the volume is written: a volume whose key is nowhere is lost.
    let mut handed_over = PendingSecrets::default();
    for secret in &secrets {
        handed_over.hand_over(secret)?;
    }
    let created = match write(args, &volume, &plaintext, &mut target) {
        Ok(created) => created,
        Err(failure) => return Err(undo(&target, &mut handed_over, failure)),
    };
    if let Err(failure) = prove(&args.output, proof, network.as_ref()) {
        return Err(undo(&target, &mut handed_over, failure));
    }
    let proved = network.map(|(_, proof)| proof.succeeded());
    let answer = answer(args, &created, &plaintext, &handed_over, proved);
    if let Err(failure) = term::print_all(&answer) {
        // The recovery password may be the only key. If it could not be printed, no one has it, so
        // the volume must not remain.
        return Err(undo(&target, &mut handed_over, failure));
    }
    handed_over.keep();
    target.keep();
    Ok(())
}

impl CreateArgs {
    /// The value of `--tpm` in the form of a credential option, which the TPM code reads.
    fn tpm_named(&self) -> CredentialArgs {
        let Some(tcti) = &self.tpm else {
            return CredentialArgs::default();
        };
        let tcti = (!tcti.is_empty()).then(|| PathBuf::from(tcti));
        CredentialArgs::only(TPM, tcti)
    }
}

/// Adds the Network Unlock protector. If it is the only key protector, the server must be reachable
/// now to prove it: otherwise a mistake in its configuration would lock the volume for good.
fn enroll_network(
    args: &CreateArgs,
    volume: &mut NewVolume,
    secrets: &mut Vec<NewSecret>,
) -> Result<Option<(Guid, NetworkProof)>, Failure> {
    let Some(NewNetwork { enrollment, proof }) = args.network.enrollment(volume.id())? else {
        return Ok(None);
    };
    if secrets.is_empty() {
        proof.require()?;
    }
    let id = enrollment.id();
    let (protector, secret) = enrollment.into_parts();
    volume.protect(protector);
    secrets.push(secret);
    Ok(Some((id, proof)))
}

/// Unlocks the new volume once through its TPM protector and once through its Network Unlock
/// protector, as far as it has them.
fn prove(
    path: &Path,
    tpm: Option<(Guid, Proof)>,
    network: Option<&(Guid, NetworkProof)>,
) -> Result<(), Failure> {
    if tpm.is_none() && network.is_none() {
        return Ok(());
    }
    let volume = Volume::from_source(Arc::new(FileSource::open(path)?))?;
    if let Some((id, proof)) = tpm {
        proof.verify(&volume, id)?;
    }
    if let Some((id, proof)) = network {
        proof.verify(&volume, *id)?;
        proof.report(*id);
    }
    Ok(())
}

fn check_protectors(args: &CreateArgs) -> Result<(), Failure> {
    if args.protectors.is_empty() && args.tpm.is_none() && !args.network.is_given() {
        return Err(Failure::Other {
            status: Status::Usage,
            what: "the volume needs a key protector: without one, nothing could unlock it"
                .to_owned(),
            help: Some(format!(
                "use one or more of {}",
                NewProtectorArgs::options()
            )),
        });
    }
    if args.from.is_none() && args.size.is_none() && !is_device(&args.output) {
        return Err(Failure::usage(
            "the size of the volume is missing: give --size, or --from with an image",
        ));
    }
    Ok(())
}

fn is_device(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.file_type().is_block_device())
}

/// Opens what is to be encrypted: the image, which is locked against changes until the volume is
/// written, or an empty plaintext.
fn content(args: &CreateArgs, target: &Target) -> Result<(Plaintext, Option<StableHold>), Failure> {
    let Some(path) = &args.from else {
        let size = args.size.or(target.device_size()).unwrap_or(0);
        let sector_size = args
            .sector_size
            .or(target.sector_size())
            .unwrap_or(512)
            .max(512);
        check_size(args, target, size, sector_size, "the volume")?;
        let plaintext = Plaintext::empty(size, sector_size).map_err(|error| Failure::Other {
            status: Status::Usage,
            help: error.remedy().as_ref().map(advice::words),
            what: error.with_causes().to_string(),
        })?;
        return Ok((plaintext, None));
    };
    let same = args.output.metadata().and_then(|output| {
        let image = path.metadata()?;
        Ok((output.dev(), output.ino()) == (image.dev(), image.ino())
            || is_device(path) && output.rdev() == image.rdev() && is_device(&args.output))
    });
    if same.unwrap_or(false) {
        return Err(Failure::usage(format!(
            "{} is the image itself: create the volume in another file or device",
            args.output.shown()
        )));
    }
    let is_other = path
        .metadata()
        .is_ok_and(|meta| !meta.is_file() && !is_device(path));
    if is_other {
        return Err(Failure::usage(format!(
            "{} is neither a file nor a block device: --from needs the image of a file system",
            path.shown()
        )));
    }
    let held = StableHold::open(path)?;
    check_overwrite(&args.output, &[Extent::whole(path)], 0)?;
    let (image, container) = fve::source::open(path)?;
    if let Some(name) = container {
        term::note(format_args!(
            "{} is a disk image of the format {name}",
            path.shown()
        ));
    }
    let plaintext = Plaintext::of_file_system(image)?;
    if let Some(asked) = args.sector_size
        && asked != plaintext.sector_size()
    {
        return Err(Failure::usage(format!(
            "the {} file system has sectors of {} bytes, so the volume must have the same",
            plaintext.file_system().unwrap_or_default(),
            plaintext.sector_size()
        )));
    }
    let (size, sector_size) = (plaintext.size(), plaintext.sector_size());
    check_size(args, target, size, sector_size, "the image")?;
    Ok((plaintext, Some(held)))
}

/// Checks that the size of the plaintext is that of `--size` and of the device.
fn check_size(
    args: &CreateArgs,
    target: &Target,
    size: u64,
    sector_size: u32,
    what: &str,
) -> Result<(), Failure> {
    if !size.is_multiple_of(sector_size.into()) {
        return Err(Failure::usage(format!(
            "{size} bytes are not whole sectors of {sector_size} bytes"
        )));
    }
    let differs = |other: u64, owner: &str| Failure::Other {
        status: Status::Usage,
        what: format!("{what} has {size} bytes, but {owner} {other}: both must be equal"),
        help: Some(
            "first give the image the size of the volume: truncate it, then resize its file system"
                .to_owned(),
        ),
    };
    if let Some(asked) = args.size.filter(|asked| *asked != size) {
        return Err(differs(asked, "--size says"));
    }
    if let Some(device) = target.device_size().filter(|device| *device != size) {
        return Err(differs(device, "the device has"));
    }
    if let Some(device) = target.sector_size().filter(|device| *device > sector_size) {
        return Err(Failure::usage(format!(
            "the device has sectors of {device} bytes: those of the volume cannot be smaller"
        )));
    }
    Ok(())
}

/// The description in the form that Windows uses: computer, volume, date.
fn description(args: &CreateArgs, plaintext: &Plaintext) -> Result<String, Failure> {
    /// In characters. Longer than any description that Windows writes.
    const MAX_LEN: usize = 512;
    if let Some(text) = &args.description {
        if text.chars().any(char::is_control) || text.chars().count() > MAX_LEN {
            return Err(Failure::usage(
                "the description must be one line of up to 512 characters",
            ));
        }
        return Ok(text.clone());
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let name = args.output.file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    let name = plaintext.label().unwrap_or(&name);
    let mut date = FileTime::from_system_time(SystemTime::now()).to_string();
    date.truncate("2026-01-01".len());
    let words = [if host.is_empty() { "Linux" } else { host }, name, &date];
    let text = words.join(" ").replace(char::is_control, "");
    Ok(text.chars().take(MAX_LEN).collect())
}

fn note_content(args: &CreateArgs, plaintext: &Plaintext) {
    if args.protectors.makes(ProtectorKind::ClearKey) {
        term::note(
            "the key is stored unencrypted on the volume: anyone can read the volume until protection is resumed",
        );
    }
    if let Some(name) = plaintext.file_system() {
        let label = plaintext.label().map(|label| format!(" '{label}'"));
        term::note(term::escaped(&format!(
            "the file system of the image is {name}{}; in the volume, the clusters that hold the BitLocker metadata are marked as bad",
            label.unwrap_or_default()
        )));
        return;
    }
    if !args.json {
        term::note(
            "the volume is empty; a file system created directly in it fails where the BitLocker \
             metadata is stored: create it in an image, and give that image with --from",
        );
    }
}

/// Opens OUT, unless it must not be written to. Nothing is written yet, and no key is asked for.
fn open_target(args: &CreateArgs) -> Result<Target, Failure> {
    let path = &args.output;
    let refuse = |status, what: String, help: &str| Failure::Other {
        status,
        what,
        help: Some(help.to_owned()),
    };
    if let Ok(existing) = path.metadata() {
        if !existing.is_file() && !existing.file_type().is_block_device() {
            let what = format!("{} is neither a file nor a block device", path.shown());
            return Err(refuse(Status::Io, what, "name a file or a block device"));
        }
        if existing.is_file() && !args.force {
            let what = format!("{} already exists", path.shown());
            return Err(refuse(Status::Usage, what, "--force overwrites it"));
        }
    }
    let target = Target::open(path)?;
    if let Some(size) = target.device_size() {
        confirm_device(path, size, args.device_confirm.as_deref())?;
    }
    Ok(target)
}

/// Undoes a volume that was not completed. If that fails, a complete volume may be there, so the files
/// with its keys stay.
fn undo(target: &Target, handed_over: &mut PendingSecrets, failure: Failure) -> Failure {
    // A new file is removed when the target is dropped.
    let undone = target.invalidate();
    if let Err(error) = undone
        && target.kind() != TargetKind::NewFile
    {
        handed_over.keep();
        term::note(term::escaped(&format!(
            "warning: {}: there may be a volume, so the files with its keys were kept",
            error.with_causes()
        )));
    }
    failure
}

/// Encrypts the plaintext into the target.
fn write(
    args: &CreateArgs,
    volume: &NewVolume,
    plaintext: &Plaintext,
    target: &mut Target,
) -> Result<Created, Failure> {
    let size = plaintext.size();
    let kind = target.kind();
    let file = target.prepare(size)?;
    let cancelled = signals::notice();
    let bar = term::progress(size);
    let written = volume.write_to(
        plaintext,
        file,
        &WriteJob::new()
            .threads(std::thread::available_parallelism().map_or(1, usize::from))
            .on_progress(&|done| bar.inc(done))
            .cancelled_by(&cancelled),
    );
    let percent = bar.position().saturating_mul(100) / size.max(1);
    bar.finish_and_clear();
    term::tell_faults();
    written.map_err(|error| {
        let left = match kind {
            TargetKind::NewFile => "the file was removed",
            TargetKind::File => "the old content of the file is lost",
            _ => "the old content of the device is lost",
        };
        match error {
            Error::Io { what, source, .. } => Error::io(format!("{what} ({left})"), source).into(),
            Error::Interrupted => Failure::Other {
                status: Status::Io,
                what: format!(
                    "interrupted at {percent} %; {}: {left}",
                    args.output.shown()
                ),
                help: None,
            },
            error => Failure::from(error),
        }
    })
}

/// The answer at the end. A recovery password is in it only if it was saved to no file.
fn answer(
    args: &CreateArgs,
    created: &Created,
    plaintext: &Plaintext,
    keys: &PendingSecrets,
    network_proved: Option<bool>,
) -> Zeroizing<String> {
    if args.json {
        let document = document(args, created, plaintext, keys, network_proved);
        return Zeroizing::new(document);
    }
    let mut text = Zeroizing::new(format!(
        "Volume {:X}: {}, {}\n",
        created.id,
        term::human_size(created.size),
        args.cipher.name
    ));
    for (id, kind) in &created.protectors {
        text.push_str(&format!("  {}: {id:X}\n", kind.name()));
        if let Some(path) = keys.file_of(*id) {
            text.push_str(&format!("    saved to {}\n", path.shown()));
        }
        if let Some(digits) = keys.digits_of(*id) {
            text.push_str("    ");
            text.push_str(digits.expose());
            text.push('\n');
        }
    }
    text
}

fn document(
    args: &CreateArgs,
    created: &Created,
    plaintext: &Plaintext,
    keys: &PendingSecrets,
    network_proved: Option<bool>,
) -> String {
    let protectors: Vec<Value> = created
        .protectors
        .iter()
        .map(|(id, kind)| {
            json!({
                "id": format!("{id:X}"),
                "type": kind.word(),
                "name": kind.name(),
                "file": keys.file_of(*id),
            })
        })
        .collect();
    let places = plaintext.placement();
    let mut answer = json!({
        "volume": format!("{:X}", created.id),
        "size": created.size,
        "sector_size": plaintext.sector_size(),
        "encryption_method": args.cipher.name,
        "encryption_method_word": args.cipher.word,
        "file_system": plaintext.file_system(),
        "metadata_copies": places.copies,
        "moved_to": places.moved,
        "protectors": protectors,
        "network_unlock_proved": network_proved,
    });
    let mut ids = created.protectors.iter().map(|(id, _)| *id);
    let shown = ids.find_map(|id| keys.digits_of(id));
    if let (Some(answer), Some(digits)) = (answer.as_object_mut(), shown) {
        answer.insert("recovery_password".to_owned(), json!(digits.expose()));
    }
    documents::document(&answer)
}
