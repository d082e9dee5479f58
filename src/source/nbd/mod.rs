//! A disk that an NBD server shows.
//!
//! The server decides what is read, so it is trusted as much as a disk is: what it says is checked, and
//! what breaks the protocol is an error. Each connection has one request at a time; several threads use
//! several connections, where the server allows that.

mod address;
mod connection;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use self::address::Address;
use self::connection::{Connection, Facts, Problem};
use super::{ReadAt, WriteAt};
use crate::error::{Error, Result};
use crate::nbd::{command, export};

pub(super) use self::address::address_in;

/// Whether this is not a path but the URI of an NBD server, which [`open`](super::open()) also takes.
pub fn is_nbd_address(path: impl AsRef<Path>) -> bool {
    address_in(path.as_ref()).is_some()
}

/// The most connections to a server.
const MAX_CONNECTIONS: usize = 4;

/// A disk that an NBD server shows (`nbd://HOST:PORT/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`).
///
/// A server that does not answer for half a minute, or has gone, is an error. A lost connection is made
/// again, unless something was written: the server may have lost that.
#[derive(Debug)]
pub struct NbdSource {
    address: Address,
    facts: Facts,
    pool: Mutex<Pool>,
    returned: Condvar,
    /// Whether something was written.
    written: AtomicBool,
    /// Whether a connection was lost after that.
    lost: AtomicBool,
    /// Held while a part of a block is changed: the rest of the block is written back as it was read.
    blocks: RwLock<()>,
}

#[derive(Debug)]
struct Pool {
    idle: Vec<Connection>,
    /// Connections, idle or not.
    open: usize,
    /// The most connections.
    most: usize,
    /// How often a connection was lost.
    generation: u64,
}

impl NbdSource {
    /// Connects to the server at a URI.
    ///
    /// # Errors
    /// [`Error::Environment`] when the URI is malformed or asks for TLS; [`Error::Io`] when the server
    /// cannot be reached, has no such export or breaks the protocol.
    pub fn open(uri: &str) -> Result<Self> {
        let address = Address::parse(uri)?;
        let (connection, facts) = address
            .connect()
            .and_then(|stream| Connection::open(stream, address.export()))
            .map_err(|error| Error::io(format!("cannot use the NBD server at {address}"), error))?;
        tracing::info!("the NBD server at {address} shows {} bytes", facts.size);
        Ok(Self {
            address,
            facts,
            pool: Mutex::new(Pool {
                idle: vec![connection],
                open: 1,
                // Without the flag, one connection may not see what was written through another, and
                // some servers never accept a second one.
                most: match facts.flags & export::CAN_MULTI_CONN {
                    0 => 1,
                    _ => MAX_CONNECTIONS,
                },
                generation: 0,
            }),
            returned: Condvar::new(),
            written: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            blocks: RwLock::default(),
        })
    }

    /// The same, to write to it. NBD has no locks: nothing keeps others from writing, too.
    ///
    /// # Errors
    /// As [`NbdSource::open`], and [`Error::Environment`] when the server allows only reading.
    pub fn open_to_write(uri: &str) -> Result<Self> {
        let source = Self::open(uri)?;
        match source.is_writable() {
            true => {
                source.fill();
                Ok(source)
            }
            false => Err(Error::Environment {
                what: format!("the NBD server at {} allows only reading", source.address),
                remedy: Some("start the server so that it allows writing, or only read".into()),
            }),
        }
    }

    /// Makes all connections that there may be: none is made after something was written.
    fn fill(&self) {
        let is_full = |pool: &Pool| pool.open >= pool.most;
        while !is_full(&self.lock()) {
            let connected = self.reconnect();
            let mut pool = self.lock();
            match connected {
                Ok(connection) => {
                    pool.idle.push(connection);
                    pool.open += 1;
                }
                Err(_) => pool.most = pool.open,
            }
        }
    }

    fn is_writable(&self) -> bool {
        self.facts.flags & export::READ_ONLY == 0
    }

