//! What the server shows: a volume, and what it allows.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::nbd::{allocation, export};
use crate::volume::layout::Content;
use crate::volume::{Unlocked, Writable};

/// A decrypted volume, as a server shows it.
#[derive(Debug)]
pub struct Export {
    volume: Volume,
    name: String,
    description: String,
}

#[derive(Debug)]
enum Volume {
    ReadOnly(Arc<Unlocked>),
    ReadWrite(Arc<Writable>),
}

/// Bytes of the volume in one state: [`allocation::ZERO`], or none of its bits.
pub(super) struct Status {
    pub(super) len: u64,
    pub(super) state: u32,
}

impl Export {
    /// A volume that clients can only read.
    pub fn read_only(volume: Arc<Unlocked>) -> Self {
        Self::new(Volume::ReadOnly(volume))
    }

    /// A volume that clients can also write to.
    pub fn read_write(volume: Arc<Writable>) -> Self {
        Self::new(Volume::ReadWrite(volume))
    }

    fn new(volume: Volume) -> Self {
        Self {
            volume,
            name: String::new(),
            description: String::new(),
        }
    }

    /// Sets the name of the export. The empty name, which clients use by default, also selects it.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the description that a client can show to its user.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Whether `name` selects the export.
    pub(super) fn is_named(&self, name: &[u8]) -> bool {
        name.is_empty() || name == self.name.as_bytes()
    }

    pub(super) fn own_name(&self) -> &str {
        &self.name
    }

    pub(super) fn own_description(&self) -> &str {
        &self.description
    }

    pub(super) fn size(&self) -> u64 {
        self.plaintext().size()
    }

    pub(super) fn is_read_only(&self) -> bool {
        matches!(self.volume, Volume::ReadOnly(_))
    }

    /// The bits that describe the export to a client.
    pub(super) fn flags(&self, structured: bool) -> u16 {
        let mut flags = export::HAS_FLAGS | export::SEND_FLUSH | export::CAN_MULTI_CONN;
        if structured {
            flags |= export::SEND_DF;
        }
        flags
            | match self.volume {
                Volume::ReadOnly(_) => export::READ_ONLY,
                Volume::ReadWrite(_) => {
                    export::SEND_FUA
                        | export::SEND_TRIM
                        | export::SEND_WRITE_ZEROES
                        | export::SEND_FAST_ZERO
                }
            }
    }

    fn plaintext(&self) -> &Unlocked {
        match &self.volume {
            Volume::ReadOnly(volume) => volume,
            Volume::ReadWrite(volume) => volume.unlocked(),
        }
    }

    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match &self.volume {
            Volume::ReadOnly(volume) => volume.read_exact_at(offset, buf),
            Volume::ReadWrite(volume) => volume.read_exact_at(offset, buf),
        }
    }

    /// The volume for a request that changes it. `None` if it is read-only.
    pub(super) fn writable(&self) -> Option<&Writable> {
        match &self.volume {
            Volume::ReadOnly(_) => None,
            Volume::ReadWrite(volume) => Some(volume),
        }
    }

    pub(super) fn flush(&self) -> Result<(), Error> {
        self.writable().map_or(Ok(()), Writable::flush)
    }

    /// Which of the `len` bytes from `offset` on are known to be zeros without reading them, as
    /// consecutive extents. At least one, if `len` is not 0 and the range is inside the volume.
    pub(super) fn status(&self, offset: u64, len: u64) -> impl Iterator<Item = Status> {
        let layout = self.plaintext().layout();
        let extents = layout.resolve(offset..offset.saturating_add(len));
        let mut states = extents
            .map(|extent| Status {
                len: extent.range.end - extent.range.start,
                state: match extent.content {
                    Content::Zero => allocation::HOLE | allocation::ZERO,
                    _ => 0,
                },
            })
            .peekable();
        std::iter::from_fn(move || {
            let mut merged = states.next()?;
            while let Some(next) = states.next_if(|next| next.state == merged.state) {
                merged.len += next.len;
            }
            Some(merged)
        })
    }
}
