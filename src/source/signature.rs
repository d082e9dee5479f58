//! Names of what a disk may begin with instead of a BitLocker volume, for error messages.

use std::io;

use super::ReadAt;

/// Bytes at an offset that identify a format.
struct Signature {
    offset: u64,
    bytes: &'static [u8],
    name: &'static str,
}

const fn at(offset: u64, bytes: &'static [u8], name: &'static str) -> Signature {
    Signature {
        offset,
        bytes,
        name,
    }
}

/// The first that matches names the source. Some names include what to do with such a file.
const SIGNATURES: &[Signature] = &[
    at(3, b"NTFS    ", "an NTFS file system"),
    at(3, b"EXFAT   ", "an exFAT file system"),
    at(3, b"ReFS\0\0\0\0", "a ReFS file system"),
    at(
        3,
        b"-FVE-FS-",
        "BitLocker's name, but no volume header of a version that is known",
    ),
    at(0, b"LUKS\xBA\xBE", "a LUKS volume (cryptsetup opens it)"),
    at(0, b"QFI\xFB", CONTAINER_QCOW),
    at(0, b"vhdxfile", CONTAINER_VHDX),
    at(0, b"conectix", CONTAINER_VHD),
    at(0, b"KDMV", CONTAINER_VMDK),
    at(0, b"# Disk DescriptorFile", CONTAINER_VMDK),
    at(0, b"EVF\x09\x0D\x0A\xFF\x00", CONTAINER_E01),
    at(0, b"EVF2\x0D\x0A\x81\x00", CONTAINER_E01),
    at(0x40, b"\x7F\x10\xDA\xBE", CONTAINER_VDI),
    at(0, b"\x1F\x8B", "a gzip file (gunzip it first)"),
    at(0, b"\xFD7zXZ\0", "an xz file (unxz it first)"),
    at(0, b"\x28\xB5\x2F\xFD", "a zstd file (unzstd it first)"),
    at(0, b"BZh", "a bzip2 file (bunzip2 it first)"),
    at(0, b"PK\x03\x04", "a zip file (unzip it first)"),
    at(0, b"7z\xBC\xAF\x27\x1C", "a 7z file (unpack it first)"),
    at(0, b"XFSB", "an XFS file system"),
    at(0, b"hsqs", "a squashfs file system"),
    at(0x218, b"LVM2", "an LVM physical volume"),
    at(0x36, b"FAT", "a FAT file system"),
    at(0x400, b"H+\0\x04", "an HFS+ file system"),
    at(0x20, b"NXSB", "an APFS container"),
    at(0x52, b"FAT32", "a FAT32 file system"),
    at(0x438, b"\x53\xEF", "an ext2, ext3 or ext4 file system"),
    at(0x1_0040, b"_BHRfS_M", "a btrfs file system"),
    at(0x400, b"\x10\x20\xF5\xF2", "an F2FS file system"),
    at(0xFF6, b"SWAPSPACE2", "swap space"),
    at(0x8000, b"JFS1", "a JFS file system"),
    at(0x1_0034, b"ReIsEr", "a ReiserFS file system"),
    at(0x8001, b"CD001", "an ISO 9660 file system"),
];

const CONTAINER_QCOW: &str =
    "a qcow2 disk image (make it raw: qemu-img convert -O raw IN OUT; or attach it with qemu-nbd)";
const CONTAINER_VHDX: &str =
    "a VHDX disk image (make it raw: qemu-img convert -O raw IN OUT; or attach it with qemu-nbd)";
const CONTAINER_VHD: &str =
    "a VHD disk image (make it raw: qemu-img convert -O raw IN OUT; or attach it with qemu-nbd)";
const CONTAINER_VMDK: &str =
    "a VMDK disk image (make it raw: qemu-img convert -O raw IN OUT; or attach it with qemu-nbd)";
const CONTAINER_VDI: &str =
    "a VDI disk image (make it raw: qemu-img convert -O raw IN OUT; or attach it with qemu-nbd)";
