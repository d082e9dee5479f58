//! Exchanges over an in-process transport that does what networks and hostile hosts do.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::trials::trial;
use fve::network::client::{
    AskReport, InProcess, NoAnswer, Received, Schedule, Transport, ask, share_of_time,
};
use fve::network::crypto::{RequestKeys, seal_reply};
use fve::network::{Request, SealedReply, SealedRequest, Thumbprint};
use fve::secret::{NetworkKey, SessionKey};
use hex_literal::hex;

// A test vector of docs/format-network-unlock.md §13.
const REPLY: [u8; 60] = hex!(
    "5449fffe856dde279e97887c5bb2ed4a"
    "c2f9186fdb529f98558d60e88d896faf9026e1440ecd80008b46d22774ea349fe5e874bba93f4c1961e5be3f"
);
const SHORT: Duration = Duration::from_millis(150);

fn network_key() -> NetworkKey {
    NetworkKey::from_bytes(&std::array::from_fn(|at| at as u8))
}

fn session_key() -> SessionKey {
    SessionKey::from_bytes(&std::array::from_fn(|at| 0x80 + at as u8))
}

fn request() -> Request {
    Request {
        thumbprint: Thumbprint::from_bytes([1; 20]),
        key_protector: SealedRequest::from_bytes(&[2; 256]),
    }
}

fn good() -> SealedReply {
    SealedReply::from_bytes(REPLY)
}

fn reply(reply: SealedReply) -> (Duration, Received) {
    let from = "a host".to_owned();
    (Duration::ZERO, Received::Reply { reply, from })
}

fn other(what: &str) -> (Duration, Received) {
    let (what, from) = (what.to_owned(), "a host".to_owned());
    (Duration::ZERO, Received::Other { what, from })
}

/// Asks with short waits. `network` returns what arrives after each transmission.
fn ask_network(
    network: impl Fn(usize) -> Vec<(Duration, Received)> + Send + Sync,
    deadline: Option<Instant>,
) -> AskReport {
    let schedule = Schedule::new(Duration::ZERO, vec![SHORT; 2]);
    let network = |_: &Request, nth| network(nth);
    let transport = InProcess::with_schedule(network, schedule);
    ask(&transport, &request(), &[&session_key()], deadline)
}

#[track_caller]
fn assert_delivered(answer: &AskReport) {
    let delivered = answer.outcome.as_ref().expect("a key");
    assert_eq!(delivered.key.expose(), network_key().expose());
}

#[trial("decrypts the reply of the test vector")]
fn decrypts_the_vector() {
    let answer = ask_network(|_| vec![reply(good())], None);
    assert_delivered(&answer);
    assert_eq!((answer.sent, answer.refused), (1, 0));
}

#[trial("sends the request again if it is lost")]
fn asks_again() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorder = seen.clone();
    let network = move |request: &Request, nth: usize| {
        recorder.lock().unwrap().push(request.clone());
        if nth == 1 {
            vec![reply(good())]
        } else {
            Vec::new()
        }
    };
    let schedule = Schedule::new(Duration::ZERO, vec![SHORT; 2]);
    let transport = InProcess::with_schedule(network, schedule);
    let answer = ask(&transport, &request(), &[&session_key()], None);
    assert_delivered(&answer);
    assert_eq!(answer.sent, 2);
    assert!(answer.took >= SHORT);
    // The retransmission has the same bytes, so it reveals no second key.
    assert_eq!(*seen.lock().unwrap(), [request(), request()]);
}

#[trial("gives up at the end of the schedule")]
fn gives_up() {
    let answer = ask_network(|_| Vec::new(), None);
    assert!(matches!(answer.outcome, Err(NoAnswer::Silence { .. })));
    assert_eq!(answer.sent, 2);
    assert!(answer.took >= 2 * SHORT, "{:?}", answer.took);
    assert!(answer.took < 2 * SHORT + Duration::from_secs(2));
    // The default schedule is that of MS-NKPU.
    let times =
        fve::network::client::Transport::schedule(&InProcess::new(|_: &Request, _: usize| {
            Vec::new()
        }));
    assert_eq!(times.total(), Duration::from_secs(4));
}

#[trial("never waits longer than the deadline")]
fn keeps_the_limit() {
    let limit = Duration::from_millis(50);
    let answer = ask_network(|_| Vec::new(), Some(Instant::now() + limit));
    assert!(matches!(answer.outcome, Err(NoAnswer::Silence { .. })));
    assert!(answer.took < SHORT, "{:?}", answer.took);
    assert_eq!(
        ask_network(|_| vec![reply(good())], Some(Instant::now())).sent,
        0
    );
}

#[trial("takes the first of two replies")]
fn takes_the_first() {
    let answer = ask_network(|_| vec![reply(good()), reply(good())], None);
    assert_delivered(&answer);
    assert_eq!(answer.refused, 0);
}

