//! What a TPM protector keeps on disk: an object sealed to a TPM 2.0 (docs/format.md §3.14;
//! docs/format-tpm.md §1.2).
//!
//! ```text
//!   4  PCR bitmap, little-endian: bit n = PCR n
//! 2+n  TPM2B_PRIVATE   opaque to everybody but the TPM     (from here on big-endian)
//! 2+m  TPM2B_PUBLIC    type, name algorithm, attributes, policy, scheme, unique
//! 2+d  TPM2B_DIGEST    digest over the expected PCR values
//! 1+s  TPMS_PCR_SELECT bitmap again, low PCRs first
//! ```
//! Seen in nine published samples of Windows 10 and 11. The parts fill the datum exactly; what does
//! not is kept as bytes and shown as not understood (TPM 1.2 has a form of its own, of which no
//! sample is known).

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

    /// Length in bytes of what it makes; `None` for one that is not known.
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

/// Attributes of an object (TPM 2.0 library, part 2, section 8.3).
pub mod attributes {
    /// It cannot leave its TPM.
    pub const FIXED_TPM: u32 = 0x0000_0002;
    /// It cannot leave its parent.
    pub const FIXED_PARENT: u32 = 0x0000_0010;
    /// Its password alone opens it.
    pub const USER_WITH_AUTH: u32 = 0x0000_0040;
    /// Wrong passwords do not count towards the TPM's lockout.
    pub const NO_DA: u32 = 0x0000_0400;
}

/// Type of a sealed object.
pub(crate) const KEYED_HASH: u16 = 0x0008;
/// Scheme of a sealed object: none.
pub(crate) const NO_SCHEME: u16 = 0x0010;

/// Most bytes of a PCR selection (`TPM2_PCR_SELECT_MAX`).
const MAX_SELECTION: usize = 4;

/// Body of a `TPM_ENC_BLOB` datum.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TpmBlob {
    /// Bit n set: bound to PCR n.
    pub pcr_bitmap: u32,
    /// The sealed object; a fault where the rest of the datum is not laid out as known for
    /// TPM 2.0 (TPM 1.2 has a form of its own).
    pub sealed: Result<SealedObject, FormatError>,
    /// Everything after the bitmap as it stands on disk.
    pub bytes: Vec<u8>,
}

/// The parts of an object sealed to a TPM 2.0, in the TPM's own encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealedObject {
    /// Content of the `TPM2B_PRIVATE`.
    pub private: Vec<u8>,
    /// Content of the `TPM2B_PUBLIC`.
    pub public: Vec<u8>,
    /// What it says.
    pub area: PublicArea,
    /// The digest over the expected PCR values, as long as the name algorithm makes it.
    pub pcr_digest: Vec<u8>,
    /// The PCR selection's bytes: bit n of byte n / 8 stands for PCR n.
    pub selection: Vec<u8>,
}

/// The public area of a sealed object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublicArea {
    /// Algorithm of its name and policy; see [`algorithms`].
    pub name_algorithm: u16,
    /// See [`attributes`].
    pub attributes: u32,
    /// What an authorisation must amount to.
    pub policy: Vec<u8>,
    /// Made by the TPM from the object's seed and data.
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

    /// The PCRs it is bound to, rising: those of the sealed object, where it can be read, since its
    /// policy covers them.
    pub fn pcrs(&self) -> Vec<u8> {
        match &self.sealed {
            Ok(object) => object.pcrs(),
            Err(_) => pcrs_of(&self.pcr_bitmap.to_le_bytes()),
        }
    }

    /// Whether the bitmap in front names other PCRs than the sealed object. Not seen so far.
    pub fn bitmaps_differ(&self) -> bool {
        pcrs_of(&self.pcr_bitmap.to_le_bytes()) != self.pcrs()
    }
}

