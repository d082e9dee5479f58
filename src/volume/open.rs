//! Opening: the only place where the source's bytes meet the format's parsers.

use std::sync::Arc;

use super::conversion::{ConversionMap, read_up_to};
use super::{Unmapped, Volume};
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::block::{MetadataBlock, REGION_LEN, VISTA_REGION_LEN};
use crate::format::boot::{BOOT_RECORD_LEN, BootRecord, Flavour, Layout};
use crate::format::copies::{Copies, Copy, CopyProblem};
use crate::source::ReadAt;

impl Volume {
    /// Opens the volume that begins at the source's first byte. Reads only.
    ///
    /// Damaged metadata does not keep it from opening: [`Volume::metadata`] says what is wrong.
    ///
    /// # Errors
    /// [`Error::NotBitLocker`], [`Error::Unsupported`] for kinds that are not known, and
    /// [`Error::Io`] when the first sector cannot be read.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self> {
        let mut sector = [0; BOOT_RECORD_LEN];
        if source.size() < BOOT_RECORD_LEN as u64 {
            return Err(Error::NotBitLocker {
                found: format!("only {} bytes, less than a sector", source.size()),
            });
        }
        source
            .read_exact_at(0, &mut sector)
            .map_err(|error| Error::io("cannot read the first sector", error))?;
        let unsupported = |fault: FormatError| Error::Unsupported {
            what: fault.to_string(),
        };
        let boot = BootRecord::parse(&sector)
            .map_err(unsupported)?
            .ok_or_else(|| Error::NotBitLocker {
                found: "the first sector is no BitLocker boot record".to_owned(),
            })?;
        let sector_size = boot
            .sector_size(source.sector_size())
            .map_err(unsupported)?;
        let copies = read_copies(source.as_ref(), &boot);
        let conversion = match boot.layout {
            Layout::Whole => None,
            Layout::EncryptOnWrite { information } => Some(
                ConversionMap::read(source.as_ref(), information, sector_size).map_err(|error| {
                    Unmapped {
                        cut_off: matches!(error, Error::Io { .. }),
                        what: error.to_string(),
                    }
                }),
            ),
        };
        Ok(Self {
            source,
            boot,
            sector_size,
            copies,
            conversion,
            pieced: None,
        })
    }

    /// Whether a volume begins here: its identifier, or what keeps it from being told. `None`
    /// where the first sector is something else.
    pub fn probe(source: &dyn ReadAt) -> Option<String> {
        let mut sector = [0; BOOT_RECORD_LEN];
        source.read_exact_at(0, &mut sector).ok()?;
        let boot = match BootRecord::parse(&sector) {
            Ok(boot) => boot?,
            Err(_) => return Some("of an unknown kind".to_owned()),
        };
        let copies = read_copies(source, &boot);
        Some(match copies.readable().first() {
            Some(block) => format!("volume {:X}", block.dataset.id),
            None => "volume with unreadable metadata".to_owned(),
        })
    }
}

/// Reads all copies. On Vista only the first is named by the boot record, and names the others.
fn read_copies(source: &dyn ReadAt, boot: &BootRecord) -> Copies {
    let mut copies: Vec<Copy> = (1..)
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

fn read_copy(source: &dyn ReadAt, boot: &BootRecord, number: u8, offset: u64) -> Copy {
    let len = match boot.flavour {
        Flavour::Vista => VISTA_REGION_LEN,
        Flavour::Windows7 | Flavour::ToGo => REGION_LEN,
    };
    let block = read_up_to(source, offset, usize::try_from(len).unwrap_or(0))
        .map_err(CopyProblem::from)
        .and_then(|bytes| Ok(MetadataBlock::parse(&bytes, offset)?));
    Copy {
        number,
        offset,
        block,
    }
}
