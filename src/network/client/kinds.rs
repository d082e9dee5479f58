//! The transports that a user can choose by a word such as `dhcp4:eth0`.
//!
//! To add a transport: a file in this directory, and a row in [`TRANSPORTS`].

use super::transport::Transport;
use super::{Dhcp4, Dhcp6};

/// A transport that a user can choose by a word.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TransportKind {
    /// The word on the command line: `dhcp4`.
    pub word: &'static str,
    /// What may follow the word after a colon: `INTERFACE`.
    pub value: Option<&'static str>,
    /// Makes the transports that the word stands for, in the order in which to ask them.
    pub open: fn(Option<&str>) -> Vec<Box<dyn Transport>>,
}

/// Every kind of transport. The first is the default.
pub const TRANSPORTS: &[TransportKind] = &[
    TransportKind {
        word: "dhcp",
        value: Some("INTERFACE"),
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
        open: |interface| vec![Box::new(Dhcp4::new(interface))],
    },
    TransportKind {
        word: "dhcp6",
        value: Some("INTERFACE"),
        open: |interface| vec![Box::new(Dhcp6::new(interface))],
    },
];

/// Text that names no transport.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such transport: use {}", words())]
#[non_exhaustive]
pub struct UnknownTransport {
    /// The text that names no transport.
    pub found: String,
}

/// The transports that `text` names, such as `dhcp4` or `dhcp:eth0`; the default for `None` and for
/// the empty string.
///
/// # Errors
/// If it names none.
pub fn parse_transports(text: Option<&str>) -> Result<Vec<Box<dyn Transport>>, UnknownTransport> {
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
    let value_is_allowed = value.is_none_or(|value| kind.value.is_some() && !value.is_empty());
    if !value_is_allowed {
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
    fn parses_words_with_and_without_an_interface() {
        let names = |text| -> Option<Vec<String>> {
            let transports = parse_transports(text).ok()?;
            Some(transports.iter().map(|one| one.name()).collect())
        };
        let both = ["DHCPv6", "DHCPv4"].map(str::to_owned).to_vec();
        assert_eq!(names(None), Some(both.clone()));
        assert_eq!(names(Some("")), Some(both.clone()));
        assert_eq!(names(Some("dhcp")), Some(both));
        assert_eq!(
            names(Some("dhcp4:eth0")),
            Some(vec!["DHCPv4 on eth0".to_owned()])
        );
        for bad in ["dhcp5", "dhcp4:", ":eth0", "DHCP", "https://x"] {
            assert_eq!(names(Some(bad)), None, "{bad}");
        }
    }
}
