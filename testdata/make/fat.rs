//! A FAT file system in memory, in which the clusters for the metadata are marked bad.

use std::io::{Cursor, Read, Write};
use std::ops::Range;

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use fve::create::Placement;
use fve::create::testing::OnWrite;

use crate::contents::{self, Member};
use crate::recipes::Recipe;
use crate::{Plaintext, Result};

/// Offsets of the metadata copies. The moved sectors and the spare area follow the first; a
/// conversion map fits between the second and the third.
const COPIES: [u64; 3] = [0x1_0000, 0x3_8000, 0x6_0000];

/// The OEM name that Windows writes; libbde rejects FAT volumes with another one.
const OEM: &[u8; 8] = b"MSDOS5.0";

/// FAT12 entry of a bad cluster.
const FAT12_BAD: u16 = 0xFF7;

pub(crate) fn make(recipe: &Recipe) -> Result<Plaintext> {
    let placement = Placement::after_first_copy(COPIES);
    let mut taken: Vec<Range<u64>> = placement
        .ranges()
        .into_iter()
        .map(|(_, range)| range)
        .collect();
    if recipe.is_encrypt_on_write() {
        taken.push(0x4_8000..0x4_8000 + OnWrite::LEN);
    }
    let sector_size = u16::try_from(recipe.sector_size)?;
    let mut disk = Cursor::new(vec![0; recipe.size]);
    let options = FormatVolumeOptions::new()
        .bytes_per_sector(sector_size)
        .bytes_per_cluster(recipe.sector_size)
        .total_sectors(u32::try_from(recipe.size / usize::from(sector_size))?)
        .max_root_dir_entries(128)
        .volume_id(0x4656_4531)
        .volume_label(*b"FVE TEST   ");
    fatfs::format_volume(&mut disk, options)?;
    disk.get_mut()[3..11].copy_from_slice(OEM);
    mark_bad(disk.get_mut(), &taken)?;
    let files = contents::files(recipe.name);
    fill(&mut disk, &files)?;
    check(&mut disk, &files)?;
    Ok(Plaintext {
        image: disk.into_inner(),
        placement,
        files,
    })
}

/// Marks every cluster that touches one of the ranges bad in all copies of the FAT.
fn mark_bad(image: &mut [u8], ranges: &[Range<u64>]) -> Result<()> {
    let field = |at: usize| usize::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let sector = field(0x0B);
    let cluster = sector * usize::from(image[0x0D]);
    let (reserved, fats, root) = (field(0x0E), usize::from(image[0x10]), field(0x11));
    let fat_len = field(0x16) * sector;
    let data = (reserved * sector + fats * fat_len + root * 32).next_multiple_of(sector);
    for range in ranges {
        let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
        let first = (range.start - data) / cluster;
        let last = (range.end - 1 - data) / cluster;
        for number in first + 2..=last + 2 {
            for fat in 0..fats {
                set_fat12(&mut image[reserved * sector + fat * fat_len..], number);
            }
        }
    }
    Ok(())
}

/// Two entries of twelve bits share three bytes.
fn set_fat12(fat: &mut [u8], number: usize) {
    let at = number * 3 / 2;
    let pair = u16::from_le_bytes([fat[at], fat[at + 1]]);
    let pair = if number.is_multiple_of(2) {
        pair & 0xF000 | FAT12_BAD
    } else {
        pair & 0x000F | FAT12_BAD << 4
    };
    fat[at..at + 2].copy_from_slice(&pair.to_le_bytes());
}

fn fill(disk: &mut Cursor<Vec<u8>>, files: &[Member]) -> Result<()> {
    disk.set_position(0);
    let volume = FileSystem::new(&mut *disk, FsOptions::new())?;
    for member in files {
        if let Some((directory, _)) = member.path.rsplit_once('/') {
            volume.root_dir().create_dir(directory)?;
        }
        let mut file = volume.root_dir().create_file(&member.path)?;
        file.write_all(&member.content)?;
    }
    Ok(volume.unmount()?)
}

/// Reads all files back, to check that marking clusters did not damage the file system.
fn check(disk: &mut Cursor<Vec<u8>>, files: &[Member]) -> Result<()> {
    disk.set_position(0);
    let volume = FileSystem::new(&mut *disk, FsOptions::new().update_accessed_date(false))?;
    for member in files {
        let mut content = Vec::new();
        let mut file = volume.root_dir().open_file(&member.path)?;
        file.read_to_end(&mut content)?;
        if content != member.content {
            return Err(format!("{} has other content when it is read", member.path).into());
        }
    }
    Ok(())
}
