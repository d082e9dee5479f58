//! A volume with the keys of a key package in place of its own, which are damaged
//! (docs/format-recovery.md §3.1 and §3.4).

use super::{Volume, evidence};
use crate::error::{Error, Result};
use crate::format::block::{Dataset, HeaderFields, MetadataBlock, State};
use crate::format::boot::Flavor;
use crate::format::copies::{Copies, MetadataCopy};
use crate::format::datum::{Body, Datum, Virtualization};
use crate::format::key_package::KeyPackage;
use crate::guid::Guid;

/// Where the state of a volume with the keys of a key package comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyPackageOrigin {
    /// From a metadata copy, or from the package.
    Known,
    /// From neither: the whole volume is assumed to be encrypted.
    Assumed,
}

impl KeyPackageOrigin {
    /// The warning for the user.
    pub(super) fn warning(self) -> String {
        let state = match self {
            Self::Known => "what the metadata says of the volume is not proved",
            Self::Assumed => {
                "no copy of the metadata can be read, so all of the volume is taken for encrypted"
            }
        };
        format!("the keys come from a key package: {state}")
    }

    /// Checks an assumed state with the first sector.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it does not look like one; [`Error::Io`] if it cannot be read.
    pub(super) fn check(self, unlocked: &super::Unlocked) -> Result<()> {
        if self == Self::Known {
            return Ok(());
        }
        let mut sector = vec![0; unlocked.sector_size() as usize];
        let read = unlocked.read_exact_at(0, &mut sector);
        // A sector that cannot be read does not show that the assumption is wrong.
        if let Err(error @ Error::Io { .. }) = read {
            return Err(error);
        }
        let plausible = evidence::is_boot_sector(&sector) || evidence::is_blank(&sector);
        if read.is_ok() && plausible {
            return Ok(());
        }
        Err(Error::Damaged {
            what: "the key package opens, but what it decrypts does not begin with a file system, and no copy of the metadata can be read".to_owned(),
            copies: Vec::new(),
        })
    }
}

impl Volume {
    /// The same volume with the keys of a key package in place of its own. What the package does not
    /// have comes from a metadata copy that can be read, or else from the boot record. Nothing but
    /// the keys is proved, so the volume cannot be made writable.
    ///
    /// # Errors
    /// [`Error::BadCredential`] for the package of another volume; [`Error::Damaged`] when neither
    /// the package nor a metadata copy says where the first sectors are; [`Error::Unsupported`] for a
    /// volume of Windows Vista of which no copy can be read.
    pub fn with_key_package(&self, mut package: KeyPackage) -> Result<Self> {
        let (header, key_package) = self.header_for(&package)?;
        // The identifier is compared only with a sound copy: in a damaged one it may be damaged too.
        let sound = self.metadata().ok().map(|block| block.dataset.id);
        check_identifier(sound, package.dataset.as_ref())?;
        let found = self.metadata_as_found();
        let dataset = package.dataset.take();
        let dataset = dataset.or_else(|| Some(found?.dataset.clone()));
        let position = header.copies[0];
        let mut datums = package.datums;
        let place = found.and_then(|block| {
            let mut own = block.datums.iter();
            own.find(|datum| matches!(datum.body, Body::Virtualization(_)))
        });
        let has_place = |datum: &Datum| matches!(datum.body, Body::Virtualization(_));
        if !datums.iter().any(has_place)
            && let Some(place) = place
        {
            datums.extend(copied(place));
        }
        let block = MetadataBlock::assembled(header, dataset, datums, position);
        let copies = Copies(vec![MetadataCopy {
            number: 1,
            offset: position,
            block: Ok(block),
            cut_off_at: None,
        }]);
        let mut volume = Self::assemble(
            self.source.clone(),
            self.boot.clone(),
            self.sector_size,
            copies,
            self.start_proof,
        );
        volume.missing = self.missing;
        volume.key_package = Some(key_package);
        Ok(volume)
    }

    /// Size, state and offsets of the volume: from a metadata copy that does not contradict the
    /// package, or else from the package and the boot record.
    fn header_for(&self, package: &KeyPackage) -> Result<(HeaderFields, KeyPackageOrigin)> {
        let place = package.virtualization();
        let sector = u64::from(self.sector_size);
        let fits = |header: &HeaderFields| {
            let agrees = |place: &Virtualization| {
                (place.offset, place.size)
                    == (
                        header.header_source,
                        u64::from(header.moved_sectors).saturating_mul(sector),
                    )
            };
            let boot = &self.boot.metadata_offsets;
            place.is_none_or(agrees) && header.copies.starts_with(boot)
        };
        let own = self
            .copies
            .readable()
            .into_iter()
            .map(MetadataBlock::header_fields);
        let of_package = package.block.iter().map(MetadataBlock::header_fields);
        if let Some(header) = own.chain(of_package).find(fits) {
            return Ok((header, KeyPackageOrigin::Known));
        }
        if self.boot.flavor == Flavor::Vista {
            return Err(Error::unsupported(
                "a volume of Windows Vista of which no metadata copy can be read",
            ));
        }
        let copies = <[u64; 3]>::try_from(self.boot.metadata_offsets.as_slice()).ok();
        let (Some(place), Some(copies)) = (place, copies) else {
            return Err(Error::Damaged {
                what: "no copy of the metadata can be read, and the key package does not say where the first sectors of the volume are".to_owned(),
                copies: self.copies.faults(),
            });
        };
        let header = HeaderFields {
            version: 2,
            state: State::ENCRYPTED,
            next_state: State::ENCRYPTED,
            encrypted_extent: self.source.size(),
            conversion_size: 0,
            moved_sectors: u32::try_from(place.size / sector).unwrap_or(0),
            copies,
            header_source: place.offset,
        };
        Ok((header, KeyPackageOrigin::Assumed))
    }
}

/// A copy of the datum that says where the first sectors were moved to.
fn copied(datum: &Datum) -> Option<Datum> {
    let Body::Virtualization(place) = &datum.body else {
        return None;
    };
    Some(Datum {
        role: datum.role,
        datum_type: datum.datum_type,
        flags: datum.flags,
        position: datum.position,
        size: datum.size,
        body: Body::Virtualization(place.clone()),
    })
}

fn check_identifier(volume: Option<Guid>, package: Option<&Dataset>) -> Result<()> {
    let (Some(volume), Some(package)) = (volume, package.map(|dataset| dataset.id)) else {
        return Ok(());
    };
    if volume == package {
        return Ok(());
    }
    Err(Error::BadCredential {
        credential: "key package".to_owned(),
        why: format!("it belongs to volume {package:X}, and this is volume {volume:X}"),
        remedy: Some("a key package unlocks only the volume that it was exported from".into()),
    })
}
