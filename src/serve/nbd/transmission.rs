//! Requests and replies, after the handshake.
//!
//! Several threads work for a connection: one of them reads the next request, and then another one may do
//! so while the first answers. A thread handles at most [`PIECE`] bytes at a time. So no queue is needed,
//! and the memory of a connection has a limit.

use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::export::Export;
use super::handshake::{ALLOCATION_ID, Agreed};
use crate::error::Error;
use crate::nbd::stream::{Stream, write_all};
use crate::nbd::{
    MAX_REQUEST, Request, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, chunk, command, errno,
    request, unexpected,
};
use crate::shown::beginning;
use crate::threads::share;

/// The most threads of a connection.
const MAX_THREADS: usize = 4;

/// The most bytes that a thread reads or writes at a time.
const PIECE: usize = 1 << 20;

/// The longest message about a fault, in bytes.
const MAX_MESSAGE: usize = 2048;

/// The most extents in an answer about the block status.
const MAX_EXTENTS: usize = 1024;

/// An error for the client: its number, and a sentence about it.
struct Fault {
    number: u32,
    message: String,
}

impl Fault {
    fn new(number: u32, message: &str) -> Self {
        Self {
            number,
            message: message.to_owned(),
        }
    }

    fn of(error: Error) -> Self {
        let number = match &error {
            Error::Reserved { .. } => errno::PERM,
            Error::OutOfRange { .. } => errno::INVAL,
            Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => errno::NOSPC,
            _ => errno::IO,
        };
        Self::new(number, &error.with_causes().to_string())
    }
}

/// Answers requests until the client disconnects.
pub(super) fn serve(export: &Export, agreed: Agreed, stream: &Stream) -> io::Result<()> {
    let connection = Connection {
        export,
        agreed,
        stream,
        input: Mutex::new(BufReader::with_capacity(1 << 16, stream)),
        output: Mutex::new(()),
        ended: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    share(threads.clamp(2, MAX_THREADS) - 1, || {
        if let Err(error) = connection.work() {
            let mut failure = connection
                .failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
            connection.end();
        }
    });
    let failure = connection
        .failure
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}

struct Connection<'a> {
    export: &'a Export,
    agreed: Agreed,
    stream: &'a Stream,
    input: Mutex<BufReader<&'a Stream>>,
    /// Held while a reply, or a chunk of one, is written.
    output: Mutex<()>,
    /// No further request is read.
    ended: AtomicBool,
    failure: Mutex<Option<io::Error>>,
}

