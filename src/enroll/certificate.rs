//! A new certificate protector. A random intermediate key seals the VMK, and is stored encrypted with the
//! public key of the certificate. A backup of it is sealed with the VMK.
//!
//! The parts and their order are those of a volume of Windows 10 (docs/format.md §3.13). Not known is
//! which padding Windows uses, and whether it encrypts the bare key or a KEY datum. So it is not proven
//! that Windows can unlock a volume with such a protector.

use zeroize::Zeroizing;

use super::seal::Sealer;
use super::{uncreatable, unfit};
use crate::crypto::random;
use crate::crypto::rsa_key::{Certificate, Padding};
use crate::error::Result;
use crate::format::datum::{key_types, roles};
use crate::format::encode::certificate as layout;
use crate::format::encode::{self, DatumBytes};
use crate::secret::IntermediateKey;

pub(super) struct Form {
    certificate: Certificate,
    own: IntermediateKey,
    encrypted: Vec<u8>,
}

impl Form {
    pub(super) fn new(certificate: Certificate, padding: Padding) -> Result<Self> {
        let mut own = Zeroizing::new([0; IntermediateKey::LEN]);
        random::fill(&mut own[..])?;
        let own = IntermediateKey::from_bytes(&own);
        let key_type = key_types::CERTIFICATE_KEY;
        let content = encode::key(encode::SEALED, key_type, own.expose()).map_err(unfit)?;
        let encrypted = certificate.key.encrypt(padding, content.expose());
        let encrypted = encrypted.ok_or_else(|| {
            uncreatable(
                "the key of its certificate is too short, or the system returned no random numbers",
            )
        })?;
        Ok(Self {
            certificate,
            own,
            encrypted,
        })
    }
}

impl super::Form for Form {
    fn code(&self) -> u16 {
        0x1000
    }

    fn parts(&self, sealer: &mut Sealer<'_>) -> Result<Vec<DatumBytes>> {
        let key = &self.certificate.key;
        let key_type = key_types::CERTIFICATE_KEY;
        let backup = sealer.with_vmk(roles::PROPERTY, key_type, self.own.expose())?;
        Ok(vec![
            layout::wrapped_key(&self.encrypted).map_err(unfit)?,
            layout::public_key(key.bits(), &key.exponent(), &key.modulus()).map_err(unfit)?,
            layout::certificate(&self.certificate.thumbprint).map_err(unfit)?,
            encode::use_key(key_type, &[backup]).map_err(unfit)?,
            sealer.vmk_with(self.own.expose())?,
        ])
    }
}
