//! VMDK: a sparse file, a stream-optimized one, or a descriptor with extents in the same directory
//! (VMware, "Virtual Disk Format 5.0").
//!
//! The crate `imago` 0.2 was tried and withstood the tests; it adds some 30 crates, and keeps caches
//! behind locks.
//!
//! All numbers are little-endian; all offsets and sizes are in sectors of 512 bytes.
//!
//! | sparse header | field |
//! |---|---|
//! | 0, 4 | `KDMV`, version |
//! | 8 | flags: 2 grain entries of 1 are zeros, 16 grains are deflated |
//! | 12, 20 | size of the disk, of a grain |
//! | 28, 36 | offset and size of the descriptor |
//! | 44 | number of entries of a grain table |
//! | 56 | offset of the grain directory; all ones: see the copy of the header 1024 bytes before the end of the file |

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use flate2::{Decompress, FlushDecompress, Status};

use super::beside::Beside;
use super::blocks::{Stored, at_most, bytes_at, fill, has_at, le16, le32, le64, read_in_blocks};
use super::concat::Concat;
use super::{damaged, unsupported};
use crate::source::{ReadAt, Window};

const MAGIC: &[u8] = b"KDMV";
const TEXT: &[u8] = b"# Disk DescriptorFile";
const SECTOR: u64 = 512;
const ENTRY_LEN: u64 = 4;
const ZERO_GRAINS: u32 = 1 << 2;
const DEFLATED: u32 = 1 << 16;
const DIRECTORY_AT_END: u64 = u64::MAX;
const FOOTER: u64 = 1024;
/// A deflated grain comes after its sector number (8 bytes) and its length (4 bytes).
const GRAIN_HEADER_LEN: u64 = 12;
/// Limit on the size of a grain. Usual are 64 KiB.
const MAX_GRAIN_LEN: u64 = 2 << 20;
/// Limit on the length of a descriptor. It has a few lines; 10 KiB are usually reserved for it.
const MAX_TEXT_LEN: u64 = 64 << 10;
/// Limit on the extents: about as many files as a process may usually have open.
const MAX_EXTENTS: usize = 1000;
/// The value of `parentCID` in a descriptor without a parent.
const NO_PARENT: &str = "ffffffff";

pub(super) fn fits(file: &dyn ReadAt) -> io::Result<bool> {
    Ok(has_at(file, 0, MAGIC)? || has_at(file, 0, TEXT)?)
}

pub(super) fn open(path: &Path, file: Arc<dyn ReadAt>) -> io::Result<Arc<dyn ReadAt>> {
    if has_at(&file, 0, MAGIC)? {
        return Ok(Arc::new(Sparse::new(file)?));
    }
    let text = text_at(&file, 0, file.size())?;
    refuse_parent(&text)?;
    let beside = Beside::of(path)?;
    let lines = text.lines().filter_map(Extent::of);
    let mut extents: Vec<Arc<dyn ReadAt>> = Vec::new();
    for extent in lines {
        if extents.len() >= MAX_EXTENTS {
            return Err(unsupported(format!("more than {MAX_EXTENTS} extents")));
        }
        extents.push(extent.open(&beside)?);
    }
    if extents.is_empty() {
        return Err(damaged("its descriptor lists no extent"));
    }
    let disk = Concat::new(extents).ok_or_else(|| damaged("larger than any disk"))?;
    Ok(Arc::new(disk))
}

fn text_at(file: &dyn ReadAt, offset: u64, len: u64) -> io::Result<String> {
    let mut bytes = vec![0; usize::try_from(len.min(MAX_TEXT_LEN)).unwrap_or(0)];
    file.read_exact_at(offset, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn refuse_parent(text: &str) -> io::Result<()> {
    let parent = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim().eq_ignore_ascii_case("parentCID"));
    match parent {
        Some((_, id)) if !id.trim().eq_ignore_ascii_case(NO_PARENT) => Err(unsupported(
            "a VMDK snapshot, which holds only the changes to another disk",
        )),
        _ => Ok(()),
    }
}

/// A line of the descriptor: `RW 8192 FLAT "disk-flat.vmdk" 0`.
struct Extent<'a> {
    len: u64,
    kind: &'a str,
    name: &'a str,
    start: u64,
}

