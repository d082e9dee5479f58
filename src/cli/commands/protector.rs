//! `fve protector`: the key protectors of a volume shown, added, removed, replaced.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use serde_json::json;

use crate::cli::describe;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::backup::{BeforeChange, before_change};
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::new_protectors::network::{NewNetwork, NewNetworkArgs};
use crate::cli::options::new_protectors::tpm::{
    BindArgs, NewTpmArgs, Proof, TPM, WITH_PIN, WITH_TPM, new_pin, sealer, tell_of_proof,
};
use crate::cli::options::new_protectors::{NewProtectorArgs, hand_over, new_password};
use crate::cli::options::source;
use crate::cli::options::source::SourceArgs;
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::run::{FailureDocument, Run};
use fve::enroll::{Enrolment, NewProtector, RecoveryFile, TpmBinding, save_key};
use fve::error::Error;
use fve::format::protector::{KeyProtector, ProtectorKind};
use fve::format::tpm_blob::SealedObject;
use fve::guid::Guid;
use fve::manage::{Change, Kept, KeptSecret, Managed, Report, Rotation, kept_secrets, rebound};
use fve::output::{NewFile, check_new, check_new_in};
use fve::secret::SecretText;
use fve::shown::ShowPath;
use fve::tpm::Pin;

#[derive(Debug, Args)]
pub(crate) struct ProtectorArgs {
    #[command(subcommand)]
    command: ProtectorCommand,
}

impl ProtectorArgs {
    /// Whether the answer is to be one JSON document.
    pub(crate) fn json(&self) -> bool {
        matches!(&self.command, ProtectorCommand::List(args) if args.json)
    }
}

#[derive(Debug, Subcommand)]
enum ProtectorCommand {
    /// Show the key protectors; takes no key
    List(ListArgs),
    /// Add key protectors
    Add(AddArgs),
    /// Remove key protectors, and give the volume a new master key
    Remove(RemoveArgs),
    /// Give the volume another password
    ChangePassword(ChangePasswordArgs),
    /// Give a TPM protector another PIN; --tpm names the TPM
    ChangePin(ChangePinArgs),
    /// Seal a TPM protector anew, to the present state of the computer; --tpm names the TPM
    Reseal(ResealArgs),
    /// Replace recovery passwords: the new one is saved and proved before the old go
    RotateRecovery(RotateArgs),
    /// Suspend protection: anybody can open the volume until it is resumed
    Suspend(SuspendArgs),
    /// Resume protection, and give the volume a new master key
    Resume(ResumeArgs),
    /// Print every recovery password of the volume
    ShowRecovery(ShowRecoveryArgs),
    /// Save the startup keys of the volume as .BEK files
    SaveStartupKey(SaveStartupKeyArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Answer with one JSON document
    #[arg(long)]
    json: bool,
}

/// What every command that changes the volume takes.
#[derive(Debug, Args)]
struct ChangeArgs {
    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Try everything but the writing, and say what would change
    #[arg(long)]
    dry_run: bool,

    /// Keep a backup of the metadata as it was in this new file. It opens with what opened the
    /// volume before: keep it safe, or destroy it once the change has proved itself
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    backup: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct AddArgs {
    #[command(flatten)]
    change: ChangeArgs,

    #[command(flatten)]
    new: NewProtectorArgs,

    #[command(flatten)]
    tpm: NewTpmArgs,

    #[command(flatten)]
    network: NewNetworkArgs,
}

/// Whether protectors go that cannot be given a new master key.
#[derive(Debug, Args)]
struct DropArgs {
    /// Also remove protectors that only a TPM, a server or a card could give the new master key
    #[arg(long)]
    drop_bound: bool,
}

#[derive(Debug, Args)]
struct RemoveArgs {
    #[command(flatten)]
    change: ChangeArgs,

    /// Which: GUIDs, or the first 8 hex digits of them
    #[arg(value_name = "ID", required_unless_present = "kind")]
    ids: Vec<String>,

    /// All of a kind, in the words of 'fve protector list --json' or of manage-bde
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_kind)]
    kind: Option<Kind>,

    #[command(flatten)]
    drop: DropArgs,

    /// Allow that only a clear key is left, with which anybody can open the volume
    #[arg(long)]
    leave_unprotected: bool,
}

#[derive(Debug, Args)]
struct ChangePasswordArgs {
    #[command(flatten)]
    change: ChangeArgs,

