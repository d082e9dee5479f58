//! One connection to a server: the handshake, and one request at a time.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::nbd::stream::{Stream, Until, write_all};
use crate::nbd::{
    MAGIC, MAX_REQUEST, OPTION_MAGIC, OPTION_REPLY_MAGIC, Request, SIMPLE_REPLY_MAGIC, command,
    errno, export, handshake, info, option, read_bytes, read_u16, read_u32, read_u64, reply,
    unexpected,
};
use crate::shown::{Escaped, beginning};

/// How long the server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it may be silent about a change. A slow disk takes minutes to write what the system has cached.
const PATIENCE_WITH_CHANGES: Duration = Duration::from_secs(600);

/// The most bytes of a reply to an option.
const MAX_REPLY: u32 = 64 << 10;

/// The most replies to an option.
const MAX_REPLIES: usize = 100;

/// The longest message of a server that is repeated, in bytes.
const MAX_MESSAGE: usize = 500;

/// The largest block that a server may insist on, in bytes.
const MAX_BLOCK: u32 = 64 << 10;

/// What the server says about the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) size: u64,
    /// Bits of [`export`].
    pub(super) flags: u16,
    /// Requests must consist of whole blocks of so many bytes.
    pub(super) block: u32,
    /// The most bytes of a request: whole blocks.
    pub(super) most: usize,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Problem {
    /// The server has answered that it failed. The connection can be used further.
    Refused(io::Error),
    /// The connection cannot be used any more.
    Broken(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Broken(match error.kind() {
            // How a read or write that has waited too long ends.
            io::ErrorKind::WouldBlock => io::Error::new(
                io::ErrorKind::TimedOut,
                "the NBD server was silent for too long",
            ),
            io::ErrorKind::UnexpectedEof => io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the NBD server has closed the connection",
            ),
            _ => error,
        })
    }
}

/// A connection to a server, after the handshake.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    cookie: u64,
    /// The present limit of the stream.
    patience: Duration,
    /// How often connections had been lost when this one was made.
    pub(super) generation: u64,
}

impl Connection {
    /// Negotiates with a server, and selects the export.
    pub(super) fn open(stream: Stream, name: &[u8]) -> io::Result<(Self, Facts)> {
        let input = Until {
            stream: &stream,
            end: Instant::now() + PATIENCE,
        };
        let negotiated = Handshake { input }.run(name);
        let facts = negotiated.map_err(|error| match Problem::from(error) {
            Problem::Refused(error) | Problem::Broken(error) => error,
        })?;
        stream.set_timeout(Some(PATIENCE))?;
        let connection = Self {
            stream,
            cookie: 0,
            patience: PATIENCE,
            generation: 0,
        };
        Ok((connection, facts))
    }

    /// Sends a request with `data`, and receives its answer, with `answer.len()` bytes.
    pub(super) fn request(
        &mut self,
        command: u16,
        flags: u16,
        offset: u64,
        data: &[u8],
        answer: &mut [u8],
    ) -> Result<(), Problem> {
        let len = u32::try_from(data.len().max(answer.len()));
        let len = len.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.run(command, flags, offset, len, data, answer)
    }

    /// Discards a range.
    pub(super) fn trim(&mut self, offset: u64, len: u64) -> Result<(), Problem> {
        let len = u32::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.run(command::TRIM, 0, offset, len, &[], &mut [])
    }

    fn run(
        &mut self,
        command: u16,
        flags: u16,
        offset: u64,
        len: u32,
        data: &[u8],
        answer: &mut [u8],
    ) -> Result<(), Problem> {
        self.cookie += 1;
        let request = Request {
            flags,
            command,
            cookie: self.cookie,
            offset,
            len,
        };
        let patience = match command {
            command::READ => PATIENCE,
            _ => PATIENCE_WITH_CHANGES,
        };
        if patience != self.patience {
            self.stream.set_timeout(Some(patience))?;
            self.patience = patience;
        }
        write_all(&self.stream, &[&request.encode(), data])?;
        let mut stream = &self.stream;
        if read_u32(&mut stream)? != SIMPLE_REPLY_MAGIC {
            return Err(unexpected("something else than a reply").into());
        }
        let number = read_u32(&mut stream)?;
        if read_u64(&mut stream)? != self.cookie {
            return Err(unexpected("the reply to another request").into());
        }
        match number {
            0 => Ok(stream.read_exact(answer)?),
            errno::SHUTDOWN => Err(Problem::Broken(fault(number))),
            _ => Err(Problem::Refused(fault(number))),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let goodbye = Request {
            flags: 0,
            command: command::DISCONNECT,
            cookie: 0,
            offset: 0,
            len: 0,
        };
        // The server may have gone.
        let _ = self.stream.set_timeout(Some(Duration::from_secs(1)));
        let _ = write_all(&self.stream, &[&goodbye.encode()]);
    }
}

/// The error of a server that could not do what it was asked.
fn fault(number: u32) -> io::Error {
    let (kind, what) = match number {
        errno::PERM => (io::ErrorKind::PermissionDenied, "it does not permit that"),
        errno::IO => (io::ErrorKind::Other, "reading or writing failed there"),
        errno::NOSPC => (io::ErrorKind::StorageFull, "it has no space left"),
        errno::INVAL | errno::OVERFLOW => (
            io::ErrorKind::InvalidInput,
            "it does not accept the request",
        ),
        errno::NOTSUP => (io::ErrorKind::Unsupported, "it does not support that"),
        errno::SHUTDOWN => (io::ErrorKind::ConnectionAborted, "it is ending"),
        _ => {
            return io::Error::other(format!("the NBD server reports error number {number}"));
        }
    };
    io::Error::new(kind, format!("the NBD server reports an error: {what}"))
}

/// The handshake, which must be over at a certain time.
struct Handshake<'a> {
    input: Until<'a>,
}

