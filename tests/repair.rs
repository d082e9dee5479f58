//! `fve repair`, `--metadata` and `decrypt --error-map`: volumes whose boot record, metadata copies
//! or partition table are lost, and sources with unreadable sectors. The source is never changed.
//!
//! Dislocker, cryptsetup and libbde verify rebuilt volumes, and ddrescuelog verifies error maps.
//! Sources with unreadable sectors are files on a FUSE mount.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::Arc;

use common::damage::VolumeCopy;
use common::mount::Mounted;
use common::output::{assert_status, json, text};
use common::peers::Peer;
use common::testdata::{self, Entry, Kind};
use common::trials::{self, Missing, Trial, trial, trials};
use common::{corpus, fve, harness, peers};
use fve::repair::{Scope, scan};
use fve::secret::Vmk;
use fve::source::{FileSource, MemoryOverlay, ReadAt};
use fve::unlock::RawVmk;
use fve::volume::{UnlockOptions, Unlocked};
use libtest_mimic::Failed;
use serde_json::Value;

fn scanned(source: &Path) -> Value {
    let output = fve()
        .args(["repair", "scan", "--json"])
        .arg(source)
        .output()
        .expect("fve");
    assert_status(&output, 0);
    json(&output)
}

/// The options that open the first volume that was found.
fn arguments(answer: &Value) -> Vec<String> {
    let arguments = answer["volumes"][0]["arguments"]
        .as_str()
        .expect("arguments");
    arguments.split(' ').map(str::to_owned).collect()
}

/// The SHA-256 of the plaintext that `fve decrypt` writes.
fn decrypted(volume: &Entry, source: &Path, arguments: &[String]) -> String {
    let directory = tempfile::tempdir().expect("directory");
    let out = directory.path().join("out");
    let mut command = fve();
    command.arg("decrypt").arg(source).arg(&out).args(arguments);
    let secret = directory.path().join("secret");
    if let Some(credential) = volume.credentials.first() {
        match credential.kind {
            _ if volume
                .credentials
                .iter()
                .any(|other| other.kind == Kind::StartupKey) =>
            {
                command.arg("--startup-key").arg(volume.bek());
            }
            Kind::Password => {
                std::fs::write(&secret, &credential.value).expect("secret");
                command.arg("--password-file").arg(&secret);
            }
            Kind::RecoveryPassword => {
                std::fs::write(&secret, &credential.value).expect("secret");
                command.arg("--recovery-password-file").arg(&secret);
            }
            Kind::StartupKey | Kind::ClearKey => {}
        }
    }
    let output = command.output().expect("fve");
    assert_status(&output, 0);
    common::sha256(std::fs::File::open(out).expect("out")).expect("hash")
}

/// A volume whose boot record is lost.
fn without_boot_record(volume: &Entry) -> VolumeCopy {
    let mut copy = VolumeCopy::of(volume);
    copy.bytes[..512].fill(0);
    copy
}

fn sample() -> Entry {
    testdata::volume("xts-128")
}

#[trial("every frozen volume opens without its boot record")]
fn opens_without_boot_record() -> Result<(), Failed> {
    for volume in testdata::volumes() {
        let directory = tempfile::tempdir()?;
        let path = without_boot_record(&volume).save(directory.path());
        let answer = scanned(&path);
        let found = &answer["volumes"][0];
        assert_eq!(
            answer["volumes"].as_array().unwrap().len(),
            1,
            "{}",
            volume.name
        );
        assert!(
            volume
                .volume_id
                .eq_ignore_ascii_case(found["volume"].as_str().unwrap())
        );
        assert_eq!(found["start"], 0);
        assert_eq!(found["start_is_proved"], true);
        assert_eq!(found["boot_record"], false);
        assert_eq!(found["sector_size"], volume.sector_size);
        assert_eq!(found["copies"].as_array().unwrap().len(), 3);
        let hash = decrypted(&volume, &path, &arguments(&answer));
        assert_eq!(hash, volume.plaintext_sha256, "{}", volume.name);
        assert_eq!(std::fs::read(&path)?, without_boot_record(&volume).bytes);
    }
    Ok(())
}

#[trial("one metadata copy is enough, and shows where the volume begins")]
fn one_copy_is_enough() -> Result<(), Failed> {
    let volume = sample();
    let offsets = VolumeCopy::of(&volume).offsets();
    for left in offsets {
        let mut copy = without_boot_record(&volume);
        for gone in offsets.into_iter().filter(|offset| *offset != left) {
            copy.bytes[gone..][..0x1_0000].fill(0xF6);
        }
        let directory = tempfile::tempdir()?;
        let path = copy.save(directory.path());
        let answer = scanned(&path);
        assert_eq!(answer["volumes"][0]["start"], 0);
        assert_eq!(answer["volumes"][0]["copies"][0]["offset"], left);
        // The offset of the metadata is enough.
        let only = ["--metadata".to_owned(), format!("{left}")];
        assert_eq!(decrypted(&volume, &path, &only), volume.plaintext_sha256);
    }
    Ok(())
}