impl Connection<'_> {
    fn work(&self) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
            if self.ended.load(Ordering::SeqCst) {
                return Ok(());
            }
            let request = Request::read(&mut *input)?;
            let Some(request) = request.filter(|asked| asked.command != command::DISCONNECT) else {
                self.ended.store(true, Ordering::SeqCst);
                return Ok(());
            };
            if request.command == command::WRITE {
                let result = self.write(&request, input, &mut buffer)?;
                self.finish(&request, result)?;
            } else {
                drop(input);
                self.answer(&request, &mut buffer)?;
            }
        }
    }

    /// Ends the connection for all threads.
    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.stream.shut_down();
    }

    fn answer(&self, request: &Request, buffer: &mut Vec<u8>) -> io::Result<()> {
        if let Err(fault) = self.check(request) {
            return self.finish(request, Err(fault));
        }
        match request.command {
            command::READ if self.agreed.structured => self.read_structured(request, buffer),
            command::READ => self.read_simple(request, buffer),
            command::BLOCK_STATUS => self.block_status(request),
            _ => {
                let result = self.change(request);
                self.finish(request, result)
            }
        }
    }

    /// Checks a request that has no data, as far as all have the same conditions.
    fn check(&self, request: &Request) -> Result<(), Fault> {
        let invalid = |message| Err(Fault::new(errno::INVAL, message));
        let known = match request.command {
            command::READ => request::DF,
            command::FLUSH => 0,
            command::WRITE | command::TRIM => request::FUA,
            command::WRITE_ZEROES => request::FUA | request::NO_HOLE | request::FAST_ZERO,
            command::BLOCK_STATUS => request::ONE,
            _ => return invalid("the request is not supported"),
        };
        // FUA means nothing for these, but is allowed.
        if request.flags & !(known | request::FUA) != 0 {
            return invalid("the request has an unknown flag");
        }
        if request.command == command::FLUSH {
            return Ok(());
        }
        let changes = !matches!(request.command, command::READ | command::BLOCK_STATUS);
        if changes && self.export.is_read_only() {
            return Err(Fault::new(errno::PERM, "the volume is read-only"));
        }
        if request.command == command::BLOCK_STATUS {
            if !self.agreed.allocation {
                return invalid("no context was selected");
            }
            if request.len == 0 {
                return invalid("the request is about no byte");
            }
        }
        let limited = matches!(request.command, command::READ | command::WRITE);
        if limited && request.len > MAX_REQUEST {
            return invalid("the request is too long");
        }
        let end = request.offset.checked_add(request.len.into());
        if end.is_none_or(|end| end > self.export.size()) {
            let number = if changes { errno::NOSPC } else { errno::INVAL };
            return Err(Fault::new(number, "the range ends beyond the volume"));
        }
        Ok(())
    }

    /// Receives the data of a write, and writes them. The last piece is written after `input` was given
    /// back, so that another thread can go on.
    fn write(
        &self,
        request: &Request,
        input: MutexGuard<'_, BufReader<&Stream>>,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Result<(), Fault>> {
        if request.len > MAX_REQUEST {
            // To skip so many bytes is not worth while: what follows may be no request either.
            return Err(unexpected("a write that is too long"));
        }
        let mut input = Some(input);
        let mut result = self.check(request);
        let whole = usize::try_from(request.len).unwrap_or(usize::MAX);
        let mut done = 0;
        while done < whole {
            let data = piece_of(buffer, (whole - done).min(PIECE))?;
            if let Some(input) = &mut input {
                input.read_exact(data)?;
            }
            let offset = request.offset.saturating_add(done as u64);
            done += data.len();
            if done == whole {
                input = None;
            }
            if let (Ok(()), Some(volume)) = (&result, self.export.writable()) {
                result = volume.write_all_at(offset, data).map_err(Fault::of);
            }
        }
        drop(input);
        Ok(result.and_then(|()| self.force(request)))
    }

    /// After a change: flushes if the request demands it.
    fn force(&self, request: &Request) -> Result<(), Fault> {
        match request.flags & request::FUA {
            0 => Ok(()),
            _ => self.export.flush().map_err(Fault::of),
        }
    }

    /// Requests that have neither data nor a reply with data.
    fn change(&self, request: &Request) -> Result<(), Fault> {
        let (offset, len) = (request.offset, u64::from(request.len));
        let Some(volume) = self.export.writable() else {
            // Only a flush comes here, and nothing was written.
            return Ok(());
        };
        let changed = match request.command {
            command::TRIM => match volume.discard(offset, len) {
                // A hint, which need not be followed.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::Unsupported => {
                    Ok(())
                }
                other => other,
            },
            // Zeros are encrypted and written, which is no faster than other data.
            command::WRITE_ZEROES if request.flags & request::FAST_ZERO != 0 => {
                let message = "zeros are written no faster than other data";
                return Err(Fault::new(errno::NOTSUP, message));
            }
            command::WRITE_ZEROES => volume.zero(offset, len),
            _ => volume.flush(),
        };
        changed.map_err(Fault::of)?;
        self.force(request)
    }

    /// Answers a read in one chunk for each piece, so that a fault is known before its data are sent.
    fn read_structured(&self, request: &Request, buffer: &mut Vec<u8>) -> io::Result<()> {
        let whole = usize::try_from(request.len).unwrap_or(usize::MAX);
        if request.flags & request::DF != 0 && whole > PIECE {
            let fault = Fault::new(errno::OVERFLOW, "the request is too long for one chunk");
            return self.finish(request, Err(fault));
        }
        let mut done = 0;
        while done < whole {
            let data = piece_of(buffer, (whole - done).min(PIECE))?;
            let offset = request.offset.saturating_add(done as u64);
            if let Err(error) = self.export.read(offset, data) {
                return self.finish(request, Err(Fault::of(error)));
            }
            done += data.len();
            let flags = if done == whole { chunk::DONE } else { 0 };
            let header = chunk_header(request, flags, chunk::OFFSET_DATA, data.len() + 8)?;
            self.send(&[&header, &offset.to_be_bytes(), data])?;
        }
        match whole {
            0 => self.finish(request, Ok(())),
            _ => Ok(()),
        }
    }

    /// Answers a read of a client that does not know structured replies. After the header there is no way
    /// to report a fault, so everything is read before.
    fn read_simple(&self, request: &Request, buffer: &mut Vec<u8>) -> io::Result<()> {
        let len = usize::try_from(request.len).unwrap_or(usize::MAX);
        if len <= PIECE {
            let data = piece_of(buffer, len)?;
            return match self.export.read(request.offset, data) {
                Ok(()) => self.send(&[&simple_header(request, 0), data]),
                Err(error) => self.finish(request, Err(Fault::of(error))),
            };
        }
        // Only one thread at a time has a large buffer.
        let held = self.lock_output();
        let mut data = vec![0; len];
        match self.export.read(request.offset, &mut data) {
            Ok(()) => write_all(self.stream, &[&simple_header(request, 0), &data]),
            Err(error) => {
                drop(held);
                self.finish(request, Err(Fault::of(error)))
            }
        }
    }

    fn block_status(&self, request: &Request) -> io::Result<()> {
        let most = match request.flags & request::ONE {
            0 => MAX_EXTENTS,
            _ => 1,
        };
        let mut extents = Vec::from(ALLOCATION_ID.to_be_bytes());
        let states = self.export.status(request.offset, request.len.into());
        for status in states.take(most) {
            let len = u32::try_from(status.len).unwrap_or(request.len);
            extents.extend(len.to_be_bytes());
            extents.extend(status.state.to_be_bytes());
        }
        let header = chunk_header(request, chunk::DONE, chunk::BLOCK_STATUS, extents.len())?;
        self.send(&[&header, &extents])
    }

    /// Sends a reply without data.
    fn finish(&self, request: &Request, result: Result<(), Fault>) -> io::Result<()> {
        let fault = result.err();
        if let Some(fault) = &fault {
            tracing::info!("a request failed: {}", fault.message);
        }
        if !self.agreed.structured {
            let number = fault.map_or(0, |fault| fault.number);
            return self.send(&[&simple_header(request, number)]);
        }
        let Some(fault) = fault else {
            let header = chunk_header(request, chunk::DONE, chunk::NONE, 0)?;
            return self.send(&[&header]);
        };
        let message = beginning(&fault.message, MAX_MESSAGE);
        let len = u16::try_from(message.len()).unwrap_or(0);
        let header = chunk_header(request, chunk::DONE, chunk::ERROR, 6 + message.len())?;
        self.send(&[
            &header,
            &fault.number.to_be_bytes(),
            &len.to_be_bytes(),
            message.as_bytes(),
        ])
    }

    fn send(&self, parts: &[&[u8]]) -> io::Result<()> {
        let _held = self.lock_output();
        write_all(self.stream, parts)
    }

    fn lock_output(&self) -> MutexGuard<'_, ()> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first `len` bytes of a buffer, which grows to that size.
fn piece_of(buffer: &mut Vec<u8>, len: usize) -> io::Result<&mut [u8]> {
    buffer.resize(buffer.len().max(len), 0);
    let piece = buffer.get_mut(..len);
    piece.ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

fn simple_header(request: &Request, error: u32) -> Vec<u8> {
    [
        SIMPLE_REPLY_MAGIC.to_be_bytes().as_slice(),
        &error.to_be_bytes(),
        &request.cookie.to_be_bytes(),
    ]
    .concat()
}

fn chunk_header(request: &Request, flags: u16, kind: u16, len: usize) -> io::Result<Vec<u8>> {
    let len = u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok([
        STRUCTURED_REPLY_MAGIC.to_be_bytes().as_slice(),
        &flags.to_be_bytes(),
        &kind.to_be_bytes(),
        &request.cookie.to_be_bytes(),
        &len.to_be_bytes(),
    ]
    .concat())
}
