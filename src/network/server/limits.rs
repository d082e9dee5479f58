//! What the server remembers between requests: token buckets for the rate limits, and the requests
//! that it answered.
//!
//! Every table has a limit; when it is full, the oldest entries are dropped. Callers pass the time,
//! so that tests need not wait.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::network::message::SealedReply;

/// A rate limit.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Rate {
    /// The average number of requests per second; zero for no limit.
    pub per_second: f64,
    /// How many requests are let through at once after a pause.
    pub burst: f64,
}

impl Rate {
    /// So many requests per second on average, and so many at once. Zero per second is no limit.
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst }
    }
}

/// A token bucket: one token for each request, refilled at the rate, never above the burst.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    /// When `tokens` was computed last.
    updated: Instant,
    /// Whether a refusal was reported since the last request that was let through.
    refusal_reported: bool,
}

/// Whether a rate limit lets a request through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RateDecision {
    Allowed,
    /// Refused; the first since a request was let through. Only this one is logged.
    Refused,
    /// Refused, like the request before it.
    RefusedAgain,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: rate.burst,
            updated: now,
            refusal_reported: false,
        }
    }

    fn check(&mut self, rate: Rate, now: Instant) -> RateDecision {
        let passed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst);
        self.updated = now;
        if self.tokens >= 1.0 {
            return RateDecision::Allowed;
        }
        match std::mem::replace(&mut self.refusal_reported, true) {
            false => RateDecision::Refused,
            true => RateDecision::RefusedAgain,
        }
    }

    fn take(&mut self, rate: Rate, now: Instant) -> RateDecision {
        let decision = self.check(rate, now);
        if decision == RateDecision::Allowed {
            self.tokens -= 1.0;
            self.refusal_reported = false;
        }
        decision
    }
}

/// A token bucket for each key.
pub(super) struct TokenBuckets<K> {
    rate: Rate,
    /// The greatest number of buckets to keep.
    capacity: usize,
    buckets: HashMap<K, Bucket>,
}

impl<K: Hash + Eq + Clone> TokenBuckets<K> {
    pub(super) fn new(rate: Rate, capacity: usize) -> Self {
        Self {
            rate,
            capacity,
            buckets: HashMap::new(),
        }
    }

    /// Whether a request would be let through. Takes no token, and keeps nothing for a key that is
    /// not known.
    pub(super) fn check(&mut self, key: &K, now: Instant) -> RateDecision {
        match self.buckets.get_mut(key) {
            Some(bucket) if self.rate.per_second > 0.0 => bucket.check(self.rate, now),
            _ => RateDecision::Allowed,
        }
    }

    pub(super) fn take(&mut self, key: &K, now: Instant) -> RateDecision {
        if self.rate.per_second <= 0.0 {
            return RateDecision::Allowed;
        }
        if self.buckets.len() >= self.capacity && !self.buckets.contains_key(key) {
            self.drop_buckets(now);
        }
        self.buckets
            .entry(key.clone())
            .or_insert_with(|| Bucket::full(self.rate, now))
            .take(self.rate, now)
    }

    /// Drops the buckets that are full again, which loses nothing; if there are none, the quarter
    /// that was used longest ago.
    fn drop_buckets(&mut self, now: Instant) {
        let refill = Duration::try_from_secs_f64(self.rate.burst / self.rate.per_second)
            .unwrap_or(Duration::MAX);
        self.buckets
            .retain(|_, bucket| now.saturating_duration_since(bucket.updated) < refill);
        if self.buckets.len() < self.capacity {
            return;
        }
        let mut times: Vec<_> = self.buckets.values().map(|bucket| bucket.updated).collect();
        let quarter = times.len() / 4;
        let (_, limit, _) = times.select_nth_unstable(quarter);
        let limit = *limit;
        self.buckets.retain(|_, bucket| bucket.updated > limit);
    }
}

/// SHA-256 of the key protector and the thumbprint of a request.
pub(super) type RequestDigest = [u8; 32];

/// The requests that were answered recently.
///
/// A request determines its reply, so a retransmission gets the stored bytes again, without another
/// use of the private key.
pub(super) struct AnsweredRequests {
    entries: HashMap<RequestDigest, Entry>,
}

struct Entry {
    /// When it was answered with the private key.
    at: Instant,
    /// Kept while the request counts as retransmitted.
    reply: Option<Zeroizing<[u8; SealedReply::LEN]>>,
}

/// Whether the same request was answered earlier.
pub(super) enum Earlier {
    Never,
    /// Within [`AnsweredRequests::RETRANSMISSION`]: the reply that was sent.
    Retransmitted(SealedReply),
    /// Longer ago than that: how long.
    Replayed(Duration),
}

impl AnsweredRequests {
    /// For how long after its answer a request counts as retransmitted
    /// (docs/format-network-unlock.md §5.6). Clients give up after 4 seconds
    /// (docs/format-network-unlock.md §4).
    const RETRANSMISSION: Duration = Duration::from_secs(16);
    /// How many requests are remembered in order to recognize a replay.
    const CAPACITY: usize = 65_536;

    pub(super) fn new() -> Self {
        Self {
            entries: HashMap::new(),
        }
    }

    pub(super) fn look_up(&mut self, request: &RequestDigest, now: Instant) -> Earlier {
        let Some(entry) = self.entries.get_mut(request) else {
            return Earlier::Never;
        };
        let ago = now.saturating_duration_since(entry.at);
        match &entry.reply {
            Some(reply) if ago <= Self::RETRANSMISSION => {
                Earlier::Retransmitted(SealedReply::from_bytes(**reply))
            }
            _ => {
                entry.reply = None;
                Earlier::Replayed(ago)
            }
        }
    }

    pub(super) fn remember(&mut self, request: RequestDigest, reply: SealedReply, now: Instant) {
        if self.entries.len() >= Self::CAPACITY {
            // Drops the oldest quarter, so that the next requests need not do this again.
            let mut times: Vec<_> = self.entries.values().map(|entry| entry.at).collect();
            let quarter = times.len() / 4;
            let (_, limit, _) = times.select_nth_unstable(quarter);
            let limit = *limit;
            self.entries.retain(|_, entry| entry.at > limit);
        }
        let reply = Some(Zeroizing::new(*reply.as_bytes()));
        self.entries.insert(request, Entry { at: now, reply });
    }
}
