//! Making the layout map from the metadata: which bytes are encrypted, which are moved, which are
//! hidden, and how many there are (docs/format.md §2.7 and §5.4).

use std::ops::Range;

use super::conversion::ConversionMap;
use super::layout::{Content, Layout};
use super::unlocked::Sectors;
use super::{Volume, evidence, is_decrypted};
use crate::error::{Error, Result};
use crate::format::block::{MetadataBlock, REGION_LEN, State, VISTA_REGION_LEN};
use crate::format::boot::{self, Flavor};

/// Length of the beginning of a Vista volume that is not encrypted: 16 sectors of 512 bytes
/// (docs/format.md §5.4).
const VISTA_PLAIN_LEN: u64 = 0x2000;

/// The layout map, and what the user should know about it.
pub(super) struct Plan {
    pub(super) layout: Layout,
    pub(super) warnings: Vec<String>,
}

impl Volume {
    /// Makes the layout map. The first sector is decrypted only if the metadata leaves something open.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Damaged`] and [`Error::Contradicted`] when it is not known
    /// which bytes are encrypted.
    pub(super) fn plan(&self, block: &MetadataBlock, sectors: &Sectors) -> Result<Plan> {
        self.check_boot_record(block)?;
        if let Some(map) = self.conversion_map() {
            self.check_map(block, map, self.size_on_record(block))?;
        }
        let mut warnings = Vec::new();
        if self.missing > 0 {
            warnings.push(format!(
                "the image lacks the first {} bytes of the volume",
                self.missing
            ));
        }
        let present = self.source.size();
        let size = match self.size_on_record(block) {
            Some(size) if size <= present => size,
            // The image was cut off, or the recorded size is out of date. The file system knows which.
            Some(size) => match self.size_of_file_system(block, size, sectors)? {
                Some(inside) if inside <= present => {
                    warnings.push(format!(
                        "the metadata gives the volume {size} bytes, but its file system fits into the {present} bytes of the source"
                    ));
                    present
                }
                _ => size,
            },
            None => self
                .size_of_file_system(block, present, sectors)?
                .map_or(present, |inside| inside.max(present)),
        };
        if size > present {
            warnings.push(format!(
                "the image is cut off: it holds {present} of the volume's {size} bytes"
            ));
        }
        let layout = self.layout(block, size)?;
        self.check_conversion(block, &layout, sectors)?;
        Ok(Plan { layout, warnings })
    }

    /// Size of the volume in bytes according to the metadata or boot record, if they say.
    pub(super) fn size_on_record(&self, block: &MetadataBlock) -> Option<u64> {
        if self.boot.flavor == Flavor::Vista {
            return self.boot.volume_size;
        }
        // In all other states, the field is the watermark of a conversion.
        let is_size = block.state == State::ENCRYPTED && block.encrypted_extent != 0;
        is_size.then_some(block.encrypted_extent)
    }

    /// Size of the file system according to its boot sector, if that can be decrypted. `size` is the
    /// size of the volume to assume.
    fn size_of_file_system(
        &self,
        block: &MetadataBlock,
        size: u64,
        sectors: &Sectors,
    ) -> Result<Option<u64>> {
        let layout = self.layout(block, size)?;
        let mut sector = vec![0; self.sector_size as usize];
        let read = sectors.read(&layout, 0, &mut sector);
        Ok(read.ok().and_then(|()| evidence::file_system_size(&sector)))
    }

    fn layout(&self, block: &MetadataBlock, size: u64) -> Result<Layout> {
        let mut layout = self.encryption(block, size)?;
        // Before their place is hidden: the moved sectors are shown at the start of the volume.
        let moved: Vec<_> = match self.moved(block, size)? {
            Some(moved) => layout.resolve(moved).collect(),
            None => Vec::new(),
        };
        for range in self.hidden(block, size)? {
            layout.paint(range, Content::Zero);
        }
        if self.boot.flavor == Flavor::Vista {
            self.hide_vista_clusters(block, &mut layout);
            self.restore_vista_boot_sectors(block, &mut layout);
        }
        for extent in moved {
            // They are encrypted or not according to the place that they were moved to
            // (docs/format.md §2.7).
            let shown =
                extent.range.start - block.header_source..extent.range.end - block.header_source;
            layout.paint(shown, extent.content);
        }
        Ok(layout)
    }

