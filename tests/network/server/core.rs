//! Every decision about a request, without a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fve::network::crypto::{open_reply, seal_request};
use fve::network::message::dhcp4::{Form, Header, Reply4, Request4};
use fve::network::message::dhcp6::{Relay, Reply6, Request6};
use fve::network::policy::Policy;
use fve::network::server::keys::{Files, Keys};
use fve::network::server::record::Verdict;
use fve::network::server::{
    Answer, Configuration, Core, Judgement, Origin, PolicyAddress, PolicyState, Rate, Replay,
    Settings, Transport,
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

/// Certificate and key of the vectors (docs/format-network-unlock.md §13).
pub fn files() -> [PathBuf; 2] {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/network");
    [directory.join("test.cer"), directory.join("test.key")]
}

pub fn keys() -> Keys {
    let files = Files {
        paths: files().to_vec(),
        passwords: Vec::new(),
        // The key of the tests lies in the repository.
        accept_readable_keys: true,
    };
    Keys::read(&files).expect("keys")
}

fn settings() -> Settings {
    Settings {
        identifier: IDENTIFIER.to_vec(),
        ..Settings::default()
    }
}

fn generous() -> Settings {
    let none = Rate {
        per_second: 0.0,
        burst: 1.0,
    };
    Settings {
        per_source: none,
        per_certificate: none,
        total: none,
        ..settings()
    }
}

fn server(settings: Settings, policy: PolicyState) -> Core {
    let keys = keys().into();
    Core::new(settings, Configuration { keys, policy })
}

fn open_server() -> Core {
    server(generous(), PolicyState::Unrestricted)
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

/// A request of its own, and the key that its reply opens with.
fn fresh() -> (Request, SessionKey) {
    let keys = keys();
    let served = keys.iter().next().unwrap();
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
    Origin {
        transport: Transport::Dhcp4,
        source: SocketAddr::new(address.into(), 68),
    }
}

fn from6(address: &str) -> Origin {
    Origin {
        transport: Transport::Dhcp6,
        source: SocketAddr::new(address.parse().unwrap(), 546),
    }
}

fn judge4(core: &Core, datagram: &[u8]) -> Judgement {
    core.judge(datagram, &from4(CLIENT), Instant::now())
}

fn verdict(judgement: &Judgement) -> Option<Verdict> {
    judgement.record.as_ref().map(|record| record.verdict)
}

fn hash(answer: Option<Answer>) -> [u8; 32] {
    Sha256::digest(answer.expect("an answer").payload).into()
}

#[trial("opens the published requests and sends the published replies")]
fn answers_as_the_vectors() {
    let core = open_server();
    for form in [Form::Bootp, Form::Discover] {
        let judgement = judge4(&core, &request4(form).encode());
        assert_eq!(
            hash(judgement.answer),
            hex!("260868b1adabf9d8c54e9667896776b23c6716dc5c39307f627ad80eda784107")
        );
    }
    let judgement = core.judge(&request6().encode(), &from6("fe80::1"), Instant::now());
    assert_eq!(
        hash(judgement.answer),
        hex!("f697ae116f099caa8640b602676e59b229b67ea25447628b53e4f8959cc692d7")
    );
}

#[trial("every truncation is silence")]
fn truncations() {
    let core = open_server();
    let v4 = request4(Form::Bootp).encode();
    for len in 0..v4.len() {
        let judgement = judge4(&core, &v4[..len]);
        // Only the end mark is missing there.
        assert_eq!(judgement.answer.is_some(), len == v4.len() - 1, "{len}");
    }
    let v6 = request6().encode();
    for len in 0..v6.len() {
        let judgement = core.judge(&v6[..len], &from6("fe80::1"), Instant::now());
        assert!(judgement.answer.is_none(), "{len}");
    }
    assert_eq!(core.counters().private_operations(), 1);
}

#[trial("every changed byte of the framing is silence")]
fn changed_bytes() {
    let core = open_server();
    let sound = request4(Form::Bootp).encode();
    let session = SessionKey::from_bytes(&std::array::from_fn(|at| 0x80 + at as u8));
    for at in 0..sound.len() {
        for change in [0x01, 0x80, 0xFF] {
            let mut datagram = sound.clone();
            datagram[at] ^= change;
            let judgement = judge4(&core, &datagram);
            let said = verdict(&judgement);
            let answered = judgement.answer.is_some();
            match at {
                // Operation and cookie.
                0 | 236..240 => assert_eq!(said, None, "{at}"),
                // Hardware address type and length, transaction, time, flags, addresses that a
                // client leaves zero, the hardware address, names.
                1 | 3..12 | 16..24 | 28..236 => {
                    let hops = at == 3 && change > 16 && said == Some(Verdict::Relay);
                    assert!(answered || hops, "{at}: {said:?}");
                }
                2 => {}
                // Its address, against the one that it comes from; the relay's.
                12..16 => assert!(!answered, "{at}"),
                24..28 => {}
                // Thumbprint.
                255..275 => assert_eq!(said, Some(Verdict::UnknownThumbprint), "{at}"),
                // The key protector: a library with implicit rejection may answer, but with
                // nothing that opens.
                277..405 | 414..542 => {
                    if let Some(answer) = judgement.answer {
                        let reply = Reply4::parse(&answer.payload).unwrap();
                        assert!(open_reply(&session, &reply.sealed).is_err());
                    }
                }
                // The end mark becomes an option that is cut off, or a pad.
                542 => assert_eq!(answered, change == 0xFF, "{at}"),
                _ => assert!(!answered, "{at}: {change:#x}"),
            }
        }
    }
}

#[trial("options come in any order, padded, split and repeated")]
fn option_orders() {
    let core = open_server();
    let sound = request4(Form::Bootp).encode();
    let (head, options) = sound.split_at(240);
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
            assert!(judge4(&core, &datagram).answer.is_some(), "{order:?}");
        }
    }
    // Option 43 in two pieces (RFC 3396), with another between.
    let mut split = head.to_vec();
    split.extend([43, 100]);
    split.extend(&parts[1][2..102]);
    split.extend(parts[0]);
    split.extend([43, 52]);
    split.extend(&parts[1][102..]);
    split.extend(parts[2]);
    split.push(255);
    assert!(judge4(&core, &split).answer.is_some());
    // Twice the same is too much of it; another enterprise beside ours is not.
    let twice = [head, parts[0], parts[1], parts[1], parts[2], &[255]].concat();
    let malformed = Some(Verdict::Malformed("option 43"));
    assert_eq!(verdict(&judge4(&core, &twice)), malformed);
    let mut other = parts[2].to_vec();
    other[1] += 6;
    other.extend([0, 0, 0, 9, 1, 42]);
    let beside = [head, parts[0], parts[1], &other, &[255]].concat();
    assert!(judge4(&core, &beside).answer.is_some());
    // A class that only begins like ours.
    let longer = [head, &[60, 10], b"BITLOCKER\0", parts[1], parts[2], &[255]].concat();
    assert_eq!(verdict(&judge4(&core, &longer)), None);
}

