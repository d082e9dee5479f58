//! The network interfaces of this computer, and which of them to ask on.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::LinkAddr;

use super::TransportError;

/// Ethernet, and what looks like it, as the kernel counts kinds of hardware.
const ETHERNET: u16 = 1;

/// A network interface.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mac: [u8; 6],
    /// Its first address.
    pub(super) v4: Option<Ipv4Addr>,
    /// Its link-local address.
    pub(super) v6: Option<Ipv6Addr>,
    pub(super) link: LinkAddr,
    /// Whether it is up and has a carrier.
    running: bool,
}

impl Interface {
    /// The number that scopes its link-local addresses.
    pub(super) fn index(&self) -> u32 {
        u32::try_from(self.link.ifindex()).unwrap_or(0)
    }

    fn is_wireless(&self) -> bool {
        let place = Path::new("/sys/class/net").join(&self.name);
        place.join("wireless").exists() || place.join("phy80211").exists()
    }
}

/// What an interface must have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    V4,
    V6,
}

impl Needs {
    fn are_met(self, interface: &Interface) -> bool {
        match self {
            Self::V4 => interface.v4.is_some(),
            Self::V6 => interface.v6.is_some(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::V4 => "IPv4 address",
            Self::V6 => "IPv6 link-local address",
        }
    }
}

/// The interfaces to ask on: the one that is named; else every wired one that is ready, and where
/// there is none of those, every other.
pub(super) fn choose(name: Option<&str>, needs: Needs) -> Result<Vec<Interface>, TransportError> {
    let all = list().map_err(|source| TransportError::Io {
        what: "cannot list the network interfaces".to_owned(),
        remedy: None,
        source,
    })?;
    among(all, name, needs).map_err(|what| TransportError::NoAddress { what })
}

fn among(all: Vec<Interface>, name: Option<&str>, needs: Needs) -> Result<Vec<Interface>, String> {
    let lacks = |name: &str| format!("the network interface {name} has no {}", needs.words());
    let down = |name: &str| format!("the network interface {name} is down or has no carrier");
    let Some(name) = name else {
        let ready = |one: &Interface| one.running && needs.are_met(one);
        let (wireless, wired): (Vec<_>, Vec<_>) = all
            .iter()
            .filter(|one| ready(one))
            .cloned()
            .partition(Interface::is_wireless);
        let chosen = if wired.is_empty() { wireless } else { wired };
        return match (chosen.is_empty(), all.as_slice()) {
            (false, _) => Ok(chosen),
            (true, []) => Err("there is no Ethernet interface to ask on".to_owned()),
            (true, [one]) if !one.running => Err(down(&one.name)),
            (true, [one]) => Err(lacks(&one.name)),
            (true, several) => {
                let names: Vec<_> = several.iter().map(|one| one.name.as_str()).collect();
                Err(format!(
                    "no network interface that is up has an {}: there are {}",
                    needs.words(),
                    names.join(", ")
                ))
            }
        };
    };
    let found = all.into_iter().find(|one| one.name == name);
    let found = found.ok_or_else(|| format!("there is no Ethernet interface {name}"))?;
    match found {
        one if !one.running => Err(down(name)),
        one if !needs.are_met(&one) => Err(lacks(name)),
        one => Ok(vec![one]),
    }
}

/// Every Ethernet interface.
fn list() -> io::Result<Vec<Interface>> {
    let addresses: Vec<_> = getifaddrs()?.collect();
    let mut found = Vec::new();
    for one in &addresses {
        let link = one
            .address
            .as_ref()
            .and_then(|address| address.as_link_addr());
        let Some(link) = link.filter(|link| link.hatype() == ETHERNET) else {
            continue;
        };
        let ready = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
        found.push(Interface {
            name: one.interface_name.clone(),
            mac: link.addr().unwrap_or_default(),
            v4: None,
            v6: None,
            link: *link,
            running: one.flags.contains(ready),
        });
    }
    for one in &addresses {
        let mut known = found.iter_mut();
        let Some(interface) = known.find(|known| known.name == one.interface_name) else {
            continue;
        };
        let Some(address) = &one.address else {
            continue;
        };
        if let Some(v4) = address.as_sockaddr_in() {
            interface.v4 = interface.v4.or(Some(v4.ip()));
        }
        if let Some(v6) = address.as_sockaddr_in6().map(|v6| v6.ip()) {
            let link_local = v6.is_unicast_link_local().then_some(v6);
            interface.v6 = interface.v6.or(link_local);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_missing_is_named() {
        let text = among(Vec::new(), Some("fve9"), Needs::V4).unwrap_err();
        assert_eq!(text, "there is no Ethernet interface fve9");
        let text = among(Vec::new(), None, Needs::V6).unwrap_err();
        assert_eq!(text, "there is no Ethernet interface to ask on");
    }
}
