//! One exchange on a network of one process, which does what networks and hostile hosts do.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::trials::trial;
use fve::network::client::{Answer, Memory, NoAnswer, Received, Timetable, ask};
use fve::network::crypto::{Keys, seal_reply};
use fve::network::{Request, SealedReply, SealedRequest, Thumbprint};
use fve::secret::{NetworkKey, SessionKey};
use hex_literal::hex;

// The vectors of docs/format-network-unlock.md §13.
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
    let from = "somebody".to_owned();
    (Duration::ZERO, Received::Reply { reply, from })
}

fn other(what: &str) -> (Duration, Received) {
    let (what, from) = (what.to_owned(), "somebody".to_owned());
    (Duration::ZERO, Received::Other { what, from })
}

/// Asks a network that answers each sending as `network` says, with short waits.
fn asked(
    network: impl Fn(usize) -> Vec<(Duration, Received)> + Send + Sync,
    deadline: Option<Instant>,
) -> Answer {
    let timetable = Timetable {
        delay: Duration::ZERO,
        waits: vec![SHORT; 2],
    };
    let network = |_: &Request, nth| network(nth);
    let transport = Memory::with_timetable(network, timetable);
    ask(&transport, &request(), &[&session_key()], deadline)
}

#[track_caller]
fn assert_delivered(answer: &Answer) {
    let delivered = answer.outcome.as_ref().expect("a key");
    assert_eq!(delivered.key.expose(), network_key().expose());
}

#[trial("opens the published reply")]
fn opens_the_vector() {
    let answer = asked(|_| vec![reply(good())], None);
    assert_delivered(&answer);
    assert_eq!((answer.sent, answer.refused), (1, 0));
}

#[trial("asks again when the request is lost")]
fn asks_again() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    let network = move |request: &Request, nth: usize| {
        told.lock().unwrap().push(request.clone());
        if nth == 1 {
            vec![reply(good())]
        } else {
            Vec::new()
        }
    };
    let timetable = Timetable {
        delay: Duration::ZERO,
        waits: vec![SHORT; 2],
    };
    let transport = Memory::with_timetable(network, timetable);
    let answer = ask(&transport, &request(), &[&session_key()], None);
    assert_delivered(&answer);
    assert_eq!(answer.sent, 2);
    assert!(answer.took >= SHORT);
    // The same bytes: no second key goes out.
    assert_eq!(*seen.lock().unwrap(), [request(), request()]);
}

#[trial("gives up when the time is over")]
fn gives_up() {
    let answer = asked(|_| Vec::new(), None);
    assert!(matches!(answer.outcome, Err(NoAnswer::Silence { .. })));
    assert_eq!(answer.sent, 2);
    assert!(answer.took >= 2 * SHORT, "{:?}", answer.took);
    assert!(answer.took < 2 * SHORT + Duration::from_secs(2));
    // As the specification has it, where nothing else is said.
    let times =
        fve::network::client::Transport::timetable(&Memory::new(|_: &Request, _: usize| {
            Vec::new()
        }));
    assert_eq!(times.total(), Duration::from_secs(4));
}

#[trial("never waits longer than it is told")]
fn keeps_the_limit() {
    let limit = Duration::from_millis(50);
    let answer = asked(|_| Vec::new(), Some(Instant::now() + limit));
    assert!(matches!(answer.outcome, Err(NoAnswer::Silence { .. })));
    assert!(answer.took < SHORT, "{:?}", answer.took);
    assert_eq!(asked(|_| vec![reply(good())], Some(Instant::now())).sent, 0);
}

#[trial("takes the first of two replies")]
fn takes_the_first() {
    let answer = asked(|_| vec![reply(good()), reply(good())], None);
    assert_delivered(&answer);
    assert_eq!(answer.refused, 0);
}

#[trial("goes on after every garbled reply")]
fn goes_on_after_garbled() {
    for at in 0..REPLY.len() {
        let mut garbled = REPLY;
        garbled[at] ^= 1 << (at % 8);
        let come = move || vec![reply(SealedReply::from_bytes(garbled)), reply(good())];
        let answer = asked(move |_| come(), None);
        assert_delivered(&answer);
        assert_eq!(answer.refused, 1, "byte {at}");
    }
    // The tag behind the ciphertext instead of in front of it.
    let mut behind = REPLY;
    behind.rotate_left(16);
    let answer = asked(move |_| vec![reply(SealedReply::from_bytes(behind))], None);
    assert!(matches!(
        answer.outcome,
        Err(NoAnswer::NotAuthentic { replies: 2, .. })
    ));
}

/// A recorded reply, and one that somebody else's session key made.
#[trial("goes on after replies to others")]
fn goes_on_after_others() {
    let elsewhere = seal_reply(&Keys {
        network: network_key(),
        session: SessionKey::from_bytes(&[9; 32]),
    });
    let elsewhere = elsewhere.unwrap();
    let answer = asked(move |_| vec![reply(elsewhere), reply(good())], None);
    assert_delivered(&answer);
    assert_eq!(answer.refused, 1);
    assert_eq!(answer.skipped[0].count, 1);
}

#[trial("goes on after any number of other packets")]
fn goes_on_after_foreign() {
    let answer = asked(
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

#[trial("bounds the work that a hostile host makes")]
fn bounds_the_work() {
    let flood = |bad: usize| {
        move |_: usize| {
            let mut come: Vec<_> = (0..bad)
                .map(|_| reply(SealedReply::from_bytes([0; 60])))
                .collect();
            come.push(reply(good()));
            come
        }
    };
    assert_delivered(&asked(flood(63), None));
    let answer = asked(flood(10_000), None);
    assert_eq!(answer.refused, 64);
    assert!(matches!(
        answer.outcome,
        Err(NoAnswer::NotAuthentic { replies: 64, .. })
    ));
}

#[trial("does not take a reply after the end")]
fn refuses_late() {
    let answer = asked(
        |_| {
            let (_, what) = reply(good());
            vec![(3 * SHORT, what)]
        },
        None,
    );
    assert!(matches!(answer.outcome, Err(NoAnswer::Silence { .. })));
}

#[trial("says which session key opened the reply")]
fn names_the_key() {
    let transport = Memory::new(|_: &Request, _: usize| vec![reply(good())]);
    let wrong = SessionKey::from_bytes(&[3; 32]);
    let answer = ask(&transport, &request(), &[&wrong, &session_key()], None);
    assert_eq!(answer.outcome.unwrap().session_key, 1);
}
