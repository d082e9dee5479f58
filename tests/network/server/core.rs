//! The decisions about requests, without sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fve::network::crypto::{open_reply, seal_request};
use fve::network::message::dhcp4::{Form, Header, Reply4, Request4};
use fve::network::message::dhcp6::{Relay, Reply6, Request6};
use fve::network::policy::Policy;
use fve::network::server::{
    Configuration, Core, Decision, KeyFiles, Origin, PolicyAddress, PolicyState, Protocol, Rate,
    Replay, Reply, ServedCertificates, Settings, Verdict,
};
use fve::network::{Request, SealedRequest};
use fve::secret::{NetworkKey, SessionKey};
use hex_literal::hex;
use sha2::{Digest, Sha256};

use crate::common::trials::trial;

const KEY_PROTECTOR: [u8; 256] = hex!(
    "39100ba194f4b106c0e990ff24f79fb5eedbb5a1fd3e4bb7c7033fd0edbaf90c2609130f6f2a442e2eaf3622811b16ae5894fa0bf6d92fdfb27a9183de94c493"
    "3a8079dd370097df98f5c006b4362759e6ad0f844a534a147c7a86ef2e34b91d0dcc81f3f995931fa36c16428a29c5696e44a89f3ac5ba0e1851a49688a3ca85"
    "56ab4577ba1f3999b269794fd6ef178eafd5645bc3c69109f4be4ea396c3170ae5d97f68edd93b44586407127aa306bcf4e3ad44eb85c3ac5dbe0a388b90027a"
    "4762ecc6c459b312efac10da11eace58d58e29c8c7612a9aad9aad900babb05af910338f2a35f11eb0133dfc25ff6d92a07b2378216e59339b04ad9fdb624df5"
);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);
const IDENTIFIER: [u8; 10] = hex!("00030001020000000002");

/// The certificate and the key of the test vectors (docs/format-network-unlock.md §13).
pub fn files() -> [PathBuf; 2] {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/network");
    [directory.join("test.cer"), directory.join("test.key")]
}

pub fn certificates() -> ServedCertificates {
    // In a checkout, every user can read the key of the tests.
    let files = KeyFiles::new(files().to_vec()).accept_readable_keys(true);
    ServedCertificates::read(&files).expect("keys")
}

fn settings() -> Settings {
    Settings::new().identifier(IDENTIFIER)
}

fn without_limits() -> Settings {
    let none = Rate::new(0.0, 1.0);
    settings()
        .per_source(none)
        .per_network(none)
        .per_certificate(none)
        .total(none)
}

fn server(settings: Settings, policy: PolicyState) -> Core {
    Core::new(settings, Configuration::new(certificates(), policy))
}

fn unrestricted_server() -> Core {
    server(without_limits(), PolicyState::Unrestricted)
}

fn policy(text: &str) -> PolicyState {
    PolicyState::Valid(Policy::parse(text.as_bytes()).expect("policy"))
}

pub fn request() -> Request {
    Request {
        thumbprint: "b44bf9cee0e91c92b027a18dea2d3573bd7f8506".parse().unwrap(),
        key_protector: SealedRequest::from_bytes(&KEY_PROTECTOR),
    }
}

/// A new request, and the session key that decrypts its reply.
fn new_request() -> (Request, SessionKey) {
    let certificates = certificates();
    let served = certificates.iter().next().unwrap();
    let network = NetworkKey::from_bytes(&[7; 32]);
    let (key_protector, session) = seal_request(&served.certificate, &network).unwrap();
    let thumbprint = served.certificate.thumbprint();
    (
        Request {
            thumbprint,
            key_protector,
        },
        session,
    )
}

fn header() -> Header {
    Header::ethernet(0x4e4b5055, [2, 0, 0, 0, 0, 1], CLIENT)
}

pub fn request4(form: Form) -> Request4 {
    Request4 {
        header: header(),
        form,
        relay_information: None,
        request: request(),
    }
}

pub fn request6() -> Request6 {
    Request6 {
        relays: Vec::new(),
        xid: hex!("123456"),
        client: Some(hex!("0001000111223344020000000001").to_vec()),
        request: request(),
    }
}

fn from4(address: Ipv4Addr) -> Origin {
    Origin::new(Protocol::Dhcp4, SocketAddr::new(address.into(), 68))
}

fn from6(address: &str) -> Origin {
    Origin::new(
        Protocol::Dhcp6,
        SocketAddr::new(address.parse().unwrap(), 546),
    )
}

