//! The object sealed to a TPM 2.0 that a TPM protector stores (docs/format.md §3.14;
//! docs/format-tpm.md §1.2).
//!
//! ```text
//!   4  PCR bitmap, little-endian: bit n = PCR n
//! 2+n  TPM2B_PRIVATE   encrypted, only the TPM can read it  (from here on big-endian)
//! 2+m  TPM2B_PUBLIC    type, name algorithm, attributes, policy, scheme, unique
//! 2+d  TPM2B_DIGEST    digest over the expected PCR values
//! 1+s  TPMS_PCR_SELECT the bitmap again, byte 0 for PCRs 0 to 7
//! ```
//! Nine published samples of Windows 10 and 11 have this form. The parts must fill the datum exactly;
//! otherwise it is kept as bytes. TPM 1.2 has another form, of which no sample is known.

use super::FormatError;
use super::wire::Fields;

/// Identifiers of hash algorithms (TCG algorithm registry).
pub mod algorithms {
    /// SHA-1.
    pub const SHA1: u16 = 0x0004;
    /// SHA-256.
    pub const SHA256: u16 = 0x000B;
    /// SHA-384.
    pub const SHA384: u16 = 0x000C;
    /// SHA-512.
    pub const SHA512: u16 = 0x000D;
    /// SM3, 256 bits.
    pub const SM3: u16 = 0x0012;

    /// Length of a digest in bytes; `None` for an algorithm that is not listed here.
    pub fn digest_len(id: u16) -> Option<usize> {
        Some(match id {
            SHA1 => 20,
            SHA256 | SM3 => 32,
            SHA384 => 48,
            SHA512 => 64,
            _ => return None,
        })
    }
}

/// Attributes of an object, `TPMA_OBJECT` (TPM 2.0 library, part 2, section 8.3).
pub mod attributes {
    /// `fixedTPM`: the object cannot be moved to another TPM.
    pub const FIXED_TPM: u32 = 0x0000_0002;
    /// `fixedParent`: the object cannot be moved to another parent key.
    pub const FIXED_PARENT: u32 = 0x0000_0010;
    /// `userWithAuth`: the object's password is enough, without its policy.
    pub const USER_WITH_AUTH: u32 = 0x0000_0040;
    /// `noDA`: wrong passwords do not count towards the TPM's lockout.
    pub const NO_DA: u32 = 0x0000_0400;
}

/// `TPM_ALG_KEYEDHASH`, the type of a sealed object.
pub(crate) const KEYED_HASH: u16 = 0x0008;
/// `TPM_ALG_NULL`, the scheme of a sealed object.
pub(crate) const NO_SCHEME: u16 = 0x0010;

/// Longest PCR selection in bytes, for 32 PCRs (`TPM2_PCR_SELECT_MAX`).
const MAX_SELECTION: usize = 4;

/// Body of a `TPM_ENC_BLOB` datum.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TpmBlob {
    /// The PCRs that it is bound to: bit n for PCR n. Windows writes it; the TPM does not check it.
    pub pcr_bitmap: u32,
    /// The sealed object; an error if the rest of the datum does not have the form of TPM 2.0.
    pub sealed: Result<SealedObject, FormatError>,
    /// All bytes after the bitmap, as stored.
    pub bytes: Vec<u8>,
}

/// The parts of an object sealed to a TPM 2.0, in the TPM's own encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealedObject {
    /// Content of the `TPM2B_PRIVATE`, without its length.
    pub private: Vec<u8>,
    /// Content of the `TPM2B_PUBLIC`, without its length.
    pub public: Vec<u8>,
    /// The parsed public area.
    pub area: PublicArea,
    /// The digest of the expected PCR values, by the name algorithm.
    pub pcr_digest: Vec<u8>,
    /// The PCR selection: bit n mod 8 of byte n / 8 for PCR n.
    pub selection: Vec<u8>,
}

/// The public area of a sealed object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublicArea {
    /// Hash algorithm of the object's name and policy; see [`algorithms`].
    pub name_algorithm: u16,
    /// What the object allows; see [`attributes`].
    pub attributes: u32,
    /// The policy digest that an authorization session must reach.
    pub policy: Vec<u8>,
    /// A hash of the object's seed and sensitive data, made by the TPM.
    pub unique: Vec<u8>,
}

