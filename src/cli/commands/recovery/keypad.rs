//! Asks for a recovery password on the terminal, and checks each block as soon as it is complete,
//! as the boot console of Windows does.
//!
//! Each digit is shown as a star. The dashes between blocks are inserted automatically, so 48
//! digits can be typed or pasted without pause; Backspace also crosses the border of a block.

use std::fs::File;
use std::io::{self, Read, Write};

use fve::recovery_password::check_block;
use fve::secret::SecretText;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use zeroize::Zeroizing;

const BLOCK: usize = 6;
const DIGITS: usize = 8 * BLOCK;

const BACKSPACE: [u8; 2] = [0x08, 0x7F];
const END_OF_INPUT: u8 = 0x04;
const KILL_LINE: u8 = 0x15;

/// Asks until Enter is pressed, or until all 48 digits are typed and valid.
pub(super) fn ask(question: &str) -> io::Result<SecretText> {
    let mut terminal = RawTerminal::open()?;
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
                    erase_digit(&mut terminal.file, &mut digits)?;
                }
            }
            code if BACKSPACE.contains(&code) => erase_digit(&mut terminal.file, &mut digits)?,
            digit if digit.is_ascii_digit() && digits.len() < DIGITS => {
                digits.push(digit);
                write!(terminal.file, "*")?;
                if digits.len() % BLOCK == 0 {
                    finish_block(&mut terminal.file, &digits)?;
                }
                if digits.len() == DIGITS && first_invalid_block(&digits).is_none() {
                    break;
                }
            }
            // Dashes are inserted automatically, and other keys mean nothing here.
            _ => {}
        }
    }
    writeln!(terminal.file)?;
    Ok(SecretText::new(
        digits.iter().map(|digit| char::from(*digit)).collect(),
    ))
}

/// Reports a wrong block as soon as it is complete, so that it can be corrected at once.
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

fn erase_digit(terminal: &mut File, digits: &mut Vec<u8>) -> io::Result<()> {
    if digits.pop().is_none() {
        return Ok(());
    }
    // Erase the star and, if this reopens a complete block, the dash after it.
    let erasure = if (digits.len() + 1).is_multiple_of(BLOCK) && digits.len() + 1 < DIGITS {
        "\x08 \x08\x08 \x08"
    } else {
        "\x08 \x08"
    };
    write!(terminal, "{erasure}")
}

/// Number of the first complete block that is not valid, from 1.
fn first_invalid_block(digits: &[u8]) -> Option<usize> {
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

/// The terminal without echo and line buffering. Dropping this restores its settings.
struct RawTerminal {
    file: File,
    before: Termios,
}

impl RawTerminal {
    fn open() -> io::Result<Self> {
        let file = File::options().read(true).write(true).open("/dev/tty")?;
        let before = rustix::termios::tcgetattr(&file)?;
        let mut quiet = before.clone();
        // Leave signals on: Ctrl-C ends the program, and the shell then restores the terminal.
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        rustix::termios::tcsetattr(&file, OptionalActions::Flush, &quiet)?;
        Ok(Self { file, before })
    }
}

impl Drop for RawTerminal {
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
        assert_eq!(first_invalid_block(b"000000000011"), None);
        assert_eq!(first_invalid_block(b"000000000012000001"), Some(2));
    }
}
