//! Network Unlock over a transport of this program: requests and replies go through channels to a
//! thread that has the server's key. `cargo run --example network_transport`.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use fve::network::client::{Exchange, Received, Schedule, Transport, TransportError, ask};
use fve::network::crypto::{open_request, seal_reply, seal_request};
use fve::network::server::{KeyFiles, NewCertificate, ServedCertificates};
use fve::network::{Request, SealedReply};
use fve::secret::NetworkKey;

/// Sends requests through one channel and receives replies through another.
struct ChannelTransport {
    requests: Sender<Request>,
    replies: Mutex<Receiver<SealedReply>>,
}

impl Transport for ChannelTransport {
    fn name(&self) -> String {
        "channel".to_owned()
    }

    fn schedule(&self) -> Schedule {
        // Sent once, because a channel loses nothing.
        Schedule::new(Duration::ZERO, [Duration::from_secs(5)])
    }

    fn begin(&self, request: &Request) -> Result<Box<dyn Exchange + '_>, TransportError> {
        Ok(Box::new(ChannelExchange {
            transport: self,
            request: request.clone(),
        }))
    }
}

struct ChannelExchange<'a> {
    transport: &'a ChannelTransport,
    request: Request,
}

impl Exchange for ChannelExchange<'_> {
    fn send(&mut self) -> Result<(), TransportError> {
        let sent = self.transport.requests.send(self.request.clone());
        sent.map_err(|_| server_is_gone())
    }

    fn receive(&mut self, until: Instant) -> Result<Option<Received>, TransportError> {
        let replies = self.transport.replies.lock();
        let replies = replies.map_err(|_| server_is_gone())?;
        match replies.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(reply) => {
                let from = "the server thread".to_owned();
                Ok(Some(Received::Reply { reply, from }))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(server_is_gone()),
        }
    }
}

fn server_is_gone() -> TransportError {
    TransportError::NoAddress {
        what: "the server thread has ended".to_owned(),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The server: a new certificate with its key, read from a file as a real server would.
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("server.pem");
    let made = NewCertificate::make("example", 1)?;
    std::fs::write(&file, made.pem()?.expose())?;
    // The file mode does not matter: the directory is deleted when this example ends.
    let files = KeyFiles::new(vec![file]).accept_readable_keys(true);
    let certificates = ServedCertificates::read(&files)?;

    let (request_sender, request_receiver) = channel::<Request>();
    let (reply_sender, reply_receiver) = channel();
    thread::spawn(move || {
        for request in request_receiver {
            let served = certificates.get(&request.thumbprint);
            let keys = served.and_then(|one| open_request(&*one.key, &request.key_protector));
            // A request that cannot be decrypted is not answered.
            if let Some(reply) = keys.as_ref().and_then(seal_reply) {
                let _ = reply_sender.send(reply);
            }
        }
    });

    // The client: encrypts a key with the certificate, and gets it back.
    let key = NetworkKey::from_bytes(&[7; 32]);
    let (key_protector, session_key) = seal_request(made.certificate(), &key)?;
    let request = Request {
        thumbprint: made.certificate().thumbprint(),
        key_protector,
    };
    let transport = ChannelTransport {
        requests: request_sender,
        replies: Mutex::new(reply_receiver),
    };
    let report = ask(&transport, &request, &[&session_key], None);
    let delivered = report.outcome?;
    assert_eq!(delivered.key.expose(), key.expose());
    println!("{} returned the key in {:?}", delivered.from, report.took);
    Ok(())
}
