//! Messages between a process and its child: a length of four bytes, then the bytes. They may hold
//! secrets, so every buffer is wiped when it is dropped.

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

#[cfg(test)]
mod tests {
    use super::*;

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
