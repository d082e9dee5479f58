//! Sector ciphers: encrypt and decrypt runs of whole sectors in place (docs/format.md §5).
//!
//! Each sector is encrypted on its own. The cipher gets the byte address of the first sector of a
//! run, and derives each sector's IV or tweak from its address. To add a cipher, add a file here and
//! its row in [`METHODS`].
//!
//! AES itself comes from the `aes` crate or from instructions of the CPU. The modes are written here
//! for speed, measured on a CPU with VAES: `xts-mode` and `cbc` handle one sector, or even one block,
//! at a time, so most of the CPU's AES units are idle. `xts-mode` decrypts at 0.4 GB/s where batches
//! of sectors reach several GB/s (docs/benchmarks.md); `elephant-diffuser` takes 4 to 5 times as long
//! as the code here. Tests compare all ciphers with those crates.

mod available;
mod batch;
mod cbc;
mod cycles;
mod elephant;
mod engine;
mod self_test;
#[cfg(target_arch = "x86_64")]
mod wide;
mod wiping;
mod xts;

use std::ops::Range;

pub use engine::{Diffuser, Engine, Engines};

use crate::secret::{KIB, SecretBytes, leave_nothing};

/// A cipher with its key: encrypts and decrypts runs of whole sectors in place.
///
/// `address` is the offset of the run's first sector on the encrypted volume, in bytes. It and the
/// length of `run` are multiples of the sector size. Bytes after the last whole sector are not
/// changed.
pub trait SectorCipher: Send + Sync {
    /// Replaces ciphertext by plaintext.
    fn decrypt(&self, address: u64, run: &mut [u8]);
    /// Replaces plaintext by ciphertext.
    fn encrypt(&self, address: u64, run: &mut [u8]);
}

/// An encryption method: the cipher and key length of a volume's sectors.
#[non_exhaustive]
pub struct Method {
    /// Value on disk (docs/format.md §4.7).
    pub code: u16,
    /// The name that `manage-bde` prints: `XTS-AES 128`.
    pub name: &'static str,
    /// A stable word for programs: `aes-xts-128`.
    pub word: &'static str,
    /// The number in Windows' management interface (docs/format-recovery.md §5.1).
    pub wmi: u8,
    /// Length of the FVEK in bytes, as stored.
    pub key_len: usize,
    build: Build,
    /// The results that the self-test expects.
    answers: self_test::Answers,
}

/// Builds a cipher from the FVEK as stored and the size of a sector in bytes.
type Build = fn(Engines, &[u8], usize) -> Option<Box<dyn SectorCipher>>;

/// All encryption methods of BitLocker, from Windows Vista on (docs/format.md §4.7).
pub const METHODS: &[Method] = &[
    Method {
        code: 0x8000,
        name: "AES 128 with Diffuser",
        word: "aes-cbc-128-elephant",
        wmi: 1,
        key_len: 64,
        build: elephant::aes128,
        answers: [0x9636B51E, 0x260E3D4F, 0x406195BD, 0xDF5D8406],
    },
    Method {
        code: 0x8001,
        name: "AES 256 with Diffuser",
        word: "aes-cbc-256-elephant",
        wmi: 2,
        key_len: 64,
        build: elephant::aes256,
        answers: [0xB984EBC3, 0x679CF69D, 0x3384AD92, 0x714FC886],
    },
    Method {
        code: 0x8002,
        name: "AES 128",
        word: "aes-cbc-128",
        wmi: 3,
        key_len: 16,
        build: cbc::aes128,
        answers: [0xEB24FD8C, 0xB27785EA, 0x1A76E98D, 0x161091BA],
    },
    Method {
        code: 0x8003,
        name: "AES 256",
        word: "aes-cbc-256",
        wmi: 4,
        key_len: 32,
        build: cbc::aes256,
        answers: [0x60D8C8BB, 0xE65C3935, 0xE6975574, 0x85870EDE],
    },
    Method {
        code: 0x8004,
        name: "XTS-AES 128",
        word: "aes-xts-128",
        wmi: 6,
        key_len: 32,
        build: xts::aes128,
        answers: [0xBFECB80E, 0xD99B337A, 0x767A31A3, 0xA8E25F76],
    },
    Method {
        code: 0x8005,
        name: "XTS-AES 256",
        word: "aes-xts-256",
        wmi: 7,
        key_len: 64,
        build: xts::aes256,
        answers: [0x33CD7C68, 0xD0442E69, 0xCC2E5D82, 0x4F57E25B],
    },
];

