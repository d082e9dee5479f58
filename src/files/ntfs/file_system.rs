//! The files of NTFS: their properties, names, streams and content.

use std::ops::ControlFlow;

use super::attribute::{ENCRYPTED, types};
use super::boot::Geometry;
use super::index::{Found, Index, Volume};
use super::properties;
use super::record::Reference;
use super::reparse::{self, Reparse, tags};
use super::system::{File, Part, System};
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
    fn reparse_point(&self, file: &File) -> Result<Option<Vec<u8>>, FileError> {
        let content = self
            .system
            .content(file, types::REPARSE_POINT, &FileName::default())?;
        let content = content.map(|content| read_all(content.as_ref(), reparse::MAX_LEN));
        content.transpose()
    }

    fn facts(&self, file: &File) -> Result<Facts, FileError> {
        let information = self.system.attribute(file, types::STANDARD_INFORMATION)?;
        let (times, attributes) = match information {
            Some(part) => properties::standard_information(part.resident()?)?,
            // The extensions of the file system's own files have none.
            None => Default::default(),
        };
        let point = self.reparse_point(file)?;
        let tag = point.as_deref().map(reparse::tag).transpose()?;
        let is_directory = file.record().is_directory();
        let kind = match tag {
            Some(tag) if reparse::is_link(tag) => FileKind::Link,
            _ if is_directory => FileKind::Directory,
            _ => FileKind::File,
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

    /// Whether the content of an attribute is encrypted.
    fn is_encrypted(&self, file: &File, data: &Part) -> Result<bool, FileError> {
        if data.attribute.flags & ENCRYPTED != 0 {
            return Ok(true);
        }
        let keys = self
            .system
            .attributes(file, types::LOGGED_UTILITY_STREAM)?
            .into_iter()
            .any(|part| part.attribute.is_named(EFS));
        Ok(keys && !file.record().is_directory())
    }

    /// The content of a file's attribute as NTFS stores it.
    fn data(&self, file: &File, name: &FileName) -> Result<Box<dyn Content>, FileError> {
        let parts = self.system.attributes(file, types::DATA)?;
        let data = parts.iter().find(|part| part.attribute.name == *name);
        let data = data.ok_or(FileError::NotFound)?;
        if data.attribute.len() > 0 && self.is_encrypted(file, data)? {
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
        data: Option<&Part>,
    ) -> Result<Option<Unreadable>, FileError> {
        if facts.kind != FileKind::File {
            return Ok(None);
        }
        let by_tag = facts.tag.and_then(reparse::unreadable);
        if by_tag.is_some() {
            return Ok(by_tag);
        }
        let Some(data) = data.filter(|data| data.attribute.len() > 0) else {
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
        let root = content(types::INDEX_ROOT)?;
        let root = root
            .ok_or_else(|| FileError::from(file.record().fault("a directory without an index")))?;
        let geometry = self.geometry();
        let volume = Volume {
            cluster_size: geometry.cluster_size,
            size: geometry.size,
        };
        Index::open(
            &volume,
            file.record().number(),
            read_all(root.as_ref(), MAX_ROOT)?,
            content(types::INDEX_ALLOCATION)?,
            content(types::BITMAP)?,
        )
    }

    fn entry(&self, found: Found) -> Entry {
        let tag = match found.reparse_tag {
            // The index does not say which one.
            Some(0) => self.tag(found.id),
            other => other,
        };
        let kind = match tag {
            Some(tag) if reparse::is_link(tag) => FileKind::Link,
            _ if found.is_directory => FileKind::Directory,
            _ => FileKind::File,
        };
        Entry::new(found.name, found.id, kind)
    }

    /// The tag of a file's reparse point, if it can be read.
    fn tag(&self, id: FileId) -> Option<u32> {
        let file = self.file(id).ok()?;
        let point = self.reparse_point(&file).ok()??;
        reparse::tag(&point).ok()
    }

    /// The name of the stream that is meant: exactly this one, or else one that differs by case.
    fn stream_name(&self, file: &File, name: &FileName) -> Result<FileName, FileError> {
        let parts = self.system.attributes(file, types::DATA)?;
        let is_equal = |other: &FileName| {
            let units = |name: &FileName| name.units().to_vec();
            self.upcase.compare(units(other), units(name)).is_eq()
        };
        let names = || parts.iter().map(|part| &part.attribute.name);
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
        let Some(point) = self.reparse_point(file)? else {
            if facts.attributes.contains(Attributes::REPARSE_POINT) {
                return Err(file
                    .record()
                    .fault("its reparse point is missing, so its content is not known")
                    .into());
            }
            return self.data(file, &unnamed);
        };
        if let Some(reason) = facts.tag.and_then(reparse::unreadable) {
            return Err(FileError::Unreadable(reason));
        }
        match reparse::parse(&point)? {
            Reparse::Compressed(algorithm) => {
                let parts = self.system.attributes(file, types::DATA)?;
                let whole = parts.iter().find(|part| part.attribute.is_named(""));
                let len = whole.ok_or(FileError::NotFound)?.attribute.len();
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

/// All bytes of content that is never longer than `max`.
fn read_all(content: &dyn Content, max: u64) -> Result<Vec<u8>, FileError> {
    let len = content.size();
    let fits = usize::try_from(len).ok().filter(|_| len <= max);
    let too_long = || FileError::damaged(format!("an attribute of {len} bytes"));
    let mut bytes = vec![0; fits.ok_or_else(too_long)?];
    content.read_exact_at(0, &mut bytes)?;
    Ok(bytes)
}

impl FileSystem for Ntfs {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn free(&self) -> Result<u64, FileError> {
        let file = self.file(FileId::from_number(BITMAP))?;
        let bitmap = self.data(&file, &FileName::default())?;
        let clusters = self.geometry().clusters;
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
        for part in self.system.attributes(&file, types::FILE_NAME)? {
            let (directory, is_short) = properties::file_name(part.resident()?)?;
            if !is_short {
                links = links.saturating_add(1);
            }
            parent = parent.or(Some(FileId::new(directory.number, directory.sequence)));
        }
        let data = match facts.kind {
            FileKind::File => self.system.attributes(&file, types::DATA)?,
            _ => Vec::new(),
        };
        let named = |name: &str| data.iter().find(|part| part.attribute.is_named(name));
        let unnamed = named("");
        let stored = match facts.tag {
            Some(tags::WOF) => named(COMPRESSED_DATA),
            _ => unnamed,
        };
        Ok(Stat {
            id: FileId::new(id.number, file.record().sequence()),
            kind: facts.kind,
            len: unnamed.map_or(0, |part| part.attribute.len()),
            allocated: stored.map_or(0, |part| part.attribute.allocated()),
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
        let point = self.reparse_point(&file)?.ok_or(FileError::NotALink)?;
        match reparse::parse(&point)? {
            Reparse::Link(link) => Ok(link),
            _ => Err(FileError::NotALink),
        }
    }

    fn streams(&self, id: FileId) -> Result<Vec<Stream>, FileError> {
        let file = self.file(id)?;
        let is_compressed = self.facts(&file)?.tag == Some(tags::WOF);
        let parts = self.system.attributes(&file, types::DATA)?;
        let is_stream = |part: &Part| {
            let attribute = &part.attribute;
            let is_hidden = is_compressed && attribute.is_named(COMPRESSED_DATA);
            !attribute.is_named("") && !is_hidden
        };
        let streams = parts.into_iter().filter(is_stream);
        Ok(streams
            .map(|part| {
                let len = part.attribute.len();
                Stream::new(part.attribute.name, len)
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
