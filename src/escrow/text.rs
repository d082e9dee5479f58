//! Decodes a text of any encoding in pieces of fixed size, so that a large file is never in memory as
//! a whole, and every buffer that held a password is wiped.

use std::io::{self, Read};

use encoding_rs::Decoder;
use zeroize::Zeroizing;

use crate::recovery_password::decode;

/// How many bytes are read and decoded at a time.
const PIECE: usize = 0x4000;

/// Iterates over the characters of a text. It also ends at the first read error, which
/// [`Text::end`] returns.
pub(super) struct Text<R> {
    source: R,
    decoder: Decoder,
    bytes: Zeroizing<Vec<u8>>,
    text: Zeroizing<String>,
    position: usize,
    ended: bool,
    fault: Option<io::Error>,
}

impl<R: Read> Text<R> {
    /// The text that consists of `head` and then `rest`. `cut` says that `head` is not all of it:
    /// it may then end in the middle of a character.
    pub(super) fn new(head: &[u8], rest: R, cut: bool) -> Text<impl Read> {
        let (encoding, mark, _) = decode::encoding_of(head, cut);
        let decoder = encoding.new_decoder_without_bom_handling();
        // Large enough for a whole piece and for up to four bytes left over from the piece before. A
        // growing buffer would leave copies of passwords in freed memory, and `decode_to_string` drops
        // what does not fit.
        let capacity = decoder
            .max_utf8_buffer_length(PIECE + 4)
            .unwrap_or(4 * PIECE)
            + 4;
        Text {
            source: head.get(mark..).unwrap_or_default().chain(rest),
            decoder,
            bytes: Zeroizing::new(vec![0; PIECE]),
            text: Zeroizing::new(String::with_capacity(capacity)),
            position: 0,
            ended: false,
            fault: None,
        }
    }

    /// The read error that ended the text early, if there was one.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.fault.take().map_or(Ok(()), Err)
    }

    fn refill(&mut self) {
        self.text.clear();
        self.position = 0;
        while self.text.is_empty() && !self.ended {
            let read = match self.source.read(&mut self.bytes) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.fault = Some(error);
                    self.ended = true;
                    return;
                }
            };
            self.ended = read == 0;
            let piece = self.bytes.get(..read).unwrap_or_default();
            let _ = self
                .decoder
                .decode_to_string(piece, &mut self.text, self.ended);
        }
    }
}

impl<R: Read> Iterator for Text<R> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if self.position == self.text.len() {
            self.refill();
        }
        let next = self.text.get(self.position..)?.chars().next()?;
        self.position += next.len_utf8();
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_characters_that_span_two_pieces() {
        let text = "\u{20ac}12\u{1f511}".repeat(PIECE);
        for cut in [1, PIECE - 1, text.len()] {
            let (head, rest) = text.as_bytes().split_at(cut);
            let read = Text::new(head, rest, !rest.is_empty());
            assert!(read.eq(text.chars()), "{cut}");
        }
        let wide: Vec<u8> = std::iter::once(0xFEFF)
            .chain(text.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        let (head, rest) = wide.split_at(4097);
        assert!(Text::new(head, rest, true).eq(text.chars()));
    }
}
