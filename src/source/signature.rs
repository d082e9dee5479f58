//! Names of what a disk may begin with instead of a BitLocker volume, for error messages.

use std::io;

use super::ReadAt;
use crate::error::{Error, Remedy};

/// A format that is not a BitLocker volume.
#[derive(Debug)]
pub(crate) struct Format {
    name: &'static str,
    way: Way,
}

/// How to use what is in a format.
#[derive(Debug)]
enum Way {
    /// It is a file system that is not encrypted, and whose files are read.
    Files,
    /// It is another file system that is not encrypted.
    Mount,
    /// It is a disk image that QEMU shows over NBD.
    Qemu,
    /// Another program reads it, or makes something of it that this one reads.
    Advice(&'static str),
    /// It does not say where a BitLocker volume could be.
    Unknown,
}

impl Format {
    /// As messages name it, such as `an NTFS file system`.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it is a file system whose files are read.
    pub(crate) fn has_files(&self) -> bool {
        matches!(self.way, Way::Files)
    }

    fn remedy(&self) -> Remedy {
        match self.way {
            Way::Files => Remedy::ReadFiles,
            Way::Mount => Remedy::MountDirectly,
            Way::Qemu => Remedy::AttachWithQemu { file: None },
            Way::Advice(advice) => advice.into(),
            Way::Unknown => Remedy::NameVolume,
        }
    }
}

/// Bytes at an offset that identify a format.
struct Signature {
    offset: u64,
    bytes: &'static [u8],
    format: Format,
}

const fn at(offset: u64, bytes: &'static [u8], name: &'static str, way: Way) -> Signature {
    Signature {
        offset,
        bytes,
        format: Format { name, way },
    }
}

/// The first that matches names the source.
const SIGNATURES: &[Signature] = &[
    at(3, b"NTFS    ", "an NTFS file system", Way::Files),
    at(3, b"EXFAT   ", "an exFAT file system", Way::Files),
    at(3, b"ReFS\0\0\0\0", "a ReFS file system", Way::Mount),
    at(
        3,
        b"-FVE-FS-",
        "BitLocker's name, but no volume header of a version that is known",
        Way::Unknown,
    ),
    at(
        0,
        b"LUKS\xBA\xBE",
        "a LUKS volume",
        Way::Advice("unlock it with cryptsetup open"),
    ),
    at(
        0,
        b"SnAp",
        "an overlay: changes to another disk image, in the format of device-mapper's target snapshot",
        Way::Advice("open the image that the changes belong to, with this file as its overlay"),
    ),
    at(0, b"QFI\xFB", "a qcow2 disk image", Way::Qemu),
    at(0, b"QED\0", "a QED disk image", Way::Qemu),
    at(0, b"vhdxfile", "a VHDX disk image", Way::Qemu),
    at(0, b"conectix", VHD.name, Way::Qemu),
    at(0, b"KDMV", "a VMDK disk image", Way::Qemu),
    at(0, b"COWD", "a VMDK disk image", Way::Qemu),
    at(0, b"# Disk DescriptorFile", "a VMDK disk image", Way::Qemu),
    at(0x40, b"\x7F\x10\xDA\xBE", "a VDI disk image", Way::Qemu),
    at(0, b"WithoutFreeSpace", "a Parallels disk image", Way::Qemu),
    at(0, b"WithouFreSpacExt", "a Parallels disk image", Way::Qemu),
    at(
        0,
        b"EVF\x09\x0D\x0A\xFF\x00",
        "an Expert Witness (E01) image",
        Way::Advice(EWF),
    ),
    at(
        0,
        b"EVF2\x0D\x0A\x81\x00",
        "an Expert Witness image of version 2 (Ex01)",
        Way::Advice(EWF),
    ),
    at(
        0,
        b"LVF\x09\x0D\x0A\xFF\x00",
        "a logical Expert Witness image (L01), which holds files and no disk",
        Way::Advice(OTHER_SOURCE),
    ),
    at(
        0,
        b"ADSEGMENTEDFILE\0",
        "an AD1 image, which holds files and no disk",
        Way::Advice(OTHER_SOURCE),
    ),
    at(
        0,
        b"AFF10\r\n\0",
        "an AFF image",
        Way::Advice("make a raw image of it: affconvert -r IMAGE, or mount it with affuse"),
    ),
    at(
        0,
        b"partclone-image",
        "an image of partclone, as in a backup of Clonezilla",
        Way::Advice("make a raw image of it with partclone.restore"),
    ),
    at(
        0,
        b"\0ntfsclone-image",
        "an image of ntfsclone, which holds an NTFS file system",
        Way::Advice("make a file system of it: ntfsclone -r -O OUT IMAGE"),
    ),
    at(
        0,
        b"MSWIM\0\0\0",
        "a WIM or ESD image, which holds files and no disk",
        Way::Advice("look at its files with wiminfo or 7z"),
    ),
    at(
        0,
        b"\x1F\x8B",
        "a gzip file",
        Way::Advice("unpack it first: gunzip"),
    ),
    at(
        0,
        b"\xFD7zXZ\0",
        "an xz file",
        Way::Advice("unpack it first: unxz"),
    ),
    at(
        0,
        b"\x28\xB5\x2F\xFD",
        "a zstd file",
        Way::Advice("unpack it first: unzstd"),
    ),
    at(
        0,
        b"\x04\x22\x4D\x18",
        "an LZ4 file",
        Way::Advice("unpack it first: unlz4"),
    ),
    at(
        0,
        b"\x89LZO\0\r\n\x1A\n",
        "an lzop file",
        Way::Advice("unpack it first: lzop -d"),
    ),
    at(
        0,
        b"BZh",
        "a bzip2 file",
        Way::Advice("unpack it first: bunzip2"),
    ),
    at(
        0x1E,
        b"container.description",
        "an AFF4 image",
        Way::Advice("make a raw image of it with the program that made it, or with aff4imager"),
    ),
    at(
        0,
        b"PK\x03\x04",
        "a zip file",
        Way::Advice("unpack it first: unzip"),
    ),
    at(
        0,
        b"7z\xBC\xAF\x27\x1C",
        "a 7z file",
        Way::Advice("unpack it first: 7z x"),
    ),
    at(
        0,
        b"Rar!\x1A\x07",
        "a RAR file",
        Way::Advice("unpack it first: unrar x"),
    ),
    at(
        0x101,
        b"ustar",
        "a tar archive",
        Way::Advice("unpack it first: tar -xf"),
    ),
    at(0, b"XFSB", "an XFS file system", Way::Mount),
    at(0, b"hsqs", "a squashfs file system", Way::Mount),
    at(
        0x218,
        b"LVM2",
        "an LVM physical volume",
        Way::Advice("activate its volume group (vgchange -ay), and name a logical volume of it"),
    ),
    at(
        0x1000,
        b"\xFC\x4E\x2B\xA9",
        "a member of a Linux RAID array",
        Way::Advice(ARRAY),
    ),
    at(
        0,
        b"\xFC\x4E\x2B\xA9",
        "a member of a Linux RAID array",
        Way::Advice(ARRAY),
    ),
    at(
        0xC00,
        b"PRIVHEAD",
        "a dynamic disk of Windows",
        Way::Advice("assemble its volumes with ldmtool create all, and name one of them"),
    ),
    at(0x36, b"FAT", "a FAT file system", Way::Files),
    at(0x400, b"H+\0\x04", "an HFS+ file system", Way::Mount),
    at(0x20, b"NXSB", "an APFS container", Way::Unknown),
    at(0x52, b"FAT32", "a FAT32 file system", Way::Files),
    at(
        0x438,
        b"\x53\xEF",
        "an ext2, ext3 or ext4 file system",
        Way::Mount,
    ),
    at(0x1_0040, b"_BHRfS_M", "a btrfs file system", Way::Mount),
    at(
        0x400,
        b"\x10\x20\xF5\xF2",
        "an F2FS file system",
        Way::Mount,
    ),
    at(0xFF6, b"SWAPSPACE2", "swap space", Way::Unknown),
    at(0x8000, b"JFS1", "a JFS file system", Way::Mount),
    at(0x1_0034, b"ReIsEr", "a ReiserFS file system", Way::Mount),
    at(0x8001, b"CD001", "an ISO 9660 file system", Way::Mount),
];

/// Formats that are identified by bytes at the end: how far from the end they are.
const TRAILERS: &[Signature] = &[
    Signature {
        offset: FOOTER_LEN,
        bytes: b"conectix",
        format: VHD,
    },
    at(0x200, b"koly", "a disk image of macOS (DMG)", Way::Qemu),
    // mdadm's super-intel.c: two sectors before the end.
    at(
        0x400,
        b"Intel Raid ISM Cfg Sig.",
        "a disk that its firmware runs in RAID mode (Intel RST)",
        Way::Advice(ARRAY),
    ),
];

const VHD: Format = Format {
    name: "a VHD disk image",
    way: Way::Qemu,
};

const EWF: &str = "mount it with ewfmount, and name the file in the mount";
const OTHER_SOURCE: &str = "name the image of a disk or volume";
const ARRAY: &str = "assemble the array (mdadm -A -s), and name the array instead";

/// Length of the footer of a VHD, the last sector of the file and the only structure of a fixed VHD
/// (Microsoft, "Virtual Hard Disk Image Format Specification", "Hard Disk Footer Format").
const FOOTER_LEN: u64 = 512;
/// Bytes that are examined before a message says that a source is text.
const TEXT_LEN: usize = 512;
/// The smallest sector. A shorter source cannot hold a volume.
const SECTOR_LEN: u64 = 512;
/// Bytes that are examined before a message says that a source is all zeros.
const ZEROS_LEN: usize = 1 << 20;

/// The known format that the source begins or ends with.
///
/// # Errors
/// It cannot be read.
pub(crate) fn known(source: &dyn ReadAt) -> io::Result<Option<&'static Format>> {
    if let Some(format) = known_at_start(source)? {
        return Ok(Some(format));
    }
    for signature in TRAILERS {
        if let Some(at) = source.size().checked_sub(signature.offset)
            && has(source, at, signature.bytes)?
        {
            return Ok(Some(&signature.format));
        }
    }
    Ok(None)
}

