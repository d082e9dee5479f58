//! A volume opened for one change of its key protectors, with the backup that protects the change.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use fve::enroll::TpmBinding;
use fve::error::Error;
use fve::format::protector::{KeyProtector, ProtectorKind};
use fve::format::tpm_blob::SealedObject;
use fve::guid::Guid;
use fve::manage::{Change, Managed, Report, reseal_tpm_protector};
use fve::output::check_new;
use fve::secret::SecretText;
use fve::tpm::Pin;
use fve::volume::Volume;
use serde_json::{Value, json};

use super::args::ChangeArgs;
use crate::cli::failure::Failure;
use crate::cli::options::backup::{BeforeChange, before_change};
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::new_protectors::tpm::{Proof, report_proof, report_srk_name};
use crate::cli::options::new_protectors::with_digits;
use crate::cli::options::source;
use crate::cli::output::json::document;
use crate::cli::output::term;

/// Help for errors about a key protector that the volume does not have.
pub(in crate::cli::commands) const HAS_NONE: &str =
    "'fve protector list' shows the key protectors of the volume";

/// A volume opened for writing and unlocked, for one change.
pub(in crate::cli::commands) struct Session<'a> {
    args: &'a ChangeArgs,
    pub(in crate::cli::commands) managed: Managed,
    /// Taken before the change, and before new secrets are saved or printed.
    backup: Option<BeforeChange>,
    /// Where the secrets of new key protectors were saved, for the document.
    pub(in crate::cli::commands) files: Vec<(Guid, PathBuf)>,
    /// New recovery passwords that are only in the document.
    pub(in crate::cli::commands) shown: Vec<(Guid, SecretText)>,
}

impl<'a> Session<'a> {
    pub(in crate::cli::commands) fn open(args: &'a ChangeArgs) -> Result<Self, Failure> {
        Self::open_with(args, &args.credentials, |_| Ok(()))
    }

    /// Opens the volume with these credentials. What does not suit the volume, which `check` also
    /// examines, is reported before the user is asked for anything.
    pub(in crate::cli::commands) fn open_with(
        args: &'a ChangeArgs,
        credentials: &CredentialArgs,
        check: impl FnOnce(&Volume) -> Result<(), Error>,
    ) -> Result<Self, Failure> {
        let opened = source::open_for_writing(&args.source)
            .print_notes()
            .map_err(|failure| credentials.name_fitting(failure))?;
        Managed::check(opened.target.as_ref(), &opened.volume)?;
        check(&opened.volume)?;
        let key = credentials.unlock_master_key(&opened.volume)?;
        let managed = Managed::new(opened.target, opened.volume, key)?;
        if let Some(file) = &args.backup_to {
            check_new(file)?;
        }
        Ok(Self {
            args,
            managed,
            backup: None,
            files: Vec::new(),
            shown: Vec::new(),
        })
    }

    /// The key protector that `name` selects, or the only one of these kinds.
    pub(in crate::cli::commands) fn one_of_kinds(
        &self,
        kinds: &[ProtectorKind],
        name: Option<&str>,
    ) -> Result<Guid, Error> {
        if let Some(name) = name {
            return Ok(self.managed.find(name)?.id);
        }
        match self.ids_of_kinds(kinds)?.as_slice() {
            [id] => Ok(*id),
            several => {
                let ids: Vec<_> = several.iter().map(|id| format!("{id:X}")).collect();
                Err(Error::unchangeable(
                    format!(
                        "the volume has several key protectors of this type: {}",
                        ids.join(", ")
                    ),
                    "name one of them by its ID",
                ))
            }
        }
    }