fn handle_dhcp4(core: &Core, datagram: &[u8]) -> Decision {
    core.handle(datagram, &from4(CLIENT), Instant::now())
}

fn verdict(decision: &Decision) -> Option<Verdict> {
    decision.record.as_ref().map(|record| record.verdict)
}

fn hash(reply: Option<Reply>) -> [u8; 32] {
    Sha256::digest(reply.expect("a reply").payload).into()
}

#[trial("answers the requests of the test vectors with their replies")]
fn answers_the_vectors() {
    let core = unrestricted_server();
    for form in [Form::Bootp, Form::Discover] {
        let decision = handle_dhcp4(&core, &request4(form).encode());
        assert_eq!(
            hash(decision.reply),
            hex!("260868b1adabf9d8c54e9667896776b23c6716dc5c39307f627ad80eda784107")
        );
    }
    let decision = core.handle(&request6().encode(), &from6("fe80::1"), Instant::now());
    assert_eq!(
        hash(decision.reply),
        hex!("f697ae116f099caa8640b602676e59b229b67ea25447628b53e4f8959cc692d7")
    );
}

#[trial("does not answer truncated requests")]
fn truncations() {
    let core = unrestricted_server();
    let v4 = request4(Form::Bootp).encode();
    for len in 0..v4.len() {
        let decision = handle_dhcp4(&core, &v4[..len]);
        // Without its last byte, only the end option is missing.
        assert_eq!(decision.reply.is_some(), len == v4.len() - 1, "{len}");
    }
    let v6 = request6().encode();
    for len in 0..v6.len() {
        let decision = core.handle(&v6[..len], &from6("fe80::1"), Instant::now());
        assert!(decision.reply.is_none(), "{len}");
    }
    assert_eq!(core.counters().private_operations(), 1);
}

#[trial("does not answer requests with a changed byte")]
fn changed_bytes() {
    let core = unrestricted_server();
    let valid = request4(Form::Bootp).encode();
    let session = SessionKey::from_bytes(&std::array::from_fn(|at| 0x80 + at as u8));
    for at in 0..valid.len() {
        for change in [0x01, 0x80, 0xFF] {
            let mut datagram = valid.clone();
            datagram[at] ^= change;
            let decision = handle_dhcp4(&core, &datagram);
            let verdict = verdict(&decision);
            let answered = decision.reply.is_some();
            match at {
                // The operation and the magic cookie.
                0 | 236..240 => assert_eq!(verdict, None, "{at}"),
                // Hardware type, hops, transaction, seconds, flags, yiaddr, siaddr, the hardware
                // address, sname and file: not checked, except for too many hops.
                1 | 3..12 | 16..24 | 28..236 => {
                    let hops = at == 3 && change > 16 && verdict == Some(Verdict::Relay);
                    assert!(answered || hops, "{at}: {verdict:?}");
                }
                2 => {}
                // ciaddr, which must be the source address. A changed giaddr makes it a relayed
                // request.
                12..16 => assert!(!answered, "{at}"),
                24..28 => {}
                // The thumbprint.
                255..275 => assert_eq!(verdict, Some(Verdict::UnknownThumbprint), "{at}"),
                // The key protector. With implicit rejection there may be a reply, which the session
                // key does not decrypt.
                277..405 | 414..542 => {
                    if let Some(reply) = decision.reply {
                        let reply = Reply4::parse(&reply.payload).unwrap();
                        assert!(open_reply(&session, &reply.sealed).is_err());
                    }
                }
                // The end option becomes an option that is cut off, or a pad option.
                542 => assert_eq!(answered, change == 0xFF, "{at}"),
                _ => assert!(!answered, "{at}: {change:#x}"),
            }
        }
    }
}

