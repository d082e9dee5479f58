//! XTS-AES (IEEE 1619, NIST SP 800-38E). Each sector is a data unit; its number is its address divided
//! by the volume's sector size (docs/format.md §5.3).
//!
//! One sector is too short to keep the AES units of a CPU busy, and the tweak of each block is computed
//! from that of the block before. So sectors are processed in batches: the numbers of up to 64 sectors
//! are encrypted in one call, the tweaks of four sectors are doubled at the same time, and the blocks of
//! these four go through AES in one call.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128, Aes256};

use super::batch::{BLOCK, Block, MAX_SECTOR, blocks_of, xor};
use super::wiping::{KERNEL_STACK, SECTORS_STACK, wiping};
use super::{Engines, SectorCipher};
use crate::secret::Locked;

/// How many sectors' first tweaks are encrypted in one call. The `aes` crate works on up to 64 blocks at
/// once on a CPU with VAES.
const NUMBERS: usize = 64;
/// How many sectors' tweaks are doubled at the same time, and whose blocks go through AES in one call.
/// A single chain of doublings is limited by its latency; more than four sectors of 4096 bytes, with as
/// many bytes of tweaks, do not fit into the first-level cache (32 KiB).
const LANES: usize = 4;
/// Cipher blocks in the largest sector.
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
    let by_crate = || build::<Aes128>(key, sector_size).map(wiping::<SECTORS_STACK>);
    let by_kernel = engines.xts(key, sector_size).map(wiping::<KERNEL_STACK>);
    by_kernel.or_else(by_crate)
}

pub(super) fn aes256(
    engines: Engines,
    key: &[u8],
    sector_size: usize,
) -> Option<Box<dyn SectorCipher>> {
    let by_crate = || build::<Aes256>(key, sector_size).map(wiping::<SECTORS_STACK>);
    let by_kernel = engines.xts(key, sector_size).map(wiping::<KERNEL_STACK>);
    by_kernel.or_else(by_crate)
}

/// The first half of the key encrypts the data, the second half the tweaks (docs/format.md §4.7).
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
    /// XORs every block of the run with its tweak before and after `aes`. Encryption and decryption
    /// differ only in `aes`.
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
            let parts = batch.chunks_mut(LANES * self.sector_size);
            for (part, first) in parts.zip(first[..count].chunks(LANES)) {
                let blocks = blocks_of(part);
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

/// Computes the tweaks of up to [`LANES`] sectors from the first tweak of each.
fn fill(tweaks: &mut [u128], first: &[Block], per_sector: usize) {
    let mut chains = [0u128; LANES];
    for (chain, first) in chains.iter_mut().zip(first) {
        *chain = u128::from_le_bytes((*first).into());
    }
    // All chains at once, so that the CPU works on one while it waits for another.
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

/// Multiplication by x in GF(2^128), modulo x^128 + x^7 + x^2 + x + 1 (IEEE 1619, section 5.2). Without
/// a branch: a branch on the top bit would depend on the key.
fn double(tweak: u128) -> u128 {
    (tweak << 1) ^ ((tweak >> 127) * 0x87)
}