impl TpmBlob {
    pub(crate) fn parse(fields: Fields<'_>, offset: usize) -> Result<Self, FormatError> {
        let pcr_bitmap = fields.u32(offset)?;
        let start = offset.saturating_add(4);
        let bytes = fields.rest(start)?;
        let parts = fields.part("TPM blob", start, fields.bytes().len())?;
        Ok(Self {
            pcr_bitmap,
            sealed: SealedObject::parse_fields(parts),
            bytes: bytes.to_vec(),
        })
    }

    /// The PCRs it is bound to, in ascending order: those of the sealed object, because its policy
    /// covers them; those of the bitmap if the object cannot be parsed.
    pub fn pcrs(&self) -> Vec<u8> {
        match &self.sealed {
            Ok(object) => object.pcrs(),
            Err(_) => pcrs_of(&self.pcr_bitmap.to_le_bytes()),
        }
    }

    /// Whether the bitmap lists other PCRs than the sealed object. No sample is known.
    pub fn bitmaps_differ(&self) -> bool {
        pcrs_of(&self.pcr_bitmap.to_le_bytes()) != self.pcrs()
    }
}

impl SealedObject {
    /// Parses the parts of a sealed object that fill `bytes`: those after the bitmap.
    ///
    /// # Errors
    /// The parts do not fill `bytes` exactly, or they are not those of a sealed object.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::parse_fields(Fields::new("TPM blob", bytes, 0))
    }

    fn parse_fields(fields: Fields<'_>) -> Result<Self, FormatError> {
        let mut reader = FieldReader { fields, offset: 0 };
        let private = reader.sized()?;
        let public = reader.sized()?;
        let pcr_digest = reader.sized()?;
        let len = usize::from(reader.u8()?);
        let selection = reader.take(len)?;
        reader.end()?;
        if private.is_empty() {
            return Err(fields.fault("its private part is empty"));
        }
        if !(1..=MAX_SELECTION).contains(&len) || selection.iter().all(|byte| *byte == 0) {
            return Err(fields.fault(format!(
                "a PCR selection of {len} bytes is impossible or selects no PCR"
            )));
        }
        let area = PublicArea::parse(Fields::new("TPM public area", public, fields.position()))?;
        if Some(pcr_digest.len()) != algorithms::digest_len(area.name_algorithm) {
            return Err(fields.fault(format!(
                "a PCR digest of {} bytes does not fit the name algorithm",
                pcr_digest.len()
            )));
        }
        Ok(Self {
            private: private.to_vec(),
            public: public.to_vec(),
            area,
            pcr_digest: pcr_digest.to_vec(),
            selection: selection.to_vec(),
        })
    }

    /// The PCRs that its policy covers, in ascending order.
    pub fn pcrs(&self) -> Vec<u8> {
        pcrs_of(&self.selection)
    }

    /// Whether wrong passwords count towards the TPM's lockout, as for protectors with a PIN.
    pub fn counts_failures(&self) -> bool {
        self.area.attributes & attributes::NO_DA == 0
    }
}

impl PublicArea {
    /// Parses a public area that fills `fields`.
    fn parse(fields: Fields<'_>) -> Result<Self, FormatError> {
        let mut reader = FieldReader { fields, offset: 0 };
        let kind = reader.u16()?;
        if kind != KEYED_HASH {
            return Err(fields.fault(format!(
                "an object of type {kind:#06x}, not a sealed object"
            )));
        }
        let name_algorithm = reader.u16()?;
        let len = algorithms::digest_len(name_algorithm).ok_or_else(|| {
            fields.fault(format!(
                "the name algorithm {name_algorithm:#06x} is not known"
            ))
        })?;
        let attributes = reader.u32()?;
        let policy = reader.sized()?.to_vec();
        let scheme = reader.u16()?;
        let unique = reader.sized()?.to_vec();
        reader.end()?;
        if scheme != NO_SCHEME {
            return Err(fields.fault(format!(
                "the scheme {scheme:#06x} is not that of a sealed object"
            )));
        }
        if policy.len() != len || unique.len() != len {
            return Err(fields.fault(format!(
                "a policy of {} and an identity of {} bytes, but the hash has {len}",
                policy.len(),
                unique.len()
            )));
        }
        Ok(Self {
            name_algorithm,
            attributes,
            policy,
            unique,
        })
    }
}

