//! A text of any encoding, read a piece at a time.

use std::io::{self, Read};

use encoding_rs::Decoder;
use zeroize::Zeroizing;

use crate::recovery_password::decode;

/// Bytes that are read at once.
const PIECE: usize = 0x4000;

/// The characters of a text. What cannot be read ends it: [`Text::end`] tells.
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
    /// The text that begins with `head`; `rest` is what follows it, and `cut` says that there is
    /// such.
    pub(super) fn new(head: &[u8], rest: R, cut: bool) -> Text<impl Read> {
        let (encoding, mark, _) = decode::encoding_of(head, cut);
        let decoder = encoding.new_decoder_without_bom_handling();
        // Room for all that a piece can become with what is left of the one before it: growing would
        // leave copies behind, and what does not fit would be lost.
        let room = decoder
            .max_utf8_buffer_length(PIECE + 4)
            .unwrap_or(4 * PIECE)
            + 4;
        Text {
            source: head.get(mark..).unwrap_or_default().chain(rest),
            decoder,
            bytes: Zeroizing::new(vec![0; PIECE]),
            text: Zeroizing::new(String::with_capacity(room)),
            position: 0,
            ended: false,
            fault: None,
        }
    }

    /// What ended the text before its end.
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
    fn characters_across_pieces_are_whole() {
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
