//! NTFS: a table of file records, each of which has the attributes of a file.
//!
//! ```text
//! boot sector (boot)            sizes, and where the file table is
//! file table (table)            all file records, itself a file
//!   file record (record)        header, fixups (fixups), attributes (attribute)
//!     attribute list            where the attributes are if one record is too small
//!     list of runs (runs)       clusters of the content of an attribute (extents, compressed)
//!     index (index)             names in a directory, sorted by their upper case (upcase)
//!     reparse point (reparse)   links, files whose content is elsewhere or compressed (wof)
//! state (volume)                label, dirty flag, log
//! ```
//!
//! Crates that were tried instead: `ntfs` 0.4.0 does not know how much of a file was ever written and
//! shows what the clusters had before, returns compressed content as it is stored, and cannot read a
//! file table with an attribute list. `ntfs-core` 0.9.8 has the first fault too, and reads a file as a
//! whole into memory.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

pub(crate) mod attribute;
mod attribute_list;
pub(crate) mod boot;
mod compressed;
mod extents;
mod file_system;
mod fixups;
mod index;
mod interix;
mod properties;
pub(crate) mod record;
mod reparse;
pub(crate) mod runs;
mod system;
mod table;
#[cfg(test)]
mod tests;
mod upcase;
pub(crate) mod volume;
mod wof;

use std::sync::Arc;

use self::attribute::types;
use self::boot::{BOOT_LEN, Geometry};
use self::file_system::{Ntfs, ROOT};
use self::record::Reference;
use self::system::System;
use self::upcase::UpCase;
use super::fault::FileError;
use super::stat::{Condition, FileId, Properties};
use super::{FileName, FileSystem};
use crate::source::{ReadAt, is_blank, read_uninterrupted};

/// Numbers of file records.
const LOG_FILE: u64 = 2;
const VOLUME: u64 = 3;
const UPCASE: u64 = 10;
/// The file with the memory of a hibernated Windows.
const HIBERNATION: &str = "hiberfil.sys";

/// Opens the file system, if the source holds one of this kind.
pub(super) fn open(source: &Arc<dyn ReadAt>) -> Result<Option<Arc<dyn FileSystem>>, FileError> {
    let mut damaged = Vec::new();
    let Some(geometry) = geometry(source.as_ref(), &mut damaged)? else {
        return Ok(None);
    };
    let system = System::open(source, geometry, &mut damaged)?;
    let mut properties = Properties {
        kind: "NTFS",
        serial: system.geometry().serial,
        size: system.geometry().size,
        sector_size: system.geometry().sector_size,
        cluster_size: system.geometry().cluster_size,
        ..Properties::default()
    };
    let mut conditions = Vec::new();
    match state(&system, &mut properties) {
        Ok(why) => conditions.extend(why.map(|why| Condition::Dirty { why })),
        Err(fault) => damaged.push(format!("the properties of the volume ($Volume): {fault}")),
    }
    match is_log_clean(&system) {
        Ok(true) => {}
        Ok(false) => conditions.push(Condition::Dirty {
            why: "its log has unfinished operations".to_owned(),
        }),
        Err(fault) => damaged.push(format!("the log ($LogFile): {fault}")),
    }
    let upcase = upcase(&system).unwrap_or_else(|fault| {
        damaged.push(format!(
            "the table of upper-case letters ($UpCase): {fault}"
        ));
        UpCase::of_unicode()
    });
    let mut ntfs = Ntfs::new(system, upcase);
    if is_hibernated(&ntfs).unwrap_or(false) {
        conditions.push(Condition::Hibernated);
    }
    conditions.extend(damaged.into_iter().map(|what| Condition::Damaged { what }));
    properties.conditions = conditions;
    ntfs.set_properties(properties);
    Ok(Some(Arc::new(ntfs)))
}

