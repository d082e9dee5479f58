//! The files of a volume as a FUSE file system: requests of the kernel become calls of
//! [`FileSystem`](crate::files::FileSystem). Everything is read-only, so the kernel may keep whatever
//! it is told.

mod handles;
mod links;
mod listing;
mod names;
mod numbers;
#[cfg(test)]
mod tests;
mod xattr;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLockReadGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use self::handles::{OpenFile, Table};
use self::listing::Listing;
use self::numbers::Numbers;
use super::adapter::{BLOCK, FOREVER, STOPPED, with_reply_buffer};
use super::stop::Requests;
use super::tree::Permissions;
use crate::files::{
    Content, Entry, FileError, FileId, FileKind, FileTime, Files, Stat, Unreadable,
};

/// Ticks of 100 ns from 1601-01-01 to 1970-01-01.
const UNIX_EPOCH_TICKS: i64 = 116_444_736_000_000_000;
/// Ticks of 100 ns in a second.
const TICKS_PER_SECOND: u64 = 10_000_000;

/// The entries `.` and `..` come before those of the directory.
const DOTS: u64 = 2;

/// What all threads of a mount share.
pub(super) struct Shown {
    files: Files,
    numbers: Numbers,
    permissions: Permissions,
    uid: u32,
    gid: u32,
    /// Bytes that are free, or why that is not known; determined when it is asked for.
    free: OnceLock<Result<u64, Errno>>,
    open_files: Table<OpenFile>,
    open_directories: Table<Listing>,
    /// Directories by the first byte of the volume with an entry of theirs, as far as file systems need
    /// that: see [`FileSystem::places`](crate::files::FileSystem::places).
    begins: Mutex<HashMap<u64, u64>>,
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shown").field(&self.files).finish()
    }
}

impl Shown {
    /// `owner` is the user and the group that own everything.
    pub(super) fn new(files: Files, permissions: Permissions, owner: (u32, u32)) -> Self {
        let (uid, gid) = owner;
        let root = files.root();
        let begin = files.places(root, 1).first().map(|place| place.start);
        let begins = begin.map(|begin| (begin, root.number));
        Self {
            numbers: Numbers::new(root),
            begins: Mutex::new(begins.into_iter().collect()),
            files,
            permissions,
            uid,
            gid,
            free: OnceLock::new(),
            open_files: Table::default(),
            open_directories: Table::default(),
        }
    }

    /// The file or directory that an entry of `directory` names.
    fn stat_of(&self, directory: FileId, entry: &Entry) -> Result<Stat, FileError> {
        if entry.id.number == self.files.root().number {
            return Err(FileError::damaged("the root directory is in a directory"));
        }
        let stat = self.files.stat(entry.id)?;
        // With a directory in two places, Linux would have no path to it. The text of a link is made
        // for the directory that the link itself names.
        let has_one_place = match stat.kind {
            FileKind::Directory => true,
            FileKind::Link => stat.links <= 1,
            FileKind::File => false,
        };
        match stat.parent {
            Some(parent) if has_one_place && parent.number != directory.number => {
                Err(FileError::damaged(
                    "an entry names a directory or link that belongs into another directory",
                ))
            }
            None if stat.kind == FileKind::Directory && !self.has_own_entries(entry.id) => Err(
                FileError::damaged("the directory has the entries of another directory"),
            ),
            _ => Ok(stat),
        }
    }

    /// Whether the entries of a directory are not those of another one that was seen before.
    fn has_own_entries(&self, directory: FileId) -> bool {
        let places = self.files.places(directory, 1);
        let Some(place) = places.first() else {
            return true;
        };
        let mut begins = self.begins.lock().unwrap_or_else(PoisonError::into_inner);
        *begins.entry(place.start).or_insert(directory.number) == directory.number
    }