/// People send the 64 KiB of a metadata copy instead of the disk, sometimes with other bytes before it.
#[trial(
    "a piece with only metadata is recognized, and everything that needs no sector works on it"
)]
fn pieces_are_recognized() -> Result<(), Failed> {
    let volume = sample();
    let copy = VolumeCopy::of(&volume);
    let bek = volume.bek();
    let bek = bek.to_str().expect("path");
    for (offset, before) in copy.offsets().into_iter().zip([0, 744, 512]) {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("piece.bin");
        let mut bytes = vec![0x5A; before];
        bytes.extend_from_slice(&copy.bytes[offset..][..0x1_0000]);
        std::fs::write(&path, &bytes)?;
        let run = |arguments: &[&str]| {
            let mut command = fve();
            command.current_dir(directory.path()).args(arguments);
            command.output().expect("fve")
        };
        let answer = scanned(&path);
        assert_eq!(answer["volumes"][0]["copies"][0]["offset"], before);
        assert_eq!(answer["volumes"][0]["piece"], true);
        assert_eq!(
            arguments(&answer),
            ["--metadata-offset", &format!("{before:#x}")]
        );

        let output = run(&["info", "--json", "piece.bin"]);
        assert_status(&output, 0);
        let info = json(&output);
        assert_eq!(info["volume"]["id"], volume.volume_id.to_uppercase());
        assert_eq!(info["volume"]["size"], volume.size);
        assert_eq!(info["volume"]["available"], bytes.len());
        assert_eq!(info["source"]["size"], bytes.len());
        let problems = info["problems"].to_string();
        assert!(
            problems.contains("only a piece of the volume"),
            "{problems}"
        );

        for works in [
            &["report", "piece.bin"][..],
            &["protector", "list", "piece.bin"],
            &[
                "export",
                "key-package",
                "piece.bin",
                "package",
                "--startup-key",
                bek,
            ],
        ] {
            assert_status(&run(works), 0);
        }
        let output = run(&["unlock", "--json", "piece.bin", "--startup-key", bek]);
        assert_status(&output, 0);
        assert_eq!(json(&output)["piece"], true);
        let output = run(&["repair", "rebuild-header", "piece.bin", "--to", "header"]);
        assert_status(&output, 3);
        assert!(text(&output.stderr).contains("beginning"));
        // With its offset as well, also where the first of its places cannot be right.
        let offset = before.to_string();
        let named = ["--metadata", &offset, "--startup-key", bek];
        assert_status(&run(&[&["unlock", "piece.bin"][..], &named].concat()), 0);
        // The package that was exported from the piece unlocks the damaged volume.
        let mut damaged = VolumeCopy::of(&volume);
        for offset in damaged.offsets() {
            damaged.bytes[offset + 200..][..400].fill(0xF6);
        }
        let damaged = damaged.save(directory.path());
        let damaged = damaged.to_str().expect("path");
        assert_status(&run(&["unlock", damaged, "--startup-key", bek]), 6);
        let package = ["--key-package", "package", "--startup-key", bek];
        assert_status(&run(&[&["unlock", damaged][..], &package].concat()), 0);

        std::fs::create_dir(directory.path().join("empty"))?;
        for refused in [
            &["decrypt", "piece.bin", "out", "--startup-key", bek][..],
            &["mount", "piece.bin", "empty", "--startup-key", bek],
            &["metadata", "backup", "piece.bin", "backup"],
        ] {
            let output = run(refused);
            assert_status(&output, 5);
            let message = text(&output.stderr);
            assert!(message.contains("beginning"), "{message}");
        }
    }
    Ok(())
}

#[trial("a metadata copy at the end of a truncated image is cut off, not damaged")]
fn copies_are_cut_off() -> Result<(), Failed> {
    let copy = VolumeCopy::of(&sample());
    let [.., last] = copy.offsets();
    let block = usize::from(copy.u16(last + 8)) * 16;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("cut.img");
    for present in [0, 8, 600, block + 2, block + 7] {
        std::fs::write(&path, &copy.bytes[..last + present])?;
        let output = fve().args(["info", "--json"]).arg(&path).output()?;
        assert_status(&output, 0);
        let fault = json(&output)["metadata"]["copies"][2]["fault"].to_string();
        let end = format!("the image ends at {:#x}", last + present);
        assert!(fault.contains(&end), "{present}: {fault}");
    }
    Ok(())
}

