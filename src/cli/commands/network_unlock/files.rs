//! Files that the server's commands read: keys with their passwords, policies.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::failure::Failure;
use crate::cli::options::readable::warn_if_others_can_read;
use fve::error::Error;
use fve::input::read_line;
use fve::network::policy::{MAX_FILE, Policy};
use fve::network::server::keys::Files;
use fve::shown::ShowPath;

/// Where passwords of key files come from.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct PasswordArgs {
    /// The password of a PKCS#12 file, or of an encrypted key, is in this file; may be given several
    /// times, for several
    #[arg(long = "pfx-password-file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) pfx_passwords: Vec<PathBuf>,
}

/// What systemd may call the password of key files.
const CREDENTIAL: &str = "fve.pfx-password";

impl PasswordArgs {
    /// The key files with the passwords that may open them.
    pub(super) fn files(&self, paths: &[PathBuf]) -> Result<Files, Failure> {
        let given = std::env::var_os("CREDENTIALS_DIRECTORY")
            .map(|directory| PathBuf::from(directory).join(CREDENTIAL))
            .filter(|file| file.exists());
        let passwords = self
            .pfx_passwords
            .iter()
            .chain(&given)
            .map(|file| {
                warn_if_others_can_read(file);
                read_line(file, "password of a key file")
            })
            .collect::<Result<_, _>>()?;
        Ok(Files {
            paths: paths.to_vec(),
            passwords,
            ..Files::default()
        })
    }
}

/// Why a policy file gives no policy.
pub(super) enum NoPolicy {
    Unreadable(Error),
    Invalid(fve::network::policy::Invalid),
}

pub(super) fn read_policy(path: &std::path::Path) -> Result<Policy, NoPolicy> {
    use std::io::Read;
    let failed = |error| {
        NoPolicy::Unreadable(Error::io(
            format!("cannot read the policy file {}", path.shown()),
            error,
        ))
    };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    // One byte more than there may be: a longer file is told from one that just fits.
    file.take(MAX_FILE as u64 + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    Policy::parse(&content).map_err(NoPolicy::Invalid)
}
