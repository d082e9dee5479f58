//! Recovery passwords: 48 digits in eight blocks. This module finds them in text, checks each block,
//! explains errors and suggests corrections (docs/format-recovery-password.md §1.1 to §1.8). It does
//! no I/O and needs no volume.
//!
//! A text is processed in five steps:
//!
//! 1. [`decode()`]: bytes to text;
//! 2. `markup`, `glyph`, `words`: characters to digits, separators and identifiers;
//! 3. [`scan()`], `shapes`, `identify`: which words are a password ([`FoundPassword`]), and which
//!    key protector's;
//! 4. [`Block`], [`RecoveryPassword`]: whether each block is valid, and the key of eight valid blocks;
//! 5. [`Suggestion`]: what an invalid block may have been; `pattern`, `near`: all passwords that are
//!    worth trying ([`Candidates`]).
//!
//! Which function to use:
//!
//! * [`RecoveryPassword::parse_exact`] for a list of passwords in the usual form;
//! * [`RecoveryPassword::parse`] for a text that should be one password, with any separators;
//! * [`scan_bytes`] for a saved file, which may hold several passwords;
//! * [`check_bytes`] or [`check_text`] to explain what is wrong with a text.
//!
//! A password with eight valid blocks is *well-formed*, which does not mean *correct*: swapped blocks
//! and changed pairs of equal digits (`11` for `22`) pass every check
//! (docs/format-recovery-password.md §1.3). Only unlocking a volume shows that it is correct.
//!
//! No `Debug` or `Display` text and no error of this module contains a digit of a password. Digits are
//! returned only by functions named `expose_…`.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod block;
mod check;
pub(crate) mod decode;
mod digits;
mod document;
mod found;
mod glyph;
mod identify;
mod markup;
mod near;
mod pattern;
mod scan;
mod shapes;
mod suggest;
mod words;

pub use block::{Block, BlockVerdict, CharacterClass, ForeignCharacter};
pub use check::{
    BlockCheck, Check, Outcome, PasswordCheck, Placeholder, check_block, check_bytes, check_text,
};
pub use decode::{Decoded, Encoding, MAX_BYTES, SourceNote, TooLarge, decode};
pub use digits::{Malformed, PasswordVerdict, RecoveryPassword};
pub use document::document_kind;
pub use found::{FoundPassword, Note, Options};
pub use pattern::{Candidates, NoCandidates};
pub use scan::{Scan, scan, scan_bytes};
pub use suggest::{CandidateCounts, Correction, MOST_SUGGESTIONS, Suggestion};
