//! The files of NTFS: their properties, names, streams and content.

use std::ops::ControlFlow;

use super::attribute::{Attribute, ENCRYPTED, SPARSE, types};
use super::boot::Geometry;
use super::index::{Found, Index};
use super::interix;
use super::properties;
use super::record::Reference;
use super::reparse::{self, Reparse, tags};
use super::system::{File, System};
use super::upcase::UpCase;
use super::wof;
use crate::files::{
    Attributes, Content, Entry, FileError, FileId, FileKind, FileName, FileSystem, Link,
    Properties, Stat, Stream, Times, Unreadable,
};

/// Numbers of file records.
pub(super) const ROOT: u64 = 5;
const BITMAP: u64 = 6;
/// Name of the attributes of a directory's index.
const INDEX: &str = "$I30";
/// Name of the attribute that has the keys of an encrypted file.
const EFS: &str = "$EFS";
/// Name of the stream with the content of a file that Windows compressed ("Compact OS").
const COMPRESSED_DATA: &str = "WofCompressedData";
/// Longest `$INDEX_ROOT` in bytes; it is always in a file record.
const MAX_ROOT: u64 = 1 << 16;
/// Most clusters of a volume.
const MAX_CLUSTERS: u64 = 1 << 32;
/// Bytes of the bitmap that are read at a time.
const PIECE: u64 = 1 << 20;

/// An NTFS file system.
pub(super) struct Ntfs {
    system: System,
    upcase: UpCase,
    properties: Properties,
}

/// What a file is, without its content.
struct Facts {
    kind: FileKind,
    times: Times,
    attributes: Attributes,
    /// The tag of its reparse point.
    tag: Option<u32>,
}

impl Ntfs {
    /// A file system without properties, which [`Ntfs::set_properties`] adds.
    pub(super) fn new(system: System, upcase: UpCase) -> Self {
        Self {
            system,
            upcase,
            properties: Properties::default(),
        }
    }

    pub(super) fn set_properties(&mut self, properties: Properties) {
        self.properties = properties;
    }

    pub(super) fn geometry(&self) -> &Geometry {
        self.system.geometry()
    }

    fn file(&self, id: FileId) -> Result<File, FileError> {
        self.system.file(Reference {
            number: id.number,
            sequence: id.generation,
        })
    }

    /// The reparse point of a file.
    fn reparse_data(&self, file: &File) -> Result<Option<Vec<u8>>, FileError> {
        let unnamed = FileName::default();
        self.system
            .small(file, types::REPARSE_POINT, &unnamed, reparse::MAX_LEN)
    }

    fn facts(&self, file: &File) -> Result<Facts, FileError> {
        let information = self.system.value(file, types::STANDARD_INFORMATION)?;
        let (times, attributes) = match information {
            Some(value) => properties::standard_information(&value)?,
            // The extensions of the file system's own files have none.
            None => Default::default(),
        };
        let point = self.reparse_data(file)?;
        let tag = point.as_deref().map(reparse::tag).transpose()?;
        let is_directory = file.record().is_directory();
        let is_link = match (&point, tag) {
            (Some(point), Some(tags::NFS)) => {
                matches!(reparse::parse(point, attributes), Ok(Reparse::Link(_)))
            }
            (_, Some(tag)) => reparse::is_link(tag),
            (_, None) => {
                let may_be = attributes.contains(Attributes::SYSTEM) && !is_directory;
                may_be && matches!(self.interix_link(file), Ok(Some(_)))
            }
        };
        let kind = match is_link {
            true => FileKind::Link,
            false if is_directory => FileKind::Directory,
            false => FileKind::File,
        };
        let directory = match is_directory {
            true => Attributes::DIRECTORY.0,
            false => 0,
        };
        Ok(Facts {
            kind,
            times,
            attributes: Attributes(attributes.0 | directory),
            tag,
        })
    }

    /// The link in the content of a file with the attribute "system", if it is one.
    fn interix_link(&self, file: &File) -> Result<Option<Link>, FileError> {
        let all = self.system.attributes(file, types::DATA)?;
        let data = all.iter().find(|data| data.is_named(""));
        let data = data.filter(|data| data.len() <= interix::MAX_LEN);
        let Some(data) = data else {
            return Ok(None);
        };
        if self.is_encrypted(file, data)? {
            return Ok(None);
        }
        let unnamed = FileName::default();
        let content = self
            .system
            .small(file, types::DATA, &unnamed, interix::MAX_LEN)?;
        Ok(content.as_deref().and_then(interix::link))
    }

    /// Whether the content of an attribute is encrypted.
    fn is_encrypted(&self, file: &File, data: &Attribute) -> Result<bool, FileError> {
        if data.flags & ENCRYPTED != 0 {
            return Ok(true);
        }
        let keys = self
            .system
            .attributes(file, types::LOGGED_UTILITY_STREAM)?
            .into_iter()
            .any(|attribute| attribute.is_named(EFS));
        Ok(keys && !file.record().is_directory())
    }

