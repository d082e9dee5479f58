//! The terminal: escaped text, notes on standard error, prompts and progress bars.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use fve::error::Error;
use fve::secret::SecretText;
use fve::shown::{without_error_numbers, write_escaped};
use fve::unlock::Prompt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::failure::Failure;
use crate::cli::unrepeated;

/// Text from a disk, made safe for a terminal: control characters and direction marks are escaped.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_escaped(text, &mut out);
    out
}

/// Prints a note for the user on standard error, without words of the command line that may be
/// secrets.
pub(crate) fn note(text: impl Display) {
    let text = without_error_numbers(&text.to_string());
    // A closed standard error does not stop the command.
    let _ = writeln!(io::stderr(), "fve: {}", unrepeated::without_secrets(&text));
}

/// Warns of faults of the CPU that the self-tests of the ciphers found, for commands that unlock no
/// volume. Others get them among the warnings of the volume.
pub(crate) fn tell_faults() {
    for fault in fve::crypto::faults() {
        note(format_args!("warning: {fault}"));
    }
}

/// Writes to standard output. A closed pipe is no error: the reader has what it wanted.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("cannot write to standard output", error).into())
        }
        _ => Ok(()),
    }
}

/// Writes to standard output what must not be lost. A closed pipe is an error.
pub(crate) fn print_all(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Error::io("cannot write to standard output", error).into())
}

/// Asks for a line that is not a secret.
pub(crate) fn ask(question: &str) -> Result<String, Failure> {
    let _ = write!(io::stderr(), "{question}");
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .map_err(|error| Error::io("cannot ask on the terminal", error))?;
    Ok(line)
}

/// Whether the user can be asked: standard input is a terminal.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal()
}

/// Asks for a secret, without echo.
pub(crate) fn ask_secret(question: &str) -> Result<SecretText, Failure> {
    rpassword::prompt_password(question)
        .map(SecretText::new)
        .map_err(|error| Error::io("cannot ask on the terminal", error).into())
}

/// The terminal, as a prompt for credentials.
pub(crate) fn prompt() -> Arc<dyn Prompt> {
    Arc::new(Terminal)
}

struct Terminal;

impl Prompt for Terminal {
    fn tell(&self, text: &str) {
        if can_ask() {
            note(text);
        }
    }

    fn secret(&self, question: &str) -> Option<SecretText> {
        can_ask().then(|| ask_secret(question).ok()).flatten()
    }
}

/// A progress bar on standard error for `total` bytes; invisible if standard error is not a terminal.
pub(crate) fn progress(total: u64) -> ProgressBar {
    bar(
        total,
        "{bar:40} {percent:>3}% {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
    )
}

/// The same for `total` items.
pub(crate) fn progress_counting(total: u64) -> ProgressBar {
    bar(
        total,
        "{bar:40} {percent:>3}% {human_pos}/{human_len} {per_sec} {eta} left",
    )
}

/// A line on standard error that counts files and names the current one; invisible if standard error
/// is not a terminal.
pub(crate) fn progress_of_files() -> ProgressBar {
    bar(None, "{human_pos} files {wide_msg}")
}

fn bar(total: impl Into<Option<u64>>, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total.into(), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A duration with a fitting unit and one decimal: `5.5 minutes`.
pub(crate) fn human_time(seconds: f64) -> String {
    const UNITS: [(f64, &str); 5] = [
        (365.25 * 86_400.0, "years"),
        (86_400.0, "days"),
        (3600.0, "hours"),
        (60.0, "minutes"),
        (1.0, "seconds"),
    ];
    let fitting = UNITS.into_iter().find(|(unit, _)| seconds >= 1.5 * unit);
    let (unit, name) = fitting.unwrap_or((1.0, "seconds"));
    format!("{:.1} {name}", seconds / unit)
}

/// A size with a fitting unit and one decimal: `100.0 MiB`.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// Prints an error and its help on standard error.
pub(crate) fn print_failure(failure: &Failure) {
    if let Some(message) = failure.message() {
        note(format_args!("error: {message}"));
    }
    for help in failure.help_lines() {
        note(format_args!("help: {help}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_control_characters_and_direction_marks() {
        assert_eq!(
            escaped("DESKTOP H: 7/4/2019 Größe 例"),
            "DESKTOP H: 7/4/2019 Größe 例"
        );
        assert_eq!(escaped("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\u{a}c");
        assert_eq!(escaped("a\u{202E}b\u{9b}"), "a\\u{202e}b\\u{9b}");
    }

    #[test]
    fn formats_sizes() {
        assert_eq!(human_size(0), "0 bytes");
        assert_eq!(human_size(1023), "1023 bytes");
        assert_eq!(human_size(104_857_600), "100.0 MiB");
        assert_eq!(human_size(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn formats_durations() {
        assert_eq!(human_time(0.04), "0.0 seconds");
        assert_eq!(human_time(33.0), "33.0 seconds");
        assert_eq!(human_time(330.0), "5.5 minutes");
        assert_eq!(human_time(1.55e8), "4.9 years");
    }
}