#[trial("accepts options in any order, with padding and split")]
fn option_orders() {
    let core = unrestricted_server();
    let valid = request4(Form::Bootp).encode();
    let (head, options) = valid.split_at(240);
    let parts = [&options[..11], &options[11..165], &options[165..302]];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        for pads in [0, 3] {
            let mut datagram = head.to_vec();
            for part in order {
                datagram.extend(std::iter::repeat_n(0, pads));
                datagram.extend(parts[part]);
            }
            datagram.push(255);
            datagram.extend(std::iter::repeat_n(0, pads));
            assert!(handle_dhcp4(&core, &datagram).reply.is_some(), "{order:?}");
        }
    }
    // Option 43 in two parts (RFC 3396), with another option between them.
    let mut split = head.to_vec();
    split.extend([43, 100]);
    split.extend(&parts[1][2..102]);
    split.extend(parts[0]);
    split.extend([43, 52]);
    split.extend(&parts[1][102..]);
    split.extend(parts[2]);
    split.push(255);
    assert!(handle_dhcp4(&core, &split).reply.is_some());
    // Option 43 twice is malformed; a block of another enterprise in option 125 is not.
    let twice = [head, parts[0], parts[1], parts[1], parts[2], &[255]].concat();
    let malformed = Some(Verdict::Malformed("option 43"));
    assert_eq!(verdict(&handle_dhcp4(&core, &twice)), malformed);
    let mut other = parts[2].to_vec();
    other[1] += 6;
    other.extend([0, 0, 0, 9, 1, 42]);
    let beside = [head, parts[0], parts[1], &other, &[255]].concat();
    assert!(handle_dhcp4(&core, &beside).reply.is_some());
    // A vendor class that only begins with BITLOCKER.
    let longer = [head, &[60, 10], b"BITLOCKER\0", parts[1], parts[2], &[255]].concat();
    assert_eq!(verdict(&handle_dhcp4(&core, &longer)), None);
}

#[trial("answers only the message types that clients use")]
fn message_types() {
    let core = unrestricted_server();
    let inform = server(
        without_limits().accept_inform(true),
        PolicyState::Unrestricted,
    );
    let valid = request4(Form::Discover).encode();
    for code in 0..=18 {
        let mut datagram = valid.clone();
        datagram[242] = code;
        let decision = handle_dhcp4(&core, &datagram);
        assert_eq!(decision.reply.is_some(), code == 1, "{code}");
        if code != 1 {
            assert_eq!(verdict(&decision), Some(Verdict::MessageType(code)));
        }
        let decision = handle_dhcp4(&inform, &datagram);
        assert_eq!(decision.reply.is_some(), [1, 8].contains(&code), "{code}");
    }
}

#[trial("refuses addresses that no relay can have")]
fn relay_addresses() {
    let core = unrestricted_server();
    for (relay, answered) in [
        ([10, 77, 0, 1], true),
        ([255, 255, 255, 255], false),
        ([224, 0, 0, 1], false),
        ([127, 0, 0, 1], false),
        ([0, 1, 2, 3], false),
    ] {
        let mut request = request4(Form::Bootp);
        request.header.relay = relay.into();
        let decision = handle_dhcp4(&core, &request.encode());
        assert_eq!(decision.reply.is_some(), answered, "{relay:?}");
    }
    let mut request = request4(Form::Bootp);
    request.header.relay = [10, 77, 0, 1].into();
    request.header.hops = 17;
    let decision = handle_dhcp4(&core, &request.encode());
    assert_eq!(verdict(&decision), Some(Verdict::Relay));
}

#[trial("sends replies to the documented destinations")]
fn destinations() {
    let core = unrestricted_server();
    let none = Ipv4Addr::UNSPECIFIED;
    let relay = Ipv4Addr::new(10, 78, 0, 1);
    for (source, client, giaddr, to) in [
        (relay, CLIENT, relay, "10.78.0.1:67"),
        (CLIENT, CLIENT, none, "10.77.0.50:68"),
        (CLIENT, none, none, "10.77.0.50:68"),
        (none, CLIENT, none, "10.77.0.50:68"),
        (none, none, none, "255.255.255.255:68"),
    ] {
        let mut request = request4(Form::Bootp);
        request.header.client = client;
        request.header.relay = giaddr;
        request.relay_information = Some(vec![1, 3, 9, 9, 9]);
        let decision = core.handle(&request.encode(), &from4(source), Instant::now());
        let reply = decision.reply.expect("a reply");
        assert_eq!(reply.to, to.parse().unwrap());
        // The relay information is repeated as the last option.
        assert!(reply.payload.ends_with(&[82, 5, 1, 3, 9, 9, 9, 255]));
        let reply = Reply4::parse(&reply.payload).unwrap();
        assert_eq!(reply.header.relay, giaddr);
        assert_eq!(reply.header.flags, 0x8000);
        assert!(reply.answers(&request));
    }
    let decision = core.handle(&request6().encode(), &from6("2001:db8::5"), Instant::now());
    assert_eq!(
        decision.reply.expect("a reply").to,
        "[2001:db8::5]:546".parse().unwrap()
    );
}