#[trial("the sizes of scan, info and unlock agree, also in a larger partition")]
fn sizes_agree() -> Result<(), Failed> {
    let volume = sample();
    let mut bytes = VolumeCopy::of(&volume).bytes;
    bytes.resize(bytes.len() + 0x3_0000, 0);
    let directory = tempfile::tempdir()?;
    let larger = directory.path().join("larger.img");
    let mut disk = vec![0; 4096];
    disk[0x1BE + 4] = 7;
    disk[0x1BE + 8..][..4].copy_from_slice(&8u32.to_le_bytes());
    let sectors = u32::try_from(bytes.len() / 512)?;
    disk[0x1BE + 12..][..4].copy_from_slice(&sectors.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    disk.extend_from_slice(&bytes);
    std::fs::write(&larger, disk)?;
    let cut = directory.path().join("cut.img");
    std::fs::write(&cut, &bytes[..bytes.len() - 0x4_0000])?;
    for path in [larger, cut] {
        let mut sizes = Vec::new();
        for command in [&["info"][..], &["unlock"], &["repair", "scan"]] {
            let mut fve = fve();
            fve.args(command).arg(&path).arg("--json");
            if command == ["unlock"] {
                fve.arg("--startup-key").arg(volume.bek());
            }
            let output = fve.output()?;
            assert_status(&output, 0);
            let answer = json(&output);
            sizes.push(match command {
                ["info"] => answer["volume"]["size"].clone(),
                ["unlock"] => answer["size"].clone(),
                _ => answer["volumes"][0]["size"].clone(),
            });
        }
        assert!(sizes.iter().all(|size| *size == volume.size), "{sizes:?}");
    }
    Ok(())
}

#[trial("finds a volume anywhere on a disk")]
fn found_in_a_disk() -> Result<(), Failed> {
    for name in ["xts-128", "cbc-128-4k", "encrypt-on-write"] {
        let volume = testdata::volume(name);
        let mut disk = vec![0x5A; 0x12_3000];
        disk.extend(without_boot_record(&volume).bytes);
        disk.extend(vec![0xA5; 0x4_0000]);
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("disk.img");
        std::fs::write(&path, &disk)?;
        let answer = scanned(&path);
        assert_eq!(answer["volumes"][0]["start"], 0x12_3000);
        let opens = arguments(&answer);
        assert_eq!(
            decrypted(&volume, &path, &opens),
            volume.plaintext_sha256,
            "{name}"
        );
        // 'info' stands for all commands with these options.
        let output = fve()
            .args(["info", "--json"])
            .arg(&path)
            .args(&opens)
            .output()?;
        assert_status(&output, 0);
        assert!(
            text(&output.stdout)
                .to_lowercase()
                .contains(&volume.volume_id)
        );
    }
    Ok(())
}

#[trial("lists the newest of several generations first")]
fn ranks_generations() -> Result<(), Failed> {
    let (older, newer) = (testdata::volume("xts-256"), sample());
    // Metadata of an earlier encryption after the current volume.
    let mut disk = VolumeCopy::of(&newer).bytes;
    disk.extend(without_boot_record(&older).bytes);
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("disk.img");
    std::fs::write(&path, &disk)?;
    let answer = scanned(&path);
    let volumes = answer["volumes"].as_array().unwrap();
    assert_eq!(volumes.len(), 2);
    assert_eq!(volumes[0]["boot_record"], true);
    assert!(
        newer
            .volume_id
            .eq_ignore_ascii_case(volumes[0]["volume"].as_str().unwrap())
    );
    assert_eq!(volumes[1]["start"], newer.size);
    let opens: Vec<_> = volumes[1]["arguments"]
        .as_str()
        .unwrap()
        .split(' ')
        .map(str::to_owned)
        .collect();
    assert_eq!(decrypted(&older, &path, &opens), older.plaintext_sha256);
    // Copies of the same volume after an interrupted update: the one with the higher counter is
    // newer.
    let mut copy = without_boot_record(&newer);
    let [first, second, _] = copy.offsets_of(&newer);
    let counter = u32::from_le_bytes(copy.bytes[second + 0x60..][..4].try_into()?);
    copy.edit(first, 0x60, &(counter - 1).to_le_bytes());
    let path = copy.save(directory.path());
    let answer = scanned(&path);
    let copies = &answer["volumes"][0]["copies"];
    assert_eq!(copies[0]["offset"], second);
    assert_eq!(copies[2]["offset"], first);
    assert_eq!(copies[2]["current"], false);
    // With a credential, the encrypted SHA-256 shows that the copy was changed.
    let output = fve()
        .args(["repair", "scan", "--json"])
        .arg(&path)
        .arg("--startup-key")
        .arg(newer.bek())
        .output()?;
    assert_eq!(json(&output)["volumes"][0]["opens"], true);
    let output = fve()
        .arg("unlock")
        .arg(&path)
        .args(["--metadata", &first.to_string(), "--startup-key"])
        .arg(newer.bek())
        .output()?;
    assert_status(&output, 6);
    Ok(())
}

#[trial("refuses a wrong start")]
fn refuses_a_wrong_start() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let path = without_boot_record(&sample()).save(directory.path());
    let [first, ..] = VolumeCopy::of(&sample()).offsets();
    for (metadata, start, status) in [
        (first.to_string(), Some("512"), 3),
        ((first + 512).to_string(), None, 3),
        ("0x7fffffffffff".to_owned(), None, 5),
    ] {
        let mut command = fve();
        command
            .arg("info")
            .arg(&path)
            .args(["--metadata", &metadata]);
        if let Some(start) = start {
            command.args(["--volume-start", start]);
        }
        assert_status(&command.output()?, status);
    }
    let output = fve()
        .arg("info")
        .arg(&path)
        .args(["--volume-start", "0"])
        .output()?;
    assert_status(&output, 0);
    let output = fve()
        .arg("info")
        .arg(&path)
        .args(["--volume-start", "0x200"])
        .output()?;
    assert_status(&output, 3);
    // 'recovery check' without a volume has no use for --metadata.
    let output = fve()
        .args(["recovery", "check", "--metadata", "0", "--file"])
        .arg(&path)
        .output()?;
    assert_status(&output, 2);
    // A single copy without a volume around it fits three starts equally well.
    let mut lonely = vec![0; 0x40_0000];
    let copy = VolumeCopy::of(&sample()).bytes;
    lonely[0x20_0000..][..0x1_0000].copy_from_slice(&copy[first..][..0x1_0000]);
    std::fs::write(&path, lonely)?;
    let output = fve()
        .arg("info")
        .arg(&path)
        .args(["--metadata", "0x200000"])
        .output()?;
    assert_status(&output, 2);
    assert!(text(&output.stderr).contains("--volume-start"));
    let answer = scanned(&path);
    assert_eq!(answer["volumes"][0]["start_is_proved"], false);
    assert_eq!(
        answer["volumes"][0]["other_starts"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    Ok(())
}

#[trial("never writes to a volume that was opened by its metadata")]
fn never_writes() -> Result<(), Failed> {
    let volume = sample();
    let directory = tempfile::tempdir()?;
    let path = without_boot_record(&volume).save(directory.path());
    let before = std::fs::read(&path)?;
    let opens = arguments(&scanned(&path));
    let bek = volume.bek();
    let new = directory.path().join("new.txt");
    let mut commands = vec![fve(), fve()];
    commands[0]
        .args(["protector", "add"])
        .arg(&path)
        .args(&opens);
    commands[0]
        .arg("--recovery-password-to")
        .arg(&new)
        .arg("--startup-key")
        .arg(&bek);
    let place = tempfile::tempdir()?;
    commands[1]
        .args(["mount", "--volume"])
        .arg(&path)
        .arg(place.path())
        .args(&opens);
    commands[1]
        .args(["--read-write", "--startup-key"])
        .arg(&bek);
    for command in &mut commands {
        let output = command.output()?;
        assert_status(&output, 2);
        assert!(text(&output.stderr).contains("only be read") || cfg!(not(feature = "fuse")));
    }
    assert_eq!(std::fs::read(&path)?, before);
    Ok(())
}

#[trial("distinguishes a source without volumes from one without metadata")]
fn says_what_is_missing() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("zeros");
    std::fs::write(&path, vec![0; 0x10_0000])?;
    let output = fve().args(["repair", "scan"]).arg(&path).output()?;
    assert_status(&output, 3);
    let mut copy = VolumeCopy::of(&sample());
    for offset in copy.offsets() {
        copy.bytes[offset..][..512].fill(0);
    }
    let path = copy.save(directory.path());
    let output = fve()
        .args(["repair", "scan", "--json"])
        .arg(&path)
        .output()?;
    assert_status(&output, 6);
    assert_eq!(json(&output)["boot_records"][0], 0);
    // The help of other commands names 'repair scan'.
    let path = without_boot_record(&sample()).save(directory.path());
    let output = fve().arg("info").arg(&path).output()?;
    assert_status(&output, 3);
    assert!(text(&output.stderr).contains("repair scan"));
    Ok(())
}

/// `fve repair rebuild-header` with the volume's startup key.
fn rebuild(volume: &Entry, path: &Path, to: &Path, more: &[&str]) -> Output {
    fve()
        .args(["repair", "rebuild-header"])
        .arg(path)
        .args(more)
        .arg("--startup-key")
        .arg(volume.bek())
        .arg("--to")
        .arg(to)
        .output()
        .expect("fve")
}

#[trial("rebuilds the header for a copy of the source")]
fn rebuilds_a_header() -> Result<(), Failed> {
    for name in ["xts-128", "elephant-128-4k"] {
        let volume = testdata::volume(name);
        let directory = tempfile::tempdir()?;
        let path = without_boot_record(&volume).save(directory.path());
        let before = std::fs::read(&path)?;
        let header = directory.path().join("header");
        assert_status(&rebuild(&volume, &path, &header, &[]), 0);
        let header = std::fs::read(header)?;
        assert_eq!(header.len(), volume.sector_size as usize);
        let mut whole = before.clone();
        whole[..header.len()].copy_from_slice(&header);
        let copy = directory.path().join("copy");
        std::fs::write(&copy, &whole)?;
        assert_eq!(decrypted(&volume, &copy, &[]), volume.plaintext_sha256);
        // The same with --whole.
        let second = directory.path().join("whole");
        let output = rebuild(&volume, &path, &second, &["--whole", "--json"]);
        assert_status(&output, 0);
        assert_eq!(json(&output)["proved"], true);
        assert_eq!(std::fs::read(&second)?, whole);
        // An existing file is not overwritten.
        assert_status(&rebuild(&volume, &path, &second, &[]), 2);
        assert_eq!(std::fs::read(&path)?, before);
    }
    Ok(())
}

#[trial("writes no header that is not confirmed by a key")]
fn writes_nothing_unconfirmed() -> Result<(), Failed> {
    let (volume, other) = (sample(), testdata::volume("xts-256"));
    let directory = tempfile::tempdir()?;
    let path = without_boot_record(&volume).save(directory.path());
    let to = directory.path().join("header");
    assert_status(&rebuild(&other, &path, &to, &[]), 4);
    assert!(!to.exists());
    Ok(())
}

#[trial("the error map lists what a truncated image lacks")]
fn maps_a_truncated_image() -> Result<(), Failed> {
    let volume = sample();
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("cut.img");
    let there = 0x6_8000;
    std::fs::write(&path, &VolumeCopy::of(&volume).bytes[..there])?;
    let (out, map) = (directory.path().join("out"), directory.path().join("map"));
    let output = decrypt_with_map(&volume, &path, &out, &map);
    assert_status(&output, 5);
    let map = std::fs::read_to_string(map)?;
    let rows: Vec<_> = map
        .lines()
        .filter(|row| !row.starts_with('#'))
        .skip(1)
        .collect();
    assert_eq!(
        rows,
        ["0x00000000  0x00068000  +", "0x00068000  0x00008000  ?"]
    );
    Ok(())
}

fn decrypt_with_map(volume: &Entry, source: &Path, out: &Path, map: &Path) -> Output {
    fve()
        .arg("decrypt")
        .arg(source)
        .arg(out)
        .arg("--startup-key")
        .arg(volume.bek())
        .arg("--error-map")
        .arg(map)
        .output()
        .expect("fve")
}

/// Volumes made by Windows, with the boot record and all metadata copies but one overwritten.
#[trial(
    "volumes of Windows open without their boot record",
    needs(trials::corpus)
)]
fn windows() -> Result<(), Failed> {
    let mut opened = 0;
    for volume in corpus::volumes().unwrap() {
        let Some(vmk) = &volume.vmk_hex else { continue };
        // The others have incomplete metadata or maps, or are too large for a quick test.
        let fits =
            volume.metadata_version == 2 && !volume.must_be_refused() && volume.size < 1 << 28;
        if !fits || volume.encrypted_extent == 0 {
            continue;
        }
        let vmk: Vec<u8> = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&vmk[at..at + 2], 16).unwrap())
            .collect();
        let source: Arc<dyn ReadAt> = Arc::new(FileSource::open(&volume.path)?);
        let mut damaged = MemoryOverlay::new(source);
        damaged.write(0, &[0; 512])?;
        let readable = |offset: &&u64| **offset + 0x1_0000 <= volume.size;
        let copies: Vec<_> = volume.metadata_offsets.iter().filter(readable).collect();
        for gone in copies.iter().skip(1) {
            damaged.write(**gone, &[0; 512])?;
        }
        // The first two copies of this volume are already damaged.
        if volume.name.ends_with("-crc") {
            continue;
        }
        let damaged: Arc<dyn ReadAt> = Arc::new(damaged);
        let scan = scan(&damaged, Scope::LikelyPlacesFirst, &|_| {});
        let found = scan
            .volumes
            .first()
            .unwrap_or_else(|| panic!("{}", volume.name));
        assert_eq!(found.start, 0, "{}", volume.name);
        assert!(
            found
                .id
                .to_string()
                .eq_ignore_ascii_case(&volume.volume_guid)
        );
        let volume_found = found
            .open(&damaged)
            .map_err(|error| format!("{}: {error}", volume.name))?;
        let vmk = Vmk::from_slice(&vmk).expect("VMK");
        let unlocked =
            volume_found.unlock(&[Box::new(RawVmk::new(vmk))], &UnlockOptions::default())?;
        assert_eq!(
            hash_of(&unlocked),
            volume.expected_sha256,
            "{}",
            volume.name
        );
        opened += 1;
    }
    assert!(opened >= 15, "only {opened}");
    Ok(())
}

