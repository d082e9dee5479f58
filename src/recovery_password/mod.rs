//! The recovery password: 48 digits in eight blocks, read from whatever text holds it, checked
//! block by block, explained, and corrected (docs/format-recovery-password.md §1.1 to §1.8). No I/O
//! and no volume.
//!
//! A text goes through five steps:
//!
//! 1. [`decode`]: bytes to text;
//! 2. `glyph`, `words`: characters to digits, separators and identifiers;
//! 3. [`scan()`], `shapes`, `identify`: which of the words are a password ([`FoundPassword`]), and whose;
//! 4. [`Block`], [`RecoveryPassword`]: what each block is worth, and the key behind eight of them;
//! 5. [`suggest`]: what a bad block may have been; `pattern`, `near`: all passwords that are worth
//!    a try ([`Candidates`]).
//!
//! Which to use: [`RecoveryPassword::parse`] for a text that should be one password and nothing
//! doubtful; [`scan_bytes`] for a file that somebody saved; [`check_bytes`] or [`check_text`] to
//! explain what is wrong.
//!
//! A password whose blocks are all valid is *well-formed*, never *right*: blocks in the wrong
//! order and twins (`11` for `22`) pass every check (docs/format-recovery-password.md §1.3). Only a
//! volume can tell.
//!
//! No `Debug`, no `Display` and no error of this module holds a digit of a password; digits come
//! out through functions named `expose_…` only.

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
mod found;
mod glyph;
mod identify;
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
pub use found::{FoundPassword, Note, Options};
pub use pattern::{Candidates, NoCandidates};
pub use scan::{Scan, scan, scan_bytes};
pub use suggest::{CandidateCounts, Correction, MOST_SUGGESTIONS, Suggestion};
