//! The client: sends a request, and takes the key from the first reply that is authentic.
//!
//! ```text
//! ask ─► Transport::begin ─► Exchange: send, receive, send again … ─► authentic reply, or timeout
//! ```
//! [`ask`] does not handle packets. A [`Transport`] sends a [`Request`] and returns what was
//! received, with every [`SealedReply`] that answers it. To add a transport to the command line: a
//! file in this directory, and a row in [`TRANSPORTS`]. A program can also implement [`Transport`]
//! itself.
//!
//! A server never refuses: if it does not answer, it is silent. So only the timeout ends an
//! unanswered request. A reply that is not authentic does not end it either, and neither does any
//! number of them, because every host on the segment can send them before the server answers
//! (docs/format-network-unlock.md §4). Each costs one short decryption for each session key, and
//! nothing of it is kept, so the time is the only limit that is needed.

mod dhcp;
mod dhcp4;
mod dhcp6;
mod in_process;
mod interfaces;
mod kinds;
mod sockets;
mod transport;

pub use dhcp4::Dhcp4;
pub use dhcp6::Dhcp6;
pub use in_process::{InProcess, Responder};
pub use kinds::{TRANSPORTS, TransportKind, UnknownTransport, parse_transports};
pub use transport::{Exchange, Received, Schedule, Transport, TransportError};

use std::time::{Duration, Instant};

use super::crypto::{NETWORK_KEY_TYPE, open_reply};
use super::{Request, SealedReply};
use crate::error::{Reason, Remedy};
use crate::secret::{NetworkKey, SessionKey};

/// How many kinds of skipped packets are reported, so that other hosts cannot fill the memory.
const MAX_SKIPPED: usize = 16;

/// What [`ask`] found out.
#[derive(Debug)]
#[non_exhaustive]
pub struct AskReport {
    /// The key, or why there is none.
    pub outcome: Result<Delivered, NoAnswer>,
    /// The name of the transport.
    pub transport: String,
    /// How often the request was sent.
    pub sent: usize,
    /// The time from the call to the end.
    pub took: Duration,
    /// How many replies had the right form and were not authentic.
    pub refused: usize,
    /// The packets that were not a reply to this request, by sender and kind.
    pub skipped: Vec<Skipped>,
}

/// A key that a server returned.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivered {
    /// The network key, 32 bytes.
    pub key: NetworkKey,
    /// The index of the session key that decrypted the reply.
    pub session_key: usize,
    /// The address of the sender; not authenticated.
    pub from: String,
    /// The time from the last transmission of the request to the reply.
    pub after: Duration,
}

/// Packets of one kind from one sender that were not a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// The address of the sender; not authenticated.
    pub from: String,
    /// The kind of packet, for example `DHCPOFFER`.
    pub what: String,
    /// How many there were.
    pub count: usize,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoAnswer {
    /// The request cannot be sent from this computer.
    #[error("{what}")]
    NoAddress {
        /// Which interface lacks what.
        what: String,
    },
    /// The time was used up before a request was sent.
    #[error("no request was sent over {transport}: the time was used up")]
    NotAsked {
        /// The name of the transport.
        transport: String,
    },
    /// There was no reply.
    #[error("no server answered over {transport} within {:.1} s", .waited.as_secs_f32())]
    Silence {
        /// The name of the transport.
        transport: String,
        /// How long the client waited.
        waited: Duration,
    },
    /// There were replies, and none was made with the session key.
    #[error("none of the {replies} replies over {transport} is authentic")]
    NotAuthentic {
        /// The name of the transport.
        transport: String,
        /// How many replies there were.
        replies: usize,
    },
    /// The operating system refused to send or to receive.
    #[error("{what}: {source}")]
    Socket {
        /// What failed.
        what: String,
        /// What the user can do about it.
        remedy: Option<Remedy>,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

impl NoAnswer {
    /// The reason with which an attempt to unlock fails.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoAddress { .. } => Reason::NoAddress,
            Self::NotAsked { .. } => Reason::NotAsked,
            Self::Silence { .. } => Reason::NoAnswer,
            Self::NotAuthentic { .. } => Reason::NotAuthentic,
            Self::Socket { .. } => Reason::NetworkError,
        }
    }

    /// The stable word of that reason in JSON.
    pub fn word(&self) -> &'static str {
        self.reason().word()
    }

    /// Of several failures, the one to report: the one that says most about the cause.
    pub fn most_telling<'a>(all: impl IntoIterator<Item = &'a Self>) -> Option<&'a Self> {
        all.into_iter().min_by_key(|one| match one {
            Self::NotAuthentic { .. } => 0,
            Self::Silence { .. } => 1,
            Self::Socket { .. } => 2,
            Self::NoAddress { .. } => 3,
            Self::NotAsked { .. } => 4,
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

/// Sends the request, as often as the transport's schedule says, until one of the session keys
/// decrypts a reply. Gives up at the end of the schedule (about four seconds for DHCP). If `deadline`
/// is earlier, the times of the schedule are shortened in proportion.
///
/// To ask over several transports by one deadline, pass [`share_of_time`] to each.
pub fn ask(
    transport: &dyn Transport,
    request: &Request,
    session_keys: &[&SessionKey],
    deadline: Option<Instant>,
) -> AskReport {
    let started = Instant::now();
    let mut client = Client {
        session_keys,
        deadline,
        report: AskReport {
            outcome: Err(NoAnswer::Silence {
                transport: transport.name(),
                waited: Duration::ZERO,
            }),
            transport: transport.name(),
            sent: 0,
            took: Duration::ZERO,
            refused: 0,
            skipped: Vec::new(),
        },
    };
    let result = client.run(transport, request);
    let mut report = client.report;
    report.took = started.elapsed();
    report.outcome = match result {
        Ok(Some(delivered)) => Ok(delivered),
        Ok(None) if report.refused > 0 => Err(NoAnswer::NotAuthentic {
            transport: transport.name(),
            replies: report.refused,
        }),
        Ok(None) if report.sent == 0 => Err(NoAnswer::NotAsked {
            transport: transport.name(),
        }),
        Ok(None) => Err(NoAnswer::Silence {
            transport: transport.name(),
            waited: report.took,
        }),
        Err(error) => Err(error.into()),
    };
    report
}

/// When to stop asking over the first of these transports, so that the others have their shares of
/// the time until `deadline`. The shares are in proportion to what the transports' schedules take.
/// `None` without a deadline.
pub fn share_of_time(
    transports: &[Box<dyn Transport>],
    deadline: Option<Instant>,
) -> Option<Instant> {
    let deadline = deadline?;
    let now = Instant::now();
    let times: Vec<_> = transports
        .iter()
        .map(|one| one.schedule().total())
        .collect();
    let all: Duration = times.iter().sum();
    let first = times.first().copied().unwrap_or_default();
    if all.is_zero() {
        return Some(deadline);
    }
    let left = deadline.saturating_duration_since(now);
    let share = left.mul_f64(first.as_secs_f64() / all.as_secs_f64());
    Some(now.checked_add(share).unwrap_or(deadline).min(deadline))
}

/// One call of [`ask`].
struct Client<'a> {
    session_keys: &'a [&'a SessionKey],
    deadline: Option<Instant>,
    report: AskReport,
}

