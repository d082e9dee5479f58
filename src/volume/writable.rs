//! A volume that can be written to: it encrypts plaintext and writes the ciphertext to the source.
//!
//! Writing has its own type, so that code that only reads cannot write by mistake.
//! [`Unlocked::into_writable`] checks the conditions of docs/format.md §7.6, and refuses with the
//! reason ([`Unwritable`]).
//!
//! A write goes where the layout map says: the first sectors to the place that they were moved to,
//! encrypted with the address of that place; all others to their own offset. A sector that is written
//! in part is read first. BitLocker's structures (metadata copies, conversion map, the place of the
//! moved sectors, and the area after it that Windows 8 and later reserve) are never written to. A
//! write that would change a byte of them is refused as a whole; one that writes what they already
//! read as succeeds.
//!
//! The format has no integrity protection: an attacker who can write to the disk can replace sectors
//! with older ones. A sector whose write is interrupted is lost, as on any disk.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::layout::{Content, Extent, Layout};
use super::range_lock::{Access, RangeGuard, RangeLocks};
use super::target::ClaimedTarget;
use super::unlocked::Unlocked;
use super::{Volume, is_decrypted};
use crate::crypto::sector::SectorCipher;
use crate::error::{CopyFault, Error, Result, Unwritable};
use crate::format::block::{MetadataBlock, State};
use crate::format::boot::Flavor;
use crate::source::{Cursor, ReadAt, WriteAt};
use crate::unlock::VolumeKey;

/// The most bytes that are encrypted and written at a time: a multiple of every sector size, and the
/// largest write that FUSE passes on.
const MAX_WRITE: usize = 1 << 20;

/// The most bytes of a reserved area that are compared at a time.
const COMPARE_LEN: usize = 1 << 16;

/// A volume whose plaintext can be read and written at any offset, by any number of threads.
///
/// Nothing else may write to the source meanwhile ([`crate::source::ExclusiveFile`] locks it).
/// Overlapping writes are done one after the other, and a read never sees a sector that is half
/// written. [`Writable::flush`] returns when everything written before is on stable storage; once it
/// has failed it fails always, because it is unknown what was lost.
///
/// It stays valid when key protectors are changed while it is open, and when the volume gets a new
/// VMK: the FVEK and the place of the data stay, and the metadata copies are not written through it.
/// It does not stay valid if Windows converts the volume, or another volume is created in its place;
/// the exclusive lock on the source prevents that.
pub struct Writable {
    pub(super) unlocked: Arc<Unlocked>,
    target: ClaimedTarget,
    /// The layout map, in which bytes that may be written are `Encrypted`, and all others reserved.
    layout: Layout,
    range_locks: RangeLocks,
    /// Buffers for ciphertext that are used again. Each is as large as the largest write that used it.
    scratch: Mutex<Vec<Vec<u8>>>,
    /// Whether something was written since the last flush.
    dirty: AtomicBool,
    flushing: Mutex<()>,
    /// Why a flush failed.
    lost: OnceLock<io::ErrorKind>,
}

impl Volume {
    /// Whether the volume may be written to, as far as that is known without a key: its version and
    /// state, and that all copies of its metadata are sound and equal.
    ///
    /// # Errors
    /// [`Error::Unwritable`] with the reason; [`Error::Damaged`] when no metadata passes its checks;
    /// [`Error::Contradicted`] when the boot record contradicts the metadata.
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
            // During the conversion, nothing that is sealed says which chunks are encrypted.
            if block.is_converting() || progress.is_none_or(|(done, all)| done != all) {
                return Some(Unwritable::EncryptOnWrite);
            }
        }
        let (present, size) = (self.source.size(), block.encrypted_extent);
        if present < size {
            return Some(Unwritable::CutOff { present, size });
        }
        if self.key_package.is_some() {
            return Some(Unwritable::KeyPackage);
        }
        let faults = self.copies.faults();
        if !faults.is_empty() || self.copies.0.len() != block.copies.len() {
            return Some(Unwritable::DamagedCopies(faults));
        }
        self.copies
            .disagree()
            .then_some(Unwritable::DifferingCopies)
    }

    /// Which bytes of the volume may be written. This is determined while unlocking, because the VMK
    /// has to prove every metadata copy.
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

/// Areas that Windows 8 and later reserve although the decrypted volume shows them, in whole sectors:
/// the conversion log and the area after the moved sectors. Their content is not understood, so they
/// are not written to (docs/format.md §10, row 9).
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

/// Why the volume cannot be written to because of an extent of its layout map.
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
    /// The same volume, open for writing. It must have been opened with [`Volume::open_exclusive`] or
    /// [`Volume::from_exclusive`]. Of all that was unlocked from one opened volume, only one can be
    /// writable at a time.
    ///
    /// # Errors
    /// [`Error::Unwritable`] with the reason, and the volume itself: it can still be read without
    /// unlocking it again ([`IntoWritableError::into_unlocked`]).
    pub fn into_writable(self) -> Result<Writable, IntoWritableError> {
        let claimed = match (&self.writable, &self.target) {
            (Ok(_), None) => Err(Unwritable::OpenedForReading),
            (Ok(layout), Some(target)) => match target.claim() {
                Some(target) => Ok((layout.clone(), target)),
                None => Err(Unwritable::AlreadyWritable),
            },
            (Err(reason), _) => Err(reason.clone()),
        };
        let refused = match claimed {
            Ok((layout, target)) => {
                return Ok(Writable {
                    unlocked: Arc::new(self),
                    target,
                    layout,
                    range_locks: RangeLocks::default(),
                    scratch: Mutex::default(),
                    dirty: AtomicBool::new(false),
                    flushing: Mutex::default(),
                    lost: OnceLock::new(),
                });
            }
            Err(reason) => reason,
        };
        Err(IntoWritableError {
            refused: Box::new((self, Error::Unwritable(refused))),
        })
    }
}

