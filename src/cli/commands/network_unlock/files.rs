//! The files that the server's commands read: key files with their passwords, and policy files.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::failure::Failure;
use crate::cli::options::readable::warn_if_others_can_read;
use fve::error::Error;
use fve::input::read_line;
use fve::network::policy::{InvalidPolicy, MAX_FILE, Policy};
use fve::network::server::KeyFiles;
use fve::shown::ShowPath;

/// The option for the passwords of key files.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct PasswordArgs {
    /// Read the password of a PKCS#12 file or an encrypted key from this file; may be given several
    /// times
    #[arg(long = "certificate-password-file", alias = "pfx-password-file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) pfx_passwords: Vec<PathBuf>,
}

/// The systemd credentials that may hold a password of key files; the second is a former name.
const CREDENTIALS: [&str; 2] = ["fve.certificate-password", "fve.pfx-password"];

impl PasswordArgs {
    /// These key files, with the passwords from the options and from systemd.
    pub(super) fn key_files(&self, paths: &[PathBuf]) -> Result<KeyFiles, Failure> {
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let from_systemd = CREDENTIALS.iter().filter_map(|name| {
            let file = directory.as_ref()?.join(name);
            file.exists().then_some(file)
        });
        let from_systemd: Vec<_> = from_systemd.collect();
        let passwords = self
            .pfx_passwords
            .iter()
            .chain(&from_systemd)
            .map(|file| {
                warn_if_others_can_read(file);
                read_line(file, "password of a key file")
            })
            .collect::<Result<_, _>>()?;
        Ok(KeyFiles::new(paths.to_vec()).passwords(passwords))
    }
}

/// Why there is no policy.
pub(super) enum PolicyError {
    Unreadable(Error),
    Invalid(InvalidPolicy),
}

pub(super) fn read_policy(path: &std::path::Path) -> Result<Policy, PolicyError> {
    use std::io::Read;
    let failed = |error| {
        PolicyError::Unreadable(Error::io(
            format!("cannot read the policy file {}", path.shown()),
            error,
        ))
    };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    // One byte more than the limit, so that the parser can refuse a longer file.
    file.take(MAX_FILE as u64 + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    Policy::parse(&content).map_err(PolicyError::Invalid)
}
