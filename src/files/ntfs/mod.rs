//! NTFS: a table of file records, each of which has the attributes of a file.
//!
//! ```text
//! boot sector (boot)            sizes, and where the file table is
//! file table (table)            all file records, itself a file
//!   file record (record)        header, fixups (fixups), attributes (attribute)
//!     attribute list            where the attributes are if one record is too small
//!     list of runs (runs)       clusters of the content of an attribute (extents)
//! ```

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

pub(crate) mod attribute;
mod attribute_list;
pub(crate) mod boot;
mod extents;
mod fixups;
mod index;
pub(crate) mod record;
mod reparse;
pub(crate) mod runs;
mod system;
mod table;
mod upcase;

use std::ops::ControlFlow;
use std::sync::Arc;

use self::attribute::types;
use self::boot::{BOOT_LEN, Geometry};
use self::record::Reference;
use self::system::{File, System};
use super::fault::FileError;
use super::{Content, Entry, FileId, FileName, FileSystem, Link, Properties, Stat, Stream};
use crate::source::{ReadAt, read_uninterrupted};

/// Number of the record of the root directory.
const ROOT: u64 = 5;

/// An NTFS file system.
struct Ntfs {
    system: System,
    properties: Properties,
}

/// Opens the file system, if the source holds one of this kind.
pub(super) fn open(source: &Arc<dyn ReadAt>) -> Result<Option<Arc<dyn FileSystem>>, FileError> {
    let mut boot = vec![0; BOOT_LEN];
    if source.size() < BOOT_LEN as u64 {
        return Ok(None);
    }
    read_uninterrupted(source.as_ref(), 0, &mut boot)?;
    if !Geometry::fits(&boot) {
        return Ok(None);
    }
    let geometry = Geometry::parse(&boot, 0)?;
    let mut damaged = Vec::new();
    let system = System::open(source, geometry, &mut damaged)?;
    let properties = Properties {
        kind: "NTFS",
        ..Properties::default()
    };
    Ok(Some(Arc::new(Ntfs { system, properties })))
}

impl Ntfs {
    fn file(&self, id: FileId) -> Result<File, FileError> {
        self.system.file(Reference {
            number: id.number,
            sequence: id.generation,
        })
    }
}

impl FileSystem for Ntfs {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn free(&self) -> Result<u64, FileError> {
        Err(FileError::NotFound)
    }

    fn root(&self) -> FileId {
        FileId::from_number(ROOT)
    }

    fn stat(&self, _file: FileId) -> Result<Stat, FileError> {
        Err(FileError::NotFound)
    }

    fn look_up(&self, _directory: FileId, _name: &FileName) -> Result<Option<Entry>, FileError> {
        Err(FileError::NotFound)
    }

    fn list(
        &self,
        _directory: FileId,
        _tell: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), FileError> {
        Err(FileError::NotFound)
    }

    fn link(&self, _file: FileId) -> Result<Link, FileError> {
        Err(FileError::NotALink)
    }

    fn streams(&self, _file: FileId) -> Result<Vec<Stream>, FileError> {
        Err(FileError::NotFound)
    }

    fn open(&self, file: FileId, stream: Option<&FileName>) -> Result<Box<dyn Content>, FileError> {
        let file = self.file(file)?;
        let name = stream.cloned().unwrap_or_default();
        let content = self.system.content(&file, types::DATA, &name)?;
        content.ok_or(FileError::NotFound)
    }
}
