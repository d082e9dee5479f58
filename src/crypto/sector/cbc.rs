//! AES-CBC (NIST SP 800-38A), one chain per sector. The IV is the sector's byte address, encrypted with
//! the same key (docs/format.md §5.1).
//!
//! In decryption, all blocks are independent: the blocks of many sectors go through AES in one call,
//! and are then XORed with the ciphertext block before them. In encryption, each block of a sector
//! needs the one before it, so many sectors are encrypted at the same time, block by block.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128, Aes256};

use super::batch::{BLOCK, Block, address_block, blocks_of};
use super::wiping::{SECTORS_STACK, wiping};
use super::{Engines, SectorCipher};
use crate::secret::Locked;

/// How many sectors' IVs are encrypted in one call. The `aes` crate works on up to 64 blocks at once
/// on a CPU with VAES.
const IVS: usize = 64;
/// Bytes decrypted in one call. They and the copy of their ciphertext fit into the first-level cache
/// (32 KiB).
const DECRYPTED_TOGETHER: usize = 8192;
/// Bytes spanned by the sectors that are encrypted at the same time. The nth blocks of sectors of 4096
/// bytes all map to the same set of the first-level cache, which has eight ways: so eight sectors.
const ENCRYPTED_TOGETHER: usize = 32768;

pub(super) struct Cbc<C> {
    cipher: Locked<C>,
    sector_size: usize,
}

pub(super) fn aes128(
    engines: Engines,
    key: &[u8],
    sector_size: usize,
) -> Option<Box<dyn SectorCipher>> {
    build::<Aes128>(engines, key, sector_size).map(wiping::<SECTORS_STACK>)
}

pub(super) fn aes256(
    engines: Engines,
    key: &[u8],
    sector_size: usize,
) -> Option<Box<dyn SectorCipher>> {
    build::<Aes256>(engines, key, sector_size).map(wiping::<SECTORS_STACK>)
}

pub(super) fn build<C>(
    engines: Engines,
    key: &[u8],
    sector_size: usize,
) -> Option<Box<dyn SectorCipher>>
where
    Cbc<C>: SectorCipher + 'static,
    C: KeyInit,
{
    engines.cbc(key, sector_size).or_else(|| {
        Some(Box::new(Cbc {
            cipher: Locked::new(C::new_from_slice(key).ok()?),
            sector_size,
        }))
    })
}

impl<C> SectorCipher for Cbc<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn decrypt(&self, address: u64, run: &mut [u8]) {
        let mut ciphertext = [Block::default(); DECRYPTED_TOGETHER / BLOCK];
        self.batches(address, run, |ivs, sectors| {
            let parts = sectors.chunks_mut(DECRYPTED_TOGETHER);
            for (part, ivs) in parts.zip(ivs.chunks(DECRYPTED_TOGETHER / self.sector_size)) {
                let blocks = blocks_of(part);
                let before = &mut ciphertext[..blocks.len()];
                before.copy_from_slice(blocks);
                self.cipher.decrypt_blocks(blocks);
                self.unchain(blocks, before, ivs);
            }
        });
    }

    fn encrypt(&self, address: u64, run: &mut [u8]) {
        let together = (ENCRYPTED_TOGETHER / self.sector_size).min(IVS);
        self.batches(address, run, |ivs, sectors| {
            let groups = sectors.chunks_mut(together * self.sector_size);
            for (group, chains) in groups.zip(ivs.chunks_mut(together)) {
                self.chain(blocks_of(group), chains);
            }
        });
    }
}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> Cbc<C> {
    /// Calls `each` with batches of up to [`IVS`] sectors and their IVs.
    fn batches(&self, address: u64, run: &mut [u8], mut each: impl FnMut(&mut [Block], &mut [u8])) {
        let whole = run.len() - run.len() % self.sector_size;
        let mut address = address;
        for batch in run[..whole].chunks_mut(IVS * self.sector_size) {
            let mut ivs = [Block::default(); IVS];
            let ivs = &mut ivs[..batch.len() / self.sector_size];
            for iv in ivs.iter_mut() {
                *iv = address_block(address, 0);
                address = address.wrapping_add(self.sector_size as u64);
            }
            self.cipher.encrypt_blocks(ivs);
            each(ivs, batch);
        }
    }

    /// XORs every decrypted block with the ciphertext block before it; the first of a sector with the
    /// IV.
    fn unchain(&self, blocks: &mut [Block], ciphertext: &[Block], ivs: &[Block]) {
        let per_sector = self.sector_size / BLOCK;
        let sectors = blocks.chunks_exact_mut(per_sector);
        for ((sector, ciphertext), iv) in sectors.zip(ciphertext.chunks_exact(per_sector)).zip(ivs)
        {
            if let Some((first, rest)) = sector.split_first_mut() {
                xor_into(first, iv);
                for (block, before) in rest.iter_mut().zip(ciphertext) {
                    xor_into(block, before);
                }
            }
        }
    }

    /// Encrypts several sectors at the same time: the nth block of each in one call. `chains` holds their
    /// IVs, and then the last ciphertext block of each.
    fn chain(&self, blocks: &mut [Block], chains: &mut [Block]) {
        let per_sector = self.sector_size / BLOCK;
        for nth in 0..per_sector {
            let column = blocks.iter().skip(nth).step_by(per_sector);
            for (chain, block) in chains.iter_mut().zip(column) {
                xor_into(chain, block);
            }
            self.cipher.encrypt_blocks(chains);
            let column = blocks.iter_mut().skip(nth).step_by(per_sector);
            for (chain, block) in chains.iter().zip(column) {
                *block = *chain;
            }
        }
    }
}

fn xor_into(block: &mut Block, other: &Block) {
    let mixed = u128::from_ne_bytes((*block).into()) ^ u128::from_ne_bytes((*other).into());
    *block = mixed.to_ne_bytes().into();
}
