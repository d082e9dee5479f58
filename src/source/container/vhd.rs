//! VHD, fixed and dynamic (Microsoft, "Virtual Hard Disk Image Format Specification" 1.0, 2006).
//!
//! The crate `vhd` 0.1 has had no release in years, so it was not tried further.
//!
//! All numbers are big-endian. The footer is the last sector of the file; a dynamic disk has a copy
//! of it in the first.
//!
//! | footer | field | dynamic header | field |
//! |---|---|---|---|
//! | 0 | `conectix` | 0 | `cxsparse` |
//! | 16 | offset of the dynamic header | 16 | offset of the block allocation table |
//! | 48 | size of the disk | 28 | number of its entries |
//! | 60 | 2 fixed, 3 dynamic, 4 differencing | 32 | bytes of a block |
//! | 64 | checksum | 36 | checksum |
//!
//! A table entry is the sector in which a block begins, or all ones if there is no block. A block
//! begins with a bitmap of its sectors, which is not used: the sectors without a bit were filled with
//! zeros when the block was created. QEMU does not use it either.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::blocks::{Stored, be32, be64, bytes_at, fill, has_at, read_in_blocks};
use super::{MERGE, damaged, unsupported, unsupported_with};
use crate::source::{ReadAt, Window};

const FOOTER_LEN: u64 = 512;
const COOKIE: &[u8] = b"conectix";
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;
const SECTOR: u64 = 512;
const ENTRY_LEN: u64 = 4;
/// The entry of a block that does not exist.
const ABSENT: u32 = u32::MAX;

pub(super) fn fits(file: &dyn ReadAt) -> io::Result<bool> {
    Ok(has_at(file, 0, COOKIE)? || has_at(file, end_footer(file), COOKIE)?)
}

fn end_footer(file: &dyn ReadAt) -> u64 {
    file.size().saturating_sub(FOOTER_LEN)
}

pub(super) fn open(file: Arc<dyn ReadAt>) -> io::Result<Arc<dyn ReadAt>> {
    let footer = footer(&file)?;
    let size = be64(&footer, 48);
    match be32(&footer, 60) {
        FIXED => {
            let size = size.min(end_footer(&file));
            Ok(Arc::new(Window::new(file, 0, size)))
        }
        DYNAMIC => Ok(Arc::new(Dynamic::new(file, be64(&footer, 16), size)?)),
        DIFFERENCING => Err(unsupported_with(
            "a differencing VHD, which holds only the changes to another disk",
            MERGE,
        )),
        kind => Err(unsupported(format!("a VHD of type {kind}"))),
    }
}

/// The footer at the end of the file, or if that is damaged, its copy at the beginning.
fn footer(file: &dyn ReadAt) -> io::Result<[u8; FOOTER_LEN as usize]> {
    for offset in [end_footer(file), 0] {
        let footer = bytes_at(file, offset)?;
        if footer.starts_with(COOKIE) && is_sound(&footer, 64) {
            return Ok(footer);
        }
    }
    Err(damaged("the checksum of its footer is wrong"))
}

/// Whether the checksum at `at` is the complement of the sum of all other bytes.
fn is_sound(bytes: &[u8], at: usize) -> bool {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let own = bytes
        .get(at..)
        .and_then(|rest| rest.get(..4))
        .unwrap_or_default();
    !sum(bytes).wrapping_sub(sum(own)) == be32(bytes, at)
}

struct Dynamic {
    file: Arc<dyn ReadAt>,
    size: u64,
    table: u64,
    block_len: u64,
    bitmap_len: u64,
}

impl Dynamic {
    fn new(file: Arc<dyn ReadAt>, header: u64, size: u64) -> io::Result<Self> {
        let header: [u8; 1024] = bytes_at(&file, header)?;
        if !header.starts_with(b"cxsparse") || !is_sound(&header, 36) {
            return Err(damaged("the checksum of its dynamic header is wrong"));
        }
        let entries = u64::from(be32(&header, 28));
        let block_len = u64::from(be32(&header, 32));
        if block_len == 0 || !block_len.is_multiple_of(SECTOR) {
            return Err(damaged(format!("its blocks have {block_len} bytes")));
        }
        if size.div_ceil(block_len) > entries {
            return Err(damaged(format!(
                "its table has {entries} blocks of {block_len} bytes for a disk of {size} bytes"
            )));
        }
        Ok(Self {
            file,
            size,
            table: be64(&header, 16),
            block_len,
            bitmap_len: block_len.div_ceil(SECTOR * 8).next_multiple_of(SECTOR),
        })
    }

    /// The offset in the file of the block with the byte at `offset` of the disk.
    fn block(&self, offset: u64) -> io::Result<Option<u64>> {
        let index = offset.checked_div(self.block_len).unwrap_or(0);
        let entry = self.table.saturating_add(index.saturating_mul(ENTRY_LEN));
        let sector = be32(&bytes_at::<4>(&self.file, entry)?, 0);
        let start = u64::from(sector).saturating_mul(SECTOR);
        Ok((sector != ABSENT).then_some(start.saturating_add(self.bitmap_len)))
    }
}

impl ReadAt for Dynamic {
    fn size(&self) -> u64 {
        self.size
    }

    fn modified(&self) -> Option<SystemTime> {
        self.file.modified()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        read_in_blocks(self.size, offset, buf, |offset, buf| {
            let inside = offset.checked_rem(self.block_len).unwrap_or(0);
            let stored = match self.block(offset)? {
                Some(block) => Stored::At(block.saturating_add(inside)),
                None => Stored::Zeros,
            };
            fill(
                &self.file,
                stored,
                self.block_len.saturating_sub(inside),
                buf,
            )
        })
    }
}