    /// File with the new password; without it, it is asked for twice on the terminal
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    new_password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ChangePinArgs {
    #[command(flatten)]
    change: ChangeArgs,

    /// File with the new PIN; without it, it is asked for twice on the terminal
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    new_pin_file: Option<PathBuf>,

    /// Of this protector (its GUID, or the first 8 hex digits of it), where there are several
    #[arg(long, value_name = "ID")]
    of: Option<String>,
}

#[derive(Debug, Args)]
struct ResealArgs {
    #[command(flatten)]
    change: ChangeArgs,

    #[command(flatten)]
    bind: BindArgs,

    /// This protector (its GUID, or the first 8 hex digits of it), where there are several
    #[arg(long, value_name = "ID")]
    only: Option<String>,
}

#[derive(Debug, Args)]
struct RotateArgs {
    #[command(flatten)]
    change: ChangeArgs,

    /// New file for the new recovery password, as Windows saves it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    escrow_to: PathBuf,

    /// Replace only this recovery password (its GUID, or the first 8 hex digits of it), not all
    #[arg(long, value_name = "ID")]
    replace: Option<String>,

    #[command(flatten)]
    drop: DropArgs,
}

#[derive(Debug, Args)]
struct SuspendArgs {
    #[command(flatten)]
    change: ChangeArgs,

    /// Windows resumes protection by itself after this many starts; 0: not by itself
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=15))]
    reboots: u8,
}

#[derive(Debug, Args)]
struct ResumeArgs {
    #[command(flatten)]
    change: ChangeArgs,

    #[command(flatten)]
    drop: DropArgs,
}

#[derive(Debug, Args)]
struct ShowRecoveryArgs {
    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    credentials: CredentialArgs,
}

#[derive(Debug, Args)]
struct SaveStartupKeyArgs {
    #[command(flatten)]
    source: SourceArgs,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Directory for the .BEK files
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    to: PathBuf,

    /// Only this key (its GUID, or the first 8 hex digits of it)
    #[arg(long, value_name = "ID")]
    only: Option<String>,

    /// In the form of Windows 11, which names the volume
    #[arg(long)]
    windows11: bool,
}

impl Run for ProtectorArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }

    fn failure_document(&self) -> Option<FailureDocument> {
        self.json().then_some(crate::cli::output::json::failure)
    }
}

fn run(args: &ProtectorArgs) -> Result<(), Failure> {
    match &args.command {
        ProtectorCommand::List(args) => list(args),
        ProtectorCommand::Add(args) => add(args),
        ProtectorCommand::Remove(args) => remove(args),
        ProtectorCommand::ChangePassword(args) => change_password(args),
        ProtectorCommand::ChangePin(args) => change_pin(args),
        ProtectorCommand::Reseal(args) => reseal(args),
        ProtectorCommand::RotateRecovery(args) => rotate(args),
        ProtectorCommand::Suspend(args) => suspend(args),
        ProtectorCommand::Resume(args) => resume(args),
        ProtectorCommand::ShowRecovery(args) => show_recovery(args),
        ProtectorCommand::SaveStartupKey(args) => save_startup_key(args),
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let opened = source::open(&args.source)?;
    let block = opened.volume.metadata()?;
    if args.json {
        return term::print(&document(&json!({
            "volume": format!("{:X}", block.dataset.id),
            "protectors": describe::protectors_json(block),
        })));
    }
    let text = describe::protectors_text(block);
    term::print(&text)
}

fn add(args: &AddArgs) -> Result<(), Failure> {
    let mut enrolments = args.new.make()?;
    // Here the TPM is what is added, and not what opens the volume; the network, if it is.
    let credentials = args.change.credentials.without(TPM);
    let credentials = args.network.rest_of(&credentials);
    let (tpm, proof) = args.tpm.enrolment(&args.change.credentials)?.unzip();
    let proof = tpm.as_ref().map(Enrolment::id).zip(proof.flatten());
    enrolments.extend(tpm);
    if !args.change.dry_run {
        enrolments.iter().try_for_each(Enrolment::check_place)?;
    }
    if enrolments.is_empty() && !args.network.is_given() {
        return Err(Failure::usage(format!(
            "which protector to add is not said; one or more of {}, --tpm, --network-unlock with --network-certificate",
            NewProtectorArgs::options()
        )));
    }
    let mut session = Session::open_with(&args.change, &credentials)?;
    let volume = session.managed.volume().metadata()?.dataset.id;
    let network = args.network.enrolment(&args.change.credentials, volume)?;
    let network = network.map(|NewNetwork { enrolment, proof }| {
        let id = enrolment.id();
        enrolments.push(enrolment);
        (id, proof)
    });
    let (protectors, secrets): (Vec<_>, Vec<_>) =
        enrolments.into_iter().map(Enrolment::into_parts).unzip();
    let mut change = protectors.into_iter().fold(Change::new(), Change::enrol);
    let proved = proof.as_ref().map(|(id, _)| *id);
    if let Some((id, proof)) = proof {
        change = change.witness(id, proof.into_witness());
    }
    if let Some((id, proof)) = &network
        && let Some(witness) = proof.witness()
    {
        change = change.witness(*id, witness);
    }
    if !args.change.dry_run {
        // Tried before anything is handed over: a password that is printed and then not added
        // would be believed in.
        session.managed.preview(&change)?;
        session.back_up()?;
        if let Err(failure) = hand_over(&secrets) {
            session.give_up();
            return Err(failure);
        }
    }
    session.carry_out(change)?;
    if !args.change.dry_run {
        proved.into_iter().for_each(tell_of_proof);
        if let Some((id, proof)) = &network {
            proof.tell(*id);
        }
    }
    Ok(())
}

fn change_pin(args: &ChangePinArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.change)?;
    let id = session.one_of(WITH_PIN, args.of.as_deref())?;
    let tpm = sealer(&args.change.credentials)?;
    let pin = new_pin(args.new_pin_file.as_deref())?;
    session.bind_anew(id, Some(pin), true, |object| {
        Ok(TpmBinding::as_before(tpm, object)?)
    })
}