/// Whether the source begins with a known format, whatever it ends with.
///
/// # Errors
/// It cannot be read.
pub(crate) fn begins_with_known(source: &dyn ReadAt) -> io::Result<bool> {
    Ok(known_at_start(source)?.is_some())
}

fn known_at_start(source: &dyn ReadAt) -> io::Result<Option<&'static Format>> {
    let start = Beginning::of(source);
    for signature in SIGNATURES {
        if start.has(source, signature)? {
            return Ok(Some(&signature.format));
        }
    }
    Ok(None)
}

/// Whether the source begins with a file system that is not encrypted.
///
/// # Errors
/// It cannot be read.
pub(super) fn is_file_system(source: &dyn ReadAt) -> io::Result<bool> {
    Ok(known(source)?.is_some_and(|format| matches!(format.way, Way::Mount | Way::Files)))
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

/// What a source holds.
pub(crate) struct Found {
    /// In words for a message.
    pub(crate) what: String,
    /// How to use it or what to open instead.
    pub(crate) remedy: Remedy,
}

impl Found {
    fn new(what: impl Into<String>, remedy: impl Into<Remedy>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// The error for a source that holds this instead of a volume.
    pub(super) fn into_error(self) -> Error {
        Error::not_bitlocker(self.what).with_remedy(self.remedy)
    }
}

/// What the source holds.
///
/// # Errors
/// It cannot be read.
pub(super) fn describe(source: &dyn ReadAt) -> io::Result<Found> {
    const COPY_AGAIN: &str = "name another file, or copy this one again as a whole";
    if source.size() == 0 {
        return Ok(Found::new("an empty file", COPY_AGAIN));
    }
    if source.size() < SECTOR_LEN && has(source, 3, b"-FVE-FS-")? {
        let what = format!(
            "the beginning of a BitLocker volume, cut off after {} bytes, before the end of its first sector",
            source.size()
        );
        return Ok(Found::new(what, COPY_AGAIN));
    }
    if let Some(format) = known(source)? {
        return Ok(Found::new(format.name, format.remedy()));
    }
    let start = start(source)?;
    if is_text(start.get(..TEXT_LEN).unwrap_or(&start)) {
        return Ok(Found::new("a text file", OTHER_SOURCE));
    }
    if source.size() < SECTOR_LEN {
        let what = format!("only {} bytes, less than a sector", source.size());
        return Ok(Found::new(what, COPY_AGAIN));
    }
    Ok(if !is_zero(&start) {
        Found::new(
            "no known file system, partition table or image format",
            Remedy::NameVolume,
        )
    } else if start.len() as u64 == source.size() {
        Found::new("nothing but zeros", OTHER_SOURCE)
    } else {
        Found::new("nothing but zeros at its start", Remedy::NameVolume)
    })
}

/// Whether the source has no known format, of which some begin with zeros, and begins with nothing but
/// zeros.
///
/// # Errors
/// It cannot be read.
pub(crate) fn is_blank(source: &dyn ReadAt) -> io::Result<bool> {
    Ok(known(source)?.is_none() && is_zero(&start(source)?))
}

/// The bytes that are examined before a message says that a source is all zeros.
fn start(source: &dyn ReadAt) -> io::Result<Vec<u8>> {
    let len = usize::try_from(source.size()).unwrap_or(usize::MAX);
    let mut start = vec![0; len.min(ZEROS_LEN)];
    source.read_exact_at(0, &mut start)?;
    Ok(start)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// Whether bytes are text, as far as its characters are whole.
fn is_text(bytes: &[u8]) -> bool {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(cut) if cut.error_len().is_none() => bytes
            .get(..cut.valid_up_to())
            .and_then(|whole| std::str::from_utf8(whole).ok())
            .unwrap_or_default(),
        Err(_) => return false,
    };
    let is_printed = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    !text.is_empty() && text.chars().all(is_printed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> String {
        describe(&bytes).unwrap().what
    }

    #[test]
    fn every_format_is_told_from_the_ones_before_it() {
        for signature in SIGNATURES {
            let mut disk = vec![0; 0x2_0000];
            let at = usize::try_from(signature.offset).unwrap();
            disk[at..at + signature.bytes.len()].copy_from_slice(signature.bytes);
            assert_eq!(found(&disk), signature.format.name);
        }
        for signature in TRAILERS {
            let mut disk = vec![0; 0x2_0000];
            let at = disk.len() - usize::try_from(signature.offset).unwrap();
            disk[at..at + signature.bytes.len()].copy_from_slice(signature.bytes);
            assert_eq!(found(&disk), signature.format.name);
        }
    }

    #[test]
    fn texts_and_empty_files_are_named() {
        assert_eq!(found(b""), "an empty file");
        assert_eq!(found(b"a short list\n"), "a text file");
        assert_eq!(found("ü".repeat(1000).as_bytes()), "a text file");
        assert_eq!(found(b"\x01\x02"), "only 2 bytes, less than a sector");
        assert_eq!(found(&[0; 4096]), "nothing but zeros");
        assert_eq!(
            found(&[0xA5; 4096]),
            "no known file system, partition table or image format"
        );
    }
}
