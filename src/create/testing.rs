//! Volumes for tests: partly converted, or with datums of unknown types. Only with the feature
//! `testing`, which is for this package's own tests and may change at any time.

use std::ops::Range;

pub use super::stage::{OnWrite, Stage};
use super::{NewProtector, NewVolume};
use crate::enroll::unfit;
use crate::error::Result;
use crate::format::encode::conversion::{
    self, BITMAP_LEN, BitmapFields, InformationFields, Record,
};
use crate::format::encode::{self, DatumBytes};
use crate::source::ReadAt;

use super::placement::MOVED_LEN;

/// A datum whose type may be one that no program knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraDatum {
    /// Its role (docs/format.md §3.2).
    pub role: u16,
    /// The type of the datum (docs/format.md §3.2).
    pub datum_type: u16,
    /// Its bytes after the header.
    pub body: Vec<u8>,
}

impl NewVolume {
    /// Sets how far the volume is converted.
    pub fn stage(&mut self, stage: Stage) -> &mut Self {
        self.stage = stage;
        self
    }

    /// Adds a datum to the metadata.
    pub fn extra_datum(&mut self, datum: ExtraDatum) -> &mut Self {
        self.extra_datums.push(datum);
        self
    }

    pub(super) fn encoded_extra_datums(&self) -> Result<Vec<DatumBytes>> {
        self.extra_datums
            .iter()
            .map(|extra| {
                let body = [extra.body.as_slice()];
                let flags = encode::STORED;
                encode::datum(extra.role, extra.datum_type, flags, &body, &[]).map_err(unfit)
            })
            .collect()
    }
}

impl NewProtector {
    /// Sets the flags of the key protector.
    pub fn with_flags(mut self, flags: u16) -> Self {
        self.flags = flags;
        self
    }
}

impl OnWrite {
    /// Length of the map in bytes.
    pub const LEN: u64 = 0x8000;
    /// Each structure starts a new cluster.
    const CLUSTER: u64 = 0x1000;
    const LOG_SIZE: u32 = 0x1000;

    pub(super) fn information(&self) -> [u64; 2] {
        [self.at, self.at + Self::CLUSTER]
    }

    /// The regions as Windows chooses them: before, in and after the moved sectors, without the first
    /// 8 KiB.
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

    pub(super) fn encrypted(&self, moved: &Range<u64>, size: u64) -> Vec<Range<u64>> {
        let chunks = self.all_chunks(moved, size).into_iter().flatten();
        chunks
            .filter_map(|(range, encrypted)| encrypted.then_some(range))
            .collect()
    }

    /// The structures of the map, each with its offset.
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