#[trial("wraps DHCPv6 replies for every relay")]
fn relay_layers() {
    let core = unrestricted_server();
    let relay = |hops: u8, interface: Option<&[u8]>| Relay {
        hops,
        link: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, hops.into()),
        peer: "fe80::50".parse().unwrap(),
        interface: interface.map(<[u8]>::to_vec),
    };
    for depth in 1..=8_u8 {
        let mut request = request6();
        request.relays = (0..depth)
            .rev()
            .map(|hops| relay(hops, (hops % 2 == 0).then_some(b"eth7")))
            .collect();
        let decision = core.handle(&request.encode(), &from6("2001:db8::9"), Instant::now());
        let reply = decision.reply.expect("a reply");
        assert_eq!(reply.to, "[2001:db8::9]:547".parse().unwrap());
        let reply = Reply6::parse(&reply.payload).unwrap();
        assert_eq!(reply.relays, request.relays);
        assert!(reply.answers(&request));
        let record = decision.record.unwrap();
        assert_eq!(record.relay, Some(relay(0, None).link.into()));
    }
    let mut request = request6();
    request.relays = (0..9).rev().map(|hops| relay(hops, None)).collect();
    let decision = core.handle(&request.encode(), &from6("2001:db8::9"), Instant::now());
    assert!(decision.reply.is_none() && decision.record.is_none());
}

#[trial("limits the answers to one requester")]
fn rate_limits() {
    let core = server(settings(), PolicyState::Unrestricted);
    let start = Instant::now();
    let packet = request4(Form::Bootp).encode();
    let ask = |address, now| core.handle(&packet, &from4(address), now);
    let reasons: Vec<_> = (0..12)
        .map(|_| verdict(&ask(CLIENT, start)).unwrap().is_answer())
        .collect();
    assert_eq!(reasons.iter().filter(|answered| **answered).count(), 8);
    // Logged once, until a request is let through again.
    let later = start + Duration::from_secs(1);
    assert!(ask(CLIENT, later).reply.is_some());
    assert!(ask(CLIENT, later).reply.is_some());
    assert_eq!(
        verdict(&ask(CLIENT, later)),
        Some(Verdict::Rate { first: true })
    );
    assert_eq!(
        verdict(&ask(CLIENT, later)),
        Some(Verdict::Rate { first: false })
    );
    // Another requester is not affected.
    let mut other = request4(Form::Bootp);
    other.header.client = [10, 77, 0, 51].into();
    let decision = core.handle(&other.encode(), &from4([10, 77, 0, 51].into()), later);
    assert!(decision.reply.is_some());
    // Clients of one relay have their own limits, and thousands of forged ones do not fill the memory,
    // nor do they keep a known client from an answer.
    for number in 0..20_000_u32 {
        let mut relayed = request4(Form::Bootp);
        relayed.header.relay = [10, 78, 0, 1].into();
        relayed.header.hardware_address[2..6].copy_from_slice(&number.to_be_bytes());
        let now = later + Duration::from_millis(u64::from(number) * 40);
        assert!(ask_with(&core, &relayed, now).reply.is_some(), "{number}");
    }
}

/// 400 requests a second from one address for a minute, and one a second from another.
#[trial("answers others during a flood from one address")]
fn flood() {
    let core = server(settings(), PolicyState::Unrestricted);
    let start = Instant::now();
    let packet = request4(Form::Bootp).encode();
    let other = [10, 77, 0, 51].into();
    let mut asked = request4(Form::Bootp);
    asked.header.client = other;
    let asked = asked.encode();
    for number in 0..24_000_u32 {
        let now = start + Duration::from_micros(u64::from(number) * 2_500);
        core.handle(&packet, &from4(CLIENT), now);
        if number % 400 == 399 {
            let decision = core.handle(&asked, &from4(other), now);
            assert!(decision.reply.is_some(), "after {number} requests");
        }
    }
}

/// 400 requests a second for a minute, as from ever new clients of ever new relays or from clients
/// without an address, and one a second from a client elsewhere and from one behind another relay. The
/// certificate is the same.
#[trial("answers others during a flood of made-up clients")]
fn flood_of_clients() {
    for of_relays in [true, false] {
        flood_of(of_relays);
    }
}

