//! Finds the policy of a sealed object from the metadata alone (docs/format-tpm.md §2).
//!
//! BitLocker's policy always has the same two steps, TPM2_PolicyAuthValue and then TPM2_PolicyPCR, so its
//! digest can be computed from the PCR selection and the PCR digest in the metadata. Trying every bank
//! shows which one was used, which is stored nowhere. If none fits, the object is damaged; this is known
//! before the TPM is used and an attempt at the PIN is spent.

use std::collections::BTreeMap;

use subtle::ConstantTimeEq;

use crate::crypto::hash::HashAlgorithm;
use crate::format::tpm_blob::SealedObject;

/// Command codes, which become part of the policy digest (TPM 2.0 library, part 2, section 6.5.2).
const POLICY_AUTH_VALUE: [u8; 4] = 0x16Bu32.to_be_bytes();
const POLICY_PCR: [u8; 4] = 0x17Fu32.to_be_bytes();

/// Values of PCRs of one bank, by the number of the PCR.
pub type Pcrs = BTreeMap<u8, Vec<u8>>;

/// The hash algorithms of a sealed object's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The algorithm of the object's name, of the policy digest and of the PCR digest.
    pub hash: HashAlgorithm,
    /// The bank of the PCRs in the policy.
    pub bank: HashAlgorithm,
}

impl Policy {
    /// The policy whose digest is the one in the object; `None` when no bank gives it: the object is
    /// damaged, or has a policy of a form that is not known.
    pub fn solve(object: &SealedObject) -> Option<Self> {
        let hash = HashAlgorithm::of_id(object.area.name_algorithm)?;
        // In all known samples the bank has the name algorithm, so it is tried first.
        let others = HashAlgorithm::ALL.into_iter().filter(|bank| *bank != hash);
        std::iter::once(hash)
            .chain(others)
            .map(|bank| Self { hash, bank })
            .find(|policy| {
                policy
                    .digest(&object.selection, &object.pcr_digest)
                    .is_some_and(|digest| digest == object.area.policy)
            })
    }

    /// The policy digest for a PCR selection (a bitmap, as in the metadata) and a PCR digest; `None`
    /// for a hash algorithm that is not implemented.
    pub fn digest(&self, selection: &[u8], pcr_digest: &[u8]) -> Option<Vec<u8>> {
        // A policy digest begins with zeros, and every step extends it by its command code and
        // parameters (TPM 2.0 library, part 3, TPM2_PolicyAuthValue and TPM2_PolicyPCR).
        let start = vec![0; self.hash.digest_len()];
        let with_password = self.hash.digest(&[&start, &POLICY_AUTH_VALUE])?;
        let len = u8::try_from(selection.len()).ok()?;
        self.hash.digest(&[
            &with_password,
            &POLICY_PCR,
            &1u32.to_be_bytes(),
            &self.bank.id().to_be_bytes(),
            &[len],
            selection,
            pcr_digest,
        ])
    }

    /// The PCR digest: the hash over the values in the order of the PCR numbers.
    pub fn pcr_digest(&self, values: &Pcrs) -> Option<Vec<u8>> {
        let values: Vec<_> = values.values().map(Vec::as_slice).collect();
        self.hash.digest(&values)
    }

    /// Whether the object was sealed to these values.
    pub fn is_met(&self, object: &SealedObject, values: &Pcrs) -> bool {
        self.pcr_digest(values)
            .is_some_and(|digest| digest.ct_eq(&object.pcr_digest).into())
    }

    /// Whether PCR 11 is the only difference: the object was sealed to these values, but with PCR 11
    /// zero. Something has extended it since the computer started.
    pub fn only_lock_is_closed(&self, object: &SealedObject, values: &Pcrs) -> bool {
        let mut opened = values.clone();
        let Some(lock) = opened.get_mut(&LOCK) else {
            return false;
        };
        *lock = vec![0; self.bank.digest_len()];
        !self.is_met(object, values) && self.is_met(object, &opened)
    }
}

