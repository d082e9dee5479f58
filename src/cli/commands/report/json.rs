//! The report as a JSON document.

use fve::analysis::{Analysis, EventKind, EventLogs, Finding, FindingKind, Moment};
use fve::format::copies::MetadataCopy;
use serde_json::{Value, json};

use super::words::{advice, finding_words, moment_words};
use super::{ReportView, age_days};
use crate::cli::describe::{Report, protectors_json};
use crate::cli::output::json as documents;

impl ReportView<'_> {
    pub(super) fn json(&self) -> String {
        let analysis = &self.analysis;
        let block = self.opened.volume.metadata_as_found();
        let report = Report::of(self.opened);
        documents::document(&json!({
            "source": report.source_json(),
            "volume": block.map(|block| report.volume_json(block)),
            "mode": analysis.mode.word(),
            "starts_with": analysis.starts_with.iter().map(|kind| kind.word()).collect::<Vec<_>>(),
            "system": analysis.system,
            "pcr_profiles": analysis.profiles.iter().map(|profile| json!({
                "protector": format!("{:X}", profile.protector),
                "pcrs": profile.pcrs,
                "profile": profile.kind.word(),
                "bank": profile.bank.map(|bank| bank.word()),
            })).collect::<Vec<_>>(),
            "windows": analysis.windows.map(|windows| json!({
                "major": windows.major,
                "minor": windows.minor,
                "build": windows.build,
                "product": windows.product(),
                "release": windows.release(),
            })),
            "computer": analysis.computer,
            "recovery_password_asked_for": analysis.asked_for.map(|id| format!("{id:X}")),
            "suspension": analysis.suspension.map(|suspension| json!({
                "since": suspension.since.to_string(),
                "reboots_left": suspension.reboots_left,
            })),
            "protectors": self.protectors_json(),
            "consistency": {
                "copies": self.opened.volume.copies().0.iter().map(copy_json).collect::<Vec<_>>(),
                "agree": !self.opened.volume.copies().disagree(),
                "sha256": match (self.proved, self.unlocked) {
                    (true, _) => "proved",
                    (false, true) => "not-proved",
                    (false, false) => "not-compared",
                },
            },
            "sealings": {
                "next": analysis.sealings.next,
                "present": analysis.sealings.present,
                "gone": analysis.sealings.gone(),
            },
            "timeline": analysis.timeline.iter().map(moment_json).collect::<Vec<_>>(),
            "findings": analysis.findings.iter().map(|finding| {
                finding_json(finding, analysis)
            }).collect::<Vec<_>>(),
            "unlocked": self.unlocked,
            "event_logs": self.logs.map(logs_json),
        }))
    }

    fn protectors_json(&self) -> Vec<Value> {
        let Some(block) = self.opened.volume.metadata_as_found() else {
            return Vec::new();
        };
        let mut protectors = protectors_json(block);
        for (value, protector) in protectors.iter_mut().zip(block.protectors()) {
            value["age_days"] = json!(age_days(protector.changed));
        }
        protectors
    }
}

fn copy_json(copy: &MetadataCopy) -> Value {
    let block = copy.block.as_ref().ok();
    json!({
        "number": copy.number,
        "offset": copy.offset,
        "good": copy.fault().is_none(),
        "fault": copy.fault().map(|fault| fault.fault),
        "crc_matches": block.map(|block| block.validation.crc_matches),
        "last_written": block.and_then(|block| block.last_written()).map(|time| time.to_string()),
        "next_nonce": block.map(|block| block.dataset.next_nonce),
    })
}

fn moment_json(moment: &Moment) -> Value {
    json!({
        "time": moment.time.to_string(),
        "event": moment.what.word(),
        "message": moment_words(moment),
        "protector": moment.protector.map(|(id, _)| format!("{id:X}")),
        "type": moment.protector.map(|(_, kind)| kind.word()),
        "from": if moment.what.is_logged() { "event-log" } else { "metadata" },
    })
}

fn finding_json(finding: &Finding, analysis: &Analysis) -> Value {
    let (event, count, last) = match &finding.kind {
        FindingKind::Logged { kind, count, last } => {
            (Some(kind.word()), Some(*count), Some(last.to_string()))
        }
        _ => (None, None, None),
    };
    let pcr = match finding.kind {
        FindingKind::PcrChanged(pcr) => Some(pcr),
        _ => None,
    };
    json!({
        "finding": finding.kind.word(),
        "certainty": finding.certainty.word(),
        "message": finding_words(finding, analysis),
        "advice": advice(finding),
        "protector": finding.protector.map(|id| format!("{id:X}")),
        "pcr": pcr,
        "event": event,
        "count": count,
        "last": last,
    })
}

fn logs_json(logs: &EventLogs) -> Value {
    let events: Vec<_> = logs
        .events
        .iter()
        .map(|event| {
            let values: serde_json::Map<_, _> = event
                .values
                .iter()
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect();
            json!({
                "time": event.time.to_string(),
                "id": event.id,
                "provider": event.provider,
                "record": event.record,
                "meaning": event.kind.map(EventKind::word),
                "values": values,
            })
        })
        .collect();
    json!({
        "logs": logs.logs.iter().map(|log| json!({
            "path": log.path,
            "records": log.records,
            "unreadable": log.unreadable,
            "fault": log.fault,
        })).collect::<Vec<_>>(),
        "events": events,
        "last_start": logs.last_start.map(|time| time.to_string()),
        "last_end": logs.last_end.map(|time| time.to_string()),
    })
}