    /// The content of a file's attribute as NTFS stores it.
    fn data(&self, file: &File, name: &FileName) -> Result<Box<dyn Content>, FileError> {
        let all = self.system.attributes(file, types::DATA)?;
        let data = all.iter().find(|data| data.name == *name);
        let data = data.ok_or(FileError::NotFound)?;
        if data.len() > 0 && self.is_encrypted(file, data)? {
            return Err(FileError::Unreadable(Unreadable::Efs));
        }
        let content = self.system.content(file, types::DATA, name)?;
        content.ok_or(FileError::NotFound)
    }

    /// Why the content of a file cannot be read, as far as its record says that.
    fn unreadable(
        &self,
        file: &File,
        facts: &Facts,
        data: Option<&Attribute>,
    ) -> Result<Option<Unreadable>, FileError> {
        if facts.kind != FileKind::File {
            return Ok(None);
        }
        let by_tag = elsewhere(facts, data);
        if by_tag.is_some() {
            return Ok(by_tag);
        }
        let Some(data) = data.filter(|data| data.len() > 0) else {
            return Ok(None);
        };
        Ok(self.is_encrypted(file, data)?.then_some(Unreadable::Efs))
    }

    fn index(&self, directory: FileId) -> Result<Index, FileError> {
        let file = self.file(directory)?;
        if !file.record().is_directory() {
            return Err(FileError::NotADirectory);
        }
        let content = |kind| self.system.content(&file, kind, &INDEX.into());
        let root = self
            .system
            .small(&file, types::INDEX_ROOT, &INDEX.into(), MAX_ROOT)?;
        let root = root
            .ok_or_else(|| FileError::from(file.record().fault("a directory without an index")))?;
        Index::open(
            self.geometry().cluster_size,
            file.record().number(),
            root,
            content(types::INDEX_ALLOCATION)?,
            content(types::BITMAP)?,
        )
    }

    fn entry(&self, found: Found) -> Entry {
        let plain = match found.is_directory {
            true => FileKind::Directory,
            false => FileKind::File,
        };
        let kind = match found.reparse_tag {
            // The index does not say which tag, or the tag does not say what it is.
            Some(0 | tags::NFS) => self.kind(found.id).unwrap_or(plain),
            Some(tag) if reparse::is_link(tag) => FileKind::Link,
            None if found.is_system && !found.is_directory => self.kind(found.id).unwrap_or(plain),
            _ => plain,
        };
        Entry::new(found.name, found.id, kind)
    }

    /// What a file is, as its record says.
    fn kind(&self, id: FileId) -> Result<FileKind, FileError> {
        Ok(self.facts(&self.file(id)?)?.kind)
    }

    /// The name of the stream that is meant: exactly this one, or else one that differs by case.
    fn stream_name(&self, file: &File, name: &FileName) -> Result<FileName, FileError> {
        let all = self.system.attributes(file, types::DATA)?;
        let is_equal = |other: &FileName| {
            let units = |name: &FileName| name.units().to_vec();
            self.upcase.compare(units(other), units(name)).is_eq()
        };
        let names = || all.iter().map(|data| &data.name);
        let found = names()
            .find(|other| *other == name)
            .or_else(|| names().find(|other| is_equal(other)));
        found.cloned().ok_or(FileError::NotFound)
    }

    /// The content of a file as its user sees it.
    fn open_file(&self, file: &File) -> Result<Box<dyn Content>, FileError> {
        let unnamed = FileName::default();
        let facts = self.facts(file)?;
        if facts.kind == FileKind::Directory || file.record().is_directory() {
            return Err(FileError::IsADirectory);
        }
        let Some(point) = self.reparse_data(file)? else {
            if facts.attributes.contains(Attributes::REPARSE_POINT) {
                return Err(file
                    .record()
                    .fault("its reparse point is missing, so its content is not known")
                    .into());
            }
            return self.data(file, &unnamed);
        };
        let all = self.system.attributes(file, types::DATA)?;
        let whole = all.iter().find(|data| data.is_named(""));
        if let Some(reason) = elsewhere(&facts, whole) {
            return Err(FileError::Unreadable(reason));
        }
        match reparse::parse(&point, facts.attributes)? {
            Reparse::Compressed(algorithm) => {
                let len = whole.ok_or(FileError::NotFound)?.len();
                let stream = self.data(file, &COMPRESSED_DATA.into());
                let stream = stream.map_err(|fault| match fault {
                    FileError::NotFound => file
                        .record()
                        .fault("its compressed content is missing")
                        .into(),
                    other => other,
                })?;
                wof::open(stream, len, algorithm)
            }
            Reparse::Unreadable(reason) if facts.tag == Some(tags::WOF) => {
                Err(FileError::Unreadable(reason))
            }
            _ => self.data(file, &unnamed),
        }
    }
}

/// Why the content of a file is not in its data, as far as its reparse tag and its attributes say that.
fn elsewhere(facts: &Facts, data: Option<&Attribute>) -> Option<Unreadable> {
    let sparse = match data {
        Some(data) if data.flags & SPARSE != 0 => Attributes::SPARSE.0,
        _ => 0,
    };
    reparse::unreadable(facts.tag?, Attributes(facts.attributes.0 | sparse))
}

