//! The datums that only TPM protectors have (docs/format-tpm.md §1).

use super::{DatumBytes, STORED, datum};
use crate::format::FormatError;
use crate::format::datum::{SealedDatum, key_types, roles, types};

/// Key flags of a PIN, set for every PIN of Windows 10 and 11. One source calls the bit "enhanced
/// crypto".
const PIN_FLAGS: u16 = 0x0010;

/// Types of the SIMPLE datums before and after the sealed object of a protector with a PIN. Their
/// value is always 0 and their meaning is not known.
pub(crate) const SIMPLE_BEFORE: u16 = 0x10;
pub(crate) const SIMPLE_AFTER: [u16; 2] = [0x11, 0x13];

/// A KEY datum with the hash of a PIN, as the content of a sealed datum.
pub(crate) fn pin_hash(hash: &[u8; 32]) -> Result<DatumBytes, FormatError> {
    let head = [key_types::PIN.to_le_bytes(), PIN_FLAGS.to_le_bytes()];
    let fixed = [head.as_flattened(), hash];
    datum(roles::PROPERTY, types::KEY, super::SEALED, &fixed, &[])
}

/// A STRETCH_KEY datum for a PIN, with the sealed backup of its hash.
pub(crate) fn pin_stretch(salt: &[u8; 16], backup: DatumBytes) -> Result<DatumBytes, FormatError> {
    let head = [key_types::PIN.to_le_bytes(), PIN_FLAGS.to_le_bytes()];
    let fixed = [head.as_flattened(), salt];
    datum(
        roles::PROPERTY,
        types::STRETCH_KEY,
        STORED,
        &fixed,
        &[backup],
    )
}

/// An AES_CCM_ENC datum as the content of a sealed TPM object. It is not inside a container, so the
/// flag for that is clear.
pub(crate) fn released(sealed: &SealedDatum) -> Result<DatumBytes, FormatError> {
    let fixed: [&[u8]; 3] = [&sealed.nonce, &sealed.tag, &sealed.ciphertext];
    datum(roles::PROPERTY, types::AES_CCM, super::SEALED, &fixed, &[])
}

/// A SIMPLE datum of this type with the value 0.
pub(crate) fn zero(datum_type: u16) -> Result<DatumBytes, FormatError> {
    datum(roles::PROPERTY, datum_type, STORED, &[&[0; 4]], &[])
}

/// A CONCAT_HASH_KEY datum: the label that is hashed with a PIN into the TPM's password
/// (docs/format-tpm.md §3.2).
pub(crate) fn hash_label(label: &[u8]) -> Result<DatumBytes, FormatError> {
    let kind = types::CONCAT_HASH_KEY;
    datum(roles::PROPERTY, kind, STORED, &[label], &[])
}

/// A TPM_ENC_BLOB datum: the PCR bitmap, then the parts of the sealed object in the TPM's encoding.
///
/// # Errors
/// A part has more than 65,535 bytes.
pub(crate) fn blob(
    private: &[u8],
    public: &[u8],
    pcr_digest: &[u8],
    selection: [u8; 3],
) -> Result<DatumBytes, FormatError> {
    let len = |part: &[u8]| {
        u16::try_from(part.len())
            .map(u16::to_be_bytes)
            .map_err(|_| super::fault("TPM blob", format!("a part of {} bytes", part.len())))
    };
    let [low, middle, high] = selection;
    let fixed: [&[u8]; 9] = [
        &u32::from_le_bytes([low, middle, high, 0]).to_le_bytes(),
        &len(private)?,
        private,
        &len(public)?,
        public,
        &len(pcr_digest)?,
        pcr_digest,
        &[3],
        &selection,
    ];
    datum(roles::PROPERTY, types::TPM_BLOB, STORED, &fixed, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::datum::{Body, Datum};

    #[test]
    fn an_object_reads_back() {
        let mut public = vec![0, 8, 0, 0xB, 0, 0, 4, 0x12, 0, 32];
        public.extend([7; 32]);
        public.extend([0, 0x10, 0, 32]);
        public.extend([8; 32]);
        let bytes = blob(&[1; 0xAA], &public, &[9; 32], [0x80, 8, 0]).unwrap();
        // As long as on a Windows machine with a software TPM (docs/format-tpm.md §6.2).
        assert_eq!(bytes.len(), 0x12E);
        let datum = Datum::parse_one(bytes.expose()).unwrap();
        let Body::Tpm(blob) = &datum.body else {
            panic!("{datum:?}")
        };
        assert_eq!(blob.pcr_bitmap, 0x880);
        let object = blob.sealed.as_ref().unwrap();
        assert_eq!(object.pcrs(), [7, 11]);
        assert_eq!(object.area.policy, [7; 32]);
        assert!(!blob.bitmaps_differ());
    }
}
