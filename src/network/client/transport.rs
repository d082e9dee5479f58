//! The seam between the client and whatever carries its question.

use std::time::{Duration, Instant};

use super::{Dhcp4, Dhcp6};
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
        help: Option<String>,
        /// The system's own reason.
        source: std::io::Error,
    },
}

/// A kind of transport that the command line offers.
pub struct TransportKind {
    /// What it is called there.
    pub word: &'static str,
    /// What may stand behind it and a colon.
    pub value: Option<&'static str>,
    /// One line of help.
    pub help: &'static str,
    /// The transports that it stands for, in the order in which they are asked.
    pub open: fn(Option<&str>) -> Vec<Box<dyn Transport>>,
}

/// Every kind, the default first.
pub const TRANSPORTS: &[TransportKind] = &[
    TransportKind {
        word: "dhcp",
        value: Some("INTERFACE"),
        help: "DHCPv6, then DHCPv4",
        open: |interface| {
            vec![
                Box::new(Dhcp6::new(interface)),
                Box::new(Dhcp4::new(interface)),
            ]
        },
    },
    TransportKind {
        word: "dhcp4",
        value: Some("INTERFACE"),
        help: "DHCPv4",
        open: |interface| vec![Box::new(Dhcp4::new(interface))],
    },
    TransportKind {
        word: "dhcp6",
        value: Some("INTERFACE"),
        help: "DHCPv6",
        open: |interface| vec![Box::new(Dhcp6::new(interface))],
    },
];

/// No kind of transport is called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{found}' is no transport; there is {}", words())]
pub struct UnknownTransport {
    /// What was said.
    pub found: String,
}

/// The transports that `text` names, such as `dhcp4` or `dhcp:eth0`; the default for none.
///
/// # Errors
/// It names none.
pub fn named(text: Option<&str>) -> Result<Vec<Box<dyn Transport>>, UnknownTransport> {
    let text = text.filter(|text| !text.is_empty());
    let text = text.unwrap_or(TRANSPORTS.first().map_or("", |kind| kind.word));
    let (word, value) = match text.split_once(':') {
        Some((word, value)) => (word, Some(value)),
        None => (text, None),
    };
    let unknown = || UnknownTransport {
        found: text.to_owned(),
    };
    let mut kinds = TRANSPORTS.iter();
    let kind = kinds.find(|kind| kind.word == word).ok_or_else(unknown)?;
    let fits = value.is_none_or(|value| kind.value.is_some() && !value.is_empty());
    if !fits {
        return Err(unknown());
    }
    Ok((kind.open)(value))
}

fn words() -> String {
    let words = TRANSPORTS.iter().map(|kind| match kind.value {
        Some(value) => format!("{}[:{value}]", kind.word),
        None => kind.word.to_owned(),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_transports_with_an_interface_or_without() {
        let places = |text| -> Option<Vec<String>> {
            let transports = named(text).ok()?;
            Some(transports.iter().map(|one| one.place()).collect())
        };
        let both = ["DHCPv6", "DHCPv4"].map(str::to_owned).to_vec();
        assert_eq!(places(None), Some(both.clone()));
        assert_eq!(places(Some("")), Some(both.clone()));
        assert_eq!(places(Some("dhcp")), Some(both));
        assert_eq!(
            places(Some("dhcp4:eth0")),
            Some(vec!["DHCPv4 on eth0".to_owned()])
        );
        for bad in ["dhcp5", "dhcp4:", ":eth0", "DHCP", "https://x"] {
            assert_eq!(places(Some(bad)), None, "{bad}");
        }
    }
}
