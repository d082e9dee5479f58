//! The counters of the server, and their text for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::record::{Record, Verdict};
use crate::network::message::Thumbprint;

/// What the server counted since its start.
#[derive(Debug, Default)]
pub struct Counters {
    datagrams: AtomicU64,
    /// In the order of [`Verdict::REASONS`].
    reasons: [AtomicU64; Verdict::REASONS.len()],
    private_operations: AtomicU64,
    private_nanoseconds: AtomicU64,
    send_errors: AtomicU64,
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
    last_reload_failed: AtomicBool,
    certificates: Mutex<BTreeMap<Thumbprint, Use>>,
}

/// How much a certificate is used. One that clients no longer ask for can be retired.
#[derive(Debug, Clone, Copy)]
struct Use {
    answers: u64,
    last: SystemTime,
}

impl Counters {
    pub(super) fn datagram(&self) {
        self.datagrams.fetch_add(1, Relaxed);
    }

    pub(super) fn request(&self, record: &Record) {
        let reason = record.verdict.reason();
        let index = Verdict::REASONS.iter().position(|other| *other == reason);
        if let Some(counter) = index.and_then(|index| self.reasons.get(index)) {
            counter.fetch_add(1, Relaxed);
        }
        if let (true, Some(thumbprint)) = (record.verdict.is_answer(), record.thumbprint) {
            let now = SystemTime::now();
            let mut certificates = self
                .certificates
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let used = certificates.entry(thumbprint).or_insert(Use {
                answers: 0,
                last: now,
            });
            used.answers += 1;
            used.last = now;
        }
    }

    pub(super) fn private_operation(&self, time: Duration) {
        self.private_operations.fetch_add(1, Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.private_nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    pub(super) fn send_error(&self) {
        self.send_errors.fetch_add(1, Relaxed);
    }

    /// Counts a reload of the files. `success` says whether all of them could be used.
    pub fn reloaded(&self, success: bool) {
        self.last_reload_failed.store(!success, Relaxed);
        match success {
            true => self.reloads.fetch_add(1, Relaxed),
            false => self.failed_reloads.fetch_add(1, Relaxed),
        };
    }

    pub(super) fn last_reload_failed(&self) -> bool {
        self.last_reload_failed.load(Relaxed)
    }

    /// How often a private key was used.
    pub fn private_operations(&self) -> u64 {
        self.private_operations.load(Relaxed)
    }

    /// All counters in the text format of Prometheus.
    pub fn prometheus(&self, healthy: bool) -> String {
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, values: &[(String, String)]| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# HELP fve_network_unlock_{name} {help}");
            let _ = writeln!(text, "# TYPE fve_network_unlock_{name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "fve_network_unlock_{name}{labels} {value}");
            }
        };
        let plain = |counter: &AtomicU64| vec![(String::new(), counter.load(Relaxed).to_string())];
        metric(
            "healthy",
            "gauge",
            "Whether every file that was read last could be used.",
            &[(String::new(), u8::from(healthy).to_string())],
        );
        metric(
            "datagrams_total",
            "counter",
            "Datagrams received, including those of other DHCP clients.",
            &plain(&self.datagrams),
        );
        let reasons: Vec<_> = Verdict::REASONS
            .iter()
            .zip(&self.reasons)
            .map(|(reason, count)| {
                (
                    format!("{{reason=\"{reason}\"}}"),
                    count.load(Relaxed).to_string(),
                )
            })
            .collect();
        metric(
            "requests_total",
            "counter",
            "Network Unlock requests by reason; valid, retransmission and repeated were answered.",
            &reasons,
        );
        metric(
            "private_operations_total",
            "counter",
            "Uses of a private key.",
            &plain(&self.private_operations),
        );
        let seconds = self.private_nanoseconds.load(Relaxed) as f64 / 1e9;
        metric(
            "private_operation_seconds_total",
            "counter",
            "Time spent using private keys.",
            &[(String::new(), format!("{seconds:.6}"))],
        );
        metric(
            "send_errors_total",
            "counter",
            "Replies that could not be sent.",
            &plain(&self.send_errors),
        );
        metric(
            "reloads_total",
            "counter",
            "Successful reloads of certificates and policy.",
            &plain(&self.reloads),
        );
        metric(
            "failed_reloads_total",
            "counter",
            "Reloads with a file that could not be used.",
            &plain(&self.failed_reloads),
        );
        let certificates = self
            .certificates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let by_certificate = |value: &dyn Fn(&Use) -> String| -> Vec<_> {
            certificates
                .iter()
                .map(|(thumbprint, used)| (format!("{{thumbprint=\"{thumbprint}\"}}"), value(used)))
                .collect()
        };
        metric(
            "answers_total",
            "counter",
            "Replies by certificate.",
            &by_certificate(&|used| used.answers.to_string()),
        );
        metric(
            "last_answer_timestamp_seconds",
            "gauge",
            "Time of the last reply by certificate.",
            &by_certificate(&|used| {
                let since = used.last.duration_since(SystemTime::UNIX_EPOCH);
                since.map_or(0, |since| since.as_secs()).to_string()
            }),
        );
        text
    }
}
