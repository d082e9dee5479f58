//! `Read + Seek` over the decrypted volume.

use std::io::{self, Read, Seek, SeekFrom};

use super::unlocked::Unlocked;

/// A position in a decrypted volume; any number of them may be at work at once.
#[derive(Debug)]
pub struct Cursor<'a> {
    volume: &'a Unlocked,
    position: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(volume: &'a Unlocked) -> Self {
        Self {
            volume,
            position: 0,
        }
    }
}

impl Unlocked {
    /// Reading with a position of its own.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor::new(self)
    }
}

impl Read for Cursor<'_> {
    /// Reads as much as can be had in one go; an error only when not a byte can.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.volume.size().saturating_sub(self.position);
        let wanted = left.min(buf.len() as u64);
        let there = match self.volume.readable(self.position, wanted) {
            // Nothing: the volume says why.
            0 => wanted,
            there => there,
        };
        let len = usize::try_from(there).unwrap_or(buf.len());
        self.volume.read_exact_at(self.position, &mut buf[..len])?;
        self.position += len as u64;
        Ok(len)
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(by) => self.volume.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