/// The distances between the metadata copies show that the volume begins before the source.
#[trial(
    "a volume of Windows without its beginning shows what is present",
    needs(trials::corpus)
)]
fn windows_headless() -> Result<(), Failed> {
    const MISSING: usize = 1 << 20;
    let sample = corpus::volumes()
        .unwrap()
        .into_iter()
        .find(|volume| volume.name == "made-ntfs-xts128")
        .expect("sample");
    let vmk = sample.vmk_hex.as_ref().expect("VMK");
    let vmk: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&vmk[at..at + 2], 16).unwrap())
        .collect();
    let bytes = std::fs::read(&sample.path)?;
    let unlocked = |volume: fve::volume::Volume| {
        let vmk = Vmk::from_slice(&vmk).expect("VMK");
        volume.unlock(&[Box::new(RawVmk::new(vmk))], &UnlockOptions::default())
    };
    let headless: Arc<dyn ReadAt> = Arc::new(bytes[MISSING..].to_vec());
    let scan = scan(&headless, Scope::Everything, &|_| {});
    let found = scan.volumes.first().expect("volume");
    assert_eq!(found.start, -(MISSING as i64));
    assert!(found.evidence.is_proof());
    let cut = unlocked(found.open(&headless)?)?;
    let whole = unlocked(fve::volume::Volume::from_source(Arc::new(bytes))?)?;
    assert_eq!(cut.size(), whole.size());
    // The moved boot sectors are present; what follows them is not.
    let (mut got, mut expected) = (vec![0; MISSING], vec![0; MISSING]);
    cut.read_exact_at(0, &mut got[..0x2000])?;
    whole.read_exact_at(0, &mut expected[..0x2000])?;
    assert_eq!(got[..0x2000], expected[..0x2000]);
    for missing in [0x2000, 0x1_0000, MISSING as u64 - 512] {
        assert!(cut.read_exact_at(missing, &mut got[..512]).is_err());
    }
    for at in (MISSING as u64..whole.size()).step_by(MISSING) {
        cut.read_exact_at(at, &mut got)?;
        whole.read_exact_at(at, &mut expected)?;
        assert!(got == expected, "{at:#x}");
    }
    Ok(())
}

