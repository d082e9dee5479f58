//! The policy of a sealed object, worked out from the disk alone (docs/format-tpm.md §2).
//!
//! It is always the same two steps, password and then PCRs, so its digest can be computed from what
//! lies beside it. That gives the bank, which is stored nowhere, and finds damage before a TPM is
//! asked and an attempt at the PIN is spent.

use std::collections::BTreeMap;

use subtle::ConstantTimeEq;

use crate::crypto::hash::HashAlgorithm;
use crate::format::tpm_blob::SealedObject;

/// Command codes that the steps add (TPM 2.0 library, part 2, section 6.5.2).
const POLICY_AUTH_VALUE: [u8; 4] = 0x16Bu32.to_be_bytes();
const POLICY_PCR: [u8; 4] = 0x17Fu32.to_be_bytes();

/// PCR values of one bank.
pub type Pcrs = BTreeMap<u8, Vec<u8>>;

/// What it takes to satisfy a sealed object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Hash of the object's name, of the policy and of the digest over the PCRs.
    pub hash: HashAlgorithm,
    /// The bank whose PCRs count.
    pub bank: HashAlgorithm,
}

impl Policy {
    /// The policy that reproduces the digest in the object; `None` where none does: then the object
    /// is damaged, or of a form that nobody has described.
    pub fn solve(object: &SealedObject) -> Option<Self> {
        let hash = HashAlgorithm::of_id(object.area.name_algorithm)?;
        // Windows takes the bank of the name algorithm, in all samples.
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

    /// The digest of the policy for these PCRs and this digest over their values; `None` for a hash
    /// that is not computed here.
    pub fn digest(&self, selection: &[u8], pcr_digest: &[u8]) -> Option<Vec<u8>> {
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

    /// The digest over PCR values, rising.
    pub fn pcr_digest(&self, values: &Pcrs) -> Option<Vec<u8>> {
        let values: Vec<_> = values.values().map(Vec::as_slice).collect();
        self.hash.digest(&values)
    }

    /// Whether these are the values that the object was sealed to.
    pub fn is_met(&self, object: &SealedObject, values: &Pcrs) -> bool {
        self.pcr_digest(values)
            .is_some_and(|digest| digest.ct_eq(&object.pcr_digest).into())
    }

    /// Whether they would be, if PCR 11 alone had not been extended since the start: BitLocker's
    /// lock, which is zero when a key is released.
    pub fn only_lock_is_closed(&self, object: &SealedObject, values: &Pcrs) -> bool {
        let mut opened = values.clone();
        let Some(lock) = opened.get_mut(&LOCK) else {
            return false;
        };
        *lock = vec![0; self.bank.digest_len()];
        !self.is_met(object, values) && self.is_met(object, &opened)
    }
}

/// BitLocker's own PCR: Windows' boot manager extends it once it has its keys.
pub const LOCK: u8 = 11;

/// PCRs as the selection of a policy: three bytes, as every PC has them.
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
    fn damage_leaves_no_policy() {
        let mut object = sha1_object();
        object.pcr_digest[3] ^= 1;
        assert_eq!(Policy::solve(&object), None);
        let mut object = sha1_object();
        object.selection[0] ^= 1;
        assert_eq!(Policy::solve(&object), None);
    }

    #[test]
    fn the_pcr_digest_is_that_of_a_published_machine() {
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
    fn tells_when_only_the_lock_is_closed() {
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
    fn a_selection_has_low_pcrs_first() {
        assert_eq!(selection(&[7, 11]), hex!("800800"));
        assert_eq!(selection(&[0, 2, 4, 11]), hex!("150800"));
    }
}
