//! XTS-AES (IEEE 1619, NIST SP 800-38E): one data unit a sector, numbered by the sector's address
//! in sectors of the volume's own size (format page, section 5.3).

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128, Aes256};
use xts_mode::{Xts128, get_tweak_default};

use super::SectorCipher;

struct Xts<C> {
    cipher: Xts128<C>,
    sector_size: usize,
}

pub(super) fn aes128(key: &[u8], sector_size: usize) -> Option<Box<dyn SectorCipher>> {
    build::<Aes128>(key, sector_size)
}

pub(super) fn aes256(key: &[u8], sector_size: usize) -> Option<Box<dyn SectorCipher>> {
    build::<Aes256>(key, sector_size)
}

/// First half of the key for the data, second half for the tweaks (section 4.7).
fn build<C>(key: &[u8], sector_size: usize) -> Option<Box<dyn SectorCipher>>
where
    Xts<C>: SectorCipher,
    C: KeyInit + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + 'static,
{
    let (data, tweak) = key.split_at(key.len() / 2);
    let cipher = Xts128::new(
        C::new_from_slice(data).ok()?,
        C::new_from_slice(tweak).ok()?,
    );
    Some(Box::new(Xts {
        cipher,
        sector_size,
    }))
}

impl<C> SectorCipher for Xts<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn decrypt(&self, address: u64, run: &mut [u8]) {
        let first = u128::from(address) / self.sector_size as u128;
        self.cipher
            .decrypt_area(run, self.sector_size, first, get_tweak_default);
    }

    fn encrypt(&self, address: u64, run: &mut [u8]) {
        let first = u128::from(address) / self.sector_size as u128;
        self.cipher
            .encrypt_area(run, self.sector_size, first, get_tweak_default);
    }
}
