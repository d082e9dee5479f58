//! Where the content of an attribute is on the volume, and reading it from there.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::boot::Geometry;
use super::record::Record;
use super::runs;
use super::{attribute::Attribute, attribute::Form, attribute::Stored};
use crate::files::Content;
use crate::files::FileError;
use crate::format::FormatError;
use crate::source::{ReadAt, read_uninterrupted};

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

/// The extents of some content, in the order of the content. Parts of the content may be missing while
/// they are collected.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extents(Vec<Extent>);

impl Extents {
    /// Adds what an attribute in a record describes.
    ///
    /// # Errors
    /// Its runs are not as long as it says, or outside the volume, or describe what another attribute
    /// describes too.
    pub(crate) fn add(
        &mut self,
        geometry: &Geometry,
        record: &Record,
        attribute: &Attribute,
        stored: &Stored,
    ) -> Result<(), FormatError> {
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
                        return Err(fault(format!("its cluster {at:#x} is outside the volume")));
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
            return Err(fault("it has fewer clusters than it says".to_owned()));
        }
        let start = scaled(stored.first, geometry).unwrap_or(u64::MAX);
        let end = scaled(stored.end, geometry).unwrap_or(u64::MAX);
        let at = self.0.partition_point(|extent| extent.bytes.end <= start);
        if self.0.get(at).is_some_and(|next| next.bytes.start < end) {
            return Err(fault("its clusters are described twice".to_owned()));
        }
        self.0.splice(at..at, added);
        Ok(())
    }

    /// These extents, which must be in order.
    #[cfg(test)]
    pub(super) fn of(extents: Vec<Extent>) -> Self {
        Self(extents)
    }

    /// The extents in order.
    pub(crate) fn all(&self) -> &[Extent] {
        &self.0
    }

    /// Up to which byte the content is described without a gap.
    pub(crate) fn whole(&self) -> u64 {
        let mut end = 0;
        for extent in &self.0 {
            if extent.bytes.start != end {
                break;
            }
            end = extent.bytes.end;
        }
        end
    }

    /// The index of the extent that contains the byte, or of the first one behind it.
    fn index(&self, offset: u64) -> usize {
        self.0.partition_point(|extent| extent.bytes.end <= offset)
    }

    /// The extents from the one on that contains the byte, or comes after it.
    pub(super) fn from(&self, offset: u64) -> &[Extent] {
        self.0.get(self.index(offset)..).unwrap_or_default()
    }

    /// The part of the extents in a range of the content, in order.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if a part of the range is not described.
    pub(super) fn pieces(&self, range: Range<u64>) -> Pieces<'_> {
        Pieces {
            extents: self.from(range.start).iter(),
            range,
        }
    }
}

/// The pieces of a range of content.
pub(super) struct Pieces<'a> {
    extents: std::slice::Iter<'a, Extent>,
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
}

/// The first range of stored bytes that ends after `offset`, of those before byte `end`.
pub(super) fn stored_from(extents: &Extents, end: u64, offset: u64) -> Option<Range<u64>> {
    let mut stored = extents
        .from(offset)
        .iter()
        .filter(|extent| extent.at.is_some());
    let mut found = stored.next()?.bytes.clone();
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

impl Content for Resident {}

/// Adds what an attribute describes, if its content is in clusters.
pub(super) fn collect(
    extents: &mut Extents,
    geometry: &Geometry,
    record: &Record,
    attribute: &Attribute,
) -> Result<(), FormatError> {
    match &attribute.form {
        Form::Stored(stored) => extents.add(geometry, record, attribute, stored),
        Form::Resident(_) => Err(record.fault("a part of an attribute is in the record")),
    }
}
