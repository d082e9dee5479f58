//! Small new volumes, writable volumes, and disks that fail on demand.

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

/// Pseudorandom numbers, determined by the seed (xorshift64*).
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

    /// A number less than `bound`.
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

/// A disk in memory whose writes or flushes can be made to fail.
#[derive(Debug, Default)]
pub struct Disk {
    pub bytes: Mutex<Vec<u8>>,
    /// Writes fail with ENOSPC.
    pub full: AtomicBool,
    /// Flushes fail with EIO.
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
        let range = disk.get_mut(start..start + bytes.len());
        range
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

/// Size of the volumes of this module, in bytes.
pub const SIZE: usize = 0x8_0000;

/// Where the volumes of this module have their metadata.
pub fn placement() -> Placement {
    Placement::after_first_copy([0x1_0000, 0x3_8000, 0x6_0000])
}

/// The ranges of the plaintext that must not be written to, for [`placement`].
pub fn reserved() -> Vec<std::ops::Range<u64>> {
    let areas = placement().ranges().into_iter();
    areas.map(|(_, range)| range).collect()
}

/// The bytes of a volume with a clear key, which needs no key stretching, and its plaintext.
pub fn volume_with_clear_key(method: &'static Method, sector_size: u32) -> (Vec<u8>, Vec<u8>) {
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

/// A new volume of [`SIZE`] bytes with XTS-AES 128 and 512-byte sectors, without key protectors.
pub fn small_volume() -> NewVolume {
    NewVolume::new(Method::AES_XTS_128, 512, placement()).expect("volume")
}

/// Writes a volume of [`small_volume`] to a new file. The plaintext is zero but for the start of an
/// NTFS boot sector.
pub fn write_small(volume: &NewVolume, path: &Path) {
    let mut plaintext = vec![0; SIZE];
    plaintext[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
    let file = std::fs::File::create(path).expect("image");
    volume.write(&plaintext, &file).expect("volume");
}

/// Unlocks a volume with its clear key for writing.
pub fn writable(target: Arc<dyn WriteAt>) -> Result<Writable> {
    writable_with(target, Box::new(Suspended))
}

/// Unlocks a volume with this credential for writing.
pub fn writable_with(target: Arc<dyn WriteAt>, key: Box<dyn Credential>) -> Result<Writable> {
    let volume = Volume::from_exclusive(target)?;
    volume.check_writable()?;
    let unlocked = volume.unlock(&[key], &UnlockOptions::default())?;
    Ok(unlocked.into_writable()?)
}

/// Unlocks a volume in a file, which is locked exclusively, for writing.
pub fn writable_file(path: &Path, key: Box<dyn Credential>) -> Result<Writable> {
    writable_with(Arc::new(ExclusiveFile::open(path)?), key)
}

/// The whole plaintext.
pub fn plaintext_of(volume: &dyn ReadAt) -> Vec<u8> {
    let mut bytes = vec![0; volume.size() as usize];
    volume.read_exact_at(0, &mut bytes).expect("read");
    bytes
}
