//! How far a new volume is converted. Users only make volumes that are completely encrypted; the
//! other stages are for tests and need the feature `testing`.

use std::ops::Range;

use crate::error::Result;
use crate::format::block::State;
use crate::source::ReadAt;

/// The conversion map of an encrypt-on-write volume (docs/format.md §5.6).
#[cfg(feature = "testing")]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnWrite {
    /// Offset of the map on the volume. It is [`OnWrite::LEN`] bytes long.
    pub at: u64,
    /// Bytes in a chunk, the unit of conversion.
    pub chunk_size: u32,
    /// Which chunks are encrypted: bit `n % 32` for chunk `n`, counted through all regions.
    pub pattern: u32,
}

/// How far a volume is converted.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
pub enum Stage {
    /// All of it is encrypted.
    Encrypted,
    /// Conversion is paused.
    #[cfg(feature = "testing")]
    Paused {
        /// The state that conversion leads to.
        next: State,
        /// Bytes from the start of the volume that are encrypted.
        watermark: u64,
    },
    /// Encrypt-on-write has encrypted some of the chunks.
    #[cfg(feature = "testing")]
    EncryptOnWrite(OnWrite),
    /// Prepared for encrypt-on-write, without keys; nothing is encrypted.
    #[cfg(feature = "testing")]
    Decrypted(OnWrite),
}

impl Stage {
    #[cfg(feature = "testing")]
    fn map(&self) -> Option<&OnWrite> {
        match self {
            Self::EncryptOnWrite(map) | Self::Decrypted(map) => Some(map),
            Self::Encrypted | Self::Paused { .. } => None,
        }
    }

    /// Whether the volume has no keys.
    pub(super) fn has_no_keys(&self) -> bool {
        match self {
            #[cfg(feature = "testing")]
            Self::Decrypted(_) => true,
            _ => false,
        }
    }

    /// State, next state and encrypted extent for the metadata header (docs/format.md §2.2), of a
    /// volume of `size` bytes.
    pub(super) fn states(&self, size: u64) -> (State, State, u64) {
        match self {
            #[cfg(feature = "testing")]
            Self::Paused { next, watermark } => (State::PAUSED, *next, *watermark),
            #[cfg(feature = "testing")]
            Self::Decrypted(_) => (State::DECRYPTED, State::DECRYPTED, 0),
            _ => (State::ENCRYPTED, State::ENCRYPTED, size),
        }
    }

    /// Flags that it adds to the virtualization datum's extension.
    pub(super) fn flags(&self) -> u64 {
        #[cfg(feature = "testing")]
        {
            use super::metadata::flags::{CONVERTING, ENCRYPT_ON_WRITE};
            match self {
                Self::EncryptOnWrite(_) => return ENCRYPT_ON_WRITE | CONVERTING,
                Self::Decrypted(_) => return ENCRYPT_ON_WRITE,
                Self::Encrypted | Self::Paused { .. } => {}
            }
        }
        0
    }

    /// Ranges of a volume of `size` bytes that are encrypted, as offsets on the volume.
    pub(super) fn encrypted(&self, moved: &Range<u64>, size: u64) -> Vec<Range<u64>> {
        let below = |watermark: u64| std::iter::once(0..watermark.min(size)).collect();
        let _ = moved;
        match self {
            Self::Encrypted => below(size),
            #[cfg(feature = "testing")]
            Self::Paused { watermark, .. } => below(*watermark),
            #[cfg(feature = "testing")]
            Self::Decrypted(_) => Vec::new(),
            #[cfg(feature = "testing")]
            Self::EncryptOnWrite(map) => map.encrypted(moved, size),
        }
    }

    /// The range of the conversion map, which must be free in the plaintext.
    pub(super) fn map_range(&self) -> Option<Range<u64>> {
        #[cfg(feature = "testing")]
        if let Some(map) = self.map() {
            return Some(map.at..map.at + OnWrite::LEN);
        }
        None
    }

    /// Offsets of the two copies of the conversion information, for the boot record.
    pub(super) fn information(&self) -> Option<[u64; 2]> {
        #[cfg(feature = "testing")]
        if let Some(map) = self.map() {
            return Some(map.information());
        }
        None
    }

    /// The structures of the conversion map, each with its offset.
    pub(super) fn map_structures(
        &self,
        plaintext: &dyn ReadAt,
        sector_size: u32,
        moved: &Range<u64>,
    ) -> Result<Vec<(u64, Vec<u8>)>> {
        #[cfg(feature = "testing")]
        if let Some(map) = self.map() {
            let all_plain = matches!(self, Self::Decrypted(_));
            return map.structures(plaintext, sector_size, moved, all_plain);
        }
        let _ = (plaintext, sector_size, moved);
        Ok(Vec::new())
    }
}