#[trial("only the message types that clients use")]
fn message_types() {
    let core = open_server();
    let inform = server(
        Settings {
            accept_inform: true,
            ..generous()
        },
        PolicyState::Unrestricted,
    );
    let sound = request4(Form::Discover).encode();
    for code in 0..=18 {
        let mut datagram = sound.clone();
        datagram[242] = code;
        let judgement = judge4(&core, &datagram);
        assert_eq!(judgement.answer.is_some(), code == 1, "{code}");
        if code != 1 {
            assert_eq!(verdict(&judgement), Some(Verdict::MessageType(code)));
        }
        let judgement = judge4(&inform, &datagram);
        assert_eq!(judgement.answer.is_some(), [1, 8].contains(&code), "{code}");
    }
}

#[trial("a relay's address has to be one")]
fn relay_addresses() {
    let core = open_server();
    for (relay, able) in [
        ([10, 77, 0, 1], true),
        ([255, 255, 255, 255], false),
        ([224, 0, 0, 1], false),
        ([127, 0, 0, 1], false),
        ([0, 1, 2, 3], false),
    ] {
        let mut request = request4(Form::Bootp);
        request.header.relay = relay.into();
        let judgement = judge4(&core, &request.encode());
        assert_eq!(judgement.answer.is_some(), able, "{relay:?}");
    }
    let mut request = request4(Form::Bootp);
    request.header.relay = [10, 77, 0, 1].into();
    request.header.hops = 17;
    let judgement = judge4(&core, &request.encode());
    assert_eq!(verdict(&judgement), Some(Verdict::Relay));
}

