//! Where the content of an attribute is on the volume, and reading it from there.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::boot::Geometry;
use super::record::Record;
use super::runs;
use super::{attribute::Attribute, attribute::Form, attribute::Stored};
use crate::files::Content;
use crate::files::FileError;
use crate::source::{ReadAt, read_uninterrupted};

/// Most runs of clusters that some content may have. With file records of 1 KiB, an attribute list has
/// space for less than 2 Mi of them.
const MAX_RUNS: usize = 4 << 20;
/// Most runs of all contents that are open, so that many such files cannot fill the memory.
const MAX_OPEN_RUNS: usize = 8 << 20;

/// Adjacent bytes of the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Its bytes in the content.
    pub(crate) bytes: Range<u64>,
    /// Where they are on the volume; `None` for a hole, which reads as zeros.
    pub(crate) at: Option<u64>,
}

impl Extent {
    /// Where a byte of the content is on the volume. The extent must contain it.
    fn place(&self, offset: u64) -> Option<u64> {
        let inside = offset.saturating_sub(self.bytes.start);
        self.at.map(|at| at.saturating_add(inside))
    }
}

/// How many runs the contents have that are open.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenRuns(Arc<AtomicUsize>);

/// The runs of a content that are counted in [`OpenRuns`] as long as it is open.
#[derive(Debug, Default)]
struct Counted {
    all: OpenRuns,
    own: usize,
}

