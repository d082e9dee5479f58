//! Network Unlock as a client has it: the exchange on a network of one process that loses, repeats,
//! garbles and forges; volumes whose key the network keeps; and real exchanges between network
//! namespaces, over DHCPv4 and DHCPv6.

mod exchange;
#[cfg(feature = "network-server")]
mod namespaces;
mod server;
mod volumes;