    fn find(&self, directory: FileId, name: &OsStr) -> Result<(FileAttr, Generation), Errno> {
        if name.as_bytes().len() > names::MAX_NAME {
            return Err(Errno::ENAMETOOLONG);
        }
        let entry = names::find(&self.files, directory, name).map_err(|fault| errno(&fault))?;
        let entry = entry.ok_or(Errno::ENOENT)?;
        let stat = self.stat_of(directory, &entry);
        let attr = stat.and_then(|stat| self.attr(&stat));
        let attr = attr.map_err(|fault| errno(&fault))?;
        Ok((attr, Generation(entry.id.generation.into())))
    }

    fn attr(&self, stat: &Stat) -> Result<FileAttr, FileError> {
        let (kind, perm) = self.kind(stat.kind);
        let size = match stat.kind {
            FileKind::Link => links::text(&self.files, stat.id)
                .ok()
                .flatten()
                .map_or(0, |text| text.len() as u64),
            _ => stat.len,
        };
        let times = stat.times;
        let modified = times.modified.map_or(UNIX_EPOCH, time);
        let ino = self.numbers.inode(stat.id);
        Ok(FileAttr {
            ino: ino.ok_or_else(|| FileError::damaged("the number of a file is too large"))?,
            size,
            blocks: stat.allocated.div_ceil(BLOCK.into()),
            atime: times.accessed.map_or(modified, time),
            mtime: modified,
            ctime: times.changed.map_or(modified, time),
            crtime: times.created.map_or(modified, time),
            kind,
            perm,
            nlink: stat.links,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// The attributes of an entry whose file cannot be read, as far as the kernel needs them to list it.
    fn attr_of_damaged(&self, entry: &Entry) -> Option<FileAttr> {
        let (kind, perm) = self.kind(entry.kind);
        Some(FileAttr {
            ino: self.numbers.inode(entry.id)?,
            size: 0,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn kind(&self, kind: FileKind) -> (FileType, u16) {
        match kind {
            FileKind::File => (FileType::RegularFile, self.permissions.of_file(false)),
            FileKind::Directory => (FileType::Directory, self.permissions.of_directory()),
            FileKind::Link => (FileType::Symlink, 0o777),
        }
    }

    /// The number of the directory around a directory.
    fn inode_above(&self, directory: FileId) -> INodeNo {
        let parent = self.files.stat(directory).ok().and_then(|stat| stat.parent);
        parent
            .and_then(|parent| self.numbers.inode(parent))
            .unwrap_or(INodeNo::ROOT)
    }

    fn read(&self, content: &dyn Content, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let left = content.size().saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        if len == 0 {
            return Ok(0);
        }
        content
            .read_exact_at(offset, &mut buf[..len])
            .map_err(|error| errno(&error.into()))?;
        Ok(len)
    }

    fn free(&self) -> Result<u64, Errno> {
        *self
            .free
            .get_or_init(|| self.files.free().map_err(|fault| errno(&fault)))
    }
}

/// The time of a file, which may be before 1970.
fn time(time: FileTime) -> SystemTime {
    let ticks = i128::from(time.0) - i128::from(UNIX_EPOCH_TICKS);
    // At most 20 digits, so this fits.
    let distance = u64::try_from(ticks.unsigned_abs()).unwrap_or(u64::MAX);
    let nanoseconds = u32::try_from(distance % TICKS_PER_SECOND * 100).unwrap_or_default();
    let distance = Duration::new(distance / TICKS_PER_SECOND, nanoseconds);
    match ticks < 0 {
        true => UNIX_EPOCH.checked_sub(distance),
        false => UNIX_EPOCH.checked_add(distance),
    }
    .unwrap_or(UNIX_EPOCH)
}

/// The number for a fault, which is all that FUSE can pass on. The sentence goes to the log.
fn errno(fault: &FileError) -> Errno {
    match fault {
        FileError::NotFound => return Errno::ENOENT,
        FileError::NotADirectory => return Errno::ENOTDIR,
        FileError::IsADirectory => return Errno::EISDIR,
        FileError::NotALink => return Errno::EINVAL,
        FileError::TooManyLinks { .. } | FileError::LeadsOutside { .. } => return Errno::ELOOP,
        FileError::TooLarge { .. } => return Errno::EFBIG,
        _ => {}
    }
    tracing::warn!("{}", sentence(fault));
    match fault {
        FileError::Unreadable(Unreadable::Efs) => Errno::EACCES,
        FileError::Unreadable(_) => Errno::EOPNOTSUPP,
        _ => Errno::EIO,
    }
}

fn sentence(fault: &FileError) -> String {
    match fault {
        FileError::Io(error) => format!("{fault}: {error}"),
        other => other.to_string(),
    }
}

/// A connection to the kernel that shows files.
#[derive(Debug)]
pub(super) struct FilesAdapter {
    shown: Arc<Shown>,
    requests: Arc<Requests>,
}

impl FilesAdapter {
    pub(super) fn new(shown: Arc<Shown>, requests: Arc<Requests>) -> Self {
        Self { shown, requests }
    }

    /// An open directory, and the permission to answer a request for its entries.
    fn begin(&self, handle: FileHandle) -> Result<Begun<'_>, Errno> {
        let request = self.requests.begin().ok_or(STOPPED)?;
        let listing = self.shown.open_directories.get(handle);
        Ok((request, listing.ok_or(Errno::EBADF)?))
    }
}

type Begun<'a> = (RwLockReadGuard<'a, bool>, Arc<Listing>);

impl Filesystem for FilesAdapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Each is only for speed; a kernel that lacks one works without it. `FUSE_READDIRPLUS_AUTO` is left
        // out: with it, the kernel asks for the attributes of only the first entries of a large directory
        // together, and for those of each other file by itself.
        for flag in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ] {
            let _ = config.add_capabilities(flag);
        }
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        match self.shown.find(self.shown.numbers.file(parent), name) {
            Ok((attr, generation)) => reply.entry(&FOREVER, &attr, generation),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        let stat = self.shown.files.stat(self.shown.numbers.file(ino));
        match stat.and_then(|stat| self.shown.attr(&stat)) {
            Ok(attr) => reply.attr(&FOREVER, &attr),
            Err(fault) => reply.error(errno(&fault)),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        match links::text(&self.shown.files, self.shown.numbers.file(ino)) {
            Ok(Some(text)) => reply.data(&text),
            Ok(None) => reply.error(Errno::ENAMETOOLONG),
            Err(fault) => reply.error(errno(&fault)),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        match OpenFile::open(&self.shown.files, self.shown.numbers.file(ino)) {
            Ok(opened) => {
                let handle = self.shown.open_files.add(opened);
                let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
                reply.opened(handle, flags);
            }
            Err(fault) => reply.error(errno(&fault)),
        }
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
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
        let shown = &self.shown;
        let Some(opened) = shown.open_files.get(fh) else {
            return reply.error(Errno::EBADF);
        };
        let content = match opened.content(&shown.files) {
            Ok((content, false)) => content,
            Ok((content, true)) => {
                shown.open_files.used(&opened);
                content
            }
            Err(fault) => return reply.error(errno(&fault)),
        };
        with_reply_buffer(size, reply, |buf| shown.read(content.as_ref(), offset, buf));
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.shown.open_files.remove(fh);
        reply.ok();
    }

    fn fsync(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let listing = Listing::new(self.shown.numbers.file(ino));
        let handle = self.shown.open_directories.add(listing);
        let flags = FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE;
        reply.opened(handle, flags);
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let shown = &self.shown;
        // The request is held until the reply is sent.
        let (_request, listing) = match self.begin(fh) {
            Ok(begun) => begun,
            Err(error) => return reply.error(error),
        };
        if offset < 1 && reply.add(ino, 1, FileType::Directory, ".") {
            return reply.ok();
        }
        if offset < DOTS {
            let above = shown.inode_above(listing.directory);
            if reply.add(above, DOTS, FileType::Directory, "..") {
                return reply.ok();
            }
        }
        let listed = listing.from(&shown.files, position(offset), &mut |entry, next| {
            let Some(inode) = shown.numbers.inode(entry.id) else {
                return ControlFlow::Continue(());
            };
            let (kind, _) = shown.kind(entry.kind);
            let name = names::shown(&entry.name);
            full_if(reply.add(inode, offset_of(next), kind, OsStr::from_bytes(&name)))
        });
        shown.open_directories.used(&listing);
        match listed {
            Ok(()) => reply.ok(),
            Err(fault) => reply.error(errno(&fault)),
        }
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let shown = &self.shown;
        // The request is held until the reply is sent.
        let (_request, listing) = match self.begin(fh) {
            Ok(begun) => begun,
            Err(error) => return reply.error(error),
        };
        let none = Generation(0);
        if offset < DOTS {
            // The kernel takes only the number and the kind of these.
            let root = Entry::new("".into(), listing.directory, FileKind::Directory);
            let Some(mut attr) = shown.attr_of_damaged(&root) else {
                return reply.error(Errno::EIO);
            };
            if offset < 1 && reply.add(ino, 1, ".", &Duration::ZERO, &attr, none) {
                return reply.ok();
            }
            attr.ino = shown.inode_above(listing.directory);
            if reply.add(attr.ino, DOTS, "..", &Duration::ZERO, &attr, none) {
                return reply.ok();
            }
        }
        let listed = listing.from(&shown.files, position(offset), &mut |entry, next| {
            let stat = shown.stat_of(listing.directory, entry);
            let (attr, valid) = match stat.and_then(|stat| shown.attr(&stat)) {
                Ok(attr) => (Some(attr), FOREVER),
                // The kernel then asks for the file itself, and gets the error.
                Err(_) => (shown.attr_of_damaged(entry), Duration::ZERO),
            };
            let Some(attr) = attr else {
                return ControlFlow::Continue(());
            };
            let name = names::shown(&entry.name);
            let (name, next) = (OsStr::from_bytes(&name), offset_of(next));
            let generation = Generation(entry.id.generation.into());
            full_if(reply.add(attr.ino, next, name, &valid, &attr, generation))
        });
        shown.open_directories.used(&listing);
        match listed {
            Ok(()) => reply.ok(),
            Err(fault) => reply.error(errno(&fault)),
        }
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.shown.open_directories.remove(fh);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        let properties = self.shown.files.properties();
        let cluster = u32::try_from(properties.cluster_size)
            .unwrap_or(BLOCK)
            .max(1);
        let all = properties.size / u64::from(cluster);
        match self.shown.free() {
            Ok(free) => {
                let free = free / u64::from(cluster);
                let name = u32::try_from(names::MAX_NAME).unwrap_or(u32::MAX);
                reply.statfs(all, free, free, 0, 0, cluster, name, cluster);
            }
            Err(error) => reply.error(error),
        }
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        let file = self.shown.numbers.file(ino);
        reply_sized(reply, size, xattr::value(&self.shown.files, file, name));
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        // Held until the reply is sent.
        let Some(_request) = self.requests.begin() else {
            return reply.error(STOPPED);
        };
        let file = self.shown.numbers.file(ino);
        reply_sized(reply, size, xattr::names(&self.shown.files, file));
    }
}

/// Replies with the length if the caller has no room at all, as it asks for the length then.
fn reply_sized(reply: ReplyXattr, room: u32, value: Result<Vec<u8>, Errno>) {
    match value {
        Ok(value) if room == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > room as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(error),
    }
}

/// The position of the first entry that is wanted, after `.` and `..`.
fn position(offset: u64) -> usize {
    usize::try_from(offset.saturating_sub(DOTS)).unwrap_or(usize::MAX)
}

fn offset_of(position: usize) -> u64 {
    (position as u64).saturating_add(DOTS)
}

fn full_if(full: bool) -> ControlFlow<()> {
    match full {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}