impl Counted {
    /// Counts more runs.
    ///
    /// # Errors
    /// They are too many.
    fn add(&mut self, count: usize) -> Result<(), FileError> {
        let own = self.own.saturating_add(count);
        let too_many = |what: &str, most: usize| {
            let what = format!("{what} in more than {most} pieces, which is not supported");
            FileError::Io(io::Error::new(io::ErrorKind::OutOfMemory, what))
        };
        if own > MAX_RUNS {
            return Err(too_many("it is", MAX_RUNS));
        }
        let sum = |now: usize| now.checked_add(count).filter(|sum| *sum <= MAX_OPEN_RUNS);
        let counted = self
            .all
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
        counted.map_err(|_| too_many("the open files are", MAX_OPEN_RUNS))?;
        self.own = own;
        Ok(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// Where the content is from some byte on, up to the start of the next [`Start`].
#[derive(Debug, Clone, Copy)]
struct Start {
    byte: u64,
    /// Its place on the volume, or [`HOLE`] or [`MISSING`].
    at: u64,
}

/// It is a hole.
const HOLE: u64 = u64::MAX;
/// No attribute that was added describes it.
const MISSING: u64 = u64::MAX - 1;

impl From<&Extent> for Start {
    fn from(extent: &Extent) -> Self {
        Self {
            byte: extent.bytes.start,
            at: extent.at.unwrap_or(HOLE),
        }
    }
}

/// The extents of some content, in the order of the content. Parts of the content may be missing while
/// they are collected.
#[derive(Debug, Default)]
pub(crate) struct Extents {
    /// In order, from byte 0 on.
    starts: Vec<Start>,
    /// The end of the last one.
    end: u64,
    counted: Counted,
}

impl Extents {
    /// No extents. Their runs will be counted in `all`.
    pub(super) fn counted(all: &OpenRuns) -> Self {
        Self {
            counted: Counted {
                all: all.clone(),
                own: 0,
            },
            ..Self::default()
        }
    }

    /// Adds what an attribute in a record describes.
    ///
    /// # Errors
    /// Its runs are not as long as it says, or outside the volume, or describe what another attribute
    /// describes too. Or there are too many.
    pub(crate) fn add(
        &mut self,
        geometry: &Geometry,
        record: &Record,
        attribute: &Attribute,
        stored: &Stored,
    ) -> Result<(), FileError> {
        let fault = |what: String| record.part(attribute).map_or_else(|e| e, |f| f.fault(what));
        let mut cluster = stored.first;
        let mut added: Vec<Extent> = Vec::new();
        // An empty attribute may have no list at all.
        let runs = match stored.first == stored.end {
            true => Vec::new(),
            false => runs::decode(&record.runs(attribute)?)?,
        };
        for run in runs {
            let end = cluster
                .checked_add(run.len)
                .filter(|end| *end <= stored.end);
            let end = end.ok_or_else(|| fault("it has more clusters than it says".to_owned()))?;
            let bytes = scaled(cluster, geometry).zip(scaled(end, geometry));
            let (start, bytes_end) =
                bytes.ok_or_else(|| fault("it has more bytes than can be counted".to_owned()))?;
            let at = match run.at {
                None => None,
                Some(at) => {
                    let behind = at.checked_add(run.len);
                    if behind.is_none_or(|behind| behind > geometry.clusters) {
                        let what = format!("its cluster {at:#x} is outside the volume");
                        return Err(fault(what).into());
                    }
                    scaled(at, geometry)
                }
            };
            let next = Extent {
                bytes: start..bytes_end,
                at,
            };
            match added.last_mut() {
                Some(last) if last.place(start) == at && last.at.is_some() == at.is_some() => {
                    last.bytes.end = bytes_end;
                }
                _ => added.push(next),
            }
            cluster = end;
        }
        if cluster != stored.end {
            return Err(fault("it has fewer clusters than it says".to_owned()).into());
        }
        self.counted.add(added.len())?;
        let is_new = self.insert(&added);
        is_new.ok_or_else(|| fault("its clusters are described twice".to_owned()).into())
    }

    /// Adds extents that follow each other. `None` if some of their bytes are described already.
    fn insert(&mut self, added: &[Extent]) -> Option<()> {
        let (Some(first), Some(last)) = (added.first(), added.last()) else {
            return Some(());
        };
        let (start, end) = (first.bytes.start, last.bytes.end);
        let missing = |byte| Start { byte, at: MISSING };
        if start >= self.end {
            if start > self.end {
                self.starts.push(missing(self.end));
            }
            self.starts.extend(added.iter().map(Start::from));
            self.end = end;
            return Some(());
        }
        let index = self.index(start);
        let gap = self.starts.get(index).filter(|gap| gap.at == MISSING)?;
        let gap = gap.byte..self.end_of(index);
        if end > gap.end {
            return None;
        }
        let before = (gap.start < start).then(|| missing(gap.start));
        let behind = (end < gap.end).then(|| missing(end));
        let new = before.into_iter();
        let new = new.chain(added.iter().map(Start::from)).chain(behind);
        self.starts.splice(index..=index, new);
        Some(())
    }

    /// These extents, which must be in order.
    #[cfg(test)]
    pub(super) fn of(extents: Vec<Extent>) -> Self {
        let mut made = Self::default();
        for extent in extents {
            made.insert(&[extent]).unwrap();
        }
        made
    }

    /// Up to which byte the content is described without a gap.
    pub(crate) fn whole(&self) -> u64 {
        let gap = self.starts.iter().find(|start| start.at == MISSING);
        gap.map_or(self.end, |gap| gap.byte)
    }

    /// The index of the start that is for this byte.
    fn index(&self, offset: u64) -> usize {
        match offset < self.end {
            true => self
                .starts
                .partition_point(|start| start.byte <= offset)
                .saturating_sub(1),
            false => self.starts.len(),
        }
    }

    /// Where the part ends that has this index.
    fn end_of(&self, index: usize) -> u64 {
        let next = self.starts.get(index.saturating_add(1));
        next.map_or(self.end, |next| next.byte)
    }

    /// The extents from the one on that contains the byte, or comes after it.
    pub(super) fn from(&self, offset: u64) -> Described<'_> {
        Described {
            extents: self,
            index: self.index(offset),
        }
    }

    /// The part of the extents in a range of the content, in order.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if a part of the range is not described.
    pub(super) fn pieces(&self, range: Range<u64>) -> Pieces<'_> {
        Pieces {
            extents: self.from(range.start),
            range,
        }
    }
}

/// The extents from one on.
pub(super) struct Described<'a> {
    extents: &'a Extents,
    index: usize,
}

