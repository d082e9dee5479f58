//! `fve protector add`: adds key protectors.

use fve::enroll::{Enrollment, HandedOver, NewSecret};
use fve::format::protector::ProtectorKind;
use fve::manage::{Change, check_new_password};

use super::args::AddArgs;
use super::session::Session;
use crate::cli::failure::Failure;
use crate::cli::options::new_protectors::network::NewNetwork;
use crate::cli::options::new_protectors::tpm::{TPM, report_proof, report_srk_name};
use crate::cli::options::new_protectors::{NewProtectorArgs, hand_over};

/// Saves the secrets of new key protectors. What is to be shown is kept for the document.
fn hand_over_later(secrets: &[NewSecret], session: &mut Session<'_>) -> Result<(), Failure> {
    for secret in secrets {
        let (id, _) = secret.protector();
        match secret.hand_over()? {
            HandedOver::Saved(path) => session.files.push((id, path)),
            HandedOver::Show(password) => session.shown.push((id, password.expose_digits())),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn add(args: &AddArgs) -> Result<(), Failure> {
    let prepared = args.new.prepare()?;
    // In this command `--tpm` asks for a new key protector, so it must not be tried as a
    // credential; the same holds for `--network-unlock` with a certificate.
    let credentials = args.change.credentials.without(TPM);
    let credentials = args.network.rest_of(&credentials);
    let (tpm, proof) = args
        .tpm
        .enrollment(&args.change.credentials, args.change.dry_run)?
        .unzip();
    let tpm_id = tpm.as_ref().map(Enrollment::id);
    let proof = tpm_id.zip(proof.flatten());
    prepared.check_places()?;
    tpm.iter().try_for_each(Enrollment::check_place)?;
    if args.new.is_empty() && tpm.is_none() && !args.network.is_given() {
        return Err(Failure::usage(format!(
            "no key protector given; use one or more of {}",
            NewProtectorArgs::options()
        )));
    }
    let mut session = Session::open_with(&args.change, &credentials, |volume| {
        match args.new.makes(ProtectorKind::Password) {
            true => check_new_password(volume),
            false => Ok(()),
        }
    })?;
    let mut enrollments = prepared.ask()?;
    enrollments.extend(tpm);
    let volume = session.managed.volume().metadata()?.dataset.id;
    let network = args.network.enrollment(&args.change.credentials, volume)?;
    let network = network.map(|NewNetwork { enrollment, proof }| {
        let id = enrollment.id();
        enrollments.push(enrollment);
        (id, proof)
    });
    let (protectors, secrets): (Vec<_>, Vec<_>) =
        enrollments.into_iter().map(Enrollment::into_parts).unzip();
    let mut change = protectors.into_iter().fold(Change::new(), Change::enroll);
    let proved = proof.as_ref().map(|(id, _)| *id);
    if let Some((id, proof)) = proof {
        change = change.verify_with(id, proof.into_credential());
    }
    if let Some((id, proof)) = &network
        && let Some(credential) = proof.credential()
    {
        change = change.verify_with(*id, credential);
    }
    if !args.change.dry_run {
        // Try the change before secrets are saved or printed: a user would rely on a password that
        // was printed but never added.
        session.managed.preview(&change)?;
        session.back_up()?;
        let handed = match args.change.json {
            true => hand_over_later(&secrets, &mut session),
            false => hand_over(&secrets),
        };
        if let Err(failure) = handed {
            session.give_up();
            return Err(failure);
        }
    }
    session.carry_out(change)?;
    if !args.change.dry_run {
        proved.into_iter().for_each(report_proof);
        if let Some(id) = tpm_id {
            report_srk_name(&session.managed.protectors(), id);
        }
        if let Some((id, proof)) = &network {
            proof.report(*id);
        }
    }
    Ok(())
}
