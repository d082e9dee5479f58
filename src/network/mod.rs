//! Network Unlock ([MS-NKPU]): the protocol, both ends.
//!
//! A client broadcasts two keys under the public key of a server's certificate, in a message that
//! looks like DHCP; the server sends the first of them back, sealed with the second. The client
//! proves nothing but that it stands in the right network, and gets its own key back.
//!
//! ```text
//! client: network key, session key ──► RSA, to the certificate ──► request: thumbprint + 256 bytes
//! client: network key ◄── AES-CCM, with the session key ◄── reply: 60 bytes
//! ```
//!
//! * [`message`]: the bytes on the wire, DHCPv4 and DHCPv6.
//! * [`crypto`]: what the 256 and the 60 bytes hold. Pure functions, which both ends use.
//! * [`certificate`]: what a certificate says, and whether it is fit for this.
//! * [`client`]: asks, over any transport, and waits for an authentic reply.
//! * [`policy`]: the file that says which certificate is served to which addresses.
//! * `server` (feature `network-server`): who is answered, and the sockets.
//!
//! Failure of any kind is silence: the protocol has no error message.
//!
//! [MS-NKPU]: https://learn.microsoft.com/openspecs/windows_protocols/ms-nkpu

pub mod certificate;
pub mod client;
pub mod crypto;
pub mod message;
pub mod policy;

#[cfg(feature = "network-server")]
pub mod server;

pub use message::{Request, SealedReply, SealedRequest, Thumbprint};
