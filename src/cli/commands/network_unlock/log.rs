//! The server's log on standard error: a line for each request, and for each event of the server
//! itself.
//!
//! The first answer to every request is logged, and the rate limits bound their number. Of other
//! requests, which every host can send, only the first few with each reason are logged in a period of
//! ten seconds; then a line for each reason says how many were left out.
//!
//! As text (`--log text`): pairs `key=value`. As JSON (`--log json`): an object with `time`, `level`, `event`
//! (`request`, `not-sent`, `left-out`, `message`) and, for requests, `decision`, `reason`, `detail`,
//! `transport`, `source`, `client`, `relay`, `peer`, `hardware`, `xid`, `thumbprint`,
//! `key_protector` (a digest), `to`, `microseconds` and `error`; for `left-out`, `reason`, `requests`
//! and `seconds`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// How long a period is. At its end, what was left out is logged.
const PERIOD: Duration = Duration::from_secs(10);
/// How many requests with the same reason are logged in a period: from one source, and in all. So one host that sends many does not hide the others, and a frequent reason does not hide
/// the others.
const MAX_FROM_SOURCE: usize = 5;
const MAX_WITH_REASON: usize = 50;

/// The word for requests whose reply could not be sent.
const SEND: &str = "send";

pub(super) struct Log {
    format: Format,
    /// Whether the log goes to systemd's journal, which reads the priority at the start of a line and
    /// adds the time.
    journal: bool,
    period: Mutex<Period>,
}

/// What was logged in a period of time, and what was left out.
struct Period {
    start: Instant,
    reasons: BTreeMap<&'static str, Requests>,
}

/// The requests of a period with the same reason.
#[derive(Default)]
struct Requests {
    /// Where the requests that were logged came from: at most [`MAX_WITH_REASON`] entries.
    logged: Vec<IpAddr>,
    left_out: u64,
}

impl Period {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            reasons: BTreeMap::new(),
        }
    }

    /// Whether to log a request; otherwise counts it.
    fn admit(&mut self, reason: &'static str, source: IpAddr) -> bool {
        let requests = self.reasons.entry(reason).or_default();
        let from_source = requests.logged.iter().filter(|one| **one == source).count();
        let admitted = requests.logged.len() < MAX_WITH_REASON && from_source < MAX_FROM_SOURCE;
        match admitted {
            true => requests.logged.push(source),
            false => self.leave_out(reason),
        }
        admitted
    }

    fn leave_out(&mut self, reason: &'static str) {
        let left_out = &mut self.reasons.entry(reason).or_default().left_out;
        *left_out = left_out.saturating_add(1);
    }
}

impl Log {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            journal: std::env::var_os("JOURNAL_STREAM").is_some(),
            period: Mutex::new(Period::new()),
        }
    }

    pub(super) fn event(&self, event: &Event<'_>) {
        match event {
            Event::Request(record) => self.request(record),
            Event::NotSent(record, error) => {
                if !self.admit(SEND, record) {
                    return;
                }
                self.write(
                    Level::Error,
                    || format!("decision=refused reason={SEND} error=\"{error}\" {record}"),
                    || {
                        let mut value = describe(record);
                        value["event"] = "not-sent".into();
                        value["error"] = error.to_string().into();
                        value
                    },
                );
            }
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
        let (level, reason) = (record.verdict.level(), record.verdict.reason());
        if level == Level::Quiet {
            self.end_period();
            self.period().leave_out(reason);
            return;
        }
        if record.verdict == Verdict::Answered || self.admit(reason, record) {
            self.write(level, || record.to_string(), || describe(record));
        }
    }

    fn admit(&self, reason: &'static str, record: &Record) -> bool {
        self.end_period();
        self.period().admit(reason, record.source.ip())
    }

    /// Logs what was left out since the beginning of the period, if it is over. To be called often.
    pub(super) fn end_period(&self) {
        let mut period = self.period();
        let elapsed = period.start.elapsed();
        if elapsed < PERIOD {
            return;
        }
        let ended = std::mem::replace(&mut *period, Period::new());
        drop(period);
        self.left_out(&ended, elapsed);
    }

    /// Logs what was left out, at the end of the server.
    pub(super) fn end(&self) {
        let ended = std::mem::replace(&mut *self.period(), Period::new());
        self.left_out(&ended, ended.start.elapsed());
    }

    fn left_out(&self, period: &Period, elapsed: Duration) {
        let seconds = elapsed.as_secs();
        for (reason, requests) in &period.reasons {
            let requests = requests.left_out;
            if requests == 0 {
                continue;
            }
            self.write(
                Level::Warning,
                || format!("left-out reason={reason} requests={requests} seconds={seconds}"),
                || {
                    json!({
                        "event": "left-out",
                        "reason": reason,
                        "requests": requests,
                        "seconds": seconds,
                    })
                },
            );
        }
    }

    fn period(&self) -> MutexGuard<'_, Period> {
        self.period.lock().unwrap_or_else(PoisonError::into_inner)
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
    let address = |address: Option<IpAddr>| address.map(|address| address.to_string());
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
