//! The Network Unlock server: the vectors of docs/format-network-unlock.md §13, decisions on every
//! kind of request, policies and key files; and, in network namespaces of its own, the server
//! itself with a client that shares nothing with it, relays, and DHCP servers beside it.

mod core;
mod judges;
mod live;
pub mod net;
mod policies;
