//! Sector ciphers: runs of whole sectors, transformed in place (format page, section 5).
//!
//! A sector is a data unit of its own, keyed by where it lies. All ciphers are handed the byte
//! address of a run's first sector; what they derive from it is their own affair. To add one:
//! a file beside this, and its row in [`METHODS`].

mod batch;
mod cbc;
mod elephant;
mod xts;

use crate::secret::SecretBytes;

/// Encrypts and decrypts runs of whole sectors in place.
///
/// `address` is where the run's first sector lies on the encrypted volume, in bytes, a multiple
/// of the sector size; the length of `run` is a multiple of the sector size too. Bytes behind the
/// last whole sector are left as they are.
pub trait SectorCipher: Send + Sync {
    /// Ciphertext to plaintext.
    fn decrypt(&self, address: u64, run: &mut [u8]);
    /// Plaintext to ciphertext.
    fn encrypt(&self, address: u64, run: &mut [u8]);
}

/// An encryption method of sectors.
pub struct Method {
    /// Value on disk (section 4.7).
    pub code: u16,
    /// The name that `manage-bde` prints.
    pub name: &'static str,
    /// A stable word for programs.
    pub word: &'static str,
    /// The number of Windows' management interface (recovery page, section 5.1).
    pub wmi: u8,
    /// Bytes of key material on disk.
    pub key_len: usize,
    build: Build,
}

/// Builds a cipher from the key material on disk and the size of a sector in bytes.
type Build = fn(&[u8], usize) -> Option<Box<dyn SectorCipher>>;

/// All methods that Windows has ever written.
pub const METHODS: &[Method] = &[
    Method {
        code: 0x8000,
        name: "AES 128 with Diffuser",
        word: "aes-cbc-128-elephant",
        wmi: 1,
        key_len: 64,
        build: elephant::aes128,
    },
    Method {
        code: 0x8001,
        name: "AES 256 with Diffuser",
        word: "aes-cbc-256-elephant",
        wmi: 2,
        key_len: 64,
        build: elephant::aes256,
    },
    Method {
        code: 0x8002,
        name: "AES 128",
        word: "aes-cbc-128",
        wmi: 3,
        key_len: 16,
        build: cbc::aes128,
    },
    Method {
        code: 0x8003,
        name: "AES 256",
        word: "aes-cbc-256",
        wmi: 4,
        key_len: 32,
        build: cbc::aes256,
    },
    Method {
        code: 0x8004,
        name: "XTS-AES 128",
        word: "aes-xts-128",
        wmi: 6,
        key_len: 32,
        build: xts::aes128,
    },
    Method {
        code: 0x8005,
        name: "XTS-AES 256",
        word: "aes-xts-256",
        wmi: 7,
        key_len: 64,
        build: xts::aes256,
    },
];

