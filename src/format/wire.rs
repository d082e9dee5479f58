//! Checked access to fields by offset, mostly little-endian. Errors name the structure and its
//! position on the volume.
//!
//! `zerocopy` suits fixed headers, but most structures here have variable parts; `binrw` hides the
//! positions that the errors need; both replace about a hundred lines. Reading integers is left to
//! `byteorder`.

use byteorder::{BigEndian, ByteOrder, LittleEndian};

use super::FormatError;
use crate::guid::Guid;

/// The bytes of a structure, its name, and its position on the volume or in the file.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    structure: &'static str,
    bytes: &'a [u8],
    position: u64,
}

impl<'a> Fields<'a> {
    /// A structure of that name with these bytes, which were read `position` bytes into the volume or
    /// file.
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

    /// An error about this structure, with its position.
    pub(crate) fn fault(&self, what: impl Into<String>) -> FormatError {
        FormatError {
            structure: self.structure,
            position: self.position,
            what: what.into(),
        }
    }

    /// The `len` bytes that begin at `offset`.
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

    /// The bytes from `offset` to `end` as a structure of another name.
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

    /// The error that the structure is too short.
    fn short(&self, need: usize) -> FormatError {
        self.fault(format!(
            "it ends after {} bytes, but {need} are needed",
            self.bytes.len()
        ))
    }
}
