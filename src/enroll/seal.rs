//! Seals datums under nonces that never repeat (docs/format.md §7.3).

use super::{uncreatable, unfit};
use crate::crypto::envelope;
use crate::error::Result;
use crate::format::datum::{SealedDatum, key_types, roles};
use crate::format::encode::{self, DatumBytes};
use crate::format::time::FileTime;
use crate::secret::Vmk;

/// Counter of the first nonce. All samples of new volumes start with 2; what Windows uses 1 for is not
/// known (docs/format.md §4.6).
const FIRST_COUNTER: u32 = 2;

/// Seals all datums of one commit. A nonce is the time of the commit and a counter that increases with
/// every datum. The VMK seals many datums, and with AES-CCM two datums under one nonce would reveal both.
pub(crate) struct Sealer<'a> {
    vmk: &'a Vmk,
    time: FileTime,
    counter: u32,
}

impl<'a> Sealer<'a> {
    pub(crate) fn new(vmk: &'a Vmk, time: FileTime) -> Self {
        Self {
            vmk,
            time: time.masked(),
            counter: FIRST_COUNTER,
        }
    }

    /// Continues after the nonces that a volume has used; see [`Sealer::next_counter`].
    pub(crate) fn continuing(vmk: &'a Vmk, time: FileTime, next_counter: u32) -> Self {
        Self {
            vmk,
            time: time.masked(),
            counter: next_counter,
        }
    }

    /// The counter of the next nonce.
    pub(crate) fn next_counter(&self) -> u32 {
        self.counter
    }

    /// Seals a key or hash, in a KEY datum, with the VMK: the FVEK, the backup of a protector's key, the
    /// validation hash.
    pub(crate) fn with_vmk(&mut self, role: u16, key_type: u16, key: &[u8]) -> Result<DatumBytes> {
        let vmk = self.vmk;
        let content = encode::key(encode::SEALED, key_type, key).map_err(unfit)?;
        self.seal(role, vmk.expose(), &content)
    }

    /// Seals a complete datum with the VMK: a backup that is not a KEY datum.
    pub(crate) fn datum_with_vmk(&mut self, role: u16, content: &DatumBytes) -> Result<DatumBytes> {
        let vmk = self.vmk;
        self.seal(role, vmk.expose(), content)
    }

    /// Seals the VMK with the key of a protector.
    pub(crate) fn vmk_with(&mut self, key: &[u8; 32]) -> Result<DatumBytes> {
        let key_type = key_types::VMK;
        let content = encode::key(encode::SEALED, key_type, self.vmk.expose()).map_err(unfit)?;
        self.seal(roles::PROPERTY, key, &content)
    }

    fn seal(&mut self, role: u16, key: &[u8; 32], content: &DatumBytes) -> Result<DatumBytes> {
        let sealed = self.seal_content(key, content.expose())?;
        encode::sealed(role, &sealed).map_err(unfit)
    }

    /// Seals the bytes of a complete datum with any key.
    pub(crate) fn seal_content(&mut self, key: &[u8; 32], content: &[u8]) -> Result<SealedDatum> {
        let nonce = self.nonce()?;
        let (ciphertext, tag) = envelope::seal(key, &nonce, content)
            .ok_or_else(|| uncreatable("a datum too long to seal"))?;
        Ok(SealedDatum {
            nonce,
            tag,
            ciphertext,
        })
    }

    /// The VMK.
    pub(crate) fn vmk(&self) -> &'a Vmk {
        self.vmk
    }

    fn nonce(&mut self) -> Result<[u8; 12]> {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.time.0.to_le_bytes());
        nonce[8..].copy_from_slice(&self.counter.to_le_bytes());
        self.counter = self
            .counter
            .checked_add(1)
            .ok_or_else(|| uncreatable("its nonces are used up"))?;
        Ok(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::datum::Datum;

    #[test]
    fn never_uses_a_nonce_twice() {
        let vmk = Vmk::from_bytes(&[1; 32]);
        let mut sealer = Sealer::new(&vmk, FileTime(1 << 63 | 5));
        let first = sealer.with_vmk(roles::FVEK, 0x8004, &[2; 32]).unwrap();
        let second = sealer.vmk_with(&[3; 32]).unwrap();
        let nonces = [first, second].map(|datum| {
            let datum = Datum::parse_one(datum.expose()).unwrap();
            let sealed = datum.sealed().unwrap();
            (sealed.time(), sealed.counter())
        });
        assert_eq!(nonces, [(FileTime(5), 2), (FileTime(5), 3)]);
        assert_eq!(sealer.next_counter(), 4);
    }
}
