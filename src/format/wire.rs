//! Checked access to little-endian fields, by offset, with the position in error messages.

use byteorder::{BigEndian, ByteOrder, LittleEndian};

use super::FormatError;
use crate::guid::Guid;

/// A structure's bytes and where they lie on the volume.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    structure: &'static str,
    bytes: &'a [u8],
    position: u64,
}

impl<'a> Fields<'a> {
    /// `bytes` as the structure of that name, found `position` bytes into the volume or file.
    pub(crate) fn new(structure: &'static str, bytes: &'a [u8], position: u64) -> Self {
        Self {
            structure,
            bytes,
            position,
        }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// An error about this structure.
    pub(crate) fn fault(&self, what: impl Into<String>) -> FormatError {
        FormatError {
            structure: self.structure,
            position: self.position,
            what: what.into(),
        }
    }

    /// `len` bytes from `offset` on.
    pub(crate) fn slice(&self, offset: usize, len: usize) -> Result<&'a [u8], FormatError> {
        offset
            .checked_add(len)
            .and_then(|end| self.bytes.get(offset..end))
            .ok_or_else(|| self.short(offset.saturating_add(len)))
    }

    /// All bytes from `offset` on.
    pub(crate) fn rest(&self, offset: usize) -> Result<&'a [u8], FormatError> {
        self.bytes.get(offset..).ok_or_else(|| self.short(offset))
    }

    /// The same structure seen from `offset` to `end`, under another name.
    pub(crate) fn part(
        &self,
        structure: &'static str,
        offset: usize,
        end: usize,
    ) -> Result<Fields<'a>, FormatError> {
        let bytes = self
            .bytes
            .get(offset..end)
            .ok_or_else(|| self.short(end.max(offset)))?;
        Ok(Fields::new(
            structure,
            bytes,
            self.position.saturating_add(offset as u64),
        ))
    }

    pub(crate) fn array<const N: usize>(&self, offset: usize) -> Result<[u8; N], FormatError> {
        let slice = self.slice(offset, N)?;
        slice.try_into().map_err(|_| self.short(offset))
    }

    pub(crate) fn u16(&self, offset: usize) -> Result<u16, FormatError> {
        self.slice(offset, 2).map(LittleEndian::read_u16)
    }

    pub(crate) fn u32(&self, offset: usize) -> Result<u32, FormatError> {
        self.slice(offset, 4).map(LittleEndian::read_u32)
    }

    pub(crate) fn u64(&self, offset: usize) -> Result<u64, FormatError> {
        self.slice(offset, 8).map(LittleEndian::read_u64)
    }

    pub(crate) fn u8(&self, offset: usize) -> Result<u8, FormatError> {
        self.array::<1>(offset).map(|[byte]| byte)
    }

    pub(crate) fn u16_be(&self, offset: usize) -> Result<u16, FormatError> {
        self.slice(offset, 2).map(BigEndian::read_u16)
    }

    pub(crate) fn guid(&self, offset: usize) -> Result<Guid, FormatError> {
        self.array(offset).map(Guid::from_disk)
    }

    fn short(&self, need: usize) -> FormatError {
        self.fault(format!(
            "ends after {} bytes where {need} are needed",
            self.bytes.len()
        ))
    }
}