impl Client<'_> {
    fn run(
        &mut self,
        transport: &dyn Transport,
        request: &Request,
    ) -> Result<Option<Delivered>, TransportError> {
        let mut exchange = transport.begin(request)?;
        let schedule = transport.schedule();
        let schedule = match self.deadline {
            Some(deadline) => schedule.within(deadline.saturating_duration_since(Instant::now())),
            None => schedule,
        };
        std::thread::sleep(self.until_deadline(schedule.delay));
        for wait in schedule.waits {
            let wait = self.until_deadline(wait);
            if wait.is_zero() {
                break;
            }
            exchange.send()?;
            self.report.sent += 1;
            let sent = Instant::now();
            if let Some(mut delivered) = self.listen(exchange.as_mut(), sent + wait)? {
                delivered.after = sent.elapsed();
                return Ok(Some(delivered));
            }
        }
        Ok(None)
    }

    /// Receives until one of the replies is authentic, or until `until`.
    fn listen(
        &mut self,
        exchange: &mut dyn Exchange,
        until: Instant,
    ) -> Result<Option<Delivered>, TransportError> {
        while Instant::now() < until {
            let Some(received) = exchange.receive(until)? else {
                continue;
            };
            match received {
                Received::Other { what, from } => self.skip(what, from),
                Received::Reply { reply, from } => match self.decrypt(&reply, &from) {
                    Some(delivered) => return Ok(Some(delivered)),
                    None => self.refuse(from),
                },
            }
        }
        Ok(None)
    }

    fn decrypt(&self, reply: &SealedReply, from: &str) -> Option<Delivered> {
        let mut keys = self.session_keys.iter().enumerate();
        keys.find_map(|(session_key, key)| {
            let opened = open_reply(key, reply).ok()?;
            // The tag proves the reply; the type is only reported, in case Windows uses others.
            if opened.key_type != NETWORK_KEY_TYPE {
                tracing::info!("the key in the reply has the type {:#06x}", opened.key_type);
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
        self.report.refused = self.report.refused.saturating_add(1);
        self.skip("reply that is not authentic".to_owned(), from);
    }

    fn skip(&mut self, what: String, from: String) {
        let skipped = &mut self.report.skipped;
        let known = skipped
            .iter_mut()
            .find(|other| other.what == what && other.from == from);
        if let Some(known) = known {
            known.count = known.count.saturating_add(1);
        } else if skipped.len() < MAX_SKIPPED {
            // Only the first of a kind: other hosts decide how many there are.
            tracing::debug!("skipped from {from}: {what}");
            skipped.push(Skipped {
                from,
                what,
                count: 1,
            });
        }
    }

    /// `time`, or the time until the deadline if that is shorter.
    fn until_deadline(&self, time: Duration) -> Duration {
        self.deadline.map_or(time, |deadline| {
            time.min(deadline.saturating_duration_since(Instant::now()))
        })
    }
}

/// The name of a transport: `DHCPv4 on eth0`, or `DHCPv4` on every interface.
fn transport_name(protocol: &str, interface: Option<&str>) -> String {
    match interface {
        Some(interface) => format!("{protocol} on {interface}"),
        None => protocol.to_owned(),
    }
}

fn random<const N: usize>() -> Result<[u8; N], TransportError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| TransportError::Io {
        what: "the operating system provides no random numbers".to_owned(),
        remedy: None,
        source: std::io::Error::other(error),
    })?;
    Ok(bytes)
}
