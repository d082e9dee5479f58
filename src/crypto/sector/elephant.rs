//! AES-CBC with the Elephant diffuser of Windows Vista and 7 (format page, section 5.2;
//! Ferguson 2006).
//!
//! Plaintext, XOR a key stream of the sector's own, diffuser A, diffuser B, then CBC; and the
//! same way back.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128, Aes256};

use super::SectorCipher;
use super::cbc::{Cbc, address_block, sectors};

/// Where the second key begins in the key material; each half has room for 256 bits.
const SECTOR_KEY_OFFSET: usize = 32;

/// Cycles and rotations of diffuser A.
const CYCLES_A: usize = 5;
const ROTATIONS_A: [u32; 4] = [9, 0, 13, 0];
/// Cycles and rotations of diffuser B.
const CYCLES_B: usize = 3;
const ROTATIONS_B: [u32; 4] = [0, 10, 0, 25];

struct Elephant<C> {
    cbc: Cbc<C>,
    sector_key: C,
    sector_size: usize,
}

pub(super) fn aes128(key: &[u8], sector_size: usize) -> Option<Box<dyn SectorCipher>> {
    Some(Box::new(Elephant::<Aes128>::new(key, 16, sector_size)?))
}

pub(super) fn aes256(key: &[u8], sector_size: usize) -> Option<Box<dyn SectorCipher>> {
    Some(Box::new(Elephant::<Aes256>::new(key, 32, sector_size)?))
}

impl<C: KeyInit> Elephant<C> {
    fn new(key: &[u8], aes_len: usize, sector_size: usize) -> Option<Self> {
        let second = key.get(SECTOR_KEY_OFFSET..)?.get(..aes_len)?;
        Some(Self {
            cbc: Cbc::new(key.get(..aes_len)?, sector_size)?,
            sector_key: C::new_from_slice(second).ok()?,
            sector_size,
        })
    }
}

impl<C> SectorCipher for Elephant<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn decrypt(&self, address: u64, run: &mut [u8]) {
        self.cbc.decrypt(address, run);
        let mut words = vec![0; self.sector_size / 4];
        for (address, sector) in sectors(address, run, self.sector_size) {
            load(sector, &mut words);
            diffuse_b(&mut words);
            diffuse_a(&mut words);
            store(&words, sector);
            xor_key(&self.sector_key, address, sector);
        }
    }

    fn encrypt(&self, address: u64, run: &mut [u8]) {
        let mut words = vec![0; self.sector_size / 4];
        for (address, sector) in sectors(address, run, self.sector_size) {
            xor_key(&self.sector_key, address, sector);
            load(sector, &mut words);
            undiffuse_a(&mut words);
            undiffuse_b(&mut words);
            store(&words, sector);
        }
        self.cbc.encrypt(address, run);
    }
}

/// The 32 bytes that are XORed over a sector again and again.
fn key_stream<C>(cipher: &C, address: u64) -> [u8; 32]
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let mut blocks = [address_block(address, 0), address_block(address, 0x80)];
    cipher.encrypt_blocks(&mut blocks);
    let mut stream = [0; 32];
    stream[..16].copy_from_slice(&blocks[0]);
    stream[16..].copy_from_slice(&blocks[1]);
    stream
}

fn xor_key<C>(cipher: &C, address: u64, sector: &mut [u8])
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let stream = key_stream(cipher, address);
    for piece in sector.chunks_exact_mut(stream.len()) {
        for (byte, key) in piece.iter_mut().zip(stream) {
            *byte ^= key;
        }
    }
}

fn load(sector: &[u8], words: &mut [u32]) {
    for (word, bytes) in words.iter_mut().zip(sector.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
}

fn store(words: &[u32], sector: &mut [u8]) {
    for (word, bytes) in words.iter().zip(sector.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}

// Indices wrap around the sector, whose number of words is a power of two.

fn diffuse_a(d: &mut [u32]) {
    let mask = d.len() - 1;
    for _ in 0..CYCLES_A {
        for i in 0..d.len() {
            let far = d[i.wrapping_sub(5) & mask].rotate_left(ROTATIONS_A[i % 4]);
            d[i] = d[i].wrapping_add(d[i.wrapping_sub(2) & mask] ^ far);
        }
    }
}

fn diffuse_b(d: &mut [u32]) {
    let mask = d.len() - 1;
    for _ in 0..CYCLES_B {
        for i in 0..d.len() {
            let far = d[(i + 5) & mask].rotate_left(ROTATIONS_B[i % 4]);
            d[i] = d[i].wrapping_add(d[(i + 2) & mask] ^ far);
        }
    }
}

fn undiffuse_a(d: &mut [u32]) {
    let mask = d.len() - 1;
    for _ in 0..CYCLES_A {
        for i in (0..d.len()).rev() {
            let far = d[i.wrapping_sub(5) & mask].rotate_left(ROTATIONS_A[i % 4]);
            d[i] = d[i].wrapping_sub(d[i.wrapping_sub(2) & mask] ^ far);
        }
    }
}

fn undiffuse_b(d: &mut [u32]) {
    let mask = d.len() - 1;
    for _ in 0..CYCLES_B {
        for i in (0..d.len()).rev() {
            let far = d[(i + 5) & mask].rotate_left(ROTATIONS_B[i % 4]);
            d[i] = d[i].wrapping_sub(d[(i + 2) & mask] ^ far);
        }
    }
}

#[cfg(test)]
pub(super) fn sector_key(key: &[u8], address: u64) -> [u8; 32] {
    key_stream(&Aes128::new_from_slice(key).unwrap(), address)
}
