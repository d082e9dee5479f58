//! `--certificate`.

use super::kind::{Addition, CredentialKind, Given, Read};
use fve::error::{Error, Result};
use fve::format::protector::ProtectorKind;
use fve::input::read_line;
use fve::unlock::Silent;
use fve::unlock::certificate::CertificateKey;

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "certificate",
    value: "FILE",
    value_is_optional: false,
    additions: &[PASSWORD_FILE],
    help: "A certificate's private key: PFX, PEM or DER. Not proven against volumes of Windows",
    systemd: Some("fve.certificate"),
    environment: None,
    read: Read::Given(|given| Ok(Box::new(read(given)?))),
    typed: None,
    opens: &[ProtectorKind::Certificate],
};

const PASSWORD_FILE: Addition = Addition {
    option: "certificate-password-file",
    value: Some("FILE"),
    help: "With --certificate: file with the password of that file ('-' = standard input)",
    systemd: Some("fve.certificate-password"),
};

fn read(given: &Given<'_>) -> Result<CertificateKey> {
    let path = given.value.ok_or_else(|| {
        Error::bad_credential(
            "certificate",
            "there is a password for a certificate's file, but no such file",
        )
        .with_remedy("give --certificate FILE")
    })?;
    let password = given.other(PASSWORD_FILE.option);
    let password = password
        .map(|path| read_line(path, "password of the certificate"))
        .transpose()?;
    match given.prompt {
        Some(prompt) => CertificateKey::from_file(path, password.as_ref(), prompt.as_ref()),
        None => CertificateKey::from_file(path, password.as_ref(), &Silent),
    }
}
