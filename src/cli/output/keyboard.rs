//! Reads secrets from the terminal, without echo.
//!
//! Whatever ends or stops the process, the terminal gets its settings back, and a process that is
//! continued turns the echo off again. Crates such as rpassword turn the signals of the terminal off
//! instead: Ctrl-Z is lost, and a signal from elsewhere leaves the terminal without echo. They also
//! drop tabulators, and what follows an Escape.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use fve::privileges::give_up_capabilities;
use fve::secret::SecretText;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr,
    tcsetattr,
};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use zeroize::Zeroizing;

use crate::cli::output::digits::Digits;

/// Most bytes that are read: more than Windows allows in a password. The buffer never grows, which
/// would leave a copy of the secret.
const MAX_LEN: usize = 4096;

/// How long the rest of an escape sequence may take. A terminal sends it at once, a user does not.
const SEQUENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

const INTERRUPT: u8 = 0x03;
const END_OF_INPUT: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const KILL_LINE: u8 = 0x15;
const KILL_WORD: u8 = 0x17;
const SUSPEND: u8 = 0x1A;
const ESCAPE: u8 = 0x1B;
const QUIT: u8 = 0x1C;
const DELETE: u8 = 0x7F;
const BELL: &str = "\x07";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Any text; nothing of it is shown.
    Text,
    /// A recovery password; each digit is shown as a star, and each block is checked at once.
    Digits,
    /// Either: text, until six digits and a separator were typed.
    TextOrDigits,
}

/// Asks for a secret.
///
/// # Errors
/// There is no terminal, it cannot be read, or the input ends before anything was typed.
pub(crate) fn ask(question: &str, form: Form) -> io::Result<SecretText> {
    let silence = Silence::begin()?;
    loop {
        let mut line = Line::new(&silence, question, form);
        line.show_question();
        let ended = line.read();
        silence.show("\n");
        silence.remember("");
        let answer = ended?;
        if line.ignored {
            silence.show("fve: keys that type no character, such as arrow keys, were ignored\n");
        }
        match std::str::from_utf8(&answer) {
            Ok(text) => return Ok(SecretText::new(text.to_owned())),
            Err(_) => silence.show(
                "fve: the typed text is not in UTF-8: the terminal uses another encoding; type it again\n",
            ),
        }
    }
}

/// The line that is being typed.
struct Line<'a> {
    terminal: &'a Silence,
    question: &'a str,
    form: Form,
    typed: Zeroizing<Vec<u8>>,
    /// Whether the digits are shown as stars.
    stars: bool,
    /// Whether a key was ignored.
    ignored: bool,
}

/// Whether the line goes on.
enum Key {
    More,
    Enter,
}

impl<'a> Line<'a> {
    fn new(terminal: &'a Silence, question: &'a str, form: Form) -> Self {
        Self {
            terminal,
            question,
            form,
            typed: Zeroizing::new(Vec::with_capacity(MAX_LEN)),
            stars: form == Form::Digits,
            ignored: false,
        }
    }

    fn show_question(&self) {
        self.terminal.remember(self.question);
        self.terminal.show(self.question);
    }