fn flood_of(of_relays: bool) {
    let core = server(settings(), PolicyState::Unrestricted);
    let start = Instant::now();
    let mut forged = request4(Form::Bootp);
    let mut elsewhere = request4(Form::Bootp);
    elsewhere.header.client = [10, 79, 0, 51].into();
    let mut behind_other = request4(Form::Bootp);
    behind_other.header.relay = [10, 80, 0, 1].into();
    for number in 0..24_000_u32 {
        let now = start + Duration::from_micros(u64::from(number) * 2_500);
        // All that the sender writes is new each time; what it sends from is not.
        let (relay, source) = match of_relays {
            true => ((0x0A4E_0000 + number).into(), [10, 78, 0, 1].into()),
            false => (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED),
        };
        forged.header.relay = relay;
        forged.header.client = Ipv4Addr::UNSPECIFIED;
        forged.header.hardware_address[2..6].copy_from_slice(&number.to_be_bytes());
        core.handle(&forged.encode(), &from4(source), now);
        if number % 400 == 399 {
            let source = from4(elsewhere.header.client);
            let decision = core.handle(&elsewhere.encode(), &source, now);
            assert!(decision.reply.is_some(), "after {number} requests");
            let relay = from4(behind_other.header.relay);
            let decision = core.handle(&behind_other.encode(), &relay, now);
            assert!(decision.reply.is_some(), "after {number} requests");
        }
    }
}

/// The same with IPv6 addresses, of which a host has as many as it likes.
#[trial("answers others during a flood from many addresses of one host")]
fn flood_of_addresses() {
    let core = server(settings(), PolicyState::Unrestricted);
    let start = Instant::now();
    let packet = request6().encode();
    for number in 0..24_000_u32 {
        let now = start + Duration::from_micros(u64::from(number) * 2_500);
        let forged = format!("2001:db8:9::{:x}:{:x}", number >> 16, number & 0xFFFF);
        let mut request = request6();
        // Every other one pretends to be a relay.
        request.relays = (0..number % 2)
            .map(|_| Relay {
                hops: 0,
                link: Ipv6Addr::from_bits(u128::from(number) << 64 | 1),
                peer: Ipv6Addr::from_bits(u128::from(number) | 1),
                interface: None,
            })
            .collect();
        core.handle(&request.encode(), &from6(&forged), now);
        if number % 400 == 399 {
            let decision = core.handle(&packet, &from6("2001:db8:8::50"), now);
            assert!(decision.reply.is_some(), "after {number} requests");
        }
    }
}

fn ask_with(core: &Core, request: &Request4, now: Instant) -> Decision {
    core.handle(&request.encode(), &from4([10, 78, 0, 1].into()), now)
}

#[trial("decrypts a repeated request once")]
fn repeats() {
    let core = unrestricted_server();
    let packet = request4(Form::Bootp).encode();
    let start = Instant::now();
    let mut payloads = Vec::new();
    for number in 0..10_000 {
        let decision = core.handle(&packet, &from4(CLIENT), start);
        let expected = match number {
            0 => Verdict::Answered,
            _ => Verdict::Retransmitted,
        };
        assert_eq!(verdict(&decision), Some(expected));
        payloads.push(decision.reply.unwrap().payload);
    }
    payloads.dedup();
    assert_eq!(payloads.len(), 1);
    assert_eq!(core.counters().private_operations(), 1);
    let decision = core.handle(&packet, &from4(CLIENT), start + Duration::from_secs(60));
    assert_eq!(verdict(&decision), Some(Verdict::AnsweredAgain));
    assert_eq!(core.counters().private_operations(), 2);
}

#[trial("refuses repeated requests if configured to")]
fn refused_repeats() {
    let replay = Replay::Refuse(Duration::from_secs(3600));
    let core = server(without_limits().replay(replay), PolicyState::Unrestricted);
    let packet = request4(Form::Bootp).encode();
    let start = Instant::now();
    for (seconds, expected) in [
        (0, Verdict::Answered),
        (10, Verdict::Retransmitted),
        (60, Verdict::Replay),
        (3500, Verdict::Replay),
        (3700, Verdict::AnsweredAgain),
    ] {
        let now = start + Duration::from_secs(seconds);
        let decision = core.handle(&packet, &from4(CLIENT), now);
        assert_eq!(verdict(&decision), Some(expected), "{seconds}");
    }
}

const THUMBPRINT: &str = "B44BF9CEE0E91C92B027A18DEA2D3573BD7F8506";

