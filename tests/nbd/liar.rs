//! Servers that lie, break the protocol or go away: `fve` ends with an error, and shows no wrong byte.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::fve;
use crate::common::output::{assert_status, text};
use crate::common::trials::trial;
use crate::common::writing::volume_with_clear_key;
use crate::server::{Server, nbdsh};
use fve::crypto::sector::Method;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

/// A byte of the data, far from the metadata.
const DATA: usize = 350_000;

/// Makes a reply from a request and the data that it asks for.
type Answer = fn(&[u8; 28], &[u8]) -> Vec<u8>;

/// What the server says and does, other than a sound one.
#[derive(Clone, Copy, Default)]
struct Lie {
    greeting: Option<&'static [u8]>,
    /// In place of the first reply to an option.
    reply: Option<fn(u64) -> Vec<u8>>,
    /// In place of the reply to a request for a certain byte of the data.
    answer: Option<Answer>,
    /// The connection ends after the request of this number.
    end: Option<u64>,
    /// It allows writing, and ends a connection that reads after something was written.
    dies_with_writes: bool,
}

/// A server for every connection, which is sound but for its lie.
fn serve(disk: Vec<u8>, lie: Lie) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let written = Arc::new(AtomicBool::new(false));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let disk = disk.clone();
            let written = written.clone();
            std::thread::spawn(move || {
                // The client goes away when it likes.
                let _ = converse(stream, &disk, lie, &written);
            });
        }
    });
    (
        directory,
        format!("nbd+unix:///?socket={}", socket.display()),
    )
}

fn reply(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 3, 0xE8, 0x89, 4, 0x55, 0x65, 0xA9, 0, 0, 0, 7];
    bytes.extend(kind.to_be_bytes());
    bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
    bytes
}

/// The description of an export, and the end of the handshake.
fn described(size: u64, flags: u16, blocks: Option<[u32; 3]>) -> Vec<u8> {
    let export = [&[0, 0], size.to_be_bytes().as_slice(), &flags.to_be_bytes()].concat();
    let mut bytes = reply(3, &export);
    if let Some(blocks) = blocks {
        let blocks = blocks.map(u32::to_be_bytes).concat();
        bytes.extend(reply(3, &[[0, 3].as_slice(), &blocks].concat()));
    }
    bytes.extend(reply(1, &[]));
    bytes
}

fn converse(
    mut stream: UnixStream,
    disk: &[u8],
    lie: Lie,
    written: &AtomicBool,
) -> std::io::Result<()> {
    stream.write_all(lie.greeting.unwrap_or(b"NBDMAGICIHAVEOPT\0\x03"))?;
    stream.read_exact(&mut [0; 4])?;
    let mut option = [0; 16];
    stream.read_exact(&mut option)?;
    let len = u32::from_be_bytes(option[12..].try_into().unwrap());
    stream.read_exact(&mut vec![0; len as usize])?;
    let size = disk.len() as u64;
    let said = match lie.reply {
        Some(said) => said(size),
        // FLUSH and several connections.
        None if lie.dies_with_writes => described(size, 0x105, None),
        None => described(size, 3, None),
    };
    stream.write_all(&said)?;
    for number in 0.. {
        let mut request = [0; 28];
        stream.read_exact(&mut request)?;
        let field = |range: std::ops::Range<usize>| {
            let bytes = request[range].iter();
            bytes.fold(0, |value, byte| value << 8 | u64::from(*byte)) as usize
        };
        let start = field(16..24);
        let data = disk.get(start..).unwrap_or_default();
        let data = &data[..field(24..28).min(data.len())];
        let command = field(6..8);
        if command == 1 {
            stream.read_exact(&mut vec![0; field(24..28)])?;
            written.store(true, Ordering::SeqCst);
        }
        if lie.dies_with_writes && command == 0 && written.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let data = if command == 0 { data } else { &[] };
        if lie.end == Some(number) {
            return Ok(());
        }
        match lie.answer {
            Some(said) if (start..start + data.len()).contains(&DATA) => {
                stream.write_all(&said(&request, data))?;
            }
            _ => stream.write_all(&answered(&request, 0, data))?,
        }
    }
    Ok(())
}

