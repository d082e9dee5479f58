//! Finds recovery passwords in any text by the form of their digits, not by the words around them,
//! which are in the language of Windows (docs/format-recovery-password.md §1.5 and §1.6).
//!
//! The text is divided into regions: digit groups with only separators between them. Each region is
//! searched for several forms of a password, from the most to the least certain (`shapes`). A form does
//! not see what an earlier one has used. Fewer groups than a password has are reported only if the
//! text has nothing better.
//!
//! The parser is written by hand: digit groups, gaps and identifiers depend on their neighbors in ways
//! that regular expressions do not describe well, and a regular expression engine keeps copies of the
//! text that it does not wipe.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::block::BLOCK_DIGITS;
use super::decode::{Encoding, SourceNote, TooLarge, decode};
use super::digits::{Malformed, PasswordVerdict, RecoveryPassword};
use super::found::{FoundPassword, Options, build};
use super::glyph::Separator;
use super::identify::{Occurrence, assign};
use super::markup;
use super::shapes::{SHAPES, Shape, anything, hits, too_few_groups};
use super::words::{Item, Word, items};

/// The passwords of a text.
#[derive(Debug)]
#[non_exhaustive]
pub struct Scan {
    /// The encoding of the bytes; `None` if the text was passed as text.
    pub encoding: Option<Encoding>,
    /// Remarks on the encoding.
    pub source_notes: Vec<SourceNote>,
    /// The passwords, valid or not, in the order of the text. A password that is repeated is listed
    /// once.
    pub found: Vec<FoundPassword>,
}

/// Finds the recovery passwords in a saved file, in any common encoding.
///
/// # Errors
/// There are more bytes than [`MAX_BYTES`](super::MAX_BYTES).
pub fn scan_bytes(bytes: &[u8], options: &Options) -> Result<Scan, TooLarge> {
    let decoded = decode(bytes)?;
    let mut scan = scan(decoded.text.expose(), options);
    scan.encoding = Some(decoded.encoding);
    scan.source_notes = decoded.notes;
    Ok(scan)
}

/// Finds the recovery passwords in a text.
pub fn scan(text: &str, options: &Options) -> Scan {
    let plain = markup::without(text);
    let items = items(plain.as_deref().map_or(text, String::as_str), options.ocr);
    // If there are only digit groups, they were meant as a password, however far they are from one.
    let nothing_else = items.iter().all(|item| matches!(item, Item::Word(_)));
    let segments = segments(items);
    let mut found = search(&segments, &SHAPES);
    if found.is_empty() {
        found = search(&segments, &[too_few_groups]);
    }
    if found.is_empty() && nothing_else && segments.len() == 1 {
        found = search(&segments, &[anything]);
    }
    Scan {
        encoding: None,
        source_notes: Vec::new(),
        found: without_repeats(found),
    }
}

impl RecoveryPassword {
    /// The one password in `text`. Every digit must be there; separators of any kind or none, digits of
    /// any script, and text before and after are accepted.
    ///
    /// Leading zeros are not added; [`FoundPassword::to_password`](super::FoundPassword::to_password)
    /// does that.
    ///
    /// # Errors
    /// Blocks are invalid, or there is no password, or more than one; [`Malformed`] says which.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if let Some(password) = Self::parse_exact(text) {
            return Ok(password);
        }
        let scan = scan(text, &Options::default());
        match scan.found.as_slice() {
            [] => Err(Malformed::of(PasswordVerdict::NotFound, &[])),
            [found] => Self::from_blocks(&found.blocks),
            several => Err(Malformed::of(
                PasswordVerdict::Several {
                    passwords: several.len(),
                },
                &[],
            )),
        }
    }
}

/// A part of a text: a region of digit groups, or an identifier.
enum Segment {
    Region(Vec<Word>),
    Identifier(super::identify::Identifier),
}

