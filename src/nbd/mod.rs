//! The messages of NBD (Network Block Device), which server and client share.
//!
//! Source: "The NBD protocol", doc/proto.md of the project that also makes nbd-server. Both sides speak
//! only its fixed newstyle handshake, and all numbers are big-endian.
//!
//! Crates that were tried: `nbd` 0.3 answers one request at a time and knows neither structured replies nor
//! block status, in both directions; `tokio-nbd` and `nbd-async` need an asynchronous runtime, which
//! nothing else in the library has; `nbdkit` makes plugins for that program.

pub(crate) mod stream;

use std::io::{self, Read};

/// First bytes of a server.
pub(crate) const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
/// Next bytes of a server with the newstyle handshake, and first bytes of each option.
pub(crate) const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
/// First bytes of each reply to an option.
pub(crate) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
pub(crate) const REQUEST_MAGIC: u32 = 0x2560_9513;
pub(crate) const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
pub(crate) const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

/// The port that is registered for NBD.
pub(crate) const PORT: u16 = 10809;

/// The longest name of an export, in bytes.
pub(crate) const MAX_NAME: usize = 4096;

/// The most bytes that a request may ask for, where the sides have not agreed on anything else.
pub(crate) const MAX_REQUEST: u32 = 32 << 20;

/// Bits of the handshake, of both sides.
pub(crate) mod handshake {
    pub(crate) const FIXED_NEWSTYLE: u16 = 1 << 0;
    /// The 124 bytes of zeros after an export chosen with [`super::option::EXPORT_NAME`] are left out.
    pub(crate) const NO_ZEROES: u16 = 1 << 1;
}

/// Bits that describe an export.
pub(crate) mod export {
    pub(crate) const HAS_FLAGS: u16 = 1 << 0;
    pub(crate) const READ_ONLY: u16 = 1 << 1;
    pub(crate) const SEND_FLUSH: u16 = 1 << 2;
    pub(crate) const SEND_FUA: u16 = 1 << 3;
    pub(crate) const SEND_TRIM: u16 = 1 << 5;
    pub(crate) const SEND_WRITE_ZEROES: u16 = 1 << 6;
    pub(crate) const SEND_DF: u16 = 1 << 7;
    pub(crate) const CAN_MULTI_CONN: u16 = 1 << 8;
    pub(crate) const SEND_FAST_ZERO: u16 = 1 << 11;
}

/// Options, with which the client negotiates.
pub(crate) mod option {
    pub(crate) const EXPORT_NAME: u32 = 1;
    pub(crate) const ABORT: u32 = 2;
    pub(crate) const LIST: u32 = 3;
    pub(crate) const INFO: u32 = 6;
    pub(crate) const GO: u32 = 7;
    pub(crate) const STRUCTURED_REPLY: u32 = 8;
    pub(crate) const LIST_META_CONTEXT: u32 = 9;
    pub(crate) const SET_META_CONTEXT: u32 = 10;
}

/// Replies to options.
pub(crate) mod reply {
    pub(crate) const ACK: u32 = 1;
    pub(crate) const SERVER: u32 = 2;
    pub(crate) const INFO: u32 = 3;
    pub(crate) const META_CONTEXT: u32 = 4;
    /// Set in each reply that is an error.
    pub(crate) const ERROR: u32 = 1 << 31;
    pub(crate) const UNSUPPORTED: u32 = ERROR | 1;
    pub(crate) const POLICY: u32 = ERROR | 2;
    pub(crate) const INVALID: u32 = ERROR | 3;
    pub(crate) const TLS_REQUIRED: u32 = ERROR | 5;
    pub(crate) const UNKNOWN: u32 = ERROR | 6;
    pub(crate) const TOO_BIG: u32 = ERROR | 9;
}

/// Parts of a reply to [`option::INFO`] and [`option::GO`].
pub(crate) mod info {
    pub(crate) const EXPORT: u16 = 0;
    pub(crate) const NAME: u16 = 1;
    pub(crate) const DESCRIPTION: u16 = 2;
    pub(crate) const BLOCK_SIZE: u16 = 3;
}

/// Requests.
pub(crate) mod command {
    pub(crate) const READ: u16 = 0;
    pub(crate) const WRITE: u16 = 1;
    pub(crate) const DISCONNECT: u16 = 2;
    pub(crate) const FLUSH: u16 = 3;
    pub(crate) const TRIM: u16 = 4;
    pub(crate) const WRITE_ZEROES: u16 = 6;
    pub(crate) const BLOCK_STATUS: u16 = 7;
}

