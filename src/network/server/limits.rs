//! What a server remembers between requests: how many came from where, and what it answered.
//!
//! All tables are bounded; the oldest entry makes room. Time is handed in, so that tests need none.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::network::message::SealedReply;

/// How many requests are let through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// In the long run, per second; zero for no limit.
    pub per_second: f64,
    /// At once.
    pub burst: f64,
}

/// A token bucket.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled: Instant,
    /// Whether its being empty was told already.
    told: bool,
}

/// What a bucket says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    Free,
    /// One too many; the first since there was room.
    Refused,
    /// One too many, after others.
    RefusedAgain,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: rate.burst,
            filled: now,
            told: false,
        }
    }

    fn take(&mut self, rate: Rate, now: Instant) -> Passage {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst);
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            self.told = false;
            return Passage::Free;
        }
        match std::mem::replace(&mut self.told, true) {
            false => Passage::Refused,
            true => Passage::RefusedAgain,
        }
    }
}

/// A bucket for each of many.
pub(super) struct Buckets<K> {
    rate: Rate,
    /// How many are kept.
    room: usize,
    buckets: HashMap<K, Bucket>,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    pub(super) fn new(rate: Rate, room: usize) -> Self {
        Self {
            rate,
            room,
            buckets: HashMap::new(),
        }
    }

    pub(super) fn take(&mut self, key: &K, now: Instant) -> Passage {
        if self.rate.per_second <= 0.0 {
            return Passage::Free;
        }
        if self.buckets.len() >= self.room && !self.buckets.contains_key(key) {
            self.make_room(now);
        }
        self.buckets
            .entry(key.clone())
            .or_insert_with(|| Bucket::full(self.rate, now))
            .take(self.rate, now)
    }

    /// Drops the buckets that are full again; if there is none, the quarter that was used least
    /// lately.
    fn make_room(&mut self, now: Instant) {
        let refill = Duration::try_from_secs_f64(self.rate.burst / self.rate.per_second)
            .unwrap_or(Duration::MAX);
        self.buckets
            .retain(|_, bucket| now.saturating_duration_since(bucket.filled) < refill);
        if self.buckets.len() < self.room {
            return;
        }
        let mut times: Vec<_> = self.buckets.values().map(|bucket| bucket.filled).collect();
        let quarter = times.len() / 4;
        let (_, limit, _) = times.select_nth_unstable(quarter);
        let limit = *limit;
        self.buckets.retain(|_, bucket| bucket.filled > limit);
    }
}

/// SHA-256 of key protector and thumbprint.
pub(super) type RequestDigest = [u8; 32];

/// What was answered lately.
///
/// A reply is a function of its request: to a retransmission the same bytes are sent, without
/// opening it again.
pub(super) struct Answered {
    entries: HashMap<RequestDigest, Entry>,
}

struct Entry {
    at: Instant,
    /// While it may be sent again.
    reply: Option<Zeroizing<[u8; SealedReply::LEN]>>,
}

/// What is known of a request that came before.
pub(super) enum Before {
    Never,
    /// A moment ago: the reply of then.
    Retransmitted(SealedReply),
    /// This long ago.
    Replayed(Duration),
}

impl Answered {
    /// How long a request counts as retransmitted.
    const RETRANSMISSION: Duration = Duration::from_secs(16);
    /// How many requests are remembered, to notice that one is replayed.
    const ROOM: usize = 65_536;

    pub(super) fn new() -> Self {
        Self {
            entries: HashMap::new(),
        }
    }

    pub(super) fn before(&mut self, request: &RequestDigest, now: Instant) -> Before {
        let Some(entry) = self.entries.get_mut(request) else {
            return Before::Never;
        };
        let ago = now.saturating_duration_since(entry.at);
        match &entry.reply {
            Some(reply) if ago <= Self::RETRANSMISSION => {
                Before::Retransmitted(SealedReply::from_bytes(**reply))
            }
            _ => {
                entry.reply = None;
                Before::Replayed(ago)
            }
        }
    }

    pub(super) fn remember(&mut self, request: RequestDigest, reply: SealedReply, now: Instant) {
        if self.entries.len() >= Self::ROOM {
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
