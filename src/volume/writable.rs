//! A volume open for writing: plaintext in, ciphertext to the disk.
//!
//! Writing is a type of its own, made from an [`Unlocked`] and the source as a [`WriteAt`]; nothing
//! that only reads can come to write by a flag. [`Unlocked::into_writable`] demands what
//! docs/format.md §7.6 does, and refuses by name ([`Unwritable`]).
//!
//! A write goes where the map says: the moved boot sectors to their place, encrypted with that
//! place's address; all else to where it is shown. Sectors that are written in part are read first.
//! What belongs to BitLocker (metadata copies, conversion map, the place of the moved sectors, and
//! the area that Windows 8 and later keep behind it) is never written to: a write that would change
//! a byte of it is refused as a whole, one that writes what is read there anyway passes.
//!
//! There is no integrity protection in the format: whoever can write to the disk can put old sectors
//! back, and a sector that the medium tears is lost, as on every disk.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::layout::{Content, Extent, Layout};
use super::range_lock::{Access, RangeGuard, RangeLocks};
use super::unlocked::Unlocked;
use super::{Volume, is_decrypted};
use crate::crypto::sector::SectorCipher;
use crate::error::{CopyFault, Error, Result, Unwritable};
use crate::format::block::{MetadataBlock, State};
use crate::format::boot::Flavor;
use crate::source::{Cursor, ReadAt, WriteAt};
use crate::unlock::VolumeKey;

/// Most bytes that are encrypted in one go: a multiple of every sector size, and the largest write
/// that FUSE hands over.
const MAX_WRITE: usize = 1 << 20;

/// Bytes of a reserved area that are compared at a time.
const COMPARE_LEN: usize = 1 << 16;

/// A volume whose plaintext can be read and written at any offset, by any number of threads.
///
/// Whoever makes one has to hold the source exclusively ([`crate::source::ExclusiveFile`] does).
/// Writes that overlap are done one after the other, and a read never sees part of a sector's
/// write. [`Writable::flush`] returns when everything written before lies on stable storage; if it
/// fails once, it fails for ever, because what was lost then cannot be told.
///
/// It stays right when the volume's protectors are changed while it is open, and when the volume
/// gets a new master key: the sector key and the place of the data stay, and the metadata copies are
/// never written through it. What it must not outlive is a conversion by Windows, or another volume
/// in the same place: the exclusive hold of the source keeps those away.
pub struct Writable {
    unlocked: Unlocked,
    target: Arc<dyn WriteAt>,
    /// The map of what may be written: `Encrypted`. All else is reserved.
    layout: Layout,
    range_locks: RangeLocks,
    /// Buffers for ciphertext, each as large as the largest write that it served.
    scratch: Mutex<Vec<Vec<u8>>>,
    /// Whether something was written since the last flush.
    dirty: AtomicBool,
    flushing: Mutex<()>,
    /// Why a flush failed.
    lost: OnceLock<io::ErrorKind>,
}

impl Volume {
    /// Whether the volume may be written to, as far as can be told without a key: its kind, its
    /// state, and that all copies of its metadata are sound, alike, and whole.
    ///
    /// # Errors
    /// [`Error::Unwritable`] with the reason; [`Error::Damaged`] where there is no metadata to go
    /// by; [`Error::Contradicted`] where the boot record does not agree with it.
    pub fn check_writable(&self) -> Result<()> {
        let block = self.metadata()?;
        self.check_boot_record(block)?;
        self.obstacle(block)
            .map_or(Ok(()), |reason| Err(Error::Unwritable(reason)))
    }

    fn obstacle(&self, block: &MetadataBlock) -> Option<Unwritable> {
        if self.boot.flavor == Flavor::Vista {
            return Some(Unwritable::Vista);
        }
        if is_decrypted(block) {
            return Some(Unwritable::Decrypted);
        }
        if block.state != State::ENCRYPTED || block.next_state != State::ENCRYPTED {
            return Some(Unwritable::PartConverted {
                status: self.status().conversion.name(),
            });
        }
        if self.conversion.is_some() {
            let progress = self.conversion_map().map(super::ConversionMap::progress);
            // While it is under way, nothing that is sealed tells which chunks are encrypted.
            if block.is_converting() || progress.is_none_or(|(done, all)| done != all) {
                return Some(Unwritable::EncryptOnWrite);
            }
        }
        let (present, size) = (self.source.size(), block.encrypted_extent);
        if present < size {
            return Some(Unwritable::CutOff { present, size });
        }
        let faults = self.copies.faults();
        if !faults.is_empty() || self.copies.0.len() != block.copies.len() {
            return Some(Unwritable::DamagedCopies(faults));
        }
        self.copies
            .disagree()
            .then_some(Unwritable::DifferingCopies)
    }

