//! Translates FUSE requests into calls of the [`Tree`], and its results into FUSE replies.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::FallocateFlags;

use super::stop::Requests;
use super::tree::{Node, Tree};

/// How long the kernel may cache names and attributes. They change only by writes through the
/// kernel, after which it asks for them again.
pub(super) const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

const VOLUME: INodeNo = INodeNo(2);

/// What requests are answered after the mount was stopped.
pub(super) const STOPPED: Errno = Errno::ENODEV;

/// Bytes in a block, the unit of `statfs` and of `st_blocks`.
pub(super) const BLOCK: u32 = 512;

thread_local! {
    /// Buffer for the bytes of a read reply, one for each thread.
    static REPLY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Replies with the bytes that `read` puts at the start of a buffer of `size` bytes.
pub(super) fn with_reply_buffer(
    size: u32,
    reply: ReplyData,
    read: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
) {
    REPLY.with_borrow_mut(|buf| {
        let size = size as usize;
        if buf.len() < size {
            buf.resize(size, 0);
        }
        match read(&mut buf[..size]) {
            Ok(len) => reply.data(&buf[..len]),
            Err(error) => reply.error(error),
        }
    });
}

#[derive(Debug)]
pub(super) struct Adapter {
    tree: Arc<Tree>,
    requests: Arc<Requests>,
    uid: u32,
    gid: u32,
}

impl Adapter {
    /// `owner` is the user and the group that own the file and the directory.
    pub(super) fn new(tree: Arc<Tree>, requests: Arc<Requests>, owner: (u32, u32)) -> Self {
        let (uid, gid) = owner;
        Self {
            tree,
            requests,
            uid,
            gid,
        }
    }

    /// Whether a request to set attributes changes nothing, so that it can succeed: the size is that
    /// of the volume, and mode and owner are fixed when it is mounted.
    fn may_be_set(
        &self,
        node: Node,
        mode: Option<u32>,
        owner: (Option<u32>, Option<u32>),
        size: Option<u64>,
    ) -> bool {
        let attributes = self.tree.attributes(node);
        let same_mode = mode.is_none_or(|mode| mode & 0o7777 == u32::from(attributes.mode));
        let same_owner =
            owner.0.is_none_or(|uid| uid == self.uid) && owner.1.is_none_or(|gid| gid == self.gid);
        same_mode && same_owner && size.is_none_or(|size| size == attributes.size)
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

/// Replies with success or the error.
fn reply_with(reply: ReplyEmpty, result: io::Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
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
            // The plaintext changes only through the kernel's page cache, so cached pages stay valid
            // when the file is opened again.
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
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        if node(ino) != Some(Node::Volume) {
            return reply.error(Errno::EISDIR);
        }
        with_reply_buffer(size, reply, |buf| {
            self.tree.read(offset, buf).map_err(|_| Errno::EIO)
        });
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        if node(ino) != Some(Node::Volume) {
            return reply.error(Errno::EISDIR);
        }
        match self.tree.write(offset, data) {
            // A request is at most 16 MiB long.
            Ok(len) => reply.written(u32::try_from(len).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error.into()),
        }
    }

    /// close(2) does not promise to write to the disk, but this does. A file that was closed without
    /// an error loses nothing, however the mount ends.
    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        reply_with(reply, self.tree.flush());
    }

    fn fsync(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        reply_with(reply, self.tree.flush());
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        reply_with(reply, self.tree.flush());
    }

    /// Punching a hole and zeroing a range both make it read as zeros, as fallocate(2) promises and
    /// the loop device relies on. Other modes allocate space, which a volume cannot do.
    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        if node(ino) != Some(Node::Volume) {
            return reply.error(Errno::EISDIR);
        }
        let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        let zeros = FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE;
        if !mode.intersects(zeros) || !(zeros | FallocateFlags::KEEP_SIZE).contains(mode) {
            return reply.error(Errno::EOPNOTSUPP);
        }
        reply_with(reply, self.tree.zero(offset, length));
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        let Some(node) = node(ino) else {
            return reply.error(Errno::ENOENT);
        };
        if !self.may_be_set(node, mode, (uid, gid), size) {
            return reply.error(Errno::EPERM);
        }
        match mtime {
            Some(TimeOrNow::SpecificTime(time)) => self.tree.set_modified(time),
            Some(TimeOrNow::Now) => self.tree.set_modified(SystemTime::now()),
            None => {}
        }
        reply.attr(&FOREVER, &self.attr(node));
    }

    fn create(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EPERM);
    }

    fn mknod(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn mkdir(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EPERM);
    }

    fn unlink(&self, _req: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }

    fn rename(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _newparent: INodeNo,
        _newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EPERM);
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
