//! The client: one question, and the key out of the first reply that is authentic.
//!
//! ```text
//! ask ─► Transport::begin ─► Exchange: send, receive, send again … ─► a reply opens, or time is up
//! ```
//! [`ask`] knows nothing of packets: a [`Transport`] carries a [`Request`] out and brings back
//! whatever came that has the form of a [`SealedReply`]. To add one: a file beside this, and its row in
//! [`TRANSPORTS`]; a transport of a program's own needs neither.
//!
//! The protocol has no way of saying no: a server that does not want to answer is silent. So a
//! reply that does not open ends nothing (anybody on the segment may be quicker than the server),
//! and silence ends only with the time (docs/format-network-unlock.md §4).

mod dhcp4;
mod dhcp6;
mod interfaces;
mod memory;
mod named;
mod sockets;
mod transport;
mod under_way;

pub use dhcp4::Dhcp4;
pub use dhcp6::Dhcp6;
pub use memory::{Memory, Network};
pub use named::{TRANSPORTS, TransportKind, UnknownTransport, named};
pub use transport::{Exchange, Received, Timetable, Transport, TransportError};

use std::time::{Duration, Instant};

use super::crypto::{NETWORK_KEY_TYPE, open_reply};
use super::{Request, SealedReply};
use crate::error::{Reason, Remedy};
use crate::secret::{NetworkKey, SessionKey};

/// How many replies of the right form are tried in one exchange: a bound on the work that a hostile
/// host can make. A decision of ours.
const MAX_REPLIES: usize = 64;

/// How many skipped packets are told of, one by one.
const MAX_TOLD: usize = 16;

/// What came of asking.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The key, or why there is none.
    pub outcome: Result<Delivered, NoAnswer>,
    /// How the transport is called.
    pub place: String,
    /// How often the request was sent.
    pub sent: usize,
    /// How long it took.
    pub took: Duration,
    /// How many replies had the right form and did not open.
    pub refused: usize,
    /// What else came, from whom: the first of each kind.
    pub skipped: Vec<Skipped>,
}

/// A key that came from the network.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivered {
    /// The key.
    pub key: NetworkKey,
    /// Which of the session keys opened the reply.
    pub session_key: usize,
    /// Who sent it; not authenticated.
    pub from: String,
    /// How long after the last sending it came.
    pub after: Duration,
}

/// Packets that came and were no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Who sent them; not authenticated.
    pub from: String,
    /// What they are: `DHCPOFFER`.
    pub what: String,
    /// How many there were.
    pub count: usize,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoAnswer {
    /// Nothing can be asked from here.
    #[error("{what}")]
    NoAddress {
        /// Which interface lacks what.
        what: String,
    },
    /// Nobody answered.
    #[error("nobody answered over {place} within {:.1} s", .waited.as_secs_f32())]
    Silence {
        /// How the transport is called.
        place: String,
        /// How long was waited.
        waited: Duration,
    },
    /// Something answered, and none of it was made with the session key.
    #[error("{replies} answers came over {place}, and none is authentic")]
    NotAuthentic {
        /// How the transport is called.
        place: String,
        /// How many came.
        replies: usize,
    },
    /// The system refused to send or to receive.
    #[error("{what}: {source}")]
    Socket {
        /// What was being done.
        what: String,
        /// What to do about it.
        remedy: Option<Remedy>,
        /// The system's own reason.
        source: std::io::Error,
    },
}

impl NoAnswer {
    /// The reason that an attempt fails with.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoAddress { .. } => Reason::NoAddress,
            Self::Silence { .. } => Reason::NoAnswer,
            Self::NotAuthentic { .. } => Reason::NotAuthentic,
            Self::Socket { .. } => Reason::NetworkError,
        }
    }

    /// Its stable word for programs.
    pub fn word(&self) -> &'static str {
        self.reason().word()
    }

    /// The one that says most of what can be done.
    pub fn most_telling<'a>(all: impl IntoIterator<Item = &'a Self>) -> Option<&'a Self> {
        all.into_iter().min_by_key(|one| match one {
            Self::NotAuthentic { .. } => 0,
            Self::Silence { .. } => 1,
            Self::Socket { .. } => 2,
            Self::NoAddress { .. } => 3,
        })
    }
}

impl From<TransportError> for NoAnswer {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::NoAddress { what } => Self::NoAddress { what },
            TransportError::Io {
                what,
                remedy,
                source,
            } => Self::Socket {
                what,
                remedy,
                source,
            },
        }
    }
}