fn answered(request: &[u8; 28], error: u32, data: &[u8]) -> Vec<u8> {
    [
        &[0x67, 0x44, 0x66, 0x98],
        error.to_be_bytes().as_slice(),
        &request[8..16],
        data,
    ]
    .concat()
}

/// The status and the error of `fve decrypt`, which must write nothing wrong.
fn decrypt(uri: &str) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let out: PathBuf = directory.path().join("out");
    let start = Instant::now();
    let output = fve().args(["decrypt", uri]).arg(&out).output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(60));
    let status = output.status.code().unwrap();
    if status == 0 {
        let (_, plaintext) = volume_with_clear_key(Method::AES_XTS_128, 512);
        assert!(std::fs::read(&out).unwrap() == plaintext);
    } else {
        assert!(!out.exists());
    }
    (status, text(&output.stderr))
}

fn check(lie: Lie, status: i32, says: &str) {
    let (disk, _) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let (_directory, uri) = serve(disk, lie);
    let (found, said) = decrypt(&uri);
    assert_eq!(found, status, "{said}");
    assert!(said.contains(says), "{said}");
}

#[trial]
fn a_sound_server_is_read() {
    check(Lie::default(), 0, "");
}

#[trial]
fn handshakes_that_break_the_protocol_are_errors() {
    let greeting = |bytes| Lie {
        greeting: Some(bytes),
        ..Lie::default()
    };
    check(
        greeting(b"HTTP/1.1 400 Bad Request\r\n"),
        5,
        "newstyle handshake",
    );
    check(
        greeting(b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53\0\0\0\0\0\0\x10\0"),
        5,
        "newstyle handshake",
    );
    check(greeting(b"NBDMAGICIHAVEOPT\0\0"), 5, "outdated");
    let reply_is = |said| Lie {
        reply: Some(said),
        ..Lie::default()
    };
    check(reply_is(|_| vec![0x55; 64]), 5, "a reply to an option");
    check(reply_is(|_| reply(3, &[])), 5, "closed the connection");
    check(reply_is(|_| reply(1, &[])), 5, "no description");
    check(reply_is(|_| reply(77, &[])), 5, "unknown reply");
    check(
        reply_is(|_| reply(0x8000_0006, b"no such thing")),
        5,
        "it has no export",
    );
    check(reply_is(|_| reply(0x8000_0005, b"")), 5, "insists on TLS");
    check(
        reply_is(|_| reply(0x8000_0002, b"\x1B[2Jgo away")),
        5,
        "configuration",
    );
    check(
        reply_is(|_| reply(0x8000_0003, b"")),
        5,
        "refuses the export",
    );
    check(
        reply_is(|_| reply(3, &[0, 9]).repeat(200)),
        5,
        "too many replies",
    );
    check(
        reply_is(|_| [reply(3, &[0, 9]).split_at(16).0, &[0xFF; 4]].concat()),
        5,
        "too long",
    );
    check(
        reply_is(|_| described(u64::MAX, 3, None)),
        5,
        "impossible size of the export",
    );
    check(
        reply_is(|size| described(size, 0, None)),
        5,
        "without flags",
    );
    check(
        reply_is(|size| described(size, 3, Some([0, 4096, 1 << 20]))),
        5,
        "impossible size of blocks",
    );
    check(
        reply_is(|size| described(size, 3, Some([512, 512, 1]))),
        5,
        "impossible size of blocks",
    );
    check(
        reply_is(|size| described(size, 3, Some([1 << 20, 1 << 20, 1 << 20]))),
        5,
        "impossible size of blocks",
    );
}

#[trial]
fn blocks_that_the_server_insists_on_are_kept() {
    check(
        Lie {
            reply: Some(|size| described(size, 3, Some([4096, 4096, 8192]))),
            ..Lie::default()
        },
        0,
        "",
    );
}

#[trial]
fn a_size_that_is_not_true_gives_no_wrong_byte() {
    let cut = Lie {
        reply: Some(|size| described(size - 4096, 3, None)),
        ..Lie::default()
    };
    let (disk, _) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let (_directory, uri) = serve(disk.clone(), cut);
    let (status, said) = decrypt_partly(&uri);
    assert_eq!(status, 5, "{said}");
    let none = Lie {
        reply: Some(|_| described(0, 3, None)),
        ..Lie::default()
    };
    check(none, 3, "not a BitLocker volume");
}

/// As [`decrypt`], for a source that is cut off, of which there is an output.
fn decrypt_partly(uri: &str) -> (i32, String) {
    let output = fve().args(["decrypt", uri, "-"]).output().unwrap();
    let (_, plaintext) = volume_with_clear_key(Method::AES_XTS_128, 512);
    assert!(plaintext.starts_with(&output.stdout));
    (output.status.code().unwrap(), text(&output.stderr))
}

#[trial]
fn replies_that_break_the_protocol_are_errors() {
    let last = |said: Answer| Lie {
        answer: Some(said),
        ..Lie::default()
    };
    check(
        last(|request, _| answered(request, 5, &[])),
        5,
        "reading or writing failed there",
    );
    check(
        last(|request, _| answered(request, 4711, &[])),
        5,
        "error number 4711",
    );
    check(
        last(|_, data| [&[0x66; 16], data].concat()),
        5,
        "something else than a reply",
    );
    let other = |request: &[u8; 28], data: &[u8]| {
        let mut request = *request;
        request[15] ^= 1;
        answered(&request, 0, data)
    };
    check(last(other), 5, "the reply to another request");
}

/// A server that ends the connection once is connected to again; one that always ends it is an error.
#[trial]
fn a_connection_that_ends_is_made_again_once() {
    let (disk, _) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let always = Lie {
        end: Some(0),
        ..Lie::default()
    };
    let (_directory, uri) = serve(disk.clone(), always);
    let (status, said) = decrypt(&uri);
    assert_eq!(status, 5, "{said}");
    let sometimes = Lie {
        end: Some(3),
        ..Lie::default()
    };
    let (_directory, uri) = serve(disk, sometimes);
    let (status, said) = decrypt(&uri);
    assert_eq!(status, 0, "{said}");
}

#[trial]
fn a_server_that_says_nothing_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let _listener = UnixListener::bind(&socket).unwrap();
    let uri = format!("nbd+unix:///?socket={}", socket.display());
    let start = Instant::now();
    let output = fve().args(["info", &uri]).output().unwrap();
    assert_status(&output, 5);
    assert!(start.elapsed() < Duration::from_secs(45));
    let said = text(&output.stderr);
    assert!(said.contains("silent for too long"), "{said}");
}