    /// A connection that is not in use: an idle one, or a new one.
    fn take(&self) -> io::Result<Connection> {
        let mut pool = self.lock();
        loop {
            if self.lost.load(Ordering::SeqCst) {
                return Err(io::Error::new(
                    io::ErrorKind::NotConnected,
                    "the connection to the NBD server was lost, and what was written may be lost, too",
                ));
            }
            if let Some(connection) = pool.idle.pop() {
                return Ok(connection);
            }
            // After a write, another connection may lead to another server, which does not have it.
            let is_written = self.written.load(Ordering::SeqCst) && pool.open > 0;
            if pool.open >= pool.most || is_written {
                pool = self
                    .returned
                    .wait(pool)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            pool.open += 1;
            let generation = pool.generation;
            drop(pool);
            let connected = self.reconnect();
            if let Ok(mut connection) = connected {
                connection.generation = generation;
                return Ok(connection);
            }
            pool = self.lock();
            pool.open -= 1;
            self.returned.notify_all();
            if pool.open == 0 {
                return connected;
            }
            // The server, or the rights of this process, allow no more than there are.
            pool.most = pool.open;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection to a server that must still show the same.
    fn reconnect(&self) -> io::Result<Connection> {
        let stream = self.address.connect()?;
        let (connection, facts) = Connection::open(stream, self.address.export())?;
        match facts == self.facts {
            true => Ok(connection),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the NBD server shows another disk than before",
            )),
        }
    }

    fn give_back(&self, connection: Connection) {
        let mut pool = self.lock();
        if connection.generation == pool.generation {
            pool.idle.push(connection);
        } else {
            // It is as old as one that was lost.
            pool.open -= 1;
        }
        self.returned.notify_all();
    }

    /// A connection has gone.
    fn give_up(&self) {
        let mut pool = self.lock();
        pool.open -= 1;
        pool.generation += 1;
        // The next one would be as old as this one.
        pool.open -= pool.idle.len();
        pool.idle.clear();
        if self.written.load(Ordering::SeqCst) {
            self.lost.store(true, Ordering::SeqCst);
        }
        self.returned.notify_all();
    }

    /// Runs a request. If the connection is lost, it runs once more, on a new one.
    fn with<T>(&self, mut run: impl FnMut(&mut Connection) -> Result<T, Problem>) -> io::Result<T> {
        let mut is_second = false;
        loop {
            let mut connection = self.take()?;
            match run(&mut connection) {
                Ok(value) => {
                    self.give_back(connection);
                    return Ok(value);
                }
                Err(Problem::Refused(error)) => {
                    self.give_back(connection);
                    return Err(error);
                }
                Err(Problem::Broken(error)) => {
                    drop(connection);
                    self.give_up();
                    let is_over = error.kind() == io::ErrorKind::TimedOut;
                    if is_second || is_over || self.written.load(Ordering::SeqCst) {
                        return Err(error);
                    }
                    tracing::info!("the connection to {} is lost: {error}", self.address);
                    is_second = true;
                }
            }
        }
    }

    /// The range of whole blocks around `len` bytes at `offset`. Errors beyond the end.
    fn blocks(&self, offset: u64, len: usize) -> io::Result<(u64, u64)> {
        let end = offset.checked_add(len as u64);
        let end = end.filter(|end| *end <= self.facts.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let block = u64::from(self.facts.block);
        let whole = end.next_multiple_of(block).min(self.facts.size);
        Ok((offset - offset % block, whole))
    }

    fn write_blocks(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut at = offset;
        for part in bytes.chunks(self.facts.most) {
            self.written.store(true, Ordering::SeqCst);
            self.with(|connection| connection.request(command::WRITE, 0, at, part, &mut []))?;
            at = at.saturating_add(part.len() as u64);
        }
        Ok(())
    }
}

impl ReadAt for NbdSource {
    fn size(&self) -> u64 {
        self.facts.size
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let (start, end) = self.blocks(offset, buf.len())?;
        if start != offset || end != offset.saturating_add(buf.len() as u64) {
            // The server reads only whole blocks.
            let mut whole = vec![0; usize::try_from(end - start).unwrap_or(usize::MAX)];
            self.read_exact_at(start, &mut whole)?;
            let skip = usize::try_from(offset - start).unwrap_or(usize::MAX);
            let part = whole.get(skip..).and_then(|rest| rest.get(..buf.len()));
            buf.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            return Ok(());
        }
        let mut at = offset;
        for part in buf.chunks_mut(self.facts.most) {
            self.with(|connection| connection.request(command::READ, 0, at, &[], part))?;
            at = at.saturating_add(part.len() as u64);
        }
        Ok(())
    }
}

impl WriteAt for NbdSource {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (start, end) = self.blocks(offset, bytes.len())?;
        if start == offset && end == offset.saturating_add(bytes.len() as u64) {
            let _held = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
            return self.write_blocks(offset, bytes);
        }
        let _held = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        let mut whole = vec![0; usize::try_from(end - start).unwrap_or(usize::MAX)];
        self.read_exact_at(start, &mut whole)?;
        let skip = usize::try_from(offset - start).unwrap_or(usize::MAX);
        let part = whole
            .get_mut(skip..)
            .and_then(|rest| rest.get_mut(..bytes.len()));
        part.ok_or(io::ErrorKind::UnexpectedEof)?
            .copy_from_slice(bytes);
        self.write_blocks(start, &whole)
    }

    fn flush(&self) -> io::Result<()> {
        if self.facts.flags & export::SEND_FLUSH == 0 {
            // Such a server has nothing that it could lose.
            return Ok(());
        }
        self.with(|connection| connection.request(command::FLUSH, 0, 0, &[], &mut []))
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        if self.facts.flags & export::SEND_TRIM == 0 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let end = offset.checked_add(len);
        if end.is_none_or(|end| end > self.facts.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let block = u64::from(self.facts.block);
        let mut at = offset.next_multiple_of(block);
        let end = offset.saturating_add(len);
        let end = end - end % block;
        // The length of a request has 32 bits.
        let most = u64::from(u32::MAX) - u64::from(u32::MAX) % block;
        while at < end {
            let len = (end - at).min(most);
            self.written.store(true, Ordering::SeqCst);
            self.with(|connection| connection.trim(at, len))?;
            at += len;
        }
        Ok(())
    }
}
