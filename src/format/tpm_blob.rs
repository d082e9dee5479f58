//! What a TPM protector keeps on disk: an object sealed to a TPM 2.0 (section 3.14).

use super::FormatError;
use super::wire::Fields;

/// Body of a `TPM_ENC_BLOB` datum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmBlob {
    /// Bit n set: bound to PCR n.
    pub pcr_bitmap: u32,
    /// The sealed object; nothing where the rest of the datum is not laid out as known for
    /// TPM 2.0 (TPM 1.2 has a form of its own).
    pub sealed: Option<SealedObject>,
    /// Everything after the bitmap as it stands on disk.
    pub bytes: Vec<u8>,
}

/// The parts of an object sealed to a TPM 2.0, in the TPM's own encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedObject {
    /// Content of the `TPM2B_PRIVATE`.
    pub private: Vec<u8>,
    /// Content of the `TPM2B_PUBLIC`.
    pub public: Vec<u8>,
    /// The digest over the expected PCR values: 32 bytes for SHA-256, 20 for SHA-1.
    pub pcr_digest: Vec<u8>,
    /// The PCR selection's bytes: bit n of byte n / 8 stands for PCR n.
    pub selection: Vec<u8>,
}

impl TpmBlob {
    pub(crate) fn parse(fields: Fields<'_>, offset: usize) -> Result<Self, FormatError> {
        let pcr_bitmap = fields.u32(offset)?;
        let start = offset.saturating_add(4);
        let bytes = fields.rest(start)?;
        let sealed = SealedObject::parse(fields.part("TPM blob", start, fields.bytes().len())?);
        Ok(Self {
            pcr_bitmap,
            sealed: sealed.ok(),
            bytes: bytes.to_vec(),
        })
    }

    /// The PCRs it is bound to, rising.
    pub fn pcrs(&self) -> Vec<u8> {
        (0..32u8)
            .filter(|pcr| self.pcr_bitmap >> pcr & 1 == 1)
            .collect()
    }
}

impl SealedObject {
    fn parse(fields: Fields<'_>) -> Result<Self, FormatError> {
        let mut offset = 0usize;
        let mut sized = |len_bytes: usize| -> Result<Vec<u8>, FormatError> {
            let len = match len_bytes {
                1 => usize::from(fields.u8(offset)?),
                _ => usize::from(fields.u16_be(offset)?),
            };
            let start = offset.saturating_add(len_bytes);
            let bytes = fields.slice(start, len)?.to_vec();
            offset = start.saturating_add(len);
            Ok(bytes)
        };
        let object = Self {
            private: sized(2)?,
            public: sized(2)?,
            pcr_digest: sized(2)?,
            selection: sized(1)?,
        };
        if object.private.is_empty() || object.public.is_empty() || object.selection.is_empty() {
            return Err(fields.fault("an empty part"));
        }
        Ok(object)
    }
}