#[trial("goes on after every damaged reply")]
fn goes_on_after_damaged() {
    for at in 0..REPLY.len() {
        let mut damaged = REPLY;
        damaged[at] ^= 1 << (at % 8);
        let come = move || vec![reply(SealedReply::from_bytes(damaged)), reply(good())];
        let answer = ask_network(move |_| come(), None);
        assert_delivered(&answer);
        assert_eq!(answer.refused, 1, "byte {at}");
    }
    // The tag after the ciphertext instead of before it.
    let mut tag_last = REPLY;
    tag_last.rotate_left(16);
    let answer = ask_network(
        move |_| vec![reply(SealedReply::from_bytes(tag_last))],
        None,
    );
    assert!(matches!(
        answer.outcome,
        Err(NoAnswer::NotAuthentic { replies: 2, .. })
    ));
}

/// A reply that was made with the session key of another client.
#[trial("goes on after replies to others")]
fn goes_on_after_others() {
    let elsewhere = seal_reply(&RequestKeys {
        network: network_key(),
        session: SessionKey::from_bytes(&[9; 32]),
    });
    let elsewhere = elsewhere.unwrap();
    let answer = ask_network(move |_| vec![reply(elsewhere), reply(good())], None);
    assert_delivered(&answer);
    assert_eq!(answer.refused, 1);
    assert_eq!(answer.skipped[0].count, 1);
}

#[trial("goes on after any number of other packets")]
fn goes_on_after_foreign() {
    let answer = ask_network(
        |_| {
            let mut come: Vec<_> = (0..10_000).map(|_| other("DHCPOFFER")).collect();
            come.push(reply(good()));
            come
        },
        None,
    );
    assert_delivered(&answer);
    assert_eq!(answer.skipped.len(), 1);
    assert_eq!(answer.skipped[0].count, 10_000);
}

#[trial("goes on after any number of forged replies")]
fn goes_on_after_forged() {
    for forged in [63, 64, 10_000] {
        let network = move |_: usize| {
            let mut come: Vec<_> = (0..forged)
                .map(|_| reply(SealedReply::from_bytes([0; 60])))
                .collect();
            come.push(reply(good()));
            come
        };
        let transport = InProcess::new(move |_: &Request, nth: usize| network(nth));
        let answer = ask(&transport, &request(), &[&session_key()], None);
        assert_delivered(&answer);
        assert_eq!((answer.sent, answer.refused), (1, forged));
        assert_eq!(answer.skipped.len(), 1);
    }
}

/// Forged replies after the first transmission, and the real one after the second: the first was
/// lost, or the server refused it.
#[trial("sends again although there were forged replies")]
fn asks_again_after_forged() {
    let answer = ask_network(
        |nth| match nth {
            0 => (0..1000)
                .map(|_| reply(SealedReply::from_bytes([0; 60])))
                .collect(),
            _ => vec![reply(good())],
        },
        None,
    );
    assert_delivered(&answer);
    assert_eq!((answer.sent, answer.refused), (2, 1000));
}

#[trial("gives every transport its share of a short time")]
fn shares_the_time() {
    let silent =
        || -> Box<dyn Transport> { Box::new(InProcess::new(|_: &Request, _: usize| Vec::new())) };
    let transports = [silent(), silent()];
    let deadline = Instant::now() + Duration::from_millis(400);
    for at in 0..2 {
        let until = share_of_time(&transports[at..], Some(deadline));
        let answer = ask(
            transports[at].as_ref(),
            &request(),
            &[&session_key()],
            until,
        );
        assert!(matches!(answer.outcome, Err(NoAnswer::Silence { .. })));
        assert_eq!(answer.sent, 2, "transport {at}");
    }
    assert!(Instant::now() >= deadline);
    // After the deadline, nothing is sent, and no server is said to be silent.
    let answer = ask(
        transports[0].as_ref(),
        &request(),
        &[&session_key()],
        Some(deadline),
    );
    let refusal = answer.outcome.expect_err("no key");
    assert!(matches!(refusal, NoAnswer::NotAsked { .. }));
    assert_eq!((answer.sent, refusal.word()), (0, "not-asked"));
    assert!(share_of_time(&transports, None).is_none());
}

#[trial("ignores a reply after the end")]
fn refuses_late() {
    let answer = ask_network(
        |_| {
            let (_, what) = reply(good());
            vec![(3 * SHORT, what)]
        },
        None,
    );
    assert!(matches!(answer.outcome, Err(NoAnswer::Silence { .. })));
}

#[trial("says which session key decrypted the reply")]
fn names_the_key() {
    let transport = InProcess::new(|_: &Request, _: usize| vec![reply(good())]);
    let wrong = SessionKey::from_bytes(&[3; 32]);
    let answer = ask(&transport, &request(), &[&wrong, &session_key()], None);
    assert_eq!(answer.outcome.unwrap().session_key, 1);
}