/// The geometry from the boot sector or, if that is damaged, from its copy in the last sector. `None`
/// if the source holds something else.
fn geometry(source: &dyn ReadAt, damaged: &mut Vec<String>) -> Result<Option<Geometry>, FileError> {
    if source.size() < BOOT_LEN as u64 {
        return Ok(None);
    }
    let mut boot = vec![0; BOOT_LEN];
    let fault = match read_uninterrupted(source, 0, &mut boot) {
        Err(error) => FileError::Io(error),
        Ok(()) if Geometry::fits(&boot) => match Geometry::parse(&boot, 0) {
            Ok(geometry) => return Ok(Some(geometry)),
            Err(fault) => fault.into(),
        },
        // A new file system that begins with zeros may have left the copy of an old NTFS.
        Ok(()) if boot.iter().all(|byte| *byte == 0) && is_blank(source).unwrap_or(false) => {
            return Ok(copy(source).inspect(|_| {
                damaged.push("the boot sector, which is empty: its copy was used".to_owned());
            }));
        }
        Ok(()) => return Ok(None),
    };
    match copy(source) {
        Some(geometry) => {
            damaged.push(format!("the boot sector ({fault}): its copy was used"));
            Ok(Some(geometry))
        }
        None => Err(fault),
    }
}

/// The geometry from the copy of the boot sector, whose place depends on the size of a sector.
fn copy(source: &dyn ReadAt) -> Option<Geometry> {
    [512u64, 1024, 2048, 4096].iter().find_map(|sector| {
        let size = source.size();
        let rest = size.checked_rem(*sector)?;
        let position = size.checked_sub(rest)?.checked_sub(*sector)?;
        let mut boot = vec![0; BOOT_LEN];
        read_uninterrupted(source, position, &mut boot).ok()?;
        let geometry = Geometry::parse(&boot, position).ok()?;
        let fits = geometry.size == position && u64::from(geometry.sector_size) == *sector;
        fits.then_some(geometry)
    })
}

/// Sets the label, and returns why the volume is dirty.
fn state(system: &System, properties: &mut Properties) -> Result<Option<String>, FileError> {
    let file = system.file(own(VOLUME))?;
    if let Some(name) = system.value(&file, types::VOLUME_NAME)? {
        properties.label = volume::label(&name);
    }
    let information = system.value(&file, types::VOLUME_INFORMATION)?;
    let information = information.ok_or(FileError::NotFound)?;
    Ok(volume::unfinished(&information)?)
}

fn is_log_clean(system: &System) -> Result<bool, FileError> {
    let log = data(system, LOG_FILE, volume::LOG_LEN)?;
    Ok(volume::is_log_clean(&log))
}

fn upcase(system: &System) -> Result<UpCase, FileError> {
    let table = data(system, UPCASE, upcase::TABLE_LEN as u64)?;
    let wrong = || FileError::damaged("it is not a table of upper-case letters");
    UpCase::parse(&table).ok_or_else(wrong)
}

/// The first bytes of one of the file system's own files.
fn data(system: &System, number: u64, len: u64) -> Result<Vec<u8>, FileError> {
    let file = system.file(own(number))?;
    let content = system.content(&file, types::DATA, &FileName::default())?;
    let content = content.ok_or(FileError::NotFound)?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    content.read_exact_at(0, &mut bytes)?;
    Ok(bytes)
}

fn own(number: u64) -> Reference {
    Reference {
        number,
        sequence: 0,
    }
}

/// Whether `hiberfil.sys` begins with `hibr`: then it holds the memory of a Windows that will resume.
/// After that it begins with `wake` or zeros. Windows writes these words in upper or lower case.
fn is_hibernated(ntfs: &Ntfs) -> Result<bool, FileError> {
    let root = FileId::from_number(ROOT);
    let Some(entry) = ntfs.look_up(root, &HIBERNATION.into())? else {
        return Ok(false);
    };
    let content = ntfs.open(entry.id, None)?;
    let mut mark = [0; 4];
    content.read_exact_at(0, &mut mark)?;
    Ok(mark.eq_ignore_ascii_case(b"hibr"))
}