    fn read(&mut self) -> io::Result<Zeroizing<Vec<u8>>> {
        while let Some(byte) = self.terminal.next()? {
            if byte == END_OF_INPUT && !self.typed.is_empty() {
                break;
            }
            if byte == END_OF_INPUT {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let key = match byte {
                ESCAPE => self.skip_sequence()?,
                byte => self.take(byte),
            };
            if matches!(key, Key::Enter) {
                return Ok(std::mem::take(&mut self.typed));
            }
        }
        match self.typed.is_empty() {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(std::mem::take(&mut self.typed)),
        }
    }

    /// Skips what a key such as an arrow sends after the Escape. A key that the user typed after
    /// Escape is a key like any other.
    fn skip_sequence(&mut self) -> io::Result<Key> {
        self.ignore();
        let Some(first) = self.terminal.next_of_sequence()? else {
            return Ok(Key::More);
        };
        if !matches!(first, b'[' | b'O') {
            return Ok(self.take(first));
        }
        loop {
            match self.terminal.next_of_sequence()? {
                // Parameters.
                Some(0x20..=0x3F) => {}
                Some(0x40..=0x7E) | None => return Ok(Key::More),
                Some(other) => return Ok(self.take(other)),
            }
        }
    }

    fn take(&mut self, byte: u8) -> Key {
        match byte {
            b'\n' | b'\r' => return Key::Enter,
            INTERRUPT | QUIT | SUSPEND if self.terminal.raises => raise(byte),
            BACKSPACE | DELETE => self.erase(),
            KILL_LINE => {
                while !self.typed.is_empty() {
                    self.erase();
                }
            }
            KILL_WORD if !self.stars => self.erase_word(),
            b'\t' if !self.stars => self.push(byte),
            0..0x20 => self.ignore(),
            byte if self.stars => return self.take_digit(byte),
            b'-' | b' ' if self.form == Form::TextOrDigits && Digits::is_block(&self.typed) => {
                self.push(byte);
                self.stars = true;
                self.show_stars();
                self.report_block();
            }
            byte => self.push(byte),
        }
        Key::More
    }

    fn take_digit(&mut self, byte: u8) -> Key {
        if byte.is_ascii_digit() {
            if Digits::of(&self.typed).is_full() {
                self.ignore();
                return Key::More;
            }
            self.push(byte);
            self.terminal.show("*");
            let digits = Digits::of(&self.typed);
            if digits.ends_block() {
                self.report_block();
            }
            self.remember_stars();
            return match digits.is_full() && digits.first_invalid_block().is_none() {
                true => Key::Enter,
                false => Key::More,
            };
        }
        // Dashes are inserted automatically. They stay part of a text that begins like digits.
        let separates = matches!(byte, b'-' | b' ');
        match self.form {
            Form::TextOrDigits => {
                self.push(byte);
                if !separates {
                    self.stars = false;
                    self.terminal.show("\n");
                    self.show_question();
                }
            }
            _ if separates => {}
            _ => self.ignore(),
        }
        Key::More
    }

    /// Reports an invalid block as soon as it is complete, so that it can be corrected at once.
    fn report_block(&self) {
        let digits = Digits::of(&self.typed);
        if let Some(problem) = digits.problem_of_last_block() {
            self.terminal
                .show(&format!("\n{problem}; correct it with Backspace\n"));
            self.terminal.show(&digits.stars());
        }
        if !digits.is_full() {
            self.terminal.show("-");
        }
        self.remember_stars();
    }

    fn show_stars(&self) {
        self.terminal.show(&Digits::of(&self.typed).stars());
    }

    fn remember_stars(&self) {
        let stars = Digits::of(&self.typed).stars();
        self.terminal.remember(&format!("{}{stars}", self.question));
    }

    fn push(&mut self, byte: u8) {
        match self.typed.len() < MAX_LEN {
            true => self.typed.push(byte),
            false => self.ignore(),
        }
    }

    /// Takes the last character back.
    fn erase(&mut self) {
        if self.stars {
            let erasure = Digits::of(&self.typed).erasure();
            while let Some(byte) = self.typed.pop()
                && !byte.is_ascii_digit()
            {}
            self.terminal.show(erasure);
            self.remember_stars();
            return;
        }
        while let Some(byte) = self.typed.pop()
            && byte & 0xC0 == 0x80
        {}
    }

    fn erase_word(&mut self) {
        while self.typed.pop_if(|byte| *byte == b' ').is_some() {}
        while self.typed.pop_if(|byte| *byte != b' ').is_some() {}
    }

    /// A key that types no character: the user hears it.
    fn ignore(&mut self) {
        self.ignored = true;
        self.terminal.show(BELL);
    }
}

/// The settings of the terminal, changed as long as the user is asked.
struct Held {
    terminal: File,
    before: Termios,
    quiet: Termios,
    /// How many [`Silence`] exist.
    users: usize,
    /// What stands on the line, to show it again after the process was stopped.
    line: String,
}

static HELD: Mutex<Option<Held>> = Mutex::new(None);

/// The signals that the command handles itself, as a mask.
static OTHERS: AtomicU64 = AtomicU64::new(0);

fn held() -> MutexGuard<'static, Option<Held>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as one exists, the terminal does not show what is typed. What was typed
/// and not read is then discarded: it may be a secret, and the shell must not run it.
pub(crate) struct Silence {
    terminal: File,
    /// Whether Ctrl-C, Ctrl-\ and Ctrl-Z arrive as characters, because the terminal does not control
    /// the process.
    raises: bool,
}

impl Silence {
    /// Turns the echo off, and discards what was typed before.
    ///
    /// # Errors
    /// There is no terminal, or its settings cannot be changed.
    pub(crate) fn begin() -> io::Result<Self> {
        watch_signals();
        let mut held = held();
        if let Some(held) = held.as_mut() {
            let terminal = held.terminal.try_clone()?;
            held.users += 1;
            let raises = !held.quiet.local_modes.contains(LocalModes::ISIG);
            return Ok(Self { terminal, raises });
        }
        let (terminal, controls) = open()?;
        let copy = terminal.try_clone()?;
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        let hidden = LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON;
        quiet.local_modes.remove(hidden);
        quiet.local_modes.set(LocalModes::ISIG, controls);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        *held = Some(Held {
            terminal,
            before,
            quiet,
            users: 1,
            line: String::new(),
        });
        Ok(Self {
            terminal: copy,
            raises: !controls,
        })
    }

