//! In-memory copies of the frozen volumes that tests damage.

use std::path::{Path, PathBuf};

use super::testdata::Entry;

/// A volume in memory that a test can change.
pub struct VolumeCopy {
    pub bytes: Vec<u8>,
}

impl VolumeCopy {
    pub fn of(volume: &Entry) -> Self {
        Self {
            bytes: std::fs::read(&volume.file).expect("volume"),
        }
    }

    /// Offsets of the metadata copies, from the boot record (docs/format.md §1.3).
    pub fn offsets(&self) -> [usize; 3] {
        [0xB0, 0xB8, 0xC0].map(|at| self.u64(at) as usize)
    }

    pub fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes[at..at + 2].try_into().expect("two bytes"))
    }

    pub fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Writes `bytes` at `at` in the metadata copy at `offset`, and updates the CRC-32 of the copy.
    pub fn edit(&mut self, offset: usize, at: usize, bytes: &[u8]) {
        self.bytes[offset + at..][..bytes.len()].copy_from_slice(bytes);
        self.repair(offset);
    }

    /// Does the same in all three copies.
    pub fn edit_all(&mut self, at: usize, bytes: &[u8]) {
        for offset in self.offsets() {
            self.edit(offset, at, bytes);
        }
    }

    /// Updates the CRC-32 of the metadata copy at `offset`, unless the size in its header exceeds
    /// the 64 KiB of a region.
    pub fn repair(&mut self, offset: usize) {
        const REGION: usize = 0x1_0000;
        let size = usize::from(self.u16(offset + 8)) * 16;
        if size + 8 > REGION {
            return;
        }
        if let Some(block) = self.bytes.get(offset..offset + size) {
            let crc = crc32fast::hash(block);
            if let Some(stored) = self.bytes.get_mut(offset + size + 4..offset + size + 8) {
                stored.copy_from_slice(&crc.to_le_bytes());
            }
        }
    }

    /// Offsets of the top-level datums in a metadata copy.
    pub fn datums(&self) -> Vec<usize> {
        let block = self.offsets()[0];
        let end = 0x40 + usize::from(self.u16(block + 0x4C));
        let mut found = Vec::new();
        let mut at = 0x70;
        while at + 8 <= end {
            found.push(at);
            at += usize::from(self.u16(block + at)).max(8);
        }
        found
    }

    /// Writes the volume to `volume.img` in this directory.
    pub fn save(&self, directory: &Path) -> PathBuf {
        let path = directory.join("volume.img");
        std::fs::write(&path, &self.bytes).expect("write");
        path
    }
}