#[trial("authorizes addresses according to the policy")]
fn addresses() {
    let list =
        format!("[SUBNETS]\nHQ=10.77.0.0/24\nLAB=2001:db8:1::/64\n[{THUMBPRINT}]\nHQ\nLAB\n");
    let v4_only = list.replace("\nLAB\n", "\n");
    let relay = Ipv4Addr::new(10, 77, 0, 1);
    let none = Ipv4Addr::UNSPECIFIED;
    let outside = Ipv4Addr::new(10, 99, 0, 1);
    let v4 = |which: PolicyAddress, source, client, giaddr| {
        let core = server(without_limits().policy_address(which), policy(&list));
        let mut request = request4(Form::Bootp);
        request.header.client = client;
        request.header.relay = giaddr;
        core.handle(&request.encode(), &from4(source), Instant::now())
            .reply
            .is_some()
    };
    use PolicyAddress::{All, Client, Source};
    for (which, source, client, giaddr, served) in [
        (All, CLIENT, CLIENT, none, true),
        (All, CLIENT, none, none, true),
        (All, outside, outside, none, false),
        (All, outside, none, none, false),
        // The addresses contradict each other.
        (All, CLIENT, outside, none, false),
        (All, CLIENT, relay, none, false),
        // The client has no address, and the certificate has a list.
        (All, none, none, none, false),
        (All, none, CLIENT, none, false),
        // The relay's giaddr must be listed, not the address that it sends from.
        (All, outside, CLIENT, relay, true),
        (All, outside, none, relay, true),
        (All, CLIENT, outside, relay, false),
        (All, CLIENT, CLIENT, outside, false),
        (Client, outside, CLIENT, none, true),
        (Client, CLIENT, none, none, false),
        (Source, CLIENT, outside, none, true),
        (Source, outside, CLIENT, none, false),
        (Source, outside, outside, relay, true),
    ] {
        assert_eq!(
            v4(which, source, client, giaddr),
            served,
            "{which:?} {source} {client} {giaddr}"
        );
    }
    let v6 = |settings: Settings, text: &str, source: &str, relays: Vec<Relay>| {
        let core = server(settings, policy(text));
        let mut request = request6();
        request.relays = relays;
        core.handle(&request.encode(), &from6(source), Instant::now())
            .reply
            .is_some()
    };
    let no_link_local = || without_limits().answer_link_local(false);
    let families = || without_limits().per_family_lists(true);
    let layer = |link: &str, peer: &str| {
        vec![Relay {
            hops: 0,
            link: link.parse().unwrap(),
            peer: peer.parse().unwrap(),
            interface: None,
        }]
    };
    let inside = "2001:db8:1::50";
    assert!(v6(without_limits(), &list, inside, Vec::new()));
    assert!(!v6(without_limits(), &list, "2001:db8:2::50", Vec::new()));
    assert!(v6(without_limits(), &list, "fe80::50", Vec::new()));
    assert!(!v6(no_link_local(), &list, "fe80::50", Vec::new()));
    assert!(!v6(without_limits(), &v4_only, inside, Vec::new()));
    assert!(v6(families(), &v4_only, inside, Vec::new()));
    // A relay whose own address is listed, or that is on the server's link.
    assert!(v6(
        no_link_local(),
        &list,
        inside,
        layer(inside, "fe80::50")
    ));
    assert!(v6(
        without_limits(),
        &list,
        "fe80::1",
        layer(inside, "fe80::50")
    ));
    assert!(!v6(
        no_link_local(),
        &list,
        "fe80::1",
        layer(inside, "fe80::50")
    ));
    // Without a link-address, the client is on the server's own link or nowhere.
    assert!(!v6(no_link_local(), &list, inside, layer("::", "fe80::50")));
    assert!(!v6(
        without_limits(),
        &list,
        inside,
        layer("::", "fe80::50")
    ));
    assert!(v6(
        without_limits(),
        &list,
        "fe80::50",
        layer("::", "fe80::50")
    ));
    assert!(!v6(
        no_link_local(),
        &list,
        "fe80::50",
        layer("::", "fe80::50")
    ));
    assert!(!v6(
        without_limits(),
        &list,
        "fe80::50",
        layer("::", "2001:db8:2::50")
    ));
    assert!(!v6(
        without_limits(),
        &list,
        inside,
        layer("2001:db8:2::1", "fe80::50")
    ));
    assert!(!v6(
        without_limits(),
        &list,
        inside,
        layer(inside, "2001:db8:2::50")
    ));

    let disabled = format!("{list}DISABLED\n");
    let core = server(without_limits(), policy(&disabled));
    let decision = handle_dhcp4(&core, &request4(Form::Bootp).encode());
    assert_eq!(verdict(&decision), Some(Verdict::Disabled));
    assert!(!v6(without_limits(), &disabled, "fe80::50", Vec::new()));
    let decision = server(without_limits(), policy(&list)).handle(
        &request4(Form::Bootp).encode(),
        &from4(outside),
        Instant::now(),
    );
    assert_eq!(
        verdict(&decision),
        Some(Verdict::Subnet {
            address: IpAddr::V4(CLIENT),
            claim: "ciaddr"
        })
    );
}

