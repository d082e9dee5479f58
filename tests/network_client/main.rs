//! Network Unlock as a client has it: the exchange on a network of one process that loses, repeats,
//! garbles and forges; volumes whose key the network keeps; and real exchanges between network
//! namespaces, over DHCPv4 and DHCPv6.
//!
//! Trials whose tools are missing are reported as ignored; `FVE_REQUIRE_TOOLS=1` makes that a
//! failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

#[path = "../common/mod.rs"]
mod common;
mod exchange;
#[cfg(feature = "network-server")]
mod namespaces;
mod server;
mod volumes;

use std::process::ExitCode;

use common::trials::{self, group};
use libtest_mimic::Arguments;

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let mut trials = group("exchange", exchange::TESTS, &None);
    let openssl = trials::programs(&["openssl"]);
    trials.extend(group("volume", volumes::TESTS, &openssl));
    for (peer, test) in volumes::PEERS {
        let missing = openssl.clone().or_else(|| peer.missing());
        trials.extend(group("volume", &[*test], &missing));
    }
    #[cfg(feature = "network-server")]
    {
        let missing = openssl.or_else(namespaces::missing);
        trials.extend(group("namespaces", namespaces::TESTS, &missing));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
