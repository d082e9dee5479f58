//! The terminal: notes on standard error, prompts and progress bars.
//!
//! Text may come from a disk, a server or a token. So all functions that print escape control
//! characters and direction marks, and no text can begin a line that looks like a message of fve.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::builder::styling::{AnsiColor, Style};
use fve::error::Error;
use fve::secret::SecretText;
use fve::shown::{without_error_numbers, write_escaped};
use fve::unlock::Prompt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use zeroize::Zeroizing;

use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::output::agent;
use crate::cli::output::keyboard::{self, Form, Silence};
use crate::cli::output::stdout;
use crate::cli::unrepeated;

/// Whether notes and progress bars are left out (`--quiet`).
static QUIET: AtomicBool = AtomicBool::new(false);

/// Whether the user is never asked (`--no-prompt`).
static SILENT: AtomicBool = AtomicBool::new(false);

/// Whether secrets are asked for through agents where there is no terminal (`--systemd-ask-password`).
static AGENTS: AtomicBool = AtomicBool::new(false);

/// From now on, only errors are printed on standard error.
pub(crate) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// From now on, the user is not asked for anything.
pub(crate) fn never_ask() {
    SILENT.store(true, Ordering::Relaxed);
}

/// From now on, the user is asked for secrets through agents where there is no terminal.
pub(crate) fn ask_agents() {
    AGENTS.store(true, Ordering::Relaxed);
}

/// A single line of text from a disk: control characters, including line breaks, and direction marks
/// are escaped. The functions that print escape all but line breaks themselves.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_escaped(text, &mut out);
    out
}

/// Text of a message. A line after the first is indented, so that it cannot look like a message of
/// its own.
fn message_text(text: &str) -> String {
    let mut out = String::new();
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        if number > 0 && !line.is_empty() && !line.starts_with(' ') {
            out.push_str("  ");
        }
        out.push_str(&escaped(line));
    }
    out
}

/// Text of several lines for standard output.
fn output_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(['\n', '\t']) {
        let line = part.trim_end_matches(['\n', '\t']);
        out.push_str(&escaped(line));
        out.push_str(part.get(line.len()..).unwrap_or_default());
    }
    out
}

/// Prints a note for the user on standard error, without words of the command line that may be
/// secrets.
pub(crate) fn note(text: impl Display) {
    if !QUIET.load(Ordering::Relaxed) {
        say(text);
    }
}

/// Prints what a quiet command prints, too: an error, or what the user has to know to answer.
pub(crate) fn say(text: impl Display) {
    let text = without_error_numbers(&text.to_string());
    let text = message_text(&unrepeated::without_secrets(&text));
    // A closed standard error does not stop the command.
    let _ = writeln!(io::stderr(), "fve: {}", emphasized(&text));
}

/// Whether the user wants colors and bold letters on a terminal.
pub(crate) fn wants_styles() -> bool {
    !is_dumb() && variable("NO_COLOR").is_none()
}

/// Whether the terminal can show text and nothing else: no style, and no screen of a pager.
pub(crate) fn is_dumb() -> bool {
    variable("TERM").is_none_or(|term| term == "dumb")
}

/// An environment variable that has a value.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The text with its first word in bold, as clap prints it, where that says what kind of message it is.
fn emphasized(text: &str) -> Cow<'_, str> {
    if !io::stderr().is_terminal() || !wants_styles() {
        return Cow::Borrowed(text);
    }
    const KINDS: [(&str, Style); 3] = [
        ("error:", AnsiColor::Red.on_default().bold()),
        ("warning:", AnsiColor::Yellow.on_default().bold()),
        ("help:", Style::new().bold()),
    ];
    for (kind, style) in KINDS {
        if let Some(rest) = text.strip_prefix(kind) {
            return Cow::Owned(format!("{style}{kind}{style:#}{rest}"));
        }
    }
    Cow::Borrowed(text)
}

/// Begins a message whose text another library prints.
pub(crate) fn prefix() {
    let _ = write!(io::stderr(), "fve: ");
}

/// Where log lines go: standard error, with control characters escaped.
pub(crate) fn log() -> impl Write {
    LogLine
}

struct LogLine;

impl Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = message_text(&String::from_utf8_lossy(line));
        io::stderr().write_all(text.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
    let text = Zeroizing::new(output_text(text));
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io("cannot write to standard output", error).into())
        }
        _ => Ok(()),
    }
}

/// Prints on standard error a line with a secret that standard output did not take. No command may keep it
/// back, and no copy of it stays in memory.
pub(crate) fn say_secret(line: &SecretText) {
    // There is no other place left.
    let _ = io::stderr().write_all(line.expose().as_bytes());
}

