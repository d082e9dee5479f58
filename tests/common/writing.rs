//! Volumes to write to, and disks that fail as asked.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fve::create::{NewProtector, NewVolume, Placement};
use fve::crypto::sector::Method;
use fve::error::Result;
use fve::secret::ClearKey;
use fve::source::{ExclusiveFile, ReadAt, WriteAt};
use fve::unlock::Credential;
use fve::unlock::Suspended;
use fve::volume::{UnlockOptions, Volume, Writable};

/// Random numbers that come again with the same seed (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .take(len)
            .collect()
    }
}

/// A disk in memory that can be told to fail.
#[derive(Debug, Default)]
pub struct Disk {
    pub bytes: Mutex<Vec<u8>>,
    pub full: AtomicBool,
    pub fails_to_flush: AtomicBool,
}

impl Disk {
    pub fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            bytes: Mutex::new(bytes),
            ..Self::default()
        })
    }
}

impl ReadAt for Disk {
    fn size(&self) -> u64 {
        self.bytes.lock().expect("disk").len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.bytes.lock().expect("disk").read_exact_at(offset, buf)
    }
}

impl WriteAt for Disk {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        let mut disk = self.bytes.lock().expect("disk");
        let start = offset as usize;
        let place = disk.get_mut(start..start + bytes.len());
        place
            .ok_or(io::ErrorKind::UnexpectedEof)?
            .copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        if self.fails_to_flush.load(Ordering::SeqCst) {
            return Err(rustix::io::Errno::IO.into());
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_all_at(offset, &vec![0; len as usize])
    }
}

pub const SIZE: usize = 0x8_0000;

/// Where the metadata of [`made`] lies.
pub fn placement() -> Placement {
    Placement::after_first_copy([0x1_0000, 0x3_8000, 0x6_0000])
}

/// Stretches of the plaintext of [`made`] that must not be written to.
pub fn reserved() -> Vec<std::ops::Range<u64>> {
    let stretches = placement().stretches().into_iter();
    stretches.map(|(_, range)| range).collect()
}

/// A volume of [`SIZE`] bytes with a clear key, which opens it at no cost, and its plaintext.
pub fn made(method: &'static Method, sector_size: u32) -> (Vec<u8>, Vec<u8>) {
    let mut plaintext: Vec<u8> = (0..SIZE).map(|i| (i / 512 + i % 251 + 1) as u8).collect();
    for range in reserved() {
        plaintext[range.start as usize..range.end as usize].fill(0);
    }
    plaintext[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
    let mut volume = NewVolume::new(method, sector_size, placement()).expect("volume");
    volume.protect(NewProtector::clear_key(ClearKey::from_bytes(&[7; 32])).expect("protector"));
    let mut file = tempfile::tempfile().expect("file");
    volume.write(&plaintext, &file).expect("volume");
    let mut bytes = Vec::new();
    io::Seek::rewind(&mut file).expect("seek");
    io::Read::read_to_end(&mut file, &mut bytes).expect("read");
    (bytes, plaintext)
}

/// Opens a volume with a clear key for writing.
pub fn writable(target: Arc<dyn WriteAt>) -> Result<Writable> {
    writable_with(target, Box::new(Suspended))
}

pub fn writable_with(target: Arc<dyn WriteAt>, key: Box<dyn Credential>) -> Result<Writable> {
    let volume = Volume::from_exclusive(target)?;
    volume.check_writable()?;
    let unlocked = volume.unlock(&[key], &UnlockOptions::default())?;
    Ok(unlocked.into_writable()?)
}

/// The same in a file, held exclusively.
pub fn writable_file(path: &Path, key: Box<dyn Credential>) -> Result<Writable> {
    writable_with(Arc::new(ExclusiveFile::open(path)?), key)
}

/// All of the plaintext.
pub fn plaintext_of(volume: &dyn ReadAt) -> Vec<u8> {
    let mut bytes = vec![0; volume.size() as usize];
    volume.read_exact_at(0, &mut bytes).expect("read");
    bytes
}
