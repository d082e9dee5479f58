//! Messages between a process and its child: a length of four bytes, then the bytes; and the fields in
//! them. All may hold secrets, so every buffer is wiped when it is dropped.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use zeroize::Zeroizing;

/// Sends a message. A peer that is gone is an error, never a signal.
pub(super) fn send_message(to: impl AsFd, message: &[u8]) -> io::Result<()> {
    let len = u32::try_from(message.len()).map_err(|_| ErrorKind::InvalidInput)?;
    for mut rest in [&len.to_le_bytes()[..], message] {
        while !rest.is_empty() {
            match send(&to, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

/// Receives a message of at most `max` bytes; `None` at the end of the stream. `before_each` runs before
/// every read, and can set the time that it may take.
pub(super) fn receive_message(
    from: &mut impl Read,
    max: usize,
    mut before_each: impl FnMut() -> io::Result<()>,
) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut fill = |buffer: &mut [u8]| -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            before_each()?;
            match from.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    };
    let mut len = [0; 4];
    match fill(&mut len)? {
        0 => return Ok(None),
        4 => {}
        _ => return Err(ErrorKind::UnexpectedEof.into()),
    }
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > max {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut message = Zeroizing::new(vec![0; len]);
    if fill(&mut message)? < len {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(message))
}

/// The time that is left until `end`; an error where there is none.
pub(super) fn time_left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

/// Writes the fields of a message.
#[derive(Default)]
pub(crate) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Bytes of any length.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.raw(bytes);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.raw(&number.to_le_bytes());
        self
    }

    pub(crate) fn flag(&mut self, flag: bool) -> &mut Self {
        self.number(u64::from(flag))
    }

    /// A value that may be absent.
    pub(crate) fn optional<T: ?Sized>(
        &mut self,
        value: Option<&T>,
        write: impl FnOnce(&mut Self, &T),
    ) -> &mut Self {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    /// The message.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends bytes. A buffer that is too short is copied and wiped: a vector that grows by itself
    /// would leave its bytes behind.
    fn raw(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity((2 * needed).max(256)));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }
}

/// Reads the fields of a message, in the order in which they were written. Every method returns `None`
/// where the message is not what was expected.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.number()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// A value that may be absent.
    #[allow(clippy::option_option)]
    pub(crate) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.flag()? {
            true => read(self).map(Some),
            false => Some(None),
        }
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        let mut writer = Writer::new();
        writer.text("ü").flag(true).number(7).bytes(&[1; 5000]);
        writer.optional(Some("x"), |to, text| {
            to.text(text);
        });
        writer.optional(None::<&str>, |_, _| {});
        let mut reader = Reader::new(writer.as_bytes());
        assert_eq!(reader.text(), Some("ü"));
        assert_eq!(reader.flag(), Some(true));
        assert_eq!(reader.number(), Some(7));
        assert_eq!(reader.bytes(), Some(&[1; 5000][..]));
        assert_eq!(reader.optional(|from| from.text()), Some(Some("x")));
        assert_eq!(reader.optional(|from| from.text()), Some(None));
        assert!(reader.is_at_end());
    }

    #[test]
    fn believes_no_length_in_a_message() {
        let mut writer = Writer::new();
        writer.number(u64::MAX).number(2);
        assert_eq!(Reader::new(writer.as_bytes()).bytes(), None);
        assert_eq!(Reader::new(&[1, 0]).number(), None);
        let mut reader = Reader::new(writer.as_bytes());
        assert!(reader.number().is_some());
        assert_eq!(reader.flag(), None);
    }

    #[test]
    fn receives_no_message_that_is_too_long_or_cut() {
        let receive = |bytes: &[u8]| receive_message(&mut &*bytes, 8, || Ok(()));
        assert_eq!(receive(&[]).unwrap(), None);
        assert_eq!(
            receive(&[1, 0, 0, 0, 5]).unwrap().as_deref(),
            Some(&vec![5])
        );
        let kind = |bytes| receive(bytes).unwrap_err().kind();
        assert_eq!(kind(&[9, 0, 0, 0]), ErrorKind::InvalidData);
        assert_eq!(kind(&[0xFF; 4]), ErrorKind::InvalidData);
        assert_eq!(kind(&[2, 0, 0, 0, 1]), ErrorKind::UnexpectedEof);
        assert_eq!(kind(&[2, 0]), ErrorKind::UnexpectedEof);
    }
}
