//! The syntax of `bde-network-unlock.ini`, and the command that checks such a file.

use std::process::Output;

use fve::network::policy::{Policy, Rule};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::common::documented::assert_documented;
use crate::common::fve;
use crate::common::trials::trial;

const CERTIFICATE: &str = "b44bf9cee0e91c92b027a18dea2d3573bd7f8506";

fn parse(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap_or_else(|fault| panic!("{fault}: {text}"))
}

fn rule(policy: &Policy) -> String {
    match policy.rule(&CERTIFICATE.parse().unwrap()) {
        Rule::Unrestricted => "everybody".to_owned(),
        Rule::Disabled => "nobody".to_owned(),
        Rule::Subnets(subnets) => {
            let list: Vec<_> = subnets
                .iter()
                .map(|named| named.subnet.to_string())
                .collect();
            list.join(" ")
        }
    }
}

#[trial("reads valid files as documented")]
fn valid_files() {
    // The text, the certificate's rule, the number of remarks.
    for (text, expected, remarks) in [
        ("", "everybody", 1),
        ("\r\n ; nothing\r\n", "everybody", 0),
        ("[SUBNETS]\nA=10.0.0.0/8", "everybody", 0),
        (
            "[SUBNETS]\nA=10.185.252.200/28\n[C]\nA",
            "10.185.252.192/28",
            1,
        ),
        (
            "[SUBNETS]\nA=2001:4898:a:3::/64; text\n[C]\nA",
            "2001:4898:a:3::/64",
            0,
        ),
        ("[SUBNETS]\nA=10.0.0.0/8\n[C]\n;A", "everybody", 1),
        ("[SUBNETS]\nA=10.0.0.0/8\n[C]\nA\nDISABLED", "nobody", 0),
        ("[C]\nDisabled ; off", "nobody", 0),
        ("[C]\na\n[subnets]\nA = 10.0.0.0/8\n", "10.0.0.0/8", 0),
        (
            "  [SUBNETS]  ; x\r\n\tA.b-c_1 =\t10.0.0.7 ;y\r\n[C];z\r\n A.B-C_1;w\r\n",
            "10.0.0.7/32",
            1,
        ),
        ("\u{FEFF}[SUBNETS]\nA=0.0.0.0/0\n[C]\nA", "0.0.0.0/0", 0),
        ("[SUBNETS]\nA=::/0\nB=::1\n[C]\nA\nB", "::/0 ::1/128", 1),
        // An empty section, and one that has no effect for IPv4.
        ("[SUBNETS]\nA=::/0\n[RELAYS]\na ; x\n[C]\nA", "::/0", 0),
        ("[Relays]\n[SUBNETS]\nA=::/0\n[C]\nA", "::/0", 1),
        (
            "[RELAYS]\nA\n[SUBNETS]\nA=10.0.0.0/8\n[C]\nA",
            "10.0.0.0/8",
            1,
        ),
    ] {
        let text = text.replace("[C]", &format!("[{CERTIFICATE}]"));
        for text in [
            text.clone(),
            text.replace(CERTIFICATE, &CERTIFICATE.to_uppercase()),
        ] {
            let policy = parse(&text);
            assert_eq!(rule(&policy), expected, "{text}");
            assert_eq!(
                policy.remarks().len(),
                remarks,
                "{text}: {:?}",
                policy.remarks()
            );
        }
        for big in [false, true] {
            let units =
                std::iter::once(0xFEFF).chain(text.trim_start_matches('\u{FEFF}').encode_utf16());
            let bytes: Vec<u8> = units
                .flat_map(|unit: u16| {
                    if big {
                        unit.to_be_bytes()
                    } else {
                        unit.to_le_bytes()
                    }
                })
                .collect();
            assert_eq!(
                rule(&Policy::parse(&bytes).expect("UTF-16")),
                expected,
                "{text}"
            );
        }
    }
}

