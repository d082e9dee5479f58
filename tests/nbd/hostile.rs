//! Clients that break the protocol: the server goes on for all others.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::trials::trial;
use crate::common::writing::Random;
use crate::serve::made;
use crate::server::Server;

/// Connects to the server, and reads its greeting.
fn connect(server: &Server) -> UnixStream {
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
    stream
}

/// Connects, and selects the export in the shortest way.
fn selected(server: &Server) -> UnixStream {
    let mut stream = connect(server);
    stream.write_all(&3_u32.to_be_bytes()).unwrap();
    stream.write_all(&option(1, 0)).unwrap();
    let mut export = [0; 10];
    stream.read_exact(&mut export).unwrap();
    stream
}

fn option(code: u32, len: u32) -> Vec<u8> {
    [
        b"IHAVEOPT".as_slice(),
        &code.to_be_bytes(),
        &len.to_be_bytes(),
    ]
    .concat()
}

fn request(command: u16, offset: u64, len: u32) -> Vec<u8> {
    let mut bytes = vec![0x25, 0x60, 0x95, 0x13, 0, 0];
    bytes.extend(command.to_be_bytes());
    bytes.extend(7_u64.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes
}

/// The server closes the connection.
fn assert_closed(mut stream: UnixStream, why: &str) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{why}"),
    }
}

#[trial]
fn clients_that_break_the_protocol_lose_only_their_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = made(directory.path());
    let server = Server::start(&path, &[]);

    for (bytes, why) in [
        (vec![0xFF; 64], "unknown flags"),
        (
            [&3_u32.to_be_bytes(), [0x55; 64].as_slice()].concat(),
            "no option",
        ),
        (
            [3_u32.to_be_bytes().as_slice(), &option(7, u32::MAX)].concat(),
            "an option of 4 GiB",
        ),
        (
            [3_u32.to_be_bytes().as_slice(), &option(1, 5), b"other"].concat(),
            "another export",
        ),
        (
            [3_u32.to_be_bytes().to_vec(), option(99, 0).repeat(101)].concat(),
            "too many options",
        ),
    ] {
        let mut stream = connect(&server);
        // The server may close the connection before everything is written.
        let _ = stream.write_all(&bytes);
        assert_closed(stream, why);
    }
    for (bytes, why) in [
        (vec![0xAA; 28], "no request"),
        (request(1, 0, u32::MAX), "a write of 4 GiB"),
    ] {
        let mut stream = selected(&server);
        let _ = stream.write_all(&bytes);
        assert_closed(stream, why);
    }

    // Malformed options are answered.
    let mut stream = connect(&server);
    stream.write_all(&3_u32.to_be_bytes()).unwrap();
    for (code, data) in [
        (3, b"x".as_slice()),
        (8, b"x"),
        (6, b""),
        (6, &[0, 0, 0, 9]),
        (7, &[0, 0, 0, 0, 0xFF, 0xFF]),
        (9, &[0, 0, 0, 0, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]),
        (10, &[0, 0, 0, 0, 0, 0, 0, 0]),
        (5, b""),
        (11, b""),
        (7, &[0; 9000]),
    ] {
        let len = u32::try_from(data.len()).unwrap();
        stream.write_all(&option(code, len)).unwrap();
        stream.write_all(data).unwrap();
        let mut reply = [0; 20];
        stream.read_exact(&mut reply).unwrap();
        let kind = u32::from_be_bytes(reply[12..16].try_into().unwrap());
        assert!(kind & (1 << 31) != 0, "option {code}: {kind:#x}");
        let len = u32::from_be_bytes(reply[16..].try_into().unwrap());
        let mut message = vec![0; len as usize];
        stream.read_exact(&mut message).unwrap();
    }

    // Unknown requests are answered, and so is what follows.
    let mut stream = selected(&server);
    for (command, offset, len, error) in [
        (99, 0, 0, 22),
        (0, u64::MAX, 1, 22),
        (0, 0, (32 << 20) + 1, 22),
        (7, 0, 512, 22),
        (0, 0, 0, 0),
    ] {
        stream.write_all(&request(command, offset, len)).unwrap();
        let mut reply = [0; 16];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(u32::from_be_bytes(reply[4..8].try_into().unwrap()), error);
        assert_eq!(u64::from_be_bytes(reply[8..].try_into().unwrap()), 7);
    }

    // Random bytes in either state, and clients that go at any time.
    let mut random = Random::new(2026);
    for number in 0..200 {
        let mut stream = match number % 2 {
            0 => connect(&server),
            _ => selected(&server),
        };
        let len = random.below(200) as usize;
        let mut bytes = random.bytes(len);
        if number % 2 == 1 && len > 8 {
            bytes[..8].copy_from_slice(&request(0, 0, 0)[..8]);
        }
        let _ = stream.write_all(&bytes);
    }

    let mut stream = selected(&server);
    let len = u32::try_from(plaintext.len()).unwrap();
    stream.write_all(&request(0, 0, len)).unwrap();
    let mut reply = vec![0; 16 + plaintext.len()];
    stream.read_exact(&mut reply).unwrap();
    assert!(reply[16..] == plaintext);
    drop(stream);
    assert!(server.stop().success());
}

#[trial]
fn more_connections_than_the_server_allows_are_closed_and_it_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = made(directory.path());
    let server = Server::start(&path, &[]);
    let held: Vec<_> = (0..64).map(|_| selected(&server)).collect();
    let mut refused = UnixStream::connect(server.socket()).unwrap();
    assert_eq!(refused.read(&mut [0]).unwrap(), 0);
    drop(held);
    // The server notices that they have gone.
    for _ in 0..100 {
        let mut next = UnixStream::connect(server.socket()).unwrap();
        let mut greeting = [0; 18];
        if next.read_exact(&mut greeting).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no connection is accepted any more");
}

#[trial]
fn a_client_that_reads_no_answer_does_not_keep_the_server_from_ending() {
    let directory = tempfile::tempdir().unwrap();
    let (path, plaintext) = made(directory.path());
    let server = Server::start(&path, &[]);
    let mut stuck = selected(&server);
    let len = u32::try_from(plaintext.len()).unwrap();
    for _ in 0..16 {
        stuck.write_all(&request(0, 0, len)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    let start = std::time::Instant::now();
    assert!(server.stop().success());
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[trial]
fn a_client_that_sends_its_handshake_byte_by_byte_has_half_a_minute() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _) = made(directory.path());
    let server = Server::start(&path, &[]);
    let mut slow = connect(&server);
    slow.write_all(&3_u32.to_be_bytes()).unwrap();
    slow.write_all(&option(7, 8000)).unwrap();
    let start = std::time::Instant::now();
    while slow.write_all(&[0]).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(45));
        std::thread::sleep(Duration::from_secs(3));
    }
    assert!(start.elapsed() > Duration::from_secs(20));
}
