//! AES-CBC with the Elephant diffuser, of Windows Vista and 7 (docs/format.md §5.2; N. Ferguson,
//! "AES-CBC + Elephant diffuser", 2006).
//!
//! Encryption XORs the plaintext with a key stream that depends on the sector, then applies diffuser A,
//! diffuser B and AES-CBC; decryption does the inverse in the opposite order. In a diffuser, each word
//! of a sector depends on words just changed, so a sector cannot be split. Eight sectors are processed
//! at the same time instead, one word of each in a vector.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128, Aes256};

use super::available::Diffuse;
use super::batch::{address_block, blocks_of};
use super::cycles::{CYCLES_A, CYCLES_B};
use super::wiping::{DIFFUSER_STACK, wiping};
use super::{Engines, SectorCipher, cbc};
use crate::secret::Locked;

/// Offset of the sector key in the FVEK: each half has 256 bits, of which AES-128 uses the first 128
/// (docs/format.md §4.7).
const SECTOR_KEY_OFFSET: usize = 32;

/// Sectors that are processed at the same time: eight words fill an AVX2 register.
const LANES: usize = 8;

/// Rotations of diffuser A, in bits, for word number modulo 4.
const ROTATIONS_A: [u32; 4] = [9, 0, 13, 0];
/// Rotations of diffuser B, in bits, for word number modulo 4.
const ROTATIONS_B: [u32; 4] = [0, 10, 0, 25];

/// The same word of eight sectors.
type Lanes = [u32; LANES];

/// `WORDS` is the number of 32-bit words in a sector. It is a constant, and a power of two, so that
/// indices wrap around by a mask and without bounds checks.
struct Elephant<C, const WORDS: usize> {
    cbc: Box<dyn SectorCipher>,
    sector_key: Locked<C>,
    /// Vector kernels, each of which processes as many sectors as fill its vectors. The code here
    /// processes the rest.
    wide: Vec<Diffuse>,
}

pub(super) fn aes128(
    engines: Engines,
    key: &[u8],
    sector_size: usize,
) -> Option<Box<dyn SectorCipher>> {
    build::<Aes128>(engines, key, 16, sector_size)
}

pub(super) fn aes256(
    engines: Engines,
    key: &[u8],
    sector_size: usize,
) -> Option<Box<dyn SectorCipher>> {
    build::<Aes256>(engines, key, 32, sector_size)
}

fn build<C>(
    engines: Engines,
    key: &[u8],
    aes_len: usize,
    sector_size: usize,
) -> Option<Box<dyn SectorCipher>>
where
    C: KeyInit
        + BlockCipherEncrypt
        + BlockCipherDecrypt
        + BlockSizeUser<BlockSize = U16>
        + Send
        + Sync
        + 'static,
{
    let cbc = cbc::build::<C>(engines, key.get(..aes_len)?, sector_size)?;
    let second = key.get(SECTOR_KEY_OFFSET..)?.get(..aes_len)?;
    let sector_key = Locked::new(C::new_from_slice(second).ok()?);
    let cipher: Box<dyn SectorCipher> = match sector_size {
        512 => Box::new(Elephant::<C, 128> {
            cbc,
            sector_key,
            wide: engines.diffusers::<32>(),
        }),
        1024 => Box::new(Elephant::<C, 256> {
            cbc,
            sector_key,
            wide: engines.diffusers::<64>(),
        }),
        2048 => Box::new(Elephant::<C, 512> {
            cbc,
            sector_key,
            wide: engines.diffusers::<128>(),
        }),
        4096 => Box::new(Elephant::<C, 1024> {
            cbc,
            sector_key,
            wide: engines.diffusers::<256>(),
        }),
        _ => return None,
    };
    Some(wiping::<DIFFUSER_STACK>(cipher))
}

impl<C, const WORDS: usize> SectorCipher for Elephant<C, WORDS>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn decrypt(&self, address: u64, run: &mut [u8]) {
        self.cbc.decrypt(address, run);
        let (address, run) = self.with_kernels(address, run, Diffuse::decrypt);
        self.groups(address, run, |words, group, streams| {
            load(words, group, None);
            diffuse_b(words);
            diffuse_a(words);
            store(words, group, Some(streams));
        });
    }

    fn encrypt(&self, address: u64, run: &mut [u8]) {
        let (rest_address, rest) = self.with_kernels(address, run, Diffuse::encrypt);
        self.groups(rest_address, rest, |words, group, streams| {
            load(words, group, Some(streams));
            undiffuse_a(words);
            undiffuse_b(words);
            store(words, group, None);
        });
        self.cbc.encrypt(address, run);
    }
}

/// The key streams of eight sectors, as words. A sector's key stream has 32 bytes and is repeated over
/// the whole sector.
type Streams = [Lanes; 8];