#[trial("replies go where the page says")]
fn destinations() {
    let core = open_server();
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
        let judgement = core.judge(&request.encode(), &from4(source), Instant::now());
        let answer = judgement.answer.expect("an answer");
        assert_eq!(answer.to, to.parse().unwrap());
        // The relay's own option comes back, last.
        assert!(answer.payload.ends_with(&[82, 5, 1, 3, 9, 9, 9, 255]));
        let reply = Reply4::parse(&answer.payload).unwrap();
        assert_eq!(reply.header.relay, giaddr);
        assert_eq!(reply.header.flags, 0x8000);
        assert!(reply.answers(&request));
    }
    let judgement = core.judge(&request6().encode(), &from6("2001:db8::5"), Instant::now());
    assert_eq!(
        judgement.answer.expect("an answer").to,
        "[2001:db8::5]:546".parse().unwrap()
    );
}

#[trial("relays of DHCPv6 get their layers back")]
fn relay_layers() {
    let core = open_server();
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
        let judgement = core.judge(&request.encode(), &from6("2001:db8::9"), Instant::now());
        let answer = judgement.answer.expect("an answer");
        assert_eq!(answer.to, "[2001:db8::9]:547".parse().unwrap());
        let reply = Reply6::parse(&answer.payload).unwrap();
        assert_eq!(reply.relays, request.relays);
        assert!(reply.answers(&request));
        let record = judgement.record.unwrap();
        assert_eq!(record.relay, Some(relay(0, None).link.into()));
    }
    let mut request = request6();
    request.relays = (0..9).rev().map(|hops| relay(hops, None)).collect();
    let judgement = core.judge(&request.encode(), &from6("2001:db8::9"), Instant::now());
    assert!(judgement.answer.is_none() && judgement.record.is_none());
}

#[trial("one requester gets so many answers")]
fn rate_limits() {
    let core = server(settings(), PolicyState::Unrestricted);
    let start = Instant::now();
    let packet = request4(Form::Bootp).encode();
    let ask = |address, now| core.judge(&packet, &from4(address), now);
    let reasons: Vec<_> = (0..12)
        .map(|_| verdict(&ask(CLIENT, start)).unwrap().is_answer())
        .collect();
    assert_eq!(reasons.iter().filter(|answered| **answered).count(), 8);
    // Told once, until there is room again.
    let later = start + Duration::from_secs(1);
    assert!(ask(CLIENT, later).answer.is_some());
    assert!(ask(CLIENT, later).answer.is_some());
    assert_eq!(
        verdict(&ask(CLIENT, later)),
        Some(Verdict::Rate { first: true })
    );
    assert_eq!(
        verdict(&ask(CLIENT, later)),
        Some(Verdict::Rate { first: false })
    );
    // Somebody else is none the worse.
    let mut other = request4(Form::Bootp);
    other.header.client = [10, 77, 0, 51].into();
    let judgement = core.judge(&other.encode(), &from4([10, 77, 0, 51].into()), later);
    assert!(judgement.answer.is_some());
    // Clients behind one relay are told apart; and thousands of invented ones are not kept.
    for number in 0..20_000_u32 {
        let mut relayed = request4(Form::Bootp);
        relayed.header.relay = [10, 78, 0, 1].into();
        relayed.header.hardware_address[2..6].copy_from_slice(&number.to_be_bytes());
        let now = later + Duration::from_millis(u64::from(number) * 25);
        assert!(ask_with(&core, &relayed, now).answer.is_some(), "{number}");
    }
}

/// Four hundred requests a second from one address, for a minute; another asks every second.
#[trial("a flood from one address is not at the expense of others")]
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
        core.judge(&packet, &from4(CLIENT), now);
        if number % 400 == 399 {
            let judgement = core.judge(&asked, &from4(other), now);
            assert!(judgement.answer.is_some(), "after {number} requests");
        }
    }
}

fn ask_with(core: &Core, request: &Request4, now: Instant) -> Judgement {
    core.judge(&request.encode(), &from4([10, 78, 0, 1].into()), now)
}

