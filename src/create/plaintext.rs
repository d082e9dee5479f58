//! What a new volume is made from: nothing, or the image of a file system, with room found in it
//! for the metadata.

use std::io;
use std::sync::Arc;

use super::NewVolume;
use super::filesystem;
use super::placement::{MOVED_LEN, Placement, SPARE_LEN};
use super::room::{Clusters, Room};
use crate::crypto::sector::Method;
use crate::enroll::uncreatable;
use crate::error::{Error, Remedy, Result};
use crate::format::block::REGION_LEN;
use crate::source::{Overlay, ReadAt};
use crate::volume::{Unlocked, Volume, is_hibernated};

/// Sectors that Windows writes.
pub(super) const SECTOR_SIZES: [u32; 2] = [512, 4096];
/// The clusters of an empty volume: a page, and a large sector.
const PAGE: u64 = 0x1000;

/// The content of a volume to be made, and where its metadata goes.
pub struct Plaintext {
    content: Overlay<Arc<dyn ReadAt>>,
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
    /// The smallest volume that can be made: the sectors that are moved, the place they are moved
    /// to, three copies of the metadata and what Windows keeps for itself.
    pub const MIN_SIZE: u64 = 2 * MOVED_LEN + 3 * REGION_LEN + SPARE_LEN;

    /// An empty volume of `size` bytes: zeros everywhere.
    ///
    /// Whatever is made in it later does not know of the metadata: its places read as zeros and
    /// cannot be written. [`Plaintext::of_file_system`] makes a volume in which that cannot happen.
    ///
    /// # Errors
    /// [`Error::Uncreatable`] for less than [`Plaintext::MIN_SIZE`].
    pub fn empty(size: u64, sector_size: u32) -> Result<Self> {
        let clusters = Clusters {
            start: 0,
            size: PAGE,
            count: size / PAGE,
        };
        let mut room = Room::new(clusters);
        room.add(&(0..clusters.count));
        let placement = room.on_empty_volume(size).ok_or_else(|| too_small(size))?;
        Ok(Self {
            content: Overlay::new(Arc::new(Zeros(size))),
            placement,
            sector_size,
            hidden_sectors: 0,
            file_system: None,
            label: None,
        })
    }

    /// The image of an NTFS, FAT16, FAT32 or exFAT file system.
    ///
    /// Room for the metadata is found in its free clusters, which it never uses afterwards: they
    /// are marked in what the volume will hold. The image itself is only read. Everything in it is
    /// kept but the old content of those free clusters.
    ///
    /// # Errors
    /// [`Error::Uncreatable`] when the image holds no such file system, or one that is damaged, was
    /// not unmounted cleanly, or has no room; [`Error::Io`].
    pub fn of_file_system(image: Arc<dyn ReadAt>) -> Result<Self> {
        let system = match filesystem::open(&image)? {
            Some(system) => system,
            None => return Err(no_file_system(&image)?),
        };
        let facts = system.facts();
        if !SECTOR_SIZES.contains(&facts.sector_size) {
            return Err(uncreatable(format!(
                "the {} file system has sectors of {} bytes, and Windows knows only 512 and 4096",
                facts.name, facts.sector_size
            )));
        }
        if is_hibernated(&Unlocked::plain(image.clone())?) {
            return Err(Error::Uncreatable {
                what: "the Windows in the image is hibernated (hiberfil.sys): it would go on as if nothing in the file system had changed".to_owned(),
                remedy: Some(
                    "start that Windows, shut it down with 'shutdown /s /t 0' (fast startup hibernates, too), and take the image again".into()),
            });
        }
        let room = filesystem::room(system.as_ref(), &image)?;
        let free = room.free();
        let placement = room
            .on_file_system(facts.size)
            .ok_or_else(|| no_room(facts.name, free, facts.clusters.size))?;
        let mut content = Overlay::new(&image as &dyn ReadAt);
        let stretches = placement.stretches();
        let clusters = stretches
            .iter()
            .map(|(_, range)| facts.clusters.holding(range));
        system.reserve(&mut content, &clusters.collect::<Vec<_>>())?;
        for (_, range) in &stretches {
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

    /// Bytes in a sector of the file system, or as they were asked for.
    pub fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// The kind of file system, if there is one.
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
    /// A volume of that method for this content: with its sectors, and the metadata where there is
    /// room for it.
    ///
    /// # Errors
    /// Those of [`NewVolume::new`].
    pub fn of(method: &'static Method, plaintext: &Plaintext) -> Result<Self> {
        let mut volume = Self::new(method, plaintext.sector_size, plaintext.placement)?;
        volume.hidden_sectors(plaintext.hidden_sectors);
        Ok(volume)
    }
}

/// As many zeros as are asked for.
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
            "{size} bytes are too few for its metadata, which takes {}",
            Plaintext::MIN_SIZE
        ),
        remedy: Some("file systems need much more: Windows makes volumes from 64 MiB on".into()),
    }
}

fn no_room(name: &str, free: u64, cluster: u64) -> Error {
    Error::Uncreatable {
        what: format!(
            "the metadata takes three times 64 KiB, 64 KiB and 8 KiB in free clusters that lie \
             together (of {cluster} bytes each), and the {name} file system has no such room in \
             its {free} free bytes"
        ),
        remedy: Some("delete something in it, defragment it, or make it larger".into()),
    }
}

fn no_file_system(image: &dyn ReadAt) -> Result<Error> {
    let probed = Volume::probe(image).map_err(|error| Error::io("cannot read the image", error))?;
    let found = match probed {
        Some(which) => format!("a BitLocker volume ({which})"),
        None => crate::source::describe(image)?,
    };
    Ok(Error::Uncreatable {
        what: format!(
            "the image holds no NTFS, FAT or exFAT file system that can be kept whole, but {found}"
        ),
        remedy: Some(Remedy::NameFileSystemImage),
    })
}
