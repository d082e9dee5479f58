//! The handshake: the client chooses the export, and how to talk about it.

use std::io::{self, Read};
use std::time::Instant;

use super::export::Export;
use crate::nbd::stream::{Stream, Until, write_all};
use crate::nbd::{
    MAGIC, MAX_NAME, MAX_REQUEST, OPTION_MAGIC, OPTION_REPLY_MAGIC, handshake, info, option,
    read_bytes, read_u16, read_u32, read_u64, reply, unexpected,
};

/// The most options of a client. A client needs fewer than ten.
const MAX_OPTIONS: usize = 100;

/// The most bytes of an option: a name, and some further values.
const MAX_OPTION: usize = MAX_NAME + 4096;

/// The most bytes of an option that is too long, which are skipped. A longer one ends the connection.
const MAX_SKIPPED: u32 = 1 << 20;

/// The context of the block status, and its number.
const ALLOCATION: &str = "base:allocation";
pub(super) const ALLOCATION_ID: u32 = 1;

/// The size of a request that suits us best.
const PREFERRED: u32 = 4096;

/// What client and server have agreed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    /// Structured replies.
    pub(super) structured: bool,
    /// The block status may be asked for.
    pub(super) allocation: bool,
}

/// Negotiates until the client selects the export, or until the `end` of its time. `None` if it went away
/// without that.
pub(super) fn negotiate(
    stream: &Stream,
    end: Instant,
    export: &Export,
) -> io::Result<Option<Agreed>> {
    stream.set_timeout(Some(end.saturating_duration_since(Instant::now())))?;
    let offered = handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES;
    write_all(
        stream,
        &[
            &MAGIC.to_be_bytes(),
            &OPTION_MAGIC.to_be_bytes(),
            &offered.to_be_bytes(),
        ],
    )?;
    let mut input = Until { stream, end };
    let chosen = read_u32(&mut input)?;
    if chosen & !u32::from(offered) != 0 {
        return Err(unexpected("an unknown flag"));
    }
    let mut session = Negotiation {
        stream,
        export,
        agreed: Agreed::default(),
    };
    for _ in 0..MAX_OPTIONS {
        if read_u64(&mut input)? != OPTION_MAGIC {
            return Err(unexpected("an option with the wrong first bytes"));
        }
        let code = read_u32(&mut input)?;
        let len = read_u32(&mut input)?;
        let data = match usize::try_from(len) {
            Ok(len) if len <= MAX_OPTION => read_bytes(&mut input, len)?,
            _ if len <= MAX_SKIPPED => {
                io::copy(&mut input.by_ref().take(len.into()), &mut io::sink())?;
                session.reply(code, reply::TOO_BIG, b"the option is too long")?;
                continue;
            }
            _ => return Err(unexpected("an option that is too long")),
        };
        match code {
            option::EXPORT_NAME => {
                if !export.is_named(&data) {
                    return Err(unexpected("the name of an export that does not exist"));
                }
                let zeroes = match chosen & u32::from(handshake::NO_ZEROES) {
                    0 => [0; 124].as_slice(),
                    _ => &[],
                };
                let flags = export.flags(session.agreed.structured);
                write_all(
                    stream,
                    &[&export.size().to_be_bytes(), &flags.to_be_bytes(), zeroes],
                )?;
                return Ok(Some(session.agreed));
            }
            option::ABORT => {
                // The client need not wait for the answer.
                let _ = session.reply(code, reply::ACK, &[]);
                return Ok(None);
            }
            option::GO => {
                if session.describe(code, &data)? {
                    return Ok(Some(session.agreed));
                }
            }
            option::INFO => {
                session.describe(code, &data)?;
            }
            option::LIST => session.list(&data)?,
            option::STRUCTURED_REPLY => session.structured(&data)?,
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                session.contexts(code, &data)?;
            }
            _ => session.reply(code, reply::UNSUPPORTED, b"the option is not supported")?,
        }
    }
    Err(unexpected("too many options"))
}

struct Negotiation<'a> {
    stream: &'a Stream,
    export: &'a Export,
    agreed: Agreed,
}

