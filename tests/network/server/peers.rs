//! The packets, keys and certificates of this crate, checked with tshark and OpenSSL.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use fve::network::certificate::Certificate;
use fve::network::crypto::{open_reply, seal_request};
use fve::network::message::dhcp4::{Form, Reply4, Request4};
use fve::network::message::dhcp6::Relay;
use fve::network::server::{
    Configuration, Core, KeyFiles, Origin, PolicyState, Protocol, ServedCertificates, Settings,
};
use fve::network::{Request, SealedReply, SealedRequest};
use fve::secret::{NetworkKey, SecretText, SessionKey};

use super::core::{files, request4, request6};
use super::net::missing;
use crate::common::fve;
use crate::common::trials::trial;

/// A capture file with each UDP payload in an Ethernet frame. tshark needs the ports in the frames to
/// recognize DHCP.
fn pcap(packets: &[(u16, u16, Vec<u8>)], v6: bool) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::with_suffix(".pcap").expect("file");
    let mut bytes = Vec::new();
    for word in [0xA1B2_C3D4_u32, 0x0004_0002, 0, 0, 65535, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for (from, to, payload) in packets {
        let mut udp = Vec::new();
        for field in [*from, *to, 8 + payload.len() as u16, 0] {
            udp.extend(field.to_be_bytes());
        }
        udp.extend(payload);
        if v6 {
            let (from, to) = ([0xFE80_u16, 1], [0xFE80_u16, 2]);
            let words = udp.chunks(2).map(|pair| {
                u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()])
            });
            let header = from.into_iter().chain(to).chain([17, udp.len() as u16]);
            let mut sum: u32 = words.chain(header).map(u32::from).sum();
            while sum > 0xFFFF {
                sum = (sum & 0xFFFF) + (sum >> 16);
            }
            udp[6..8].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        }
        let mut frame = vec![0xFF; 6];
        frame.extend([2, 0, 0, 0, 0, 1]);
        if v6 {
            frame.extend([0x86, 0xDD, 0x60, 0, 0, 0]);
            frame.extend((udp.len() as u16).to_be_bytes());
            frame.extend([17, 64]);
            for last in [1, 2] {
                frame.extend([0xFE, 0x80]);
                frame.extend([0; 13]);
                frame.push(last);
            }
        } else {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((20 + udp.len() as u16).to_be_bytes());
            frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 77, 0, 50, 255, 255, 255, 255]);
        }
        frame.extend(udp);
        for word in [0, 0, frame.len() as u32, frame.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(frame);
    }
    file.write_all(&bytes).expect("capture");
    file
}

