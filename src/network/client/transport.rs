//! The trait that carries a request to a server and brings back what answers.

use std::time::{Duration, Instant};

use crate::error::Remedy;
use crate::network::{Request, SealedReply};

/// A way to reach Network Unlock servers. Implement it to ask over something other than DHCP, and
/// pass the implementation to [`ask`](super::ask) or to
/// [`NetworkUnlock`](crate::unlock::network::NetworkUnlock).
pub trait Transport: Send + Sync {
    /// How messages name it, for example `DHCPv4 on eth0`.
    fn name(&self) -> String;

    /// When to send the request, and how long to wait for replies. Called once for each request.
    fn schedule(&self) -> Schedule;

    /// Prepares to send one request, for example by opening sockets. Sends nothing yet.
    ///
    /// # Errors
    /// If the request cannot be sent from this computer.
    fn begin(&self, request: &Request) -> Result<Box<dyn Exchange + '_>, TransportError>;
}

/// One request that is being sent. It ends when the value is dropped.
pub trait Exchange {
    /// Sends the request. Retransmissions must consist of the same bytes.
    ///
    /// # Errors
    /// If it was not sent at all.
    fn send(&mut self) -> Result<(), TransportError>;

    /// Waits for the next packet until `until`. `None` when the time is up; an implementation may
    /// also return `None` earlier, and is then called again.
    ///
    /// Anything that is not a reply to this request, such as a reply to another client, must be
    /// returned as [`Received::Other`].
    ///
    /// # Errors
    /// If nothing can be received any more.
    fn receive(&mut self, until: Instant) -> Result<Option<Received>, TransportError>;
}

/// A packet that was received.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Received {
    /// It has the form of a reply to this request. Whether it is authentic is not checked yet.
    Reply {
        /// The reply.
        reply: SealedReply,
        /// Who sent it, as far as the transport knows; not authenticated.
        from: String,
    },
    /// Any other packet.
    Other {
        /// The kind of packet, for messages, such as `DHCPOFFER`. Must not quote its content.
        what: String,
        /// Who sent it, as far as the transport knows; not authenticated.
        from: String,
    },
}

/// When a request is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schedule {
    /// The delay before the request is sent for the first time.
    pub delay: Duration,
    /// How long to wait for a reply each time the request was sent. The request is sent as many
    /// times as there are entries.
    pub waits: Vec<Duration>,
}

impl Schedule {
    /// Sends after `delay`, and again after each of `waits` but the last.
    pub fn new(delay: Duration, waits: impl Into<Vec<Duration>>) -> Self {
        Self {
            delay,
            waits: waits.into(),
        }
    }

    /// How long an exchange takes if there is no reply.
    pub fn total(&self) -> Duration {
        self.delay + self.waits.iter().sum::<Duration>()
    }

    /// The same schedule, shortened in proportion if it takes longer than `time`. So a request is
    /// still sent as often, and the random delay does not use up a short time.
    pub(super) fn within(self, time: Duration) -> Self {
        let total = self.total();
        if total <= time {
            return self;
        }
        let factor = time.as_secs_f64() / total.as_secs_f64();
        let shorter = |one: &Duration| one.mul_f64(factor);
        Self {
            delay: shorter(&self.delay),
            waits: self.waits.iter().map(shorter).collect(),
        }
    }
}

/// Why a request cannot be sent, or nothing can be received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// There is no usable interface, or it has no address.
    #[error("{what}")]
    NoAddress {
        /// Which interface lacks what.
        what: String,
    },
    /// The operating system reported an error.
    #[error("{what}: {source}")]
    Io {
        /// What failed.
        what: String,
        /// What the user can do about it.
        remedy: Option<Remedy>,
        /// The error of the operating system.
        source: std::io::Error,
    },
}
