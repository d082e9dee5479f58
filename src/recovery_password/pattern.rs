//! All passwords that an incomplete or invalid one may have been (docs/format-recovery-password.md §1.8
//! to §1.10): with unreadable digits filled in, invalid blocks corrected, and errors undone that the
//! check digits do not detect.
//!
//! They are numbered, so that a search can be divided among cores, stopped and resumed. They are as
//! secret as the password, since one of them may be it.

use std::fmt;

use zeroize::Zeroizing;

use super::block::{ANY_DIGIT, BLOCK_DIGITS, BLOCKS, Block, BlockVerdict, Quotients, Slot};
use super::digits::{Malformed, PasswordVerdict, RecoveryPassword};
use super::found::FoundPassword;
use super::near;
use super::suggest;

/// Passwords to try on a volume, numbered from 0. If some are more probable, they come first.
///
/// ```
/// use fve::recovery_password::{Options, check_text};
///
/// let pattern = "471207-278498-4221??-177177-561902-537405-468006-69345?";
/// let check = check_text(pattern, &Options::default());
/// let candidates = check.primary().unwrap().candidates()?;
/// // Two digits of one block leave nine possibilities, one digit of another leaves one.
/// assert_eq!(candidates.count(), 9);
/// # Ok::<(), fve::recovery_password::NoCandidates>(())
/// ```
pub struct Candidates(Space);

enum Space {
    /// All combinations of the possible numbers of each block. They are not stored, because there may be
    /// more than memory can hold.
    Combinations(Vec<Zeroizing<Vec<u16>>>),
    /// A list of whole passwords.
    Listed(Zeroizing<Vec<Quotients>>),
}

/// Why there are no candidates. The message contains no digit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoCandidates {
    /// There are not eight blocks, or the operation needs a well-formed password and this is not one.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// No digit is known.
    #[error("no digit is known, which leaves 2^128 possibilities: too many to search")]
    NothingKnown,
    /// No valid block is similar to this one.
    #[error("block {block} {verdict}, and no single typing error explains it")]
    NothingFits {
        /// Number of the block, from 1.
        block: usize,
        /// What is wrong with it.
        verdict: BlockVerdict,
    },
    /// A run of digits of the wrong length, which no missing or doubled digits explain.
    #[error("the {digits} digits are not a password with one or two digits missing or doubled")]
    NoRun {
        /// How many digits there are.
        digits: usize,
    },
}

impl Candidates {
    /// The passwords that `found` may have been.
    pub(super) fn of(found: &FoundPassword, ocr: bool) -> Result<Self, NoCandidates> {
        if let Some(run) = &found.run {
            let listed = suggest::ranked(found, ocr);
            return match listed.is_empty() {
                true => Err(NoCandidates::NoRun { digits: run.len() }),
                false => Ok(Self(Space::Listed(listed))),
            };
        }
        let blocks = found.restored_blocks();
        let unknown = |block: &Block| block.is_empty() || block.slots().iter().all(is_unknown);
        if blocks.len() != BLOCKS {
            return Err(Malformed::of(PasswordVerdict::of(&blocks), &blocks).into());
        }
        if blocks.iter().all(unknown) {
            return Err(NoCandidates::NothingKnown);
        }
        let choices = (1..)
            .zip(found.blocks.iter().zip(&blocks))
            .map(|(number, (written, restored))| choices(number, written, restored, ocr))
            .collect::<Result<Vec<_>, _>>()?;
        let combined = Self(Space::Combinations(choices));
        let is_guess = |block: &Block| {
            let verdict = block.verdict();
            !verdict.is_valid() && !matches!(verdict, BlockVerdict::Incomplete { .. })
        };
        let padded = blocks
            .iter()
            .map(Block::len)
            .ne(found.blocks.iter().map(Block::len));
        // Some corrections are more probable than others. To sort by that, the passwords have to be
        // listed, if they are few enough.
        if !padded
            && blocks.iter().any(is_guess)
            && combined.count() <= suggest::MOST_SUGGESTIONS as u128
        {
            return Ok(Self(Space::Listed(suggest::ranked(found, ocr))));
        }
        Ok(combined)
    }

    /// The password, and all that differ from it by one error that the check digits do not detect.
    pub(super) fn near(password: &RecoveryPassword) -> Self {
        Self(Space::Listed(near::neighbors(&password.quotients())))
    }

    /// The password with its blocks in every order.
    pub(super) fn any_order(password: &RecoveryPassword) -> Self {
        Self(Space::Listed(near::orders(&password.quotients())))
    }

    /// How many candidates there are; [`u128::MAX`] if there are more than that.
    pub fn count(&self) -> u128 {
        match &self.0 {
            Space::Listed(list) => list.len() as u128,
            Space::Combinations(choices) => {
                let counts = choices.iter().map(|block| block.len() as u128);
                counts.fold(1, u128::saturating_mul)
            }
        }
    }

    /// The candidate with this number, from 0; `None` after the last. In consecutive candidates, the first
    /// block changes fastest.
    pub fn nth(&self, number: u64) -> Option<RecoveryPassword> {
        let quotients = match &self.0 {
            Space::Listed(list) => *list.get(usize::try_from(number).ok()?)?,
            Space::Combinations(choices) => {
                let mut rest = number;
                let mut quotients = [0; BLOCKS];
                for (quotient, block) in quotients.iter_mut().zip(choices) {
                    let len = block.len() as u64;
                    let at = usize::try_from(rest.checked_rem(len)?).ok()?;
                    *quotient = *block.get(at)?;
                    rest = rest.checked_div(len)?;
                }
                if rest > 0 {
                    return None;
                }
                quotients
            }
        };
        let quotients = Zeroizing::new(quotients);
        Some(RecoveryPassword::from_quotients(&quotients))
    }
}

