//! The Network Unlock client: exchanges over an in-process transport that loses, repeats, damages and
//! forges packets; volumes that Network Unlock unlocks; and exchanges between network namespaces, over
//! DHCPv4 and DHCPv6.

mod exchange;
#[cfg(feature = "network-server")]
mod namespaces;
mod server;
mod volumes;