/// Two methods are equal if their values on disk are.
impl PartialEq for Method {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
    }
}

impl Eq for Method {}

impl std::hash::Hash for Method {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.code.hash(state);
    }
}

/// Reads the stable word ([`Method::word`]) or the name that `manage-bde` prints
/// ([`Method::name`]), in upper or lower case.
///
/// ```
/// use fve::Method;
///
/// let method: &Method = "aes-xts-128".parse()?;
/// assert_eq!(method, Method::AES_XTS_128);
/// # Ok::<(), fve::crypto::sector::UnknownMethod>(())
/// ```
impl std::str::FromStr for &'static Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        let is = |method: &&Method| {
            method.word.eq_ignore_ascii_case(text) || method.name.eq_ignore_ascii_case(text)
        };
        METHODS.iter().find(is).ok_or(UnknownMethod(()))
    }
}

/// The text is neither the word nor the name of a [`Method`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownMethod(());

impl std::fmt::Display for UnknownMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no such encryption method; known methods are")?;
        METHODS.iter().enumerate().try_for_each(|(nth, method)| {
            let comma = if nth == 0 { "" } else { "," };
            write!(f, "{comma} {}", method.word)
        })
    }
}

impl std::error::Error for UnknownMethod {}

/// The name that `manage-bde` prints.
impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Method {
    /// AES-CBC with a key of 128 bits and the Elephant diffuser: the default of Windows Vista and 7.
    pub const AES_CBC_128_ELEPHANT: &'static Self = &METHODS[0];
    /// AES-CBC with a key of 256 bits and the Elephant diffuser, of Windows Vista and 7.
    pub const AES_CBC_256_ELEPHANT: &'static Self = &METHODS[1];
    /// AES-CBC with a key of 128 bits.
    pub const AES_CBC_128: &'static Self = &METHODS[2];
    /// AES-CBC with a key of 256 bits.
    pub const AES_CBC_256: &'static Self = &METHODS[3];
    /// XTS-AES with two keys of 128 bits: the default of Windows 10 and later.
    pub const AES_XTS_128: &'static Self = &METHODS[4];
    /// XTS-AES with two keys of 256 bits.
    pub const AES_XTS_256: &'static Self = &METHODS[5];

    /// The method with this value on disk.
    pub fn by_code(code: u16) -> Option<&'static Self> {
        METHODS.iter().find(|method| method.code == code)
    }

    /// Whether it uses the Elephant diffuser.
    fn has_diffuser(&self) -> bool {
        matches!(self.code, 0x8000 | 0x8001)
    }

    /// Where the bytes of a stored key are that the cipher uses: each half of a key with diffuser has 256
    /// bits on disk, of which AES-128 uses the first 128 (docs/format.md §4.7).
    fn used_parts(&self) -> [Range<usize>; 2] {
        match self.code {
            0x8000 => [0..16, 32..48],
            _ => [0..self.key_len, self.key_len..self.key_len],
        }
    }

    /// How many bytes of the stored key the cipher uses.
    pub fn used_len(&self) -> usize {
        self.used_parts().iter().map(ExactSizeIterator::len).sum()
    }

    /// The bytes that the cipher uses of a stored key ([`Method::key_len`] bytes).
    pub fn used_key(&self, stored: &[u8]) -> SecretBytes {
        let mut used = Vec::with_capacity(self.used_len());
        for part in self.used_parts() {
            used.extend_from_slice(stored.get(part).unwrap_or_default());
        }
        SecretBytes::new(used)
    }

    /// The key as it is stored, from the bytes that the cipher uses. `None` if those are not
    /// [`Method::used_len`] bytes.
    pub fn stored_key(&self, used: &[u8]) -> Option<SecretBytes> {
        let mut rest = used;
        if rest.len() != self.used_len() {
            return None;
        }
        let mut stored = vec![0; self.key_len];
        for part in self.used_parts() {
            let (own, later) = rest.split_at_checked(part.len())?;
            stored.get_mut(part)?.copy_from_slice(own);
            rest = later;
        }
        Some(SecretBytes::new(stored))
    }

    /// Its cipher with `key`, for sectors of `sector_size` bytes.
    ///
    /// It uses the fastest engines of this CPU that pass a self-test; those that fail are listed in
    /// [`crypto::faults`](super::faults()). `None` if the key does not have [`Method::key_len`] bytes, if
    /// the sector size is not a multiple of 16, or if no engine passes.
    pub fn cipher(&self, key: &SecretBytes, sector_size: u32) -> Option<Box<dyn SectorCipher>> {
        self.cipher_with(self_test::fastest(self, sector_size)?, key, sector_size)
    }

    /// The same with chosen engines and without a self-test, for tests and benchmarks. `None` also if the
    /// CPU lacks instructions that one of them needs.
    pub fn cipher_with(
        &self,
        engines: Engines,
        key: &SecretBytes,
        sector_size: u32,
    ) -> Option<Box<dyn SectorCipher>> {
        let sector_size = usize::try_from(sector_size).ok()?;
        if key.len() != self.key_len || sector_size == 0 || sector_size % 16 != 0 {
            return None;
        }
        if !engines.are_available() {
            return None;
        }
        // Key schedules are computed on the stack.
        leave_nothing::<{ 16 * KIB }, _>(|| (self.build)(engines, key.expose(), sector_size))
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

    #[test]
    fn each_constant_is_the_method_of_its_name() {
        for (method, word) in [
            (Method::AES_CBC_128_ELEPHANT, "aes-cbc-128-elephant"),
            (Method::AES_CBC_256_ELEPHANT, "aes-cbc-256-elephant"),
            (Method::AES_CBC_128, "aes-cbc-128"),
            (Method::AES_CBC_256, "aes-cbc-256"),
            (Method::AES_XTS_128, "aes-xts-128"),
            (Method::AES_XTS_256, "aes-xts-256"),
        ] {
            assert_eq!(method.word, word);
            assert_eq!(word.parse(), Ok(method));
            assert_eq!(method.name.parse(), Ok(method));
        }
    }
    use hex_literal::hex;

    /// The first block of a sector of a real volume: method, key, address, sector size, ciphertext,
    /// plaintext (docs/format.md §9.7). `tests/volume/conformance.rs` decrypts the whole volumes.
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

    #[test]
    fn the_used_bytes_of_a_key_give_the_stored_key() {
        for method in METHODS {
            let stored: Vec<u8> = (1..=method.key_len as u8).collect();
            let used = method.used_key(&stored);
            assert_eq!(used.len(), method.used_len(), "{method:?}");
            let again = method.stored_key(used.expose()).unwrap();
            let cipher = |key: &[u8]| {
                let mut sector = vec![7; 512];
                cipher(method.code, key, 512).encrypt(4096, &mut sector);
                sector
            };
            assert_eq!(cipher(again.expose()), cipher(&stored), "{method:?}");
            assert!(method.stored_key(&stored[..stored.len() - 1]).is_none());
        }
        let used = Method::by_code(0x8000).unwrap().used_len();
        assert_eq!(used, 32);
    }

    /// The sector key of the Elephant diffuser, as docs/format.md §9.7 gives it.
    #[test]
    fn computes_the_published_sector_key() {
        let key = hex!(
            "9d2733e172dc85e13e3de5aaa0e0501b8444fe4bcabcca6b137dcc3f9f9300e2fd22a3f27966c51c94c8e3adce517b6ea013228b03583e8db1254d91786aeafe"
        );
        assert_eq!(
            elephant::sector_key(&key[32..48], 0x2A2D000),
            hex!("364a493592cd3623a45402b14d49c3ca0a3c272fcc4ccea3ec5a298b0bf203cc")
        );
    }

    #[test]
    fn refuses_keys_of_a_wrong_length() {
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
}