impl SealedObject {
    /// Reads the parts of a sealed object that fill `bytes`: what stands behind the bitmap.
    ///
    /// # Errors
    /// They do not fill it exactly, or are none of a sealed object.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::parse_fields(Fields::new("TPM blob", bytes, 0))
    }

    fn parse_fields(fields: Fields<'_>) -> Result<Self, FormatError> {
        let mut parts = Parts { fields, offset: 0 };
        let private = parts.sized()?;
        let public = parts.sized()?;
        let pcr_digest = parts.sized()?;
        let len = usize::from(parts.u8()?);
        let selection = parts.take(len)?;
        parts.end()?;
        if private.is_empty() {
            return Err(fields.fault("an empty private part"));
        }
        if !(1..=MAX_SELECTION).contains(&len) || selection.iter().all(|byte| *byte == 0) {
            return Err(fields.fault(format!("a PCR selection of {len} bytes that selects none")));
        }
        let area = PublicArea::parse(Fields::new("TPM public area", public, fields.position()))?;
        if Some(pcr_digest.len()) != algorithms::digest_len(area.name_algorithm) {
            return Err(fields.fault(format!("a PCR digest of {} bytes", pcr_digest.len())));
        }
        Ok(Self {
            private: private.to_vec(),
            public: public.to_vec(),
            area,
            pcr_digest: pcr_digest.to_vec(),
            selection: selection.to_vec(),
        })
    }

    /// The PCRs that its policy covers, rising.
    pub fn pcrs(&self) -> Vec<u8> {
        pcrs_of(&self.selection)
    }

    /// Whether wrong passwords count towards the TPM's lockout. So it is with a PIN.
    pub fn counts_failures(&self) -> bool {
        self.area.attributes & attributes::NO_DA == 0
    }
}

impl PublicArea {
    /// Reads a public area that fills its bytes.
    fn parse(fields: Fields<'_>) -> Result<Self, FormatError> {
        let mut parts = Parts { fields, offset: 0 };
        let kind = parts.u16()?;
        if kind != KEYED_HASH {
            return Err(fields.fault(format!("an object of type {kind:#06x}, not a sealed one")));
        }
        let name_algorithm = parts.u16()?;
        let len = algorithms::digest_len(name_algorithm)
            .ok_or_else(|| fields.fault(format!("the name algorithm {name_algorithm:#06x}")))?;
        let attributes = parts.u32()?;
        let policy = parts.sized()?.to_vec();
        let scheme = parts.u16()?;
        let unique = parts.sized()?.to_vec();
        parts.end()?;
        if scheme != NO_SCHEME {
            return Err(fields.fault(format!("the scheme {scheme:#06x}")));
        }
        if policy.len() != len || unique.len() != len {
            return Err(fields.fault(format!(
                "a policy of {} and an identity of {} bytes where the hash has {len}",
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

/// Bit n of byte n / 8 stands for PCR n.
fn pcrs_of(bitmap: &[u8]) -> Vec<u8> {
    let bit = |pcr: u8| {
        bitmap
            .get(usize::from(pcr / 8))
            .map(|byte| byte >> (pcr % 8) & 1)
    };
    (0..32).filter(|pcr| bit(*pcr) == Some(1)).collect()
}

/// Fields one behind the other, big-endian.
struct Parts<'a> {
    fields: Fields<'a>,
    offset: usize,
}

impl<'a> Parts<'a> {
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

    /// A length of two bytes and as much behind it.
    fn sized(&mut self) -> Result<&'a [u8], FormatError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    fn end(&self) -> Result<(), FormatError> {
        let left = self.fields.bytes().len().saturating_sub(self.offset);
        if left == 0 {
            return Ok(());
        }
        Err(self.fields.fault(format!("{left} bytes too many")))
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
    fn takes_neither_less_nor_more_than_the_whole() {
        for len in 0..SAMPLE.len() {
            assert!(SealedObject::parse(&SAMPLE[..len]).is_err(), "{len}");
        }
        assert!(SealedObject::parse(&[&SAMPLE[..], &[0]].concat()).is_err());
    }

    #[test]
    fn refuses_objects_that_are_not_sealed_ones() {
        let changed = |at: usize, byte: u8| {
            let mut bytes = SAMPLE;
            bytes[at] = byte;
            SealedObject::parse(&bytes).unwrap_err().to_string()
        };
        let public = 2 + 0x8A + 2;
        assert!(changed(public + 1, 1).contains("type 0x0001"));
        assert!(changed(public + 3, 0x27).contains("algorithm 0x0027"));
        assert!(changed(public + 3, 4).contains("where the hash has 20"));
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