impl Negotiation<'_> {
    fn reply(&self, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let len = u32::try_from(data.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        write_all(
            self.stream,
            &[
                &OPTION_REPLY_MAGIC.to_be_bytes(),
                &option.to_be_bytes(),
                &kind.to_be_bytes(),
                &len.to_be_bytes(),
                data,
            ],
        )
    }

    fn invalid(&self, option: u32) -> io::Result<()> {
        self.reply(option, reply::INVALID, b"the option is malformed")
    }

    fn unknown(&self, option: u32) -> io::Result<()> {
        self.reply(option, reply::UNKNOWN, b"there is no export of that name")
    }

    fn list(&self, data: &[u8]) -> io::Result<()> {
        if !data.is_empty() {
            return self.invalid(option::LIST);
        }
        let name = self.export.own_name().as_bytes();
        let len = u32::try_from(name.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let description = self.export.own_description().as_bytes();
        let entry = [len.to_be_bytes().as_slice(), name, description].concat();
        self.reply(option::LIST, reply::SERVER, &entry)?;
        self.reply(option::LIST, reply::ACK, &[])
    }

    fn structured(&mut self, data: &[u8]) -> io::Result<()> {
        if !data.is_empty() {
            return self.invalid(option::STRUCTURED_REPLY);
        }
        self.agreed.structured = true;
        self.reply(option::STRUCTURED_REPLY, reply::ACK, &[])
    }

    /// Answers INFO and GO. Returns whether the answer was positive.
    fn describe(&self, option: u32, data: &[u8]) -> io::Result<bool> {
        let Some((name, wanted)) = named_kinds(data) else {
            self.invalid(option)?;
            return Ok(false);
        };
        if !self.export.is_named(name) {
            self.unknown(option)?;
            return Ok(false);
        }
        let mut facts = Vec::from(info::EXPORT.to_be_bytes());
        facts.extend(self.export.size().to_be_bytes());
        facts.extend(self.export.flags(self.agreed.structured).to_be_bytes());
        self.reply(option, reply::INFO, &facts)?;
        let mut sizes = Vec::from(info::BLOCK_SIZE.to_be_bytes());
        for size in [1, PREFERRED, MAX_REQUEST] {
            sizes.extend(size.to_be_bytes());
        }
        self.reply(option, reply::INFO, &sizes)?;
        for (kind, text) in [
            (info::NAME, self.export.own_name()),
            (info::DESCRIPTION, self.export.own_description()),
        ] {
            if wanted.contains(&kind) && !text.is_empty() {
                let text = [kind.to_be_bytes().as_slice(), text.as_bytes()].concat();
                self.reply(option, reply::INFO, &text)?;
            }
        }
        self.reply(option, reply::ACK, &[])?;
        Ok(true)
    }

    /// Answers the options about contexts: the list of those that match, or the choice of them.
    fn contexts(&mut self, option: u32, data: &[u8]) -> io::Result<()> {
        let selects = option == option::SET_META_CONTEXT;
        if selects {
            self.agreed.allocation = false;
        }
        let Some((name, queries)) = named_queries(data) else {
            return self.invalid(option);
        };
        if selects && !self.agreed.structured {
            return self.invalid(option);
        }
        if !self.export.is_named(name) {
            return self.unknown(option);
        }
        let exact = queries.contains(&ALLOCATION.as_bytes());
        let matches = match selects {
            true => exact,
            false => exact || queries.is_empty() || queries.contains(&b"base:".as_slice()),
        };
        if matches {
            // In a list, the number has no meaning.
            let number = if selects { ALLOCATION_ID } else { 0 };
            self.agreed.allocation |= selects;
            let context = [number.to_be_bytes().as_slice(), ALLOCATION.as_bytes()].concat();
            self.reply(option, reply::META_CONTEXT, &context)?;
        }
        self.reply(option, reply::ACK, &[])
    }
}

/// The name and the kinds of information in the data of INFO or GO.
fn named_kinds(data: &[u8]) -> Option<(&[u8], Vec<u16>)> {
    let (name, mut rest) = counted(data)?;
    let count = read_u16(&mut rest).ok()?;
    let kinds: Option<Vec<_>> = (0..count).map(|_| read_u16(&mut rest).ok()).collect();
    rest.is_empty().then_some((name, kinds?))
}

/// The name and the queries in the data of an option about contexts.
fn named_queries(data: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let (name, mut rest) = counted(data)?;
    let count = read_u32(&mut rest).ok()?;
    let mut queries = Vec::new();
    for _ in 0..count {
        let (query, after) = counted(rest)?;
        queries.push(query);
        rest = after;
    }
    rest.is_empty().then_some((name, queries))
}

/// Bytes that follow their number, and what comes after them.
fn counted(mut data: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::try_from(read_u32(&mut data).ok()?).ok()?;
    data.split_at_checked(len)
}
