//! AES-CBC, one chain a sector; its IV is the sector's byte address, encrypted (format page,
//! section 5.1).

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{
    Array, Block, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt,
    BlockSizeUser, InnerIvInit, KeyInit, consts::U16,
};
use aes::{Aes128, Aes256};

use super::SectorCipher;

pub(super) struct Cbc<C> {
    cipher: C,
    sector_size: usize,
}

pub(super) fn aes128(key: &[u8], sector_size: usize) -> Option<Box<dyn SectorCipher>> {
    Some(Box::new(Cbc::<Aes128>::new(key, sector_size)?))
}

pub(super) fn aes256(key: &[u8], sector_size: usize) -> Option<Box<dyn SectorCipher>> {
    Some(Box::new(Cbc::<Aes256>::new(key, sector_size)?))
}

impl<C: KeyInit> Cbc<C> {
    pub(super) fn new(key: &[u8], sector_size: usize) -> Option<Self> {
        Some(Self {
            cipher: C::new_from_slice(key).ok()?,
            sector_size,
        })
    }
}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> Cbc<C> {
    fn iv(&self, address: u64) -> Block<C> {
        let mut iv = address_block(address, 0);
        self.cipher.encrypt_block(&mut iv);
        iv
    }
}

/// A sector's byte address as a cipher block, with `last` in the last byte.
pub(super) fn address_block(address: u64, last: u8) -> Array<u8, U16> {
    let mut block = Array::from([0; 16]);
    block[..8].copy_from_slice(&address.to_le_bytes());
    block[15] = last;
    block
}

/// The sectors of a run with their addresses.
pub(super) fn sectors(
    address: u64,
    run: &mut [u8],
    sector_size: usize,
) -> impl Iterator<Item = (u64, &mut [u8])> {
    (address..)
        .step_by(sector_size)
        .zip(run.chunks_exact_mut(sector_size))
}

impl<C> SectorCipher for Cbc<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn decrypt(&self, address: u64, run: &mut [u8]) {
        for (address, sector) in sectors(address, run, self.sector_size) {
            let mode = cbc::Decryptor::inner_iv_init(&self.cipher, &self.iv(address));
            // Whole blocks by construction: the call cannot fail.
            let done = mode.decrypt_padded::<NoPadding>(sector);
            debug_assert!(done.is_ok());
        }
    }

    fn encrypt(&self, address: u64, run: &mut [u8]) {
        for (address, sector) in sectors(address, run, self.sector_size) {
            let mode = cbc::Encryptor::inner_iv_init(&self.cipher, &self.iv(address));
            let len = sector.len();
            let done = mode.encrypt_padded::<NoPadding>(sector, len);
            debug_assert!(done.is_ok());
        }
    }
}
