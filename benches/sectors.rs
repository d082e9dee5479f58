//! Sector ciphers beside a copy of memory and beside the crates that serve as their oracles:
//! `cargo bench --bench sectors`. Bytes per second; only ratios within one run mean anything.

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockCipherEncrypt, BlockModeDecrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes256};
use divan::Bencher;
use divan::counter::BytesCount;
use fve::crypto::sector::{Method, SectorCipher};
use fve::secret::SecretBytes;
use xts_mode::{Xts128, get_tweak_default};

/// What a mount serves at a time, and what `decrypt` does.
const RUN: usize = 1 << 20;
const SECTOR_SIZES: [usize; 2] = [512, 4096];
const WORDS: [&str; 6] = [
    "aes-xts-128",
    "aes-xts-256",
    "aes-cbc-128",
    "aes-cbc-256",
    "aes-cbc-128-elephant",
    "aes-cbc-256-elephant",
];

fn main() {
    divan::main();
}

fn cipher(word: &str, sector_size: usize) -> Box<dyn SectorCipher> {
    let method = Method::by_word(word).expect("method");
    let key: Vec<u8> = (0..method.key_len).map(|i| i as u8).collect();
    method
        .cipher(&SecretBytes::new(key), sector_size as u32)
        .expect("cipher")
}

fn over_a_run(bencher: Bencher<'_, '_>, mut work: impl FnMut(&mut [u8])) {
    let mut run = vec![0x5A; RUN];
    bencher
        .counter(BytesCount::new(RUN))
        .bench_local(|| work(divan::black_box(&mut run)));
}

#[divan::bench]
fn memcpy(bencher: Bencher<'_, '_>) {
    let from = vec![1; RUN];
    over_a_run(bencher, |run| run.copy_from_slice(divan::black_box(&from)));
}

#[divan::bench(args = WORDS, consts = SECTOR_SIZES)]
fn decrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>, word: &str) {
    let cipher = cipher(word, SECTOR);
    over_a_run(bencher, |run| cipher.decrypt(1 << 30, run));
}

#[divan::bench(args = WORDS, consts = SECTOR_SIZES)]
fn encrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>, word: &str) {
    let cipher = cipher(word, SECTOR);
    over_a_run(bencher, |run| cipher.encrypt(1 << 30, run));
}

/// Runs as short as a small random read makes them.
#[divan::bench(args = [1, 8, 64])]
fn decrypt_short(bencher: Bencher<'_, '_>, sectors: usize) {
    let cipher = cipher("aes-xts-128", 512);
    let mut run = vec![0x5A; sectors * 512];
    bencher
        .counter(BytesCount::new(run.len()))
        .bench_local(|| cipher.decrypt(1 << 30, divan::black_box(&mut run)));
}

#[divan::bench(consts = SECTOR_SIZES)]
fn xts_mode_128_decrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
    let aes = || Aes128::new_from_slice(&[7; 16]).expect("key");
    let xts = Xts128::new(aes(), aes());
    over_a_run(bencher, |run| {
        xts.decrypt_area(run, SECTOR, (1 << 30) / SECTOR as u128, get_tweak_default);
    });
}

#[divan::bench(consts = SECTOR_SIZES)]
fn xts_mode_256_decrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
    let aes = || Aes256::new_from_slice(&[7; 32]).expect("key");
    let xts = Xts128::new(aes(), aes());
    over_a_run(bencher, |run| {
        xts.decrypt_area(run, SECTOR, (1 << 30) / SECTOR as u128, get_tweak_default);
    });
}

#[divan::bench(consts = SECTOR_SIZES)]
fn cbc_128_decrypt<const SECTOR: usize>(bencher: Bencher<'_, '_>) {
    let aes = Aes128::new_from_slice(&[7; 16]).expect("key");
    over_a_run(bencher, |run| {
        for (address, sector) in (0u64..).step_by(SECTOR).zip(run.chunks_exact_mut(SECTOR)) {
            let mut iv = [0; 16];
            iv[..8].copy_from_slice(&address.to_le_bytes());
            let mut iv = iv.into();
            aes.encrypt_block(&mut iv);
            cbc::Decryptor::inner_iv_init(&aes, &iv)
                .decrypt_padded::<NoPadding>(sector)
                .expect("whole blocks");
        }
    });
}
