//! Reads event logs from an unlocked volume, with the crate `evtx`.
//!
//! All limits below bound the memory that a forged log can claim.

use std::sync::Arc;

use evtx::{EvtxParser, ParserSettings, SerializedEvtxRecord};
use serde_json::Value;

use super::{EventKind, EventLogs, Log, LogEvent};
use crate::files::{FilePath, Files};
use crate::format::time::FileTime;
use crate::source::Cursor;
use crate::volume::Unlocked;

/// The directory of the logs, from Windows Vista on.
const DIRECTORY: [&str; 4] = ["Windows", "System32", "winevt", "Logs"];
/// The files that are read.
const LOGS: [&str; 2] = [
    "System.evtx",
    "Microsoft-Windows-BitLocker%4BitLocker Management.evtx",
];
/// Largest log that is read, in bytes. Windows' default limit for the system log is 20 MiB.
const MAX_LOG: u64 = 1 << 30;
/// Most events of BitLocker that are kept.
const MAX_EVENTS: usize = 10_000;
/// Longest value of an event that is kept, in characters.
const MAX_VALUE: usize = 1024;
/// Most bytes of an event that are kept, names and values. BitLocker's events have a few hundred.
const MAX_EVENT: usize = 8192;
/// Longest name of a provider, in bytes.
const MAX_PROVIDER: usize = 256;
/// How the names of BitLocker's providers begin, in lower case.
const PROVIDERS: &str = "microsoft-windows-bitlocker";
/// The provider of the events that Windows starts (12) and shuts down (13) (general knowledge of
/// Windows).
const KERNEL: &str = "Microsoft-Windows-Kernel-General";

impl EventLogs {
    /// Reads the event logs of an unlocked NTFS volume, and writes nothing (feature `event-logs`).
    ///
    /// A log that cannot be read is no error: [`Log::fault`] says why.
    pub fn read(volume: &Arc<Unlocked>) -> Self {
        let files = volume
            .files()
            .map_err(|error| error.with_causes().to_string());
        let mut found = Self::default();
        for name in LOGS {
            let mut log = Log {
                path: format!("{}/{name}", DIRECTORY.join("/")),
                records: 0,
                unreadable: 0,
                fault: None,
            };
            log.fault = match &files {
                Ok(files) => read_log(files, name, &mut log, &mut found).err(),
                Err(fault) => Some(fault.clone()),
            };
            found.logs.push(log);
        }
        found.events.sort_by_key(|event| event.time);
        found
    }
}

/// Adds the events of a log, or returns why it cannot be read.
fn read_log(files: &Files, name: &str, log: &mut Log, found: &mut EventLogs) -> Result<(), String> {
    let names = DIRECTORY.into_iter().chain([name]).map(Into::into);
    let path = FilePath::from_names(names.collect());
    let content = files
        .find(&path)
        .and_then(|file| files.open(file.id, None))
        .map_err(|fault| fault.to_string())?;
    let len = content.size();
    if len > MAX_LOG {
        return Err(format!(
            "it has {len} bytes, which is too large for such a file"
        ));
    }
    let parser = EvtxParser::from_read_seek(Cursor::new(content))
        .map_err(|_| "it is not an event log".to_owned())?;
    let settings = ParserSettings::new().indent(false);
    for record in parser.with_configuration(settings).records_json_value() {
        match record {
            Ok(record) => {
                log.records += 1;
                keep(&record, found);
            }
            Err(_) => log.unreadable += 1,
        }
    }
    Ok(())
}

/// Adds a record's event, if it is one of those above.
fn keep(record: &SerializedEvtxRecord<Value>, found: &mut EventLogs) {
    let event = &record.data["Event"];
    let system = &event["System"];
    let provider = system["Provider"]["#attributes"]["Name"].as_str();
    let (Some(provider), Some(id)) = (provider, number(&system["EventID"])) else {
        return;
    };
    if provider.len() > MAX_PROVIDER {
        return;
    }
    let time = FileTime::from_system_time(record.timestamp.into());
    let last = match id {
        12 if provider == KERNEL => &mut found.last_start,
        13 if provider == KERNEL => &mut found.last_end,
        _ => {
            let ours = provider.to_ascii_lowercase().starts_with(PROVIDERS);
            if ours {
                if found.events.len() == MAX_EVENTS {
                    // Logs are read from the oldest record on, and the newest events matter most.
                    found.events.drain(..MAX_EVENTS / 2);
                }
                found.events.push(LogEvent {
                    time,
                    id,
                    provider: provider.to_owned(),
                    record: record.event_record_id,
                    kind: EventKind::of(provider, id),
                    values: values(event),
                });
            }
            return;
        }
    };
    *last = (*last).max(Some(time));
}

/// A number. `evtx` puts the text of an element with attributes into `#text`.
fn number(value: &Value) -> Option<u16> {
    let plain = value.get("#text").unwrap_or(value);
    match plain {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64()?.try_into().ok(),
    }
}

/// Names and values of an event's data.
fn values(event: &Value) -> Vec<(String, String)> {
    let mut values = Vec::new();
    let mut budget = MAX_EVENT;
    for part in ["EventData", "UserData"] {
        flatten(part, &event[part], &mut values, &mut budget);
    }
    values
}

/// Adds the values nested in `value`, as far as they fit into `budget` bytes.
fn flatten(name: &str, value: &Value, values: &mut Vec<(String, String)>, budget: &mut usize) {
    let mut push = |text: &str| {
        let text: String = text.chars().take(MAX_VALUE).collect();
        // Empty values need memory too.
        let size = name.len() + text.len() + size_of::<(String, String)>();
        if let Some(left) = budget.checked_sub(size) {
            *budget = left;
            values.push((name.to_owned(), text));
        }
    };
    match value {
        Value::Null => {}
        Value::String(text) => push(text),
        Value::Bool(_) | Value::Number(_) => push(&value.to_string()),
        Value::Array(items) => {
            for item in items {
                flatten(name, item, values, budget);
            }
        }
        Value::Object(members) => {
            for (name, value) in members.iter().filter(|(name, _)| *name != "#attributes") {
                flatten(name, value, values, budget);
            }
        }
    }
}
