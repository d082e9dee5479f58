//! A volume that `fve repair scan` found, and the options that open it.

use std::sync::Arc;

use fve::crypto::sector::Method;
use fve::error::Error;
use fve::format::block::MetadataBlock;
use fve::repair::{FoundBlock, FoundVolume, written};
use fve::source::{Place, ReadAt, locate};
use fve::unlock::Credential;
use fve::volume::Volume;

use super::args::ScanArgs;
use super::search::{MetadataState, try_all};
use crate::cli::failure::Failure;

/// A volume that was found, opened, and unlocked if there are credentials.
pub(super) struct ScannedVolume<'a> {
    pub(super) found: &'a FoundVolume,
    pub(super) volume: Result<Volume, Error>,
    /// Whether the credentials unlock the volume; `None` without credentials.
    pub(super) unlocked: Option<Result<MetadataState, Error>>,
    /// Whether the source lacks the start of the volume, so that nothing can be decrypted.
    pub(super) piece: bool,
    pub(super) arguments: String,
}

impl<'a> ScannedVolume<'a> {
    pub(super) fn at(
        disk: &Arc<dyn ReadAt>,
        found: &'a FoundVolume,
        args: &ScanArgs,
        credentials: &[Box<dyn Credential>],
    ) -> Result<Self, Failure> {
        let whole = open_intact(disk, found);
        let arguments = match &whole {
            Some((_, arguments)) => arguments.clone(),
            None => {
                let offset = found.best().map_or(0, |best| best.offset);
                match found.evidence.is_proof() || !found.is_piece(disk) {
                    true => format!(
                        "--metadata-offset {offset:#x} --volume-start {}",
                        written(found.start)
                    ),
                    false => format!("--metadata-offset {offset:#x}"),
                }
            }
        };
        let volume = match whole {
            Some((volume, _)) => Ok(volume),
            None => found.open(disk),
        };
        let piece = found.is_piece(disk);
        let unlocked = match &volume {
            Ok(volume) if piece && !credentials.is_empty() => Some(
                volume
                    .unlock_master_key(credentials, &args.credentials.options()?)
                    .map(|key| match key.is_proved() {
                        true => MetadataState::Sound,
                        false => MetadataState::Damaged,
                    }),
            ),
            Ok(volume) if !credentials.is_empty() => {
                Some(try_all(volume, &args.credentials, credentials)?)
            }
            _ => None,
        };
        let accepted = matches!(unlocked, Some(Ok(MetadataState::Damaged)));
        let arguments = match accepted {
            true => format!("{arguments} --accept-damaged-metadata"),
            false => arguments,
        };
        Ok(Self {
            found,
            volume,
            unlocked,
            piece,
            arguments: arguments.trim_start().to_owned(),
        })
    }

    pub(super) fn block(&self) -> Option<&MetadataBlock> {
        self.found.best().map(|best| &best.block)
    }

    pub(super) fn method(&self) -> Option<&'static str> {
        let method = Method::by_code(self.block()?.dataset.method)?;
        Some(method.name)
    }

    /// Size of the volume in bytes: as its metadata says, or else that of its partition.
    pub(super) fn size(&self) -> Option<u64> {
        let volume = self.volume.as_ref().ok();
        let declared = volume.and_then(Volume::declared_size);
        declared.or(self.found.size)
    }

    pub(super) fn state(&self) -> Option<&'static str> {
        let volume = self.volume.as_ref().ok()?;
        Some(volume.status().conversion.name())
    }
}

/// Opens a volume whose boot record and metadata are intact and agree, with the options that are needed
/// besides SOURCE.
fn open_intact(disk: &Arc<dyn ReadAt>, found: &FoundVolume) -> Option<(Volume, String)> {
    if !found.evidence.boot_record {
        return None;
    }
    let (window, _) = found.window(disk).ok()?;
    let volume = Volume::from_source(window).ok()?;
    let sound = volume.metadata().ok()?;
    if sound.dataset.id != found.id || volume.check_boot_record(sound).is_err() {
        return None;
    }
    let located = locate(disk.clone(), Place::Auto, &Volume::probe).ok();
    let found_alone = located.is_some_and(|located| {
        i64::try_from(located.start).is_ok_and(|start| start == found.start)
    });
    let arguments = match (found_alone, found.evidence.partition) {
        (true, _) => String::new(),
        (false, Some(number)) => format!("--partition {number}"),
        (false, None) => format!("--offset {}", found.start),
    };
    Some((volume, arguments))
}

/// Which metadata copy a block is, from 1; `None` if the start of the volume is a guess.
pub(super) fn copy_number(found: &FoundBlock, volume: &FoundVolume) -> Option<u8> {
    let proved = volume.evidence.is_proof().then_some(volume.start)?;
    let inside = u64::try_from(i128::from(found.offset) - i128::from(proved)).ok()?;
    let mut copies = (1..).zip(found.block.copies);
    copies.find_map(|(number, copy)| (copy == inside).then_some(number))
}

/// Whether the block is identical to the best block that was found.
pub(super) fn is_current(found: &FoundBlock, volume: &FoundVolume) -> bool {
    let best = volume.best();
    best.is_some_and(|best| best.block.bytes() == found.block.bytes())
}
