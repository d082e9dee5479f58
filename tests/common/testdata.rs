//! The frozen volumes in `testdata/`, with their credentials and the SHA-256 of their plaintext.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fve::recovery_password::RecoveryPassword;
use fve::secret::{SecretText, Vmk};
use fve::source::FileSource;
use fve::unlock::Credential;
use fve::unlock::Password;
use fve::unlock::RecoveryPasswords;
use fve::unlock::StartupKey;
use fve::unlock::Suspended;
use fve::volume::{UnlockOptions, Unlocked, Volume};
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
struct Index {
    volumes: Vec<Entry>,
}

/// The `file_system` of BitLocker To Go volumes, which other programs accept whatever it is: they
/// read the size of the volume from its first sector.
pub const TO_GO: &str = "any, in BitLocker To Go";

/// One volume of the index.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    pub name: String,
    pub file: PathBuf,
    pub volume_id: String,
    pub method: String,
    pub sector_size: u32,
    pub size: u64,
    pub state: (u16, u16),
    pub encrypt_on_write: bool,
    pub file_system: String,
    pub credentials: Vec<KnownCredential>,
    pub plaintext_sha256: String,
    pub files: Vec<Member>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct KnownCredential {
    pub kind: Kind,
    /// A password, digits, or the path of a `.BEK` file.
    #[serde(default)]
    pub value: String,
    pub protector: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Kind {
    #[serde(rename = "password")]
    Password,
    #[serde(rename = "recovery-password")]
    RecoveryPassword,
    #[serde(rename = "startup-key-file")]
    StartupKey,
    #[serde(rename = "none (clear key)")]
    ClearKey,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Member {
    pub path: String,
    pub size: usize,
    pub sha256: String,
}

pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// All volumes, with absolute paths.
pub fn volumes() -> Vec<Entry> {
    let index = std::fs::read_to_string(directory().join("volumes.json")).expect("volumes.json");
    let mut index: Index = serde_json::from_str(&index).expect("volumes.json");
    for volume in &mut index.volumes {
        volume.file = directory().join(&volume.file);
        for credential in &mut volume.credentials {
            if credential.kind == Kind::StartupKey {
                let path = directory().join(&credential.value);
                credential.value = path.into_os_string().into_string().expect("UTF-8");
            }
        }
    }
    index.volumes
}

/// The volume with this name.
pub fn volume(name: &str) -> Entry {
    let mut volumes = volumes().into_iter();
    volumes
        .find(|volume| volume.name == name)
        .expect("a volume with this name")
}

impl Entry {
    /// Its first credential of this kind.
    pub fn credential(&self, kind: Kind) -> &KnownCredential {
        let found = self.credentials.iter().find(|other| other.kind == kind);
        found.expect("a credential of this kind")
    }

    /// The path of its startup key, the credential that needs no key stretching.
    pub fn bek(&self) -> PathBuf {
        PathBuf::from(&self.credential(Kind::StartupKey).value)
    }

    pub fn open(&self) -> Volume {
        open(&self.file)
    }

    /// Unlocks the volume with this credential, or without any if it has none.
    pub fn unlock(&self, credential: Option<&KnownCredential>) -> fve::error::Result<Unlocked> {
        let credentials: Vec<_> = credential
            .into_iter()
            .map(KnownCredential::protector)
            .collect();
        self.open().unlock(&credentials, &UnlockOptions::default())
    }
}

/// A copy of a frozen volume in a temporary directory, to be written to.
pub struct CopiedVolume {
    /// The original.
    pub entry: Entry,
    /// The image of the copy.
    pub path: PathBuf,
    _directory: tempfile::TempDir,
}

impl CopiedVolume {
    pub fn of(name: &str) -> Self {
        let entry = volume(name);
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("volume.img");
        std::fs::copy(&entry.file, &path).expect("copy");
        Self {
            entry,
            path,
            _directory: directory,
        }
    }
}

/// Opens the volume in this file.
pub fn open(path: &Path) -> Volume {
    Volume::from_source(Arc::new(FileSource::open(path).expect("source"))).expect("volume")
}

impl KnownCredential {
    /// The credential in the form of the library.
    pub fn protector(&self) -> Box<dyn Credential> {
        match self.kind {
            Kind::Password => Box::new(Password::new(&SecretText::new(self.value.clone()))),
            Kind::StartupKey => Box::new(StartupKey::read(Path::new(&self.value)).expect("BEK")),
            Kind::ClearKey => Box::new(Suspended),
            Kind::RecoveryPassword => {
                let password = RecoveryPassword::parse(&self.value).expect("digits");
                Box::new(RecoveryPasswords::new(&password))
            }
        }
    }
}

/// A volume master key that belongs to no volume.
pub fn wrong_vmk() -> Vmk {
    Vmk::from_bytes(&[0x5A; 32])
}
