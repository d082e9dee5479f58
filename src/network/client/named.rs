//! Transports by the words that people name them with.
//!
//! To add a transport: a file beside this one, and its row in [`TRANSPORTS`].

use super::transport::Transport;
use super::{Dhcp4, Dhcp6};

/// A kind of transport, by the word that a person chooses it with.
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
