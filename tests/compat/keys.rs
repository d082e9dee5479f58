//! Sector keys and volume master keys of volumes made by Windows, in the forms that the tools take.

use std::fs;
use std::process::{Command, Stdio};

use libtest_mimic::Failed;

use super::{Links, MountPoint};
use crate::common::corpus::{self, Volume};
use crate::common::sha256;
use crate::common::trials::{self, Missing, Trial, programs, trials};

/// Each encryption method: its code, a volume with it, and whether bdemount takes its sector key.
const METHODS: &[(u16, &str, bool)] = &[
    (0x8000, "cs-aes-cbc-elephant-128", true),
    (0x8001, "cs-aes-cbc-elephant-256", true),
    (0x8002, "cs-aes-cbc-128", true),
    (0x8003, "cs-aes-cbc-256", true),
    (0x8004, "cs-aes-xts-128", true),
    // libbde 20190102 takes 32 bytes at most.
    (0x8005, "cs-aes-xts-256", false),
];

fn tools() -> Option<Missing> {
    trials::fuse()
        .or_else(trials::corpus)
        .or_else(|| programs(&["dislocker", "bdemount"]))
}

#[trials]
fn keys_unlock_as_with_the_tools() -> Vec<Trial> {
    let one = |(code, name, libbde): &'static (u16, &'static str, bool)| {
        [
            trials::trial(format!("dislocker {name}"), tools(), move || {
                dislocker(*code, name)
            }),
            trials::trial(format!("bdemount {name}"), tools(), move || {
                bdemount(name, *libbde)
            }),
        ]
    };
    METHODS.iter().flat_map(one).collect()
}

fn named(name: &str) -> Volume {
    let volumes = corpus::volumes().expect("corpus");
    let found = volumes.into_iter().find(|volume| volume.name == name);
    found.expect("volume")
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digits).collect()
}

/// The hash of the file that is shown; `None` if the tool fails.
fn shown(mut command: Command, file: &str) -> Option<String> {
    let mounted = MountPoint::new();
    command.arg(mounted.path());
    let pipes = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !pipes.status().expect("start").success() {
        return None;
    }
    let plain = fs::File::open(mounted.path().join(file)).expect("file");
    Some(sha256(plain).expect("read"))
}

fn dislocker(code: u16, name: &str) -> Result<(), Failed> {
    let links = Links::new();
    let volume = named(name);
    let directory = tempfile::tempdir()?;
    let vmk = directory.path().join("vmk");
    fs::write(&vmk, bytes(volume.vmk_hex.as_deref().ok_or("no VMK")?))?;
    // The method, and 64 bytes.
    let mut content = code.to_le_bytes().to_vec();
    content.extend(bytes(volume.fvek_hex.as_deref().ok_or("no FVEK")?));
    content.resize(66, 0);
    let fvek = directory.path().join("fvek");
    fs::write(&fvek, content)?;
    let fvek_long = format!("--fvek={}", fvek.display());
    let vmk_long = format!("--vmk={}", vmk.display());
    let short = |letter: &str, file: &std::path::Path| format!("{letter}{}", file.display());
    for option in [short("-k", &fvek), fvek_long, short("-K", &vmk), vmk_long] {
        for mut command in [Command::new("dislocker"), links.program("dislocker")] {
            command
                .arg("-V")
                .arg(&volume.path)
                .args([&option, "-r", "--"]);
            let hash = shown(command, "dislocker-file");
            assert_eq!(hash.as_ref(), Some(&volume.expected_sha256), "{option}");
        }
    }
    Ok(())
}

fn bdemount(name: &str, libbde: bool) -> Result<(), Failed> {
    let links = Links::new();
    let volume = named(name);
    let key = volume.fvek_hex.as_deref().ok_or("no FVEK")?;
    // Of a key with a diffuser, each half can have unused bytes at its end.
    let forms: Vec<_> = match name {
        "cs-aes-cbc-elephant-128" => vec![
            format!("{}:{}", &key[..32], &key[64..96]),
            format!("{}:{}", &key[..64], &key[64..]),
        ],
        "cs-aes-cbc-elephant-256" => vec![format!("{}:{}", &key[..64], &key[64..])],
        "cs-aes-cbc-128" => vec![key.to_owned(), format!("{key}:{}", "0".repeat(32))],
        _ => vec![key.to_owned()],
    };
    for form in forms {
        let hash = |mut command: Command| {
            command.args(["-k", &form]).arg(&volume.path);
            shown(command, "bde1")
        };
        let ours = hash(links.program("bdemount"));
        assert_eq!(ours.as_ref(), Some(&volume.expected_sha256), "{name}");
        let theirs = hash(Command::new("bdemount"));
        assert_eq!(theirs, ours.filter(|_| libbde), "{name}");
    }
    for wrong in [
        "",
        ":",
        "abc",
        "00:11",
        "zz",
        &key[2..],
        &format!("{key}{key}{key}"),
    ] {
        for mut command in [Command::new("bdemount"), links.program("bdemount")] {
            command.args(["-k", wrong]).arg(&volume.path);
            assert_eq!(shown(command, "bde1"), None, "{name} {wrong}");
        }
    }
    Ok(())
}
