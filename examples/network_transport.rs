//! Network Unlock over a transport of one's own: channels to a courier in another thread, which
//! holds the server's key. `cargo run --example network_transport`.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use fve::network::client::{Exchange, Received, Timetable, Transport, TransportError, ask};
use fve::network::crypto::{open_request, seal_reply, seal_request};
use fve::network::server::keys::{Files, Keys};
use fve::network::server::make::NewCertificate;
use fve::network::{Request, SealedReply};
use fve::secret::NetworkKey;

/// Carries requests one way and replies the other. A real one would know how to reach somebody.
struct Courier {
    out: Sender<Request>,
    back: Mutex<Receiver<SealedReply>>,
}

impl Transport for Courier {
    fn place(&self) -> String {
        "courier".to_owned()
    }

    fn timetable(&self) -> Timetable {
        Timetable {
            delay: Duration::ZERO,
            waits: vec![Duration::from_secs(5)],
        }
    }

    fn begin(&self, request: &Request) -> Result<Box<dyn Exchange + '_>, TransportError> {
        Ok(Box::new(UnderWay(self, request.clone())))
    }
}

struct UnderWay<'a>(&'a Courier, Request);

impl Exchange for UnderWay<'_> {
    fn send(&mut self) -> Result<(), TransportError> {
        self.0.out.send(self.1.clone()).map_err(|_| gone())
    }

    fn receive(&mut self, until: Instant) -> Result<Option<Received>, TransportError> {
        let back = self.0.back.lock().map_err(|_| gone())?;
        let from = "the courier".to_owned();
        match back.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(reply) => Ok(Some(Received::Reply { reply, from })),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

fn gone() -> TransportError {
    TransportError::NoAddress {
        what: "the courier went home".to_owned(),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("server.pem");
    let made = NewCertificate::make("example", 1)?;
    std::fs::write(&file, made.pem()?.expose())?;
    let keys = Keys::read(&Files {
        paths: vec![file],
        // It is gone when this example ends.
        accept_readable_keys: true,
        ..Files::default()
    })?;

    let (out, requests) = channel::<Request>();
    let (replies, back) = channel();
    thread::spawn(move || {
        for request in requests {
            let served = keys.get(&request.thumbprint);
            let opened = served.and_then(|one| open_request(&*one.key, &request.key_protector));
            // Whoever cannot answer is silent.
            if let Some(reply) = opened.as_ref().and_then(seal_reply) {
                let _ = replies.send(reply);
            }
        }
    });

    let key = NetworkKey::from_bytes(&[7; 32]);
    let (key_protector, session_key) = seal_request(made.certificate(), &key)?;
    let request = Request {
        thumbprint: made.certificate().thumbprint(),
        key_protector,
    };
    let back = Mutex::new(back);
    let answer = ask(&Courier { out, back }, &request, &[&session_key], None);
    let delivered = answer.outcome?;
    assert_eq!(delivered.key.expose(), key.expose());
    println!("{} brought the key in {:?}", delivered.from, answer.took);
    Ok(())
}