    /// What of a volume that was just unlocked may be written; found out when the key is at hand,
    /// for every copy has to be proved by it.
    pub(super) fn writable_layout(
        &self,
        block: &MetadataBlock,
        key: &VolumeKey,
        layout: &Layout,
    ) -> Result<Layout, Unwritable> {
        if let Some(reason) = self.obstacle(block) {
            return Err(reason);
        }
        if !matches!(key, VolumeKey::Vmk(_)) {
            return Err(Unwritable::SectorKey);
        }
        let unproved: Vec<CopyFault> = self
            .copies
            .0
            .iter()
            .filter_map(|copy| self.prove(copy.block.as_ref().ok()?, key).err())
            .collect();
        if !unproved.is_empty() {
            return Err(Unwritable::DamagedCopies(unproved));
        }
        let sector = u64::from(self.sector_size);
        let mut writable = layout.clone();
        for range in opaque_areas(block, sector) {
            writable.paint(range, Content::Zero);
        }
        match writable
            .extents()
            .iter()
            .find_map(|extent| unfit(extent, sector))
        {
            Some(reason) => Err(reason),
            None => Ok(writable),
        }
    }
}

/// What Windows 8 and later keep for themselves in the open view of the volume, in whole sectors:
/// the conversion log and the area behind the moved sectors. What they hold is not understood, so
/// they are not touched (docs/format.md §10, row 9).
fn opaque_areas(block: &MetadataBlock, sector: u64) -> Vec<Range<u64>> {
    let extension = block
        .virtualization()
        .and_then(|datum| datum.extension.as_ref());
    let areas = extension.into_iter().flat_map(|extension| {
        let log = extension.log_offset;
        let end = log.saturating_add(extension.log_size.into());
        [log..end, extension.spare.clone()]
    });
    areas
        .filter(|area| !area.is_empty())
        .map(|area| {
            let end = area.end.checked_next_multiple_of(sector);
            area.start - area.start % sector..end.unwrap_or(area.end)
        })
        .collect()
}

/// Why an extent of the map keeps the volume from being written to.
fn unfit(extent: &Extent, sector: u64) -> Option<Unwritable> {
    let ends = [extent.range.start, extent.range.end];
    let aligned = |offset: &u64| offset.is_multiple_of(sector);
    match &extent.content {
        Content::Encrypted { from } => {
            (!ends.iter().all(aligned) || !aligned(from)).then_some(Unwritable::Unaligned)
        }
        Content::Zero => None,
        Content::Plain { .. } | Content::Literal(_) | Content::Unknown(_) => {
            Some(Unwritable::EncryptOnWrite)
        }
    }
}

impl Unlocked {
    /// The same volume, open for writing. It has to be opened with [`Volume::open_exclusive`] or
    /// [`Volume::from_exclusive`].
    ///
    /// # Errors
    /// [`Error::Unwritable`] with the reason, and the volume itself: it can still be read without
    /// unlocking it again ([`IntoWritableError::into_unlocked`]).
    pub fn into_writable(mut self) -> Result<Writable, IntoWritableError> {
        let refused = match (self.writable.clone(), self.target.take()) {
            (Ok(layout), Some(target)) => {
                return Ok(Writable {
                    unlocked: self,
                    target,
                    layout,
                    range_locks: RangeLocks::default(),
                    scratch: Mutex::default(),
                    dirty: AtomicBool::new(false),
                    flushing: Mutex::default(),
                    lost: OnceLock::new(),
                });
            }
            (Ok(_), None) => Unwritable::OpenedForReading,
            (Err(reason), _) => reason,
        };
        Err(IntoWritableError {
            refused: Box::new((self, Error::Unwritable(refused))),
        })
    }
}

/// Why a volume cannot be made writable, together with the volume, which can still be read.
#[derive(Debug)]
pub struct IntoWritableError {
    refused: Box<(Unlocked, Error)>,
}

impl IntoWritableError {
    /// The volume.
    pub fn unlocked(&self) -> &Unlocked {
        &self.refused.0
    }

    /// The reason.
    pub fn error(&self) -> &Error {
        &self.refused.1
    }

    /// Gives the volume back, to be read only.
    pub fn into_unlocked(self) -> Unlocked {
        self.refused.0
    }

    /// Gives back the volume and the reason.
    pub fn into_parts(self) -> (Unlocked, Error) {
        *self.refused
    }
}

impl std::fmt::Display for IntoWritableError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error().fmt(f)
    }
}

impl std::error::Error for IntoWritableError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error().source()
    }
}

impl From<IntoWritableError> for Error {
    fn from(refusal: IntoWritableError) -> Self {
        refusal.into_parts().1
    }
}

