//! The plaintext of a volume, at any offset and for any number of threads.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::layout::{Content, Extent, Layout};
use super::target::Target;
use crate::crypto::sector::{Method, SectorCipher};
use crate::error::{Error, Result, UnlockReport, Unwritable};
use crate::files::{self, Files};
use crate::format::protector::ProtectorKind;
use crate::guid::Guid;
use crate::source::{Cursor, ReadAt, read_uninterrupted};
use crate::unlock::UnlockOptions;

/// Largest sector of any volume, in bytes: the size of the buffer for partial sectors.
const MAX_SECTOR: usize = 4096;

/// Smallest part of a read that gets its own thread, in bytes. Starting a thread takes about as long
/// as decrypting ten thousand bytes.
const PART: usize = 1 << 20;

/// The plaintext of an unlocked volume.
///
/// It is read at any offset through a shared reference. It is a [`ReadAt`], so that it can be the
/// source of something else; [`Unlocked::cursor`] gives `Read + Seek`.
///
/// It stays valid when key protectors are changed while it is open, and when the volume gets a new
/// VMK: neither the FVEK nor the place of the data depends on them.
pub struct Unlocked {
    pub(super) sectors: Sectors,
    pub(super) layout: Layout,
    pub(super) method: Option<&'static Method>,
    /// Most threads that one read runs on, its caller's own included.
    pub(super) threads: usize,
    pub(super) opened_by: OpenedBy,
    pub(super) proved: bool,
    pub(super) identification: Option<String>,
    pub(super) warnings: Vec<String>,
    /// The map of what may be written, or why nothing may.
    pub(super) writable: Result<Layout, Unwritable>,
    /// The source, if the volume was opened for writing.
    pub(super) target: Option<Target>,
}

/// The source and the cipher, which together read the bytes of a layout map.
pub(super) struct Sectors {
    pub(super) source: Arc<dyn ReadAt>,
    /// `None` if nothing is encrypted.
    pub(super) cipher: Option<Box<dyn SectorCipher>>,
    /// Bytes in a sector.
    pub(super) size: u32,
}

/// The credential and key protector that unlocked a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenedBy {
    /// Name of the credential; `None` if the volume needs no key.
    pub credential: Option<String>,
    /// Identifier and kind of the key protector; `None` for raw keys.
    pub protector: Option<(Guid, ProtectorKind)>,
    /// Every attempt that was made.
    pub report: UnlockReport,
}

impl Unlocked {
    /// The files of the file system in the volume, read without mounting it.
    ///
    /// # Errors
    /// Those of [`files::open`].
    pub fn files(self: &Arc<Self>) -> Result<Files> {
        let source: Arc<dyn ReadAt> = Arc::clone(self) as _;
        files::open(source)
    }

    /// The identification field: the identifier of the organization that the volume belongs to, as
    /// `manage-bde -setidentifier` sets it. `None` if there is none, and with a raw sector key, which does
    /// not decrypt it.
    pub fn identification(&self) -> Option<&str> {
        self.identification.as_deref()
    }

    /// Size of the decrypted volume in bytes, as Windows shows it.
    pub fn size(&self) -> u64 {
        self.layout.size()
    }

    /// Bytes of the volume, from its start, that are inside the source, in whole sectors: fewer than
    /// [`Unlocked::size`] if the image was cut off.
    pub fn available(&self) -> u64 {
        self.size().min(self.sectors.present())
    }

    /// How many of the `len` bytes from `offset` on come before the first that is beyond the end of
    /// the source or whose plaintext cannot be known.
    pub fn readable(&self, offset: u64, len: u64) -> u64 {
        self.sectors.readable(&self.layout, offset, len)
    }

    /// The plaintext with a position, for `std::io`. To keep the cursor together with the volume in a
    /// struct, use [`Cursor::new`] with an `Arc<Unlocked>`, or with the volume itself.
    pub fn cursor(&self) -> Cursor<&Self> {
        Cursor::new(self)
    }

    /// Whether every byte of the volume is inside the source and its plaintext can be known.
    pub fn is_whole(&self) -> bool {
        self.readable(0, self.size()) == self.size()
    }

    /// Size of a sector in bytes.
    pub fn sector_size(&self) -> u32 {
        self.sectors.size
    }

