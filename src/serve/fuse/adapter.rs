//! FUSE's questions put to the [`Tree`], and its answers put into FUSE's words: nothing else.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::time::Duration;

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen, ReplyStatfs, Request,
};

use super::tree::{Node, Tree};

/// How long the kernel may remember what it was told: nothing here ever changes.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

const VOLUME: INodeNo = INodeNo(2);

/// Unit of the numbers that `statfs` gives, in bytes.
const BLOCK: u32 = 512;

thread_local! {
    /// The reply of the thread at hand, grown once and reused.
    static REPLY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Adapter {
    tree: Tree,
    uid: u32,
    gid: u32,
}

impl Adapter {
    pub(super) fn new(tree: Tree) -> Self {
        Self {
            tree,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }

    fn attr(&self, node: Node) -> FileAttr {
        let attributes = self.tree.attributes(node);
        let time = attributes.modified;
        FileAttr {
            ino: number(node),
            size: attributes.size,
            blocks: attributes.size.div_ceil(BLOCK.into()),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: kind(node),
            perm: attributes.mode,
            nlink: if attributes.directory { 2 } else { 1 },
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

fn number(node: Node) -> INodeNo {
    match node {
        Node::Root => INodeNo::ROOT,
        Node::Volume => VOLUME,
    }
}

fn node(number: INodeNo) -> Option<Node> {
    [Node::Root, Node::Volume]
        .into_iter()
        .find(|node| self::number(*node) == number)
}

fn kind(node: Node) -> FileType {
    match node {
        Node::Root => FileType::Directory,
        Node::Volume => FileType::RegularFile,
    }
}

impl Filesystem for Adapter {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = (parent == INodeNo::ROOT)
            .then(|| self.tree.lookup(name.to_str()?))
            .flatten();
        match found {
            Some(node) => reply.entry(&FOREVER, &self.attr(node), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match node(ino) {
            Some(node) => reply.attr(&FOREVER, &self.attr(node)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match node(ino) {
            // The plaintext never changes: pages stay valid from one open to the next.
            Some(Node::Volume) if self.tree.may_be_cached() => {
                reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Some(Node::Volume) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Some(Node::Root) => reply.error(Errno::EISDIR),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if node(ino) != Some(Node::Volume) {
            return reply.error(Errno::EISDIR);
        }
        REPLY.with_borrow_mut(|buf| {
            let size = size as usize;
            if buf.len() < size {
                buf.resize(size, 0);
            }
            match self.tree.read(offset, &mut buf[..size]) {
                Ok(len) => reply.data(&buf[..len]),
                Err(_) => reply.error(Errno::EIO),
            }
        });
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if node(ino) != Some(Node::Root) {
            return reply.error(Errno::ENOTDIR);
        }
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for (next, (node, name)) in (1..).zip(self.tree.entries()).skip(skip) {
            if reply.add(number(node), next, kind(node), name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let size = self.tree.attributes(Node::Volume).size;
        reply.statfs(size.div_ceil(BLOCK.into()), 0, 0, 2, 0, BLOCK, 255, BLOCK);
    }
}
