//! A file system in memory, for the tests of this module and of those that use it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{
    Attributes, Content, Entry, FileError, FileId, FileKind, FileName, FileSystem, Files, Link,
    LinkKind, Properties, Stat, Stream, Times,
};

#[derive(Debug)]
enum Node {
    File(Vec<u8>),
    Directory(BTreeMap<String, u64>),
    Link(Link),
}

/// Directories, files and links, numbered from 5 on, which is the root directory.
#[derive(Debug)]
pub(crate) struct Memory {
    properties: Properties,
    nodes: Vec<(Node, u64)>,
}

const ROOT: u64 = 5;

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            properties: Properties::default(),
            nodes: vec![(Node::Directory(BTreeMap::new()), ROOT)],
        }
    }

    pub(crate) fn directory(&mut self, parent: u64, name: &str) -> u64 {
        self.add(parent, name, Node::Directory(BTreeMap::new()))
    }

    pub(crate) fn file(&mut self, parent: u64, name: &str, content: &[u8]) -> u64 {
        self.add(parent, name, Node::File(content.to_vec()))
    }

    pub(crate) fn add_link(
        &mut self,
        parent: u64,
        name: &str,
        target: &str,
        is_relative: bool,
    ) -> u64 {
        let kind = match target.contains('/') {
            true => LinkKind::Wsl,
            false => LinkKind::Symbolic,
        };
        let link = Link::new(kind, target.into(), is_relative);
        self.add(parent, name, Node::Link(link))
    }

    /// Gives a node another name, in another directory.
    pub(crate) fn name(&mut self, parent: u64, name: &str, number: u64) {
        if let Some((Node::Directory(entries), _)) = self.nodes.get_mut((parent - ROOT) as usize) {
            entries.insert(name.to_owned(), number);
        }
    }

    pub(crate) fn files(self) -> Files {
        Files::new(Arc::new(self))
    }

    fn add(&mut self, parent: u64, name: &str, node: Node) -> u64 {
        let number = ROOT + self.nodes.len() as u64;
        self.nodes.push((node, parent));
        self.name(parent, name, number);
        number
    }

    fn node(&self, file: FileId) -> Result<&(Node, u64), FileError> {
        self.nodes
            .get((file.number - ROOT) as usize)
            .ok_or(FileError::NotFound)
    }

    fn entries(&self, directory: FileId) -> Result<Vec<Entry>, FileError> {
        let Node::Directory(entries) = &self.node(directory)?.0 else {
            return Err(FileError::NotADirectory);
        };
        let entry = |(name, number): (&String, &u64)| {
            let id = FileId::from_number(*number);
            let kind = self.stat(id)?.kind;
            Ok(Entry::new(name.as_str().into(), id, kind))
        };
        entries.iter().map(entry).collect()
    }
}

impl FileSystem for Memory {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn free(&self) -> Result<u64, FileError> {
        Ok(0)
    }

    fn root(&self) -> FileId {
        FileId::from_number(ROOT)
    }

    fn stat(&self, file: FileId) -> Result<Stat, FileError> {
        let (node, parent) = self.node(file)?;
        let (kind, len) = match node {
            Node::File(content) => (FileKind::File, content.len() as u64),
            Node::Directory(_) => (FileKind::Directory, 0),
            Node::Link(_) => (FileKind::Link, 0),
        };
        Ok(Stat {
            id: file,
            kind,
            len,
            allocated: len,
            links: 1,
            times: Times::default(),
            attributes: Attributes::default(),
            reparse_tag: None,
            unreadable: None,
            parent: Some(FileId::from_number(*parent)),
        })
    }

    fn look_up(&self, directory: FileId, name: &FileName) -> Result<Option<Entry>, FileError> {
        let folded = |name: &FileName| name.to_text_lossy().to_lowercase();
        let entries = self.entries(directory)?;
        let fits = |entry: &Entry| folded(&entry.name) == folded(name);
        Ok(entries.into_iter().find(fits))
    }

    fn list(
        &self,
        directory: FileId,
        tell: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), FileError> {
        let _ = self.entries(directory)?.into_iter().try_for_each(tell);
        Ok(())
    }

    fn link(&self, file: FileId) -> Result<Link, FileError> {
        match &self.node(file)?.0 {
            Node::Link(link) => Ok(link.clone()),
            _ => Err(FileError::NotALink),
        }
    }

    fn streams(&self, _: FileId) -> Result<Vec<Stream>, FileError> {
        Ok(Vec::new())
    }

    fn open(&self, file: FileId, stream: Option<&FileName>) -> Result<Box<dyn Content>, FileError> {
        match (&self.node(file)?.0, stream) {
            (Node::File(content), None) => Ok(Box::new(Bytes(content.clone()))),
            (Node::Directory(_), None) => Err(FileError::IsADirectory),
            _ => Err(FileError::NotFound),
        }
    }
}

struct Bytes(Vec<u8>);

impl crate::source::ReadAt for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.as_slice().read_exact_at(offset, buf)
    }
}

impl Content for Bytes {}
