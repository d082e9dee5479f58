//! The server's log on standard error: a line for each request, and for each event of the server
//! itself.
//!
//! As text (`--log text`): pairs `key=value`. As JSON (`--log json`): an object with `time`, `level`, `event`
//! (`request`, `not-sent`, `message`) and, for requests, `decision`, `reason`, `detail`,
//! `transport`, `source`, `client`, `relay`, `peer`, `hardware`, `xid`, `thumbprint`,
//! `key_protector` (a digest), `to`, `microseconds` and `error`.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::output::term;
use fve::network::server::{Event, Level, Record, Verdict};

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Words for people and grep
    Text,
    /// A JSON object in every line
    Json,
}

/// How many malformed requests are logged per second. Any host can send them, and must not be able
/// to fill the log.
const MAX_MALFORMED: u32 = 10;

pub(super) struct Log {
    format: Format,
    /// Whether the log goes to systemd's journal, which reads the priority at the start of a line and
    /// adds the time.
    journal: bool,
    /// When the current second began, and how many malformed requests came in it.
    malformed: Mutex<(Instant, u32)>,
}

impl Log {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            journal: std::env::var_os("JOURNAL_STREAM").is_some(),
            malformed: Mutex::new((Instant::now(), 0)),
        }
    }

    pub(super) fn event(&self, event: &Event<'_>) {
        match event {
            Event::Request(record) => self.request(record),
            Event::NotSent(record, error) => self.write(
                Level::Error,
                || format!("decision=refused reason=send error=\"{error}\" {record}"),
                || {
                    let mut value = describe(record);
                    value["event"] = "not-sent".into();
                    value["error"] = error.to_string().into();
                    value
                },
            ),
            Event::Failed(socket, error) => {
                self.message(Level::Error, &format!("{socket}: {error}"));
            }
            // The library may add events that this log does not know.
            _ => {}
        }
    }

    /// Logs an event of the server itself.
    pub(super) fn message(&self, level: Level, text: &str) {
        self.write(
            level,
            || term::escaped(text),
            || json!({ "event": "message", "message": text }),
        );
    }

    fn request(&self, record: &Record) {
        let level = record.verdict.level();
        let malformed = matches!(
            record.verdict,
            Verdict::Malformed(_) | Verdict::MessageType(_) | Verdict::Relay
        );
        if level == Level::Quiet || (malformed && !self.may_log_malformed()) {
            return;
        }
        self.write(level, || record.to_string(), || describe(record));
    }

    /// Whether fewer than [`MAX_MALFORMED`] were logged in this second.
    fn may_log_malformed(&self) -> bool {
        let mut window = self
            .malformed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if window.0.elapsed() > Duration::from_secs(1) {
            *window = (Instant::now(), 0);
        }
        window.1 += 1;
        window.1 <= MAX_MALFORMED
    }

    fn write(&self, level: Level, text: impl Fn() -> String, value: impl Fn() -> Value) {
        let number = level.syslog();
        let line = match self.format {
            Format::Json => {
                let mut value = value();
                value["time"] = Timestamp::now().to_string().into();
                value["level"] = number.into();
                format!("{value}\n")
            }
            Format::Text if self.journal => format!("<{number}>{}\n", text()),
            Format::Text => format!("{:.3} {}\n", Timestamp::now(), text()),
        };
        // One write for each line, so that the lines of several threads do not mix. The server goes on
        // if the log cannot be written.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

fn describe(record: &Record) -> Value {
    let address = |address: Option<std::net::IpAddr>| address.map(|address| address.to_string());
    json!({
        "event": "request",
        "decision": record.verdict.decision(),
        "reason": record.verdict.reason(),
        "detail": record.verdict.detail(),
        "transport": record.protocol.word(),
        "source": record.source.ip().to_string(),
        "client": address(record.client),
        "relay": address(record.relay),
        "peer": address(record.peer),
        "hardware": record.hardware_text(),
        "xid": record.xid.map(|xid| format!("{xid:08x}")),
        "thumbprint": record.thumbprint.map(|thumbprint| thumbprint.to_string()),
        "key_protector": record.key_protector_text(),
        "to": record.to.map(|to| to.to_string()),
        "microseconds": u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX),
    })
}
