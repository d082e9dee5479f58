//! Sockets that clients connect to.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;

use crate::error::{Error, Result};
use crate::nbd::stream::Stream;

/// A socket that clients connect to.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// A Unix-domain socket. Who may connect depends on the permissions of its file.
    ///
    /// # Errors
    /// [`Error::Io`] when the socket cannot be used.
    pub fn unix(listener: UnixListener) -> Result<Self> {
        listener.set_nonblocking(true).map_err(unusable)?;
        Ok(Self(Kind::Unix(listener)))
    }

    /// A TCP socket. Every user of every computer that reaches it can read the volume.
    ///
    /// # Errors
    /// [`Error::Io`] when the socket cannot be used.
    pub fn tcp(listener: TcpListener) -> Result<Self> {
        listener.set_nonblocking(true).map_err(unusable)?;
        Ok(Self(Kind::Tcp(listener)))
    }

    /// Whether clients on other computers may reach the socket.
    pub fn is_remote(&self) -> bool {
        match &self.0 {
            Kind::Unix(_) => false,
            Kind::Tcp(listener) => listener
                .local_addr()
                .is_ok_and(|address| !address.ip().to_canonical().is_loopback()),
        }
    }

    /// The URI by which clients connect to the export `name`. `None` for a Unix-domain socket without a
    /// path.
    pub fn uri(&self, name: &str) -> Option<String> {
        let name = percent_encoded(name.as_bytes());
        match &self.0 {
            Kind::Unix(listener) => {
                let address = listener.local_addr().ok()?;
                let path = std::path::absolute(address.as_pathname()?).ok()?;
                let path = percent_encoded(path.as_os_str().as_encoded_bytes());
                Some(format!("nbd+unix:///{name}?socket={path}"))
            }
            Kind::Tcp(listener) => {
                let address = listener.local_addr().ok()?;
                let end = match name.is_empty() {
                    true => String::new(),
                    false => format!("/{name}"),
                };
                Some(format!("nbd://{address}{end}"))
            }
        }
    }

    /// The next connection; `None` if the client has gone again.
    pub(super) fn accept(&self) -> io::Result<Option<Stream>> {
        let accepted = match &self.0 {
            Kind::Unix(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(false)?;
                Ok(Stream::Unix(stream))
            }),
            Kind::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(false)?;
                Stream::tcp(stream)
            }),
        };
        match accepted {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            },
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Unix(listener) => listener.as_fd(),
            Kind::Tcp(listener) => listener.as_fd(),
        }
    }
}

fn unusable(error: io::Error) -> Error {
    Error::io("the socket cannot be used", error)
}

/// Bytes as a part of a URI (RFC 3986 section 2.1): all but letters, digits and a few signs as `%` and
/// two hex digits.
fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(*byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_the_socket_and_the_export() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a b.socket");
        let unix = Listener::unix(UnixListener::bind(&path).unwrap()).unwrap();
        assert!(!unix.is_remote());
        let expected = format!(
            "nbd+unix:///?socket={}/a%20b.socket",
            directory.path().display()
        );
        assert_eq!(unix.uri("").unwrap(), expected);
        let tcp = TcpListener::bind("[::1]:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let tcp = Listener::tcp(tcp).unwrap();
        assert!(!tcp.is_remote());
        assert_eq!(
            tcp.uri("v/1?").unwrap(),
            format!("nbd://[::1]:{port}/v/1%3F")
        );
        let everywhere = Listener::tcp(TcpListener::bind("0.0.0.0:0").unwrap()).unwrap();
        assert!(everywhere.is_remote());
    }
}