/// Writes to standard output what must not be lost. A closed pipe is an error, and so is a closed standard
/// output.
pub(crate) fn print_all(text: &str) -> Result<(), Failure> {
    stdout::check_open()?;
    let mut out = io::stdout().lock();
    let text = Zeroizing::new(output_text(text));
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Error::io("cannot write to standard output", error).into())
}

/// Asks for a line that is not a secret.
pub(crate) fn ask(question: &str) -> Result<String, Failure> {
    let _ = write!(io::stderr(), "{}", message_text(question));
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(cannot_ask)?;
    Ok(line)
}

/// Whether the user can be asked: standard input is a terminal.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && !SILENT.load(Ordering::Relaxed)
}

/// Whether the user can be asked for a secret: on the terminal, or else through an agent, if the user wants
/// that.
pub(crate) fn can_ask_secret() -> bool {
    can_ask() || (AGENTS.load(Ordering::Relaxed) && !SILENT.load(Ordering::Relaxed))
}

/// The status of another process of this program that has ended without doing its work. It has already
/// said why, unless a signal killed it: then the user is told that. `who` is the process in words.
pub(crate) fn status_of_failed(ended: ExitStatus, who: &str) -> Status {
    if let Some(signal) = ended.signal() {
        say(format_args!("error: {who} was killed by signal {signal}"));
    }
    match Status::of_process(ended) {
        Status::Done => Status::Failed,
        status => status,
    }
}

/// Asks for a secret, without echo.
pub(crate) fn ask_secret(question: &str) -> Result<SecretText, Failure> {
    ask_for(question, Form::Text)
}

/// Asks for a secret of this form, without echo.
pub(crate) fn ask_for(question: &str, form: Form) -> Result<SecretText, Failure> {
    if !can_ask() && can_ask_secret() {
        return agent::ask(&message_text(question));
    }
    keyboard::ask(&message_text(question), form).map_err(cannot_ask)
}

/// Asks for a new secret twice, and again if the two differ.
pub(crate) fn ask_twice(question: &str, again: &str, differ: &str) -> Result<SecretText, Failure> {
    const TRIES: usize = 3;
    let _silence = silence()?;
    for tries in 1..=TRIES {
        let first = ask_secret(question)?;
        // An empty one will be refused: it need not be typed again.
        if first.expose().is_empty() || first.expose() == ask_secret(again)?.expose() {
            return Ok(first);
        }
        if tries < TRIES {
            say(format_args!("{differ}; type both again"));
        }
    }
    Err(Failure::usage(differ))
}

/// Keeps the terminal from showing what is typed between two questions. `None` if no questions are asked
/// there.
pub(crate) fn silence() -> Result<Option<Silence>, Failure> {
    let begun = can_ask().then(Silence::begin);
    begun.transpose().map_err(cannot_ask)
}

fn cannot_ask(error: io::Error) -> Failure {
    let (status, what) = match error.kind() {
        io::ErrorKind::UnexpectedEof => (
            Status::Refused,
            "nothing was typed: the input has ended".to_owned(),
        ),
        _ => {
            let error = Error::io("cannot ask on the terminal", error);
            (Status::Io, error.with_causes().to_string())
        }
    };
    Failure::Other {
        status,
        what,
        help: Some("give the secret in a file, as with '--password-file FILE'".to_owned()),
    }
}

/// The terminal, as a prompt for credentials.
pub(crate) fn prompt() -> Arc<dyn Prompt> {
    Arc::new(Terminal)
}

struct Terminal;

impl Prompt for Terminal {
    fn tell(&self, text: &str) {
        if can_ask() {
            say(text);
        }
    }

    fn secret(&self, question: &str) -> Option<SecretText> {
        can_ask_secret()
            .then(|| ask_secret(question).ok())
            .flatten()
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
    let target = match QUIET.load(Ordering::Relaxed) {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    };
    let bar = ProgressBar::with_draw_target(total.into(), target);
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
        say(format_args!("error: {message}"));
    }
    for help in failure.help_lines() {
        say(format_args!("help: {help}"));
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
    fn no_text_begins_a_line_that_looks_like_a_message() {
        assert_eq!(
            message_text("it has no \x1b]0;x\x07\nfve: error: forged\n  listed\n"),
            "it has no \\u{1b}]0;x\\u{7}\n  fve: error: forged\n  listed\n"
        );
        assert_eq!(
            output_text("a\tb\x1b[2J\n\n\u{202E}c"),
            "a\tb\\u{1b}[2J\n\n\\u{202e}c"
        );
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