/// What a requester outside of the listed subnets can write into a request to be answered.
#[trial("believes a relay only as far as its own address is listed")]
fn forged_relays() {
    let text = format!(
        "[SUBNETS]\nHQ=10.99.200.0/24\nLAB=2001:db8:5::/64\nCORE=2001:db8:6::1/128\n[{THUMBPRINT}]\nHQ\nLAB\n"
    );
    let with_relays = format!("{text}[RELAYS]\nCORE\n");
    let core = server(without_limits(), policy(&text));
    let outside = Ipv4Addr::new(10, 99, 0, 2);
    let inside = Ipv4Addr::new(10, 99, 200, 2);
    let none = Ipv4Addr::UNSPECIFIED;
    // Source, ciaddr, yiaddr, giaddr, and where the reply goes.
    for (source, client, yours, relay, to) in [
        (outside, none, none, none, None),
        (outside, inside, none, none, None),
        (outside, none, inside, none, None),
        (inside, outside, none, none, None),
        (inside, none, none, none, Some("10.99.200.2:68")),
        // The sender does not get this reply.
        (outside, none, none, inside, Some("10.99.200.2:67")),
        // The first and the last address of the subnet are those of no host.
        (outside, none, none, [10, 99, 200, 255].into(), None),
        (outside, none, none, [10, 99, 200, 0].into(), None),
        (outside, none, none, [255, 255, 255, 255].into(), None),
        (outside, none, none, outside, None),
    ] {
        let mut request = request4(Form::Bootp);
        request.header.client = client;
        request.header.yours = yours;
        request.header.relay = relay;
        let decision = core.handle(&request.encode(), &from4(source), Instant::now());
        let sent = decision.reply.map(|reply| reply.to);
        let expected = to.map(|to| to.parse().unwrap());
        assert_eq!(sent, expected, "{source} {client} {yours} {relay}");
    }

    let layer = |hops, link: &str, peer: &str| Relay {
        hops,
        link: link.parse().unwrap(),
        peer: peer.parse().unwrap(),
        interface: None,
    };
    let lab = "2001:db8:5::7";
    let far = "fd00:99::2";
    let core_relay = "2001:db8:6::1";
    // Source, the relays from the outermost to the client's, and whether it is answered without and
    // with the section [RELAYS].
    for (source, relays, answered, with_section) in [
        (far, vec![], false, false),
        (far, vec![layer(0, lab, "fe80::1")], false, false),
        (far, vec![layer(0, "::", "fe80::1")], false, false),
        (far, vec![layer(0, far, "fe80::1")], false, false),
        (core_relay, vec![layer(0, lab, "fe80::1")], false, true),
        (core_relay, vec![layer(0, lab, lab)], false, true),
        (core_relay, vec![layer(0, lab, far)], false, false),
        (core_relay, vec![layer(0, far, "fe80::1")], false, false),
        (core_relay, vec![layer(0, "::", "fe80::1")], false, false),
        (core_relay, vec![], false, false),
        (lab, vec![layer(0, lab, "fe80::1")], true, true),
        // The one next to the client is a switch, which names no link.
        (
            core_relay,
            vec![layer(1, lab, "fe80::1"), layer(0, "::", "fe80::1")],
            false,
            true,
        ),
        (
            core_relay,
            vec![layer(1, "::", lab), layer(0, lab, "fe80::1")],
            false,
            true,
        ),
        (
            core_relay,
            vec![layer(1, lab, lab), layer(0, far, "fe80::1")],
            false,
            false,
        ),
        (
            core_relay,
            vec![layer(1, "::", "fe80::1"), layer(0, "::", "fe80::1")],
            false,
            false,
        ),
        // Hop counts that no relays can have written.
        (
            core_relay,
            vec![layer(0, lab, lab), layer(0, lab, "fe80::1")],
            false,
            false,
        ),
        (core_relay, vec![layer(9, lab, "fe80::1")], false, false),
        ("fe80::9", vec![layer(0, lab, "fe80::1")], true, true),
        ("fe80::9", vec![layer(0, far, "fe80::1")], false, false),
        ("fe80::9", vec![layer(0, "::", "fe80::9")], true, true),
        ("ff02::1", vec![], false, false),
        ("::", vec![], false, false),
    ] {
        for (text, expected) in [(&text, answered), (&with_relays, with_section)] {
            let core = server(without_limits(), policy(text));
            let mut request = request6();
            request.relays = relays.clone();
            let decision = core.handle(&request.encode(), &from6(source), Instant::now());
            assert_eq!(decision.reply.is_some(), expected, "{source} {relays:?}");
            if let Some(reply) = decision.reply {
                assert_eq!(reply.to.ip(), source.parse::<IpAddr>().unwrap());
            }
        }
    }
    let mut request = request6();
    request.relays = vec![layer(0, lab, "fe80::1")];
    let decision = core.handle(&request.encode(), &from6(far), Instant::now());
    let line = decision.record.unwrap().to_string();
    assert!(
        line.contains("reason=policy-subnet detail=relay:fd00:99::2"),
        "{line}"
    );
}

