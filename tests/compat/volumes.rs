//! Every kind of credential on many volumes: fve under the names of the tools shows the same bytes under the
//! same file names as the tools.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Failed;

use super::{Links, MountPoint};
use crate::common::corpus;
use crate::common::peers::Peer;
use crate::common::sha256;
use crate::common::testdata::{self, Entry, Kind, KnownCredential};
use crate::common::trials::{self, Trial, trials};

/// Volumes of the corpus that are compared: one for each kind of volume that both tools read.
const OF_WINDOWS: &[&str] = &[
    "cs-aes-cbc-256",
    "cs-aes-cbc-elephant-128",
    "cs-aes-xts-128",
    "cs-aes-xts-128-4k",
    "cs-aes-xts-128-clearkey-only",
    "cs-aes-xts-128-crc",
    "cs-aes-xts-128-startup-key",
    "cs-togo-aes-xts-128",
    "made-ntfs-xts128",
];

#[trials]
fn shows_what_the_tools_show() -> Vec<Trial> {
    let mut volumes = testdata::volumes();
    let windows = corpus::volumes().unwrap_or_default();
    let chosen = windows
        .iter()
        .filter(|volume| OF_WINDOWS.contains(&volume.name.as_str()));
    volumes.extend(chosen.map(corpus::Volume::entry));
    let mut trials = Vec::new();
    for volume in volumes {
        for credential in &volume.credentials {
            for tool in Tool::ALL {
                let name = format!("{} {} {:?}", tool.name(), volume.name, credential.kind);
                let (volume, credential) = (volume.clone(), credential.clone());
                let missing = trials::fuse().or_else(|| tool.peer().missing());
                trials.push(trials::trial(name, missing, move || {
                    compare(tool, &volume, &credential)
                }));
            }
        }
    }
    trials
}

#[derive(Clone, Copy, PartialEq)]
enum Tool {
    Dislocker,
    DislockerFile,
    Bdemount,
}

impl Tool {
    const ALL: [Self; 3] = [Self::Dislocker, Self::DislockerFile, Self::Bdemount];

    fn name(self) -> &'static str {
        match self {
            Self::Dislocker => "dislocker",
            Self::DislockerFile => "dislocker-file",
            Self::Bdemount => "bdemount",
        }
    }

    fn peer(self) -> Peer {
        match self {
            Self::Dislocker | Self::DislockerFile => Peer::Dislocker,
            Self::Bdemount => Peer::Libbde,
        }
    }

    fn arguments(self, volume: &Entry, credential: &KnownCredential, target: &Path) -> Vec<String> {
        let file = volume.file.to_string_lossy().into_owned();
        let target = target.to_string_lossy().into_owned();
        let value = &credential.value;
        match self {
            Self::Bdemount => {
                let mut words = match credential.kind {
                    Kind::Password => vec!["-p".to_owned(), value.clone()],
                    Kind::RecoveryPassword => vec!["-r".to_owned(), value.clone()],
                    Kind::StartupKey => vec!["-s".to_owned(), value.clone()],
                    Kind::ClearKey => Vec::new(),
                };
                words.extend([file, target]);
                words
            }
            Self::Dislocker | Self::DislockerFile => {
                let secret = match credential.kind {
                    Kind::Password => format!("-u{value}"),
                    Kind::RecoveryPassword => format!("-p{value}"),
                    Kind::StartupKey => format!("--bekfile={value}"),
                    Kind::ClearKey => "-c".to_owned(),
                };
                ["-rV", &file, &secret, "--", &target]
                    .map(str::to_owned)
                    .into()
            }
        }
    }

    /// The name of the file, its size, and the hash of its content; `None` if the tool fails.
    fn run(
        self,
        mut command: Command,
        volume: &Entry,
        credential: &KnownCredential,
    ) -> Option<(String, u64, String)> {
        let mounted = MountPoint::new();
        let target = match self {
            Self::DislockerFile => mounted.path().join("plain.img"),
            Self::Dislocker | Self::Bdemount => mounted.path().to_owned(),
        };
        command.args(self.arguments(volume, credential, &target));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if !command.status().expect("start").success() {
            return None;
        }
        let [name] = mounted.files().try_into().expect("one file");
        let file = File::open(mounted.path().join(&name)).expect("file");
        let size = file.metadata().expect("size").len();
        Some((name, size, sha256(file).expect("read")))
    }
}

fn compare(tool: Tool, volume: &Entry, credential: &KnownCredential) -> Result<(), Failed> {
    let links = Links::new();
    let ours = tool.run(links.program(tool.name()), volume, credential);
    let ours = ours.ok_or("fve failed")?;
    // The hash from the index, which other programs than these confirmed.
    assert_eq!(ours.2, volume.plaintext_sha256);
    if tool.peer().limit(volume, credential).is_some() {
        return Ok(());
    }
    let theirs = tool.run(Command::new(tool.name()), volume, credential);
    assert_eq!(theirs, Some(ours));
    Ok(())
}
