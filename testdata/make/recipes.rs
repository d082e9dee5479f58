//! The definitions of the frozen volumes.

use fve::create::testing::{ExtraDatum, OnWrite, Stage};
use fve::crypto::sector::{METHODS, Method};
use fve::enroll::StartupKeyForm;
use fve::format::block::State;

/// Size of a FAT volume in bytes: enough for 296 KiB of metadata and the files.
const FAT_SIZE: usize = 448 << 10;
/// The smallest NTFS volume in which mkntfs leaves enough free space for both.
const NTFS_SIZE: usize = 1536 << 10;

/// The password of most volumes.
const PASSWORD: Secret = Secret::Password("correct horse battery staple");

/// The definition of a volume.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) file_system: FileSystem,
    pub(crate) size: usize,
    pub(crate) sector_size: u32,
    method: u16,
    pub(crate) stage: Stage,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) startup_key_form: StartupKeyForm,
    pub(crate) extra_datums: Vec<ExtraDatum>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSystem {
    Fat,
    Ntfs,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Secret {
    Password(&'static str),
    RecoveryPassword,
    StartupKey,
    /// With these flags in the header of its datum.
    ClearKey {
        flags: u16,
    },
}

impl FileSystem {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Fat => "fat",
            Self::Ntfs => "ntfs",
        }
    }
}

impl Recipe {
    fn new(name: &'static str, about: &'static str, method: u16) -> Self {
        Self {
            name,
            about,
            file_system: FileSystem::Fat,
            size: FAT_SIZE,
            sector_size: 512,
            method,
            stage: Stage::Encrypted,
            secrets: vec![PASSWORD, Secret::RecoveryPassword, Secret::StartupKey],
            startup_key_form: StartupKeyForm::Short,
            extra_datums: Vec::new(),
        }
    }

    fn sectors_of_4096(mut self) -> Self {
        self.sector_size = 4096;
        // So that the volumes have startup keys of both forms.
        self.startup_key_form = StartupKeyForm::NamesVolume;
        self
    }

    fn secrets(mut self, secrets: &[Secret]) -> Self {
        self.secrets = secrets.to_vec();
        self
    }

    fn stage(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    pub(crate) fn method(&self) -> &'static Method {
        let mut methods = METHODS.iter();
        let found = methods.find(|method| method.code == self.method);
        found.unwrap_or_else(|| unreachable!("the recipes name methods of the table"))
    }

    /// The method in the index: `none` if nothing is encrypted.
    pub(crate) fn method_word(&self) -> &'static str {
        match self.stage {
            Stage::Decrypted(_) => "none",
            _ => self.method().word,
        }
    }

    pub(crate) fn state(&self) -> (u16, u16) {
        match self.stage {
            Stage::Encrypted | Stage::EncryptOnWrite(_) => (4, 4),
            Stage::Paused { next, .. } => (3, next.0),
            Stage::Decrypted(_) => (1, 1),
        }
    }

    pub(crate) fn is_encrypt_on_write(&self) -> bool {
        matches!(self.stage, Stage::EncryptOnWrite(_) | Stage::Decrypted(_))
    }
}

/// A conversion map in free clusters of the FAT volumes, with small chunks so that there are many.
const MAP: OnWrite = OnWrite {
    at: 0x4_8000,
    chunk_size: 0x4000,
    pattern: 0b1101_0010_1110_0101_1001_0111_1011_0101,
};

/// The bit of the moved sectors, which are a separate region after the eight chunks from 0x2000 to
/// 0x20000.
const MOVED_SECTORS: u32 = 1 << 8;

pub(crate) fn all() -> Vec<Recipe> {
    let mut ntfs = Recipe::new(
        "ntfs-xts-128",
        "NTFS with the placeholder files of Windows; XTS-AES 128",
        0x8004,
    );
    ntfs.file_system = FileSystem::Ntfs;
    ntfs.size = NTFS_SIZE;
    let mut unknown = Recipe::new("unknown-datums", "has two datums of unknown types", 0x8004);
    unknown.secrets = vec![PASSWORD];
    unknown.extra_datums = [0x0040, 0x7FFF]
        .map(|number| ExtraDatum {
            role: number,
            datum_type: number,
            body: vec![0xA5; 21],
        })
        .to_vec();
    let mut all = vec![ntfs, unknown];
    all.extend(ciphers());
    all.extend(protectors());
    all.extend(stages());
    all
}

