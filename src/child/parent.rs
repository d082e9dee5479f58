//! The process that asks: starts a child process, exchanges messages with it, and ends it.

use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use zeroize::Zeroizing;

use super::frames::{receive_message, send_message, time_left};
use super::service::{ARGUMENT, is_prepared};
use super::{ChildFailure, Environment, Service};

/// The program that runs, even after its file was replaced or deleted.
const PROGRAM: &str = "/proc/self/exe";
/// How long a process may take to end after its connection was closed, or after SIGKILL.
const ENDING: Duration = Duration::from_secs(1);
/// Most bytes of standard error that are looked at.
const MAX_COMPLAINT: u64 = 0x1000;
/// The exit status of a Rust program that panicked.
const PANICKED: i32 = 101;
/// What the Rust runtime writes to standard error before it aborts.
const MEMORY_WORDS: &[u8] = b"memory allocation of";
const STACK_WORDS: &[u8] = b"has overflowed its stack";

/// A child process that answers requests. It is killed when this value is dropped.
pub(crate) struct Child {
    stream: UnixStream,
    /// The end of standard error that is read; never blocks.
    complaint: std::fs::File,
    process: Option<std::process::Child>,
    max_request: usize,
    max_answer: usize,
    /// The time for all answers together.
    allowed: Duration,
    spent: Duration,
}

impl Child {
    /// Starts a process that may take `allowed` for all its answers together.
    pub(crate) fn start(service: &Service, allowed: Duration) -> Result<Self, ChildFailure> {
        if !is_prepared() {
            return Err(ChildFailure::NotPrepared);
        }
        let failed = ChildFailure::NotStarted;
        let (stream, its_end) = UnixStream::pair().map_err(failed)?;
        // The child must not wait until what a library prints is read.
        let pipe = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
        let (complaint, its_complaint) = pipe.map_err(|errno| failed(errno.into()))?;
        let mut command = Command::new(PROGRAM);
        command.arg0("fve-child").arg(ARGUMENT).arg(service.name);
        command.stdin(Stdio::from(OwnedFd::from(its_end)));
        command.stdout(Stdio::null());
        command.stderr(Stdio::from(its_complaint));
        if let Environment::Only(names) = &service.environment {
            command.current_dir("/");
            command.env_clear();
            let set = names
                .iter()
                .filter_map(|name| Some((*name, std::env::var_os(name)?)));
            command.envs(set);
        }
        let process = command.spawn().map_err(failed)?;
        Ok(Self {
            stream,
            complaint: complaint.into(),
            process: Some(process),
            max_request: service.max_request,
            max_answer: service.max_answer,
            allowed,
            spent: Duration::ZERO,
        })
    }

    /// Sends a request and waits for the answer. After an error, the process is gone.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<Zeroizing<Vec<u8>>, ChildFailure> {
        let started = Instant::now();
        let end = started + self.allowed.saturating_sub(self.spent);
        let answer = self.ask_until(request, end, self.allowed);
        self.spent += started.elapsed();
        answer
    }

    /// The same with a time of its own, which is not counted with that of the other answers.
    #[cfg(feature = "pkcs11")]
    pub(crate) fn ask_within(
        &mut self,
        request: &[u8],
        allowed: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, ChildFailure> {
        self.ask_until(request, Instant::now() + allowed, allowed)
    }

    fn ask_until(
        &mut self,
        request: &[u8],
        end: Instant,
        allowed: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, ChildFailure> {
        let answer = match self.exchange(request, end) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(self.why_gone()),
            Err(error) => Err(match error.kind() {
                ErrorKind::TimedOut | ErrorKind::WouldBlock => ChildFailure::TimedOut(allowed),
                ErrorKind::InvalidData | ErrorKind::InvalidInput => ChildFailure::Malformed,
                // The other end of the connection is closed.
                _ => self.why_gone(),
            }),
        };
        if answer.is_err() {
            self.end();
        }
        answer
    }

    fn exchange(&mut self, request: &[u8], end: Instant) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        if request.len() > self.max_request {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.stream.set_write_timeout(Some(time_left(end)?))?;
        send_message(&self.stream, request)?;
        let stream = &self.stream;
        receive_message(&mut &self.stream, self.max_answer, || {
            stream.set_read_timeout(Some(time_left(end)?))
        })
    }

    /// Why the process closed the connection.
    fn why_gone(&mut self) -> ChildFailure {
        let Some(status) = self.wait(ENDING) else {
            return ChildFailure::Malformed;
        };
        let mut complaint = Vec::new();
        let _ = (&self.complaint)
            .take(MAX_COMPLAINT)
            .read_to_end(&mut complaint);
        let says = |words: &[u8]| complaint.windows(words.len()).any(|part| part == words);
        match (status.signal(), status.code()) {
            (Some(_), _) if says(MEMORY_WORDS) => ChildFailure::OutOfMemory,
            (Some(_), _) if says(STACK_WORDS) => ChildFailure::StackOverflow,
            (Some(signal), _) => ChildFailure::Signal(signal),
            (None, Some(PANICKED)) => ChildFailure::Panicked,
            (None, status) => ChildFailure::Exited(status.unwrap_or_default()),
        }
    }

    /// Waits for the end of the process; `None` if it does not come in time.
    fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + patience;
        let process = self.process.as_mut()?;
        loop {
            if let Ok(Some(status)) = process.try_wait() {
                self.process = None;
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the process. One that the kernel cannot end at once, such as one that waits for a device, is
    /// left to a thread, so that no zombie stays and the caller does not wait.
    fn end(&mut self) {
        // Also ends a process that this one has no right to kill.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        if let Some(process) = &mut self.process {
            let _ = process.kill();
        }
        if self.process.is_some()
            && self.wait(ENDING).is_none()
            && let Some(mut process) = self.process.take()
        {
            let reaper = std::thread::Builder::new().name("reaper".to_owned());
            let _ = reaper.spawn(move || process.wait());
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.process.as_ref().map(std::process::Child::id);
        f.debug_tuple("Child").field(&id).finish()
    }
}
