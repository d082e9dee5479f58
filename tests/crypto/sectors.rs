//! Compares every engine of the sector ciphers with published vectors and with code of other
//! projects. An engine that the CPU does not support is reported as ignored; the test program
//! `crypto` can also be run in an emulator.

use crate::common::harness::{Trial, trials};
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256};
use fve::crypto::sector::{Diffuser, Engine, Engines, METHODS, Method, SectorCipher};
use fve::secret::SecretBytes;
use hex_literal::hex;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sha2::{Digest, Sha256};

/// Number of random runs of sectors for each property.
const CASES: u32 = 64;

#[trials]
fn every_engine() -> Vec<Trial> {
    let mut trials = Vec::new();
    for aes in Engine::ALL {
        let engines = Engines {
            aes,
            ..Engines::SAFE
        };
        let mut add = |title: &str, test: fn(Engines)| {
            let trial = Trial::test(format!("{}: {title}", aes.name()), move || {
                test(engines);
                Ok(())
            });
            trials.push(trial.with_ignored_flag(!aes.is_available()));
        };
        add("agrees with IEEE 1619", agrees_with_ieee_1619);
        add("agrees with NIST SP 800-38A", agrees_with_sp_800_38a);
        for method in METHODS.iter().filter(|method| !diffuses(method)) {
            let title = format!("{}: {} equals its reference", aes.name(), method.word);
            let trial = Trial::test(title, move || {
                equals_the_reference(engines, method);
                Ok(())
            });
            trials.push(trial.with_ignored_flag(!aes.is_available()));
        }
    }
    for diffuser in Diffuser::ALL {
        let engines = Engines {
            diffuser,
            ..Engines::best()
        };
        for method in METHODS.iter().filter(|method| diffuses(method)) {
            let title = format!("diffuser {}: {}", diffuser.name(), method.word);
            let trial = Trial::test(title, move || {
                equals_the_reference(engines, method);
                Ok(())
            });
            trials.push(trial.with_ignored_flag(!diffuser.is_available()));
        }
    }
    trials
}

fn diffuses(method: &Method) -> bool {
    method.word.ends_with("elephant")
}

fn cipher(engines: Engines, code: u16, key: &[u8], sector_size: usize) -> Box<dyn SectorCipher> {
    Method::by_code(code)
        .expect("method")
        .cipher_with(engines, &SecretBytes::new(key.to_vec()), sector_size as u32)
        .expect("cipher")
}

/// IEEE 1619-2018, annex D: vectors 4 to 6 (XTS-AES-128, 512 bytes, data units 0 to 2) and 10
/// (XTS-AES-256, 512 bytes, data unit 0xFF). The first and the last block of the ciphertext are compared.
/// The ciphertext of vectors 4 and 5 is the plaintext of the next vector.
fn agrees_with_ieee_1619(engines: Engines) {
    let plaintext: Vec<u8> = (0..512).map(|i| i as u8).collect();
    let mut unit = plaintext.clone();
    let key = hex!("2718281828459045235360287471352631415926535897932384626433832795");
    let xts = cipher(engines, 0x8004, &key, 512);
    for (number, first, last) in [
        (
            0,
            hex!("27a7479befa1d476489f308cd4cfa6e2"),
            hex!("0a282df920147beabe421ee5319d0568"),
        ),
        (
            1,
            hex!("264d3ca8512194fec312c8c9891f279f"),
            hex!("fd2a89ccb45e001a03a867b187f225dd"),
        ),
    ] {
        xts.encrypt(number * 512, &mut unit);
        assert_eq!(unit[..16], first, "vector {}", number + 4);
        assert_eq!(unit[496..], last, "vector {}", number + 4);
    }
    xts.decrypt(512, &mut unit);
    xts.decrypt(0, &mut unit);
    assert_eq!(unit, plaintext);
    let key = hex!(
        "27182818284590452353602874713526624977572470936999595749669676273141592653589793238462643383279502884197169399375105820974944592"
    );
    let xts = cipher(engines, 0x8005, &key, 512);
    xts.encrypt(0xFF * 512, &mut unit);
    assert_eq!(unit[..16], hex!("1c3b3a102f770386e4836c99e370cf9b"));
    assert_eq!(unit[496..], hex!("c4f36ffda9fcea70b9c6e693e148c151"));
    xts.decrypt(0xFF * 512, &mut unit);
    assert_eq!(unit, plaintext);
}

