//! Where passwords of PKCS#12 files come from.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::Failure;
use crate::network::server::keys::Files;
use crate::unlock::read_secret_line;

/// Where passwords of PKCS#12 files come from.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct PasswordArgs {
    /// The password of a PKCS#12 file is in this file; may be given several times, for several
    #[arg(long = "pfx-password-file", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) pfx_passwords: Vec<PathBuf>,
}

/// What systemd may call the password of PKCS#12 files.
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
            .map(|file| read_secret_line(file, "PKCS#12 password"))
            .collect::<Result<_, _>>()?;
        Ok(Files {
            paths: paths.to_vec(),
            passwords,
        })
    }
}
