//! Backups of a volume's metadata, for a volume whose metadata was lost or changed by mistake.
//!
//! A backup of a protected volume contains no unencrypted key. But **every credential that unlocked the
//! volume when the backup was taken unlocks it again after a restore**, also removed ones: keep a backup
//! as safe as the credentials.
//!
//! | offset | size | |
//! |---|---|---|
//! | 0x00 | 8 | `FVEMETA` and a zero |
//! | 0x08 | 4 | version, 1 |
//! | 0x0C | 4 | number of parts, 4 |
//! | 0x10 | 16 | identifier of the volume |
//! | 0x20 | 8 | size of the volume in bytes |
//! | 0x28 | 8 | when the backup was taken, as a FILETIME |
//! | 0x30 | | the parts, each: offset on the volume (8), length (4), zero (4), bytes |
//! | end | 32 | SHA-256 of everything before it |
//!
//! All numbers are little-endian. The parts are the boot record (one sector) and the regions of the three
//! metadata copies. A conversion map is not part of it: it changes while the volume is used, and an old
//! one would make data unreadable.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{Error, Remedy, Result};
use crate::format::FormatError;
use crate::format::block::{MetadataBlock, REGION_LEN};
use crate::format::time::FileTime;
use crate::format::wire::Fields;
use crate::guid::Guid;
use crate::source::{MemoryOverlay, ReadAt, WriteAt};
use crate::unlock::Credential;
use crate::volume::{UnlockOptions, Volume};

const MAGIC: &[u8; 8] = b"FVEMETA\0";
const VERSION: u32 = 1;
const HEAD_LEN: usize = 0x30;
const PART_HEAD_LEN: usize = 16;
const HASH_LEN: usize = 32;
const PARTS: usize = 4;
/// Largest sector of any volume (docs/format.md §1.3).
const MAX_SECTOR: usize = 4096;

/// A backup of a volume's metadata.
pub struct Backup {
    id: Guid,
    size: u64,
    taken: FileTime,
    /// Offset on the volume and bytes: of the boot record, then of the copies 1 to 3.
    parts: Vec<(u64, Vec<u8>)>,
}

/// What restoring a backup writes, or has written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restoration {
    /// Numbers of the metadata copies that differ from the backup.
    pub copies: Vec<u8>,
    /// Whether the boot record differs from the backup.
    pub boot_record: bool,
}

impl Backup {
    /// Length in bytes that no backup exceeds: read no more of a file.
    pub const MAX_LEN: u64 = 0x4_0000;

    /// Takes a backup of the metadata that is on the disk now.
    ///
    /// # Errors
    /// [`Error::Damaged`] when no copy of the metadata is sound, [`Error::Unsupported`] for volumes of
    /// Windows Vista, [`Error::Io`] when the volume cannot be read.
    pub fn of(volume: &Volume) -> Result<Self> {
        let block = volume.metadata()?;
        if block.version != 2 {
            return Err(Error::unsupported(
                "backups of the metadata of a Windows Vista volume",
            ));
        }
        let read = |offset: u64, len: usize| {
            let mut bytes = vec![0; len];
            volume
                .source()
                .read_exact_at(offset, &mut bytes)
                .map(|()| (offset, bytes))
                .map_err(|error| {
                    Error::io(format!("cannot read the metadata at {offset:#x}"), error)
                })
        };
        let mut parts = vec![read(0, volume.sector_size() as usize)?];
        for offset in block.copies {
            parts.push(read(offset, region_len())?);
        }
        let backup = Self {
            id: block.dataset.id,
            size: volume.source_size(),
            taken: FileTime::from_system_time(SystemTime::now()),
            parts,
        };
        // Make sure that the file can be read and restored before anyone relies on it.
        Self::parse(&backup.to_bytes())
    }

    /// Identifier of the volume.
    pub fn volume_id(&self) -> Guid {
        self.id
    }

    /// Size of the volume in bytes.
    pub fn volume_size(&self) -> u64 {
        self.size
    }

    /// When the backup was taken.
    pub fn taken(&self) -> FileTime {
        self.taken
    }

