//! Writing a new volume: data, then metadata, then the boot record (section 7.5).
//!
//! Until the very last write the output is no BitLocker volume: an interrupted run leaves nothing
//! that could be taken for a finished one.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::metadata::Keys;
use super::placement::{self, MOVED_LEN};
use super::testing::{OnWrite, Stage};
use super::{Created, NewProtector, NewVolume, uncreatable, unfit};
use crate::crypto::sector::SectorCipher;
use crate::error::{Error, Result};
use crate::format::encode::boot::{BootFields, boot_record};
use crate::source::ReadAt;

/// Bytes encrypted at a time: a multiple of every sector size.
const PIECE: usize = 1 << 20;

/// Encrypts what of a stretch of the volume is to be encrypted.
struct Converter {
    cipher: Box<dyn SectorCipher>,
    encrypted: Vec<Range<u64>>,
}

impl Converter {
    /// Turns the plaintext of the sectors at `address` into what stands there on disk.
    fn convert(&self, address: u64, bytes: &mut [u8]) {
        let end = address + bytes.len() as u64;
        for range in &self.encrypted {
            let (start, stop) = (range.start.max(address), range.end.min(end));
            if start < stop {
                let at = |offset| usize::try_from(offset - address).unwrap_or(usize::MAX);
                self.cipher.encrypt(start, &mut bytes[at(start)..at(stop)]);
            }
        }
    }
}

impl NewVolume {
    /// Encrypts `plaintext` into `out`, which it fills from its first byte on: a new file, or a
    /// device of the same size. Everything is on stable storage when it returns.
    ///
    /// # Errors
    /// [`Error::Uncreatable`] before anything is written, when the plaintext is not made of whole
    /// sectors, a place of the metadata is not free, or the protectors would not do; [`Error::Io`]
    /// when reading or writing fails: `out` then holds no volume yet.
    pub fn write(&self, plaintext: &dyn ReadAt, out: &File) -> Result<Created> {
        let size = plaintext.size();
        if !size.is_multiple_of(self.sector_size.into()) {
            return Err(uncreatable(format!(
                "the plaintext of {size} bytes is not made of whole sectors of {} bytes",
                self.sector_size
            )));
        }
        self.check_protectors()?;
        placement::check(&self.stretches(), plaintext)?;
        let keys = Keys::new(self.method.key_len)?;
        let region = self.region(&keys, size)?;
        let moved = self.placement.moved();
        let converter = Converter {
            cipher: self
                .method
                .cipher(&keys.fvek, self.sector_size)
                .ok_or_else(|| uncreatable("no cipher for sectors of this size"))?,
            encrypted: self.stage.encrypted(&moved, size),
        };
        let out = Output(out);
        out.resize(size)?;
        copy(plaintext, &converter, &out)?;
        self.move_boot_sectors(plaintext, &converter, &out)?;
        self.write_map(plaintext, &out)?;
        out.flush()?;
        for copy in self.placement.copies {
            out.write(copy, &region)?;
        }
        out.flush()?;
        out.write(0, &self.boot_record()?)?;
        out.flush()?;
        Ok(Created {
            id: self.id,
            size,
            protectors: self.protectors.iter().map(NewProtector::summary).collect(),
        })
    }

    /// All that must be free in the plaintext.
    fn stretches(&self) -> Vec<(&'static str, Range<u64>)> {
        let mut stretches = self.placement.stretches().to_vec();
        if let Some(map) = self.stage.map() {
            stretches.push(("the conversion map", map.at..map.at + OnWrite::LEN));
        }
        stretches
    }

    /// Writes the first sectors to their new place, encrypted with its address.
    fn move_boot_sectors(
        &self,
        plaintext: &dyn ReadAt,
        converter: &Converter,
        out: &Output<'_>,
    ) -> Result<()> {
        let mut sectors = [0; MOVED_LEN as usize];
        read(plaintext, 0, &mut sectors)?;
        converter.convert(self.placement.moved, &mut sectors);
        out.write(self.placement.moved, &sectors)
    }

    fn write_map(&self, plaintext: &dyn ReadAt, out: &Output<'_>) -> Result<()> {
        let Some(map) = self.stage.map() else {
            return Ok(());
        };
        let all_plain = matches!(self.stage, Stage::Decrypted(_));
        let moved = self.placement.moved();
        let structures = map.structures(plaintext, self.sector_size, &moved, all_plain)?;
        let mut written = structures.iter();
        written.try_for_each(|(at, bytes)| out.write(*at, bytes))
    }

    fn boot_record(&self) -> Result<Vec<u8>> {
        /// Bytes of a cluster of NTFS, in which the boot record counts.
        const CLUSTER: u32 = 4096;
        boot_record(&BootFields {
            bytes_per_sector: u16::try_from(self.sector_size).unwrap_or(0),
            sectors_per_cluster: u8::try_from(CLUSTER / self.sector_size).unwrap_or(1),
            hidden_sectors: self.hidden_sectors,
            copies: self.placement.copies,
            information: self.stage.map().map(OnWrite::information),
        })
        .map_err(unfit)
    }
}

/// Encrypts everything where it lies, but for the first sectors: nothing reads them from there any
/// more, and no plaintext may stay behind, so they become zeros.
fn copy(plaintext: &dyn ReadAt, converter: &Converter, out: &Output<'_>) -> Result<()> {
    let size = plaintext.size();
    out.write(0, &[0; MOVED_LEN as usize])?;
    let mut piece = vec![0; PIECE];
    let mut at = MOVED_LEN;
    while at < size {
        let len = usize::try_from(size - at).unwrap_or(PIECE).min(PIECE);
        let bytes = &mut piece[..len];
        read(plaintext, at, bytes)?;
        converter.convert(at, bytes);
        out.write(at, bytes)?;
        at += len as u64;
    }
    Ok(())
}

fn read(plaintext: &dyn ReadAt, offset: u64, bytes: &mut [u8]) -> Result<()> {
    plaintext
        .read_exact_at(offset, bytes)
        .map_err(|error| Error::io(format!("cannot read the plaintext at {offset:#x}"), error))
}

/// The file or device that becomes the volume.
struct Output<'a>(&'a File);

impl Output<'_> {
    /// Gives a file its size; a device has one.
    fn resize(&self, size: u64) -> Result<()> {
        let resized = self.0.metadata().and_then(|metadata| {
            if metadata.is_file() {
                self.0.set_len(size)
            } else {
                Ok(())
            }
        });
        resized.map_err(|error| Error::io("cannot give the volume its size", error))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0
            .write_all_at(bytes, offset)
            .map_err(|error| Error::io(format!("cannot write the volume at {offset:#x}"), error))
    }

    fn flush(&self) -> Result<()> {
        self.0
            .sync_all()
            .map_err(|error| Error::io("cannot flush the volume", error))
    }
}
