//! The type of a well-formed recovery password, and why a text is not one.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::block::{BLOCK_DIGITS, BLOCKS, Block, BlockVerdict, block_digits, quotient_of};
use crate::error::{Error, Remedy};
use crate::secret::{RecoveryKey, SecretText};

/// Characters of a password as Windows writes it: 48 digits and seven hyphens.
const WRITTEN_LEN: usize = 55;

/// A well-formed recovery password: eight blocks, each 11 times a 16-bit number
/// (docs/format-recovery-password.md §1.1).
///
/// Well-formed does not mean correct; only unlocking a volume shows that. It holds the 128-bit key in
/// locked memory, which is wiped when it is dropped. `Debug` shows nothing of it, and there is no
/// `Display`.
///
/// ```
/// use fve::recovery_password::RecoveryPassword;
///
/// // The example of libbde's documentation.
/// let password = RecoveryPassword::parse(
///     "471207-278498-422125-177177-561902-537405-468006-693451",
/// )?;
/// assert_eq!(password.to_key().expose()[..2], [0x55, 0xa7]);
/// # Ok::<(), fve::recovery_password::Malformed>(())
/// ```
pub struct RecoveryPassword(RecoveryKey);

impl RecoveryPassword {
    /// The password with these blocks as written.
    pub(super) fn from_blocks(blocks: &[Block]) -> Result<Self, Malformed> {
        let refused = || Malformed::of(PasswordVerdict::of(blocks), blocks);
        let mut quotients = Zeroizing::new([0_u16; BLOCKS]);
        if blocks.len() != BLOCKS {
            return Err(refused());
        }
        for (quotient, block) in quotients.iter_mut().zip(blocks) {
            *quotient = block.quotient().ok_or_else(refused)?;
        }
        Ok(Self::from_quotients(&quotients))
    }

    /// The password whose blocks are 11 times these 16-bit numbers.
    pub(super) fn from_quotients(quotients: &[u16; BLOCKS]) -> Self {
        let mut bytes = Zeroizing::new([0; RecoveryKey::LEN]);
        for (pair, quotient) in bytes.chunks_exact_mut(2).zip(quotients) {
            pair.copy_from_slice(&quotient.to_le_bytes());
        }
        Self(RecoveryKey::from_bytes(&bytes))
    }

    /// Reads a password in exactly the form that Windows writes: eight blocks of six ASCII digits with
    /// hyphens between them, 55 characters. `None` for any other text, and if a block is not a multiple
    /// of 11 below 720896.
    ///
    /// It is much faster than [`RecoveryPassword::parse`], which searches the text and explains errors.
    /// Use it for long lists.
    ///
    /// ```
    /// use fve::RecoveryPassword;
    ///
    /// let digits = "471207-278498-422125-177177-561902-537405-468006-693451";
    /// assert!(RecoveryPassword::parse_exact(digits).is_some());
    /// assert!(RecoveryPassword::parse_exact(&digits.replace('-', " ")).is_none());
    /// ```
    pub fn parse_exact(text: &str) -> Option<Self> {
        let text: &[u8; WRITTEN_LEN] = text.as_bytes().try_into().ok()?;
        let mut quotients = Zeroizing::new([0_u16; BLOCKS]);
        // A block and the hyphen after it; the last block has none.
        let blocks = text.chunks(BLOCK_DIGITS.saturating_add(1));
        for (nth, (quotient, block)) in quotients.iter_mut().zip(blocks).enumerate() {
            let (written, hyphen) = block.split_first_chunk::<BLOCK_DIGITS>()?;
            let last = nth.saturating_add(1) == BLOCKS;
            if !written.iter().all(u8::is_ascii_digit) || (!last && hyphen != b"-") {
                return None;
            }
            let digits = Zeroizing::new(written.map(|digit| digit & 0xF));
            *quotient = quotient_of(&*digits)?;
        }
        Some(Self::from_quotients(&quotients))
    }

    /// The password of a key.
    pub fn from_key(key: &RecoveryKey) -> Self {
        Self(RecoveryKey::from_bytes(key.expose()))
    }

    /// The 128-bit key: the blocks divided by 11, as eight little-endian 16-bit numbers.
    pub fn to_key(&self) -> RecoveryKey {
        RecoveryKey::from_bytes(self.0.expose())
    }

    /// The 48 digits as Windows writes them: eight blocks with hyphens, 55 characters.
    pub fn expose_digits(&self) -> SecretText {
        // Allocated once: growing would leave a copy in freed memory.
        let mut text = String::with_capacity(WRITTEN_LEN);
        for (nth, quotient) in self.quotients().iter().enumerate() {
            if nth > 0 {
                text.push('-');
            }
            let digits = Zeroizing::new(block_digits(*quotient));
            text.extend(digits.iter().map(|digit| char::from(b'0' | digit)));
        }
        SecretText::new(text)
    }

    /// The eight 16-bit numbers.
    pub(super) fn quotients(&self) -> Zeroizing<[u16; BLOCKS]> {
        let mut quotients = Zeroizing::new([0; BLOCKS]);
        for (quotient, pair) in quotients.iter_mut().zip(self.0.expose().as_chunks().0) {
            *quotient = u16::from_le_bytes(*pair);
        }
        quotients
    }
}

