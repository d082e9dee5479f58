//! The address of a server: a URI, as "NBD Uniform Resource Indicators" (doc/uri.md beside the protocol)
//! defines it.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::nbd::stream::Stream;
use crate::nbd::{MAX_NAME, PORT};
use crate::shown::{Escaped, ShowPath};

/// How long to wait for a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// The schemes of addresses.
const TCP: &str = "nbd";
const UNIX: &str = "nbd+unix";
const TLS: &[&str] = &["nbds", "nbds+unix"];

/// Where a server is, and which of its exports is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    place: Place,
    export: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// The URI of an NBD server that is given in place of a path.
pub(in crate::source) fn address_in(path: &Path) -> Option<&str> {
    let uri = path.to_str()?;
    let (scheme, _) = uri.split_once("://")?;
    ([TCP, UNIX].contains(&scheme) || TLS.contains(&scheme)).then_some(uri)
}

impl Address {
    pub(super) fn parse(uri: &str) -> Result<Self> {
        let malformed = |what: &str, form: &'static str| Error::Environment {
            what: format!("the NBD address {} {what}", Escaped(uri)),
            remedy: Some(form.into()),
        };
        let of_unix = "such an address looks like this: nbd+unix:///EXPORT?socket=/run/nbd.socket";
        let of_tcp = "such an address looks like this: nbd://localhost:10809/EXPORT";
        let (scheme, rest) = uri.split_once("://").unwrap_or_default();
        if TLS.contains(&scheme) {
            let remedy = "use a tunnel, such as one of ssh or stunnel, and the address of its end on this computer";
            return Err(malformed("asks for TLS, which is not supported", remedy));
        }
        if rest.contains('#') {
            return Err(malformed("has a fragment", of_tcp));
        }
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let export = decoded(path).filter(|name| name.len() <= MAX_NAME);
        let export = export.ok_or_else(|| malformed("has a malformed name", of_tcp))?;
        let place = match scheme {
            UNIX => {
                if !authority.is_empty() {
                    return Err(malformed("names a host, but a socket has none", of_unix));
                }
                let sockets: Vec<_> = query
                    .unwrap_or_default()
                    .split('&')
                    .filter_map(|pair| pair.strip_prefix("socket="))
                    .collect();
                let [socket] = sockets.as_slice() else {
                    return Err(malformed("names no socket", of_unix));
                };
                let path = decoded(socket).filter(|path| !path.is_empty() && !path.contains(&0));
                let path = path.ok_or_else(|| malformed("names no socket", of_unix))?;
                // The process may change its directory before it connects again.
                let path = std::path::absolute(OsString::from_vec(path))
                    .map_err(|_| malformed("names no socket", of_unix))?;
                Place::Unix(path)
            }
            TCP => {
                if query.is_some_and(|query| !query.is_empty()) {
                    return Err(malformed("has parameters that are not known", of_tcp));
                }
                let (host, port) = host_and_port(authority)
                    .ok_or_else(|| malformed("has a malformed host or port", of_tcp))?;
                Place::Tcp { host, port }
            }
            _ => return Err(malformed("is malformed", of_tcp)),
        };
        Ok(Self { place, export })
    }

    pub(super) fn export(&self) -> &[u8] {
        &self.export
    }

    pub(super) fn connect(&self) -> io::Result<Stream> {
        match &self.place {
            Place::Unix(path) => Stream::unix(path, PATIENCE),
            Place::Tcp { host, port } => {
                let mut last = None;
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, PATIENCE) {
                        Ok(stream) => return Stream::tcp(stream),
                        Err(error) => last = Some(error),
                    }
                }
                Err(last.unwrap_or_else(|| io::Error::other("the host has no address")))
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Unix(path) => write!(f, "{}", path.shown()),
            Place::Tcp { host, port } if host.contains(':') => {
                write!(f, "[{}]:{port}", Escaped(host))
            }
            Place::Tcp { host, port } => write!(f, "{}:{port}", Escaped(host)),
        }
    }
}

fn host_and_port(authority: &str) -> Option<(String, u16)> {
    if authority.contains('@') {
        return None;
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            let port = match rest {
                "" => None,
                _ => Some(rest.strip_prefix(':')?),
            };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None | Some("") => PORT,
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
    };
    let host = match host {
        "" => "localhost".to_owned(),
        _ => String::from_utf8(decoded(host)?).ok()?,
    };
    Some((host, port))
}

/// The bytes of a part of a URI, in which `%` is followed by two hex digits.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                let digits = std::str::from_utf8(digits).ok()?;
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
                rest = after;
            }
            other => bytes.push(*other),
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, export: &str) -> Address {
        Address {
            place: Place::Tcp {
                host: host.to_owned(),
                port,
            },
            export: export.as_bytes().to_vec(),
        }
    }

    #[test]
    fn an_address_names_the_server_and_the_export() {
        let parse = |uri| Address::parse(uri).unwrap();
        assert_eq!(parse("nbd://server"), tcp("server", 10809, ""));
        assert_eq!(parse("nbd://server/"), tcp("server", 10809, ""));
        assert_eq!(parse("nbd://server:1/a%20b"), tcp("server", 1, "a b"));
        assert_eq!(parse("nbd://[::1]:2/a/b"), tcp("::1", 2, "a/b"));
        assert_eq!(
            parse("nbd://[fe80::1%25eth0]").to_string(),
            "[fe80::1%eth0]:10809"
        );
        assert_eq!(parse("nbd:///x"), tcp("localhost", 10809, "x"));
        let unix = parse("nbd+unix:///disk?socket=/run/a%3Fb");
        assert_eq!(unix.place, Place::Unix("/run/a?b".into()));
        assert_eq!(unix.export(), b"disk");
    }

    #[test]
    fn a_malformed_address_is_refused() {
        for uri in [
            "nbds://server",
            "nbds+unix:///?socket=/a",
            "nbd+unix:///",
            "nbd+unix:///?socket=",
            "nbd+unix:///?socket=a&socket=b",
            "nbd+unix://host/?socket=/a",
            "nbd+unix:///?socket=%00",
            "nbd://server:99999",
            "nbd://server:0",
            "nbd://user@server",
            "nbd://[::1",
            "nbd://[::1]x",
            "nbd://server/%zz",
            "nbd://server/%+1",
            "nbd://server/%a",
            "nbd://server?tls=1",
            "nbd://server#x",
        ] {
            let refused = Address::parse(uri);
            assert!(matches!(refused, Err(Error::Environment { .. })), "{uri}");
            assert_eq!(address_in(Path::new(uri)), Some(uri));
        }
        assert_eq!(address_in(Path::new("/dev/nbd0")), None);
        assert_eq!(address_in(Path::new("./nbd://x")), None);
    }
}