#[trial("refuses files with anything that it does not understand")]
fn invalid_files() {
    let long = format!("; {}", "x".repeat(1100));
    // The text, the line, the column, a part of the message.
    for (text, line, column, word) in [
        ("[SUBNETS]\nA=10.0.0.0/8\n[C]\nB", 4, 1, "no subnet"),
        ("[SUBNETS]\nENABLED=10.0.0.0/8", 2, 1, "cannot be"),
        ("[SUBNETS]\ndisabled=10.0.0.0/8", 2, 1, "cannot be"),
        (
            "[SUBNETS]\n0123456789012345678901234567890123456789=10.0.0.0/8",
            2,
            1,
            "cannot be",
        ),
        ("[C]\nENABLED", 2, 1, "ENABLED"),
        ("[C]\nA=10.0.0.0/8", 2, 1, "without '='"),
        ("[b4 4bf9cee0e91c92b027a18dea2d3573bd7f8506]", 1, 4, "space"),
        (
            "[b4:4b:f9:ce:e0:e9:1c:92:b0:27:a1:8d:ea:2d:35:73:bd:7f:85:06]",
            1,
            4,
            "':'",
        ),
        ("[\u{200E}C]", 1, 2, "U+200E"),
        ("[b44bf9cee0e91c92b027a18dea2d3573bd7f850]", 1, 2, "not 39"),
        (
            "[b44bf9cee0e91c92b027a18dea2d3573bd7f85060]",
            1,
            2,
            "not 41",
        ),
        ("[C]\n[C]", 2, 2, "twice"),
        ("[SUBNETS]\n[SUBNETS]", 2, 2, "twice"),
        ("[SUBNETS]\nA=10.0.0.0/8\na=10.0.0.0/8", 3, 1, "twice"),
        ("[OTHER]", 1, 2, "unknown section"),
        ("[RELAYS]\n[relays]", 2, 2, "appears twice"),
        ("[RELAYS]\nA=::1", 2, 1, "without '='"),
        ("[RELAYS]\nA", 2, 1, "no subnet under [SUBNETS]"),
        ("[ SUBNETS ]", 1, 2, "unknown section"),
        ("[SUBNETS", 1, 1, "']'"),
        ("[SUBNETS] x", 1, 11, "follow"),
        ("[SUBNETS]\nA=10.0.0.0/33", 2, 12, "0 to 32"),
        ("[SUBNETS]\nA=10.0.0.0/08", 2, 12, "0 to 32"),
        ("[SUBNETS]\nA=10.0.0.0/+8", 2, 12, "0 to 32"),
        ("[SUBNETS]\nA=10.0.0.0/", 2, 12, "0 to 32"),
        ("[SUBNETS]\nA=::/129", 2, 6, "0 to 128"),
        ("[SUBNETS]\nA=10.01.2.0/24", 2, 3, "not an address"),
        ("[SUBNETS]\nA=10.0.0.1-10.0.0.9", 2, 3, "not an address"),
        ("[SUBNETS]\nA=fe80::1%eth0", 2, 3, "not an address"),
        ("[SUBNETS]\nA=::ffff:10.0.0.0/104", 2, 3, "IPv6 form"),
        ("[SUBNETS]\nA=", 2, 3, "not an address"),
        ("[SUBNETS]\n=10.0.0.0/8", 2, 1, "no name"),
        ("[SUBNETS]\nA", 2, 1, "NAME="),
        ("[SUBNETS]\nA B=10.0.0.0/8", 2, 2, "space"),
        ("[SUBNETS]\nGröße=10.0.0.0/8", 2, 3, "U+00F6"),
        ("# comment", 1, 1, "'#'"),
        ("A=10.0.0.0/8", 1, 1, "first section"),
        (&*long, 1, 1, "1024"),
        ("[SUBNETS]\nA=10\0", 2, 5, "NUL"),
    ] {
        let text = text.replace("C]", &format!("{CERTIFICATE}]"));
        let fault = Policy::parse(text.as_bytes()).expect_err(&text);
        assert_eq!(
            (fault.line, fault.column),
            (line, column),
            "{text}: {fault}"
        );
        assert!(fault.what.contains(word), "{text}: {fault}");
    }
    let long_name = format!("[SUBNETS]\n{}=10.0.0.0/8", "n".repeat(65));
    assert!(Policy::parse(long_name.as_bytes()).is_err());
    let fault = Policy::parse(b"[SUBNETS]\nA=\xFF").unwrap_err();
    assert_eq!((fault.line, fault.column), (2, 3));
    assert!(Policy::parse(&vec![b'\n'; (1 << 20) + 1]).is_err());
    assert!(Policy::parse(&vec![b'\n'; 1 << 20]).is_ok());
    assert!(Policy::parse(b"\xFF\xFE[\0S").is_err());
}