impl Writable {
    /// The volume: its size, its map, what opened it.
    pub fn unlocked(&self) -> &Unlocked {
        &self.unlocked
    }

    /// The places that hold BitLocker's own structures, in bytes of the volume. They read as zeros
    /// and are never written to.
    pub fn reserved(&self) -> Vec<Range<u64>> {
        let extents = self.layout.extents().iter();
        extents
            .filter(|extent| !matches!(extent.content, Content::Encrypted { .. }))
            .map(|extent| extent.range.clone())
            .collect()
    }

    /// The plaintext with a position, for `std::io`: what a file system library reads and writes.
    /// [`Cursor::new`] with the volume itself or an `Arc<Writable>` gives one that owns it.
    pub fn cursor(&self) -> Cursor<&Self> {
        Cursor::new(self)
    }

    /// Size of the decrypted volume in bytes.
    pub fn size(&self) -> u64 {
        self.unlocked.size()
    }

    /// Fills `buf` with the plaintext from `offset` on, as [`Unlocked::read_exact_at`] does. It waits for
    /// those who write there.
    ///
    /// # Errors
    /// As [`Unlocked::read_exact_at`].
    pub fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let range = self.checked(offset, buf.len() as u64)?;
        let _held = self.lock_range(&range, Access::Read);
        self.unlocked.read_exact_at(offset, buf)
    }

    /// Writes `bytes` from `offset` on.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] beyond the end, [`Error::Reserved`] where it would change what belongs
    /// to BitLocker: nothing was written then. [`Error::Io`] when reading or writing fails: some of
    /// the sectors may have been written.
    pub fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let range = self.checked(offset, bytes.len() as u64)?;
        let _held = self.lock_range(&range, Access::Write);
        self.check_reserved(&range, Some(bytes))?;
        self.write(range, bytes)
    }

    /// Makes `len` bytes from `offset` on read as zeros: zeros are encrypted and written, for a
    /// hole in the source would not decrypt to any.
    ///
    /// # Errors
    /// As [`Writable::write_all_at`].
    pub fn zero(&self, offset: u64, len: u64) -> Result<()> {
        let range = self.checked(offset, len)?;
        let _held = self.lock_range(&range, Access::Write);
        self.check_reserved(&range, None)?;
        let zeros = vec![0; usize::try_from(len).unwrap_or(MAX_WRITE).min(MAX_WRITE)];
        let mut at = range.start;
        while at < range.end {
            // Each chunk ends at the end of a sector, so that no sector is written twice.
            let end = (at / MAX_WRITE as u64 + 1) * MAX_WRITE as u64;
            let end = end.min(range.end);
            let len = usize::try_from(end - at).unwrap_or(MAX_WRITE);
            self.write(at..end, &zeros[..len.min(zeros.len())])?;
            at = end;
        }
        Ok(())
    }

    /// Tells the medium that the whole sectors inside the range are of no use any more. They read
    /// as anything afterwards, as garbage most likely. Reserved areas are left alone.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]; [`Error::Io`] where the medium does not take it or fails.
    pub fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let range = self.checked(offset, len)?;
        let sector = u64::from(self.unlocked.sector_size());
        let _held = self.lock_range(&range, Access::Write);
        for extent in self.layout.resolve(range) {
            let Content::Encrypted { from } = extent.content else {
                continue;
            };
            let start = from.next_multiple_of(sector);
            let end = from + (extent.range.end - extent.range.start);
            let end = end - end % sector;
            if start < end {
                self.dirty.store(true, Ordering::SeqCst);
                self.target
                    .discard(start, end - start)
                    .map_err(|error| Error::io(format!("discarding at {start:#x}"), error))?;
            }
        }
        Ok(())
    }

    /// Returns when all that was written before lies on stable storage.
    ///
    /// # Errors
    /// [`Error::Io`] when the source cannot be flushed, and from then on always: the system forgets
    /// what it could not write, so a later success would mean nothing.
    pub fn flush(&self) -> Result<()> {
        // Whoever comes second waits for the first: what it asks for may be under way.
        let _flushing = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kind) = self.lost.get() {
            return Err(Error::io(
                "an earlier flush failed, so what was written may be lost",
                (*kind).into(),
            ));
        }
        if !self.dirty.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        self.target.flush().map_err(|error| {
            let _ = self.lost.set(error.kind());
            Error::io("flushing to the disk", error)
        })
    }

    fn checked(&self, offset: u64, len: u64) -> Result<Range<u64>> {
        let size = self.size();
        let end = offset.checked_add(len).filter(|end| *end <= size);
        let end = end.ok_or(Error::OutOfRange { offset, len, size })?;
        Ok(offset..end)
    }

    /// Holds the sectors that the range touches.
    fn lock_range(&self, range: &Range<u64>, access: Access) -> RangeGuard<'_> {
        let sector = u64::from(self.unlocked.sector_size());
        let start = range.start - range.start % sector;
        self.range_locks
            .lock(start..range.end.next_multiple_of(sector), access)
    }

    /// Refuses a write of `bytes` (zeros if none) that would change a reserved byte.
    fn check_reserved(&self, range: &Range<u64>, bytes: Option<&[u8]>) -> Result<()> {
        for extent in self.layout.resolve(range.clone()) {
            if matches!(extent.content, Content::Encrypted { .. }) {
                continue;
            }
            let mut at = extent.range.start;
            let mut stored = vec![0; COMPARE_LEN];
            while at < extent.range.end {
                let left = usize::try_from(extent.range.end - at).unwrap_or(COMPARE_LEN);
                let stored = &mut stored[..left.min(COMPARE_LEN)];
                self.unlocked.read_exact_at(at, stored)?;
                let same = match bytes {
                    Some(bytes) => part(bytes, at - range.start, stored.len()) == stored,
                    None => stored.iter().all(|byte| *byte == 0),
                };
                if !same {
                    return Err(Error::Reserved {
                        offset: extent.range.start,
                        end: extent.range.end,
                    });
                }
                at += stored.len() as u64;
            }
        }
        Ok(())
    }

    fn write(&self, range: Range<u64>, bytes: &[u8]) -> Result<()> {
        let cipher = self.unlocked.sectors.cipher.as_deref();
        let cipher = cipher.ok_or(Error::Unwritable(Unwritable::Decrypted))?;
        let mut scratch = self.buffer().pop().unwrap_or_default();
        let written =
            self.layout
                .resolve(range.clone())
                .try_for_each(|extent| match extent.content {
                    Content::Encrypted { from } => {
                        let len = usize::try_from(extent.range.end - extent.range.start);
                        let skip = extent.range.start - range.start;
                        let bytes = part(bytes, skip, len.unwrap_or(usize::MAX));
                        self.write_encrypted(cipher, from, bytes, &mut scratch)
                    }
                    // Holds these bytes already.
                    _ => Ok(()),
                });
        self.dirty.store(true, Ordering::SeqCst);
        self.buffer().push(scratch);
        written
    }

    fn buffer(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Widens the write to whole sectors, encrypts a copy of it, and writes that in one go.
    fn write_encrypted(
        &self,
        cipher: &dyn SectorCipher,
        from: u64,
        bytes: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let sector = self.unlocked.sector_size() as usize;
        let mut from = from;
        let mut rest = bytes;
        while !rest.is_empty() {
            let skip = (from % sector as u64) as usize;
            let (chunk, after) = rest.split_at(rest.len().min(MAX_WRITE - skip));
            let address = from - skip as u64;
            let end = skip + chunk.len();
            let len = end.next_multiple_of(sector);
            scratch.resize(len, 0);
            if skip != 0 {
                self.read_sector(address, &mut scratch[..sector])?;
            }
            if end != len && (skip == 0 || len > sector) {
                let last = len - sector;
                self.read_sector(address + last as u64, &mut scratch[last..])?;
            }
            scratch[skip..end].copy_from_slice(chunk);
            cipher.encrypt(address, scratch);
            self.target
                .write_all_at(address, scratch)
                .map_err(|error| {
                    Error::io(format!("writing {len} bytes at {address:#x}"), error)
                })?;
            from += chunk.len() as u64;
            rest = after;
        }
        Ok(())
    }

    fn read_sector(&self, address: u64, buf: &mut [u8]) -> Result<()> {
        self.unlocked.sectors.read_encrypted(address, buf)
    }
}

/// `len` bytes of `bytes` from `skip` on, or as many as there are.
fn part(bytes: &[u8], skip: u64, len: usize) -> &[u8] {
    let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
    let rest = &bytes[skip..];
    &rest[..len.min(rest.len())]
}

impl ReadAt for Writable {
    fn size(&self) -> u64 {
        self.unlocked.size()
    }

    fn sector_size(&self) -> Option<u32> {
        Some(self.unlocked.sector_size())
    }

    fn readable(&self, offset: u64, len: u64) -> u64 {
        self.unlocked.readable(offset, len)
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        Ok(self.read_exact_at(offset, buf)?)
    }
}

impl WriteAt for Writable {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        Ok(self.write_all_at(offset, bytes)?)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(Self::flush(self)?)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        Ok(Self::discard(self, offset, len)?)
    }
}

impl std::fmt::Debug for Writable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writable")
            .field("unlocked", &self.unlocked)
            .finish_non_exhaustive()
    }
}