    /// Discards what was typed ahead.
    pub(crate) fn discard(&self) {
        let _ = tcflush(&self.terminal, QueueSelector::IFlush);
    }

    /// The next byte; `None` at the end of the input.
    fn next(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        loop {
            silence_again();
            match (&self.terminal).read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(byte[0])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next byte of an escape sequence; `None` if it has ended.
    fn next_of_sequence(&self) -> io::Result<Option<u8>> {
        let mut ready = [PollFd::new(&self.terminal, PollFlags::IN)];
        match poll(&mut ready, Some(&SEQUENCE)) {
            Ok(0) | Err(_) => Ok(None),
            Ok(_) => self.next(),
        }
    }

    /// Writes to the terminal, or, if it is open for reading only, to standard error.
    fn show(&self, text: &str) {
        if (&self.terminal).write_all(text.as_bytes()).is_err() {
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }

    /// Records what stands on the line.
    fn remember(&self, line: &str) {
        if let Some(held) = held().as_mut() {
            line.clone_into(&mut held.line);
        }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let mut held = held();
        let Some(shared) = held.as_mut() else {
            return;
        };
        shared.users -= 1;
        if shared.users == 0 {
            let _ = tcsetattr(&shared.terminal, OptionalActions::Flush, &shared.before);
            *held = None;
        }
    }
}

/// The terminal that controls the process, or else that of standard input, as after setsid(1); and
/// whether it controls the process.
fn open() -> io::Result<(File, bool)> {
    match File::options().read(true).write(true).open("/dev/tty") {
        Ok(terminal) => Ok((terminal, true)),
        Err(_) if io::stdin().is_terminal() => {
            Ok((rustix::io::dup(rustix::stdio::stdin())?.into(), false))
        }
        Err(error) => Err(error),
    }
}

/// Turns the echo off if another program, such as a shell, turned it on.
fn silence_again() {
    if let Some(held) = held().as_ref()
        && let Ok(now) = tcgetattr(&held.terminal)
        && now.local_modes != held.quiet.local_modes
    {
        let _ = tcsetattr(&held.terminal, OptionalActions::Now, &held.quiet);
    }
}

/// Gives the terminal its settings back, for a process that ends or stops.
pub(crate) fn restore() {
    if let Some(held) = held().as_ref() {
        let _ = tcsetattr(&held.terminal, OptionalActions::Flush, &held.before);
        let _ = (&held.terminal).write_all(b"\n");
    }
}

/// From now on, the command handles these signals itself.
pub(crate) fn leave_to_others(signals: &[i32]) {
    for signal in signals {
        OTHERS.fetch_or(1 << signal, Ordering::Relaxed);
    }
}

/// What the terminal would do if it controlled the process.
fn raise(byte: u8) {
    receive(match byte {
        INTERRUPT => SIGINT,
        QUIT => SIGQUIT,
        _ => SIGTSTP,
    });
    silence_again();
}

fn receive(signal: i32) {
    if signal == SIGCONT {
        silence_again();
        if let Some(held) = held().as_ref()
            && !held.line.is_empty()
        {
            let _ = (&held.terminal).write_all(format!("\r{}", held.line).as_bytes());
        }
        return;
    }
    if OTHERS.load(Ordering::Relaxed) >> signal & 1 == 1 {
        return;
    }
    restore();
    let _ = emulate_default_handler(signal);
}

/// Handles the signals on a thread of its own, from the first question to the end of the process.
fn watch_signals() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let mut signals = vec![SIGCONT];
        let ending = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP];
        signals.extend(ending.into_iter().filter(|signal| !is_ignored(*signal)));
        let Ok(mut signals) = Signals::new(signals) else {
            return;
        };
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("keyboard".to_owned());
        let started = thread.spawn(move || {
            // A mount gives up its capabilities later, on its own thread only.
            let _ = give_up_capabilities();
            signals.forever().for_each(receive);
        });
        if started.is_err() {
            handle.close();
        }
    });
}

/// Whether the process was started with this signal ignored (`SigIgn` in proc(5) is a mask in hex).
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