/// The PCRs in a bitmap: bit n mod 8 of byte n / 8 for PCR n.
fn pcrs_of(bitmap: &[u8]) -> Vec<u8> {
    let bit = |pcr: u8| {
        bitmap
            .get(usize::from(pcr / 8))
            .map(|byte| byte >> (pcr % 8) & 1)
    };
    (0..32).filter(|pcr| bit(*pcr) == Some(1)).collect()
}

/// Reads fields one after another, big-endian.
struct FieldReader<'a> {
    fields: Fields<'a>,
    offset: usize,
}

impl<'a> FieldReader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let bytes = self.fields.slice(self.offset, len)?;
        self.offset = self.offset.saturating_add(len);
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, FormatError> {
        let byte = self.fields.u8(self.offset)?;
        self.offset = self.offset.saturating_add(1);
        Ok(byte)
    }

    fn u16(&mut self) -> Result<u16, FormatError> {
        let number = self.fields.u16_be(self.offset)?;
        self.offset = self.offset.saturating_add(2);
        Ok(number)
    }

    fn u32(&mut self) -> Result<u32, FormatError> {
        let [high, low] = [self.u16()?, self.u16()?].map(u32::from);
        Ok(high << 16 | low)
    }

    /// A length of two bytes, and that many bytes.
    fn sized(&mut self) -> Result<&'a [u8], FormatError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// Fails if bytes are left.
    fn end(&self) -> Result<(), FormatError> {
        let left = self.fields.bytes().len().saturating_sub(self.offset);
        if left == 0 {
            return Ok(());
        }
        Err(self
            .fields
            .fault(format!("it is followed by {left} unexpected bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    /// TPM only, SHA-256, of a published Windows 11 machine (docs/format-tpm.md §9, V2).
    const SAMPLE: [u8; 258] = hex!(
        "008a00206414982942ad5e6a5eb5126b6e1a8f6e08f689d54295a2b35628a1768517d67c001023a392b845df9a492caced61a741f92520ce1f7821095c270fa7"
        "c58ac140656b143ff558644aed320b658ac1912f4fdc8f99b52c773de0792e550c0d0938e093e24b7c225854808889d18714c2cfb2a323c005b8580060f9b900"
        "8607b5a97e3ac1768f7791b8004e0008000b000004120020870475dd84278f361870bbfd32eeb69b1110c63d1528798c4f40cea99d9ba3d700100020a295a106"
        "b91ad3fb87353f16a8ca4255b42305c6bf1298d145e0108ae47117180020274cb5f1ba14fd461518bffc366a62123374e9b073d075c47fad2e18512a7cf30380"
        "0800"
    );

    #[test]
    fn reads_every_part_of_a_real_object() {
        let object = SealedObject::parse(&SAMPLE).unwrap();
        assert_eq!(object.private.len(), 0x8A);
        assert_eq!(object.public.len(), 0x4E);
        assert_eq!(object.area.name_algorithm, algorithms::SHA256);
        assert_eq!(object.area.attributes, 0x412);
        assert_eq!(object.pcrs(), [7, 11]);
        assert!(!object.counts_failures());
        assert_eq!(object.pcr_digest[..2], hex!("274c"));
    }

    #[test]
    fn refuses_objects_that_are_cut_off_or_too_long() {
        for len in 0..SAMPLE.len() {
            assert!(SealedObject::parse(&SAMPLE[..len]).is_err(), "{len}");
        }
        assert!(SealedObject::parse(&[&SAMPLE[..], &[0]].concat()).is_err());
    }

    #[test]
    fn refuses_objects_of_other_types() {
        let changed = |at: usize, byte: u8| {
            let mut bytes = SAMPLE;
            bytes[at] = byte;
            SealedObject::parse(&bytes).unwrap_err().to_string()
        };
        let public = 2 + 0x8A + 2;
        assert!(changed(public + 1, 1).contains("type 0x0001"));
        assert!(changed(public + 3, 0x27).contains("algorithm 0x0027"));
        assert!(changed(public + 3, 4).contains("but the hash has 20"));
    }

    #[test]
    fn a_tpm_1_2_object_is_kept_as_bytes() {
        let body = [&hex!("80080000")[..], &hex!("01010000"), &[7; 100]].concat();
        let blob = TpmBlob::parse(Fields::new("datum", &body, 0), 0).unwrap();
        assert!(blob.sealed.is_err());
        assert_eq!(blob.bytes.len(), 104);
        assert_eq!(blob.pcr_bitmap, 0x880);
        assert_eq!(blob.pcrs(), [7, 11]);
    }
}