const CONTAINER_E01: &str = "an Expert Witness (E01) image (mount it with ewfmount first)";

/// Length of the footer of a VHD, the last sector of the file and the only structure of a fixed VHD
/// (Microsoft, "Virtual Hard Disk Image Format Specification", "Hard Disk Footer Format").
const FOOTER_LEN: u64 = 512;
/// The smallest sector. A shorter source cannot hold a volume.
const SECTOR_LEN: u64 = 512;
/// Bytes that are examined before a message says that a source is all zeros.
const ZEROS_LEN: usize = 1 << 20;

/// The name of what the source begins with, if it is a known format.
///
/// # Errors
/// It cannot be read.
pub(crate) fn known(source: &dyn ReadAt) -> io::Result<Option<&'static str>> {
    let start = Beginning::of(source);
    for signature in SIGNATURES {
        if start.has(source, signature)? {
            return Ok(Some(signature.name));
        }
    }
    let footer = source.size().checked_sub(FOOTER_LEN);
    if let Some(footer) = footer
        && has(source, footer, b"conectix")?
    {
        return Ok(Some(CONTAINER_VHD));
    }
    Ok(None)
}

/// Whether the source begins with a file system that is not encrypted.
///
/// # Errors
/// It cannot be read.
pub(super) fn is_file_system(source: &dyn ReadAt) -> io::Result<bool> {
    Ok(known(source)?.is_some_and(|name| name.ends_with("file system")))
}

/// The beginning of a source. It is read once for all signatures, because each read of a container
/// may have to decompress a block.
struct Beginning(Vec<u8>);

impl Beginning {
    /// End of the last signature.
    const LEN: u64 = 0x1_0048;

    /// Empty if it cannot be read as a whole. The signatures are then read one by one, as some of
    /// them may be readable.
    fn of(source: &dyn ReadAt) -> Self {
        let len = usize::try_from(source.size().min(Self::LEN)).unwrap_or(0);
        let mut bytes = vec![0; len];
        match source.read_exact_at(0, &mut bytes) {
            Ok(()) => Self(bytes),
            Err(_) => Self(Vec::new()),
        }
    }

    fn has(&self, source: &dyn ReadAt, signature: &Signature) -> io::Result<bool> {
        let found = usize::try_from(signature.offset)
            .ok()
            .and_then(|at| self.0.get(at..)?.get(..signature.bytes.len()));
        match found {
            Some(found) => Ok(found == signature.bytes),
            None => has(source, signature.offset, signature.bytes),
        }
    }
}

fn has(source: &dyn ReadAt, offset: u64, bytes: &[u8]) -> io::Result<bool> {
    let mut found = vec![0; bytes.len()];
    match source.read_exact_at(offset, &mut found) {
        Ok(()) => Ok(found == bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// What the source holds, in words for a message.
///
/// # Errors
/// It cannot be read.
pub(super) fn describe(source: &dyn ReadAt) -> io::Result<String> {
    if source.size() == 0 {
        return Ok("an empty file".to_owned());
    }
    if source.size() < SECTOR_LEN && has(source, 3, b"-FVE-FS-")? {
        return Ok(format!(
            "the beginning of a BitLocker volume, cut off after {} bytes, before the end of its first sector",
            source.size()
        ));
    }
    if let Some(name) = known(source)? {
        return Ok(name.to_owned());
    }
    if source.size() < SECTOR_LEN {
        return Ok(format!("only {} bytes, less than a sector", source.size()));
    }
    let len = usize::try_from(source.size()).unwrap_or(usize::MAX);
    let mut start = vec![0; len.min(ZEROS_LEN)];
    source.read_exact_at(0, &mut start)?;
    Ok(if start.iter().any(|byte| *byte != 0) {
        "no known file system, partition table or image format".to_owned()
    } else if start.len() == len {
        "nothing but zeros".to_owned()
    } else {
        "nothing but zeros at its start".to_owned()
    })
}