fn reseal(args: &ResealArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.change)?;
    let id = session.one_of(WITH_TPM, args.only.as_deref())?;
    let tpm = sealer(&args.change.credentials)?;
    let present = args.bind.is_present();
    session.bind_anew(id, None, present, |object| {
        args.bind.binding(tpm, &object.pcrs())
    })
}

fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.change)?;
    let mut ids = Vec::new();
    for name in &args.ids {
        ids.push(session.managed.find(name)?.id);
    }
    if let Some(Kind(kinds)) = &args.kind {
        ids.extend(session.of_kinds(kinds)?);
    }
    let change = Change::new()
        .drop_bound(args.drop.drop_bound)
        .allow_only_clear_key(args.leave_unprotected);
    session.carry_out(ids.into_iter().fold(change, Change::remove))
}

fn change_password(args: &ChangePasswordArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.change)?;
    let id = session.of_kinds(&[ProtectorKind::Password]).map_err(|_| {
        Error::unchangeable(
            "the volume has no password to change",
            "'fve protector add --new-password-file FILE' adds one",
        )
    })?;
    let text = new_password(args.new_password_file.as_deref())?;
    let mut change = Change::new();
    for id in id {
        change = change.replace(id, NewProtector::password(&text)?);
    }
    session.carry_out(change)
}

fn rotate(args: &RotateArgs) -> Result<(), Failure> {
    if !args.change.dry_run {
        check_new(&args.escrow_to)?;
    }
    let mut session = Session::open(&args.change)?;
    let old = match &args.replace {
        Some(name) => vec![session.managed.find(name)?.id],
        None => Vec::new(),
    };
    let rotation = Rotation::new(&session.managed, &old)?.drop_bound(args.drop.drop_bound);
    if args.change.dry_run {
        let report = rotation.preview(&session.managed)?;
        return tell(&report, true);
    }
    session.with_backup(|managed| {
        rotation.carry_out(managed, |id, password| {
            save_key(&args.escrow_to, &RecoveryFile::new(id, password).content)
        })
    })?;
    term::note(format_args!(
        "the new recovery password is saved in {}, and was tried on the volume before the old went",
        args.escrow_to.shown()
    ));
    Ok(())
}

fn suspend(args: &SuspendArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.change)?;
    session.carry_out(Change::new().enrol(NewProtector::suspension(args.reboots)?))?;
    if !args.change.dry_run {
        term::note(
            "protection is suspended: anybody can read the volume until 'fve protector resume'",
        );
    }
    Ok(())
}

fn resume(args: &ResumeArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.change)?;
    let clear = session.of_kinds(&[ProtectorKind::ClearKey]).map_err(|_| {
        Error::unchangeable("protection is not suspended", "there is nothing to resume")
    })?;
    let change = Change::new().drop_bound(args.drop.drop_bound);
    session.carry_out(clear.into_iter().fold(change, Change::remove))
}