#[trial("reads back the policy that it writes")]
fn written_and_read() {
    let subnet = prop_oneof![
        (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(address, prefix)| {
            format!("{}/{prefix}", std::net::Ipv4Addr::from(address))
        }),
        (any::<[u8; 16]>(), 0..=128_u8).prop_map(|(address, prefix)| {
            format!("{}/{prefix}", std::net::Ipv6Addr::from(address))
        }),
    ];
    let subnets = prop::collection::vec(subnet, 1..6);
    let sections = prop::collection::btree_map(
        any::<[u8; 20]>(),
        (
            prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            any::<bool>(),
        ),
        0..5,
    );
    let mut runner = TestRunner::new(Config::with_cases(300));
    runner
        .run(&(subnets, sections), |(subnets, sections)| {
            let mut text = "[SUBNETS]\n".to_owned();
            for (number, subnet) in subnets.iter().enumerate() {
                text += &format!("net{number}={subnet}\n");
            }
            for (thumbprint, (names, disabled)) in sections {
                let digits: String = thumbprint
                    .iter()
                    .map(|byte| format!("{byte:02X}"))
                    .collect();
                text += &format!("[{digits}]\n");
                for name in names {
                    text += &format!("NET{}\n", name.index(subnets.len()));
                }
                if disabled {
                    text += "DISABLED\n";
                }
            }
            text += "[RELAYS]\nNET0\n";
            let Ok(policy) = Policy::parse(text.as_bytes()) else {
                // The only reason: an IPv4 address in IPv6 form.
                prop_assert!(text.contains("::ffff:"));
                return Ok(());
            };
            let again = Policy::parse(policy.to_string().as_bytes()).unwrap();
            prop_assert_eq!(policy.subnets(), again.subnets());
            prop_assert_eq!(policy.rules(), again.rules());
            prop_assert_eq!(policy.relays(), again.relays());
            Ok(())
        })
        .unwrap();
}

#[trial("survives any text")]
fn any_text() {
    let mut runner = TestRunner::new(Config::with_cases(2000));
    let words = prop::collection::vec(
        prop_oneof![
            Just("[SUBNETS]".to_owned()),
            Just(format!("[{CERTIFICATE}]")),
            "[\\PC\n\r\t]{0,8}",
            "[A-C]{1,2}=[0-9.:/a-f]{0,18}",
            "[A-C\n;=\\[\\]]{0,6}",
        ],
        0..12,
    );
    runner
        .run(&(words, any::<Vec<u8>>()), |(words, bytes)| {
            let _ = Policy::parse(words.join("\n").as_bytes());
            let _ = Policy::parse(&bytes);
            Ok(())
        })
        .unwrap();
}

fn check(text: &str, more: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("directory");
    let file = directory.path().join("bde-network-unlock.ini");
    std::fs::write(&file, text).expect("policy");
    fve()
        .args(["network-unlock", "check-policy"])
        .arg(&file)
        .args(more)
        .output()
        .expect("fve")
}

#[trial("check-policy says which addresses are served, and where an error is")]
fn check_policy() {
    let text = format!("[SUBNETS]\nHQ=10.1.0.0/16\n[{CERTIFICATE}]\nHQ\n");
    let output = check(&text, &["--address", "10.1.2.3", "--address", "10.2.0.1"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout.contains("HQ (10.1.0.0/16)"), "{stdout}");
    assert!(stdout.contains("10.1.2.3: served"), "{stdout}");
    assert!(stdout.contains("10.2.0.1: not served"), "{stdout}");

    let output = check(
        &text,
        &["--json", "--address", "10.2.0.1", "--address", "fe80::1"],
    );
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["valid"], true);
    let certificate = &json["certificates"][0];
    assert_eq!(certificate["serves"], "listed");
    assert_eq!(certificate["addresses"][0]["served"], false);
    assert_eq!(certificate["addresses"][1]["served"], true);

    // Relays: one that is listed, one that is believed besides, and broadcast addresses.
    let text = format!(
        "[SUBNETS]\nHQ=10.1.0.0/16\nCORE=2001:db8::1/128\n[{CERTIFICATE}]\nHQ\n[RELAYS]\nCORE\n"
    );
    let mut words = vec!["--json"];
    let asked = [
        ("10.1.0.1", true),
        ("10.1.255.255", false),
        ("10.1.0.0", false),
        ("10.2.0.1", false),
        ("2001:db8::1", true),
        ("2001:db8::2", false),
        ("fe80::1", true),
    ];
    words.extend(asked.iter().flat_map(|(relay, _)| ["--relay", relay]));
    let output = check(&text, &words);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_documented("network-unlock-check-policy", &json);
    assert_eq!(json["relays"], serde_json::json!(["CORE"]));
    for ((relay, believed), found) in asked
        .iter()
        .zip(json["certificates"][0]["relays"].as_array().unwrap())
    {
        assert_eq!(found["address"], *relay);
        assert_eq!(found["believed"], *believed, "{relay}");
    }
    let output = check(&text, &["--relay", "fe80::1", "--refuse-link-local"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("relay fe80::1: not believed"), "{stdout}");
    assert!(
        stdout.contains("CORE (2001:db8::1/128) are believed"),
        "{stdout}"
    );

    let output = check("[SUBNETS]\nHQ=10.1.0.0/40\n", &[]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("line 2, column 13"), "{stderr}");
    let output = check("[SUBNETS]\nHQ=10.1.0.0/40\n", &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["valid"], &json["line"]), (&false.into(), &2.into()));

    let output = fve()
        .args(["network-unlock", "check-policy", "/nowhere/policy.ini"])
        .output()
        .expect("fve");
    assert_eq!(output.status.code(), Some(5));
}
