//! Shared by the sector ciphers: the cipher blocks of a run, and addresses as cipher blocks.

use aes::cipher::Array;
use aes::cipher::consts::U16;

/// A cipher block of AES.
pub(super) type Block = Array<u8, U16>;

/// Bytes in a cipher block.
pub(super) const BLOCK: usize = 16;

/// Largest sector of a volume, in bytes (docs/format.md §1.3).
pub(super) const MAX_SECTOR: usize = 4096;

/// The whole cipher blocks of a run.
pub(super) fn blocks_of(run: &mut [u8]) -> &mut [Block] {
    Block::slice_as_chunks_mut(run).0
}

/// XORs each block with its mask, given in little-endian order.
pub(super) fn xor(blocks: &mut [Block], masks: &[u128]) {
    for (block, mask) in blocks.iter_mut().zip(masks) {
        let masked = u128::from_le_bytes((*block).into()) ^ mask;
        *block = masked.to_le_bytes().into();
    }
}

/// A sector's byte address as a cipher block: 8 bytes little-endian, zeros, and `last` in the last byte
/// (docs/format.md §5.1 and §5.2).
pub(super) fn address_block(address: u64, last: u8) -> Block {
    let mut block = Block::default();
    block[..8].copy_from_slice(&address.to_le_bytes());
    block[BLOCK - 1] = last;
    block
}
