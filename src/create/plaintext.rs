//! The content of a new volume: zeros, or the image of a file system with space for the metadata.

use std::io;
use std::sync::Arc;

use super::NewVolume;
use super::filesystem;
use super::free_space::{Clusters, FreeSpace};
use super::placement::{MOVED_LEN, Placement, SPARE_LEN};
use crate::crypto::sector::Method;
use crate::enroll::uncreatable;
use crate::error::{Error, Remedy, Result};
use crate::files::{self, Condition};
use crate::format::block::REGION_LEN;
use crate::source::{MemoryOverlay, ReadAt};
use crate::volume::Volume;

/// Sector sizes in bytes that Windows supports.
pub(super) const SECTOR_SIZES: [u32; 2] = [512, 4096];
/// Cluster size of an empty volume in bytes: a page of memory, and a large sector.
const PAGE: u64 = 0x1000;

/// The content of a new volume, and where its metadata goes.
pub struct Plaintext {
    content: MemoryOverlay<Arc<dyn ReadAt>>,
    placement: Placement,
    sector_size: u32,
    hidden_sectors: u32,
    file_system: Option<&'static str>,
    label: Option<String>,
}

impl std::fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plaintext")
            .field("placement", &self.placement)
            .field("sector_size", &self.sector_size)
            .finish_non_exhaustive()
    }
}

impl Plaintext {
    /// Bytes in the smallest possible volume: the first sectors, the place they are moved to, three
    /// copies of the metadata and the spare area.
    pub const MIN_SIZE: u64 = 2 * MOVED_LEN + 3 * REGION_LEN + SPARE_LEN;

    /// An empty volume of `size` bytes: zeros everywhere.
    ///
    /// A file system that is created in it later does not know where the metadata is. Those places
    /// read as zeros and cannot be written, so files there are lost. A volume from
    /// [`Plaintext::of_file_system`] does not have this problem.
    ///
    /// # Errors
    /// [`Error::Uncreatable`] for less than [`Plaintext::MIN_SIZE`].
    pub fn empty(size: u64, sector_size: u32) -> Result<Self> {
        let clusters = Clusters {
            start: 0,
            size: PAGE,
            count: size / PAGE,
        };
        let mut free = FreeSpace::new(clusters);
        free.add(&(0..clusters.count));
        let placement = free.on_empty_volume(size).ok_or_else(|| too_small(size))?;
        Ok(Self {
            content: MemoryOverlay::new(Arc::new(Zeros(size))),
            placement,
            sector_size,
            hidden_sectors: 0,
            file_system: None,
            label: None,
        })
    }

    /// The image of an NTFS, FAT16, FAT32 or exFAT file system.
    ///
    /// The metadata goes into free clusters, which are marked as bad in the new volume so that the
    /// file system never uses them. The image itself is only read. Everything in it is kept except
    /// the old content of those free clusters.
    ///
    /// # Errors
    /// [`Error::Uncreatable`] when the image holds no such file system, or one that is damaged, was
    /// not unmounted cleanly, or has too little free space; [`Error::Io`].
    pub fn of_file_system(image: Arc<dyn ReadAt>) -> Result<Self> {
        let system = match filesystem::open(&image)? {
            Some(system) => system,
            None => return Err(no_file_system(&image)?),
        };
        let facts = system.facts();
        if !SECTOR_SIZES.contains(&facts.sector_size) {
            return Err(uncreatable(format!(
                "the {} file system has sectors of {} bytes, and Windows supports only 512 and 4096",
                facts.name, facts.sector_size
            )));
        }
        let is_hibernated = files::open(image.clone()).is_ok_and(|files| {
            let conditions = &files.properties().conditions;
            conditions.contains(&Condition::Hibernated)
        });
        if is_hibernated {
            return Err(Error::Uncreatable {
                what: "the Windows in the image is hibernated (hiberfil.sys): it would resume with an outdated view of the file system".to_owned(),
                remedy: Some(
                    "start this Windows, shut it down with 'shutdown /s /t 0' (fast startup hibernates too), and create the image again".into()),
            });
        }
        let free_space = filesystem::free_space(system.as_ref(), &image)?;
        let free = free_space.free();
        let placement = free_space
            .on_file_system(facts.size)
            .ok_or_else(|| no_room(facts.name, free, facts.clusters.size))?;
        let mut content = MemoryOverlay::new(&image as &dyn ReadAt);
        let ranges = placement.ranges();
        let clusters = ranges
            .iter()
            .map(|(_, range)| facts.clusters.holding(range));
        system.reserve(&mut content, &clusters.collect::<Vec<_>>())?;
        for (_, range) in &ranges {
            let len = usize::try_from(range.end - range.start).unwrap_or(0);
            content
                .write(range.start, &vec![0; len])
                .map_err(|error| Error::io("cannot read the image", error))?;
        }
        Ok(Self {
            content: content.over(image.clone()),
            placement,
            sector_size: facts.sector_size,
            hidden_sectors: facts.hidden_sectors,
            file_system: Some(facts.name),
            label: facts.label.clone(),
        })
    }

    /// Where the metadata goes.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Bytes in a sector: those of the file system, or as given for an empty volume.
    pub fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// Kind of the file system, such as `NTFS`; `None` for an empty volume.
    pub fn file_system(&self) -> Option<&'static str> {
        self.file_system
    }

    /// The file system's label, if it has one.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }
}

impl ReadAt for Plaintext {
    fn size(&self) -> u64 {
        self.content.size()
    }
    fn sector_size(&self) -> Option<u32> {
        Some(self.sector_size)
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.content.read_exact_at(offset, buf)
    }
}

impl NewVolume {
    /// A volume for this content, with its sector size and its places for the metadata.
    ///
    /// # Errors
    /// Those of [`NewVolume::new`].
    pub fn of(method: &'static Method, plaintext: &Plaintext) -> Result<Self> {
        let mut volume = Self::new(method, plaintext.sector_size, plaintext.placement)?;
        volume.hidden_sectors(plaintext.hidden_sectors);
        Ok(volume)
    }
}

/// A source of that many zeros.
struct Zeros(u64);

impl ReadAt for Zeros {
    fn size(&self) -> u64 {
        self.0
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.0) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf.fill(0);
        Ok(())
    }
}

fn too_small(size: u64) -> Error {
    Error::Uncreatable {
        what: format!(
            "{size} bytes are too few: the metadata alone needs {}",
            Plaintext::MIN_SIZE
        ),
        remedy: Some("use a larger size: Windows creates volumes from 64 MiB".into()),
    }
}

fn no_room(name: &str, free: u64, cluster: u64) -> Error {
    Error::Uncreatable {
        what: format!(
            "the metadata needs four runs of 64 KiB and one of 8 KiB in adjacent free clusters of \
             {cluster} bytes, and the {name} file system does not have them in its {free} free bytes"
        ),
        remedy: Some("delete files, defragment it, or make it larger".into()),
    }
}

fn no_file_system(image: &dyn ReadAt) -> Result<Error> {
    let probed = Volume::probe(image).map_err(|error| Error::io("cannot read the image", error))?;
    let found = match probed {
        Some(which) => format!("a BitLocker volume ({which})"),
        None => crate::source::describe(image)?.what,
    };
    Ok(Error::Uncreatable {
        what: format!("no NTFS, FAT or exFAT file system was found in the image: it holds {found}"),
        remedy: Some(Remedy::NameFileSystemImage),
    })
}
