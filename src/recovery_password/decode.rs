//! Decodes the bytes of a saved file: by a byte-order mark; else as UTF-16 if NUL bytes show it; else as
//! UTF-8 if valid; else as Latin-1 (docs/format-recovery-password.md §1.6, step 1).
//!
//! Latin-1 is decoded as windows-1252, Windows' ANSI code page for Western Europe, which also has the
//! en dash that word processors put between blocks.

use std::fmt;

use encoding_rs::{UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::secret::SecretText;

/// The largest file that is decoded, in bytes. The file that Windows saves has 1348
/// (docs/format-recovery-password.md §1.5 and §1.6).
pub const MAX_BYTES: usize = 1 << 20;

/// The encoding of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// UTF-8, or plain ASCII.
    Utf8,
    /// UTF-16, low byte first, as Windows writes it.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
    /// One byte per character, decoded as windows-1252.
    Latin1,
}

impl Encoding {
    /// Its usual name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Le => "UTF-16LE",
            Self::Utf16Be => "UTF-16BE",
            Self::Latin1 => "Latin-1",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A remark on the encoding of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceNote {
    /// A byte-order mark named the encoding.
    ByteOrderMark,
    /// The text is UTF-16 without a byte-order mark, recognized by its NUL bytes.
    NoByteOrderMark,
    /// Some bytes are not valid in the encoding; each was replaced by U+FFFD.
    InvalidBytes,
}

impl SourceNote {
    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::ByteOrderMark => "byte-order-mark",
            Self::NoByteOrderMark => "utf-16-without-byte-order-mark",
            Self::InvalidBytes => "invalid-bytes",
        }
    }
}

impl fmt::Display for SourceNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByteOrderMark => "the text begins with a byte-order mark",
            Self::NoByteOrderMark => "the text is UTF-16 without a byte-order mark",
            Self::InvalidBytes => "some bytes are not valid in the text's encoding",
        })
    }
}

/// A decoded text.
#[derive(Debug)]
#[non_exhaustive]
pub struct Decoded {
    /// The text, without its byte-order mark. Wiped when dropped.
    pub text: SecretText,
    /// The encoding that the bytes were found to have.
    pub encoding: Encoding,
    /// Remarks on the encoding.
    pub notes: Vec<SourceNote>,
}

/// The error that a file is too large to be a saved recovery password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file has {len} bytes, too many for a saved recovery password; at most {max} are read", max = MAX_BYTES)]
#[non_exhaustive]
pub struct TooLarge {
    /// Size of the file in bytes.
    pub len: usize,
}

/// Decodes the text in `bytes`.
///
/// # Errors
/// There are more bytes than [`MAX_BYTES`].
pub fn decode(bytes: &[u8]) -> Result<Decoded, TooLarge> {
    if bytes.len() > MAX_BYTES {
        return Err(TooLarge { len: bytes.len() });
    }
    Ok(decode_whole(bytes))
}

/// The same without a limit, for callers that have their own.
pub(crate) fn decode_whole(bytes: &[u8]) -> Decoded {
    let (encoding, mark, note) = encoding_of(bytes, false);
    decode_as(encoding, bytes.get(mark..).unwrap_or_default(), note)
}

/// The encoding of `bytes`, and the length of their byte-order mark. If they are only the beginning of a
/// text (`cut`), the last character may be incomplete.
pub(crate) fn encoding_of(
    bytes: &[u8],
    cut: bool,
) -> (&'static encoding_rs::Encoding, usize, Option<SourceNote>) {
    if let Some((encoding, mark)) = encoding_rs::Encoding::for_bom(bytes) {
        return (encoding, mark, Some(SourceNote::ByteOrderMark));
    }
    if let Some(encoding) = utf16_by_nul_bytes(bytes) {
        return (encoding, 0, Some(SourceNote::NoByteOrderMark));
    }
    let is_utf8 = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => cut && error.error_len().is_none(),
    };
    (if is_utf8 { UTF_8 } else { WINDOWS_1252 }, 0, None)
}

fn decode_as(
    encoding: &'static encoding_rs::Encoding,
    bytes: &[u8],
    note: Option<SourceNote>,
) -> Decoded {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    // Allocated once: growing would leave a copy in freed memory.
    let capacity = decoder
        .max_utf8_buffer_length(bytes.len())
        .unwrap_or(bytes.len());
    let mut text = String::with_capacity(capacity);
    let (_, _, invalid) = decoder.decode_to_string(bytes, &mut text, true);
    let mut notes = Vec::from_iter(note);
    if invalid {
        notes.push(SourceNote::InvalidBytes);
    }
    Decoded {
        text: SecretText::new(text),
        encoding: match encoding {
            e if e == UTF_16LE => Encoding::Utf16Le,
            e if e == UTF_16BE => Encoding::Utf16Be,
            e if e == UTF_8 => Encoding::Utf8,
            _ => Encoding::Latin1,
        },
        notes,
    }
}

/// Recognizes UTF-16 without a byte-order mark: digits, spaces and line ends have NUL as their high byte,
/// and in no language is NUL common as the low byte.
fn utf16_by_nul_bytes(bytes: &[u8]) -> Option<&'static encoding_rs::Encoding> {
    /// At least one of so many characters is assumed to be a digit, a space or a line end.
    const SPARSEST: usize = 16;
    let nul_at = |parity: usize| {
        let half = bytes.iter().skip(parity).step_by(2);
        half.filter(|byte| **byte == 0).count()
    };
    let (even, odd) = (nul_at(0), nul_at(1));
    let enough = |nul: usize, other: usize| {
        nul > 0 && nul.saturating_mul(SPARSEST) >= bytes.len() / 2 && nul >= other.saturating_mul(8)
    };
    if enough(odd, even) {
        Some(UTF_16LE)
    } else if enough(even, odd) {
        Some(UTF_16BE)
    } else {
        None
    }
}
