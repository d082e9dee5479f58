//! Large disks from short inputs: pieces of a disk that is zero elsewhere.
//!
//! Each piece is an offset (u32), a length (u16) and that many bytes. `fuzz/seeds` writes this form.

/// Largest disk, in bytes.
const MAX: usize = 16 << 20;

/// The disk with these pieces, which ends with the last of them.
pub fn disk(mut bytes: &[u8]) -> Vec<u8> {
    let mut disk = Vec::new();
    while let Some((&[a, b, c, d, low, high], rest)) = bytes.split_first_chunk() {
        let offset = u32::from_le_bytes([a, b, c, d]) as usize % MAX;
        let len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (piece, rest) = rest.split_at(len);
        let end = (offset + len).min(MAX);
        if disk.len() < end {
            disk.resize(end, 0);
        }
        disk[offset..end].copy_from_slice(&piece[..end - offset]);
        bytes = rest;
    }
    disk
}