impl FileSystem for Ntfs {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn free(&self) -> Result<u64, FileError> {
        let file = self.file(FileId::from_number(BITMAP))?;
        let bitmap = self.data(&file, &FileName::default())?;
        let clusters = self.geometry().clusters;
        if clusters > MAX_CLUSTERS {
            let what = format!("it has {clusters} clusters, more than NTFS can have");
            return Err(FileError::damaged(what));
        }
        let len = clusters.div_ceil(8);
        if bitmap.size() < len {
            return Err(FileError::damaged("the map of its clusters is too short"));
        }
        let mut used = 0u64;
        let mut at = 0u64;
        let mut piece = vec![0; usize::try_from(PIECE.min(len)).unwrap_or(0)];
        while at < len {
            let left = usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX);
            let count = left.min(piece.len());
            let part = piece.get_mut(..count).unwrap_or_default();
            bitmap.read_exact_at(at, part)?;
            at = at.saturating_add(part.len() as u64);
            if at >= len
                && let Some(last) = part.last_mut()
                && let Ok(bits @ 1..) = u32::try_from(clusters % 8)
            {
                // The bits behind the last cluster do not count.
                *last &= 1u8.checked_shl(bits).unwrap_or(0).wrapping_sub(1);
            }
            let ones = part.iter().map(|byte| u64::from(byte.count_ones()));
            used = used.saturating_add(ones.sum());
        }
        let free = clusters.saturating_sub(used);
        Ok(free.saturating_mul(self.geometry().cluster_size))
    }

    fn root(&self) -> FileId {
        FileId::from_number(ROOT)
    }

    fn stat(&self, id: FileId) -> Result<Stat, FileError> {
        let file = self.file(id)?;
        let facts = self.facts(&file)?;
        let mut links = 0u32;
        let mut parent = None;
        self.system.values(&file, types::FILE_NAME, &mut |value| {
            let (directory, is_short) = properties::file_name(value)?;
            if !is_short {
                links = links.saturating_add(1);
            }
            parent = parent.or(Some(FileId::new(directory.number, directory.sequence)));
            Ok(())
        })?;
        let data = match facts.kind {
            FileKind::File => self.system.attributes(&file, types::DATA)?,
            _ => Vec::new(),
        };
        let named = |name: &str| data.iter().find(|data| data.is_named(name));
        let unnamed = named("");
        let stored = match facts.tag {
            Some(tags::WOF) => named(COMPRESSED_DATA),
            _ => unnamed,
        };
        Ok(Stat {
            id: FileId::new(id.number, file.record().sequence()),
            kind: facts.kind,
            len: unnamed.map_or(0, Attribute::len),
            allocated: stored.map_or(0, Attribute::allocated),
            links: links.max(1),
            times: facts.times,
            attributes: facts.attributes,
            reparse_tag: facts.tag,
            unreadable: self.unreadable(&file, &facts, unnamed)?,
            parent,
        })
    }

    fn look_up(&self, directory: FileId, name: &FileName) -> Result<Option<Entry>, FileError> {
        let found = self.index(directory)?.look_up(name, &self.upcase)?;
        Ok(found.map(|found| self.entry(found)))
    }

    fn list(
        &self,
        directory: FileId,
        tell: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), FileError> {
        self.index(directory)?
            .list(&mut |found| tell(self.entry(found)))
    }

    fn link(&self, id: FileId) -> Result<Link, FileError> {
        let file = self.file(id)?;
        let facts = self.facts(&file)?;
        if facts.kind != FileKind::Link {
            return Err(FileError::NotALink);
        }
        let link = match self.reparse_data(&file)? {
            Some(point) => match reparse::parse(&point, facts.attributes)? {
                Reparse::Link(link) => Some(link),
                _ => None,
            },
            None => self.interix_link(&file)?,
        };
        link.ok_or(FileError::NotALink)
    }

    fn reparse_point(&self, id: FileId) -> Result<Option<Vec<u8>>, FileError> {
        self.reparse_data(&self.file(id)?)
    }

    fn streams(&self, id: FileId) -> Result<Vec<Stream>, FileError> {
        let file = self.file(id)?;
        let is_compressed = self.facts(&file)?.tag == Some(tags::WOF);
        let all = self.system.attributes(&file, types::DATA)?;
        let is_stream = |data: &Attribute| {
            let is_hidden = is_compressed && data.is_named(COMPRESSED_DATA);
            !data.is_named("") && !is_hidden
        };
        let streams = all.into_iter().filter(is_stream);
        Ok(streams
            .map(|data| {
                let len = data.len();
                Stream::new(data.name, len)
            })
            .collect())
    }

    fn open(&self, id: FileId, stream: Option<&FileName>) -> Result<Box<dyn Content>, FileError> {
        let file = self.file(id)?;
        match stream {
            Some(name) => self.data(&file, &self.stream_name(&file, name)?),
            None => self.open_file(&file),
        }
    }
}
