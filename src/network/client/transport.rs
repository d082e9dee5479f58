//! The seam between the client and whatever carries its question.

use std::time::{Duration, Instant};

use crate::error::Remedy;
use crate::network::{Request, SealedReply};

/// Carries requests to whoever may answer. One that is not built in: implement this, and give it
/// to [`ask`](super::ask) or to the credential.
pub trait Transport: Send + Sync {
    /// How messages name it: `DHCPv4`.
    fn place(&self) -> String;

    /// When the request is sent, and how long each sending is waited for.
    fn timetable(&self) -> Timetable;

    /// Makes everything ready for one request, and sends nothing yet.
    ///
    /// # Errors
    /// Nothing can be sent from here.
    fn begin(&self, request: &Request) -> Result<Box<dyn Exchange + '_>, TransportError>;
}

/// One request under way. Dropping it ends it.
pub trait Exchange {
    /// Sends the request: the same bytes every time.
    ///
    /// # Errors
    /// It was not sent anywhere.
    fn send(&mut self) -> Result<(), TransportError>;

    /// The next thing that comes; `None` when there is nothing by `until`, and allowed earlier.
    /// What is no reply to this very request is [`Received::Other`], however much it looks like
    /// one; it ends nothing.
    ///
    /// # Errors
    /// Nothing can be received any more.
    fn receive(&mut self, until: Instant) -> Result<Option<Received>, TransportError>;
}

/// What came.
#[derive(Debug)]
pub enum Received {
    /// A reply to this request, by its form; whether it is authentic is not known.
    Reply {
        /// The reply.
        reply: SealedReply,
        /// Who sent it, as far as can be told.
        from: String,
    },
    /// Anything else.
    Other {
        /// What it is, in a few words of our own: nothing of its content.
        what: String,
        /// Who sent it, as far as can be told.
        from: String,
    },
}

/// When a request is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    /// How long to wait before the first sending.
    pub delay: Duration,
    /// One sending each, and how long to wait after it.
    pub waits: Vec<Duration>,
}

impl Timetable {
    /// How long it takes when nobody answers.
    pub fn total(&self) -> Duration {
        self.delay + self.waits.iter().sum::<Duration>()
    }
}

/// Why nothing can be sent or received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// There is no interface, or it has no address.
    #[error("{what}")]
    NoAddress {
        /// Which interface lacks what.
        what: String,
    },
    /// The system refuses.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What to do about it.
        remedy: Option<Remedy>,
        /// The system's own reason.
        source: std::io::Error,
    },
}