fn ciphers() -> Vec<Recipe> {
    vec![
        Recipe::new("xts-128", "XTS-AES 128", 0x8004),
        Recipe::new("xts-256", "XTS-AES 256", 0x8005),
        Recipe::new("cbc-128", "AES-CBC 128", 0x8002),
        Recipe::new("cbc-256", "AES-CBC 256", 0x8003),
        Recipe::new("elephant-128", "AES-CBC 128 with diffuser", 0x8000),
        Recipe::new("elephant-256", "AES-CBC 256 with diffuser", 0x8001),
        Recipe::new("xts-128-4k", "4096-byte sectors, XTS-AES 128", 0x8004).sectors_of_4096(),
        Recipe::new("cbc-128-4k", "4096-byte sectors, AES-CBC 128", 0x8002).sectors_of_4096(),
        Recipe::new(
            "elephant-128-4k",
            "4096-byte sectors, AES-CBC 128 with diffuser; no such volume made by Windows is known",
            0x8000,
        )
        .sectors_of_4096(),
    ]
}

fn protectors() -> Vec<Recipe> {
    vec![
        Recipe::new(
            "suspended",
            "suspended protection: a clear key and a password",
            0x8004,
        )
        .secrets(&[PASSWORD, Secret::ClearKey { flags: 1 }]),
        Recipe::new(
            "clear-key-only",
            "only a clear key, with the flags that Windows gives such volumes",
            0x8004,
        )
        .secrets(&[Secret::ClearKey { flags: 3 }]),
        Recipe::new(
            "two-recovery-passwords",
            "two recovery passwords, each of which unlocks it",
            0x8004,
        )
        .secrets(&[Secret::RecoveryPassword, Secret::RecoveryPassword]),
        Recipe::new(
            "password-beyond-ascii",
            "a password with letters outside ASCII",
            0x8004,
        )
        .secrets(&[Secret::Password("Größe 例 naïve")]),
        Recipe::new(
            "password-surrogate-pair",
            "a password with a character that needs two UTF-16 code units",
            0x8004,
        )
        .secrets(&[Secret::Password("pass 😀 word")]),
    ]
}

fn stages() -> Vec<Recipe> {
    let paused = |next, watermark| Stage::Paused { next, watermark };
    vec![
        Recipe::new(
            "decryption-paused",
            "decryption paused at 0x50000 of 0x70000 bytes",
            0x8003,
        )
        .stage(paused(State::DECRYPTED, 0x5_0000))
        .secrets(&[PASSWORD]),
        Recipe::new(
            "encryption-paused",
            "encryption paused at 0x5b000 of 0x70000 bytes",
            0x8004,
        )
        .stage(paused(State::ENCRYPTED, 0x5_B000))
        .secrets(&[PASSWORD]),
        Recipe::new(
            "encrypt-on-write",
            "encrypt-on-write paused: three regions, encrypted and unencrypted chunks",
            0x8002,
        )
        .stage(Stage::EncryptOnWrite(MAP))
        .secrets(&[PASSWORD]),
        Recipe::new(
            "encrypt-on-write-plain-boot",
            "the same, with the moved boot sectors in a chunk that is not encrypted yet",
            0x8004,
        )
        .stage(Stage::EncryptOnWrite(OnWrite {
            pattern: MAP.pattern & !MOVED_SECTORS,
            ..MAP
        }))
        .secrets(&[PASSWORD]),
        Recipe::new(
            "decrypted",
            "prepared for encrypt-on-write but not encrypted: no keys, no key protectors",
            0x8004,
        )
        .stage(Stage::Decrypted(MAP))
        .secrets(&[]),
    ]
}
