//! `fve network-unlock certificate`: makes a key with a certificate, or shows certificates.
//!
//! `--json` prints `certificates`: each with file, thumbprint, subject, not_before, not_after, fit
//! (whether nothing was found that Windows may object to) and doubts (reason, message). For a new
//! certificate it also prints `files`.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, ValueHint};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{PasswordArgs, not_a_certificate};
use crate::cli::failure::Failure;
use crate::cli::options::new_protectors::new_password;
use crate::cli::output::json as documents;
use crate::cli::output::term;
use crate::cli::run::Run;
use crate::cli::signals;
use fve::error::Error;
use fve::network::certificate::{Certificate, MAX_FILE};
use fve::network::server::{KeyFiles, NewCertificate, read_certificates};
use fve::output::NewFile;
use fve::shown::ShowPath;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Make a key and a certificate:
    fve network-unlock certificate --to /etc/fve/server
  Show a certificate, and whether Windows may object to it:
    fve network-unlock certificate network-unlock.cer")]
#[group(skip)]
pub(crate) struct CertificateArgs {
    /// Certificates to show: DER, PEM or PKCS#12
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "to")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    passwords: PasswordArgs,

    /// Make a key and a certificate in this directory: NAME.cer for the group policy, NAME.pem (or
    /// NAME.pfx) for the server
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "files")]
    to: Option<PathBuf>,

    /// Name of the new files, without extension
    #[arg(
        long,
        value_name = "NAME",
        default_value = "network-unlock",
        requires = "to"
    )]
    name: String,

    /// Common name in the subject of the new certificate
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "BitLocker Network Unlock",
        requires = "to"
    )]
    subject: String,

    /// How long the new certificate is valid
    #[arg(long, value_name = "DAYS", default_value_t = 3650, requires = "to",
          value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,

    /// Save the key as PKCS#12, with the password of --certificate-password-file or one that is asked for
    #[arg(long, requires = "to")]
    pfx: bool,

    /// Use the weaker encryption that Windows before Windows 10 version 1709 and Windows Server
    /// 2019 can read
    #[arg(long, requires = "pfx")]
    legacy_pfx: bool,

    /// Answer with one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

impl Run for CertificateArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &CertificateArgs) -> Result<(), Failure> {
    match &args.to {
        Some(directory) => make(args, directory),
        None => show(args),
    }
}

fn make(args: &CertificateArgs, directory: &Path) -> Result<(), Failure> {
    if args.name.is_empty() || args.name.contains('/') {
        return Err(Failure::usage(
            "--name must be a file name without extension",
        ));
    }
    let password = match (args.pfx, args.passwords.pfx_passwords.as_slice()) {
        (false, _) => None,
        (true, []) => Some(new_password(None)?),
        (true, [file]) => Some(new_password(Some(file))?),
        (true, _) => {
            return Err(Failure::usage(
                "--pfx takes one --certificate-password-file",
            ));
        }
    };
    let extension = if args.pfx { "pfx" } else { "pem" };
    let key_file = directory.join(format!("{}.{extension}", args.name));
    let file = directory.join(format!("{}.cer", args.name));
    create_directory(directory)?;
    // Both files are created before the key is made: either both are written or none.
    let new_key = NewFile::create(&key_file)?;
    let new_certificate = NewFile::create_public(&file)?;
    let incomplete = [key_file.clone(), file.clone()];
    signals::exit_on_signal(move || {
        for path in &incomplete {
            let _ = std::fs::remove_file(path);
        }
    });
    let made = NewCertificate::make(&args.subject, args.days)?;
    let key = match &password {
        None => made.pem()?,
        Some(password) => made.pkcs12(password, args.legacy_pfx)?,
    };
    // The key first: a certificate without its key is useless.
    new_key.fill(key.expose())?;
    new_certificate.fill(made.certificate().der())?;
    report_made(args, &made, &key_file, &file)
}

/// Makes the directory and those above it, if they do not exist. The private key is protected by its
/// own mode, and the certificate is for everyone.
fn create_directory(directory: &Path) -> Result<(), Failure> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(directory).map_err(|error| {
        let what = format!("cannot create the directory {}", directory.shown());
        Failure::from(Error::io(what, error))
    })
}

fn report_made(
    args: &CertificateArgs,
    made: &NewCertificate,
    key_file: &Path,
    file: &Path,
) -> Result<(), Failure> {
    let certificate = made.certificate();
    if args.json {
        return term::print(&documents::document(&json!({
            "certificates": [describe(file, certificate)],
            "files": { "certificate": file, "key": key_file },
        })));
    }
    term::print(&format!(
        "thumbprint {}\n\
         key         {}: for the server alone\n\
         certificate {}: for the group policy\n\
         \n\
         On a domain controller (or on a client without a domain), as administrator:\n  \
         certutil -f -grouppolicy -addstore FVE_NKP {}.cer\n\
         and enable 'Allow network unlock at startup' under BitLocker Drive Encryption, Operating System Drives.\n",
        certificate.thumbprint(),
        key_file.shown(),
        file.shown(),
        args.name
    ))
}

fn show(args: &CertificateArgs) -> Result<(), Failure> {
    let files = args.passwords.key_files(&[])?;
    let mut found = Vec::new();
    for path in &args.files {
        for certificate in read(path, &files)? {
            found.push((path, certificate));
        }
    }
    if args.json {
        let list: Vec<_> = found
            .iter()
            .map(|(path, certificate)| describe(path, certificate))
            .collect();
        return term::print(&documents::document(&json!({ "certificates": list })));
    }
    let mut text = String::new();
    for (path, certificate) in found {
        text += &format!(
            "{}\n  thumbprint {}\n  subject    {}\n  valid      {} to {}\n",
            path.shown(),
            certificate.thumbprint(),
            term::escaped(certificate.subject()),
            day(certificate.not_before()),
            day(certificate.not_after()),
        );
        for doubt in certificate.doubts(SystemTime::now()) {
            text += &format!("  warning: {doubt}\n");
        }
    }
    term::print(&text)
}

/// The certificates in a certificate file or a key file.
fn read(path: &Path, files: &KeyFiles) -> Result<Vec<Certificate>, Failure> {
    use std::io::Read;
    let failed = |error| Error::io(format!("cannot read {}", path.shown()), error);
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if let Ok(certificate) = Certificate::parse(&content) {
        return Ok(vec![certificate]);
    }
    read_certificates(path, files).map_err(not_a_certificate)
}

fn describe(path: &Path, certificate: &Certificate) -> Value {
    let doubts = certificate.doubts(SystemTime::now());
    let list: Vec<_> = doubts
        .iter()
        .map(|doubt| json!({ "reason": doubt.word(), "message": doubt.to_string() }))
        .collect();
    json!({
        "file": path,
        "thumbprint": certificate.thumbprint().to_string(),
        "subject": certificate.subject(),
        "not_before": day(certificate.not_before()),
        "not_after": day(certificate.not_after()),
        "fit": doubts.is_empty(),
        "doubts": list,
    })
}

/// A time in RFC 3339, in UTC.
fn day(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "unknown".to_owned(), |time| time.to_string())
}