/// A copy in memory of its own, which is locked and wiped like the first.
impl Clone for RecoveryPassword {
    fn clone(&self) -> Self {
        Self::from_key(&self.0)
    }
}

/// Reads a text as [`RecoveryPassword::parse`] does.
impl std::str::FromStr for RecoveryPassword {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(text)
    }
}

impl fmt::Debug for RecoveryPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryPassword")
    }
}

impl ConstantTimeEq for RecoveryPassword {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

/// Whether a recovery password is well-formed, or what is wrong with it as a whole
/// (docs/format-recovery-password.md §1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PasswordVerdict {
    /// Eight valid blocks. Only unlocking a volume shows whether it is correct.
    WellFormed,
    /// At least one block is invalid.
    Malformed,
    /// All known digits are possible, but some are marked as unreadable.
    Incomplete,
    /// There are not eight blocks.
    WrongBlockCount {
        /// How many blocks there are.
        blocks: usize,
    },
    /// The text contains no password.
    NotFound,
    /// The text contains more than one password, and one is needed.
    Several {
        /// How many passwords it contains.
        passwords: usize,
    },
}

impl PasswordVerdict {
    /// The verdict on these blocks.
    pub fn of(blocks: &[Block]) -> Self {
        if blocks.len() != BLOCKS {
            return Self::WrongBlockCount {
                blocks: blocks.len(),
            };
        }
        let mut incomplete = false;
        for block in blocks {
            match block.verdict() {
                BlockVerdict::Valid => {}
                BlockVerdict::Incomplete { .. } => incomplete = true,
                _ => return Self::Malformed,
            }
        }
        if incomplete {
            Self::Incomplete
        } else {
            Self::WellFormed
        }
    }

    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::WellFormed => "well-formed",
            Self::Malformed => "malformed",
            Self::Incomplete => "incomplete",
            Self::WrongBlockCount { .. } => "wrong-block-count",
            Self::NotFound => "not-found",
            Self::Several { .. } => "several",
        }
    }
}

/// Why a text is not one well-formed recovery password. The message gives numbers and reasons of
/// invalid blocks, but none of their digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.explain())]
#[non_exhaustive]
pub struct Malformed {
    /// What is wrong with the text as a whole.
    pub verdict: PasswordVerdict,
    /// The invalid blocks, numbered from 1, and what is wrong with each.
    pub faults: Vec<(usize, BlockVerdict)>,
}

impl Malformed {
    pub(super) fn of(verdict: PasswordVerdict, blocks: &[Block]) -> Self {
        let verdicts = (1..).zip(blocks.iter().map(Block::verdict));
        Self {
            verdict,
            faults: verdicts.filter(|(_, fault)| !fault.is_valid()).collect(),
        }
    }

    fn explain(&self) -> String {
        match self.verdict {
            PasswordVerdict::NotFound => return "the text contains no digits of one".to_owned(),
            PasswordVerdict::Several { passwords } => {
                return format!("the text contains {passwords} of them, but one is needed");
            }
            PasswordVerdict::WrongBlockCount { blocks } => {
                return format!(
                    "expected {BLOCKS} groups of {BLOCK_DIGITS} digits, found {blocks}"
                );
            }
            _ => {}
        }
        let faults: Vec<_> = self
            .faults
            .iter()
            .map(|(number, fault)| format!("block {number} {fault}"))
            .collect();
        let remedy = match self.faults.as_slice() {
            [(_, BlockVerdict::NotMultipleOf11)] => "; a digit is mistyped",
            _ => "",
        };
        faults.join("; ") + remedy
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::BadCredential {
            credential: "recovery password".to_owned(),
            why: malformed.to_string(),
            remedy: Some(Remedy::CheckRecoveryPassword),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "471207-278498-422125-177177-561902-537405-468006-693451";

    #[test]
    fn the_exact_form_is_read_as_the_scanner_reads_it() {
        let exact = RecoveryPassword::parse_exact(DIGITS).unwrap();
        // With a leading space, `parse` uses the scanner.
        let scanned = RecoveryPassword::parse(&format!(" {DIGITS}")).unwrap();
        assert!(bool::from(exact.ct_eq(&scanned)));
        assert_eq!(exact.expose_digits().expose(), DIGITS);
        assert!(bool::from(exact.clone().ct_eq(&exact)));
    }

    #[test]
    fn the_exact_form_admits_nothing_else() {
        assert!(RecoveryPassword::parse_exact("").is_none());
        for at in 0..DIGITS.len() {
            for other in ["0", "9", "-", " ", "/", ":"] {
                let mut text = DIGITS.to_owned();
                text.replace_range(at..=at, other);
                // One changed digit never leaves a block divisible by 11.
                let same = text == DIGITS;
                assert_eq!(RecoveryPassword::parse_exact(&text).is_some(), same, "{at}");
            }
        }
        let longer = format!("{DIGITS}\n");
        assert!(RecoveryPassword::parse_exact(&longer).is_none());
        let too_large = DIGITS.replace("471207", "720896");
        assert!(RecoveryPassword::parse_exact(&too_large).is_none());
    }
}