impl<'a> Extent<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (access, rest) = line.trim().split_once(' ')?;
        let (sectors, rest) = rest.trim_start().split_once(' ')?;
        let mut quoted = rest.split('"');
        let kind = quoted.next()?.trim();
        let name = quoted.next().unwrap_or_default();
        let start = quoted.next().unwrap_or_default().trim();
        matches!(access, "RW" | "RDONLY" | "NOACCESS").then_some(())?;
        Some(Self {
            len: sectors.parse::<u64>().ok()?.checked_mul(SECTOR)?,
            kind,
            name,
            start: start.parse::<u64>().unwrap_or(0).checked_mul(SECTOR)?,
        })
    }

    fn open(&self, beside: &Beside) -> io::Result<Arc<dyn ReadAt>> {
        if self.kind == "ZERO" {
            return Ok(Arc::new(Zeros(self.len)));
        }
        let file = beside.required(OsStr::new(self.name))?;
        let (disk, start): (Arc<dyn ReadAt>, _) = match self.kind {
            "FLAT" | "VMFS" => (Arc::new(file), self.start),
            "SPARSE" => (Arc::new(Sparse::new(Arc::new(file))?), 0),
            kind => return Err(unsupported(format!("a VMDK with an extent of type {kind}"))),
        };
        let window = Window::new(disk, start, self.len);
        if window.size() != self.len {
            return Err(damaged(format!(
                "the extent {} has {} bytes of {}",
                self.name,
                window.size(),
                self.len
            )));
        }
        Ok(Arc::new(window))
    }
}

struct Zeros(u64);

impl ReadAt for Zeros {
    fn size(&self) -> u64 {
        self.0
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        read_in_blocks(self.0, offset, buf, |_, buf| {
            buf.fill(0);
            Ok(buf.len())
        })
    }
}

struct Sparse {
    file: Arc<dyn ReadAt>,
    size: u64,
    grain_len: u64,
    /// Bytes of the disk that a grain table covers.
    table_covers: u64,
    directory: u64,
    zero_grains: bool,
    deflated: bool,
}

impl Sparse {
    fn new(file: Arc<dyn ReadAt>) -> io::Result<Self> {
        let mut header: [u8; 512] = bytes_at(&file, 0)?;
        if !header.starts_with(MAGIC) {
            return Err(damaged("an extent that is said to be sparse and is not"));
        }
        let text_len = le64(&header, 36).saturating_mul(SECTOR);
        if text_len > 0 {
            let offset = le64(&header, 28).saturating_mul(SECTOR);
            refuse_parent(&text_at(&file, offset, text_len)?)?;
        }
        if le64(&header, 56) == DIRECTORY_AT_END {
            header = bytes_at(&file, file.size().saturating_sub(FOOTER))?;
            if !header.starts_with(MAGIC) {
                return Err(damaged("the footer with its grain directory is missing"));
            }
        }
        let flags = le32(&header, 8);
        let grain_len = le64(&header, 20).saturating_mul(SECTOR);
        let entries = u64::from(le32(&header, 44));
        if grain_len == 0 || grain_len > MAX_GRAIN_LEN || entries == 0 {
            return Err(damaged(format!(
                "its grains have {grain_len} bytes, its tables {entries} entries"
            )));
        }
        let deflated = flags & DEFLATED != 0;
        if deflated && le16(&header, 77) != 1 {
            return Err(unsupported("a VMDK whose compression is not deflate"));
        }
        Ok(Self {
            size: le64(&header, 12).saturating_mul(SECTOR),
            grain_len,
            table_covers: grain_len.saturating_mul(entries),
            directory: le64(&header, 56).saturating_mul(SECTOR),
            zero_grains: flags & ZERO_GRAINS != 0,
            deflated,
            file,
        })
    }

    /// The offset in the file of the grain with the byte at `offset` of the disk.
    fn grain(&self, offset: u64) -> io::Result<Option<u64>> {
        let table = offset.checked_div(self.table_covers).unwrap_or(0);
        let table = self.entry(self.directory, table)?;
        if table == 0 {
            return Ok(None);
        }
        let inside = offset.checked_rem(self.table_covers).unwrap_or(0);
        let grain = inside.checked_div(self.grain_len).unwrap_or(0);
        let grain = self.entry(table.saturating_mul(SECTOR), grain)?;
        let absent = grain == 0 || (grain == 1 && self.zero_grains);
        Ok((!absent).then_some(grain.saturating_mul(SECTOR)))
    }

