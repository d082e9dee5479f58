//! An NBD server: other programs read and write the decrypted volume through a socket.
//!
//! It speaks the fixed newstyle handshake without TLS: who may use the volume is decided by who may
//! connect to the socket. It has structured replies, block status (the context `base:allocation`), and any
//! number of connections of a client at the same time.
//!
//! ```no_run
//! use std::os::unix::net::UnixListener;
//! use std::sync::Arc;
//!
//! use fve::serve::nbd::{Export, Listener, Server};
//!
//! # fn example(unlocked: fve::Unlocked) -> fve::Result<()> {
//! let server = Server::new(Export::read_only(Arc::new(unlocked)))?;
//! let listener = Listener::unix(UnixListener::bind("/run/user/1000/volume.socket").unwrap())?;
//! // Until another thread calls `stop` of `server.stopper()`.
//! server.serve(&[listener])
//! # }
//! ```

mod export;
mod handshake;
mod listener;
mod transmission;

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

pub use self::export::Export;
pub use self::listener::Listener;
use crate::error::{Error, Result};
use crate::nbd::stream::Stream;

/// The port that is registered for NBD.
pub const PORT: u16 = crate::nbd::PORT;

/// The most connections at the same time. One that exceeds them is closed.
const MAX_CONNECTIONS: usize = 64;

/// How long a client may take for the handshake.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a client may take for the last answers after the server was stopped.
const GRACE: Duration = Duration::from_secs(5);

/// How long to wait after a connection could not be accepted, such as without file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A server of one volume, for any number of clients.
#[derive(Debug)]
pub struct Server {
    export: Export,
    shared: Arc<Shared>,
    /// Readable when the server is to stop.
    woken: UnixStream,
}

/// What the server shares with those who stop it.
#[derive(Debug)]
struct Shared {
    stopped: AtomicBool,
    connections: Mutex<Connections>,
    /// Notified when a connection has ended.
    ended: Condvar,
    waker: UnixStream,
}

#[derive(Debug, Default)]
struct Connections {
    open: HashMap<u64, Stream>,
    accepted: u64,
}

/// Stops a [`Server`] from another thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
}

impl Stopper {
    /// Makes [`Server::serve`] return, after the requests that have arrived.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for stream in self.shared.lock().open.values() {
            stream.stop_reading();
        }
        // A full buffer has woken the server already.
        let _ = std::io::Write::write(&mut &self.shared.waker, &[1]);
    }
}

/// A connection, which is removed at the end, also after a panic.
struct Registered<'a>(&'a Shared, u64);

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.0.remove(self.1);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a connection, so that it can be ended; `None` if there are too many.
    fn add(&self, stream: &Stream) -> Option<u64> {
        let mut connections = self.lock();
        if connections.open.len() >= MAX_CONNECTIONS {
            return None;
        }
        let number = connections.accepted;
        connections.open.insert(number, stream.try_clone().ok()?);
        connections.accepted += 1;
        // It may have been stopped between accepting and registering.
        if self.stopped.load(Ordering::SeqCst) {
            stream.stop_reading();
        }
        Some(number)
    }

    fn remove(&self, number: u64) {
        self.lock().open.remove(&number);
        self.ended.notify_all();
    }

    /// Waits until all connections have ended, and ends those that take too long.
    fn wait_for_end(&self) {
        let (connections, _) = self
            .ended
            .wait_timeout_while(self.lock(), GRACE, |connections| {
                !connections.open.is_empty()
            })
            .unwrap_or_else(PoisonError::into_inner);
        for stream in connections.open.values() {
            stream.shut_down();
        }
    }
}

impl Server {
    /// A server that shows `export` to every client that connects.
    ///
    /// # Errors
    /// [`Error::Io`] when the system has no more file descriptors.
    pub fn new(export: Export) -> Result<Self> {
        let (waker, woken) = UnixStream::pair()
            .map_err(|error| Error::io("cannot make a pair of sockets", error))?;
        let _ = waker.set_nonblocking(true);
        Ok(Self {
            export,
            shared: Arc::new(Shared {
                stopped: AtomicBool::new(false),
                connections: Mutex::default(),
                ended: Condvar::new(),
                waker,
            }),
            woken,
        })
    }

    /// A handle that stops the server from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            shared: self.shared.clone(),
        }
    }

    /// Serves all clients that connect to the `listeners`, until a [`Stopper`] stops the server. All that
    /// was written is on stable storage when this returns.
    ///
    /// # Errors
    /// [`Error::Io`] when the sockets fail, or when not everything that was written reached the disk.
    pub fn serve(&self, listeners: &[Listener]) -> Result<()> {
        let served = std::thread::scope(|scope| {
            let served = self.accept(listeners, &|stream| {
                let Some(number) = self.shared.add(&stream) else {
                    tracing::warn!("a client was refused: there are {MAX_CONNECTIONS} already");
                    return;
                };
                let started =
                    Builder::new()
                        .name("fve-nbd".to_owned())
                        .spawn_scoped(scope, move || {
                            let _registered = Registered(&self.shared, number);
                            self.converse(stream, number);
                        });
                if let Err(error) = started {
                    tracing::warn!("a client was refused: no thread can be started: {error}");
                    self.shared.remove(number);
                }
            });
            self.stopper().stop();
            self.shared.wait_for_end();
            served
        });
        let flushed = self.export.flush();
        served.and(flushed)
    }

    /// Calls `start` with each new connection until the server is stopped.
    fn accept(&self, listeners: &[Listener], start: &dyn Fn(Stream)) -> Result<()> {
        let fail = |error| Error::io("cannot wait for clients", error);
        loop {
            let mut waited: Vec<_> = listeners
                .iter()
                .map(AsFd::as_fd)
                .chain([self.woken.as_fd()])
                .map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN))
                .collect();
            match poll(&mut waited, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.map_err(|error| fail(error.into()))?,
            };
            let ready: Vec<_> = waited
                .iter()
                .map(|socket| !socket.revents().is_empty())
                .collect();
            if self.shared.stopped.load(Ordering::SeqCst) {
                let _ = (&self.woken).read(&mut [0; 16]);
                return Ok(());
            }
            for (listener, ready) in listeners.iter().zip(ready) {
                if !ready {
                    continue;
                }
                match listener.accept() {
                    Ok(Some(stream)) => start(stream),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!("a connection cannot be accepted: {error}");
                        std::thread::sleep(PAUSE);
                    }
                }
            }
        }
    }

    /// Serves one connection until it ends.
    fn converse(&self, stream: Stream, number: u64) {
        tracing::info!("client {number} has connected");
        let served = handshake::negotiate(&stream, Instant::now() + PATIENCE, &self.export)
            .and_then(|agreed| match agreed {
                Some(agreed) => {
                    stream.set_timeout(None)?;
                    transmission::serve(&self.export, agreed, &stream)
                }
                None => Ok(()),
            });
        // A client that goes without a flush gets one before it sees the end of the connection.
        if let Err(error) = self.export.flush() {
            tracing::warn!("{}", error.with_causes());
        }
        stream.shut_down();
        match served {
            Ok(()) => tracing::info!("client {number} has gone"),
            Err(error) => tracing::info!("the connection to client {number} has ended: {error}"),
        }
    }
}
