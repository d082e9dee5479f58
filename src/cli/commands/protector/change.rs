//! The commands that change or remove key protectors.

use fve::enroll::{NewProtector, RecoveryFile, TpmBinding, save_key};
use fve::error::Error;
use fve::format::protector::ProtectorKind;
use fve::guid::Guid;
use fve::manage::{
    Change, Managed, Rotation, RotationError, StartupKeyChange, removal_of_tpm_protectors,
};
use fve::output::{check_new, check_new_in};
use fve::shown::ShowPath;
use fve::unlock::StartupKey;

use super::args::{
    ChangePasswordArgs, ChangePinArgs, ChangeStartupKeyArgs, RemoveArgs, ResealArgs, ResumeArgs,
    RotateArgs, SuspendArgs,
};
use super::session::Session;
use crate::cli::failure::Failure;
use crate::cli::options::confirm::confirm;
use crate::cli::options::new_protectors::new_password;
use crate::cli::options::new_protectors::tpm::{WITH_PIN, WITH_TPM, new_pin, sealer};
use crate::cli::output::term;

pub(super) fn change_pin(args: &ChangePinArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.change)?;
    let id = session.one_of_kinds(WITH_PIN, args.id())?;
    let tpm = sealer(&args.change.credentials)?;
    let pin = new_pin(args.new_pin_file.as_deref())?;
    session.reseal(id, Some(pin), true, |object| {
        Ok(TpmBinding::like(tpm, object)?)
    })
}

pub(super) fn reseal(args: &ResealArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.change)?;
    let id = session.one_of_kinds(WITH_TPM, args.id())?;
    let tpm = sealer(&args.change.credentials)?;
    let present = args.bind.is_present();
    session.reseal(id, None, present, |object| {
        args.bind.binding(tpm, &object.pcrs())
    })
}

pub(super) fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    if args.all_tpm {
        return remove_all_tpm(args);
    }
    let mut session = Session::open(&args.change)?;
    let mut ids = Vec::new();
    for name in &args.ids {
        ids.push(session.managed.find(name)?.id);
    }
    if let Some(kind) = args.kind {
        ids.extend(session.ids_of_kinds(&[kind])?);
    }
    let loses_recovery = is_last_recovery_password(&session.managed, &ids);
    let change = Change::new()
        .drop_bound(args.drop.drop_bound)
        .allow_only_clear_key(args.leave_unprotected);
    session.carry_out(ids.into_iter().fold(change, Change::remove))?;
    if loses_recovery {
        let word = if args.change.dry_run {
            "would have"
        } else {
            "has"
        };
        term::note(format_args!(
            "the volume {word} no recovery password: if its other credentials are lost, so is its content; \
             'fve protector add --new-recovery-password' adds one"
        ));
    }
    Ok(())
}

fn remove_all_tpm(args: &RemoveArgs) -> Result<(), Failure> {
    let credentials = &args.change.credentials;
    let mut session = Session::open_with(&args.change, credentials, |volume| {
        removal_of_tpm_protectors(&volume.protectors()).map(drop)
    })?;
    let protectors = session.managed.protectors();
    let change = removal_of_tpm_protectors(&protectors)?
        .drop_bound(args.drop.drop_bound)
        .allow_only_clear_key(args.leave_unprotected);
    let has = |kind| protectors.iter().any(|protector| protector.kind() == kind);
    let needed = match has(ProtectorKind::RecoveryPassword) {
        true => "the recovery password",
        false => "a startup key or a password, because the volume has no recovery password",
    };
    let suspended = has(ProtectorKind::ClearKey);
    session.managed.preview(&change)?;
    if !args.change.dry_run && !args.yes {
        confirm(&format!(
            "all key protectors that use a TPM would be removed, and Windows would need {needed} at its next start"
        ))?;
    }
    session.carry_out(change)?;
    if suspended {
        term::note(
            "protection is suspended, so Windows still starts without a credential; 'fve protector resume' ends that",
        );
    }
    Ok(())
}

/// Whether the volume has a recovery password, but none besides those that are removed.
fn is_last_recovery_password(managed: &Managed, removed: &[Guid]) -> bool {
    let protectors = managed.protectors();
    let mut passwords = protectors
        .iter()
        .filter(|protector| protector.kind() == ProtectorKind::RecoveryPassword)
        .peekable();
    passwords.peek().is_some() && passwords.all(|protector| removed.contains(&protector.id))
}

