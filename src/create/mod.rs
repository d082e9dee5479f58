//! Creating volumes, from a plaintext image and key protectors.
//!
//! [`NewVolume`] holds the properties of the volume; [`NewVolume::write`] encrypts a plaintext
//! image into a file or device. The result has the form of docs/format.md §7.1, that of Windows 8
//! and later, which all tested programs that read BitLocker volumes accept. It was not tested with
//! Windows itself: treat new volumes as experimental there.
//!
//! The metadata needs space inside the volume ([`Placement`]), in areas that the file system never
//! uses, because they are read as zeros. These areas must be zero in the plaintext, or the volume
//! is not created. The file system must not use them later either (NTFS: placeholder files,
//! docs/format.md §2.7; FAT: clusters marked bad).
//!
//! ```no_run
//! use std::fs::File;
//! use fve::create::{NewProtector, NewVolume, Placement};
//! use fve::crypto::sector::Method;
//! use fve::secret::SecretText;
//! use fve::source::FileSource;
//!
//! let plaintext = FileSource::open("filesystem.img")?;
//! let placement = Placement::after_first_copy([0x20_0000, 0x60_0000, 0xA0_0000]);
//! let mut volume = NewVolume::new(Method::AES_XTS_256, 512, placement)?;
//! volume.protect(NewProtector::password(&SecretText::new("correct horse".into()))?);
//! volume.write(&plaintext, &File::create_new("volume.img").unwrap())?;
//! # Ok::<(), fve::error::Error>(())
//! ```

mod filesystem;
mod free_space;
mod inside;
mod metadata;
#[cfg(unix)]
mod open_file;
mod placement;
mod plaintext;
mod stage;
#[cfg(target_os = "linux")]
mod target;
#[cfg(feature = "testing")]
pub mod testing;
mod write;

pub use crate::enroll::{NewProtector, StartupKeyFile, StartupKeyForm};
pub use inside::Inside;
pub use placement::Placement;
pub use plaintext::Plaintext;
#[cfg(target_os = "linux")]
pub use target::{Target, TargetKind};
pub use write::WriteJob;

use std::time::SystemTime;

use self::stage::Stage;
use crate::crypto::random;
use crate::crypto::sector::Method;
use crate::enroll::{uncreatable, unfit};
use crate::error::Result;
use crate::format::bek::BekFile;
use crate::format::encode;
use crate::format::protector::ProtectorKind;
use crate::format::time::FileTime;
use crate::guid::Guid;
use crate::secret::{AutoUnlockKey, ExternalKey};

/// The properties of a volume to be created.
#[derive(Debug)]
pub struct NewVolume {
    id: Guid,
    created: FileTime,
    method: &'static Method,
    sector_size: u32,
    placement: Placement,
    hidden_sectors: u32,
    description: Option<String>,
    written_by: WrittenBy,
    protectors: Vec<NewProtector>,
    stage: Stage,
    #[cfg(feature = "testing")]
    extra_datums: Vec<testing::ExtraDatum>,
    auto_unlock_key: Option<AutoUnlockKey>,
}

/// The version of Windows that the metadata names as its creator (docs/format.md §3.9).
///
/// Windows writes its version there. The default is zeros, because no version of Windows created
/// the volume. Other programs ignore the field; how Windows treats zeros is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrittenBy {
    /// Major and minor version and build number of Windows.
    pub version: (u32, u32, u32),
    /// 1 for a workstation, 2 for a domain controller, 3 for a server, 0 for none of these.
    pub product_type: u8,
}

/// The properties of a volume that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// Identifier of the volume.
    pub id: Guid,
    /// Size of the volume in bytes.
    pub size: u64,
    /// Its key protectors, in the order on disk.
    pub protectors: Vec<(Guid, ProtectorKind)>,
}

impl NewVolume {
    /// A volume with this encryption method, sectors of `sector_size` bytes and its metadata at
    /// these positions. It has a new random identifier, and no description or key protectors.
    ///
    /// # Errors
    /// [`Error::Uncreatable`](crate::Error::Uncreatable) for a sector size other than 512 and
    /// 4096, [`Error::Environment`](crate::Error::Environment) when the
    /// system gives no random numbers.
    pub fn new(method: &'static Method, sector_size: u32, placement: Placement) -> Result<Self> {
        if !plaintext::SECTOR_SIZES.contains(&sector_size) {
            return Err(uncreatable(format!("sectors of {sector_size} bytes")));
        }
        Ok(Self {
            id: random::identifier()?,
            created: FileTime::from_system_time(SystemTime::now()),
            method,
            sector_size,
            placement,
            hidden_sectors: 0,
            description: None,
            written_by: WrittenBy::default(),
            protectors: Vec::new(),
            stage: Stage::Encrypted,
            #[cfg(feature = "testing")]
            extra_datums: Vec::new(),
            auto_unlock_key: None,
        })
    }

    /// Identifier of the volume.
    pub fn id(&self) -> Guid {
        self.id
    }

    /// Sets the description that Windows shows when it asks for a recovery password. Windows uses
    /// computer, volume and date, separated by blanks.
    pub fn describe(&mut self, description: impl Into<String>) -> &mut Self {
        self.description = Some(description.into());
        self
    }

    /// Sets the number of sectors before the volume's partition, which is needed only to start
    /// Windows from the volume.
    pub fn hidden_sectors(&mut self, sectors: u32) -> &mut Self {
        self.hidden_sectors = sectors;
        self
    }

    /// Sets the version of Windows that the metadata names as its creator.
    pub fn written_by(&mut self, system: WrittenBy) -> &mut Self {
        self.written_by = system;
        self
    }

    /// Adds an auto-unlock key, with which Windows on a system volume encrypts the external keys of
    /// data volumes.
    pub fn auto_unlock_key(&mut self, key: AutoUnlockKey) -> &mut Self {
        self.auto_unlock_key = Some(key);
        self
    }

    /// Adds a key protector after the existing ones.
    pub fn protect(&mut self, protector: NewProtector) -> &mut Self {
        self.protectors.push(protector);
        self
    }

    /// The files of all startup keys. Store them before [`NewVolume::write`]: without its key, the
    /// volume can never be unlocked.
    ///
    /// # Errors
    /// None that depend on the caller.
    pub fn startup_keys(&self, form: StartupKeyForm) -> Result<Vec<StartupKeyFile>> {
        let keys = self.protectors.iter();
        keys.filter_map(|protector| Some((protector.id(), protector.external_key()?)))
            .map(|(id, key)| {
                let content = encode::bek::bek(&BekFile {
                    id,
                    created: self.created,
                    written: self.created,
                    volume: (form == StartupKeyForm::NamesVolume).then_some(self.id),
                    key: ExternalKey::from_bytes(key.expose()),
                })
                .map_err(unfit)?;
                let name = format!("{id:X}.BEK");
                Ok(StartupKeyFile { name, content })
            })
            .collect()
    }

    /// Refuses metadata that readers would reject, or that could never be unlocked.
    fn check_protectors(&self) -> Result<()> {
        let count = |kind| {
            let kinds = self.protectors.iter().map(NewProtector::kind);
            kinds.filter(|other| *other == kind).count()
        };
        let keyless = self.stage.has_no_keys();
        if self.protectors.is_empty() != keyless {
            return Err(uncreatable(
                "it has no key protector and could never be unlocked",
            ));
        }
        if count(ProtectorKind::Password) > 1 {
            return Err(uncreatable("Windows supports only one password per volume"));
        }
        if count(ProtectorKind::ClearKey) > 1 {
            return Err(uncreatable("protection can be suspended only once"));
        }
        Ok(())
    }
}