    /// Seals a TPM protector again. With `prove`, the volume is then unlocked through it once,
    /// before the old key protector is gone.
    pub(in crate::cli::commands) fn reseal(
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
                "the key protector has no object that is sealed to a TPM 2.0",
                "remove it and add a new one",
            )
        })?;
        let binding = binding(object)?;
        let vmk = self.managed.master_key().expose();
        let resealed = reseal_tpm_protector(protector, vmk, binding, pin)?;
        let mut change = Change::new().replace(id, resealed.protector);
        if prove {
            let proof = Proof::new(&self.args.credentials, resealed.pin, resealed.startup_key)?;
            change = change.verify_with(id, proof.into_credential());
        }
        self.carry_out(change)?;
        if !self.args.dry_run {
            if prove {
                report_proof(id);
            }
            report_srk_name(&self.managed.protectors(), id);
        }
        Ok(())
    }

    /// The IDs of all key protectors of these kinds; an error if the volume has none.
    pub(in crate::cli::commands) fn ids_of_kinds(
        &self,
        kinds: &[ProtectorKind],
    ) -> Result<Vec<Guid>, Error> {
        let protectors = self.managed.protectors();
        let of_kind = |protector: &&&KeyProtector| kinds.contains(&protector.kind());
        let ids: Vec<_> = protectors
            .iter()
            .filter(of_kind)
            .map(|one| one.id)
            .collect();
        if ids.is_empty() {
            return Err(Error::unchangeable(
                "the volume has no key protector of that type",
                HAS_NONE,
            ));
        }
        Ok(ids)
    }

    pub(in crate::cli::commands) fn carry_out(&mut self, change: Change) -> Result<(), Failure> {
        if self.args.dry_run {
            return self.tell(&self.managed.preview(&change)?);
        }
        self.with_backup(None, |managed| managed.commit(&change))
    }

    /// Makes a backup, carries out the change, and reports it. If the change fails, the backup is
    /// kept. `saved_to`: where the secret of the only new key protector is saved meanwhile.
    pub(in crate::cli::commands) fn with_backup(
        &mut self,
        saved_to: Option<&Path>,
        change: impl FnOnce(&mut Managed) -> Result<Report, Error>,
    ) -> Result<(), Failure> {
        self.back_up()?;
        match change(&mut self.managed) {
            Ok(report) => {
                if let Some(backup) = self.backup.take() {
                    backup.done();
                }
                let added = report.added.iter().map(|(id, _)| *id);
                self.files.extend(added.zip(saved_to.map(PathBuf::from)));
                self.tell(&report)
            }
            Err(error) => {
                self.give_up();
                Err(error.into())
            }
        }
    }

    /// Prints what was changed or, with `--dry-run`, would be changed.
    pub(in crate::cli::commands) fn tell(&self, report: &Report) -> Result<(), Failure> {
        if !self.args.json {
            return term::print(&in_words(report, self.args.dry_run));
        }
        let document = self.document(report);
        if self.shown.is_empty() {
            return term::print(document?.expose());
        }
        // The volume is changed already: what the document cannot tell must be told elsewhere.
        document
            .and_then(|document| term::print_all(document.expose()))
            .inspect_err(|_| self.tell_digits())
    }

    /// Prints new recovery passwords on standard error.
    fn tell_digits(&self) {
        term::say(
            "the volume was changed; keep this new recovery password, which is printed nowhere else:",
        );
        for (id, digits) in &self.shown {
            term::say_secret(&with_digits(*id, digits));
        }
    }

    fn document(&self, report: &Report) -> Result<SecretText, Failure> {
        let dry_run = self.args.dry_run;
        let listed = |protectors: &[(Guid, ProtectorKind)], is_new: bool| {
            let list = protectors.iter().map(|(id, kind)| {
                // A dry run invents identifiers that the real run will not use.
                let known = !(is_new && dry_run);
                json!({
                    "id": known.then(|| format!("{id:X}")),
                    "type": kind.word(),
                    "name": kind.name(),
                })
            });
            list.collect::<Vec<_>>()
        };
        let added: Vec<_> = report
            .added
            .iter()
            .zip(listed(&report.added, true))
            .map(|((id, _), object)| self.with_secret(*id, object))
            .collect();
        let volume = self.managed.volume().metadata()?.dataset.id;
        let backup = self.args.backup_to.as_ref().filter(|_| !dry_run);
        Ok(SecretText::new(document(&json!({
            "volume": format!("{volume:X}"),
            "dry_run": dry_run,
            "added": added,
            "replaced": listed(&report.replaced, false),
            "removed": listed(&report.removed, false),
            "new_vmk": report.rekeyed,
            "identification_field": report.identification,
            "repaired_copies": report.repaired,
            "backup": backup.map(|path| path.to_string_lossy()),
        }))))
    }

    /// The object of a new key protector, with the place of its secret.
    fn with_secret(&self, id: Guid, mut object: Value) -> Value {
        let file = self.files.iter().find(|(of, _)| *of == id);
        object["file"] = json!(file.map(|(_, path)| path.to_string_lossy()));
        if let Some((_, digits)) = self.shown.iter().find(|(of, _)| *of == id) {
            object["recovery_password"] = json!(digits.expose());
        }
        object
    }

    /// Makes the backup, unless it exists already.
    pub(in crate::cli::commands) fn back_up(&mut self) -> Result<(), Failure> {
        if self.backup.is_none() {
            let file = self.args.backup_to.as_deref();
            self.backup = Some(before_change(self.managed.volume(), file)?);
        }
        Ok(())
    }

    /// Handles a change that failed, perhaps after a part of it was written.
    pub(in crate::cli::commands) fn give_up(&mut self) {
        if let Some(backup) = self.backup.take() {
            backup.failed(&self.managed);
        }
    }
}

/// What was changed or, with `dry_run`, would be changed, as text.
fn in_words(report: &Report, dry_run: bool) -> String {
    let mut text = String::new();
    if dry_run {
        // A dry run invents identifiers that the real run will not use.
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
    if let Some(identification) = &report.identification {
        let word = if dry_run { "would be" } else { "was" };
        let done = if identification.is_empty() {
            "removed"
        } else {
            "set"
        };
        let _ = writeln!(text, "the identification field {word} {done}");
    }
    for copy in &report.repaired {
        let word = if dry_run { "would be" } else { "was" };
        let _ = writeln!(text, "metadata copy {copy} {word} repaired");
    }
    text
}
