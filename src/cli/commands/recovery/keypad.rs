//! Typing a recovery password: each block is checked as it is finished, as the boot console does.
//!
//! Nothing is echoed but a star for each digit. Blocks follow each other by themselves, so that 48
//! digits can be typed or pasted in one go; Backspace goes back over the border of a block.

use std::fs::File;
use std::io::{self, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use zeroize::Zeroizing;

use fve::recovery_password::check_block;
use fve::secret::SecretText;

const BLOCK: usize = 6;
const DIGITS: usize = 8 * BLOCK;

const BACKSPACE: [u8; 2] = [0x08, 0x7F];
const END_OF_INPUT: u8 = 0x04;
const KILL_LINE: u8 = 0x15;

/// Asks on the terminal; ends with Enter, or with the last digit when all blocks are valid.
pub(super) fn ask(question: &str) -> io::Result<SecretText> {
    let mut terminal = QuietTerminal::open()?;
    write!(terminal.file, "{question}")?;
    let mut digits = Zeroizing::new(Vec::with_capacity(DIGITS));
    let mut key = [0];
    loop {
        if terminal.file.read(&mut key)? == 0 {
            break;
        }
        match key[0] {
            b'\r' | b'\n' | END_OF_INPUT => break,
            KILL_LINE => {
                while !digits.is_empty() {
                    take_back(&mut terminal.file, &mut digits)?;
                }
            }
            code if BACKSPACE.contains(&code) => take_back(&mut terminal.file, &mut digits)?,
            digit if digit.is_ascii_digit() && digits.len() < DIGITS => {
                digits.push(digit);
                write!(terminal.file, "*")?;
                if digits.len() % BLOCK == 0 {
                    finish_block(&mut terminal.file, &digits)?;
                }
                if digits.len() == DIGITS && bad_block(&digits).is_none() {
                    break;
                }
            }
            // Separators are put in between by themselves; anything else is no digit.
            _ => {}
        }
    }
    writeln!(terminal.file)?;
    Ok(SecretText::new(
        digits.iter().map(|digit| char::from(*digit)).collect(),
    ))
}

/// Says at once when a block is wrong: the person can go back and mend it.
fn finish_block(terminal: &mut File, digits: &[u8]) -> io::Result<()> {
    let number = digits.len() / BLOCK;
    let verdict = check_block(&text(&digits[digits.len() - BLOCK..]));
    if !verdict.is_valid() {
        writeln!(
            terminal,
            "\nblock {number} {verdict}; correct it with Backspace"
        )?;
        write!(terminal, "{}", stars(digits.len()))?;
    }
    if digits.len() < DIGITS {
        write!(terminal, "-")?;
    }
    Ok(())
}

fn take_back(terminal: &mut File, digits: &mut Vec<u8>) -> io::Result<()> {
    if digits.pop().is_none() {
        return Ok(());
    }
    // The star, and the dash behind a block that is no longer finished.
    let rubbed_out = if (digits.len() + 1).is_multiple_of(BLOCK) && digits.len() + 1 < DIGITS {
        "\x08 \x08\x08 \x08"
    } else {
        "\x08 \x08"
    };
    write!(terminal, "{rubbed_out}")
}

/// The number of the first finished block that is not valid.
fn bad_block(digits: &[u8]) -> Option<usize> {
    (1..)
        .zip(digits.chunks_exact(BLOCK))
        .find_map(|(number, block)| (!check_block(&text(block)).is_valid()).then_some(number))
}

fn text(digits: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(digits.iter().map(|digit| char::from(*digit)).collect())
}

fn stars(count: usize) -> String {
    let mut stars = "*".repeat(count);
    for block in (1..=count.saturating_sub(1) / BLOCK).rev() {
        stars.insert(block * BLOCK, '-');
    }
    stars
}

/// The terminal without echo and without waiting for whole lines; as it was again when dropped.
struct QuietTerminal {
    file: File,
    before: Termios,
}

impl QuietTerminal {
    fn open() -> io::Result<Self> {
        let file = File::options().read(true).write(true).open("/dev/tty")?;
        let before = rustix::termios::tcgetattr(&file)?;
        let mut quiet = before.clone();
        // Signals stay: Ctrl-C ends the program, and the shell restores its terminal.
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        rustix::termios::tcsetattr(&file, OptionalActions::Flush, &quiet)?;
        Ok(Self { file, before })
    }
}

impl Drop for QuietTerminal {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(&self.file, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_in_blocks() {
        assert_eq!(stars(0), "");
        assert_eq!(stars(6), "******");
        assert_eq!(stars(7), "******-*");
        assert_eq!(stars(12), "******-******");
    }

    #[test]
    fn the_first_bad_block_is_named() {
        assert_eq!(bad_block(b"000000000011"), None);
        assert_eq!(bad_block(b"000000000012000001"), Some(2));
    }
}