impl<C, const WORDS: usize> Elephant<C, WORDS>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    /// Processes as many sectors as possible with the vector kernels. Returns the rest of the run and its
    /// address.
    fn with_kernels<'a>(
        &self,
        address: u64,
        run: &'a mut [u8],
        work: impl Fn(&Diffuse, &mut [u8], &mut dyn FnMut(&mut [[[u8; 16]; 2]])) -> usize,
    ) -> (u64, &'a mut [u8]) {
        let mut next = address;
        let mut streams = |streams: &mut [[[u8; 16]; 2]]| {
            for [first, second] in streams.iter_mut() {
                *first = address_block(next, 0).into();
                *second = address_block(next, 0x80).into();
                next = next.wrapping_add(WORDS as u64 * 4);
            }
            self.sector_key
                .encrypt_blocks(blocks_of(streams.as_flattened_mut().as_flattened_mut()));
        };
        let mut done = 0;
        for diffuse in &self.wide {
            done += work(diffuse, &mut run[done..], &mut streams);
        }
        (address.wrapping_add(done as u64), &mut run[done..])
    }

    /// Calls `each` with groups of up to eight sectors and their key streams.
    fn groups(
        &self,
        address: u64,
        run: &mut [u8],
        mut each: impl FnMut(&mut [Lanes; WORDS], &mut [u8], &Streams),
    ) {
        let sector = WORDS * 4;
        let whole = run.len() - run.len() % sector;
        let mut words = [[0; LANES]; WORDS];
        let mut address = address;
        for group in run[..whole].chunks_mut(LANES * sector) {
            each(
                &mut words,
                group,
                &key_streams(&*self.sector_key, address, sector),
            );
            address = address.wrapping_add(group.len() as u64);
        }
    }
}

/// The key streams of eight sectors, the first at `address`: two cipher blocks for each, the encrypted
/// address with 0 and with 0x80 in the last byte (docs/format.md §5.2).
fn key_streams<C>(cipher: &C, address: u64, sector: usize) -> Streams
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let mut blocks: [_; 2 * LANES] = std::array::from_fn(|nth| {
        let of_sector = address.wrapping_add((nth / 2 * sector) as u64);
        address_block(of_sector, if nth % 2 == 0 { 0 } else { 0x80 })
    });
    cipher.encrypt_blocks(&mut blocks);
    std::array::from_fn(|word| {
        std::array::from_fn(|lane| {
            let block = &blocks[2 * lane + word / 4];
            word_at(&block[word % 4 * 4..])
        })
    })
}

fn word_at(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Loads sectors into lanes, one word of each per array, XORed with their key streams if given. Lanes
/// without a sector keep their values, which nothing reads.
fn load<const WORDS: usize>(words: &mut [Lanes; WORDS], group: &[u8], streams: Option<&Streams>) {
    for (lane, sector) in group.chunks_exact(WORDS * 4).enumerate() {
        for (nth, (word, bytes)) in words.iter_mut().zip(sector.chunks_exact(4)).enumerate() {
            word[lane] = word_at(bytes) ^ streams.map_or(0, |streams| streams[nth % 8][lane]);
        }
    }
}

/// Stores lanes back into sectors, XORed with their key streams if given.
fn store<const WORDS: usize>(words: &[Lanes; WORDS], group: &mut [u8], streams: Option<&Streams>) {
    for (lane, sector) in group.chunks_exact_mut(WORDS * 4).enumerate() {
        for (nth, (word, bytes)) in words.iter().zip(sector.chunks_exact_mut(4)).enumerate() {
            let word = word[lane] ^ streams.map_or(0, |streams| streams[nth % 8][lane]);
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
}

// Indices wrap around the sector, whose number of words is a power of two.

/// Decryption: `d[i] += d[near] ^ (d[far] <<< rotation)`; encryption subtracts instead.
fn mix(word: &mut Lanes, near: &Lanes, far: &Lanes, rotation: u32, add: bool) {
    for lane in 0..LANES {
        let mixed = near[lane] ^ far[lane].rotate_left(rotation);
        word[lane] = if add {
            word[lane].wrapping_add(mixed)
        } else {
            word[lane].wrapping_sub(mixed)
        };
    }
}

fn step_a<const WORDS: usize>(d: &mut [Lanes; WORDS], i: usize, add: bool) {
    let near = d[i.wrapping_sub(2) & (WORDS - 1)];
    let far = d[i.wrapping_sub(5) & (WORDS - 1)];
    mix(&mut d[i], &near, &far, ROTATIONS_A[i % 4], add);
}

fn step_b<const WORDS: usize>(d: &mut [Lanes; WORDS], i: usize, add: bool) {
    let near = d[(i + 2) & (WORDS - 1)];
    let far = d[(i + 5) & (WORDS - 1)];
    mix(&mut d[i], &near, &far, ROTATIONS_B[i % 4], add);
}

fn diffuse_a<const WORDS: usize>(d: &mut [Lanes; WORDS]) {
    for _ in 0..CYCLES_A {
        (0..WORDS).for_each(|i| step_a(d, i, true));
    }
}

fn diffuse_b<const WORDS: usize>(d: &mut [Lanes; WORDS]) {
    for _ in 0..CYCLES_B {
        (0..WORDS).for_each(|i| step_b(d, i, true));
    }
}

fn undiffuse_a<const WORDS: usize>(d: &mut [Lanes; WORDS]) {
    for _ in 0..CYCLES_A {
        (0..WORDS).rev().for_each(|i| step_a(d, i, false));
    }
}

fn undiffuse_b<const WORDS: usize>(d: &mut [Lanes; WORDS]) {
    for _ in 0..CYCLES_B {
        (0..WORDS).rev().for_each(|i| step_b(d, i, false));
    }
}

#[cfg(test)]
pub(super) fn sector_key(key: &[u8], address: u64) -> [u8; 32] {
    let cipher = Aes128::new_from_slice(key).unwrap();
    let streams = key_streams(&cipher, address, 512);
    let bytes: Vec<u8> = streams
        .iter()
        .flat_map(|word| word[0].to_le_bytes())
        .collect();
    bytes.try_into().unwrap()
}