#[trial("a repeated request is opened once")]
fn repeats() {
    let core = open_server();
    let packet = request4(Form::Bootp).encode();
    let start = Instant::now();
    let mut payloads = Vec::new();
    for number in 0..10_000 {
        let judgement = core.judge(&packet, &from4(CLIENT), start);
        let expected = match number {
            0 => Verdict::Answered,
            _ => Verdict::Retransmitted,
        };
        assert_eq!(verdict(&judgement), Some(expected));
        payloads.push(judgement.answer.unwrap().payload);
    }
    payloads.dedup();
    assert_eq!(payloads.len(), 1);
    assert_eq!(core.counters().private_operations(), 1);
    let judgement = core.judge(&packet, &from4(CLIENT), start + Duration::from_secs(60));
    assert_eq!(verdict(&judgement), Some(Verdict::AnsweredAgain));
    assert_eq!(core.counters().private_operations(), 2);
}

#[trial("repeats can be refused")]
fn refused_repeats() {
    let replay = Replay::Refuse(Duration::from_secs(3600));
    let core = server(
        Settings {
            replay,
            ..generous()
        },
        PolicyState::Unrestricted,
    );
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
        let judgement = core.judge(&packet, &from4(CLIENT), now);
        assert_eq!(verdict(&judgement), Some(expected), "{seconds}");
    }
}

const THUMBPRINT: &str = "B44BF9CEE0E91C92B027A18DEA2D3573BD7F8506";

#[trial("addresses decide as the policy says")]
fn addresses() {
    let list =
        format!("[SUBNETS]\nHQ=10.77.0.0/24\nLAB=2001:db8:1::/64\n[{THUMBPRINT}]\nHQ\nLAB\n");
    let v4_only = list.replace("\nLAB\n", "\n");
    let relay = Ipv4Addr::new(10, 77, 0, 1);
    let none = Ipv4Addr::UNSPECIFIED;
    let outside = Ipv4Addr::new(10, 99, 0, 1);
    let v4 = |which: PolicyAddress, source, client, giaddr| {
        let core = server(
            Settings {
                policy_address: which,
                ..generous()
            },
            policy(&list),
        );
        let mut request = request4(Form::Bootp);
        request.header.client = client;
        request.header.relay = giaddr;
        core.judge(&request.encode(), &from4(source), Instant::now())
            .answer
            .is_some()
    };
    use PolicyAddress::{All, Client, Source};
    for (which, source, client, giaddr, served) in [
        (All, CLIENT, CLIENT, none, true),
        (All, CLIENT, none, none, true),
        (All, outside, outside, none, false),
        (All, outside, none, none, false),
        // The claims disagree.
        (All, CLIENT, outside, none, false),
        (All, CLIENT, relay, none, false),
        // No address, but a list.
        (All, none, none, none, false),
        (All, none, CLIENT, none, false),
        // The relay's own address counts, not the one that it sends from.
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
        core.judge(&request.encode(), &from6(source), Instant::now())
            .answer
            .is_some()
    };
    let strict = || Settings {
        answer_link_local: false,
        ..generous()
    };
    let families = || Settings {
        per_family_lists: true,
        ..generous()
    };
    let layer = |link: &str, peer: &str| {
        vec![Relay {
            hops: 0,
            link: link.parse().unwrap(),
            peer: peer.parse().unwrap(),
            interface: None,
        }]
    };
    let inside = "2001:db8:1::50";
    assert!(v6(generous(), &list, inside, Vec::new()));
    assert!(!v6(generous(), &list, "2001:db8:2::50", Vec::new()));
    assert!(v6(generous(), &list, "fe80::50", Vec::new()));
    assert!(!v6(strict(), &list, "fe80::50", Vec::new()));
    assert!(!v6(generous(), &v4_only, inside, Vec::new()));
    assert!(v6(families(), &v4_only, inside, Vec::new()));
    assert!(v6(strict(), &list, "::1", layer(inside, "fe80::50")));
    assert!(!v6(strict(), &list, inside, layer("::", "fe80::50")));
    assert!(v6(generous(), &list, inside, layer("::", "fe80::50")));
    assert!(!v6(
        generous(),
        &list,
        inside,
        layer("2001:db8:2::1", "fe80::50")
    ));
    assert!(!v6(
        generous(),
        &list,
        inside,
        layer(inside, "2001:db8:2::50")
    ));

    let disabled = format!("{list}DISABLED\n");
    let core = server(generous(), policy(&disabled));
    let judgement = judge4(&core, &request4(Form::Bootp).encode());
    assert_eq!(verdict(&judgement), Some(Verdict::Disabled));
    assert!(!v6(generous(), &disabled, "fe80::50", Vec::new()));
    let said = server(generous(), policy(&list)).judge(
        &request4(Form::Bootp).encode(),
        &from4(outside),
        Instant::now(),
    );
    assert_eq!(
        verdict(&said),
        Some(Verdict::Subnet {
            address: IpAddr::V4(CLIENT),
            claim: "ciaddr"
        })
    );
}