/// Sends the request until a reply opens with one of the session keys, at most until `deadline`.
///
/// The transport's own timetable bounds it as well: about four seconds for DHCP.
pub fn ask(
    transport: &dyn Transport,
    request: &Request,
    session_keys: &[&SessionKey],
    deadline: Option<Instant>,
) -> Answer {
    let started = Instant::now();
    let mut asking = Asking {
        session_keys,
        deadline,
        answer: Answer {
            outcome: Err(NoAnswer::Silence {
                place: transport.place(),
                waited: Duration::ZERO,
            }),
            place: transport.place(),
            sent: 0,
            took: Duration::ZERO,
            refused: 0,
            skipped: Vec::new(),
        },
    };
    let found = asking.run(transport, request);
    let mut answer = asking.answer;
    answer.took = started.elapsed();
    answer.outcome = match found {
        Ok(Some(delivered)) => Ok(delivered),
        Ok(None) if answer.refused > 0 => Err(NoAnswer::NotAuthentic {
            place: transport.place(),
            replies: answer.refused,
        }),
        Ok(None) => Err(NoAnswer::Silence {
            place: transport.place(),
            waited: answer.took,
        }),
        Err(error) => Err(error.into()),
    };
    answer
}

struct Asking<'a> {
    session_keys: &'a [&'a SessionKey],
    deadline: Option<Instant>,
    answer: Answer,
}

impl Asking<'_> {
    fn run(
        &mut self,
        transport: &dyn Transport,
        request: &Request,
    ) -> Result<Option<Delivered>, TransportError> {
        let timetable = transport.timetable();
        let mut exchange = transport.begin(request)?;
        std::thread::sleep(self.no_later(timetable.delay));
        for wait in timetable.waits {
            let wait = self.no_later(wait);
            if wait.is_zero() {
                break;
            }
            exchange.send()?;
            self.answer.sent += 1;
            let sent = Instant::now();
            if let Some(mut delivered) = self.listen(exchange.as_mut(), sent + wait)? {
                delivered.after = sent.elapsed();
                return Ok(Some(delivered));
            }
            if self.answer.refused >= MAX_REPLIES {
                break;
            }
        }
        Ok(None)
    }

    /// Takes what comes, until then.
    fn listen(
        &mut self,
        exchange: &mut dyn Exchange,
        until: Instant,
    ) -> Result<Option<Delivered>, TransportError> {
        while Instant::now() < until && self.answer.refused < MAX_REPLIES {
            let Some(received) = exchange.receive(until)? else {
                continue;
            };
            match received {
                Received::Other { what, from } => self.skip(what, from),
                Received::Reply { reply, from } => match self.open(&reply, &from) {
                    Some(delivered) => return Ok(Some(delivered)),
                    None => self.refuse(from),
                },
            }
        }
        Ok(None)
    }

    fn open(&self, reply: &SealedReply, from: &str) -> Option<Delivered> {
        let mut keys = self.session_keys.iter().enumerate();
        keys.find_map(|(session_key, key)| {
            let opened = open_reply(key, reply).ok()?;
            if opened.key_type != NETWORK_KEY_TYPE {
                tracing::info!("the reply's key is of the type {:#06x}", opened.key_type);
            }
            Some(Delivered {
                key: opened.network,
                session_key,
                from: from.to_owned(),
                after: Duration::ZERO,
            })
        })
    }

    fn refuse(&mut self, from: String) {
        tracing::debug!("a reply from {from} does not open with the session key");
        self.answer.refused += 1;
        self.skip("reply that is not authentic".to_owned(), from);
    }

    fn skip(&mut self, what: String, from: String) {
        let skipped = &mut self.answer.skipped;
        let known = skipped
            .iter_mut()
            .find(|other| other.what == what && other.from == from);
        if let Some(known) = known {
            known.count = known.count.saturating_add(1);
        } else if skipped.len() < MAX_TOLD {
            skipped.push(Skipped {
                from,
                what,
                count: 1,
            });
        }
    }

    /// The time, or what is left of the caller's.
    fn no_later(&self, time: Duration) -> Duration {
        self.deadline.map_or(time, |deadline| {
            time.min(deadline.saturating_duration_since(Instant::now()))
        })
    }
}

/// `DHCPv4 on eth0`.
fn on(protocol: &str, interface: Option<&str>) -> String {
    match interface {
        Some(interface) => format!("{protocol} on {interface}"),
        None => protocol.to_owned(),
    }
}

fn random<const N: usize>() -> Result<[u8; N], TransportError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| TransportError::Io {
        what: "the system gives no random numbers".to_owned(),
        remedy: None,
        source: std::io::Error::other(error),
    })?;
    Ok(bytes)
}
