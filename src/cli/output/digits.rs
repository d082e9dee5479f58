//! A recovery password that is being typed: each digit is shown as a star, and each block is checked
//! as soon as it is complete, as the boot console of Windows does.
//!
//! The dashes between blocks are inserted automatically, so 48 digits can be typed or pasted without
//! pause; Backspace also crosses the border of a block.

use fve::recovery_password::check_block;
use zeroize::Zeroizing;

const BLOCK: usize = 6;
const COUNT: usize = 8 * BLOCK;

/// The digits of a typed text.
pub(super) struct Digits(Zeroizing<String>);

impl Digits {
    /// Reserves the whole size at once: a text that grows leaves copies in memory.
    pub(super) fn of(typed: &[u8]) -> Self {
        let mut digits = Zeroizing::new(String::with_capacity(COUNT));
        let only = typed.iter().filter(|byte| byte.is_ascii_digit());
        digits.extend(only.take(COUNT).map(|byte| char::from(*byte)));
        Self(digits)
    }

    /// Whether a text is one block of digits and nothing else.
    pub(super) fn is_block(typed: &[u8]) -> bool {
        typed.len() == BLOCK && typed.iter().all(u8::is_ascii_digit)
    }

    /// Whether all eight blocks are there.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() == COUNT
    }

    /// Whether the last digit completes a block.
    pub(super) fn ends_block(&self) -> bool {
        !self.0.is_empty() && self.0.len().is_multiple_of(BLOCK)
    }

    /// What is wrong with the last complete block.
    pub(super) fn problem_of_last_block(&self) -> Option<String> {
        let number = self.0.len() / BLOCK;
        let verdict = check_block(self.block(number)?);
        (!verdict.is_valid()).then(|| format!("block {number} {verdict}"))
    }

    /// Number of the first complete block that is not valid, from 1.
    pub(super) fn first_invalid_block(&self) -> Option<usize> {
        (1..=self.0.len() / BLOCK).find(|number| {
            self.block(*number)
                .is_none_or(|block| !check_block(block).is_valid())
        })
    }

    fn block(&self, number: usize) -> Option<&str> {
        self.0.get(number.checked_sub(1)? * BLOCK..number * BLOCK)
    }

    /// A star for each digit, in blocks.
    pub(super) fn stars(&self) -> String {
        let count = self.0.len();
        let mut stars = "*".repeat(count);
        for block in (1..=count.saturating_sub(1) / BLOCK).rev() {
            stars.insert(block * BLOCK, '-');
        }
        stars
    }

    /// Removes the last star from the screen and, if that reopens a complete block, the dash after it.
    pub(super) fn erasure(&self) -> &'static str {
        match self.0.len() {
            0 => "",
            count if count.is_multiple_of(BLOCK) && count < COUNT => "\x08 \x08\x08 \x08",
            _ => "\x08 \x08",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_in_blocks() {
        let stars = |count| Digits::of(&vec![b'0'; count]).stars();
        assert_eq!(stars(0), "");
        assert_eq!(stars(6), "******");
        assert_eq!(stars(7), "******-*");
        assert_eq!(stars(12), "******-******");
    }

    #[test]
    fn the_first_bad_block_is_named() {
        let first = |typed: &[u8]| Digits::of(typed).first_invalid_block();
        assert_eq!(first(b"000000000011"), None);
        assert_eq!(first(b"000000-000012-000001"), Some(2));
    }
}