#[trial]
fn addresses_that_lead_nowhere_are_explained() {
    for (uri, status, says) in [
        (
            "nbd+unix:///?socket=/nowhere",
            5,
            "cannot use the NBD server at /nowhere",
        ),
        (
            "nbd://127.0.0.1:1",
            5,
            "cannot use the NBD server at 127.0.0.1:1",
        ),
        ("nbds://localhost", 5, "asks for TLS"),
        ("nbd+unix:///", 5, "names no socket"),
    ] {
        let output = fve().args(["info", uri]).output().unwrap();
        let said = text(&output.stderr);
        assert!(said.contains(says), "{uri}: {said}");
        assert_eq!(output.status.code(), Some(status), "{uri}: {said}");
    }
}

/// What a server had not written yet is lost with it: a flush must not say that it is on the disk, also if the
/// next server knows nothing of it.
#[trial(needs(nbdsh))]
fn a_flush_fails_after_a_server_that_had_writes_was_replaced() {
    let (disk, _) = volume_with_clear_key(Method::AES_XTS_128, 512);
    let lie = Lie {
        dies_with_writes: true,
        ..Lie::default()
    };
    let (_directory, uri) = serve(disk, lie);
    let server = Server::start(&uri, &["--read-write"]);
    server.nbdsh(
        "
h.pwrite(b'x' * 4096, 4096)
# The server has gone, and the next one does not have the write.
refused(errno.EIO, lambda: h.pread(512, 350000))
refused(errno.EIO, h.flush)
refused(errno.EIO, h.flush)
",
    );
    assert_eq!(server.stop().code(), Some(5));
}

#[trial]
fn a_server_that_accepts_no_connection_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    // The queue of connections is full now.
    let _waiting = UnixStream::connect(&path).unwrap();
    let start = Instant::now();
    let uri = format!("nbd+unix:///?socket={}", path.display());
    let output = fve().args(["info", &uri]).output().unwrap();
    assert_status(&output, 5);
    assert!(start.elapsed() < Duration::from_secs(30));
}