    /// Which bytes of the source are encrypted.
    fn encryption(&self, block: &MetadataBlock, size: u64) -> Result<Layout> {
        let mut layout = Layout::default();
        if let Some(conversion) = &self.conversion {
            let map = conversion.as_ref().map_err(|fault| {
                if fault.cut_off {
                    Error::io(fault.what.clone(), std::io::ErrorKind::UnexpectedEof.into())
                } else {
                    Error::Damaged {
                        what: fault.what.clone(),
                        copies: Vec::new(),
                    }
                }
            })?;
            follow_map(map, size, &mut layout);
            return Ok(layout);
        }
        let watermark = block.encrypted_extent;
        if self.boot.flavor == Flavor::Vista {
            layout.push_in_place(VISTA_PLAIN_LEN.min(size), false);
        }
        match block.state {
            State::DECRYPTED => layout.push_in_place(size, false),
            State::ENCRYPTED => layout.push_in_place(size, true),
            State::PAUSED | State::SWITCHING | State::SWITCHING_DETACHED => {
                let in_flight = u64::from(block.conversion_size);
                if block.state == State::SWITCHING && in_flight == 0 {
                    return Err(Error::unsupported(
                        "a conversion was interrupted inside a chunk, and the metadata does not record which",
                    ));
                }
                layout.push_in_place(watermark.min(size), true);
                if block.state != State::PAUSED {
                    layout.push(
                        watermark.saturating_add(in_flight).min(size),
                        Content::Unknown(
                            "a conversion was interrupted here, so it is not known whether they are encrypted",
                        ),
                    );
                }
                layout.push_in_place(size, false);
            }
            State(state) => {
                return Err(Error::unsupported(format!(
                    "the volume is in the unknown state {state}"
                )));
            }
        }
        Ok(layout)
    }

    /// The ranges of the volume that Windows hides: metadata copies, conversion map, and the place of
    /// the moved sectors.
    fn hidden(&self, block: &MetadataBlock, size: u64) -> Result<Vec<Range<u64>>> {
        let region = match self.boot.flavor {
            Flavor::Vista => VISTA_REGION_LEN,
            Flavor::Windows7 | Flavor::ToGo => REGION_LEN.next_multiple_of(self.sector_size.into()),
        };
        let mut hidden: Vec<_> = block
            .copies
            .into_iter()
            .map(|copy| copy..copy.saturating_add(region))
            .collect();
        hidden.extend(self.moved(block, size)?);
        hidden.extend(
            self.conversion_map()
                .into_iter()
                .flat_map(|map| map.reserved.iter().cloned()),
        );
        Ok(hidden)
    }

    /// The range that the first sectors of the volume were moved to.
    fn moved(&self, block: &MetadataBlock, size: u64) -> Result<Option<Range<u64>>> {
        if self.boot.flavor == Flavor::Vista {
            return Ok(None);
        }
        let sector = u64::from(self.sector_size);
        let len = u64::from(block.moved_sectors) * sector;
        let start = block.header_source;
        let impossible = |what: String| Error::Damaged {
            what,
            copies: Vec::new(),
        };
        if let Some(datum) = block.virtualization()
            && (datum.offset, datum.size) != (start, len)
        {
            return Err(impossible(format!(
                "the metadata names two places for the moved boot sectors: {len} bytes at {start:#x}, and {} bytes at {:#x}",
                datum.size, datum.offset
            )));
        }
        let end = start
            .checked_add(len)
            .filter(|end| len > 0 && *end <= size && start >= len && start.is_multiple_of(sector))
            .ok_or_else(|| {
                impossible(format!(
                    "the boot sectors cannot have been moved to where the metadata says: {len} bytes at {start:#x} of {size}"
                ))
            })?;
        let overlaps = |other: &u64| *other < end && start < other.saturating_add(REGION_LEN);
        if block.copies.iter().any(overlaps) || block.copies.iter().any(|copy| *copy < len) {
            return Err(impossible(
                "a metadata copy overlaps the moved boot sectors".to_owned(),
            ));
        }
        Ok(Some(start..end))
    }