/// Collects groups with only separators between them into regions, and joins groups that a line break
/// divides.
fn segments(items: Vec<Item>) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut region: Vec<Word> = Vec::new();
    let mut items = items.into_iter().peekable();
    while let Some(item) = items.next() {
        match item {
            Item::Word(word) => {
                // A word without digits is a misread block only if a dash connects it to others.
                let after = items.peek().is_some_and(|item| match item {
                    Item::Word(next) => next.gap.kind == Some(Separator::Dash),
                    _ => false,
                });
                if word.no_digits && !after && word.gap.kind != Some(Separator::Dash) {
                    close(&mut region, &mut segments);
                } else {
                    join_or_push(&mut region, word);
                }
            }
            Item::Identifier(identifier) => {
                close(&mut region, &mut segments);
                segments.push(Segment::Identifier(identifier));
            }
            Item::Break => close(&mut region, &mut segments),
        }
    }
    close(&mut region, &mut segments);
    segments
}

/// Ends the current region.
fn close(region: &mut Vec<Word>, segments: &mut Vec<Segment>) {
    if !region.is_empty() {
        segments.push(Segment::Region(std::mem::take(region)));
    }
}

/// Adds a group, or joins it to the last one if a folded line (of LDIF or a mail program) divided a
/// block.
fn join_or_push(region: &mut Vec<Word>, word: Word) {
    if let Some(last) = region.last_mut()
        && word.gap.kind == Some(Separator::Newline)
        && word.gap.newlines == 1
        && last.len().saturating_add(word.len()) == BLOCK_DIGITS
        && last.is_pure()
        && word.is_pure()
    {
        let mut whole = Zeroizing::new(Vec::with_capacity(BLOCK_DIGITS));
        whole.extend_from_slice(&last.slots);
        whole.extend_from_slice(&word.slots);
        last.slots = whole;
        last.joined = true;
    } else {
        region.push(word);
    }
}

/// The passwords of these forms in all regions, each with its identifier.
fn search(segments: &[Segment], shapes: &[Shape]) -> Vec<FoundPassword> {
    let mut occurrences = Vec::new();
    let mut found = Vec::new();
    for segment in segments {
        match segment {
            Segment::Identifier(identifier) => {
                occurrences.push(Occurrence::Identifier(identifier.clone()));
            }
            Segment::Region(words) => {
                for hit in hits(words, shapes) {
                    let Some(one) = build(words.get(hit.words).unwrap_or_default(), hit.groups)
                    else {
                        continue;
                    };
                    occurrences.push(Occurrence::Password { line: one.line });
                    found.push(one);
                }
            }
        }
    }
    for (one, identifier) in found.iter_mut().zip(assign(&occurrences)) {
        one.identifier = identifier;
        one.line = one.line.saturating_add(1);
    }
    found
}

/// Removes repeated passwords, and keeps the identifier of any of them.
fn without_repeats(all: Vec<FoundPassword>) -> Vec<FoundPassword> {
    // By a hash with a random key, since an export may have thousands of passwords, too many to compare
    // each with all others. The comparison itself is in constant time.
    let hash = RandomState::new();
    let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut kept: Vec<(FoundPassword, Option<RecoveryPassword>)> = Vec::new();
    for found in all {
        let password = found.to_password().ok();
        if let Some(password) = &password {
            let same_hash = places
                .entry(hash.hash_one(password.to_key().expose()))
                .or_default();
            let is_same = |at: &&usize| match kept.get(**at) {
                Some((_, Some(other))) => bool::from(other.ct_eq(password)),
                _ => false,
            };
            let same = same_hash.iter().find(is_same).copied();
            if let Some((earlier, _)) = same.and_then(|at| kept.get_mut(at)) {
                earlier.identifier = earlier.identifier.or(found.identifier);
                continue;
            }
            same_hash.push(kept.len());
        }
        kept.push((found, password));
    }
    kept.into_iter().map(|(found, _)| found).collect()
}