fn show_recovery(args: &ShowRecoveryArgs) -> Result<(), Failure> {
    let kept = kept(&args.source, &args.credentials)?.1;
    let mut found = false;
    for kept in &kept {
        if let KeptSecret::RecoveryPassword(password) = &kept.secret {
            let digits = password.expose_digits();
            let line = format!("{:X}  {}\n", kept.protector, digits.expose());
            term::print(SecretText::new(line).expose())?;
            found = true;
        }
    }
    if found {
        return Ok(());
    }
    Err(keeps_none("recovery password"))
}

fn save_startup_key(args: &SaveStartupKeyArgs) -> Result<(), Failure> {
    check_new_in(&args.to)?;
    let (id, kept) = kept(&args.source, &args.credentials)?;
    let wanted = |kept: &&Kept| {
        args.only
            .as_deref()
            .is_none_or(|name| kept.protector.is_named_by(name))
    };
    // All of them, or none.
    let mut files = Vec::new();
    for kept in kept.iter().filter(wanted) {
        let volume = args.windows11.then_some(id);
        if let Some(content) = kept.startup_key_file(volume)? {
            let path = args.to.join(format!("{:X}.BEK", kept.protector));
            files.push((NewFile::create(&path)?, content));
        }
    }
    if files.is_empty() {
        return Err(keeps_none("such startup key"));
    }
    for (file, content) in files {
        let path = file.path().to_owned();
        file.fill(content.expose())?;
        term::note(format_args!("saved {}", path.shown()));
    }
    Ok(())
}

fn keeps_none(what: &str) -> Failure {
    Failure::Other {
        status: Status::Failed,
        what: format!("the volume keeps no {what}"),
        help: Some(HAS_NONE.to_owned()),
    }
}

const HAS_NONE: &str = "'fve protector list' shows what the volume has";

/// What an unlocked volume keeps, and its identifier. The source is only read.
fn kept(args: &SourceArgs, credentials: &CredentialArgs) -> Result<(Guid, Vec<Kept>), Failure> {
    let volume = source::open(args)?.volume;
    let key = credentials.unlock_master_key(&volume)?;
    let id = volume
        .metadata_as_found()
        .map(|block| block.dataset.id)
        .unwrap_or(Guid::from_disk([0; 16]));
    Ok((id, kept_secrets(&volume, &key)?))
}

/// A volume opened for one change.
struct Session<'a> {
    args: &'a ChangeArgs,
    managed: Managed,
    /// Taken before the change, or before anything that belongs to it is handed over.
    backup: Option<BeforeChange>,
}

impl<'a> Session<'a> {
    fn open(args: &'a ChangeArgs) -> Result<Self, Failure> {
        Self::open_with(args, &args.credentials)
    }

    fn open_with(args: &'a ChangeArgs, credentials: &CredentialArgs) -> Result<Self, Failure> {
        let opened = source::open_for_writing(&args.source)?;
        let key = credentials.unlock_master_key(&opened.volume)?;
        let managed = Managed::new(opened.target, opened.volume, key)?;
        if let Some(file) = &args.backup
            && !args.dry_run
        {
            check_new(file)?;
        }
        Ok(Self {
            args,
            managed,
            backup: None,
        })
    }

    /// The one protector of some kinds, or the one that is named.
    fn one_of(&self, kinds: &[ProtectorKind], name: Option<&str>) -> Result<Guid, Error> {
        if let Some(name) = name {
            return Ok(self.managed.find(name)?.id);
        }
        match self.of_kinds(kinds)?.as_slice() {
            [id] => Ok(*id),
            several => {
                let ids: Vec<_> = several.iter().map(|id| format!("{id:X}")).collect();
                Err(Error::unchangeable(
                    format!("the volume has several: {}", ids.join(", ")),
                    "name one of them",
                ))
            }
        }
    }

    /// Seals a TPM protector anew, and opens the volume through it once where that can be done.
    fn bind_anew(
        &mut self,
        id: Guid,
        pin: Option<Pin>,
        prove: bool,
        binding: impl FnOnce(&SealedObject) -> Result<TpmBinding, Failure>,
    ) -> Result<(), Failure> {
        let mut protectors = self.managed.protectors().into_iter();
        let found = protectors.find(|protector| protector.id == id);
        let found = found.and_then(|protector| {
            let object = protector.tpm()?.sealed.as_ref().ok()?;
            Some((protector, object))
        });
        let (protector, object) = found.ok_or_else(|| {
            Error::unchangeable(
                "the protector holds no object of a TPM 2.0",
                "remove it and add a new one",
            )
        })?;
        let binding = binding(object)?;
        let vmk = self.managed.master_key().expose();
        let anew = rebound(protector, vmk, binding, pin)?;
        let mut change = Change::new().replace(id, anew.protector);
        if prove {
            let proof = Proof::new(&self.args.credentials, anew.pin, anew.startup_key)?;
            change = change.witness(id, proof.into_witness());
        }
        self.carry_out(change)?;
        if prove && !self.args.dry_run {
            tell_of_proof(id);
        }
        Ok(())
    }