    /// The encryption method; `None` if nothing is encrypted.
    pub fn method(&self) -> Option<&'static Method> {
        self.method
    }

    /// The map of which bytes of the plaintext come from where.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The credential and key protector that unlocked the volume.
    pub fn opened_by(&self) -> &OpenedBy {
        &self.opened_by
    }

    /// Whether the VMK proves the metadata. `false` also if the volume was unlocked without a VMK.
    pub fn is_proved(&self) -> bool {
        self.proved
    }

    /// What the user should know before trusting the plaintext, a sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A volume that is not encrypted: its plaintext is the content of the source. It serves to mount
    /// or export plain images, and to measure the cost of that without decryption.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the sector size of the source is impossible.
    pub fn plain(source: Arc<dyn ReadAt>) -> Result<Self> {
        let size = source.sector_size().unwrap_or(512);
        if !size.is_power_of_two() || !(512..=MAX_SECTOR as u32).contains(&size) {
            return Err(Error::unsupported(format!(
                "a source with sectors of {size} bytes"
            )));
        }
        let mut layout = Layout::default();
        layout.push_in_place(source.size(), false);
        Ok(Self {
            sectors: Sectors {
                size,
                source,
                cipher: None,
            },
            layout,
            method: None,
            opened_by: OpenedBy::default(),
            proved: false,
            identification: None,
            warnings: Vec::new(),
            writable: Err(Unwritable::Decrypted),
            target: None,
            threads: UnlockOptions::new().parallelism(),
        })
    }

    /// Fills `buf` with the plaintext from `offset` on.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] beyond the end of the volume; [`Error::Io`] when the source cannot be
    /// read, with [`io::ErrorKind::UnexpectedEof`] if it was cut off; [`Error::Unreadable`] when the
    /// plaintext cannot be known. The content of `buf` is then unspecified.
    ///
    /// Reads of 2 MiB and more use several threads; smaller ones use only the caller's.
    pub fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let parts = (buf.len() / PART).min(self.threads);
        let end = offset.checked_add(buf.len() as u64);
        let inside = end.is_some_and(|end| end <= self.size());
        if parts < 2 || !inside {
            return self.sectors.read(&self.layout, offset, buf);
        }
        let len = buf.len().div_ceil(parts).next_multiple_of(MAX_SECTOR);
        let rest = Mutex::new((0u64..).zip(buf.chunks_mut(len)));
        let failed: Mutex<Option<(u64, Error)>> = Mutex::new(None);
        crate::threads::share(parts - 1, || {
            loop {
                let next = rest.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((number, part)) = next else { return };
                let start = offset.saturating_add(number * len as u64);
                if let Err(error) = self.sectors.read(&self.layout, start, part) {
                    // The error at the lowest offset is returned, whichever thread is faster.
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    if failed.as_ref().is_none_or(|(other, _)| number < *other) {
                        *failed = Some((number, error));
                    }
                }
            }
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.map_or(Ok(()), |(_, error)| Err(error))
    }
}