#[trial("an invalid policy answers nobody")]
fn invalid_policy() {
    let core = server(settings(), PolicyState::Invalid("broken".to_owned()));
    assert!(!core.healthy());
    let judgement = judge4(&core, &request4(Form::Bootp).encode());
    assert_eq!(verdict(&judgement), Some(Verdict::PolicyInvalid));
    core.replace_policy(PolicyState::Unrestricted);
    assert!(core.healthy());
    assert!(
        judge4(&core, &request4(Form::Bootp).encode())
            .answer
            .is_some()
    );
}

#[trial("what is sealed to another key is silence")]
fn other_keys() {
    let core = open_server();
    let (sound, session) = fresh();
    let ask = |request: Request| {
        let packet = Request4 {
            request,
            ..request4(Form::Bootp)
        };
        judge4(&core, &packet.encode())
    };
    let opens = |judgement: Judgement| {
        let sealed = Reply4::parse(&judgement.answer?.payload).ok()?.sealed;
        open_reply(&session, &sealed).ok()
    };
    assert!(opens(ask(sound.clone())).is_some());
    let mut garbage = sound.clone();
    garbage.key_protector = SealedRequest::from_bytes(&[0x5A; 256]);
    assert!(opens(ask(garbage)).is_none());
    let mut unknown = sound;
    unknown.thumbprint = "00".repeat(20).parse().unwrap();
    let judgement = ask(unknown);
    assert_eq!(verdict(&judgement), Some(Verdict::UnknownThumbprint));
    let line = judgement.record.unwrap().to_string();
    assert!(line.contains("reason=unknown-thumbprint"), "{line}");
    assert!(
        line.contains(&format!("thumbprint={}", "00".repeat(20))),
        "{line}"
    );
}

#[trial("neither log nor Debug shows a key")]
fn no_secrets() {
    let core = open_server();
    let judgement = judge4(&core, &request4(Form::Bootp).encode());
    let record = judgement.record.unwrap();
    let counters = core.counters().prometheus(true);
    let parsed = request4(Form::Bootp);
    let said = format!("{record} {record:?} {parsed:?} {counters}");
    let ascending = |from: u8| std::array::from_fn::<u8, 8, _>(|at| from + at as u8);
    let protector: [u8; 8] = KEY_PROTECTOR[..8].try_into().unwrap();
    // The network key, the session key, and what they were sealed into.
    for secret in [ascending(0), ascending(0x80), protector] {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = secret.map(|byte| byte.to_string()).join(", ");
        for form in [hex.clone(), hex.to_uppercase(), list] {
            assert!(!said.contains(&form), "{form} in {said}");
        }
    }
    assert!(said.contains(&record.key_protector_text().unwrap()));
}

#[trial("noise is no request")]
fn noise() {
    let core = open_server();
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 33) as u8
    };
    let sound = [request4(Form::Bootp).encode(), request6().encode()];
    for round in 0..100_000_u32 {
        let len = (u32::from(random()) * 8) as usize;
        let mut datagram: Vec<u8> = match round % 3 {
            0 => (0..len).map(|_| random()).collect(),
            // Ours up to somewhere.
            kind => {
                let mut datagram = sound[kind as usize - 1].clone();
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
        let judgement = core.judge(&datagram, &origin, Instant::now());
        if let Some(answer) = judgement.answer {
            // What a changed tail leaves sound is sound.
            assert!(answer.payload.len() >= 127);
        }
    }
}