pub(super) fn change_password(args: &ChangePasswordArgs) -> Result<(), Failure> {
    let credentials = &args.change.credentials;
    let mut session = Session::open_with(&args.change, credentials, |volume| {
        let mut protectors = volume.protectors().into_iter();
        match protectors.any(|protector| protector.kind() == ProtectorKind::Password) {
            true => Ok(()),
            false => Err(Error::unchangeable(
                "the volume has no password to change",
                "'fve protector add --new-password-file FILE' adds one",
            )),
        }
    })?;
    let id = session.ids_of_kinds(&[ProtectorKind::Password])?;
    let text = new_password(args.new_password_file.as_deref())?;
    let mut change = Change::new();
    for id in id {
        change = change.replace(id, NewProtector::password(&text)?);
    }
    session.carry_out(change)
}

pub(super) fn change_startup_key(args: &ChangeStartupKeyArgs) -> Result<(), Failure> {
    let directory = &args.startup_key_to;
    check_new_in(directory)?;
    let credentials = &args.change.credentials;
    let mut session = Session::open_with(&args.change, credentials, |volume| {
        // One that is named by its ID is looked for later.
        match args.id {
            Some(_) => Ok(()),
            None => StartupKeyChange::check(&volume.protectors(), None).map(drop),
        }
    })?;
    let old = match &args.id {
        Some(name) => Some(session.managed.find(name)?.id),
        None => None,
    };
    let change = StartupKeyChange::new(&session.managed, old)?.drop_bound(args.drop.drop_bound);
    if args.change.dry_run {
        let report = change.preview(&session.managed)?;
        return session.tell(&report);
    }
    let path = directory.join(&change.file().name);
    session.with_backup(Some(&path), |managed| {
        let mut saved = false;
        let changed = change.carry_out(managed, |file| {
            save_key(&path, &file.content)?;
            saved = true;
            StartupKey::read(&path)
        });
        changed.map_err(|failure| {
            if saved && failure.new_is_void {
                // The file of a key that unlocks nothing would only mislead.
                let _ = std::fs::remove_file(&path);
            }
            failure.cause
        })
    })?;
    term::note(format_args!(
        "the new startup key was saved to {} and tested before the old one was removed",
        path.shown()
    ));
    Ok(())
}

pub(super) fn rotate(args: &RotateArgs) -> Result<(), Failure> {
    check_new(&args.recovery_password_to)?;
    let mut session = Session::open(&args.change)?;
    let old = match args.id() {
        Some(name) => vec![session.managed.find(name)?.id],
        None => Vec::new(),
    };
    if args.id().is_none() {
        check_selection(args, &session.managed)?;
    }
    let rotation = Rotation::new(&session.managed, &old)?.drop_bound(args.drop.drop_bound);
    if args.change.dry_run {
        let report = rotation.preview(&session.managed)?;
        return session.tell(&report);
    }
    session.with_backup(Some(&args.recovery_password_to), |managed| {
        rotation
            .carry_out(managed, |id, password| {
                save_key(
                    &args.recovery_password_to,
                    &RecoveryFile::new(id, password).content,
                )
            })
            .map_err(RotationError::into_cause)
    })?;
    term::note(format_args!(
        "the new recovery password was saved to {} and tested on the volume before the old ones were removed",
        args.recovery_password_to.shown()
    ));
    Ok(())
}

/// Refuses `--protector` with a recovery password if others would be replaced as well: it selects what
/// unlocks the volume, but was most likely meant as the argument `ID`.
fn check_selection(args: &RotateArgs, managed: &Managed) -> Result<(), Failure> {
    let Some(selector) = args.change.credentials.options()?.protector else {
        return Ok(());
    };
    let protectors = managed.protectors();
    let passwords: Vec<_> = protectors
        .iter()
        .filter(|protector| protector.kind() == ProtectorKind::RecoveryPassword)
        .collect();
    if passwords.len() > 1 && passwords.iter().any(|password| selector.selects(password)) {
        return Err(Failure::usage(
            "--protector selects what unlocks the volume, and all recovery passwords would be replaced; \
             to replace only one, give its ID after SOURCE",
        ));
    }
    Ok(())
}

pub(super) fn suspend(args: &SuspendArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.change)?;
    session.carry_out(Change::new().enroll(NewProtector::suspension(args.reboots)?))?;
    if !args.change.dry_run {
        term::note(
            "protection is suspended: anyone can read the volume until 'fve protector resume' is run",
        );
    }
    Ok(())
}

pub(super) fn resume(args: &ResumeArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.change)?;
    let clear = session
        .ids_of_kinds(&[ProtectorKind::ClearKey])
        .map_err(|_| {
            Error::unchangeable(
                "protection is not suspended, so it cannot be resumed",
                "'fve info' shows the protection status",
            )
        })?;
    let change = Change::new().drop_bound(args.drop.drop_bound);
    session.carry_out(clear.into_iter().fold(change, Change::remove))
}