fn hash_of(unlocked: &Unlocked) -> String {
    struct Reader<'a>(&'a Unlocked, u64);
    impl Read for Reader<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let left = self.0.available() - self.1;
            let len = usize::try_from(left).unwrap().min(buf.len());
            self.0
                .read_exact_at(self.1, &mut buf[..len])
                .map_err(std::io::Error::other)?;
            self.1 += len as u64;
            Ok(len)
        }
    }
    common::sha256(Reader(unlocked, 0)).expect("hash")
}

/// Other programs open copies with a rebuilt header.
#[trials]
fn other_programs_agree() -> Vec<Trial> {
    let directory = &harness::directory();
    let mut trials = Vec::new();
    for name in ["xts-128", "cbc-128", "encrypt-on-write"] {
        let mut volume = testdata::volume(name);
        let path = without_boot_record(&volume).save(directory);
        let copy = directory.join(format!("{name}.img"));
        let secret = directory.join("secret");
        let credential = volume.credentials[0].clone();
        std::fs::write(&secret, &credential.value).expect("secret");
        let output = fve()
            .args(["repair", "rebuild-header", "--whole"])
            .arg(&path)
            .arg("--password-file")
            .arg(&secret)
            .arg("--to")
            .arg(&copy)
            .output()
            .expect("fve");
        assert_status(&output, 0);
        volume.file = copy;
        for peer in [
            Peer::Dislocker,
            Peer::Cryptsetup,
            Peer::LibbdeInfo,
            Peer::Dissect,
        ] {
            trials.push(peers::trial(peer, &volume, &credential, peer.missing()));
        }
    }
    trials
}