/// The PCR that BitLocker uses as a lock: it is zero when the key is released, and the Windows boot
/// manager extends it once it has the keys.
pub const LOCK: u8 = 11;

/// PCR numbers as a bitmap of three bytes, the size of a PC's PCR selection; PCR 0 is the lowest bit of
/// the first byte.
pub fn selection(pcrs: &[u8]) -> [u8; 3] {
    let mut bitmap = [0; 3];
    for pcr in pcrs {
        if let Some(byte) = bitmap.get_mut(usize::from(pcr / 8)) {
            *byte |= 1 << (pcr % 8);
        }
    }
    bitmap
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::format::tpm_blob::PublicArea;
    use hex_literal::hex;

    /// Policy and PCR digest of a published SHA-1 object (docs/format-tpm.md §9, V5).
    pub(crate) fn sha1_object() -> SealedObject {
        SealedObject {
            private: vec![1],
            public: Vec::new(),
            area: PublicArea {
                name_algorithm: 4,
                attributes: 0x412,
                policy: hex!("aff9b088167660619ba4053827b225c7a19f6255").to_vec(),
                unique: vec![0; 20],
            },
            pcr_digest: hex!("ab233f3c2ecb870a3444e1d92712b8df00f21713").to_vec(),
            selection: hex!("800800").to_vec(),
        }
    }

    #[test]
    fn finds_the_bank_of_a_sha_1_object() {
        let policy = Policy::solve(&sha1_object()).unwrap();
        assert_eq!(policy.hash, HashAlgorithm::Sha1);
        assert_eq!(policy.bank, HashAlgorithm::Sha1);
    }

    #[test]
    fn finds_no_policy_for_a_damaged_object() {
        let mut object = sha1_object();
        object.pcr_digest[3] ^= 1;
        assert_eq!(Policy::solve(&object), None);
        let mut object = sha1_object();
        object.selection[0] ^= 1;
        assert_eq!(Policy::solve(&object), None);
    }

    #[test]
    fn computes_the_digests_of_a_published_machine() {
        // BitLeaker's printed PCR 7 (docs/format-tpm.md §9, V6).
        let policy = Policy {
            hash: HashAlgorithm::Sha256,
            bank: HashAlgorithm::Sha256,
        };
        let values = Pcrs::from([
            (
                7,
                hex!("f6ddc2721f58237690ff44e60c4118a9f36d88ddee648cf2f0a977744ea92d6c").to_vec(),
            ),
            (11, vec![0; 32]),
        ]);
        let digest = policy.pcr_digest(&values).unwrap();
        assert_eq!(
            digest,
            hex!("5ff59b8fb87c48dc436860eba270cca2224e7bb9f083edfe7891faede2b4de5a")
        );
        assert_eq!(
            policy.digest(&hex!("800800"), &digest).unwrap(),
            hex!("6fb5050c0a64e6ff2e0af18e9cd826408744b0f2084abca9c7cd7e7217deccf0")
        );
    }

    #[test]
    fn knows_when_only_pcr_11_differs() {
        let policy = Policy {
            hash: HashAlgorithm::Sha256,
            bank: HashAlgorithm::Sha256,
        };
        let mut object = sha1_object();
        let mut values = Pcrs::from([(7, vec![3; 32]), (11, vec![0; 32])]);
        object.pcr_digest = policy.pcr_digest(&values).unwrap();
        assert!(policy.is_met(&object, &values));
        assert!(!policy.only_lock_is_closed(&object, &values));
        values.insert(11, vec![9; 32]);
        assert!(policy.only_lock_is_closed(&object, &values));
        values.insert(7, vec![4; 32]);
        assert!(!policy.only_lock_is_closed(&object, &values));
    }

    #[test]
    fn writes_a_selection_lowest_pcr_first() {
        assert_eq!(selection(&[7, 11]), hex!("800800"));
        assert_eq!(selection(&[0, 2, 4, 11]), hex!("150800"));
    }
}
