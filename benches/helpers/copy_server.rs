//! A mount with fve's settings that copies between its requests and a plain file, without encryption. For comparison in
//! `benches/end_to_end.py`.
//!
//! `cargo run --release --example copy_server -- IMAGE DIR [--direct-io | --read-write]`

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};
use fve::serve::fuse::{Mount, MountOptions};
use fve::source::FileSource;
use fve::volume::Unlocked;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, directory, options @ ..] = arguments.as_slice() else {
        println!("usage: copy_server IMAGE DIR [--direct-io | --read-write]");
        return Ok(());
    };
    let has = |name: &str| options.iter().any(|option| option == name);
    if has("--read-write") {
        return write_through(image, directory);
    }
    let volume = Unlocked::plain(Arc::new(FileSource::open(image)?))?;
    let settings = MountOptions::new("copy").direct_io(has("--direct-io"));
    Mount::new(Arc::new(volume), Path::new(directory), &settings)?.serve()?;
    Ok(())
}

/// The library makes only encrypted volumes writable, so this speaks to the kernel itself.
fn write_through(image: &str, directory: &str) -> Result<(), Box<dyn std::error::Error>> {
    let file = File::options().read(true).write(true).open(image)?;
    let size = file.metadata()?.len();
    let mut config = Config::default();
    let threads = std::thread::available_parallelism()?.get().min(4);
    config.n_threads = Some(threads);
    config.clone_fd = threads > 1;
    fuser::mount(Writable { file, size }, directory, &config)?;
    Ok(())
}

const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
const FILE: INodeNo = INodeNo(2);

/// A directory with one file, `volume`.
struct Writable {
    file: File,
    size: u64,
}

impl Writable {
    fn attributes(&self, number: INodeNo) -> FileAttr {
        let is_file = number == FILE;
        let time = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino: number,
            size: if is_file { self.size } else { 0 },
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: if is_file {
                FileType::RegularFile
            } else {
                FileType::Directory
            },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Writable {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == "volume" {
            true => reply.entry(&FOREVER, &self.attributes(FILE), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &self.attributes(number));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.file.write_all_at(data, offset) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error.into()),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.attr(&FOREVER, &self.attributes(number));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        synced(&self.file, reply);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        synced(&self.file, reply);
    }
}

fn synced(file: &File, reply: ReplyEmpty) {
    match file.sync_all() {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
    }
}