impl VolumeCopy {
    /// Offsets of the metadata copies of the undamaged volume.
    fn offsets_of(&self, volume: &Entry) -> [usize; 3] {
        VolumeCopy::of(volume).offsets()
    }
}

/// Sources with sectors that cannot be read, as on a failing disk.
#[cfg(feature = "fuse")]
mod failing {
    use std::io;
    use std::thread::JoinHandle;

    use fve::serve::fuse::{Mount, MountOptions};

    use super::*;

    fn missing() -> Option<Missing> {
        trials::fuse().or_else(|| trials::programs(&["ddrescue", "ddrescuelog"]))
    }

    /// A source in memory, of which some ranges cannot be read.
    struct Unreadable {
        bytes: Vec<u8>,
        bad: Vec<Range<u64>>,
    }

    impl ReadAt for Unreadable {
        fn size(&self) -> u64 {
            self.bytes.len() as u64
        }

        fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
            let end = offset + buf.len() as u64;
            if self
                .bad
                .iter()
                .any(|bad| bad.start < end && offset < bad.end)
            {
                return Err(rustix::io::Errno::IO.into());
            }
            self.bytes.read_exact_at(offset, buf)
        }
    }

    /// A mounted file with unreadable sectors. It is unmounted when this value is dropped.
    struct FailingDisk {
        directory: tempfile::TempDir,
        server: Option<JoinHandle<()>>,
    }

    impl FailingDisk {
        fn new(bytes: Vec<u8>, bad: &[Range<u64>]) -> Self {
            let directory = tempfile::tempdir().expect("directory");
            let source = Unreadable {
                bytes,
                bad: bad.to_vec(),
            };
            // Without the page cache, an error concerns a single sector instead of a page.
            let options = MountOptions::new("failing").direct_io(true);
            let volume = Arc::new(Unlocked::plain(Arc::new(source)).unwrap());
            let mount = Mount::new(volume, directory.path(), &options).expect("mount");
            let server = std::thread::spawn(move || mount.serve().expect("serve"));
            Self {
                directory,
                server: Some(server),
            }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("volume")
        }
    }

    impl Drop for FailingDisk {
        fn drop(&mut self) {
            let unmount = fve().arg("unmount").arg(self.directory.path()).output();
            let done = unmount.is_ok_and(|output| output.status.success());
            if let Some(server) = self.server.take().filter(|_| done) {
                let _ = server.join();
            }
        }
    }

    /// Some data sectors, and a part of a metadata copy.
    fn bad(volume: &Entry) -> Vec<Range<u64>> {
        let copy = VolumeCopy::of(volume).offsets()[1] as u64;
        vec![0x4200..0x4600, copy..copy + 512, 0xC800..0xCA00]
    }

    #[trial("skips and maps unreadable sectors", needs(missing))]
    fn skips_and_maps() -> Result<(), Failed> {
        let volume = sample();
        let bad = bad(&volume);
        let disk = FailingDisk::new(VolumeCopy::of(&volume).bytes, &bad);
        let directory = tempfile::tempdir()?;
        let (out, map) = (directory.path().join("out"), directory.path().join("map"));
        let output = decrypt_with_map(&volume, &disk.path(), &out, &map);
        assert_status(&output, 5);
        let said = text(&output.stderr);
        assert!(said.contains("1536 of the volume's"), "{said}");
        // Metadata areas are zeros in the plaintext, even if they cannot be read.
        let lost = [bad[0].clone(), bad[2].clone()];
        let mut expected = vec![0; usize::try_from(volume.size)?];
        volume
            .unlock(Some(volume.credential(Kind::StartupKey)))?
            .read_exact_at(0, &mut expected)?;
        for range in &lost {
            let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
            assert!(expected[range.clone()].iter().any(|byte| *byte != 0));
            expected[range].fill(0);
        }
        assert!(std::fs::read(&out)? == expected);
        check_map(&map, &lost)
    }

    /// An image of such a disk, made by ddrescue, reads as the disk does if its map is given: the
    /// places that were not rescued are errors, not plaintext made of what the image holds there.
    #[trial("reads an image as its map by ddrescue says", needs(missing))]
    fn rescued_image() -> Result<(), Failed> {
        let volume = sample();
        let bad = bad(&volume);
        let disk = FailingDisk::new(VolumeCopy::of(&volume).bytes, &bad);
        let directory = tempfile::tempdir()?;
        let place = |name: &str| directory.path().join(name);
        let rescued = Command::new("ddrescue")
            .args(["--sector-size=512", "--quiet"])
            .args([disk.path(), place("image"), place("rescued")])
            .output()?;
        assert!(rescued.status.success(), "{}", text(&rescued.stderr));
        let mut image = std::fs::read(place("image"))?;
        for range in &bad {
            image[usize::try_from(range.start)?..usize::try_from(range.end)?].fill(0xA5);
        }
        std::fs::write(place("image"), &image)?;

        let decrypt = |out: &str, options: &[&std::ffi::OsStr]| {
            let mut command = fve();
            command.arg("decrypt").arg(place("image")).arg(place(out));
            command.arg("--startup-key").arg(volume.bek());
            command.args(options).output().expect("fve")
        };
        let (rescue_map, error_map) = (place("rescued"), place("errors"));
        let with_map = ["--rescue-map".as_ref(), rescue_map.as_os_str()];
        let refused = decrypt("refused", &with_map);
        assert_status(&refused, 5);
        let said = text(&refused.stderr);
        assert!(said.contains("was not rescued"), "{said}");
        assert!(said.contains("warning: 2048 of the"), "{said}");
        assert!(!place("refused").exists());

        let error_map_option = ["--error-map".as_ref(), error_map.as_os_str()];
        let output = decrypt("out", &[with_map, error_map_option].concat());
        assert_status(&output, 5);
        let mut expected = vec![0; usize::try_from(volume.size)?];
        volume
            .unlock(Some(volume.credential(Kind::StartupKey)))?
            .read_exact_at(0, &mut expected)?;
        let lost = [bad[0].clone(), bad[2].clone()];
        for range in &lost {
            expected[usize::try_from(range.start)?..usize::try_from(range.end)?].fill(0);
        }
        assert!(std::fs::read(place("out"))? == expected);
        check_map(&error_map, &lost)
    }

    /// Checks that ddrescuelog lists the same sectors.
    fn check_map(map: &Path, lost: &[Range<u64>]) -> Result<(), Failed> {
        let output = Command::new("ddrescuelog")
            .args(["--list-blocks=-"])
            .arg(map)
            .output()?;
        assert!(output.status.success(), "{}", text(&output.stderr));
        let sectors: Vec<u64> = text(&output.stdout)
            .lines()
            .map(|row| row.trim().parse().expect("number"))
            .collect();
        let expected: Vec<u64> = lost
            .iter()
            .flat_map(|range| range.start / 512..range.end / 512)
            .collect();
        assert_eq!(sectors, expected);
        Ok(())
    }

    #[trial("without a map, ends at an unreadable sector", needs(missing))]
    fn ends_without_a_map() -> Result<(), Failed> {
        let volume = sample();
        let disk = FailingDisk::new(VolumeCopy::of(&volume).bytes, &bad(&volume));
        let directory = tempfile::tempdir()?;
        let out = directory.path().join("out");
        let mut command = fve();
        command.arg("decrypt").arg(disk.path()).arg(&out);
        let output = command.arg("--startup-key").arg(volume.bek()).output()?;
        assert_status(&output, 5);
        assert!(!out.exists());
        Ok(())
    }

    #[trial("scan continues after unreadable sectors", needs(missing))]
    fn scan_continues() -> Result<(), Failed> {
        let volume = sample();
        let disk = FailingDisk::new(VolumeCopy::of(&volume).bytes, &[0..512, 0x4200..0x4600]);
        let answer = scanned(&disk.path());
        assert_eq!(answer["volumes"][0]["copies"].as_array().unwrap().len(), 3);
        assert_eq!(answer["unreadable"][0]["start"], 0);
        let opens = arguments(&answer);
        let output = fve()
            .arg("unlock")
            .arg(disk.path())
            .args(&opens)
            .arg("--startup-key")
            .arg(volume.bek())
            .output()?;
        assert_status(&output, 0);
        Ok(())
    }

    #[trial("mounts a volume with an unreadable boot record", needs(missing))]
    fn mounts() -> Result<(), Failed> {
        let volume = sample();
        let first_two = [0..512, 512..1024];
        let disk = FailingDisk::new(VolumeCopy::of(&volume).bytes, &first_two);
        let opens = arguments(&scanned(&disk.path()));
        let bek = volume.bek();
        let mut words: Vec<&str> = opens.iter().map(String::as_str).collect();
        words.extend(["--startup-key", bek.to_str().unwrap()]);
        let mounted = Mounted::volume(&disk.path(), &words);
        let hash = common::sha256(std::fs::File::open(mounted.volume_file())?)?;
        assert_eq!(hash, volume.plaintext_sha256);
        mounted.unmount();
        Ok(())
    }
}

fn main() -> ExitCode {
    common::harness::main()
}