/// The value of each field in each packet, according to tshark.
fn tshark(capture: &tempfile::NamedTempFile, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.args([
        "-T",
        "fields",
        "-E",
        "separator=|",
        "-E",
        "occurrence=a",
        "-r",
    ]);
    command.arg(capture.path());
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let stdout = String::from_utf8(output.stdout).expect("text");
    stdout
        .lines()
        .map(|line| line.split('|').map(str::to_owned).collect())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sealed() -> SealedReply {
    SealedReply::from_bytes(std::array::from_fn(|at| at as u8 + 1))
}

#[trial("tshark reads every field of the DHCPv4 packets", needs(|| missing(&["tshark"])))]
fn tshark_reads_dhcp4() {
    let bootp = request4(Form::Bootp);
    let mut relayed = request4(Form::Discover);
    relayed.header.hops = 1;
    relayed.header.relay = [10, 77, 0, 1].into();
    relayed.relay_information = Some(vec![1, 4, 0xAA, 0xBB, 0xCC, 0xDD]);
    let reply = bootp.reply(sealed());
    let mut relayed_reply = relayed.reply(sealed());
    relayed_reply.option_125 = true;
    let capture = pcap(
        &[
            (68, 67, bootp.encode()),
            (67, 67, relayed.encode()),
            (67, 68, reply.encode()),
            (67, 67, relayed_reply.encode()),
        ],
        false,
    );
    let fields = [
        "_ws.malformed",
        "_ws.expert.message",
        "dhcp.type",
        "dhcp.hw.type",
        "dhcp.hw.len",
        "dhcp.hops",
        "dhcp.id",
        "dhcp.secs",
        "dhcp.flags",
        "dhcp.ip.client",
        "dhcp.ip.your",
        "dhcp.ip.server",
        "dhcp.ip.relay",
        "dhcp.hw.mac_addr",
        "dhcp.cookie",
        "dhcp.option.type",
        "dhcp.option.length",
        "dhcp.option.dhcp",
        "dhcp.option.vendor_class_id",
        "dhcp.option.vendor.value",
        "dhcp.option.vi.enterprise",
        "dhcp.option.vi.length",
        "dhcp.vendor.suboption",
        "dhcp.vendor.data",
        "dhcp.option.agent_information_option.agent_circuit_id",
    ];
    let found = tshark(&capture, &fields);
    let (first, second) = bootp.request.key_protector.as_bytes().split_at(128);
    let thumbprint = bootp.request.thumbprint;
    let asked = format!("0114{thumbprint}0280{}", hex(first));
    let answered = format!("023c{}", hex(sealed().as_bytes()));
    let second = hex(second);
    let expect = |at: usize, wanted: &[&str]| {
        for (field, (found, wanted)) in fields.iter().zip(found[at].iter().zip(wanted)) {
            // tshark lists the end option, too; version 4.0 shows its number as 0.
            let end = [",0", ",255"]
                .iter()
                .find_map(|end| found.strip_suffix(end));
            let found = end
                .filter(|_| *field == "dhcp.option.type")
                .unwrap_or(found);
            assert_eq!(found, *wanted, "packet {at}: {field}");
        }
        assert_eq!(wanted.len(), fields.len());
    };
    let mac = "02:00:00:00:00:01";
    let cookie = "99.130.83.99";
    expect(
        0,
        &[
            "",
            "",
            "1",
            "0x01",
            "6",
            "0",
            "0x4e4b5055",
            "0",
            "0x0000",
            "10.77.0.50",
            "0.0.0.0",
            "0.0.0.0",
            "0.0.0.0",
            mac,
            cookie,
            "60,43,125",
            "9,152,135",
            "",
            "BITLOCKER",
            &asked,
            "311",
            "130",
            "1",
            &second,
            "",
        ],
    );
    expect(
        1,
        &[
            "",
            "",
            "1",
            "0x01",
            "6",
            "1",
            "0x4e4b5055",
            "0",
            "0x0000",
            "10.77.0.50",
            "0.0.0.0",
            "0.0.0.0",
            "10.77.0.1",
            mac,
            cookie,
            "53,60,43,125,82",
            "1,9,152,135,6",
            "1",
            "BITLOCKER",
            &asked,
            "311",
            "130",
            "1",
            &second,
            "aabbccdd",
        ],
    );
    expect(
        2,
        &[
            "",
            "",
            "2",
            "0x01",
            "6",
            "0",
            "0x4e4b5055",
            "0",
            "0x8000",
            "0.0.0.0",
            "0.0.0.0",
            "0.0.0.0",
            "0.0.0.0",
            mac,
            cookie,
            "60,43",
            "9,62",
            "",
            "BITLOCKER",
            &answered,
            "",
            "",
            "",
            "",
            "",
        ],
    );
    expect(
        3,
        &[
            "",
            "",
            "2",
            "0x01",
            "6",
            "0",
            "0x4e4b5055",
            "0",
            "0x8000",
            "0.0.0.0",
            "0.0.0.0",
            "0.0.0.0",
            "10.77.0.1",
            mac,
            cookie,
            "60,43,125,82",
            "9,62,5,6",
            "",
            "BITLOCKER",
            &answered,
            "311",
            "0",
            "",
            "",
            "aabbccdd",
        ],
    );
}

#[trial("tshark reads every field of the DHCPv6 packets", needs(|| missing(&["tshark"])))]
fn tshark_reads_dhcp6() {
    let direct = request6();
    let mut relayed = request6();
    relayed.relays = vec![Relay {
        hops: 0,
        link: "2001:db8::1".parse().unwrap(),
        peer: "fe80::50".parse().unwrap(),
        interface: Some(b"eth7".to_vec()),
    }];
    let server = [0, 3, 0, 1, 2, 0, 0, 0, 0, 2];
    let capture = pcap(
        &[
            (546, 547, direct.encode()),
            (547, 547, relayed.encode()),
            (547, 546, direct.reply(&server, sealed()).encode()),
            (547, 547, relayed.reply(&server, sealed()).encode()),
        ],
        true,
    );
    let fields = [
        "_ws.malformed",
        "_ws.expert.message",
        "dhcpv6.msgtype",
        "dhcpv6.xid",
        "dhcpv6.hopcount",
        "dhcpv6.linkaddr",
        "dhcpv6.peeraddr",
        "dhcpv6.interface_id",
        "dhcpv6.option.type",
        "dhcpv6.vendorclass.enterprise",
        "dhcpv6.vendorclass.data",
        "dhcpv6.vendoropts.enterprise",
        "dhcpv6.vendoropts.enterprise.option_code",
        "dhcpv6.vendoropts.enterprise.option_length",
        "dhcpv6.vendoropts.enterprise.option_data",
    ];
    let found = tshark(&capture, &fields);
    let thumbprint = direct.request.thumbprint;
    let asked = format!(
        "{thumbprint},{}",
        hex(direct.request.key_protector.as_bytes())
    );
    let answered = hex(sealed().as_bytes());
    let class = "BITLOCKER";
    let id = "0x123456";
    for (at, wanted) in [
        [
            "",
            "",
            "11",
            id,
            "",
            "",
            "",
            "",
            "1,8,16,17",
            "311",
            class,
            "311",
            "1,2",
            "20,256",
            &asked,
        ],
        [
            "",
            "",
            "12,11",
            id,
            "0",
            "2001:db8::1",
            "fe80::50",
            "65746837",
            "18,9,1,8,16,17",
            "311",
            class,
            "311",
            "1,2",
            "20,256",
            &asked,
        ],
        [
            "",
            "",
            "7",
            id,
            "",
            "",
            "",
            "",
            "1,2,16,17",
            "311",
            class,
            "311",
            "2",
            "60",
            &answered,
        ],
        [
            "",
            "",
            "13,7",
            id,
            "0",
            "2001:db8::1",
            "fe80::50",
            "65746837",
            "18,9,1,2,16,17",
            "311",
            class,
            "311",
            "2",
            "60",
            &answered,
        ],
    ]
    .iter()
    .enumerate()
    {
        for (field, (found, wanted)) in fields.iter().zip(found[at].iter().zip(wanted)) {
            assert_eq!(found, wanted, "packet {at}: {field}");
        }
    }
}

fn openssl(words: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl");
    child
        .stdin
        .take()
        .expect("stdin")
        .write_all(input)
        .expect("write");
    let output = child.wait_with_output().expect("openssl");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "openssl {words:?}: {stderr}");
    output.stdout
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

fn read_certificates(paths: &[&Path], passwords: &[&str]) -> fve::Result<ServedCertificates> {
    let paths = paths.iter().map(|path| path.to_path_buf()).collect();
    let passwords = passwords
        .iter()
        .map(|password| SecretText::new((*password).to_owned()))
        .collect();
    let files = KeyFiles::new(paths)
        .passwords(passwords)
        .accept_readable_keys(true);
    ServedCertificates::read(&files)
}

#[trial("decrypts what OpenSSL encrypts, and the other way round", needs(|| missing(&["openssl"])))]
fn openssl_and_requests() {
    let [certificate_file, key_file] = files();
    let certificate = Certificate::parse(&std::fs::read(&certificate_file).unwrap()).unwrap();
    let padding = ["-pkeyopt", "rsa_padding_mode:pkcs1"];
    for round in 0..20_u8 {
        let network = NetworkKey::from_bytes(&[round; 32]);
        let (sealed, session) = seal_request(&certificate, &network).unwrap();
        let opened = openssl(
            &[
                &["pkeyutl", "-decrypt", "-inkey", text(&key_file)],
                &padding[..],
            ]
            .concat(),
            sealed.as_bytes(),
        );
        assert_eq!(opened, [&network.expose()[..], session.expose()].concat());
    }
    // OpenSSL encrypts, and the server decrypts.
    let directory = tempfile::tempdir().unwrap();
    let pem = directory.path().join("certificate.pem");
    let pem_text = openssl(
        &["x509", "-inform", "der", "-in", text(&certificate_file)],
        b"",
    );
    std::fs::write(&pem, pem_text).unwrap();
    let (network, session) = ([3; 32], [4; 32]);
    let sealed = openssl(
        &[
            &["pkeyutl", "-encrypt", "-certin", "-inkey", text(&pem)],
            &padding[..],
        ]
        .concat(),
        &[network, session].concat(),
    );
    let certificates = read_certificates(&[&certificate_file, &key_file], &[]).unwrap();
    let core = Core::new(
        Settings::new(),
        Configuration::new(certificates, PolicyState::Unrestricted),
    );
    let request = Request4 {
        request: Request {
            thumbprint: certificate.thumbprint(),
            key_protector: SealedRequest::from_bytes(&sealed.try_into().unwrap()),
        },
        ..request4(Form::Bootp)
    };
    let origin = Origin::new(Protocol::Dhcp4, "10.77.0.50:68".parse().unwrap());
    let decision = core.handle(&request.encode(), &origin, Instant::now());
    let reply = Reply4::parse(&decision.reply.expect("a reply").payload).unwrap();
    let opened = open_reply(&SessionKey::from_bytes(&session), &reply.sealed).unwrap();
    assert_eq!(opened.network.expose(), &network);
}

fn make(directory: &Path, more: &[&str]) -> serde_json::Value {
    let output = fve()
        .args(["network-unlock", "certificate", "--json", "--to"])
        .arg(directory)
        .args(more)
        .output()
        .expect("fve");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[trial("makes certificates with the extensions that Microsoft documents", needs(|| missing(&["openssl"])))]
fn new_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let made = make(directory.path(), &["--days", "30", "--subject", "Site 7"]);
    let file = directory.path().join("network-unlock.cer");
    let shown = openssl(
        &[
            "x509",
            "-inform",
            "der",
            "-in",
            text(&file),
            "-noout",
            "-text",
        ],
        b"",
    );
    let shown = String::from_utf8(shown).unwrap();
    for part in [
        "Public-Key: (2048 bit)",
        "Signature Algorithm: sha512WithRSAEncryption",
        "Subject: CN = Site 7",
        "X509v3 Key Usage: critical\n                Key Encipherment\n",
        "X509v3 Extended Key Usage: \n                1.3.6.1.4.1.311.67.1.1\n",
        "1.3.6.1.4.1.311.21.10",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let fingerprint = openssl(
        &[
            "x509",
            "-inform",
            "der",
            "-in",
            text(&file),
            "-noout",
            "-fingerprint",
            "-sha1",
        ],
        b"",
    );
    let fingerprint = String::from_utf8(fingerprint).unwrap().replace(':', "");
    let thumbprint = made["certificates"][0]["thumbprint"].as_str().unwrap();
    assert!(fingerprint.to_lowercase().trim_end().ends_with(thumbprint));
    assert_eq!(made["certificates"][0]["fit"], true);
    openssl(
        &[
            "verify",
            "-CAfile",
            text(&pem_of(&file)),
            text(&pem_of(&file)),
        ],
        b"",
    );
    let key = directory.path().join("network-unlock.pem");
    openssl(&["rsa", "-in", text(&key), "-check", "-noout"], b"");
    assert!(read_certificates(&[&key], &[]).is_ok());
    // Existing files are not overwritten.
    let again = fve()
        .args(["network-unlock", "certificate", "--to"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(2));

    let password = directory.path().join("password");
    std::fs::write(&password, "anaconda\n").unwrap();
    for (name, more) in [("new", &[][..]), ("old", &["--legacy-pfx"])] {
        let words = [
            "--pfx",
            "--pfx-password-file",
            text(&password),
            "--name",
            name,
        ];
        make(directory.path(), &[&words, more].concat());
        let pfx = directory.path().join(format!("{name}.pfx"));
        let shown = openssl(
            &[
                "pkcs12",
                "-in",
                text(&pfx),
                "-passin",
                "pass:anaconda",
                "-nodes",
            ],
            b"",
        );
        assert!(String::from_utf8(shown).unwrap().contains("PRIVATE KEY"));
        assert!(read_certificates(&[&pfx], &["wrong", "anaconda"]).is_ok());
        let error = read_certificates(&[&pfx], &["wrong"]).expect_err("refused");
        assert!(
            error.to_string().contains("none of the passwords"),
            "{error}"
        );
    }
}

fn pem_of(der: &Path) -> PathBuf {
    let pem = der.with_extension("crt");
    let pem_text = openssl(&["x509", "-inform", "der", "-in", text(der)], b"");
    std::fs::write(&pem, pem_text).unwrap();
    pem
}

#[trial("reads every kind of key file that OpenSSL writes", needs(|| missing(&["openssl"])))]
fn key_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let [der, pkcs1] = files();
    let certificate = path("certificate.pem");
    std::fs::write(
        &certificate,
        openssl(&["x509", "-inform", "der", "-in", text(&der)], b""),
    )
    .unwrap();
    let pkcs8 = path("key.pem");
    openssl(
        &[
            "pkcs8",
            "-topk8",
            "-nocrypt",
            "-in",
            text(&pkcs1),
            "-out",
            text(&pkcs8),
        ],
        b"",
    );
    let pkcs8_der = path("key.der");
    openssl(
        &[
            "pkcs8",
            "-topk8",
            "-nocrypt",
            "-in",
            text(&pkcs1),
            "-outform",
            "der",
            "-out",
            text(&pkcs8_der),
        ],
        b"",
    );
    let both = path("both.pem");
    let joined = [
        std::fs::read(&pkcs8).unwrap(),
        std::fs::read(&certificate).unwrap(),
    ]
    .concat();
    std::fs::write(&both, joined).unwrap();
    for paths in [
        &[&*der, &*pkcs1][..],
        &[&*pkcs8, &*certificate],
        &[&*pkcs8_der, &*der],
        &[&*both],
        // The same certificate twice is served once.
        &[&*both, &*der, &*pkcs1],
    ] {
        assert_eq!(
            read_certificates(paths, &[]).expect("keys").iter().count(),
            1,
            "{paths:?}"
        );
    }
    let ciphers: [&[&str]; 3] = [
        &[
            "-keypbe",
            "AES-256-CBC",
            "-certpbe",
            "AES-256-CBC",
            "-macalg",
            "sha256",
        ],
        &[
            "-keypbe",
            "PBE-SHA1-3DES",
            "-certpbe",
            "PBE-SHA1-3DES",
            "-macalg",
            "sha1",
        ],
        &["-legacy"],
    ];
    for (number, cipher) in ciphers.iter().enumerate() {
        for password in ["anaconda", ""] {
            let pfx = path(&format!("{number}{password}.pfx"));
            let secret = format!("pass:{password}");
            let words = [
                "pkcs12",
                "-export",
                "-in",
                text(&both),
                "-passout",
                &secret,
                "-out",
                text(&pfx),
            ];
            openssl(&[&words, *cipher].concat(), b"");
            let keys = read_certificates(&[&pfx], &[password]);
            let keys = keys.unwrap_or_else(|error| panic!("{cipher:?} {password:?}: {error}"));
            let served = keys.iter().next().unwrap();
            assert_eq!(served.certificate.der(), std::fs::read(&der).unwrap());
        }
    }
    // A directory with several certificates.
    let many = path("many");
    std::fs::create_dir(&many).unwrap();
    std::fs::copy(&both, many.join("old.pem")).unwrap();
    make(&many, &["--name", "new"]);
    std::fs::write(many.join(".hidden"), "no key").unwrap();
    assert_eq!(
        read_certificates(&[&many], &[])
            .expect("keys")
            .iter()
            .count(),
        2
    );
    // An encrypted key; then a certificate with that of its issuer, whose key is missing.
    let sealed = path("sealed.pem");
    let words = ["pkcs8", "-topk8", "-in", text(&pkcs1), "-passout", "pass:x"];
    openssl(&[&words[..], &["-out", text(&sealed)]].concat(), b"");
    assert!(read_certificates(&[&sealed, &der], &["wrong", "x"]).is_ok());
    let chain = path("chain.pem");
    let issuer = std::fs::read(pem_of(&many.join("new.cer"))).unwrap();
    std::fs::write(&chain, [std::fs::read(&both).unwrap(), issuer].concat()).unwrap();
    let keys = read_certificates(&[&chain], &[]).expect("keys");
    assert_eq!(keys.iter().count(), 1);
    // In the same file, a certificate and a key for another purpose, of another size.
    let other = path("other.pem");
    let words = [
        "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-subj", "/CN=web",
    ];
    let certificate = openssl(
        &[&words[..], &["-days", "9", "-keyout", text(&other)]].concat(),
        b"",
    );
    let parts = [
        std::fs::read(&other).unwrap(),
        certificate,
        std::fs::read(&both).unwrap(),
    ];
    std::fs::write(&other, parts.concat()).unwrap();
    let keys = read_certificates(&[&other], &[]).expect("keys");
    let served = keys.iter().next().unwrap();
    assert_eq!(served.certificate.der(), std::fs::read(&der).unwrap());
    assert_eq!(keys.iter().count(), 1);
}

#[trial("refuses unusable key files with the reason", needs(|| missing(&["openssl"])))]
fn bad_key_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let [der, pkcs1] = files();
    let small = path("small.pem");
    let subject = ["-nodes", "-subj", "/CN=small", "-days", "9"];
    let words = [
        "req",
        "-x509",
        "-newkey",
        "rsa:1024",
        "-keyout",
        text(&small),
    ];
    let certificate = openssl(&[&words[..], &subject].concat(), b"");
    std::fs::write(path("small.crt"), certificate).unwrap();
    let curve = path("curve.pem");
    let words = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-keyout",
        text(&curve),
    ];
    let certificate = openssl(&[&words[..], &subject].concat(), b"");
    std::fs::write(path("curve.crt"), certificate).unwrap();
    let sealed = path("sealed.pem");
    openssl(
        &[
            "pkcs8",
            "-topk8",
            "-in",
            text(&pkcs1),
            "-passout",
            "pass:x",
            "-out",
            text(&sealed),
        ],
        b"",
    );
    make(directory.path(), &["--name", "other"]);
    std::fs::write(path("text"), "no key at all").unwrap();
    std::fs::write(path("empty"), "").unwrap();
    std::fs::write(path("cut.der"), &std::fs::read(&der).unwrap()[..400]).unwrap();
    for (paths, word) in [
        (vec![path("small.crt"), small], "1024 bits"),
        (vec![path("curve.crt"), curve], "key is not RSA"),
        (vec![der.clone()], "no private key matches"),
        (vec![pkcs1.clone()], "no certificate matches"),
        (
            vec![der.clone(), path("other.pem")],
            "no private key matches",
        ),
        (vec![sealed.clone()], "none of the passwords"),
        (vec![path("text")], "neither a certificate"),
        (vec![path("empty")], "empty"),
        (vec![path("cut.der")], "damaged certificate"),
        (vec![path("nowhere")], "cannot read"),
    ] {
        let paths: Vec<_> = paths.iter().map(PathBuf::as_path).collect();
        let error = read_certificates(&paths, &[])
            .expect_err("refused")
            .to_string();
        assert!(error.contains(word), "{paths:?}: {error}");
    }
}

#[trial("shows what Windows may object to in a certificate", needs(|| missing(&["openssl"])))]
fn shown_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let words = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-keyout",
        text(&path("key.pem")),
        "-nodes",
        "-subj",
        "/CN=any",
        "-days",
        "1",
        "-addext",
        "keyUsage=digitalSignature",
    ]
    .map(str::to_owned);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    std::fs::write(path("any.crt"), openssl(&words, b"")).unwrap();
    let [der, _] = files();
    let output = fve()
        .args(["network-unlock", "certificate", "--json"])
        .arg(&der)
        .arg(path("any.crt"))
        .output()
        .unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["certificates"][0]["fit"], true);
    assert_eq!(
        shown["certificates"][0]["not_after"],
        "2050-01-01T00:00:00Z"
    );
    let doubts: Vec<_> = shown["certificates"][1]["doubts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|doubt| doubt["reason"].as_str().unwrap())
        .collect();
    assert_eq!(doubts, ["no-purpose", "no-key-encipherment"]);
}
