//! The commands that only read a volume: they list its key protectors, and print or save its keys.

use fve::guid::Guid;
use fve::manage::{ProtectorSecret, SecretBackup, secret_backups};
use fve::output::{NewFile, check_new_in};
use fve::secret::SecretText;
use fve::shown::ShowPath;
use serde_json::json;

use super::args::{ListArgs, SaveStartupKeyArgs, ShowRecoveryArgs};
use super::session::HAS_NONE;
use crate::cli::describe;
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;
use crate::cli::options::new_protectors::with_digits;
use crate::cli::options::source::{self, SourceArgs};
use crate::cli::output::json::document;
use crate::cli::output::term;

pub(super) fn list(args: &ListArgs) -> Result<(), Failure> {
    let opened = source::open(&args.source).print_notes()?;
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

pub(super) fn show_recovery(args: &ShowRecoveryArgs) -> Result<(), Failure> {
    let (volume, secrets) = stored_secrets(&args.source, &args.credentials)?;
    let mut found = false;
    let mut listed = Vec::new();
    for secret in &secrets {
        if let ProtectorSecret::RecoveryPassword(password) = &secret.secret {
            let digits = password.expose_digits();
            found = true;
            if args.json {
                listed.push(json!({
                    "id": format!("{:X}", secret.protector),
                    "recovery_password": digits.expose(),
                }));
                continue;
            }
            term::print(with_digits(secret.protector, &digits).expose())?;
        }
    }
    if found && args.json {
        return term::print_all(
            SecretText::new(document(&json!({
                "volume": format!("{volume:X}"),
                "recovery_passwords": listed,
            })))
            .expose(),
        );
    }
    if found {
        return Ok(());
    }
    Err(stores_none("recovery password"))
}

pub(super) fn save_startup_key(args: &SaveStartupKeyArgs) -> Result<(), Failure> {
    check_new_in(&args.startup_key_to)?;
    let (id, secrets) = stored_secrets(&args.source, &args.credentials)?;
    let wanted = |secret: &&SecretBackup| {
        args.id()
            .is_none_or(|name| secret.protector.is_named_by(name))
    };
    // Create every file before filling any: an existing file must not leave half of the keys saved.
    let mut files = Vec::new();
    for secret in secrets.iter().filter(wanted) {
        let volume = args.windows11.then_some(id);
        if let Some(content) = secret.startup_key_file(volume)? {
            let path = args
                .startup_key_to
                .join(format!("{:X}.BEK", secret.protector));
            files.push((secret.protector, NewFile::create(&path)?, content));
        }
    }
    if files.is_empty() {
        return Err(stores_none(match args.id() {
            Some(_) => "startup key with that ID",
            None => "startup key",
        }));
    }
    let mut saved = Vec::new();
    for (protector, file, content) in files {
        let path = file.path().to_owned();
        file.fill(content.expose())?;
        if args.json {
            saved.push(json!({
                "id": format!("{protector:X}"),
                "file": path.to_string_lossy(),
            }));
        } else {
            term::note(format_args!("saved {}", path.shown()));
        }
    }
    match args.json {
        true => term::print(&document(&json!({
            "volume": format!("{id:X}"),
            "files": saved,
        }))),
        false => Ok(()),
    }
}

fn stores_none(what: &str) -> Failure {
    Failure::Other {
        status: Status::Failed,
        what: format!("the volume stores no {what}"),
        help: Some(HAS_NONE.to_owned()),
    }
}

/// The identifier of the volume, and the secrets that it stores encrypted with its volume master
/// key. The source is only read.
fn stored_secrets(
    args: &SourceArgs,
    credentials: &CredentialArgs,
) -> Result<(Guid, Vec<SecretBackup>), Failure> {
    let volume = source::open(args)
        .print_notes()
        .map_err(|failure| credentials.name_fitting(failure))?
        .volume;
    let key = credentials.unlock_master_key(&volume)?;
    let id = volume
        .metadata_as_found()
        .map(|block| block.dataset.id)
        .unwrap_or(Guid::from_disk([0; 16]));
    Ok((id, secret_backups(&volume, &key)?))
}
