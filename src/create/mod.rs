//! New volumes: from a plaintext image and some protectors to an encrypted volume.
//!
//! [`NewVolume`] collects what the volume shall be; [`NewVolume::write`] encrypts a plaintext image
//! into a file or device. What comes out is the profile of docs/format.md §7.1: the form
//! of Windows 8 and later, which every other program that reads BitLocker volumes was seen to
//! accept. Windows itself was never asked: treat volumes made here as experimental there.
//!
//! The metadata needs room inside the volume ([`Placement`]): stretches that the file system on it
//! never uses, because they would read as zeros. This first form has one simple safe rule: those
//! stretches must hold nothing but zeros in the plaintext, or the volume is not made. Whoever makes
//! the file system has to keep them from being used later (NTFS: placeholder files,
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
mod inside;
mod metadata;
#[cfg(unix)]
mod open_file;
mod placement;
mod plaintext;
mod room;
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

/// A volume to be made.
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

/// The system that the metadata names as its maker (docs/format.md §3.9).
///
/// Windows writes its own version there. We are not Windows, so the default is all zeros: no
/// version of Windows made this. No other program looks at it; what Windows makes of a zero is not
/// known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrittenBy {
    /// Major and minor version and build number of Windows.
    pub version: (u32, u32, u32),
    /// 1 workstation, 2 domain controller, 3 server; 0 none of them.
    pub product_type: u8,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Created {
    /// Identifier of the volume.
    pub id: Guid,
    /// Size of the volume in bytes.
    pub size: u64,
    /// Its protectors, in the order on disk.
    pub protectors: Vec<(Guid, ProtectorKind)>,
}

impl NewVolume {
    /// A volume of that method, with sectors of `sector_size` bytes and its metadata at that place;
    /// a new identifier, made now, without description and protectors.
    ///
    /// # Errors
    /// [`Error::Uncreatable`](crate::Error::Uncreatable) for a sector size that Windows does not
    /// write (other than 512 and 4096), [`Error::Environment`](crate::Error::Environment) when the
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

    /// Sets the description that Windows shows beside the identifiers when it asks for a recovery
    /// password; its own form is computer, volume and date with a blank between each.
    pub fn describe(&mut self, description: impl Into<String>) -> &mut Self {
        self.description = Some(description.into());
        self
    }

    /// Sets how many sectors of the disk lie before the volume's partition; only a start of Windows
    /// from the volume needs it.
    pub fn hidden_sectors(&mut self, sectors: u32) -> &mut Self {
        self.hidden_sectors = sectors;
        self
    }

    /// Sets the system that the metadata names as its maker.
    pub fn written_by(&mut self, system: WrittenBy) -> &mut Self {
        self.written_by = system;
        self
    }

    /// Makes the volume a system volume that has the auto-unlock key: the key that Windows seals the
    /// external keys of the data volumes beside it with.
    pub fn auto_unlock_key(&mut self, key: AutoUnlockKey) -> &mut Self {
        self.auto_unlock_key = Some(key);
        self
    }

    /// Adds a protector behind those that there are.
    pub fn protect(&mut self, protector: NewProtector) -> &mut Self {
        self.protectors.push(protector);
        self
    }

    /// The files of all startup keys. Store them before [`NewVolume::write`]: a key that exists
    /// nowhere when the volume does locks it for ever.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn startup_keys(&self, form: StartupKeyForm) -> Result<Vec<StartupKeyFile>> {
        let keys = self.protectors.iter();
        keys.filter_map(|protector| Some((protector.id(), protector.external_key()?)))
            .map(|(id, key)| {
                let content = encode::bek::bek(&BekFile {
                    id,
                    created: self.created,
                    volume: (form == StartupKeyForm::NamesVolume).then_some(self.id),
                    key: ExternalKey::from_bytes(key.expose()),
                })
                .map_err(unfit)?;
                let name = format!("{id:X}.BEK");
                Ok(StartupKeyFile { name, content })
            })
            .collect()
    }

    /// What a later reader of the metadata would refuse or could never open.
    fn check_protectors(&self) -> Result<()> {
        let count = |kind| {
            let kinds = self.protectors.iter().map(NewProtector::kind);
            kinds.filter(|other| *other == kind).count()
        };
        let keyless = self.stage.has_no_keys();
        if self.protectors.is_empty() != keyless {
            return Err(uncreatable("it has no protector, so nobody could open it"));
        }
        if count(ProtectorKind::Password) > 1 {
            return Err(uncreatable("Windows knows only one password a volume"));
        }
        if count(ProtectorKind::ClearKey) > 1 {
            return Err(uncreatable("protection can be suspended only once"));
        }
        Ok(())
    }
}