impl fmt::Debug for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidates({})", self.count())
    }
}

/// The possible numbers of one block, the most probable first. If a leading zero was added, the missing
/// digit may also have been another one in another place.
fn choices(
    number: usize,
    written: &Block,
    restored: &Block,
    ocr: bool,
) -> Result<Zeroizing<Vec<u16>>, NoCandidates> {
    if let Some(quotient) = written.quotient() {
        return Ok(Zeroizing::new(vec![quotient]));
    }
    let mut choices = suggest::quotients(written, ocr);
    if let Some(quotient) = restored.quotient() {
        let mut others = Zeroizing::new(Vec::with_capacity(choices.len().saturating_add(1)));
        others.push(quotient);
        others.extend(choices.iter().filter(|other| **other != quotient));
        choices = others;
    }
    if choices.is_empty() {
        return Err(NoCandidates::NothingFits {
            block: number,
            verdict: restored.verdict(),
        });
    }
    Ok(choices)
}

fn is_unknown(slot: &Slot) -> bool {
    matches!(slot, Slot::OneOf(_))
}

/// Which digits are known, without showing them: `#` for a known digit, `?` for an unreadable one, `[2]`
/// for one of two digits, `!` for another character.
pub(super) fn shape(blocks: &[Block]) -> String {
    let mut text = String::with_capacity(BLOCKS.saturating_mul(BLOCK_DIGITS.saturating_add(1)));
    for (nth, block) in blocks.iter().enumerate() {
        if nth > 0 {
            text.push('-');
        }
        for slot in block.slots() {
            match slot {
                Slot::Digit(_) => text.push('#'),
                Slot::OneOf(ANY_DIGIT) => text.push('?'),
                Slot::OneOf(set) => text.push_str(&format!("[{}]", set.count_ones())),
                Slot::Foreign(..) => text.push('!'),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::{Options, check_text};
    use super::*;

    fn candidates(text: &str) -> Result<Candidates, NoCandidates> {
        let check = check_text(text, &Options::default());
        check.primary().unwrap().candidates()
    }

    fn all(text: &str) -> HashSet<String> {
        let candidates = candidates(text).unwrap();
        let count = u64::try_from(candidates.count()).unwrap();
        assert!(candidates.nth(count).is_none());
        let digits = |number| candidates.nth(number).unwrap().expose_digits();
        let all: HashSet<_> = (0..count)
            .map(|number| digits(number).expose().to_owned())
            .collect();
        assert_eq!(all.len() as u64, count);
        all
    }

    const C: &str = "235818-357951-253979-013365-241120-245575-342914-591910";

    #[test]
    fn every_filling_is_listed_once_with_the_correct_one_among_them() {
        // The complete examples of docs/format-recovery-password.md §1.9.
        for (pattern, count) in [
            (
                "2358??-35795?-2539?9-013365-?41120-2455?5-342914-59191?",
                None,
            ),
            (
                "235818-3????1-253979-013365-241120-245575-342914-591910",
                Some(909),
            ),
            (
                "235818-357951-253979-013365-24112[03]-2455[17]5-342914-591910",
                Some(1),
            ),
            (
                "?35818-357951-??3979-013365-241120-245575-34291?-591910",
                None,
            ),
        ] {
            let all = all(pattern);
            assert!(all.contains(C), "{pattern}");
            if let Some(count) = count {
                assert_eq!(all.len(), count, "{pattern}");
            }
        }
    }

    #[test]
    fn mistyped_blocks_are_corrected() {
        for typed in [
            "235818-357951-253979-013365-241120-245575-342914-591911",
            "235818-357951-253979-013365-241120-245575-342914-519910",
            "235818-35795-253979-013365-241120-245575-342914-59191",
            "23581835795125397901336524112024557534291459191",
        ] {
            assert!(all(typed).contains(C), "{typed}");
        }
    }

    #[test]
    fn an_unknown_block_has_all_65536_numbers() {
        let some = candidates("235818-??????-253979-013365-241120-245575-342914-59????").unwrap();
        assert_eq!(some.count() % 65536, 0);
        assert!(some.nth(u64::MAX).is_none());
    }

    #[test]
    fn what_cannot_be_searched_is_refused() {
        let nothing = ["??????"; 8].join("-");
        let check = check_text(&nothing, &Options::default());
        if let Some(password) = check.primary() {
            let refused = password.candidates();
            assert!(matches!(refused, Err(NoCandidates::NothingKnown)));
        }
        let refused = candidates("235818-357951-253979-013365-241120-245575");
        assert!(matches!(refused, Err(NoCandidates::Malformed(_))));
        let refused = candidates("8?????-357951-253979-013365-241120-245575-342914-591910");
        let Err(NoCandidates::NothingFits { block: 1, .. }) = refused else {
            panic!("{refused:?}");
        };
    }

    #[test]
    fn shapes_hold_no_digits() {
        let text = "235818-35795?-2539[17]9-013365-241120-245575-342914-591910";
        let check = check_text(text, &Options::default());
        assert_eq!(
            check.primary().unwrap().shape(),
            "######-#####?-####[2]#-######-######-######-######-######"
        );
    }
}