#[trial("answers no request with an invalid policy")]
fn invalid_policy() {
    let core = server(settings(), PolicyState::Invalid("broken".to_owned()));
    assert!(!core.healthy());
    let decision = handle_dhcp4(&core, &request4(Form::Bootp).encode());
    assert_eq!(verdict(&decision), Some(Verdict::PolicyInvalid));
    core.replace_policy(PolicyState::Unrestricted);
    assert!(core.healthy());
    assert!(
        handle_dhcp4(&core, &request4(Form::Bootp).encode())
            .reply
            .is_some()
    );
}

#[trial("does not answer what another key encrypted")]
fn other_keys() {
    let core = unrestricted_server();
    let (valid, session) = new_request();
    let ask = |request: Request| {
        let packet = Request4 {
            request,
            ..request4(Form::Bootp)
        };
        handle_dhcp4(&core, &packet.encode())
    };
    let decrypt = |decision: Decision| {
        let sealed = Reply4::parse(&decision.reply?.payload).ok()?.sealed;
        open_reply(&session, &sealed).ok()
    };
    assert!(decrypt(ask(valid.clone())).is_some());
    let mut garbage = valid.clone();
    garbage.key_protector = SealedRequest::from_bytes(&[0x5A; 256]);
    assert!(decrypt(ask(garbage)).is_none());
    let mut unknown = valid;
    unknown.thumbprint = "00".repeat(20).parse().unwrap();
    let decision = ask(unknown);
    assert_eq!(verdict(&decision), Some(Verdict::UnknownThumbprint));
    let line = decision.record.unwrap().to_string();
    assert!(line.contains("reason=unknown-thumbprint"), "{line}");
    assert!(
        line.contains(&format!("thumbprint={}", "00".repeat(20))),
        "{line}"
    );
}

#[trial("shows no key in the log and in debug output")]
fn no_secrets() {
    let core = unrestricted_server();
    let decision = handle_dhcp4(&core, &request4(Form::Bootp).encode());
    let record = decision.record.unwrap();
    let counters = core.counters().prometheus(true);
    let parsed = request4(Form::Bootp);
    let output = format!("{record} {record:?} {parsed:?} {counters}");
    let ascending = |from: u8| std::array::from_fn::<u8, 8, _>(|at| from + at as u8);
    let protector: [u8; 8] = KEY_PROTECTOR[..8].try_into().unwrap();
    // The network key, the session key, and the key protector.
    for secret in [ascending(0), ascending(0x80), protector] {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = secret.map(|byte| byte.to_string()).join(", ");
        for form in [hex.clone(), hex.to_uppercase(), list] {
            assert!(!output.contains(&form), "{form} in {output}");
        }
    }
    assert!(output.contains(&record.key_protector_text().unwrap()));
}

#[trial("survives random datagrams")]
fn noise() {
    let core = unrestricted_server();
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 33) as u8
    };
    let valid = [request4(Form::Bootp).encode(), request6().encode()];
    for round in 0..100_000_u32 {
        let len = (u32::from(random()) * 8) as usize;
        let mut datagram: Vec<u8> = match round % 3 {
            0 => (0..len).map(|_| random()).collect(),
            // A valid request whose end is random.
            kind => {
                let mut datagram = valid[kind as usize - 1].clone();
                let from = usize::from(random()) * 2 % datagram.len();
                datagram[from..].fill_with(&mut random);
                datagram
            }
        };
        datagram.truncate(2000);
        let origin = if round % 2 == 0 {
            from4(CLIENT)
        } else {
            from6("fe80::1")
        };
        let decision = core.handle(&datagram, &origin, Instant::now());
        if let Some(reply) = decision.reply {
            // The random end left a valid request: the reply is complete.
            assert!(reply.payload.len() >= 127);
        }
    }
}
