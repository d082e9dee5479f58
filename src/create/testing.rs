//! Volumes that nobody should make but for tests: half converted, or with parts that are not
//! understood. Not part of the library's interface.
#![allow(missing_docs)]

use std::ops::Range;

use super::{NewProtector, NewVolume};
use crate::enroll::unfit;
use crate::error::Result;
use crate::format::block::State;
use crate::format::encode::conversion::{
    self, BITMAP_LEN, BitmapFields, InformationFields, Record,
};
use crate::secret::AutoUnlockKey;
use crate::source::ReadAt;

use super::placement::MOVED_LEN;

/// How far a volume is converted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stage {
    /// All of it is encrypted.
    Encrypted,
    /// Conversion stands still; the bytes below the watermark are encrypted.
    Paused { next: State, watermark: u64 },
    /// Encrypt-on-write stands still at some chunks.
    EncryptOnWrite(OnWrite),
    /// Prepared for encrypt-on-write, without keys; nothing is encrypted.
    Decrypted(OnWrite),
}

/// An encrypt-on-write volume's map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnWrite {
    /// Where the map begins; it takes [`OnWrite::LEN`] bytes.
    pub at: u64,
    /// Bytes in a chunk.
    pub chunk_size: u32,
    /// One bit for every chunk, from the lowest of the first region to the last of the last, used
    /// over and over again; set: encrypted.
    pub pattern: u32,
}

/// A datum that the volume carries although nobody knows what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraDatum {
    pub role: u16,
    pub datum_type: u16,
    pub body: Vec<u8>,
}

impl NewVolume {
    #[doc(hidden)]
    pub fn stage(&mut self, stage: Stage) -> &mut Self {
        self.stage = stage;
        self
    }

    #[doc(hidden)]
    pub fn extra_datum(&mut self, datum: ExtraDatum) -> &mut Self {
        self.extra_datums.push(datum);
        self
    }
}

impl NewVolume {
    /// Makes it a system volume that keeps the keys of others.
    #[doc(hidden)]
    pub fn auto_unlock_key(&mut self, key: AutoUnlockKey) -> &mut Self {
        self.auto_unlock_key = Some(key);
        self
    }
}

impl NewProtector {
    #[doc(hidden)]
    pub fn with_flags(mut self, flags: u16) -> Self {
        self.flags = flags;
        self
    }
}

impl Stage {
    /// The map, if there is one.
    pub(super) fn map(&self) -> Option<&OnWrite> {
        match self {
            Self::EncryptOnWrite(map) | Self::Decrypted(map) => Some(map),
            Self::Encrypted | Self::Paused { .. } => None,
        }
    }

    /// Stretches of a volume of `size` bytes, where they lie, that are encrypted.
    pub(super) fn encrypted(&self, moved: &Range<u64>, size: u64) -> Vec<Range<u64>> {
        let below = |watermark: u64| std::iter::once(0..watermark.min(size)).collect();
        match self {
            Self::Encrypted => below(size),
            Self::Paused { watermark, .. } => below(*watermark),
            Self::Decrypted(_) => Vec::new(),
            Self::EncryptOnWrite(map) => map.encrypted(moved, size),
        }
    }
}

impl OnWrite {
    /// Bytes that the map takes on the volume.
    pub const LEN: u64 = 0x8000;
    /// Each of its structures has a cluster of its own.
    const CLUSTER: u64 = 0x1000;
    const LOG_SIZE: u32 = 0x1000;

    pub(super) fn information(&self) -> [u64; 2] {
        [self.at, self.at + Self::CLUSTER]
    }

    /// As Windows cuts them: around the moved sectors; the first 8 KiB belong to none.
    fn regions(moved: &Range<u64>, size: u64) -> [Range<u64>; 3] {
        [MOVED_LEN..moved.start, moved.clone(), moved.end..size]
    }

    /// Chunks of one region, each with whether it is encrypted.
    fn chunks(&self, region: &Range<u64>, first: u64) -> Vec<(Range<u64>, bool)> {
        let size = u64::from(self.chunk_size);
        let Range { start, end } = *region;
        (0..(end - start).div_ceil(size))
            .map(|chunk| {
                let from = start + chunk * size;
                let encrypted = self.pattern >> ((first + chunk) % 32) & 1 == 1;
                (from..(from + size).min(end), encrypted)
            })
            .collect()
    }

    fn all_chunks(&self, moved: &Range<u64>, size: u64) -> Vec<Vec<(Range<u64>, bool)>> {
        let mut first = 0;
        let regions = Self::regions(moved, size).into_iter();
        regions
            .map(|region| {
                let chunks = self.chunks(&region, first);
                first += chunks.len() as u64;
                chunks
            })
            .collect()
    }

    fn encrypted(&self, moved: &Range<u64>, size: u64) -> Vec<Range<u64>> {
        let chunks = self.all_chunks(moved, size).into_iter().flatten();
        chunks
            .filter_map(|(range, encrypted)| encrypted.then_some(range))
            .collect()
    }

    /// The map's structures and where each goes.
    pub(super) fn structures(
        &self,
        plaintext: &dyn ReadAt,
        sector_size: u32,
        moved: &Range<u64>,
        all_plain: bool,
    ) -> Result<Vec<(u64, Vec<u8>)>> {
        let size = plaintext.size();
        let mut structures = Vec::new();
        let mut bitmaps = Vec::new();
        let regions = Self::regions(moved, size).into_iter();
        for ((index, region), chunks) in (0..).zip(regions).zip(self.all_chunks(moved, size)) {
            let at = self.at + (2 + 2 * u64::from(index)) * Self::CLUSTER;
            let current = chunks.iter().map(|(_, bit)| *bit && !all_plain).collect();
            let stale = chunks.iter().map(|(_, bit)| !bit && !all_plain).collect();
            let mut records = [(6, stale), (7, current)].map(|(sequence, encrypted)| Record {
                sequence,
                encrypted,
            });
            // Which of the two records counts differs from region to region.
            records.rotate_left(index as usize % 2);
            let bitmap = conversion::bitmap(&BitmapFields {
                index,
                region,
                log_offset: at + Self::CLUSTER,
                records,
            })
            .map_err(unfit)?;
            debug_assert_eq!(bitmap.len(), BITMAP_LEN as usize);
            structures.push((at, bitmap));
            bitmaps.push(at);
        }
        let information = conversion::information(&InformationFields {
            sector_size,
            chunk_size: self.chunk_size,
            log_size: Self::LOG_SIZE,
            copies: self.information(),
            bitmaps: &bitmaps,
        })
        .map_err(unfit)?;
        structures.extend(self.information().map(|at| (at, information.clone())));
        Ok(structures)
    }
}