impl Iterator for Described<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        loop {
            let start = self.extents.starts.get(self.index)?;
            let end = self.extents.end_of(self.index);
            self.index = self.index.saturating_add(1);
            if start.at != MISSING {
                return Some(Extent {
                    bytes: start.byte..end,
                    at: (start.at != HOLE).then_some(start.at),
                });
            }
        }
    }
}

/// The pieces of a range of content.
pub(super) struct Pieces<'a> {
    extents: Described<'a>,
    range: Range<u64>,
}

/// Adjacent bytes: how many, and where they are on the volume.
pub(super) type Piece = (u64, Option<u64>);

impl Iterator for Pieces<'_> {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.range.is_empty() {
            return None;
        }
        let found = self.extents.next();
        let extent = found.filter(|extent| extent.bytes.contains(&self.range.start));
        let Some(extent) = extent else {
            self.range.start = self.range.end;
            return Some(Err(
                FileError::damaged("a part of its clusters is missing").into()
            ));
        };
        let at = extent.place(self.range.start);
        let end = extent.bytes.end.min(self.range.end);
        let len = end.saturating_sub(self.range.start);
        self.range.start = end;
        Some(Ok((len, at)))
    }
}

/// A number of clusters in bytes.
fn scaled(clusters: u64, geometry: &Geometry) -> Option<u64> {
    let bytes = clusters.checked_mul(geometry.cluster_size)?;
    (bytes < 1 << 63).then_some(bytes)
}

/// Content that is stored as it is.
pub(crate) struct Plain {
    pub(super) source: Arc<dyn ReadAt>,
    pub(super) extents: Extents,
    pub(super) len: u64,
    /// How much of it was ever written; the rest reads as zeros.
    pub(super) initialized: u64,
}

impl ReadAt for Plain {
    fn size(&self) -> u64 {
        self.len
    }

    fn readable(&self, offset: u64, len: u64) -> u64 {
        let end = offset.saturating_add(len).min(self.len);
        let mut at = offset;
        for piece in self.extents.pieces(offset..end.min(self.initialized)) {
            let Ok((len, place)) = piece else {
                return at.saturating_sub(offset);
            };
            let readable = place.map_or(len, |place| self.source.readable(place, len));
            at = at.saturating_add(readable);
            if readable < len {
                return at.saturating_sub(offset);
            }
        }
        end.saturating_sub(offset)
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let written = inside(offset, buf, self.len, self.initialized)?;
        read_pieces(self.source.as_ref(), &self.extents, offset, written)
    }
}

/// Fills the part of `buf` with zeros that is behind byte `initialized` of the content, and returns the
/// rest of it.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] if it is longer than the content.
pub(super) fn inside(
    offset: u64,
    buf: &mut [u8],
    len: u64,
    initialized: u64,
) -> io::Result<&mut [u8]> {
    let end = offset.checked_add(buf.len() as u64);
    if end.is_none_or(|end| end > len) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let written = initialized.min(len).saturating_sub(offset);
    let written = usize::try_from(written).unwrap_or(usize::MAX);
    let (written, zeros) = buf.split_at_mut(written.min(buf.len()));
    zeros.fill(0);
    Ok(written)
}

/// Fills `buf` with content, as it is stored.
pub(super) fn read_pieces(
    source: &dyn ReadAt,
    extents: &Extents,
    offset: u64,
    buf: &mut [u8],
) -> io::Result<()> {
    let mut rest = buf;
    let end = offset.saturating_add(rest.len() as u64);
    for piece in extents.pieces(offset..end) {
        let (len, at) = piece?;
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
        let (part, behind) = rest.split_at_mut(len);
        match at {
            Some(at) => read_uninterrupted(source, at, part)?,
            None => part.fill(0),
        }
        rest = behind;
    }
    Ok(())
}

impl Content for Plain {
    fn stored_from(&self, offset: u64) -> Option<Range<u64>> {
        stored_from(&self.extents, self.initialized.min(self.len), offset)
    }

    fn memory(&self) -> usize {
        let starts = self.extents.starts.len();
        starts.saturating_mul(size_of::<Start>())
    }
}