impl Read for Handshake<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.input.read(buf)
    }
}

impl Handshake<'_> {
    fn run(mut self, name: &[u8]) -> io::Result<Facts> {
        self.input.stream.set_timeout(Some(PATIENCE))?;
        let fits = read_u64(&mut self)? == MAGIC && read_u64(&mut self)? == OPTION_MAGIC;
        if !fits {
            return Err(unexpected(
                "something else than the newstyle handshake of NBD",
            ));
        }
        let offered = read_u16(&mut self)?;
        if offered & handshake::FIXED_NEWSTYLE == 0 {
            return Err(unexpected("an outdated form of the handshake"));
        }
        let chosen = offered & (handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES);
        write_all(self.input.stream, &[&u32::from(chosen).to_be_bytes()])?;
        match self.go(name)? {
            Some(facts) => Ok(facts),
            None => self.select(name, chosen & handshake::NO_ZEROES == 0),
        }
    }

    fn send(&self, option: u32, data: &[u8]) -> io::Result<()> {
        let len = u32::try_from(data.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        write_all(
            self.input.stream,
            &[
                &OPTION_MAGIC.to_be_bytes(),
                &option.to_be_bytes(),
                &len.to_be_bytes(),
                data,
            ],
        )
    }

    /// Selects the export. `None` if the server does not know the option for that.
    fn go(&mut self, name: &[u8]) -> io::Result<Option<Facts>> {
        let len = u32::try_from(name.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let wanted = [1_u16, info::BLOCK_SIZE].map(u16::to_be_bytes).concat();
        let data = [len.to_be_bytes().as_slice(), name, &wanted].concat();
        self.send(option::GO, &data)?;
        let mut described = None;
        let mut sizes = None;
        for _ in 0..MAX_REPLIES {
            let (kind, data) = self.reply(option::GO)?;
            match kind {
                reply::ACK => {
                    let (size, flags) =
                        described.ok_or_else(|| unexpected("no description of the export"))?;
                    return facts(size, flags, sizes).map(Some);
                }
                reply::INFO => {
                    let mut data = data.as_slice();
                    match read_u16(&mut data)? {
                        info::EXPORT => {
                            described = Some((read_u64(&mut data)?, read_u16(&mut data)?));
                        }
                        info::BLOCK_SIZE => {
                            let least = read_u32(&mut data)?;
                            let _preferred = read_u32(&mut data)?;
                            sizes = Some((least, read_u32(&mut data)?));
                        }
                        _ => {}
                    }
                }
                reply::UNSUPPORTED => return Ok(None),
                _ => return Err(refusal(kind, &data, name)),
            }
        }
        Err(unexpected("too many replies"))
    }

    /// Selects the export in the way that every server knows.
    fn select(mut self, name: &[u8], zeroes: bool) -> io::Result<Facts> {
        self.send(option::EXPORT_NAME, name)?;
        let size = read_u64(&mut self)?;
        let flags = read_u16(&mut self)?;
        if zeroes {
            read_bytes(&mut self, 124)?;
        }
        facts(size, flags, None)
    }

    fn reply(&mut self, option: u32) -> io::Result<(u32, Vec<u8>)> {
        if read_u64(self)? != OPTION_REPLY_MAGIC || read_u32(self)? != option {
            return Err(unexpected("something else than a reply to an option"));
        }
        let kind = read_u32(self)?;
        let len = read_u32(self)?;
        let len = usize::try_from(len.min(MAX_REPLY))
            .ok()
            .filter(|_| len <= MAX_REPLY);
        let len = len.ok_or_else(|| unexpected("a reply that is too long"))?;
        Ok((kind, read_bytes(self, len)?))
    }
}

/// Checks what the server says about the export.
fn facts(size: u64, flags: u16, sizes: Option<(u32, u32)>) -> io::Result<Facts> {
    if flags & export::HAS_FLAGS == 0 {
        return Err(unexpected("an export without flags"));
    }
    if i64::try_from(size).is_err() {
        return Err(unexpected("an impossible size of the export"));
    }
    let (block, most) = sizes.unwrap_or((1, MAX_REQUEST));
    if !block.is_power_of_two() || block > MAX_BLOCK || most < block {
        return Err(unexpected("an impossible size of blocks"));
    }
    let most = most.min(MAX_REQUEST);
    Ok(Facts {
        size,
        flags,
        block,
        most: usize::try_from(most - most % block).unwrap_or(1),
    })
}

/// The error for a server that does not give the export.
fn refusal(kind: u32, message: &[u8], name: &[u8]) -> io::Error {
    let what = match kind {
        reply::UNKNOWN => format!(
            "it has no export \"{}\"",
            Escaped(&String::from_utf8_lossy(name))
        ),
        reply::TLS_REQUIRED => "it insists on TLS, which is not supported".to_owned(),
        reply::POLICY => "its configuration does not allow it".to_owned(),
        kind if kind & reply::ERROR != 0 => "it refuses the export".to_owned(),
        _ => return unexpected("an unknown reply"),
    };
    let message = String::from_utf8_lossy(message);
    let said = match message.trim() {
        "" => String::new(),
        said => format!(" (it says: {})", Escaped(beginning(said, MAX_MESSAGE))),
    };
    io::Error::other(format!("{what}{said}"))
}