    fn entry(&self, table: u64, index: u64) -> io::Result<u64> {
        let offset = table.saturating_add(index.saturating_mul(ENTRY_LEN));
        Ok(le32(&bytes_at::<4>(&self.file, offset)?, 0).into())
    }

    /// The content of a deflated grain.
    fn inflated(&self, at: u64) -> io::Result<Vec<u8>> {
        let len = u64::from(le32(&bytes_at::<12>(&self.file, at)?, 8));
        if len > MAX_GRAIN_LEN.saturating_mul(2) {
            return Err(damaged(format!("a grain of {len} deflated bytes")));
        }
        let mut packed = vec![0; usize::try_from(len).unwrap_or(0)];
        let start = at.saturating_add(GRAIN_HEADER_LEN);
        self.file.read_exact_at(start, &mut packed)?;
        let mut grain = vec![0; usize::try_from(self.grain_len).unwrap_or(0)];
        let mut inflate = Decompress::new(true);
        match inflate.decompress(&packed, &mut grain, FlushDecompress::Finish) {
            Ok(Status::StreamEnd) => {}
            _ => return Err(damaged("a deflated grain is damaged")),
        }
        grain.truncate(usize::try_from(inflate.total_out()).unwrap_or(0));
        Ok(grain)
    }
}

impl ReadAt for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn modified(&self) -> Option<SystemTime> {
        self.file.modified()
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        read_in_blocks(self.size, offset, buf, |offset, buf| {
            let inside = offset.checked_rem(self.grain_len).unwrap_or(0);
            let limit = self.grain_len.saturating_sub(inside);
            match self.grain(offset)? {
                Some(at) if self.deflated => {
                    let grain = self.inflated(at)?;
                    let buf = at_most(buf, grain.size().saturating_sub(inside));
                    grain.read_exact_at(inside, buf)?;
                    Ok(buf.len())
                }
                Some(at) => fill(
                    &self.file,
                    Stored::At(at.saturating_add(inside)),
                    limit,
                    buf,
                ),
                None => fill(&self.file, Stored::Zeros, limit, buf),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_text(text: &str) -> io::Result<Arc<dyn ReadAt>> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("beside.bin"), vec![7; 4096]).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("link.bin")).unwrap();
        let file = format!("# Disk DescriptorFile\n{text}\n").into_bytes();
        let path = directory.path().join("disk.vmdk");
        std::fs::write(&path, &file).unwrap();
        open(&path, Arc::new(file))
    }

    #[test]
    fn extents_beside_the_descriptor_are_joined() {
        let disk = open_text(
            "parentCID=ffffffff\nRW 4 FLAT \"beside.bin\" 2\nRW 3 ZERO\nRW 8 FLAT \"beside.bin\" 0",
        )
        .unwrap();
        assert_eq!(disk.size(), 15 * 512);
        let mut bytes = vec![1; 15 * 512];
        disk.read_exact_at(0, &mut bytes).unwrap();
        assert_eq!(bytes[4 * 512 - 1..=4 * 512], [7, 0]);
        assert_eq!(bytes[7 * 512 - 1..=7 * 512], [0, 7]);
    }

    #[test]
    fn an_image_cannot_name_files_in_other_directories() {
        for (name, says) in [
            ("/etc/passwd", "outside its directory"),
            ("../x", "outside its directory"),
            ("link.bin", "link.bin is a link"),
            ("", "outside its directory"),
            (".", "outside its directory"),
            ("..", "outside its directory"),
            ("gone.bin", "gone.bin is missing"),
            ("a/b", "outside its directory"),
        ] {
            let error = open_text(&format!("RW 1 FLAT \"{name}\" 0")).err().unwrap();
            assert!(error.to_string().contains(says), "{name}: {error}");
        }
    }

    #[test]
    fn refuses_snapshots_and_short_extents() {
        let error = open_text("parentCID=12345678\nRW 1 ZERO").err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        let error = open_text("RW 9 FLAT \"beside.bin\" 0").err().unwrap();
        assert!(error.to_string().contains("4096 bytes of 4608"), "{error}");
        assert!(open_text("").is_err());
    }
}