    /// The content of the backup file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.parts.len()).unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&self.id.to_disk());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.extend_from_slice(&self.taken.0.to_le_bytes());
        for (offset, part) in &self.parts {
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(0).to_le_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(part);
        }
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        bytes
    }

    /// Whether a file begins as a backup does.
    pub(super) fn begins_with_magic(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Reads the content of a backup file.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] when it is not a backup, is damaged, or has no sound metadata.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let backup = Self::try_parse(bytes).map_err(not_a_backup)?;
        backup.metadata()?;
        Ok(backup)
    }

    fn try_parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let file = Fields::new("metadata backup", bytes, 0);
        if file.slice(0, MAGIC.len())? != MAGIC {
            return Err(file.fault("it does not begin with FVEMETA"));
        }
        let version = file.u32(0x08)?;
        if version != VERSION {
            return Err(file.fault(format!("its version is {version}, not {VERSION}")));
        }
        let end = bytes.len().saturating_sub(HASH_LEN);
        let hash: [u8; HASH_LEN] = file.array(end)?;
        let computed: [u8; HASH_LEN] = Sha256::digest(file.slice(0, end)?).into();
        if !bool::from(hash.ct_eq(&computed)) {
            return Err(file.fault("its SHA-256 does not match its content"));
        }
        let mut at = HEAD_LEN;
        let mut parts = Vec::new();
        for number in 0..PARTS {
            let offset = file.u64(at)?;
            let len = file.u32(at.saturating_add(8))? as usize;
            let boot = number == 0 && offset == 0 && (512..=MAX_SECTOR).contains(&len);
            let region = number > 0 && offset >= 512 && len == region_len();
            if !boot && !region {
                return Err(file.fault(format!(
                    "it cannot have a part of {len} bytes for {offset:#x}"
                )));
            }
            at = at.saturating_add(PART_HEAD_LEN);
            parts.push((offset, file.slice(at, len)?.to_vec()));
            at = at.saturating_add(len);
        }
        if at != end || file.u32(0x0C)? as usize != PARTS {
            return Err(file.fault("the number or length of its parts is wrong"));
        }
        Ok(Self {
            id: file.guid(0x10)?,
            size: file.u64(0x20)?,
            taken: FileTime(file.u64(0x28)?),
            parts,
        })
    }

    /// Whether the disk holds the bytes of this backup.
    pub(super) fn is_on(&self, disk: &dyn ReadAt) -> bool {
        self.parts.iter().all(|(offset, part)| {
            let mut current = vec![0; part.len()];
            disk.read_exact_at(*offset, &mut current).is_ok() && current == *part
        })
    }

    /// The metadata in the backup: the first sound copy.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] when there is none. A backup that was parsed has one.
    pub fn metadata(&self) -> Result<MetadataBlock> {
        let copies = self.parts.iter().skip(1);
        let places: Vec<_> = copies.clone().map(|(offset, _)| *offset).collect();
        copies
            .filter_map(|(offset, region)| MetadataBlock::parse(region, *offset).ok())
            .find(|block| {
                block.validation.crc_matches
                    && block.dataset.id == self.id
                    && block.copies.as_slice() == places
                    && block
                        .copies
                        .iter()
                        .all(|offset| offset.saturating_add(REGION_LEN) <= self.size)
            })
            .ok_or_else(|| {
                Error::unchangeable(
                    "the backup has no sound metadata",
                    "use another backup: this one was taken of a damaged volume",
                )
            })
    }

    /// What to write: the boot record, and the sound region to the place of every copy, because the
    /// backup may have been taken of a volume with a damaged copy.
    fn wanted(&self) -> Result<Vec<(u64, Vec<u8>)>> {
        let position = self.metadata()?.position;
        let sound = self
            .parts
            .iter()
            .find(|(offset, _)| *offset == position)
            .map(|(_, region)| region.clone())
            .unwrap_or_default();
        let parts = self.parts.iter().enumerate();
        Ok(parts
            .map(|(number, (offset, part))| match number {
                0 => (*offset, part.clone()),
                _ => (*offset, sound.clone()),
            })
            .collect())
    }

    /// Checks that the backup is of the volume that fills `target`, and returns what restoring it
    /// would write.
    ///
    /// Metadata that is still on the volume shows whether it is the same volume. If none can be read, a
    /// credential is needed: it must unlock the backup and then decrypt the volume's data.
    ///
    /// # Errors
    /// [`Error::Unchangeable`] when it is another volume, when the volume was converted since, or when
    /// neither metadata nor credential shows which volume it is; [`Error::Io`] when the volume cannot
    /// be read; the errors of [`Volume::unlock`] for the credentials.
    pub fn check<C: Credential>(
        &self,
        target: &Arc<dyn WriteAt>,
        credentials: &[C],
    ) -> Result<Restoration> {
        if target.size() != self.size {
            return Err(Error::unchangeable(
                format!(
                    "the backup is of a volume of {} bytes, but this one has {}",
                    self.size,
                    target.size()
                ),
                OTHER_VOLUME,
            ));
        }
        let known = self.compare_with(target)?;
        if !known || !credentials.is_empty() {
            self.prove_identity(target, credentials)?;
        }
        // A part that cannot be read counts as different: a disk may replace a bad sector when it is
        // written.
        let differs = |(offset, part): &(u64, Vec<u8>)| {
            let mut current = vec![0; part.len()];
            target.read_exact_at(*offset, &mut current).is_err() || current != *part
        };
        let wanted = self.wanted()?;
        let mut numbered = (0..).zip(&wanted);
        Ok(Restoration {
            boot_record: numbered.next().is_some_and(|(_, part)| differs(part)),
            copies: numbered
                .filter(|(_, part)| differs(part))
                .map(|(number, _)| number)
                .collect(),
        })
    }

    /// Compares the backup with the metadata on the volume: `true` if it is of the same volume, `false`
    /// if the volume has no readable metadata.
    fn compare_with(&self, target: &Arc<dyn WriteAt>) -> Result<bool> {
        let volume = match Volume::from_source(target.clone()) {
            Ok(volume) => volume,
            // The unread sectors could be those of another volume, so a read error is not "no metadata".
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(_) => return Ok(false),
        };
        let ours = self.metadata()?;
        let readable = volume.copies().readable();
        if readable.is_empty()
            && let Some(error) = volume.copies().read_error()
        {
            return Err(Error::io("cannot read any metadata on the volume", error));
        }
        if let Some(other) = readable.iter().find(|block| block.dataset.id != self.id) {
            return Err(Error::unchangeable(
                format!(
                    "the backup is of volume {:X}, but this is {:X}",
                    self.id, other.dataset.id
                ),
                OTHER_VOLUME,
            ));
        }
        for current in volume.copies().sound() {
            let facts = |block: &MetadataBlock| {
                (
                    block.dataset.created,
                    block.dataset.method,
                    block.copies,
                    block.header_source,
                    (block.moved_sectors, block.state, block.next_state),
                    block.encrypted_extent,
                )
            };
            if facts(current) != facts(&ours) {
                return Err(Error::unchangeable(
                    "the volume was converted or encrypted again after the backup was taken",
                    "take a new backup: restoring this one would make data unreadable",
                ));
            }
        }
        Ok(!readable.is_empty())
    }

    /// Unlocks the volume as it would be after restoring, in memory, and checks that it begins with a file
    /// system.
    fn prove_identity<C: Credential>(
        &self,
        target: &Arc<dyn WriteAt>,
        credentials: &[C],
    ) -> Result<()> {
        if credentials.is_empty() {
            return Err(Error::unchangeable(
                "the volume's own metadata cannot be read, so it is not known whether the backup is of this volume",
                "give a credential that unlocks the backup: the decrypted data then shows whether it fits",
            ));
        }
        let mut trial = MemoryOverlay::new(target.clone());
        for (offset, bytes) in self.wanted()? {
            trial
                .write(offset, &bytes)
                .map_err(|error| Error::io("cannot read the volume around the metadata", error))?;
        }
        let volume = Volume::from_source(Arc::new(trial))?;
        let unlocked = volume.unlock(credentials, &UnlockOptions::default())?;
        if unlocked.begins_with_file_system()? {
            return Ok(());
        }
        Err(Error::unchangeable(
            "the credential unlocks the backup, but the decrypted volume has no file system",
            OTHER_VOLUME,
        ))
    }

    /// Writes the backup to the volume that fills `target`, after the checks of [`Backup::check`]: the
    /// copies one after the other and the boot record last, each flushed. A
    /// [`Managed`](super::Managed) that was opened before refuses to change the volume afterwards.
    /// After a failure in the middle, the backup can be restored again.
    ///
    /// # Errors
    /// Those of [`Backup::check`]; [`Error::Io`] when writing fails.
    pub fn restore<C: Credential>(
        &self,
        target: &Arc<dyn WriteAt>,
        credentials: &[C],
    ) -> Result<Restoration> {
        let restoration = self.check(target, credentials)?;
        let wanted = self.wanted()?;
        for (number, (offset, part)) in (0u8..).zip(&wanted).collect::<Vec<_>>().into_iter().rev() {
            let differs = match number {
                0 => restoration.boot_record,
                copy => restoration.copies.contains(&copy),
            };
            if differs {
                target
                    .write_all_at(*offset, part)
                    .and_then(|()| target.flush())
                    .map_err(|error| {
                        Error::io(
                            format!("cannot write the metadata at {offset:#x}; restore the backup again once the cause is fixed"),
                            error,
                        )
                    })?;
            }
        }
        let volume = Volume::from_source(target.clone())?;
        if let Some(error) = volume.copies().read_error() {
            return Err(Error::io(
                "the metadata was restored, but cannot be read back; restore the backup again once the cause is fixed",
                error,
            ));
        }
        if volume.copies().faults().is_empty() && !volume.copies().disagree() {
            return Ok(restoration);
        }
        Err(Error::Damaged {
            what: "the restored metadata does not read back as it was written".to_owned(),
            copies: volume.copies().faults(),
        })
    }
}

const OTHER_VOLUME: &str =
    "use a backup of this volume: a backup can be restored only to its own volume";

fn region_len() -> usize {
    usize::try_from(REGION_LEN).unwrap_or(0)
}

fn not_a_backup(fault: FormatError) -> Error {
    Error::unchangeable(
        format!("the file is not a usable metadata backup: {}", fault.what),
        Remedy::BackUpMetadata,
    )
}

impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backup")
            .field("id", &self.id)
            .field("size", &self.size)
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}
