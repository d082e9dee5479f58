//! Network Unlock ([MS-NKPU]): the protocol, its client and its server.
//!
//! A client encrypts two keys with the public key of a server's certificate and broadcasts them in a
//! message that looks like DHCP. The server decrypts them and returns the first, encrypted with the
//! second. The client authenticates itself only by being on a network from which it reaches the
//! server.
//!
//! ```text
//! client: network key, session key ──► RSA with the certificate ──► request: thumbprint, 256 bytes
//! client: network key ◄── AES-CCM with the session key ◄── reply: 60 bytes
//! ```
//!
//! * [`message`]: requests and replies as DHCPv4 and DHCPv6 packets.
//! * [`crypto`]: the encrypted parts of both, as functions without I/O.
//! * [`certificate`]: certificates, and whether Windows may object to one.
//! * [`client`]: sends requests over any transport, and waits for an authentic reply.
//! * [`policy`]: the file that says which certificate is served to which addresses.
//! * `server` (feature `network-server`): which requests are answered, and the sockets.
//!
//! The protocol has no error message: a server that refuses a request sends nothing.
//!
//! [MS-NKPU]: https://learn.microsoft.com/openspecs/windows_protocols/ms-nkpu

pub mod certificate;
pub mod client;
pub mod crypto;
mod filter;
mod frame;
pub mod message;
pub mod policy;

#[cfg(feature = "network-server")]
pub mod server;

pub use message::{Request, SealedReply, SealedRequest, Thumbprint};
