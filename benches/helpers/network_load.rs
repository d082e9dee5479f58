//! Puts a Network Unlock server under load: `network_load CERTIFICATE SERVER:67 CLIENT COUNT
//! WINDOW`. Used by `benches/network_load.sh`, which makes the network for it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use fve::network::Request;
use fve::network::certificate::Certificate;
use fve::network::crypto::{open_reply, seal_request};
use fve::network::message::dhcp4::{Form, Header, Reply4, Request4};
use fve::secret::NetworkKey;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [certificate, server, client, count, window] = &words[..] else {
        // `cargo test` runs it without arguments.
        println!("network_load CERTIFICATE SERVER:67 CLIENT COUNT WINDOW");
        return Ok(());
    };
    let certificate = Certificate::parse(&std::fs::read(certificate)?)?;
    let server: SocketAddr = server.parse()?;
    let (client, count, window): (Ipv4Addr, u32, usize) =
        (client.parse()?, count.parse()?, window.parse()?);
    let mut exchanges = Vec::new();
    for number in 0..count {
        let network = NetworkKey::from_bytes(&[number as u8; 32]);
        let (key_protector, session) = seal_request(&certificate, &network)?;
        let [a, b, c, d] = number.to_be_bytes();
        let request = Request4 {
            header: Header::ethernet(number, [2, 0, a, b, c, d], client),
            form: Form::Bootp,
            relay_information: None,
            request: Request {
                thumbprint: certificate.thumbprint(),
                key_protector,
            },
        };
        exchanges.push((request.encode(), request, session));
    }
    let socket = UdpSocket::bind((client, 68))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut sent = Vec::with_capacity(exchanges.len());
    let mut replies = Vec::with_capacity(exchanges.len());
    let mut buffer = [0; 1500];
    let start = Instant::now();
    while replies.len() < exchanges.len() {
        while sent.len() < exchanges.len() && sent.len() - replies.len() < window {
            socket.send_to(&exchanges[sent.len()].0, server)?;
            sent.push(Instant::now());
        }
        match socket.recv(&mut buffer) {
            Ok(len) => replies.push((Instant::now(), Reply4::parse(&buffer[..len])?)),
            // Nothing was received for two seconds: the other replies are lost.
            Err(_) => break,
        }
    }
    let time = replies.last().map_or(start, |(at, _)| *at) - start;
    // Checked afterwards, so that the client does not use CPU time that the server needs.
    let mut latencies = Vec::new();
    for (at, reply) in &replies {
        let number = reply.header.xid as usize;
        let (_, request, session) = &exchanges[number];
        let valid = reply.answers(request) && open_reply(session, &reply.sealed).is_ok();
        assert!(valid, "invalid reply");
        latencies.push(*at - sent[number]);
    }
    latencies.sort();
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied();
    println!(
        "requests {count} answered {} lost {} per_second {:.0} p50_us {} p99_us {} max_us {}",
        replies.len(),
        exchanges.len() - replies.len(),
        replies.len() as f64 / time.as_secs_f64(),
        at(50).unwrap_or_default().as_micros(),
        at(99).unwrap_or_default().as_micros(),
        latencies.last().copied().unwrap_or_default().as_micros(),
    );
    Ok(())
}
