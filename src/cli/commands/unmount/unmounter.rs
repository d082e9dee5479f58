//! The process that unmounts for the server of a mount.
//!
//! The server gives up its capabilities, and with them the right to unmount. So it starts this process
//! first, `fve unmount --on-request DIR`, which reads requests of one byte from its standard input and
//! reads nothing of the volume. It ends when the server has closed the pipe. A server in a sandbox has
//! another process mount, and start this one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fve::error::Error;
use fve::serve::fuse::{SUBTYPE, is_dead};
use fve::source::MountEntry;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::layers::{Layers, hidden};
use super::{is_busy, private};
use crate::cli::failure::Failure;
use crate::cli::output::term;

/// The request to unmount as soon as no program uses the mount.
const WHEN_FREE: u8 = b'u';
/// The notice that another driver shows the files in the volume.
const SHOWN: u8 = b's';
/// The notice that the server answers no more requests. The file system is not mounted any more then, unless the
/// connection to the kernel has failed, or another program has closed it.
const SERVED: u8 = b'e';

/// The request to unmount at once if the server ends and the file system is still mounted.
const AFTER_DEATH: u8 = b'a';

/// Time between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// The same, where no program is waited for.
const SHORT_PAUSE: Duration = Duration::from_millis(50);

/// Name of the process.
const NAME: &std::ffi::CStr = c"fve-unmount";

/// What it needs: to unmount, and to see which programs use the mount.
const NEEDED: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH);

/// The server's side.
#[derive(Debug, Clone)]
pub(crate) struct Unmounter {
    requests: Arc<Mutex<Option<Requests>>>,
}

/// Where requests go.
#[derive(Debug)]
enum Requests {
    /// To a child of this process.
    Child(Child),
    /// To a process that another one started.
    Elsewhere(UnixStream),
}

/// How long the server waits for a process that another one started, and that has nothing more to do; and that
/// process for the end of a killed server.
const PATIENCE: Duration = Duration::from_secs(10);

impl Unmounter {
    /// Starts the process for the mount on `directory`, an absolute path. With `speaks`, it reports on
    /// standard error what keeps the mount busy.
    pub(crate) fn start(directory: &Path, speaks: bool) -> io::Result<Self> {
        let messages = match speaks {
            true => Stdio::inherit(),
            false => Stdio::null(),
        };
        let child = spawn(directory, Stdio::piped(), messages)?;
        Ok(Self::of(Requests::Child(child)))
    }

    /// Starts the process for a server that is not this process, and that sends requests to the other end
    /// of the socket `requests`.
    pub(crate) fn start_for(directory: &Path, requests: OwnedFd) -> io::Result<()> {
        spawn(directory, requests.into(), Stdio::inherit()).map(drop)
    }

    /// The process at the other end of this socket, which another one started.
    pub(crate) fn elsewhere(requests: UnixStream) -> Self {
        Self::of(Requests::Elsewhere(requests))
    }

    fn of(requests: Requests) -> Self {
        Self {
            requests: Arc::new(Mutex::new(Some(requests))),
        }
    }

    /// Has the directory unmounted as soon as no program uses it.
    pub(crate) fn stop_when_free(&self) -> io::Result<()> {
        self.request(WHEN_FREE)
    }

    /// Tells it that another driver shows the files now, if one does. They may be unmounted again before
    /// the process has looked.
    pub(crate) fn files_are_shown(&self) {
        // Without the process, the server still unmounts nothing by itself.
        let _ = self.request(SHOWN);
    }

    /// Has the directory unmounted when this process was killed. Otherwise every access to it would fail.
    pub(crate) fn unmount_after_death(&self) {
        let _ = self.request(AFTER_DEATH);
    }

    /// Has the directory unmounted if every access to it fails, since the connection to the kernel is closed.
    pub(crate) fn has_served(&self) {
        // A failure is of no use to a server that has ended.
        let _ = self.request(SERVED);
    }

