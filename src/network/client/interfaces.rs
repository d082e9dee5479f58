//! The Ethernet interfaces of this computer, and the choice of those to send on.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::LinkAddr;

use super::TransportError;

/// The hardware type of Ethernet and of interfaces that behave like it, such as Wi-Fi
/// (`ARPHRD_ETHER`, linux/if_arp.h).
const ARPHRD_ETHER: u16 = 1;

/// A network interface.
#[derive(Debug, Clone)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mac: [u8; 6],
    /// Its first IPv4 address.
    pub(super) v4: Option<Ipv4Addr>,
    /// Its first IPv6 link-local address.
    pub(super) v6: Option<Ipv6Addr>,
    /// Its packet-socket address.
    pub(super) link: LinkAddr,
    /// Whether it is up and has a carrier.
    running: bool,
}

impl Interface {
    /// The kernel's number of the interface, which link-local addresses need as their scope.
    pub(super) fn index(&self) -> u32 {
        u32::try_from(self.link.ifindex()).unwrap_or(0)
    }

    fn is_wireless(&self) -> bool {
        let place = Path::new("/sys/class/net").join(&self.name);
        place.join("wireless").exists() || place.join("phy80211").exists()
    }
}

/// The kind of address that an interface must have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RequiredAddress {
    Ipv4,
    Ipv6LinkLocal,
}

impl RequiredAddress {
    fn is_present(self, interface: &Interface) -> bool {
        match self {
            Self::Ipv4 => interface.v4.is_some(),
            Self::Ipv6LinkLocal => interface.v6.is_some(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4 address",
            Self::Ipv6LinkLocal => "IPv6 link-local address",
        }
    }
}

/// The interfaces to send on. With a name: that interface, or an error if it is not ready. Without:
/// every wired interface that is ready, or every wireless one if no wired one is.
pub(super) fn choose(
    name: Option<&str>,
    required: RequiredAddress,
) -> Result<Vec<Interface>, TransportError> {
    let all = list().map_err(|source| TransportError::Io {
        what: "cannot list the network interfaces".to_owned(),
        remedy: None,
        source,
    })?;
    choose_among(all, name, required).map_err(|what| TransportError::NoAddress { what })
}

fn choose_among(
    all: Vec<Interface>,
    name: Option<&str>,
    required: RequiredAddress,
) -> Result<Vec<Interface>, String> {
    let lacks = |name: &str| format!("the network interface {name} has no {}", required.words());
    let down = |name: &str| format!("the network interface {name} is down or has no carrier");
    let Some(name) = name else {
        let ready = |one: &Interface| one.running && required.is_present(one);
        let (wireless, wired): (Vec<_>, Vec<_>) = all
            .iter()
            .filter(|one| ready(one))
            .cloned()
            .partition(Interface::is_wireless);
        let chosen = if wired.is_empty() { wireless } else { wired };
        return match (chosen.is_empty(), all.as_slice()) {
            (false, _) => Ok(chosen),
            (true, []) => Err("there is no Ethernet interface to send on".to_owned()),
            (true, [one]) if !one.running => Err(down(&one.name)),
            (true, [one]) => Err(lacks(&one.name)),
            (true, several) => {
                let names: Vec<_> = several.iter().map(|one| one.name.as_str()).collect();
                Err(format!(
                    "no network interface that is up has an {}; found {}",
                    required.words(),
                    names.join(", ")
                ))
            }
        };
    };
    let found = all.into_iter().find(|one| one.name == name);
    let found = found.ok_or_else(|| format!("there is no Ethernet interface {name}"))?;
    match found {
        one if !one.running => Err(down(name)),
        one if !required.is_present(&one) => Err(lacks(name)),
        one => Ok(vec![one]),
    }
}

/// Every Ethernet interface, with its addresses.
fn list() -> io::Result<Vec<Interface>> {
    let addresses: Vec<_> = getifaddrs()?.collect();
    let mut found = Vec::new();
    // getifaddrs(3) returns an entry for each address. The packet-socket addresses name the
    // interfaces; the second pass adds the IP addresses.
    for one in &addresses {
        let link = one
            .address
            .as_ref()
            .and_then(|address| address.as_link_addr());
        let Some(link) = link.filter(|link| link.hatype() == ARPHRD_ETHER) else {
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
    fn names_the_interface_that_is_missing() {
        let text = choose_among(Vec::new(), Some("fve9"), RequiredAddress::Ipv4).unwrap_err();
        assert_eq!(text, "there is no Ethernet interface fve9");
        let text = choose_among(Vec::new(), None, RequiredAddress::Ipv6LinkLocal).unwrap_err();
        assert_eq!(text, "there is no Ethernet interface to send on");
    }
}
