//! The corpus: volumes made by Windows, with their credentials and the SHA-256 of their plaintext.
//! It is read from `$FVE_CORPUS` or a directory next to the package, and unpacked once into the
//! build directory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Deserialize;

use fve::crypto::sector::METHODS;
use fve::secret::Vmk;

use super::testdata::{self, Entry, Kind};
use super::{cache_dir, copy_sparse};

#[derive(Debug, Clone, Deserialize)]
struct Index {
    volumes: Vec<Volume>,
}

/// One volume of the corpus.
#[derive(Debug, Clone, Deserialize)]
pub struct Volume {
    pub name: String,
    pub file: String,
    pub member: Option<String>,
    pub size: u64,
    pub credentials: Vec<KnownCredential>,
    pub volume_guid: String,
    pub sector_size: u32,
    pub cipher_id: String,
    pub state: (u16, u16),
    pub encrypted_extent: u64,
    pub metadata_offsets: Vec<u64>,
    pub protectors: Vec<Protector>,
    pub description: String,
    pub metadata_version: u16,
    pub plaintext_size: u64,
    pub expected_sha256: String,
    pub padded: Option<Padded>,
    #[serde(default)]
    pub files: Vec<Member>,
    pub vmk_hex: Option<String>,
    pub fvek_hex: Option<String>,
    #[serde(skip)]
    pub path: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
pub struct KnownCredential {
    pub kind: String,
    #[serde(default)]
    pub value: String,
    pub protector: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Protector {
    #[serde(rename = "type")]
    pub kind: String,
    pub guid: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Padded {
    pub volume_size: u64,
    pub expected_sha256: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Member {
    pub path: String,
    pub sha256: String,
}

impl Volume {
    /// Whether the conversion map was wiped before the volume was published, so that nothing says
    /// which sectors are encrypted.
    pub fn must_be_refused(&self) -> bool {
        ["cs-aes-xts-128-eow", "cs-partially-encrypted-aes-cbc-128"].contains(&self.name.as_str())
    }

    /// Its volume master key, if the index contains it.
    pub fn vmk(&self) -> Option<Vmk> {
        let hex = self.vmk_hex.as_deref()?;
        let digits = |at| hex.get(2 * at..2 * at + 2);
        let bytes: Option<Vec<u8>> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(digits(at)?, 16).ok())
            .collect();
        Vmk::from_slice(&bytes?)
    }

    /// The volume in the form that [`super::peers`] expects.
    pub fn entry(&self) -> Entry {
        let credential = |key: &KnownCredential| {
            let (kind, value) = match key.kind.as_str() {
                "password" => (Kind::Password, key.value.clone()),
                "recovery-password" => (Kind::RecoveryPassword, key.value.clone()),
                "startup-key-file" => {
                    let path = unpacked(&key.value).into_os_string();
                    (Kind::StartupKey, path.into_string().expect("UTF-8"))
                }
                _ => (Kind::ClearKey, String::new()),
            };
            testdata::KnownCredential {
                kind,
                value,
                protector: key.protector.clone().unwrap_or_default(),
            }
        };
        let method = METHODS
            .iter()
            .find(|method| self.cipher_id == format!("{:#06x}", method.code));
        Entry {
            credentials: self.credentials.iter().map(credential).collect(),
            method: method.map_or("none", |method| method.word).to_owned(),
            name: self.name.clone(),
            file: self.path.clone(),
            volume_id: self.volume_guid.to_lowercase(),
            sector_size: self.sector_size,
            size: self.plaintext_size,
            state: self.state,
            encrypt_on_write: self.name.contains("eow"),
            file_system: match self.name.contains("togo") {
                true => testdata::TO_GO.to_owned(),
                false => "ntfs".to_owned(),
            },
            plaintext_sha256: self.expected_sha256.clone(),
            files: Vec::new(),
        }
    }

    /// Whether the image was truncated before it was published.
    pub fn cut_off(&self) -> bool {
        self.padded.is_some() || self.name == "ds-vista"
    }
}

/// The directory of the corpus, if it is present.
pub fn directory() -> Option<PathBuf> {
    let directory = match std::env::var_os("FVE_CORPUS") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"),
    };
    directory.join("corpus.json").exists().then_some(directory)
}

/// The path of an unpacked file, by its name in the index.
pub fn unpacked(name: &str) -> PathBuf {
    cache_dir().join("corpus").join(name)
}

/// All volumes, unpacked; `None` without the corpus.
pub fn volumes() -> Option<Vec<Volume>> {
    let directory = directory()?;
    let index = std::fs::read_to_string(directory.join("corpus.json")).expect("corpus.json");
    let mut index: Index = serde_json::from_str(&index).expect("corpus.json");
    unpack(&directory);
    for volume in &mut index.volumes {
        let name = match &volume.member {
            Some(member) => member.clone(),
            None => volume.file.trim_end_matches(".gz").to_owned(),
        };
        volume.path = unpacked(&name);
    }
    Some(index.volumes)
}

fn unpack(directory: &Path) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    let target = cache_dir().join("corpus");
    let done = target.join("done");
    if done.exists() {
        return;
    }
    std::fs::create_dir_all(&target).expect("cache directory");
    for entry in std::fs::read_dir(directory).expect("corpus") {
        let path = entry.expect("corpus").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("name");
        let file = File::open(&path).expect("corpus file");
        if let Some(name) = name.strip_suffix(".gz") {
            copy_sparse(flate2::read::GzDecoder::new(file), &target.join(name)).expect("unpack");
        } else if name.ends_with(".tar.xz") {
            let mut archive = tar::Archive::new(lzma_rust2::XzReader::new(file, true));
            for entry in archive.entries().expect("archive") {
                let mut entry = entry.expect("archive");
                if !entry.header().entry_type().is_dir() {
                    let path = target.join(entry.path().expect("archive"));
                    std::fs::create_dir_all(path.parent().expect("parent")).expect("unpack");
                    copy_sparse(&mut entry, &path).expect("unpack");
                }
            }
        } else {
            std::fs::copy(&path, target.join(name)).expect("copy");
        }
    }
    File::create(done).expect("marker");
}