    fn request(&self, request: u8) -> io::Result<()> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        match requests.as_mut() {
            Some(Requests::Child(child)) => match &mut child.stdin {
                Some(pipe) => pipe.write_all(&[request]),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            },
            Some(Requests::Elsewhere(stream)) => stream.write_all(&[request]),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Lets the process end, and waits for that.
    pub(crate) fn end(&self) {
        let requests = self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match requests {
            Some(Requests::Child(mut child)) => {
                // This closes the pipe first.
                let _ = child.wait();
            }
            Some(Requests::Elsewhere(mut stream)) => {
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.set_read_timeout(Some(PATIENCE));
                // Its end is closed when the process has ended.
                let _ = stream.read(&mut [0]);
            }
            None => {}
        }
    }
}

/// Starts the process, which reads `requests`.
fn spawn(directory: &Path, requests: Stdio, messages: Stdio) -> io::Result<Child> {
    // The path of the program may have been replaced since it was started.
    Command::new("/proc/self/exe")
        .arg0("fve")
        .args(["unmount", "--on-request"])
        .arg(directory)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .current_dir("/")
        .stdin(requests)
        .stdout(Stdio::null())
        .stderr(messages)
        .spawn()
}

/// The process itself.
pub(super) fn serve_requests(directory: &Path) -> Result<(), Failure> {
    let fail = |error| Error::io("cannot start the process that unmounts", error);
    // Signals for the whole group or unit reach this process too. The server decides.
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))).map_err(fail)?;
    }
    // Closing the terminal does not end it.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(NAME);
    keep_only_needed().map_err(|error| fail(error.into()))?;
    let (sender, receiver) = channel();
    if private::shown_on(directory).is_some() {
        let sender = sender.clone();
        // The kernel reports the changes since the table was opened, however late the thread starts.
        let table = File::open("/proc/self/mountinfo").map_err(fail)?;
        std::thread::Builder::new()
            .spawn(move || watch_mounts(&table, || sender.send(Event::MountsChanged).is_ok()))
            .map_err(fail)?;
    }
    std::thread::Builder::new()
        .spawn(move || {
            // Not through the standard library's buffer, which is not needed here.
            let bytes = io::stdin().lock().bytes();
            let requests = bytes.map_while(Result::ok).map(Event::Request);
            let _ = requests
                .chain([Event::ServerEnded])
                .try_for_each(|event| sender.send(event));
        })
        .map_err(fail)?;
    answer(&Mounted::of(directory), &receiver);
    Ok(())
}

/// What the process waits for.
enum Event {
    Request(u8),
    /// The server has closed its end of the pipe.
    ServerEnded,
    /// Something was mounted or unmounted.
    MountsChanged,
}