/// Most extents that are joined to a stored range, so that the next range is found soon.
pub(super) const MAX_JOINED: usize = 1024;

/// The first range of stored bytes that ends after `offset`, of those before byte `end`.
pub(super) fn stored_from(extents: &Extents, end: u64, offset: u64) -> Option<Range<u64>> {
    let stored = extents.from(offset).filter(|extent| extent.at.is_some());
    let mut stored = stored.take(MAX_JOINED);
    let mut found = stored.next()?.bytes;
    for extent in stored {
        if extent.bytes.start != found.end {
            break;
        }
        found.end = extent.bytes.end;
    }
    found.end = found.end.min(end);
    (found.end > offset && !found.is_empty()).then_some(found)
}

/// Content in a file record.
pub(crate) struct Resident(pub(super) Vec<u8>);

impl ReadAt for Resident {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = start
            .checked_add(buf.len())
            .and_then(|end| self.0.get(start..end));
        buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Content for Resident {
    fn memory(&self) -> usize {
        self.0.len()
    }
}

/// Adds what an attribute describes, if its content is in clusters.
pub(super) fn collect(
    extents: &mut Extents,
    geometry: &Geometry,
    record: &Record,
    attribute: &Attribute,
) -> Result<(), FileError> {
    match &attribute.form {
        Form::Stored(stored) => extents.add(geometry, record, attribute, stored),
        Form::Resident(_) => Err(record
            .fault("a part of an attribute is in the record")
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(bytes: Range<u64>, at: impl Into<Option<u64>>) -> Extent {
        let at = at.into();
        Extent { bytes, at }
    }

    #[test]
    fn parts_are_added_in_any_order_but_once() {
        let parts = [
            extent(0..10, 100),
            extent(10..20, None),
            extent(20..30, 7),
            extent(30..40, 50),
        ];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [3, 0, 2, 1], [2, 0, 3, 1]] {
            let mut extents = Extents::default();
            for (done, index) in order.iter().enumerate() {
                assert!(extents.whole() < 40, "{order:?}");
                let range = parts[*index].bytes.clone();
                let missing = extents.pieces(range.clone()).next().unwrap();
                assert!(missing.is_err(), "{order:?} {done}");
                extents.insert(&parts[*index..=*index]).unwrap();
                let across = extent(range.start.saturating_sub(1)..range.start + 1, 1);
                assert_eq!(extents.insert(&[across]), None);
                assert_eq!(
                    extents.insert(&[extent(range.end - 1..range.end + 9, 1)]),
                    None
                );
            }
            assert_eq!((extents.whole(), extents.end), (40, 40));
            assert_eq!(extents.from(0).collect::<Vec<_>>(), parts);
            assert_eq!(extents.from(29).collect::<Vec<_>>(), parts[2..]);
            assert_eq!(extents.from(40).next(), None);
            let pieces: io::Result<Vec<_>> = extents.pieces(5..35).collect();
            let expected = [(5, Some(105)), (10, None), (10, Some(7)), (5, Some(50))];
            assert_eq!(pieces.unwrap(), expected);
        }
    }

    #[test]
    fn too_many_runs_are_refused_until_others_are_closed() {
        let all = OpenRuns::default();
        let mut first = Extents::counted(&all).counted;
        assert!(first.add(MAX_RUNS + 1).is_err());
        first.add(MAX_RUNS).unwrap();
        assert!(first.add(1).is_err());
        let mut others = Extents::counted(&all).counted;
        others.add(MAX_RUNS).unwrap();
        let mut last = Extents::counted(&all).counted;
        assert!(last.add(1).is_err());
        drop(first);
        last.add(1).unwrap();
    }

    #[test]
    fn a_stored_range_is_found_soon_however_many_runs_follow() {
        let extents = Extents::of((0..5000).map(|at| extent(at..at + 1, 2 * at)).collect());
        let found = stored_from(&extents, 5000, 100).unwrap();
        assert_eq!(found, 100..100 + MAX_JOINED as u64);
    }
}
