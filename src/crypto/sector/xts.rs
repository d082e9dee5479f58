//! XTS-AES (IEEE 1619, NIST SP 800-38E): one data unit a sector, numbered by the sector's address
//! in sectors of the volume's own size (docs/format.md §5.3).
//!
//! A sector alone is too short for the AES units of a CPU, and the tweak of a block depends on that
//! of the one before. So sectors go in batches: the numbers of many are encrypted in one call, the
//! chains of four tweaks are doubled side by side, and all their blocks go through AES in one call.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128, Aes256};

use super::batch::{BLOCK, Block, MAX_SECTOR, blocks_of, xor};
use super::tidy::{KERNEL_STACK, SECTORS_STACK, tidy};
use super::{Engines, SectorCipher};
use crate::secret::Locked;

/// Sectors whose tweaks are encrypted in one call.
const NUMBERS: usize = 64;
/// Sectors whose tweak chains run side by side, and whose blocks go through AES in one call: one
/// chain is bound by its latency; more than four sectors of 4096 bytes and their tweaks do not fit
/// into the first-level cache.
const LANES: usize = 4;
/// Most blocks in a sector.
const MAX_BLOCKS: usize = MAX_SECTOR / BLOCK;

struct Xts<C> {
    data: Locked<C>,
    tweak: Locked<C>,
    sector_size: usize,
}

pub(super) fn aes128(
    engines: Engines,
    key: &[u8],
    sector_size: usize,
) -> Option<Box<dyn SectorCipher>> {
    let by_crate = || build::<Aes128>(key, sector_size).map(tidy::<SECTORS_STACK>);
    let by_kernel = engines.xts(key, sector_size).map(tidy::<KERNEL_STACK>);
    by_kernel.or_else(by_crate)
}

pub(super) fn aes256(
    engines: Engines,
    key: &[u8],
    sector_size: usize,
) -> Option<Box<dyn SectorCipher>> {
    let by_crate = || build::<Aes256>(key, sector_size).map(tidy::<SECTORS_STACK>);
    let by_kernel = engines.xts(key, sector_size).map(tidy::<KERNEL_STACK>);
    by_kernel.or_else(by_crate)
}

/// First half of the key for the data, second half for the tweaks (docs/format.md §4.7).
fn build<C>(key: &[u8], sector_size: usize) -> Option<Box<dyn SectorCipher>>
where
    Xts<C>: SectorCipher + 'static,
    C: KeyInit,
{
    let (data, tweak) = key.split_at(key.len() / 2);
    Some(Box::new(Xts {
        data: Locked::new(C::new_from_slice(data).ok()?),
        tweak: Locked::new(C::new_from_slice(tweak).ok()?),
        sector_size,
    }))
}

impl<C> SectorCipher for Xts<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn decrypt(&self, address: u64, run: &mut [u8]) {
        self.transform(address, run, |blocks| self.data.decrypt_blocks(blocks));
    }

    fn encrypt(&self, address: u64, run: &mut [u8]) {
        self.transform(address, run, |blocks| self.data.encrypt_blocks(blocks));
    }
}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> Xts<C> {
    fn transform(&self, address: u64, run: &mut [u8], aes: impl Fn(&mut [Block])) {
        let mut number = address / self.sector_size as u64;
        let mut tweaks = [0u128; LANES * MAX_BLOCKS];
        for batch in run.chunks_mut(NUMBERS * self.sector_size) {
            let mut first = [Block::default(); NUMBERS];
            let count = batch.len() / self.sector_size;
            for (tweak, number) in first[..count].iter_mut().zip(number..) {
                tweak[..8].copy_from_slice(&number.to_le_bytes());
            }
            self.tweak.encrypt_blocks(&mut first[..count]);
            number += count as u64;
            let pieces = batch.chunks_mut(LANES * self.sector_size);
            for (piece, first) in pieces.zip(first[..count].chunks(LANES)) {
                let blocks = blocks_of(piece);
                let blocks = &mut blocks[..first.len() * self.sector_size / BLOCK];
                let tweaks = &mut tweaks[..blocks.len()];
                fill(tweaks, first, self.sector_size / BLOCK);
                xor(blocks, tweaks);
                aes(blocks);
                xor(blocks, tweaks);
            }
        }
    }
}

/// The tweaks of up to [`LANES`] sectors from their first ones, doubled block by block.
fn fill(tweaks: &mut [u128], first: &[Block], per_sector: usize) {
    let mut chains = [0u128; LANES];
    for (chain, first) in chains.iter_mut().zip(first) {
        *chain = u128::from_le_bytes((*first).into());
    }
    if first.len() == LANES {
        let (a, rest) = tweaks.split_at_mut(per_sector);
        let (b, rest) = rest.split_at_mut(per_sector);
        let (c, d) = rest.split_at_mut(per_sector);
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            [*a, *b, *c, *d] = chains;
            chains = chains.map(double);
        }
        return;
    }
    for (tweaks, mut chain) in tweaks.chunks_exact_mut(per_sector).zip(chains) {
        for tweak in tweaks {
            *tweak = chain;
            chain = double(chain);
        }
    }
}

/// Multiplication by x in GF(2^128) (IEEE 1619, section 5.2).
fn double(tweak: u128) -> u128 {
    (tweak << 1) ^ ((tweak >> 127) * 0x87)
}
