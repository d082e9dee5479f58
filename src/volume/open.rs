//! Opening a volume: the bytes of the source are parsed here.

use std::io;
use std::sync::Arc;

use super::agreement::StartProof;
use super::conversion::{ConversionMap, read_available, read_up_to};
use super::target::Target;
use super::{UnreadableMap, Volume};
use crate::error::{CandidateState, Error, Result};
use crate::format::FormatError;
use crate::format::block::{MetadataBlock, REGION_LEN, VISTA_REGION_LEN};
use crate::format::boot::{BOOT_RECORD_LEN, BootRecord, Flavor, Layout};
use crate::format::copies::{Copies, CopyProblem, MetadataCopy};
use crate::source::{ReadAt, WriteAt, read_uninterrupted};

impl Volume {
    /// Opens the volume that begins at the first byte of a source, for reading. [`Volume::open`]
    /// takes a path, and finds the volume on a disk with partitions.
    ///
    /// A volume with damaged metadata can be opened: [`Volume::metadata`] says what is wrong.
    ///
    /// # Errors
    /// [`Error::NotBitLocker`]; [`Error::Unsupported`] for a boot record of an unknown kind;
    /// [`Error::Io`] when the first sector cannot be read.
    pub fn from_source(source: impl ReadAt + 'static) -> Result<Self> {
        Self::from_shared(Arc::new(source))
    }

    /// Opens the volume that begins at the first byte of a source that can be written to, so that
    /// [`Unlocked::into_writable`](super::Unlocked::into_writable) can make it writable. Opening
    /// itself only reads. [`Volume::open_exclusive`] takes a path.
    ///
    /// The caller makes sure that nothing else writes to the source while the volume is open, as
    /// [`ExclusiveFile`](crate::source::ExclusiveFile) does.
    ///
    /// # Errors
    /// Those of [`Volume::from_source`].
    pub fn from_exclusive(source: impl WriteAt + 'static) -> Result<Self> {
        let target: Arc<dyn WriteAt> = Arc::new(source);
        let mut volume = Self::from_shared(target.clone())?;
        volume.target = Some(Target::new(target));
        Ok(volume)
    }

    fn from_shared(source: Arc<dyn ReadAt>) -> Result<Self> {
        let mut sector = [0; BOOT_RECORD_LEN];
        if source.size() < BOOT_RECORD_LEN as u64 {
            return Err(Error::not_bitlocker(format!(
                "only {} bytes, less than a sector",
                source.size()
            )));
        }
        read_uninterrupted(source.as_ref(), 0, &mut sector)
            .map_err(|error| Error::io("cannot read the first sector", error))?;
        let unsupported = |fault: FormatError| Error::unsupported(fault.to_string());
        let boot = BootRecord::parse(&sector)
            .map_err(unsupported)?
            .ok_or_else(|| {
                Error::not_bitlocker("the first sector is not a BitLocker boot record")
            })?;
        let sector_size = boot
            .sector_size(source.sector_size())
            .map_err(unsupported)?;
        let copies = read_copies(source.as_ref(), &boot);
        Ok(Self::assemble(
            source,
            boot,
            sector_size,
            copies,
            StartProof::ByBootRecord,
        ))
    }

    /// Opens a volume whose first sector is lost, by the metadata block at byte `offset` of the
    /// volume. Only this copy is used, and the volume cannot be made writable. If no other copy is
    /// where this one says, the plaintext must begin with a boot sector. `conversion_map` has the
    /// offsets of the two copies of the map's header, for an encrypt-on-write volume.
    ///
    /// # Errors
    /// [`Error::NotBitLocker`] when there is no block at `offset`; [`Error::Damaged`] when the block
    /// says that its copies are at other offsets, so that the volume begins elsewhere;
    /// [`Error::Unsupported`] for an encrypt-on-write volume without its map; [`Error::Io`] when the
    /// block cannot be read.
    pub fn open_by_metadata(
        source: Arc<dyn ReadAt>,
        offset: u64,
        conversion_map: Option<[u64; 2]>,
    ) -> Result<Self> {
        let len = usize::try_from(REGION_LEN).unwrap_or(0);
        let bytes = read_available(source.as_ref(), offset, len).map_err(|error| {
            Error::io(format!("cannot read the metadata at {offset:#x}"), error)
        })?;
        let block = MetadataBlock::parse(&bytes, offset)
            .map_err(|fault| Error::not_bitlocker(fault.to_string()))?;
        let number = (1..)
            .zip(block.copies)
            .find_map(|(number, copy)| (copy == offset).then_some(number))
            .ok_or_else(|| Error::Damaged {
                what: format!(
                    "the metadata has the offsets {:#x}, {:#x} and {:#x} for its copies, not {offset:#x}: the volume begins elsewhere",
                    block.copies[0], block.copies[1], block.copies[2]
                ),
                copies: Vec::new(),
            })?;
        let boot = boot_record_of(&block, conversion_map)?;
        let sector_size = boot
            .sector_size(source.sector_size())
            .map_err(|fault| Error::unsupported(fault.to_string()))?;
        let start_proof = match block.proves_start(&sound_copies(source.as_ref(), &block)) {
            true => StartProof::ByCopies,
            false => StartProof::Unproved,
        };
        let copies = Copies(vec![MetadataCopy {
            number,
            offset,
            block: Ok(block),
            cut_off_at: None,
        }]);
        Ok(Self::assemble(
            source,
            boot,
            sector_size,
            copies,
            start_proof,
        ))
    }

