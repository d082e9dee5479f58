//! The report as text.

use fve::analysis::Moment;

use super::words::{
    advice, certainty_words, finding_words, mode_words, moment_words, profile_words, saved_words,
    windows_words,
};
use super::{ReportView, age_days};
use crate::cli::describe::{Report, field, line, protection_words};
use crate::cli::output::term::{escaped, human_size};

/// How many events of the logs the timeline shows at most; `--json` has all of them.
const MAX_LOGGED: usize = 40;

impl ReportView<'_> {
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        Report::of(self.opened).write_heading(&mut text);
        self.write_state(&mut text);
        self.write_protectors(&mut text);
        self.write_timeline(&mut text);
        self.write_consistency(&mut text);
        self.write_findings(&mut text);
        self.write_logs(&mut text);
        text
    }

    fn write_state(&self, text: &mut String) {
        let analysis = &self.analysis;
        let volume = &self.opened.volume;
        let status = volume.status();
        field(text, "Unlocked By:", &mode_words(analysis));
        field(
            text,
            "Protection Status:",
            &protection_words(status.protection),
        );
        field(text, "Conversion Status:", status.conversion.name());
        let size = volume.declared_size().map(human_size);
        field(
            text,
            "Size:",
            size.as_deref().unwrap_or("unknown until unlocked"),
        );
        for profile in &analysis.profiles {
            let pcrs: Vec<_> = profile.pcrs.iter().map(u8::to_string).collect();
            let bank = profile.bank.map_or("unknown", |bank| bank.name());
            field(
                text,
                "PCR Profile:",
                &format!(
                    "{} ({}), {bank} bank, {}",
                    pcrs.join(", "),
                    profile_words(profile.kind),
                    profile.protector.short()
                ),
            );
        }
        if let Some(windows) = &analysis.windows {
            field(text, "Turned On By:", &windows_words(windows));
        }
        if let Some(computer) = &analysis.computer {
            field(text, "Computer:", &escaped(computer));
        }
        if let Some(id) = analysis.asked_for {
            field(
                text,
                "Recovery Screen ID:",
                &format!("{} (recovery password {{{id:X}}})", id.short()),
            );
        }
    }

    fn write_protectors(&self, text: &mut String) {
        line(text, format_args!("\nKey Protectors\n"));
        for protector in self.opened.volume.protectors() {
            let age = age_days(protector.changed);
            let age = age.map_or(String::new(), |days| format!(", {days} days ago"));
            field(
                text,
                &format!("{}:", protector.kind().name()),
                &format!(
                    "{{{:X}}}, changed {}{age}{}",
                    protector.id,
                    protector.changed,
                    saved_words(protector)
                ),
            );
        }
    }

    fn write_timeline(&self, text: &mut String) {
        line(text, format_args!("\nTimeline\n"));
        let logged = |moment: &&Moment| moment.what.is_logged();
        let all = self.analysis.timeline.iter().filter(logged).count();
        let mut skip = all.saturating_sub(MAX_LOGGED);
        if skip > 0 {
            line(
                text,
                format_args!("    ({skip} earlier events: use --json to list them)"),
            );
        }
        for moment in &self.analysis.timeline {
            if moment.what.is_logged() && skip > 0 {
                skip -= 1;
                continue;
            }
            line(
                text,
                format_args!(
                    "    {:<30} {}",
                    moment.time.to_string(),
                    moment_words(moment)
                ),
            );
        }
    }

    fn write_consistency(&self, text: &mut String) {
        line(text, format_args!("\nMetadata\n"));
        Report::of(self.opened).write_copies(text);
        let agree = if self.opened.volume.copies().disagree() {
            "the intact copies disagree"
        } else {
            "the intact copies agree"
        };
        field(text, "Agreement:", agree);
        let hash = match (self.proved, self.unlocked) {
            (true, _) => "verified with the volume master key",
            (false, true) => "not verified",
            (false, false) => "not compared: this needs a credential",
        };
        field(text, "SHA-256:", hash);
        let sealings = self.analysis.sealings;
        if let Some(gone) = sealings.gone() {
            field(
                text,
                "Sealed Entries:",
                &format!(
                    "{} on the volume; {gone} more were replaced or removed since it was set up",
                    sealings.present
                ),
            );
        }
    }

    fn write_findings(&self, text: &mut String) {
        line(text, format_args!("\nFindings"));
        let mut last = None;
        for finding in &self.analysis.findings {
            if last != Some(finding.certainty) {
                line(
                    text,
                    format_args!("\n  {}\n", certainty_words(finding.certainty)),
                );
                last = Some(finding.certainty);
            }
            line(
                text,
                format_args!("    * {}", finding_words(finding, &self.analysis)),
            );
            if let Some(advice) = advice(finding) {
                line(text, format_args!("      Advice: {advice}"));
            }
        }
        if self.analysis.findings.is_empty() {
            line(
                text,
                format_args!("\n    Nothing on the volume indicates a cause."),
            );
        }
    }

    fn write_logs(&self, text: &mut String) {
        line(text, format_args!("\nEvent Logs\n"));
        let Some(logs) = self.logs else {
            let why = match (self.unlocked, cfg!(feature = "event-logs")) {
                (true, false) => "this program was built without the feature event-logs",
                _ => "not read: this needs a credential",
            };
            return line(text, format_args!("    {why}"));
        };
        for log in &logs.logs {
            let result = match &log.fault {
                Some(fault) => escaped(fault),
                None if log.unreadable > 0 => format!(
                    "{} records, and {} more that cannot be read",
                    log.records, log.unreadable
                ),
                None => format!("{} records", log.records),
            };
            line(text, format_args!("    {}: {result}", log.path));
        }
    }
}