impl Sectors {
    /// Fills `buf` with the plaintext of `layout` from `offset` on.
    pub(super) fn read(&self, layout: &Layout, offset: u64, buf: &mut [u8]) -> Result<()> {
        let len = buf.len() as u64;
        let size = layout.size();
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= size)
            .ok_or(Error::OutOfRange { offset, len, size })?;
        if len > 0 && end > self.source.size() {
            return Err(self.cut_off(end));
        }
        let mut rest = buf;
        for extent in layout.resolve(offset..end) {
            let len = usize::try_from(extent.range.end - extent.range.start).unwrap_or(usize::MAX);
            let (part, after) = rest.split_at_mut(len.min(rest.len()));
            self.read_extent(&extent, part)?;
            rest = after;
        }
        Ok(())
    }

    /// Size of the source in whole sectors, in bytes.
    fn present(&self) -> u64 {
        let size = self.source.size();
        size - size % u64::from(self.size)
    }

    fn readable(&self, layout: &Layout, offset: u64, len: u64) -> u64 {
        let end = offset
            .saturating_add(len)
            .min(layout.size())
            .min(self.present());
        let mut reached = offset;
        for extent in layout.resolve(offset..end.max(offset)) {
            let len = extent.range.end - extent.range.start;
            let readable = match extent.content {
                Content::Zero | Content::Literal(_) => len,
                Content::Encrypted { from } | Content::Plain { from } => {
                    len.min(self.present().saturating_sub(from))
                }
                Content::Unknown(_) => 0,
            };
            reached += readable;
            if readable < len {
                break;
            }
        }
        reached - offset
    }

    fn read_extent(&self, extent: &Extent, buf: &mut [u8]) -> Result<()> {
        match &extent.content {
            Content::Zero => buf.fill(0),
            Content::Literal(bytes) => buf.copy_from_slice(&bytes[..buf.len()]),
            Content::Plain { from } => self.read_source(*from, buf)?,
            Content::Encrypted { from } => self.read_encrypted(*from, buf)?,
            Content::Unknown(why) => {
                return Err(Error::Unreadable {
                    offset: extent.range.start,
                    end: extent.range.end,
                    why: (*why).to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Reads and decrypts. Whole sectors are decrypted in the caller's buffer; a partial one at either
    /// end is decrypted on the stack, and a part of it copied.
    pub(super) fn read_encrypted(&self, from: u64, buf: &mut [u8]) -> Result<()> {
        let Some(cipher) = self.cipher.as_deref() else {
            return Err(Error::Unreadable {
                offset: from,
                end: from + buf.len() as u64,
                why: "the volume has no sector key".to_owned(),
            });
        };
        let sector = u64::from(self.size);
        let skip = from % sector;
        let mut from = from;
        let mut rest = buf;
        if skip != 0 {
            let len = (sector - skip).min(rest.len() as u64) as usize;
            let (head, after) = rest.split_at_mut(len);
            self.read_part_of_sector(cipher, from - skip, skip as usize, head)?;
            from += len as u64;
            rest = after;
        }
        let whole = rest.len() - rest.len() % self.size as usize;
        let (middle, tail) = rest.split_at_mut(whole);
        if !middle.is_empty() {
            self.read_source(from, middle)?;
            cipher.decrypt(from, middle);
        }
        if !tail.is_empty() {
            self.read_part_of_sector(cipher, from + whole as u64, 0, tail)?;
        }
        Ok(())
    }

    fn read_part_of_sector(
        &self,
        cipher: &dyn SectorCipher,
        address: u64,
        skip: usize,
        buf: &mut [u8],
    ) -> Result<()> {
        let mut scratch = [0; MAX_SECTOR];
        let sector = &mut scratch[..self.size as usize];
        self.read_source(address, sector)?;
        cipher.decrypt(address, sector);
        buf.copy_from_slice(&sector[skip..skip + buf.len()]);
        Ok(())
    }

    fn read_source(&self, from: u64, buf: &mut [u8]) -> Result<()> {
        read_uninterrupted(self.source.as_ref(), from, buf).map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                self.cut_off(from + buf.len() as u64)
            } else {
                Error::io(format!("reading {} bytes at {from:#x}", buf.len()), source)
            }
        })
    }

    fn cut_off(&self, wanted: u64) -> Error {
        Error::io(
            format!(
                "the image ends at byte {}, before byte {wanted} that was asked for",
                self.source.size()
            ),
            io::ErrorKind::UnexpectedEof.into(),
        )
    }
}

impl std::fmt::Debug for Unlocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unlocked")
            .field("size", &self.size())
            .field("method", &self.method)
            .field("opened_by", &self.opened_by)
            .finish_non_exhaustive()
    }
}

impl ReadAt for Unlocked {
    fn size(&self) -> u64 {
        self.layout.size()
    }

    fn sector_size(&self) -> Option<u32> {
        Some(self.sectors.size)
    }

    fn readable(&self, offset: u64, len: u64) -> u64 {
        self.readable(offset, len)
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        Ok(self.read_exact_at(offset, buf)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::tests::NONE_MORE;

    #[test]
    fn large_reads_are_the_same_on_one_thread() {
        let bytes: Vec<u8> = (0..8 << 20).map(|nth: u32| (nth / 512) as u8).collect();
        let unlocked = Unlocked::plain(Arc::new(bytes.clone())).unwrap();
        for alone in [false, true] {
            let mut buf = vec![0; bytes.len() - 1000];
            NONE_MORE.set(alone);
            unlocked.read_exact_at(1000, &mut buf).unwrap();
            NONE_MORE.set(false);
            assert!(buf == bytes[1000..]);
        }
    }
}
