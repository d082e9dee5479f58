//! The metadata of a new volume, from its keys to the bytes of a region.

use zeroize::Zeroizing;

use super::NewVolume;
use super::placement::MOVED_LEN;
use crate::crypto::random;
use crate::enroll::seal::Sealer;
use crate::enroll::unfit;
use crate::error::Result;
use crate::format::datum::{Virtualization, VirtualizationExtension, key_types, roles};
use crate::format::encode::block::{BlockContent, BlockHeader, DatasetHeader};
use crate::format::encode::{self, DatumBytes};
use crate::secret::{SecretBytes, Vmk};

/// Flags of the virtualization datum's extension: the value of every sample, and the bits that
/// differ (docs/format.md §3.9; meanings inferred).
pub(super) mod flags {
    pub(in crate::create) const ALWAYS: u64 = 0x00A;
    pub(in crate::create) const LARGE_SECTORS: u64 = 0x001;
    #[cfg(feature = "testing")]
    pub(in crate::create) const ENCRYPT_ON_WRITE: u64 = 0x040;
    #[cfg(feature = "testing")]
    pub(in crate::create) const CONVERTING: u64 = 0x100;
}

/// The keys of a volume.
pub(super) struct Keys {
    vmk: Vmk,
    /// The sector key.
    pub(super) fvek: SecretBytes,
}

impl Keys {
    /// New ones, for sectors encrypted with a key of `fvek_len` bytes.
    pub(super) fn new(fvek_len: usize) -> Result<Self> {
        let mut vmk = Zeroizing::new([0; Vmk::LEN]);
        random::fill(&mut vmk[..])?;
        // Methods that use only parts of their key have random bytes in the rest too, as on the
        // samples (docs/format.md §4.7).
        let mut fvek = vec![0; fvek_len];
        random::fill(&mut fvek)?;
        Ok(Self {
            vmk: Vmk::from_bytes(&vmk),
            fvek: SecretBytes::new(fvek),
        })
    }
}

impl NewVolume {
    /// The region of which three copies go onto a volume of `size` bytes.
    pub(super) fn region(&self, keys: &Keys, size: u64) -> Result<Vec<u8>> {
        #[cfg(feature = "testing")]
        if self.stage.has_no_keys() {
            return self.region_without_keys();
        }
        let mut sealer = Sealer::new(&keys.vmk, self.created);
        let mut datums = Vec::new();
        if let Some(description) = &self.description {
            datums.push(encode::text(roles::DESCRIPTION, description).map_err(unfit)?);
        }
        for protector in &self.protectors {
            datums.push(protector.datum(self.created, &mut sealer)?);
        }
        let fvek = sealer.with_vmk(roles::FVEK, self.method.code, keys.fvek.expose())?;
        datums.push(fvek);
        if let Some(key) = &self.auto_unlock_key {
            let (role, key_type) = (roles::AUTO_UNLOCK_KEY, key_types::EXTERNAL_KEY);
            datums.push(sealer.with_vmk(role, key_type, key.expose())?);
        }
        #[cfg(feature = "testing")]
        datums.extend(self.encoded_extra_datums()?);
        datums.push(self.virtualization()?);
        // The hash covers the counter that follows its own seal, which comes last.
        let next_nonce = sealer.next_counter().saturating_add(1);
        let head = self.head(size, next_nonce, self.method.code);
        let content = BlockContent::new(&head, &datums).map_err(unfit)?;
        let role = roles::PROPERTY;
        let validation = sealer.with_vmk(role, key_types::VALIDATION_HASH, &content.hash())?;
        content.region(&validation).map_err(unfit)
    }

    /// A volume that is prepared but not encrypted has no keys: its hash is stored unencrypted
    /// (docs/format.md §2.4).
    #[cfg(feature = "testing")]
    fn region_without_keys(&self) -> Result<Vec<u8>> {
        let head = self.head(0, 1, 0);
        let content = BlockContent::new(&head, &[self.virtualization()?]).map_err(unfit)?;
        let hash = content.hash();
        let key_type = key_types::VALIDATION_HASH;
        let validation = encode::key(encode::STORED, key_type, &hash).map_err(unfit)?;
        content.region(&validation).map_err(unfit)
    }

    fn head(&self, size: u64, next_nonce: u32, method: u16) -> BlockHeader {
        let (state, next_state, encrypted_extent) = self.stage.states(size);
        BlockHeader {
            state,
            next_state,
            encrypted_extent,
            moved_sectors: u32::try_from(MOVED_LEN).unwrap_or(0) / self.sector_size,
            copies: self.placement.copies,
            moved_to: self.placement.moved,
            dataset: DatasetHeader {
                id: self.id,
                next_nonce,
                method,
                created: self.created,
            },
        }
    }

    fn virtualization(&self) -> Result<DatumBytes> {
        let mut flags = flags::ALWAYS;
        if self.sector_size == 4096 {
            flags |= flags::LARGE_SECTORS;
        }
        flags |= self.stage.flags();
        let info = Virtualization {
            offset: self.placement.moved,
            size: MOVED_LEN,
            extension: Some(VirtualizationExtension {
                version: 5,
                flags,
                log_offset: 0,
                log_size: 0,
                sector_size: self.sector_size,
                physical_sector_size: self.sector_size,
                windows: self.written_by.version,
                product_type: self.written_by.product_type,
                spare: self.placement.spare(),
            }),
        };
        encode::virtualization(&info).map_err(unfit)
    }
}