/// Calls `changed` each time the mount table changes, until it returns false.
fn watch_mounts(table: &File, changed: impl Fn() -> bool) {
    loop {
        let mut polled = [PollFd::new(table, PollFlags::PRI)];
        match poll(&mut polled, None) {
            Ok(_) if !changed() => return,
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// A user without capabilities needs the set-user-ID program `fusermount3`, so the process may still
/// run one.
fn keep_only_needed() -> rustix::io::Result<()> {
    let kept = capabilities(None)?.permitted.intersection(NEEDED);
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}

/// Answers requests until the server has ended.
fn answer(mounted: &Mounted, events: &Receiver<Event>) {
    let mut wanted = false;
    let mut told = false;
    let mut after_death = false;
    let mut files = Files::default();
    loop {
        let event = match wanted {
            true => events.recv_timeout(PAUSE),
            false => events.recv().map_err(RecvTimeoutError::from),
        };
        match event {
            Ok(Event::Request(WHEN_FREE)) => (wanted, told) = (true, false),
            Ok(Event::Request(SERVED)) => {
                if mounted.detach_dead(Duration::ZERO) {
                    term::note("the connection to the kernel was closed; unmounted");
                }
            }
            Ok(Event::Request(AFTER_DEATH)) => after_death = true,
            Ok(change @ (Event::MountsChanged | Event::Request(SHOWN))) => {
                let noticed = matches!(change, Event::Request(_)) && mounted.is_private;
                // After umount(8) of the files, no program uses the volume.
                if files.are_gone(mounted.has_files(), noticed) && !wanted {
                    (wanted, told) = (true, true);
                }
            }
            Ok(Event::Request(_)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Event::ServerEnded) | Err(RecvTimeoutError::Disconnected) => {
                if after_death {
                    mounted.detach_dead(PATIENCE);
                }
                return;
            }
        }
        if !wanted {
            continue;
        }
        match mounted.end() {
            Ok(()) => wanted = mounted.is_elsewhere(),
            Err(_) if told => {}
            Err(error) => {
                told = true;
                mounted.report(&error);
            }
        }
    }
}

/// The files that another driver shows.
#[derive(Default)]
struct Files {
    were_shown: bool,
}

impl Files {
    /// Whether the files were unmounted since the last call. `noticed`: they were shown, perhaps for so
    /// short a time that no call has seen it.
    fn are_gone(&mut self, are_shown: bool, noticed: bool) -> bool {
        let gone = (self.were_shown || noticed) && !are_shown;
        self.were_shown = are_shown;
        gone
    }
}

/// The mount of the server.
struct Mounted {
    entry: Option<MountEntry>,
    /// Whether it is on a private directory, for another driver.
    is_private: bool,
}

impl Mounted {
    fn of(directory: &Path) -> Self {
        Self {
            // Something else may be mounted over it already.
            entry: MountEntry::of_kind_at(directory, &format!("fuse.{SUBTYPE}"))
                .ok()
                .flatten(),
            is_private: private::shown_on(directory).is_some(),
        }
    }

    /// Where the file system is mounted now; the directory may have been moved.
    fn now(&self) -> Option<MountEntry> {
        self.entry.as_ref()?.again().ok().flatten()
    }

    /// Unmounts all layers if no program uses them.
    fn end(&self) -> Result<(), Error> {
        let Some(mounted) = self.now() else {
            return Ok(());
        };
        let visible = MountEntry::at(&mounted.directory).ok().flatten();
        if visible.is_some_and(|visible| visible.device != mounted.device) {
            return Err(hidden());
        }
        Layers::on_own(mounted.directory).try_to_take_down()
    }

    /// Whether another driver shows the files in the volume.
    fn has_files(&self) -> bool {
        self.now()
            .is_some_and(|mounted| Layers::on_own(mounted.directory).files.is_some())
    }

    /// Whether it is only mounted on other directories, as by a bind mount.
    fn is_elsewhere(&self) -> bool {
        let own = self.entry.as_ref().map(|entry| &entry.directory);
        self.now().is_some_and(|now| own != Some(&now.directory))
    }

    /// Unmounts all layers if the server has ended and left them, wherever they are mounted. Returns whether there was
    /// one. A later mount of the same volume may have the same number, but its server answers. The kernel may
    /// need a moment to close what a killed server had open; `patience` is how long to wait for that.
    fn detach_dead(&self, patience: Duration) -> bool {
        let start = Instant::now();
        let mut found = false;
        while let Some(mounted) = self.now() {
            if is_dead(&mounted) {
                found = true;
                Layers::on_own(mounted.directory.clone()).detach(&mounted);
            }
            if start.elapsed() >= patience {
                break;
            }
            std::thread::sleep(SHORT_PAUSE);
        }
        found
    }

    fn report(&self, error: &Error) {
        match self.now() {
            Some(mounted) if is_busy(error) => {
                let layers = Layers::on_own(mounted.directory);
                let (users, directory) = layers.in_the_way();
                term::note(format_args!(
                    "still mounted, because {}; it is unmounted as soon as nothing uses it",
                    users.described(directory)
                ));
                term::note(format_args!("help: {}", users.how_to_end()));
            }
            _ => term::note(format_args!("still mounted: {}", error.with_causes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmounted_files_are_noticed_also_if_they_were_never_seen() {
        let mut files = Files::default();
        assert!(!files.are_gone(false, false));
        assert!(!files.are_gone(true, false));
        assert!(!files.are_gone(true, true));
        assert!(files.are_gone(false, false));
        assert!(!files.are_gone(false, false));
        assert!(Files::default().are_gone(false, true));
    }
}
