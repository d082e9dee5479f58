//! The Network Unlock server: the test vectors of docs/format-network-unlock.md §13, decisions about
//! every kind of request, policies and key files. In network namespaces: the running server with an
//! independent client, with relays, beside DHCP servers, and under attack.

mod attacks;
mod core;
mod live;
pub mod net;
mod peers;
mod policies;