impl Method {
    /// The method with this value on disk.
    pub fn by_code(code: u16) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.code == code)
    }

    /// The method with this word.
    pub fn by_word(word: &str) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.word == word)
    }

    /// Its cipher under `key` for sectors of `sector_size` bytes; `None` where the key does not
    /// have [`Method::key_len`] bytes or the sector size is no multiple of a cipher block.
    pub fn cipher(&self, key: &SecretBytes, sector_size: u32) -> Option<Box<dyn SectorCipher>> {
        let sector_size = usize::try_from(sector_size).ok()?;
        if key.len() != self.key_len || sector_size == 0 || sector_size % 16 != 0 {
            return None;
        }
        (self.build)(key.expose(), sector_size)
    }
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    /// One sector of real volumes: method, key, address, sector size, the first 16 bytes of its
    /// ciphertext and 32 of its plaintext, SHA-256 of the plaintext (format page, section 9.7).
    /// The whole ciphertext is not printed there, so the plaintext is rebuilt from the volumes in
    /// `tests/conformance.rs`; here each cipher is checked on what one block can show.
    type Sample = (u16, &'static [u8], u64, usize, [u8; 16], [u8; 16]);

    const FIRST_BLOCKS: &[Sample] = &[
        (
            0x8002,
            &hex!("6c96f82a942e875f029c3dd9e4351773"),
            0x21A5000,
            512,
            hex!("ae813fac8aee8d6ec26bff8765e8fd0d"),
            hex!("eb52904e544653202020200002080000"),
        ),
        (
            0x8003,
            &hex!("9c3c73a4ad15acccc5020c4100f5c27083664965079cf6b9de1854a176f066ee"),
            0x21A5000,
            512,
            hex!("95ec37c92cf8911ddd17a5178a5634ec"),
            hex!("eb52904e544653202020200002080000"),
        ),
        (
            0x8002,
            &hex!("7aaffb2121b4149688358f5cf21bca2d"),
            0x21A5000,
            4096,
            hex!("9b1168b6221a4d94557c33b35783af79"),
            hex!("eb52904e544653202020200010010000"),
        ),
        (
            0x8004,
            &hex!("cc493ad40376cf719d3725073d5c1a6ca5759fc4ad179c95572f16c01a260d66"),
            0x21A5000,
            512,
            hex!("e90bf7ec3a2eb1f74533d6b88d7ab8fa"),
            hex!("eb52904e544653202020200002080000"),
        ),
        (
            0x8004,
            &hex!("287018615ea30a9b6fb694977e5070780610eb6d729184eee2ddedc6f1c36f54"),
            0x21A5000,
            4096,
            hex!("580ca53b1f0698e53c480468495b4d55"),
            hex!("eb52904e544653202020200010010000"),
        ),
        (
            0x8005,
            &hex!(
                "544548decfcfcfe0ab56d62aa7bd79aa35c9bab3c1d6a1a61dd7dd369e105523ae0d610d632d3148ce2005f2dec0a49ead19e8806f6c40bcf8482df51e9fe408"
            ),
            0x21A5000,
            512,
            hex!("c458b2b96953d36efadefdaaf4e30814"),
            hex!("eb52904e544653202020200002080000"),
        ),
        (
            0x8004,
            &hex!("2b13c7e38a0df796ae05463f1723a61daf92e35280fa5bf8fb23048c28cd8613"),
            0x5810800,
            512,
            hex!("59eda3463016373b12712061aff5c966"),
            hex!("eb3c904d53444f53352e300002040800"),
        ),
    ];

    fn cipher(code: u16, key: &[u8], sector_size: usize) -> Box<dyn SectorCipher> {
        Method::by_code(code)
            .unwrap()
            .cipher(&SecretBytes::new(key.to_vec()), sector_size as u32)
            .unwrap()
    }

    #[test]
    fn decrypts_the_first_block_of_real_boot_sectors() {
        for (code, key, address, sector_size, ciphertext, plaintext) in FIRST_BLOCKS {
            let mut sector = vec![0; *sector_size];
            sector[..16].copy_from_slice(ciphertext);
            cipher(*code, key, *sector_size).decrypt(*address, &mut sector);
            assert_eq!(sector[..16], *plaintext, "{code:#x} {sector_size}");
        }
    }

    /// IEEE 1619-2018, annex D: vectors 4 (XTS-AES-128, 512 bytes, data unit 0) and 10
    /// (XTS-AES-256, 512 bytes, data unit 0xFF), by the first and last block
    /// of the ciphertext.
    #[test]
    fn agrees_with_ieee_1619() {
        let plaintext: Vec<u8> = (0..512).map(|i| i as u8).collect();
        let mut unit = plaintext.clone();
        let key = hex!("2718281828459045235360287471352631415926535897932384626433832795");
        cipher(0x8004, &key, 512).encrypt(0, &mut unit);
        assert_eq!(unit[..16], hex!("27a7479befa1d476489f308cd4cfa6e2"));
        assert_eq!(unit[496..], hex!("0a282df920147beabe421ee5319d0568"));
        let key = hex!(
            "27182818284590452353602874713526624977572470936999595749669676273141592653589793238462643383279502884197169399375105820974944592"
        );
        let mut unit = plaintext.clone();
        cipher(0x8005, &key, 512).encrypt(0xFF * 512, &mut unit);
        assert_eq!(unit[..16], hex!("1c3b3a102f770386e4836c99e370cf9b"));
        assert_eq!(unit[496..], hex!("c4f36ffda9fcea70b9c6e693e148c151"));
        cipher(0x8005, &key, 512).decrypt(0xFF * 512, &mut unit);
        assert_eq!(unit, plaintext);
    }

    /// The Elephant diffuser on real sectors: a sector of zero bytes on disk has a defined
    /// plaintext, whose key stream the format page gives.
    #[test]
    fn elephant_starts_from_the_printed_sector_keys() {
        let key = hex!(
            "9d2733e172dc85e13e3de5aaa0e0501b8444fe4bcabcca6b137dcc3f9f9300e2fd22a3f27966c51c94c8e3adce517b6ea013228b03583e8db1254d91786aeafe"
        );
        assert_eq!(
            elephant::sector_key(&key[32..48], 0x2A2D000),
            hex!("364a493592cd3623a45402b14d49c3ca0a3c272fcc4ccea3ec5a298b0bf203cc")
        );
    }

    #[test]
    fn takes_only_keys_of_the_right_length() {
        for method in METHODS {
            for len in [0, method.key_len - 1, method.key_len + 1] {
                assert!(
                    method
                        .cipher(&SecretBytes::new(vec![0; len]), 512)
                        .is_none()
                );
            }
        }
    }

    /// The same transformations by other people's code, sector by sector; the diffuser in the
    /// plainest form of the specification.
    mod oracle {
        use aes::cipher::block_padding::NoPadding;
        use aes::cipher::{BlockCipherEncrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
        use aes::{Aes128, Aes256};
        use xts_mode::{Xts128, get_tweak_default};

        pub(super) fn encrypt(
            code: u16,
            key: &[u8],
            sector_size: usize,
            address: u64,
            run: &mut [u8],
        ) {
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
            C: BlockCipherEncrypt
                + aes::cipher::BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
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
            C: BlockCipherEncrypt
                + aes::cipher::BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]

        #[test]
        fn a_run_equals_the_oracles_and_comes_back(
            method in 0..METHODS.len(),
            key: [u8; 64],
            seed: u64,
            sectors in prop_oneof![0usize..20, 60usize..70, 120usize..140],
            first in prop_oneof![Just(0u64), 0u64..1 << 20, Just((1 << 51) - 256)],
            sector_size in prop_oneof![Just(512usize), Just(1024), Just(2048), Just(4096)],
            tail in 0usize..512,
        ) {
            let method = &METHODS[method];
            let key = &key[..method.key_len];
            let cipher = cipher(method.code, key, sector_size);
            let address = first * sector_size as u64;
            let whole = sectors * sector_size;
            let mut block = Sha256::digest(seed.to_le_bytes());
            let plaintext: Vec<u8> = (0..whole + tail)
                .map(|i| {
                    if i % 32 == 0 {
                        block = Sha256::digest(block);
                    }
                    block[i % 32]
                })
                .collect();
            let mut run = plaintext.clone();
            cipher.encrypt(address, &mut run);
            let mut expected = plaintext.clone();
            oracle::encrypt(method.code, key, sector_size, address, &mut expected[..whole]);
            prop_assert!(run == expected, "encrypt");
            cipher.decrypt(address, &mut run);
            prop_assert!(run == plaintext, "decrypt");
        }
    }
}
