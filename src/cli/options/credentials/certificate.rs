//! `--certificate`.

use fve::error::{Error, Result};
use fve::format::protector::ProtectorKind;
use fve::input::read_line;
use fve::unlock::Silent;
use fve::unlock::certificate::CertificateKey;

use super::kind::{Addition, CredentialKind, Group, OptionValues, Read};

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "certificate",
    group: Group::Certificate,
    value: "FILE",
    value_is_optional: false,
    additions: &[PASSWORD_FILE],
    help: "The private key of a certificate, as PFX, PEM or DER. Not yet tested with volumes made by Windows",
    systemd: Some("fve.certificate"),
    environment: None,
    read: Read::Options(|given| Ok(Box::new(read(given)?))),
    typed: None,
    opens: &[ProtectorKind::Certificate],
};

const PASSWORD_FILE: Addition = Addition {
    option: "certificate-password-file",
    group: Group::Certificate,
    value: Some("FILE"),
    help: "With --certificate: file with the password of the certificate file ('-' = standard input)",
    systemd: Some("fve.certificate-password"),
};

fn read(given: &OptionValues<'_>) -> Result<CertificateKey> {
    let path = given.value.ok_or_else(|| {
        Error::bad_credential(
            "certificate",
            "a password for a certificate file was given, but no certificate file",
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
