//! Copies files and directories on several threads.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use fve::error::Error;
use fve::files::{
    Attributes, FileId, FileKind, FileName, FilePath, Files, LinkTarget, Located, Times, Walked,
};
use fve::shown::Escaped;

use super::super::describe::Clock;
use super::super::place::in_words;
use super::CpArgs;
use super::content::{Failed, Source};
use super::directory::{Directory, Stamps, Temporary};
use super::hard_links::{HardLinks, Turn};
use super::report::{Report, lock};
use crate::cli::failure::Failure;

/// Most files that wait for a thread.
const WAITING: usize = 256;

/// Most threads that copy short files.
const MAX_THREADS: usize = 16;

/// A copy of files and directories.
pub(super) struct Tree<'a> {
    args: &'a CpArgs,
    files: &'a Files,
    report: &'a Report,
    clock: Clock,
    hard_links: HardLinks,
}

/// A file that a thread is to copy.
struct Job {
    into: Arc<Directory>,
    /// Its name there.
    name: Vec<u8>,
    id: FileId,
    /// The stream of the file that is to be copied alone.
    stream: Option<FileName>,
    path: FilePath,
    /// The directory of the volume that is copied as a whole; links inside it are kept.
    base: Option<Arc<FilePath>>,
}

impl Job {
    /// The path of the file, with the stream that is copied.
    fn shown(&self) -> FilePath {
        let Some(stream) = &self.stream else {
            return self.path.clone();
        };
        match self.path.split_last() {
            Some((directory, name)) => directory.join(with_stream(Some(name), stream)),
            None => FilePath::root().join(with_stream(None, stream)),
        }
    }
}

impl<'a> Tree<'a> {
    pub(super) fn new(args: &'a CpArgs, files: &'a Files, report: &'a Report) -> Self {
        Self {
            args,
            files,
            report,
            clock: Clock::of(files),
            hard_links: HardLinks::default(),
        }
    }

    fn stamps(&self, times: &Times) -> Stamps {
        let instant = |time| self.clock.instant(time);
        Stamps {
            modified: times.modified.and_then(instant),
            accessed: times.accessed.or(times.modified).and_then(instant),
        }
    }

    /// Copies everything that was named on the command line into a directory.
    pub(super) fn copy_into(
        &self,
        found: &[Located],
        mut directory: Directory,
    ) -> Result<(), Failure> {
        directory.learn_case();
        let directory = Arc::new(directory);
        self.run(found, |found, jobs| {
            let name = match (found.path.names().last(), &found.stream) {
                (Some(name), None) => name.clone(),
                (name, Some(stream)) => with_stream(name, stream),
                // The root directory has no name: what is in it goes right into DEST.
                (None, None) => {
                    self.streams(None, found.id, found.kind, &found.path, &directory, jobs);
                    self.directory(found, directory.clone(), jobs);
                    return;
                }
            };
            let name = self.name_in(&directory, &name, &found.path);
            self.one(found, &directory, name, jobs);
        })
    }

    /// Copies a single file or directory, under another name.
    pub(super) fn copy_as(
        &self,
        found: &Located,
        mut directory: Directory,
        name: &OsStr,
    ) -> Result<(), Failure> {
        directory.learn_case();
        let directory = Arc::new(directory);
        let name = name.as_bytes();
        self.run(std::slice::from_ref(found), |found, jobs| {
            self.one(found, &directory, directory.give_name(name), jobs);
        })
    }