    /// On Vista, a metadata copy fills whole clusters. Only the boot record has their size, and
    /// nothing proves it. So the bytes between the end of a copy and the end of its cluster are
    /// neither shown nor read as zeros: reading them is an error.
    fn hide_vista_clusters(&self, block: &MetadataBlock, layout: &mut Layout) {
        const REST: Content = Content::Unknown(
            "the boot record says that they belong to a metadata copy, and nothing proves that",
        );
        let cluster = u64::from(self.sector_size) * u64::from(self.boot.sectors_per_cluster.max(1));
        let region = VISTA_REGION_LEN.next_multiple_of(cluster);
        for copy in block.copies {
            let end = copy.saturating_add(VISTA_REGION_LEN);
            layout.paint(end..copy.saturating_add(region), REST);
        }
    }

    /// Vista leaves the boot sector in its place and changes two of its fields, which are restored
    /// here. The same is done with the copy in the last sector, if that is not encrypted
    /// (docs/format.md §1.5 and §2.7).
    fn restore_vista_boot_sectors(&self, block: &MetadataBlock, layout: &mut Layout) {
        let sector = u64::from(self.sector_size);
        for start in [0, layout.size().saturating_sub(sector)] {
            let mut bytes = vec![0; self.sector_size as usize];
            let read = self.source.read_exact_at(start, &mut bytes);
            // A later read may succeed, and would show the changed fields.
            if let Err(error) = &read
                && error.kind() != std::io::ErrorKind::UnexpectedEof
            {
                let unknown = Content::Unknown("they could not be read when the volume was opened");
                layout.paint(start..start + sector, unknown);
            }
            let changed = read.is_ok() && bytes.get(3..11) == Some(boot::SIGNATURE);
            if changed {
                bytes[3..11].copy_from_slice(b"NTFS    ");
                bytes[0x38..0x40].copy_from_slice(&block.header_source.to_le_bytes());
                layout.paint(start..start + sector, Content::Literal(bytes.into()));
            }
        }
    }

    /// The rule that bytes below the watermark are encrypted was verified for volumes that were being
    /// decrypted. For every other conversion, the first sector has to look right, or the volume is
    /// refused: if the rule were wrong there, ciphertext would be shown as data.
    fn check_conversion(
        &self,
        block: &MetadataBlock,
        layout: &Layout,
        sectors: &Sectors,
    ) -> Result<()> {
        let settled =
            self.conversion.is_some() || block.state == State::ENCRYPTED || is_decrypted(block);
        if settled {
            return Ok(());
        }
        let proved = block.state == State::PAUSED && block.next_state == State::DECRYPTED;
        let mut sector = vec![0; self.sector_size as usize];
        match sectors.read(layout, 0, &mut sector) {
            Ok(()) if evidence::is_boot_sector(&sector) => Ok(()),
            Ok(()) if proved && evidence::is_blank(&sector) => Ok(()),
            Err(error) if proved => {
                tracing::debug!("the first sector cannot be read: {}", error.with_causes());
                Ok(())
            }
            _ => Err(Error::unsupported(format!(
                "the volume is part-converted (state {}, wanted {}, watermark {:#x}) and its first sector does not confirm which areas are encrypted",
                block.state.0, block.next_state.0, block.encrypted_extent
            ))),
        }
    }
}

/// Adds the runs of an encrypt-on-write volume to the layout map. Whether bytes in no region are
/// encrypted is not known.
fn follow_map(map: &ConversionMap, size: u64, layout: &mut Layout) {
    const NO_REGION: Content = Content::Unknown("the conversion map does not cover them");
    for run in &map.runs {
        layout.push(run.range.start.min(size), NO_REGION);
        layout.push_in_place(run.range.end.min(size), run.encrypted);
    }
    layout.push(size, NO_REGION);
}