    /// The protectors of some kinds; an error where there are none.
    fn of_kinds(&self, kinds: &[ProtectorKind]) -> Result<Vec<Guid>, Error> {
        let protectors = self.managed.protectors();
        let of_kind = |protector: &&&KeyProtector| kinds.contains(&protector.kind());
        let ids: Vec<_> = protectors
            .iter()
            .filter(of_kind)
            .map(|one| one.id)
            .collect();
        if ids.is_empty() {
            return Err(Error::unchangeable(
                "the volume has no protector of that kind",
                HAS_NONE,
            ));
        }
        Ok(ids)
    }

    fn carry_out(&mut self, change: Change) -> Result<(), Failure> {
        if self.args.dry_run {
            return tell(&self.managed.preview(&change)?, true);
        }
        self.with_backup(|managed| managed.commit(&change))
    }

    /// Makes a change with a backup at hand until it is made; says what was done.
    fn with_backup(
        &mut self,
        change: impl FnOnce(&mut Managed) -> Result<Report, Error>,
    ) -> Result<(), Failure> {
        self.back_up()?;
        match change(&mut self.managed) {
            Ok(report) => {
                if let Some(backup) = self.backup.take() {
                    backup.done();
                }
                tell(&report, false)
            }
            Err(error) => {
                self.give_up();
                Err(error.into())
            }
        }
    }

    /// Takes the backup, unless that is done.
    fn back_up(&mut self) -> Result<(), Failure> {
        if self.backup.is_none() {
            let file = self.args.backup.as_deref();
            self.backup = Some(before_change(self.managed.volume(), file)?);
        }
        Ok(())
    }

    /// The change was not made, or not all of it.
    fn give_up(&mut self) {
        if let Some(backup) = self.backup.take() {
            backup.failed(&self.managed);
        }
    }
}

/// What was done, or would be.
fn tell(report: &Report, dry_run: bool) -> Result<(), Failure> {
    let mut text = String::new();
    if dry_run {
        // The identifiers of what is not made yet mean nothing.
        for (_, kind) in &report.added {
            let _ = writeln!(text, "would add: {}", kind.name());
        }
    }
    let mut lines = |done: &str, would: &str, protectors: &[(Guid, ProtectorKind)]| {
        for (id, kind) in protectors {
            let word = if dry_run { would } else { done };
            let _ = writeln!(text, "{word}: {} {{{id:X}}}", kind.name());
        }
    };
    lines("added", "", if dry_run { &[] } else { &report.added });
    lines("replaced", "would replace", &report.replaced);
    lines("removed", "would remove", &report.removed);
    if report.rekeyed {
        let word = if dry_run { "would get" } else { "has" };
        let _ = writeln!(text, "the volume {word} a new master key");
    }
    for copy in &report.repaired {
        let word = if dry_run { "would be" } else { "was" };
        let _ = writeln!(text, "metadata copy {copy} {word} repaired");
    }
    term::print(&text)
}

/// Kinds of protector that a word stands for.
#[derive(Debug, Clone)]
struct Kind(Vec<ProtectorKind>);

/// Our own words, and those of `manage-bde -protectors -type` (docs/format-recovery.md §5.2).
fn parse_kind(word: &str) -> Result<Kind, String> {
    let word = word.to_ascii_lowercase();
    let word = match word.as_str() {
        "recoverypassword" => "recovery-password",
        "externalkey" => "startup-key",
        "tpmandpin" => "tpm-pin",
        "tpmandstartupkey" => "tpm-startup-key",
        "tpmandpinandstartupkey" => "tpm-pin-startup-key",
        other => other,
    };
    // A clear key comes and goes by suspending and resuming.
    let kind = ProtectorKind::from_word(word).filter(|kind| *kind != ProtectorKind::ClearKey);
    let kind =
        kind.ok_or("no kind of protector; such as recovery-password, startup-key, password, tpm")?;
    Ok(Kind(vec![kind]))
}
