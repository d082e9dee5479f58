//! `--network-unlock` and the options that go with it.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::Command;
use fve::error::{Error, Result};
use fve::format::protector::ProtectorKind;
use fve::network::client::{self, Transport};
use fve::unlock::network::{KnownKeys, NetworkUnlock};

use super::kind::{Addition, CredentialKind, Group, OptionValues, Read};
use super::tpm;

const NAME: &str = "Network Unlock";

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: "network-unlock",
    group: Group::Network,
    value: "TRANSPORT",
    value_is_optional: true,
    additions: &[SIDECAR, TIMEOUT, KEY, REQUEST, SESSION_KEY],
    help: "Ask a Network Unlock server over dhcp (DHCPv6, then DHCPv4; the default), dhcp4 or dhcp6; append :INTERFACE to choose a network interface",
    systemd: None,
    environment: None,
    read: Read::Options(|given| Ok(Box::new(read(given)?))),
    typed: None,
    opens: &[ProtectorKind::Network],
};

/// The path of the sidecar file.
pub(crate) const SIDECAR: Addition = Addition {
    option: "network-sidecar",
    group: Group::Network,
    value: Some("FILE"),
    help: "With --network-unlock: the sidecar file of the volume, or its directory [default: /etc/fve/network]",
    systemd: None,
};

/// The limit for the whole attempt.
pub(crate) const TIMEOUT: Addition = Addition {
    option: "network-timeout",
    group: Group::Network,
    value: Some("SECONDS"),
    help: "With --network-unlock: time limit for all attempts together (DHCPv6 takes up to 5 seconds, DHCPv4 up to 4)",
    systemd: None,
};

const KEY: Addition = Addition {
    option: "network-key-file",
    group: Group::Examiner,
    value: Some("FILE"),
    help: "With --network-unlock, for a protector that Windows added: the key that the server would return (32 bytes, binary or hex)",
    systemd: None,
};

const REQUEST: Addition = Addition {
    option: "network-request-file",
    group: Group::Examiner,
    value: Some("FILE"),
    help: "With --network-unlock, for a protector that Windows added: the encrypted request (256 bytes); needs --network-session-key-file",
    systemd: None,
};

const SESSION_KEY: Addition = Addition {
    option: "network-session-key-file",
    group: Group::Examiner,
    value: Some("FILE"),
    help: "With --network-unlock, for a protector that Windows added: the session key (32 bytes) of the request",
    systemd: None,
};

fn read(given: &OptionValues<'_>) -> Result<NetworkUnlock> {
    let mut credential = NetworkUnlock::new(transports(given)?);
    if let Some(path) = given.other(SIDECAR.option) {
        credential = credential.sidecar(path);
    }
    if let Some(limit) = given.other(TIMEOUT.option) {
        credential = credential.limit(seconds(limit)?);
    }
    if let Some(prompt) = given.prompt {
        credential = credential.prompt(prompt.clone());
    }
    if let Some(tpm) = tpm::beside(given)? {
        credential = credential.tpm(tpm);
    }
    let known = KnownKeys::from_files(
        given.other(KEY.option),
        given.other(REQUEST.option),
        given.other(SESSION_KEY.option),
    )?;
    Ok(credential.known(known))
}

/// Lets the parser of the command line refuse malformed values, before anything is opened.
pub(super) fn check_values(command: Command) -> Command {
    command
        .mut_arg(KIND.option, |option| {
            option.value_parser(transport_word::<OsString>)
        })
        .mut_arg(TIMEOUT.option, |option| {
            option.value_parser(seconds_word::<OsString>)
        })
}

/// A value of `--network-unlock`; empty for the option without a value.
///
/// # Errors
/// If it names no transport.
pub(crate) fn transport_word<T: for<'a> From<&'a str>>(
    text: &str,
) -> std::result::Result<T, String> {
    client::parse_transports(Some(text))
        .map(|_| text.into())
        .map_err(|error| error.to_string())
}

/// A value of [`TIMEOUT`].
///
/// # Errors
/// If it is not a number of seconds that may be given.
pub(crate) fn seconds_word<T: for<'a> From<&'a str>>(text: &str) -> std::result::Result<T, String> {
    parse_seconds(text)
        .map(|_| text.into())
        .ok_or_else(|| format!("it must be between 1 and {MAX_SECONDS} seconds"))
}

/// The transports that the option names.
///
/// # Errors
/// [`Error::BadCredential`] if it names none, for example in fstab.
pub(crate) fn transports(given: &OptionValues<'_>) -> Result<Vec<Box<dyn Transport>>> {
    let named = given.value.map(|value| value.to_string_lossy());
    client::parse_transports(named.as_deref())
        .map_err(|error| Error::bad_credential(NAME, error.to_string()))
}

/// The longest limit: an hour. A longer one is more likely a mistake.
const MAX_SECONDS: u64 = 3600;

/// The value of [`TIMEOUT`]: whole seconds.
///
/// # Errors
/// [`Error::BadCredential`] for any other text.
pub(crate) fn seconds(text: &Path) -> Result<Duration> {
    text.to_str().and_then(parse_seconds).ok_or_else(|| {
        let why = format!(
            "--{} must be between 1 and {MAX_SECONDS} seconds",
            TIMEOUT.option
        );
        Error::bad_credential(NAME, why)
    })
}

fn parse_seconds(text: &str) -> Option<Duration> {
    let seconds = text.parse::<u64>().ok();
    seconds
        .filter(|seconds| (1..=MAX_SECONDS).contains(seconds))
        .map(Duration::from_secs)
}