/// NIST SP 800-38A, F.2: CBC of four blocks. The IV of a sector cannot be chosen, so the first
/// plaintext block contains the difference between the two IVs.
fn agrees_with_sp_800_38a(engines: Engines) {
    let iv = hex!("000102030405060708090a0b0c0d0e0f");
    let plaintext = hex!(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    );
    let cases: [(u16, &[u8], [u8; 64]); 2] = [
        (
            0x8002,
            &hex!("2b7e151628aed2a6abf7158809cf4f3c"),
            hex!(
                "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
                "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"
            ),
        ),
        (
            0x8003,
            &hex!("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
            hex!(
                "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"
                "39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"
            ),
        ),
    ];
    const ADDRESS: u64 = 0x1234_5600;
    for (code, key, ciphertext) in cases {
        let mut own_iv = [0; 16];
        own_iv[..8].copy_from_slice(&ADDRESS.to_le_bytes());
        let mut block = own_iv.into();
        match code {
            0x8002 => Aes128::new_from_slice(key)
                .expect("key")
                .encrypt_block(&mut block),
            _ => Aes256::new_from_slice(key)
                .expect("key")
                .encrypt_block(&mut block),
        }
        let mut sector = vec![0; 512];
        sector[..64].copy_from_slice(&plaintext);
        for ((byte, iv), own) in sector.iter_mut().zip(iv).zip(block) {
            *byte ^= iv ^ own;
        }
        let before = sector.clone();
        let cbc = cipher(engines, code, key, 512);
        cbc.encrypt(ADDRESS, &mut sector);
        assert_eq!(sector[..64], ciphertext, "{code:#x}");
        cbc.decrypt(ADDRESS, &mut sector);
        assert_eq!(sector, before, "{code:#x}");
    }
}

/// Random keys, lengths and addresses, including the first and last address; the seed is fixed.
fn equals_the_reference(engines: Engines, method: &'static Method) {
    let strategy = (
        any::<[u8; 64]>(),
        any::<u64>(),
        prop_oneof![0usize..20, 30usize..36, 60usize..70, 120usize..140],
        prop_oneof![Just(0u64), 0u64..1 << 20, Just((1 << 51) - 256)],
        prop_oneof![
            3 => Just(512usize),
            1 => Just(1024),
            1 => Just(2048),
            3 => Just(4096),
        ],
        0usize..512,
    );
    let mut runner = TestRunner::new_with_rng(
        Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        },
        prop::test_runner::TestRng::deterministic_rng(prop::test_runner::RngAlgorithm::ChaCha),
    );
    let result = runner.run(
        &strategy,
        |(key, seed, sectors, first, sector_size, tail)| {
            let key = &key[..method.key_len];
            let cipher = cipher(engines, method.code, key, sector_size);
            let address = first * sector_size as u64;
            let whole = sectors * sector_size;
            let plaintext = noise(seed, whole + tail);
            let mut expected = plaintext.clone();
            reference::encrypt(
                method.code,
                key,
                sector_size,
                address,
                &mut expected[..whole],
            );
            let mut run = plaintext.clone();
            cipher.encrypt(address, &mut run);
            prop_assert!(run == expected, "encrypt");
            cipher.decrypt(address, &mut run);
            prop_assert!(run == plaintext, "decrypt");
            Ok(())
        },
    );
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut block = Sha256::digest(seed.to_le_bytes());
    let mut noise = Vec::with_capacity(len + 32);
    while noise.len() < len {
        noise.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    noise.truncate(len);
    noise
}

/// The same transformations with code of other projects, sector by sector; the diffuser follows the
/// specification without optimizations.
mod reference {
    use aes::cipher::block_padding::NoPadding;
    use aes::cipher::{BlockCipherEncrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
    use aes::{Aes128, Aes256};
    use xts_mode::{Xts128, get_tweak_default};

    pub(super) fn encrypt(code: u16, key: &[u8], sector_size: usize, address: u64, run: &mut [u8]) {
        let first = u128::from(address) / sector_size as u128;
        match code {
            0x8004 => {
                let aes = |key| Aes128::new_from_slice(key).unwrap();
                Xts128::new(aes(&key[..16]), aes(&key[16..])).encrypt_area(
                    run,
                    sector_size,
                    first,
                    get_tweak_default,
                );
            }
            0x8005 => {
                let aes = |key| Aes256::new_from_slice(key).unwrap();
                Xts128::new(aes(&key[..32]), aes(&key[32..])).encrypt_area(
                    run,
                    sector_size,
                    first,
                    get_tweak_default,
                );
            }
            _ => {
                for (nth, sector) in run.chunks_exact_mut(sector_size).enumerate() {
                    let address = address + (nth * sector_size) as u64;
                    match code {
                        0x8002 => cbc(&Aes128::new_from_slice(key).unwrap(), address, sector),
                        0x8003 => cbc(&Aes256::new_from_slice(key).unwrap(), address, sector),
                        0x8000 => {
                            diffuse(
                                &Aes128::new_from_slice(&key[32..48]).unwrap(),
                                address,
                                sector,
                            );
                            cbc(
                                &Aes128::new_from_slice(&key[..16]).unwrap(),
                                address,
                                sector,
                            );
                        }
                        _ => {
                            diffuse(
                                &Aes256::new_from_slice(&key[32..]).unwrap(),
                                address,
                                sector,
                            );
                            cbc(
                                &Aes256::new_from_slice(&key[..32]).unwrap(),
                                address,
                                sector,
                            );
                        }
                    }
                }
            }
        }
    }

    fn block(address: u64, last: u8) -> [u8; 16] {
        let mut block = [0; 16];
        block[..8].copy_from_slice(&address.to_le_bytes());
        block[15] = last;
        block
    }

    fn cbc<C>(cipher: &C, address: u64, sector: &mut [u8])
    where
        C: BlockCipherEncrypt + aes::cipher::BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
    {
        let mut iv = block(address, 0).into();
        cipher.encrypt_block(&mut iv);
        let len = sector.len();
        cbc::Encryptor::inner_iv_init(cipher, &iv)
            .encrypt_padded::<NoPadding>(sector, len)
            .unwrap();
    }

    fn diffuse<C>(cipher: &C, address: u64, sector: &mut [u8])
    where
        C: BlockCipherEncrypt + aes::cipher::BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
    {
        let mut stream = [block(address, 0).into(), block(address, 0x80).into()];
        cipher.encrypt_blocks(&mut stream);
        let stream: Vec<u8> = stream.iter().flatten().copied().collect();
        for (nth, byte) in sector.iter_mut().enumerate() {
            *byte ^= stream[nth % 32];
        }
        let mut d: Vec<u32> = sector
            .chunks(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        let n = d.len();
        for _ in 0..5 {
            for i in (0..n).rev() {
                let far = d[(i + n - 5) % n].rotate_left([9, 0, 13, 0][i % 4]);
                d[i] = d[i].wrapping_sub(d[(i + n - 2) % n] ^ far);
            }
        }
        for _ in 0..3 {
            for i in (0..n).rev() {
                let far = d[(i + 5) % n].rotate_left([0, 10, 0, 25][i % 4]);
                d[i] = d[i].wrapping_sub(d[(i + 2) % n] ^ far);
            }
        }
        for (bytes, word) in sector.chunks_mut(4).zip(d) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
}