    /// Sets the length in bytes of the beginning of the volume that the source lacks.
    pub(crate) fn without_first(mut self, missing: u64) -> Self {
        self.missing = missing;
        self
    }

    pub(super) fn assemble(
        source: Arc<dyn ReadAt>,
        boot: BootRecord,
        sector_size: u32,
        copies: Copies,
        start_proof: StartProof,
    ) -> Self {
        let conversion = match boot.layout {
            Layout::Whole => None,
            Layout::EncryptOnWrite { information } => Some(
                ConversionMap::read(source.as_ref(), information, sector_size).map_err(|error| {
                    UnreadableMap {
                        cut_off: matches!(error, Error::Io { .. }),
                        what: error.with_causes().to_string(),
                    }
                }),
            ),
        };
        Self {
            source,
            target: None,
            boot,
            sector_size,
            copies,
            conversion,
            start_proof,
            missing: 0,
            key_package: None,
        }
    }

    /// Which volume begins at the first byte of a source. `None` if the first sector is not a
    /// BitLocker boot record, or the source is shorter than a sector.
    ///
    /// # Errors
    /// The reason why the first sector cannot be read.
    pub fn probe(source: &dyn ReadAt) -> io::Result<Option<CandidateState>> {
        let mut sector = [0; BOOT_RECORD_LEN];
        match read_uninterrupted(source, 0, &mut sector) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let boot = match BootRecord::parse(&sector) {
            Ok(Some(boot)) => boot,
            Ok(None) => return Ok(None),
            Err(_) => return Ok(Some(CandidateState::UnknownKind)),
        };
        let copies = read_copies(source, &boot);
        Ok(Some(match copies.readable().first() {
            Some(block) => {
                let protectors = block.protectors();
                let protectors = protectors.map(|protector| (protector.kind(), protector.id));
                CandidateState::identified(block.dataset.id, protectors.collect())
            }
            None => CandidateState::UnreadableMetadata,
        }))
    }
}

/// Offsets of the copies of `block` that are sound and where it says, the offset of `block` itself
/// first.
fn sound_copies(source: &dyn ReadAt, block: &MetadataBlock) -> Vec<u64> {
    let len = match block.version {
        1 => VISTA_REGION_LEN,
        _ => REGION_LEN,
    };
    let len = usize::try_from(len).unwrap_or(0);
    let is_there = |place: &u64| {
        let bytes = read_available(source, *place, len).ok();
        let other = bytes.and_then(|bytes| MetadataBlock::parse(&bytes, *place).ok());
        other.is_some_and(|other| {
            other.validation.crc_matches
                && other.dataset.id == block.dataset.id
                && other.copies == block.copies
        })
    };
    let others = block.copies.into_iter();
    let others = others.filter(|place| *place != block.position && is_there(place));
    std::iter::once(block.position).chain(others).collect()
}

/// The contents of the lost boot record that reading needs. The metadata has all of them except the
/// cluster size, and the size of a volume of Windows Vista.
fn boot_record_of(block: &MetadataBlock, conversion_map: Option<[u64; 2]>) -> Result<BootRecord> {
    let layout = match conversion_map {
        Some(information) => Layout::EncryptOnWrite { information },
        None if block.is_encrypt_on_write() => {
            return Err(Error::unsupported(
                "an encrypt-on-write volume whose conversion map is not found, so which of its areas are encrypted is not known",
            ));
        }
        None => Layout::Whole,
    };
    let sector_size = block.sector_size().unwrap_or(0);
    Ok(BootRecord {
        flavor: match block.version {
            1 => Flavor::Vista,
            _ => Flavor::Windows7,
        },
        layout,
        // 0 stands for the sector size of the medium, as in a boot record.
        bytes_per_sector: u16::try_from(sector_size).unwrap_or(0),
        sectors_per_cluster: sectors_per_cluster(sector_size),
        metadata_offsets: block.copies.to_vec(),
        volume_size: None,
    })
}

/// Sectors of a cluster. Clusters have 4096 bytes on all volumes seen, except BitLocker To Go
/// (docs/format.md §1.3 and §1.4).
pub(crate) fn sectors_per_cluster(sector_size: u32) -> u8 {
    let sectors = 4096_u32.checked_div(sector_size).unwrap_or(8);
    u8::try_from(sectors).unwrap_or(1)
}

/// Reads all copies of the metadata. The boot record of Windows Vista has the offset of only the first,
/// which has those of the others.
fn read_copies(source: &dyn ReadAt, boot: &BootRecord) -> Copies {
    let mut copies: Vec<MetadataCopy> = (1..)
        .zip(&boot.metadata_offsets)
        .map(|(number, offset)| read_copy(source, boot, number, *offset))
        .collect();
    if let [first] = copies.as_slice()
        && let Ok(block) = &first.block
    {
        let others = block.copies;
        for (number, offset) in (1..).zip(others).skip(1) {
            copies.push(read_copy(source, boot, number, offset));
        }
    }
    Copies(copies)
}

fn read_copy(source: &dyn ReadAt, boot: &BootRecord, number: u8, offset: u64) -> MetadataCopy {
    let len = match boot.flavor {
        Flavor::Vista => VISTA_REGION_LEN,
        Flavor::Windows7 | Flavor::ToGo => REGION_LEN,
    };
    let block = read_up_to(source, offset, usize::try_from(len).unwrap_or(0))
        .map_err(CopyProblem::from)
        .and_then(|bytes| Ok(MetadataBlock::parse(&bytes, offset)?));
    let end = source.size();
    MetadataCopy {
        number,
        offset,
        block,
        cut_off_at: (end < offset.saturating_add(len)).then_some(end),
    }
}