    /// Calls `copy` for each, while other threads do the jobs that it sends.
    fn run(
        &self,
        found: &[Located],
        copy: impl Fn(&Located, &SyncSender<Job>),
    ) -> Result<(), Failure> {
        let (sender, receiver) = sync_channel(WAITING);
        let receiver = Mutex::new(receiver);
        let is_done = AtomicBool::new(false);
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            // The receiver ends with the last worker, so that sending fails when all have ended.
            let started = (0..threads.clamp(2, MAX_THREADS))
                .map_while(|_| {
                    let work = || self.work(&receiver);
                    thread::Builder::new().spawn_scoped(scope, work).ok()
                })
                .count();
            if started == 0 {
                let error = std::io::Error::from(std::io::ErrorKind::WouldBlock);
                return Err(Failure::from(Error::io("cannot start a thread", error)));
            }
            if !self.report.bar.is_hidden() {
                // Without it, the bar lacks the rest.
                let count = || self.count(found, &is_done);
                let _ = thread::Builder::new().spawn_scoped(scope, count);
            }
            for found in found {
                if self.report.is_stopped() {
                    break;
                }
                copy(found, &sender);
            }
            drop(sender);
            is_done.store(true, Ordering::Relaxed);
            Ok(())
        })
    }

    /// Adds up the lengths of all files, for the progress bar.
    fn count(&self, found: &[Located], is_done: &AtomicBool) {
        let add = |id| {
            if let Ok(stat) = self.files.stat(id) {
                self.report.bar.inc_length(stat.len);
            }
        };
        for found in found {
            if found.kind != FileKind::Directory {
                add(found.id);
                continue;
            }
            let mut walk = self.files.walk(found.id, found.path.clone());
            while let Some(walked) = walk.next() {
                if is_done.load(Ordering::Relaxed) || self.report.is_stopped() {
                    return;
                }
                match walked {
                    Ok(walked) if self.files.is_internal(&walked.entry) => walk.skip_directory(),
                    Ok(walked) if walked.entry.kind == FileKind::File => add(walked.entry.id),
                    _ => {}
                }
            }
        }
    }

    /// The name of a file in a directory of Linux, and a note if it is another one.
    fn name_in(&self, directory: &Directory, name: &FileName, path: &FilePath) -> Vec<u8> {
        let safe = name.to_safe();
        let given = directory.give_name(&safe.bytes);
        if safe.changed || given != safe.bytes {
            self.report.note(format_args!(
                "{path} cannot keep its name: its copy is {}",
                Escaped(&String::from_utf8_lossy(&given))
            ));
        }
        given
    }

    /// Copies a file or directory that was named on the command line.
    fn one(&self, found: &Located, into: &Arc<Directory>, name: Vec<u8>, jobs: &SyncSender<Job>) {
        if found.stream.is_none() {
            // The copies of the streams are named after that of the file.
            let given = FileName::from_wtf8(&name);
            let name = given.as_ref().or(found.path.names().last());
            self.streams(name, found.id, found.kind, &found.path, into, jobs);
        }
        if found.kind != FileKind::Directory || found.stream.is_some() {
            let job = Job {
                into: into.clone(),
                name,
                id: found.id,
                stream: found.stream.clone(),
                path: found.path.clone(),
                base: None,
            };
            // It fails only if no thread is left, which has ended the copy.
            let _ = jobs.send(job);
            return;
        }
        if let Some(created) = self.create(into, &name, found.id, &found.path) {
            self.directory(found, Arc::new(created), jobs);
        }
    }

    /// Creates a directory.
    fn create(
        &self,
        into: &Directory,
        name: &[u8],
        id: FileId,
        path: &FilePath,
    ) -> Option<Directory> {
        let times = match self.files.stat(id) {
            Ok(stat) => Some(self.stamps(&stat.times)),
            // Listing it will fail, too.
            Err(_) => None,
        };
        match into.directory(name, times) {
            Ok(created) => Some(created),
            Err(error) => {
                self.fail(path, Failed::write(error, &into.path_of(name)));
                None
            }
        }
    }

    /// Copies all that is in a directory.
    fn directory(&self, found: &Located, into: Arc<Directory>, jobs: &SyncSender<Job>) {
        let base = Arc::new(found.path.clone());
        let depth = base.names().len();
        let mut levels = vec![into];
        let mut walk = self.files.walk(found.id, found.path.clone());
        while let Some(walked) = walk.next() {
            if self.report.is_stopped() {
                return;
            }
            let Walked { path, entry, .. } = match walked {
                Ok(walked) => walked,
                Err(error) => {
                    self.report.failed(&error.path, in_words(&error.fault));
                    continue;
                }
            };
            if self.files.is_internal(&entry) {
                walk.skip_directory();
                continue;
            }
            levels.truncate(path.names().len() - depth);
            let Some(parent) = levels.last().cloned() else {
                return;
            };
            let name = self.name_in(&parent, &entry.name, &path);
            let own = Some(&entry.name);
            self.streams(own, entry.id, entry.kind, &path, &parent, jobs);
            if entry.kind == FileKind::Directory {
                match self.create(&parent, &name, entry.id, &path) {
                    Some(created) => levels.push(Arc::new(created)),
                    None => walk.skip_directory(),
                }
                continue;
            }
            let job = Job {
                into: parent,
                name,
                id: entry.id,
                stream: None,
                path,
                base: Some(base.clone()),
            };
            if jobs.send(job).is_err() {
                return;
            }
        }
    }

    /// Sends the streams of a file or directory to the threads, if they are copied. `name` is that of the
    /// copy; the root directory has none.
    fn streams(
        &self,
        name: Option<&FileName>,
        id: FileId,
        kind: FileKind,
        path: &FilePath,
        into: &Arc<Directory>,
        jobs: &SyncSender<Job>,
    ) {
        // Those of a file are counted when it is copied.
        let is_directory = kind == FileKind::Directory;
        if kind == FileKind::Link || !(self.args.streams || is_directory) {
            return;
        }
        let streams = match self.files.streams(id) {
            Ok(streams) => streams,
            Err(fault) => {
                self.report.failed(path, in_words(&fault));
                return;
            }
        };
        if !self.args.streams {
            self.report.left_out_streams(streams.len());
            return;
        }
        for stream in streams {
            let name = with_stream(name, &stream.name);
            let job = Job {
                into: into.clone(),
                name: self.name_in(into, &name, path),
                id,
                stream: Some(stream.name),
                path: path.clone(),
                base: None,
            };
            if jobs.send(job).is_err() {
                return;
            }
        }
    }

    /// Does jobs until there are no more.
    fn work(&self, jobs: &Mutex<Receiver<Job>>) {
        let mut buf = Vec::new();
        loop {
            let next = lock(jobs).recv();
            let Ok(job) = next else { return };
            if self.report.is_stopped() {
                continue;
            }
            if let Err(failed) = self.copy(&job, &mut buf) {
                self.fail(&job.shown(), failed);
            }
        }
    }

    fn fail(&self, path: &FilePath, failed: Failed) {
        match failed {
            Failed::File(why) => self.report.failed(path, why),
            Failed::All(failure) => self.report.stop(failure),
            Failed::Stopped => {}
        }
    }

    fn copy(&self, job: &Job, buf: &mut Vec<u8>) -> Result<(), Failed> {
        let stat = self.files.stat(job.id)?;
        if stat.kind == FileKind::Link && job.stream.is_none() {
            return self.link(job);
        }
        let force = self.args.force;
        let path = job.into.path_of(&job.name);
        let not_written = |error| Failed::write(error, &path);
        // Before the content is read.
        job.into.check_free(&job.name, force).map_err(not_written)?;
        let turn = match &job.stream {
            None => self.hard_links.turn(job.id.number, stat.links, self.report),
            Some(_) => Turn::CopyAlone,
        };
        if let Turn::Link(first) = &turn
            && let Some(link) = job.into.hard_link(&first.copy)
        {
            link.rename(&job.name, force).map_err(not_written)?;
            self.report.bar.inc(stat.len);
            self.report.copied(|| path.clone(), first.hash);
            return Ok(());
        }
        let content = self.files.open(job.id, job.stream.as_ref())?;
        let source = Source::read(content.as_ref(), buf)?;
        let temporary = Temporary::create(&job.into).map_err(not_written)?;
        let file = temporary.file().map_err(not_written)?;
        let hash = source.write(file, &path, self.report)?;
        let is_read_only = stat.attributes.contains(Attributes::READ_ONLY);
        let stamps = self.stamps(&stat.times);
        let copy = temporary
            .finish(&job.name, &stamps, is_read_only, force)
            .map_err(not_written)?;
        if let Turn::Copy(in_work) = turn {
            in_work.done(copy, hash, stat.links);
        }
        self.report.copied(|| path.clone(), hash);
        if job.stream.is_none()
            && !self.args.streams
            && let Ok(streams) = self.files.streams(job.id)
        {
            self.report.left_out_streams(streams.len());
        }
        Ok(())
    }

    /// Creates a symbolic link, if its target is in what is copied.
    fn link(&self, job: &Job) -> Result<(), Failed> {
        let link = self.files.link(job.id)?;
        let left_out = |why: &str| {
            self.report.note(format_args!(
                "the link {} to {} is left out: {why}",
                job.path, link.target
            ));
            Ok(())
        };
        let (Some(base), Some((directory, _))) = (&job.base, job.path.split_last()) else {
            return left_out("only its target can be copied");
        };
        let target = match self.files.target(&directory, &link) {
            LinkTarget::Inside(target) => target,
            _ => return left_out("it leads out of the volume"),
        };
        // As the directories spell it: Linux tells capital and small letters apart.
        let target = match self.files.find_itself(&target) {
            Ok(found) => found.path,
            Err(_) => target,
        };
        let Some(below) = target.names().strip_prefix(base.names()) else {
            return left_out("its target is not copied");
        };
        let safe = below.iter().filter_map(|name| {
            let safe = name.to_safe();
            FileName::from_wtf8(&safe.bytes)
        });
        let depth = directory.names().len() - base.names().len();
        let text = Files::relative_target(&FilePath::from_names(safe.collect()), depth);
        job.into
            .link(&job.name, &text, self.args.force)
            .map_err(|error| Failed::write(error, &job.into.path_of(&job.name)))?;
        self.report.copied(|| job.into.path_of(&job.name), None);
        Ok(())
    }
}

/// `NAME:STREAM`.
fn with_stream(name: Option<&FileName>, stream: &FileName) -> FileName {
    let mut units = name.map_or_else(Vec::new, |name| name.units().to_vec());
    units.push(u16::from(b':'));
    units.extend_from_slice(stream.units());
    FileName::from_units(units)
}
