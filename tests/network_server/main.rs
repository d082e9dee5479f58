//! The Network Unlock server: the vectors of docs/format-network-unlock.md §13, decisions on every
//! kind of request, policies and key files; and, in network namespaces of its own, the server
//! itself with a client that shares nothing with it, relays, and DHCP servers beside it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

#[path = "../common/mod.rs"]
mod common;
mod core;
mod judges;
mod live;
mod net;
mod policies;

use std::process::ExitCode;

use common::trials::{Missing, trial};
use libtest_mimic::Arguments;

/// A test with the programs that it takes.
pub type Test = (&'static str, &'static [&'static str], fn());

fn main() -> ExitCode {
    // Before there is a second thread: namespaces hold for the thread that enters them.
    let isolated = net::isolate();
    let mut trials = Vec::new();
    for (group, tests, needs_net) in [
        ("core", core::TESTS, false),
        ("policy", policies::TESTS, false),
        ("judges", judges::TESTS, false),
        ("live", live::TESTS, true),
    ] {
        for (name, tools, test) in tests {
            let missing = match (&isolated, needs_net) {
                (Err(why), true) => Some(Missing::Tool(why.clone())),
                _ => net::missing(tools),
            };
            trials.push(trial(format!("{group}: {name}"), missing, *test));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