/// Why a volume cannot be made writable, together with the volume, which can still be read. The
/// conversion into [`Error`], which `?` makes, drops the volume.
#[derive(Debug)]
pub struct IntoWritableError {
    refused: Box<(Unlocked, Error)>,
}

impl IntoWritableError {
    /// The volume, which can be read.
    pub fn unlocked(&self) -> &Unlocked {
        &self.refused.0
    }

    /// Why the volume cannot be made writable.
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
    /// The volume as it is read: its size, its layout map, what unlocked it.
    pub fn unlocked(&self) -> &Unlocked {
        &self.unlocked
    }

    /// The volume to be read only. What was written is [flushed](Self::flush) by the caller before.
    pub fn into_unlocked(self) -> Arc<Unlocked> {
        self.unlocked
    }

    /// The ranges of BitLocker's structures, in bytes of the volume. They are never written to. Most
    /// of them read as zeros.
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
        self.unlocked().size()
    }

    /// Fills `buf` with the plaintext from `offset` on, as [`Unlocked::read_exact_at`] does, after
    /// writes to these sectors that came before.
    ///
    /// # Errors
    /// As [`Unlocked::read_exact_at`].
    pub fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let range = self.checked(offset, buf.len() as u64)?;
        let _held = self.lock_range(&range, Access::Read);
        self.unlocked().read_exact_at(offset, buf)
    }

    /// Writes `bytes` from `offset` on.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] beyond the end of the volume, and [`Error::Reserved`] when it would
    /// change BitLocker's structures: nothing was written. [`Error::Io`] when reading or writing
    /// fails: some of the sectors may have been written.
    pub fn write_all_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let range = self.checked(offset, bytes.len() as u64)?;
        let _held = self.lock_range(&range, Access::Write);
        self.check_reserved(&range, Some(bytes))?;
        self.write(range, bytes)
    }

    /// Makes `len` bytes from `offset` on read as zeros. Zeros are encrypted and written, because a
    /// hole in the source would not decrypt to zeros.
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

    /// Tells the medium that the content of the whole sectors inside the range is no longer needed.
    /// They then read as garbage, most likely. Reserved areas are not discarded.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]; [`Error::Io`] when the medium does not support it or fails.
    pub fn discard(&self, offset: u64, len: u64) -> Result<()> {
        let range = self.checked(offset, len)?;
        let sector = u64::from(self.unlocked().sector_size());
        let _held = self.lock_range(&range, Access::Write);
        for extent in self.layout.resolve(range) {
            let Content::Encrypted { from } = extent.content else {
                continue;
            };
            let start = from.next_multiple_of(sector);
            let end = from + (extent.range.end - extent.range.start);
            let end = end - end % sector;
            if start < end {
                let discarded = self.target.discard(start, end - start);
                // Afterwards: a flush meanwhile must not clear the mark of what it may have missed.
                self.dirty.store(true, Ordering::SeqCst);
                discarded.map_err(|error| Error::io(format!("discarding at {start:#x}"), error))?;
            }
        }
        Ok(())
    }

    /// Returns when everything written before is on stable storage.
    ///
    /// # Errors
    /// [`Error::Io`] when the source cannot be flushed, and from then on always. The system drops
    /// data that it could not write, so a later flush that succeeds would prove nothing.
    pub fn flush(&self) -> Result<()> {
        // A second flush waits for the first, which may be writing what the second is about.
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

    /// Locks all sectors that the range overlaps.
    fn lock_range(&self, range: &Range<u64>, access: Access) -> RangeGuard<'_> {
        let sector = u64::from(self.unlocked().sector_size());
        let start = range.start - range.start % sector;
        self.range_locks
            .lock(start..range.end.next_multiple_of(sector), access)
    }

    /// Refuses a write of `bytes` (zeros if `None`) that would change a reserved byte.
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
                self.unlocked().read_exact_at(at, stored)?;
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
        let cipher = self.unlocked().sectors.cipher.as_deref();
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
                    // A reserved area: `check_reserved` found that it reads as these bytes already.
                    _ => Ok(()),
                });
        self.dirty.store(true, Ordering::SeqCst);
        self.buffer().push(scratch);
        written
    }

    fn buffer(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Extends the write to whole sectors, reading the rest of the first and last one, encrypts it in
    /// `scratch`, and writes that.
    fn write_encrypted(
        &self,
        cipher: &dyn SectorCipher,
        from: u64,
        bytes: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let sector = self.unlocked().sector_size() as usize;
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
        self.unlocked().sectors.read_encrypted(address, buf)
    }
}

/// `len` bytes of `bytes` from `skip` on, or fewer if there are fewer.
fn part(bytes: &[u8], skip: u64, len: usize) -> &[u8] {
    let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
    let rest = &bytes[skip..];
    &rest[..len.min(rest.len())]
}

impl ReadAt for Writable {
    fn size(&self) -> u64 {
        self.unlocked().size()
    }

    fn sector_size(&self) -> Option<u32> {
        Some(self.unlocked().sector_size())
    }

    fn readable(&self, offset: u64, len: u64) -> u64 {
        self.unlocked().readable(offset, len)
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