/// Bits of a request.
pub(crate) mod request {
    pub(crate) const FUA: u16 = 1 << 0;
    /// Do not leave a hole where zeros are written.
    pub(crate) const NO_HOLE: u16 = 1 << 1;
    /// Reply to a read in one chunk.
    pub(crate) const DF: u16 = 1 << 2;
    /// Reply to a question for the block status with one extent.
    pub(crate) const ONE: u16 = 1 << 3;
    /// Write zeros only if that is faster than writing them as data.
    pub(crate) const FAST_ZERO: u16 = 1 << 4;
}

/// Chunks of a structured reply.
pub(crate) mod chunk {
    /// Set in the flags of the last chunk.
    pub(crate) const DONE: u16 = 1;
    pub(crate) const NONE: u16 = 0;
    pub(crate) const OFFSET_DATA: u16 = 1;
    pub(crate) const BLOCK_STATUS: u16 = 5;
    pub(crate) const ERROR: u16 = (1 << 15) | 1;
}

/// States of the context `base:allocation`.
pub(crate) mod allocation {
    pub(crate) const HOLE: u32 = 1 << 0;
    pub(crate) const ZERO: u32 = 1 << 1;
}

/// Error numbers, which are those of Linux.
pub(crate) mod errno {
    pub(crate) const PERM: u32 = 1;
    pub(crate) const IO: u32 = 5;
    pub(crate) const INVAL: u32 = 22;
    pub(crate) const NOSPC: u32 = 28;
    pub(crate) const OVERFLOW: u32 = 75;
    pub(crate) const NOTSUP: u32 = 95;
    pub(crate) const SHUTDOWN: u32 = 108;
}

/// A request, without the data that follows it if it is a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) flags: u16,
    pub(crate) command: u16,
    /// Chosen by the client, repeated in the reply.
    pub(crate) cookie: u64,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

impl Request {
    /// Size of a request in bytes.
    const LEN: usize = 28;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        bytes.extend(REQUEST_MAGIC.to_be_bytes());
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.command.to_be_bytes());
        bytes.extend(self.cookie.to_be_bytes());
        bytes.extend(self.offset.to_be_bytes());
        bytes.extend(self.len.to_be_bytes());
        bytes
    }

    /// Reads a request. `None` where the stream ends before its first byte.
    pub(crate) fn read(stream: &mut impl Read) -> io::Result<Option<Self>> {
        let mut first = [0];
        if stream.read(&mut first)? == 0 {
            return Ok(None);
        }
        let mut rest = [0; Self::LEN - 1];
        stream.read_exact(&mut rest)?;
        let mut fields = first.as_slice().chain(rest.as_slice());
        if read_u32(&mut fields)? != REQUEST_MAGIC {
            return Err(unexpected("a request with the wrong first bytes"));
        }
        Ok(Some(Self {
            flags: read_u16(&mut fields)?,
            command: read_u16(&mut fields)?,
            cookie: read_u64(&mut fields)?,
            offset: read_u64(&mut fields)?,
            len: read_u32(&mut fields)?,
        }))
    }
}

pub(crate) fn read_u16(stream: &mut impl Read) -> io::Result<u16> {
    let mut bytes = [0; 2];
    stream.read_exact(&mut bytes)?;
    Ok(u16::from_be_bytes(bytes))
}

pub(crate) fn read_u32(stream: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

pub(crate) fn read_u64(stream: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

/// Reads `len` bytes, which the caller has checked against a limit.
pub(crate) fn read_bytes(stream: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The error for a message that breaks the protocol.
pub(crate) fn unexpected(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the other side sent {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written_and_not_from_other_bytes() {
        let request = Request {
            flags: request::FUA,
            command: command::WRITE,
            cookie: 0x0102_0304_0506_0708,
            offset: 1 << 40,
            len: 512,
        };
        let mut bytes = request.encode();
        assert_eq!(bytes.len(), Request::LEN);
        assert_eq!(Request::read(&mut bytes.as_slice()).unwrap(), Some(request));
        assert_eq!(Request::read(&mut [].as_slice()).unwrap(), None);
        let cut = Request::read(&mut &bytes[..27]).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        bytes[0] ^= 1;
        let other = Request::read(&mut bytes.as_slice()).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::InvalidData);
    }
}
