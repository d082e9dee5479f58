//! Finds recovery passwords in any text by their shape, never by words, which are in the
//! language of the Windows that wrote them (docs/format-recovery-password.md §1.5 and §1.6).
//!
//! The text comes in regions: words of digits with nothing but separators between. In each the
//! shapes are looked for from the strongest to the weakest (`shapes`); what one has taken, the
//! next does not see. Groups that are too few for a password count only in a text that holds
//! nothing better.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::block::BLOCK_DIGITS;
use super::decode::{Encoding, SourceNote, TooLarge, decode};
use super::digits::{Malformed, PasswordVerdict, RecoveryPassword};
use super::found::{FoundPassword, Options, build};
use super::glyph::Separator;
use super::identify::{Landmark, assign};
use super::shapes::{SHAPES, Shape, anything, hits, too_few_groups};
use super::words::{Item, Word, items};

/// What a text holds.
#[derive(Debug)]
#[non_exhaustive]
pub struct Scan {
    /// How the bytes were read; nothing when the text was given as text.
    pub encoding: Option<Encoding>,
    /// What was noticed about the bytes.
    pub source_notes: Vec<SourceNote>,
    /// The passwords and what may be some, in the order of the text; one that stands there twice
    /// is listed once.
    pub found: Vec<FoundPassword>,
}

/// Finds the recovery passwords in a file that somebody saved.
///
/// # Errors
/// Refuses more than [`MAX_BYTES`](super::decode::MAX_BYTES).
pub fn scan_bytes(bytes: &[u8], options: &Options) -> Result<Scan, TooLarge> {
    let decoded = decode(bytes)?;
    let mut scan = scan(decoded.text.expose(), options);
    scan.encoding = Some(decoded.encoding);
    scan.source_notes = decoded.notes;
    Ok(scan)
}

/// Finds the recovery passwords in a text.
pub fn scan(text: &str, options: &Options) -> Scan {
    let items = items(text, options.ocr);
    // Nothing but groups: whoever typed that meant a password, even if it is far from one.
    let nothing_else = items.iter().all(|item| matches!(item, Item::Word(_)));
    let pieces = pieces(items);
    let mut found = search(&pieces, &SHAPES);
    if found.is_empty() {
        found = search(&pieces, &[too_few_groups]);
    }
    if found.is_empty() && nothing_else && pieces.len() == 1 {
        found = search(&pieces, &[anything]);
    }
    Scan {
        encoding: None,
        source_notes: Vec::new(),
        found: without_repeats(found),
    }
}

impl RecoveryPassword {
    /// The one password in `text`: exact about digits, tolerant about everything around them
    /// (separators of any kind or none, digits of any script, text before and after).
    ///
    /// Dropped leading zeros are not put back; [`FoundPassword::to_password`](super::FoundPassword::to_password)
    /// does that.
    ///
    /// # Errors
    /// Tells which blocks are wrong and why, or that there is no password or more than one.
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

/// A stretch of text that may hold passwords, or an identifier.
enum Piece {
    Region(Vec<Word>),
    Identifier(super::identify::Identifier),
}

/// Gathers words with only separators between, and mends those that a line end went through.
fn pieces(items: Vec<Item>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut region: Vec<Word> = Vec::new();
    let mut items = items.into_iter().peekable();
    while let Some(item) = items.next() {
        match item {
            Item::Word(word) => {
                // Letters are a mangled block only where a dash binds them to others.
                let after = items.peek().is_some_and(|item| match item {
                    Item::Word(next) => next.gap.kind == Some(Separator::Dash),
                    _ => false,
                });
                if word.alien && !after && word.gap.kind != Some(Separator::Dash) {
                    close(&mut region, &mut pieces);
                } else {
                    join_or_push(&mut region, word);
                }
            }
            Item::Identifier(identifier) => {
                close(&mut region, &mut pieces);
                pieces.push(Piece::Identifier(identifier));
            }
            Item::Break => close(&mut region, &mut pieces),
        }
    }
    close(&mut region, &mut pieces);
    pieces
}

fn close(region: &mut Vec<Word>, pieces: &mut Vec<Piece>) {
    if !region.is_empty() {
        pieces.push(Piece::Region(std::mem::take(region)));
    }
}

/// Adds a word, or its digits to the last one where a folded line (LDIF, a mail program) cut a
/// block in two.
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

/// The passwords of these shapes in all regions, each with its identifier.
fn search(pieces: &[Piece], shapes: &[Shape]) -> Vec<FoundPassword> {
    let mut landmarks = Vec::new();
    let mut found = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Identifier(identifier) => {
                landmarks.push(Landmark::Identifier(identifier.clone()));
            }
            Piece::Region(words) => {
                for hit in hits(words, shapes) {
                    let Some(one) = build(words.get(hit.words).unwrap_or_default(), hit.groups)
                    else {
                        continue;
                    };
                    landmarks.push(Landmark::Password { line: one.line });
                    found.push(one);
                }
            }
        }
    }
    for (one, identifier) in found.iter_mut().zip(assign(&landmarks)) {
        one.identifier = identifier;
        one.line = one.line.saturating_add(1);
    }
    found
}

/// A password that stands in the text twice is one password.
fn without_repeats(all: Vec<FoundPassword>) -> Vec<FoundPassword> {
    // By a keyed hash: an export holds thousands of passwords, too many to compare each with all.
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
