//! No wrong plaintext: volumes whose unauthenticated fields were changed by an attacker without a
//! key. They are refused with a reason, or the cost is bounded, or only correct data is shown.
//! `docs/unauthenticated.md` names the tests of this file.

use std::io::Write as _;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common;
use crate::common::damage::VolumeCopy;
use crate::common::fve;
use crate::common::output::{assert_status, json, text};
use crate::common::testdata::{self, Entry, Kind, KnownCredential};
use crate::common::trials::trial;
use tempfile::TempDir;

const NORMAL: [u8; 16] = [
    0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01,
];
const ENCRYPT_ON_WRITE: [u8; 16] = [
    0x3b, 0x4d, 0xa8, 0x92, 0x80, 0xdd, 0x0e, 0x4d, 0x9e, 0x4e, 0xb1, 0xe3, 0x28, 0x4e, 0xae, 0xd8,
];

fn directory() -> TempDir {
    tempfile::tempdir().expect("directory")
}

fn save(directory: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join("volume.img");
    std::fs::write(&path, bytes).expect("write");
    path
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("fve")
}

/// `fve COMMAND SOURCE …` with the volume's startup key, which needs no key stretching, or its
/// password.
fn with_key(command: &[&str], path: &Path, volume: &Entry, more: &[&str]) -> Output {
    let mut command_line = fve();
    command_line.args(command).arg(path).args(more);
    let has_key = |credential: &KnownCredential| credential.kind == Kind::StartupKey;
    if volume.credentials.iter().any(has_key) {
        return run(command_line.arg("--startup-key").arg(volume.bek()));
    }
    let mut child = command_line
        .args(["--password-file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("fve");
    let password = &volume.credential(Kind::Password).value;
    let mut stdin = child.stdin.take().expect("stdin");
    // A command that fails before it reads standard input closes the pipe.
    let _ = stdin.write_all(password.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("fve")
}

/// Every command that shows plaintext ends with this status and a message with these words, and
/// writes nothing.
#[track_caller]
fn assert_refused(volume: &Entry, bytes: &[u8], status: i32, words: &[&str]) {
    let directory = directory();
    let path = save(&directory, bytes);
    let out = directory.path().join("out");
    let target = out.display().to_string();
    let mount = directory.path().join("mount");
    std::fs::create_dir(&mount).expect("directory");
    let place = mount.display().to_string();
    let mut commands = vec![
        with_key(&["unlock"], &path, volume, &[]),
        with_key(&["decrypt"], &path, volume, &[&target]),
        with_key(&["unlock"], &path, volume, &["--accept-damaged-metadata"]),
    ];
    if cfg!(feature = "fuse") {
        commands.push(with_key(&["mount", "--volume"], &path, volume, &[&place]));
        let output = with_key(
            &["mount", "--volume"],
            &path,
            volume,
            &[&place, "--read-write"],
        );
        // A volume with a map in use is never written to, whatever the map says.
        match output.status.code() {
            Some(3) => assert!(text(&output.stderr).contains("cannot be written to")),
            _ => commands.push(output),
        }
    }
    for output in commands {
        assert_status(&output, status);
        let said = text(&output.stderr);
        for word in words {
            assert!(said.contains(word), "'{word}' is not in: {said}");
        }
    }
    assert!(!out.exists());
    // Commands that need no key still work.
    assert_status(&run(fve().arg("info").arg(&path)), 0);
    assert_eq!(std::fs::read(&path).expect("read"), bytes);
}

/// Writes a CRC-32 that is computed with its own field as zeros.
fn seal(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let crc = crc32fast::hash(bytes).to_le_bytes();
    bytes[at..at + 4].copy_from_slice(&crc);
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The header of a conversion map (docs/format.md §5.6).
fn information(copies: [u64; 2], bitmaps: &[u64], chunk: u32) -> Vec<u8> {
    let len = 0x38 + 8 * bitmaps.len();
    let mut bytes = vec![0; len];
    put(&mut bytes, 0, b"FVE-EOW\0");
    put(&mut bytes, 0x08, &0x38u16.to_le_bytes());
    put(
        &mut bytes,
        0x0A,
        &u16::try_from(len).expect("size").to_le_bytes(),
    );
    put(&mut bytes, 0x0C, &512u32.to_le_bytes());
    put(&mut bytes, 0x10, &512u32.to_le_bytes());
    put(&mut bytes, 0x14, &chunk.to_le_bytes());
    let regions = u32::try_from(bitmaps.len()).expect("regions");
    put(&mut bytes, 0x20, &regions.to_le_bytes());
    put(
        &mut bytes,
        0x28,
        copies.map(u64::to_le_bytes).as_flattened(),
    );
    for (at, bitmap) in (0x38..).step_by(8).zip(bitmaps) {
        put(&mut bytes, at, &bitmap.to_le_bytes());
    }
    seal(&mut bytes, 0x24);
    bytes
}

/// The bitmap of a region, with a current and an outdated record.
fn bitmap(region: Range<u64>, chunk: u32, encrypted: impl Fn(u64) -> bool) -> Vec<u8> {
    let chunks = (region.end - region.start).div_ceil(chunk.into());
    let words = usize::try_from(chunks.div_ceil(32)).expect("words");
    let record_len = (0x24 + 4 * words).next_multiple_of(512);
    let len = 0x200 + 2 * record_len;
    let mut bytes = vec![0; len];
    put(&mut bytes, 0, b"FVE-EOWBM\0");
    put(&mut bytes, 0x0A, &0x3Cu16.to_le_bytes());
    put(
        &mut bytes,
        0x0C,
        &u32::try_from(len).expect("size").to_le_bytes(),
    );
    put(&mut bytes, 0x14, &region.start.to_le_bytes());
    put(&mut bytes, 0x1C, &(region.end - region.start).to_le_bytes());
    let record_len = u32::try_from(record_len).expect("size");
    put(&mut bytes, 0x2C, &0x200u32.to_le_bytes());
    put(&mut bytes, 0x30, &(0x200 + record_len).to_le_bytes());
    put(&mut bytes, 0x34, &record_len.to_le_bytes());
    seal(&mut bytes[..0x200], 0x38);
    for (sequence, at) in [(2u64, 0x200), (1, 0x200 + record_len)] {
        let record = &mut bytes[at as usize..(at + record_len) as usize];
        put(record, 0, b"FVE-EOWBR\0");
        put(record, 0x0A, &0x24u16.to_le_bytes());
        put(record, 0x0C, &record_len.to_le_bytes());
        put(
            record,
            0x10,
            &u32::try_from(chunks).expect("chunks").to_le_bytes(),
        );
        put(record, 0x14, &sequence.to_le_bytes());
        for chunk in (0..chunks).filter(|chunk| encrypted(*chunk)) {
            record[0x24 + chunk as usize / 8] |= 1 << (chunk % 8);
        }
        seal(record, 0x20);
    }
    bytes
}

/// Adds a map at `at`, for the bytes up to `end`, to a fully encrypted volume.
fn with_map(bytes: &mut Vec<u8>, at: u64, end: u64, chunk: u32, encrypted: impl Fn(u64) -> bool) {
    let copies = [at, at + 0x1000];
    put(bytes, 0xA0, &ENCRYPT_ON_WRITE);
    put(bytes, 0xC8, copies.map(u64::to_le_bytes).as_flattened());
    let head = information(copies, &[at + 0x2000], chunk);
    let map = bitmap(0..end, chunk, encrypted);
    let needed = at as usize + 0x2000 + map.len();
    if bytes.len() < needed {
        bytes.resize(needed, 0);
    }
    put(bytes, at as usize, &head);
    put(bytes, at as usize + 0x1000, &head);
    put(bytes, at as usize + 0x2000, &map);
}

#[trial]
fn refuses_a_map_on_a_volume_without_one() {
    let volume = testdata::volume("xts-128");
    let mut bytes = VolumeCopy::of(&volume).bytes;
    let end = bytes.len() as u64;
    with_map(&mut bytes, 0x5_0000, end, 4096, |chunk| chunk != 0x4C);
    put(&mut bytes, 0x4_C000, &b"ATTACKER CONTENT".repeat(256));
    assert_refused(&volume, &bytes, 6, &["conversion map", "boot record"]);
    // Also a map that marks everything as encrypted: its own areas would be shown as zeros.
    let mut bytes = VolumeCopy::of(&volume).bytes;
    with_map(&mut bytes, 0x5_0000, end, 4096, |_| true);
    assert_refused(&volume, &bytes, 6, &["conversion map", "boot record"]);
}

#[trial]
fn does_not_read_a_volume_without_its_map() {
    for name in ["encrypt-on-write", "encrypt-on-write-plain-boot"] {
        let volume = testdata::volume(name);
        let mut bytes = VolumeCopy::of(&volume).bytes;
        put(&mut bytes, 0xA0, &NORMAL);
        assert_refused(&volume, &bytes, 6, &["conversion map", "boot record"]);
        // Opened by its metadata alone, the volume is read correctly, and is read-only.
        let directory = directory();
        let path = save(&directory, &bytes);
        let scan = run(fve().args(["repair", "scan", "--json"]).arg(&path));
        let found = &json(&scan)["volumes"][0];
        let metadata = format!("{}", found["copies"][0]["offset"]);
        let out = directory.path().join("out");
        let output = with_key(
            &["decrypt"],
            &path,
            &volume,
            &[&out.display().to_string(), "--metadata", &metadata],
        );
        assert_status(&output, 0);
        let hash = common::sha256(std::fs::File::open(out).expect("out")).expect("hash");
        assert_eq!(hash, volume.plaintext_sha256);
    }
}

#[trial]
fn unencrypted_chunks_need_a_conversion_under_way() {
    let volume = testdata::volume("encrypt-on-write");
    let mut copy = VolumeCopy::of(&volume);
    let block = copy.offsets()[0];
    let datums = copy.datums();
    let mut virtualization = datums
        .iter()
        .filter(|at| copy.u16(block + **at + 2) == 0x0F);
    let flags = *virtualization.next().expect("datum") + 0x20;
    assert_eq!(copy.u64(block + flags), 0x14A);
    copy.edit_all(flags, &0x04Au64.to_le_bytes());
    let directory = directory();
    let path = save(&directory, &copy.bytes);
    let output = with_key(&["unlock"], &path, &volume, &["--accept-damaged-metadata"]);
    assert_status(&output, 6);
    assert!(text(&output.stderr).contains("no conversion is under way"));
}

#[trial]
fn warns_of_unencrypted_chunks_during_a_conversion() {
    let volume = testdata::volume("encrypt-on-write");
    let output = with_key(&["unlock", "--json"], &volume.file, &volume, &[]);
    assert_status(&output, 0);
    let warnings = json(&output)["warnings"]
        .as_array()
        .expect("warnings")
        .clone();
    let about_map = warnings.iter().filter(|warning| {
        warning
            .as_str()
            .is_some_and(|text| text.contains("no key proves"))
    });
    assert_eq!(about_map.count(), 1, "{warnings:?}");
}

#[trial]
fn a_map_with_only_encrypted_chunks_does_not_make_a_volume_writable() {
    let volume = testdata::volume("encrypt-on-write");
    let mut bytes = VolumeCopy::of(&volume).bytes;
    for record in [0x4_A200, 0x4_A400, 0x4_C200, 0x4_C400, 0x4_E200, 0x4_E400] {
        assert!(bytes[record..].starts_with(b"FVE-EOWBR\0"));
        bytes[record + 0x24..][..4].fill(0xFF);
        seal(&mut bytes[record..record + 0x200], 0x20);
    }
    let directory = directory();
    let path = save(&directory, &bytes);
    let output = with_key(&["unlock"], &path, &volume, &[]);
    assert_status(&output, 0);
    assert!(text(&output.stderr).contains("no key proves the map"));
    if cfg!(feature = "fuse") {
        let place = directory.path().join("mount");
        std::fs::create_dir(&place).expect("directory");
        let place = place.display().to_string();
        let output = with_key(
            &["mount", "--volume"],
            &path,
            &volume,
            &[&place, "--read-write"],
        );
        assert_status(&output, 3);
        assert!(text(&output.stderr).contains("cannot be written to"));
    }
    assert_eq!(std::fs::read(&path).expect("read"), bytes);
}

#[trial]
fn regions_consist_of_whole_sectors() {
    let volume = testdata::volume("encrypt-on-write");
    for (at, value) in [(0x14, 0x207Fu64), (0x1C, 0x1_DF81), (0x24, 0x4_B07F)] {
        let mut bytes = VolumeCopy::of(&volume).bytes;
        let start = 0x4_A000;
        assert!(bytes[start..].starts_with(b"FVE-EOWBM\0"));
        put(&mut bytes, start + at, &value.to_le_bytes());
        seal(&mut bytes[start..start + 0x200], 0x38);
        assert_refused(&volume, &bytes, 6, &["conversion map", "whole sectors"]);
    }
}

#[trial]
fn a_map_is_inside_its_volume_and_overlaps_nothing() {
    let volume = testdata::volume("encrypt-on-write");
    let metadata = VolumeCopy::of(&volume).offsets()[0] as u64;
    for (bitmap, at, value, words) in [
        // A region that overlaps the next one, and one beyond the end.
        (0x4_A000, 0x1C, 0x1_F000u64, "overlaps"),
        (0x4_E000, 0x1C, 0x4_E200, "beyond the end"),
        // A log that overlaps the next bitmap or a metadata copy, or is beyond the end.
        (0x4_A000, 0x24, 0x4_C000, "overlaps"),
        (0x4_A000, 0x24, metadata, "metadata"),
        (0x4_A000, 0x24, 0x100_0000, "beyond the end"),
    ] {
        let mut bytes = VolumeCopy::of(&volume).bytes;
        put(&mut bytes, bitmap + at, &value.to_le_bytes());
        seal(&mut bytes[bitmap..bitmap + 0x200], 0x38);
        assert_refused(&volume, &bytes, 6, &["conversion map", words]);
    }
    for (at, value, words) in [(0x14, 512u32, "chunks of"), (0x18, 0x1000_0000, "logs of")] {
        let mut bytes = VolumeCopy::of(&volume).bytes;
        for head in [0x4_8000, 0x4_9000] {
            put(&mut bytes, head + at, &value.to_le_bytes());
            seal(&mut bytes[head..head + 0x50], 0x24);
        }
        assert_refused(&volume, &bytes, 6, &[words]);
    }
}

/// `fve info` and `fve unlock` with a quarter of a gigabyte of address space.
#[track_caller]
fn assert_bounded(path: &Path, volume: &Entry) {
    for command in ["info", "unlock"] {
        let mut limited = Command::new("sh");
        limited
            .args(["-c", "ulimit -v 262144; exec \"$@\"", "sh"])
            .arg(fve().get_program())
            .arg(command)
            .arg(path);
        if command == "unlock" {
            limited.arg("--startup-key").arg(volume.bek());
        }
        let started = std::time::Instant::now();
        let output = run(&mut limited);
        let said = text(&output.stderr);
        assert_eq!(output.status.signal(), None, "{said}");
        assert!(matches!(output.status.code(), Some(0 | 6)), "{said}");
        assert!(started.elapsed().as_secs() < 60);
    }
}

#[trial]
fn thousands_of_regions_with_the_same_bitmap_cost_no_more_than_one() {
    let volume = testdata::volume("xts-128");
    let chunks: u64 = 0x1F_F000 * 8;
    let chunk = 4096;
    let mut bytes = VolumeCopy::of(&volume).bytes;
    let at = bytes.len() as u64;
    let copies = [at, at + 0x1_0000];
    let map = at + 0x2_0000;
    put(&mut bytes, 0xA0, &ENCRYPT_ON_WRITE);
    put(
        &mut bytes,
        0xC8,
        copies.map(u64::to_le_bytes).as_flattened(),
    );
    let head = information(copies, &[map; 8000], chunk);
    bytes.resize(map as usize, 0);
    put(&mut bytes, at as usize, &head);
    put(&mut bytes, at as usize + 0x1_0000, &head);
    bytes.extend(bitmap(0..chunks * u64::from(chunk), chunk, |chunk| {
        chunk % 2 == 0
    }));
    let directory = directory();
    let path = save(&directory, &bytes);
    assert_bounded(&path, &volume);
    let output = run(fve().arg("info").arg(&path));
    assert!(text(&output.stdout).contains("overlaps") || text(&output.stderr).contains("overlaps"));
}

#[trial]
fn refuses_a_map_with_millions_of_runs() {
    let volume = testdata::volume("xts-128");
    let mut bytes = VolumeCopy::of(&volume).bytes;
    let at = bytes.len() as u64;
    let end = 0x1F_F000 * 8 * 4096;
    with_map(&mut bytes, at, end, 4096, |chunk| chunk % 2 == 0);
    let directory = directory();
    let path = save(&directory, &bytes);
    std::fs::File::options()
        .write(true)
        .open(&path)
        .expect("open")
        .set_len(end)
        .expect("size");
    assert_bounded(&path, &volume);
    let output = run(fve().arg("info").arg(&path));
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("change places"), "{said}");
}

#[trial]
fn a_vista_boot_record_shows_no_unencrypted_sectors_of_a_later_volume() {
    let volume = testdata::volume("xts-128");
    let mut copy = VolumeCopy::of(&volume);
    let first = copy.offsets()[0] as u64;
    let sectors = copy.bytes.len() as u64 / 512 - 1;
    let bytes = &mut copy.bytes;
    put(bytes, 0, &[0xEB, 0x52, 0x90]);
    put(bytes, 0x0B, &512u16.to_le_bytes());
    put(bytes, 0x0D, &[1]);
    put(bytes, 0x28, &sectors.to_le_bytes());
    put(bytes, 0x38, &(first / 512).to_le_bytes());
    bytes[0xA0..0xB0].fill(0);
    assert_refused(&volume, bytes, 6, &["Windows Vista"]);
}

#[trial]
fn refuses_a_sector_size_that_contradicts_the_metadata() {
    for (name, size) in [
        ("xts-128", 1024u16),
        ("xts-128", 4096),
        ("cbc-128", 1024),
        ("elephant-128", 2048),
        ("xts-128-4k", 512),
        ("cbc-128-4k", 512),
    ] {
        let volume = testdata::volume(name);
        let mut bytes = VolumeCopy::of(&volume).bytes;
        put(&mut bytes, 0x0B, &size.to_le_bytes());
        assert_refused(&volume, &bytes, 6, &["sectors have"]);
    }
}

/// The output of `fve decrypt --error-map`, and its exit status.
fn decrypted(path: &Path, volume: &Entry, more: &[&str]) -> (Output, Vec<u8>) {
    let directory = directory();
    let out = directory.path().join("out");
    let map = directory.path().join("map");
    let (target, places) = (out.display().to_string(), map.display().to_string());
    let mut arguments = vec![target.as_str(), "--error-map", places.as_str()];
    arguments.extend(more);
    let output = with_key(&["decrypt"], path, volume, &arguments);
    (output, std::fs::read(out).unwrap_or_default())
}

#[trial]
fn an_image_without_its_beginning_shows_what_is_present() {
    let volume = testdata::volume("xts-128");
    let bytes = VolumeCopy::of(&volume).bytes;
    let (_, whole) = decrypted(&volume.file, &volume, &[]);
    for missing in [0x1000, 0x3000] {
        let directory = directory();
        let path = save(&directory, &bytes[missing..]);
        let output = run(fve().args(["repair", "scan", "--json"]).arg(&path));
        assert_status(&output, 0);
        let found = &json(&output)["volumes"][0];
        assert_eq!(found["start"], -(missing as i64));
        assert_eq!(found["start_is_proved"], true);
        let opens = found["arguments"].as_str().expect("arguments").to_owned();
        let opens: Vec<&str> = opens.split(' ').collect();
        let (output, plain) = decrypted(&path, &volume, &opens);
        assert_eq!(plain.len(), whole.len());
        // The boot sectors were moved after the metadata, so they are present.
        let gone = if missing > 0x2000 {
            0x2000..missing
        } else {
            0..0
        };
        assert_status(&output, if gone.is_empty() { 0 } else { 5 });
        assert!(plain[gone.clone()].iter().all(|byte| *byte == 0));
        assert_eq!(plain[..gone.start], whole[..gone.start]);
        assert_eq!(plain[gone.end..], whole[gone.end..]);
        // The start alone is enough; without an error map, what is missing is an error.
        let start = format!("-{missing:#x}");
        let output = with_key(&["unlock"], &path, &volume, &["--volume-start", &start]);
        assert_status(&output, 0);
        assert!(text(&output.stderr).contains("lacks the first"));
        assert_status(
            &run(fve()
                .arg("info")
                .arg(&path)
                .args(["--volume-start", &start])),
            0,
        );
    }
}

#[trial]
fn refuses_a_start_that_the_plaintext_does_not_confirm() {
    let volume = testdata::volume("xts-128");
    let mut copy = VolumeCopy::of(&volume);
    let offsets = copy.offsets();
    copy.bytes[..512].fill(0);
    for gone in &offsets[..2] {
        copy.bytes[*gone..][..0x1_0000].fill(0xF6);
    }
    let directory = directory();
    let path = save(&directory, &copy.bytes);
    let metadata = offsets[2].to_string();
    for other in &offsets[..2] {
        let start = (offsets[2] - other).to_string();
        let place = ["--metadata", &metadata, "--volume-start", &start];
        let output = with_key(&["unlock"], &path, &volume, &place);
        assert_status(&output, 6);
        let (output, plain) = decrypted(&path, &volume, &place);
        assert_status(&output, 6);
        assert!(plain.is_empty());
    }
    // With a credential, scan finds the right start.
    let output = with_key(&["repair", "scan", "--json"], &path, &volume, &[]);
    assert_status(&output, 0);
    let found = &json(&output)["volumes"][0];
    assert_eq!(found["start"], 0);
    assert_eq!(found["start_is_proved"], true);
    assert_eq!(found["opens"], true);
}

/// If the three copies are evenly spaced, two of them fit another start as well.
#[trial]
fn evenly_spaced_copies_do_not_confirm_a_start() {
    const BEFORE: usize = 1 << 20;
    let volume = testdata::volume("xts-128");
    let intact = VolumeCopy::of(&volume);
    let offsets = intact.offsets();
    let gap = offsets[1] - offsets[0];
    assert_eq!(offsets[2] - offsets[1], gap, "the volume is of no use here");
    let mut damaged = VolumeCopy::of(&volume);
    damaged.bytes[..512].fill(0);
    damaged.bytes[offsets[0]..][..0x1_0000].fill(0);
    let directory = directory();
    for (bytes, has_boot_record) in [(&intact.bytes, true), (&damaged.bytes, false)] {
        let disk = [&[0; BEFORE], &bytes[..], &[0; BEFORE]].concat();
        let path = save(&directory, &disk);
        let place = |copy: usize, start: usize| {
            let metadata = (BEFORE + offsets[copy]).to_string();
            let start = (BEFORE + start).to_string();
            [
                "--metadata".to_owned(),
                metadata,
                "--volume-start".to_owned(),
                start,
            ]
        };
        for copy in [1, 2] {
            let wrong = place(copy, gap);
            let wrong: Vec<_> = wrong.iter().map(String::as_str).collect();
            let (output, plain) = decrypted(&path, &volume, &wrong);
            assert_status(&output, 6);
            assert!(plain.is_empty());
            let output = with_key(&["unlock"], &path, &volume, &wrong);
            assert_status(&output, 6);
            let right = place(copy, 0);
            let right: Vec<_> = right.iter().map(String::as_str).collect();
            let output = with_key(&["unlock"], &path, &volume, &right);
            assert_status(&output, 0);
        }
        let output = with_key(&["repair", "scan", "--json"], &path, &volume, &[]);
        assert_status(&output, 0);
        let found = &json(&output)["volumes"];
        assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
        assert_eq!(found[0]["start"], BEFORE);
        assert_eq!(found[0]["opens"], true);
        if has_boot_record {
            continue;
        }
        let output = run(fve().args(["repair", "scan", "--json"]).arg(&path));
        let found = &json(&output)["volumes"][0];
        assert_eq!(found["start_is_proved"], false, "{found}");
    }
}

/// Damaged metadata that is accepted may contain wrong offsets of the copies; the areas at the true
/// offsets must not be shown as plaintext.
#[trial]
fn damaged_metadata_cannot_move_the_copies() {
    let volume = testdata::volume("clear-key-only");
    let directory = directory();
    for place in 0x20..0x38 {
        let mut copy = VolumeCopy::of(&volume);
        for offset in copy.offsets() {
            copy.bytes[offset + place] ^= 0x40;
        }
        let path = save(&directory, &copy.bytes);
        let mut command = fve();
        command.args(["decrypt", "--accept-damaged-metadata"]);
        let output = run(command.arg(&path).arg("-"));
        assert_ne!(output.status.code(), Some(0), "byte {place:#x}");
        assert!(output.stdout.is_empty(), "byte {place:#x}");
    }
    // Each copy has one wrong offset, which the others contain correctly.
    let mut copy = VolumeCopy::of(&volume);
    let offsets = copy.offsets();
    for (offset, (place, value)) in offsets.into_iter().zip([(35, 69), (0x20, 1), (66, 95)]) {
        copy.bytes[offset + place] = value;
    }
    let path = save(&directory, &copy.bytes);
    let mut command = fve();
    command.args(["decrypt", "--accept-damaged-metadata"]);
    let output = run(command.arg(&path).arg("-"));
    assert_status(&output, 6);
    assert!(output.stdout.is_empty());
}

#[trial]
fn metadata_alone_gives_what_needs_no_sector() {
    let volume = testdata::volume("xts-128");
    let copy = VolumeCopy::of(&volume);
    let directory = directory();
    for offset in copy.offsets() {
        let path = save(&directory, &copy.bytes[offset..][..0x1_0000]);
        let metadata = ["--metadata", "0"];
        let output = run(fve().args(["info", "--json"]).arg(&path).args(metadata));
        assert_status(&output, 0);
        assert!(
            text(&output.stdout)
                .to_lowercase()
                .contains(&volume.volume_id)
        );
        for command in [&["recovery", "hash"][..], &["report"]] {
            let output = run(fve().args(command).arg(&path).args(metadata));
            assert_status(&output, 0);
        }
        let output = with_key(&["unlock"], &path, &volume, &metadata);
        assert_status(&output, 0);
        assert!(text(&output.stderr).contains("piece"));
        let output = with_key(&["unlock", "--json"], &path, &volume, &metadata);
        assert_eq!(json(&output)["unlocked"], true);
        let package = directory.path().join("package");
        let _ = std::fs::remove_file(&package);
        let package = package.display().to_string();
        let output = with_key(
            &["export", "key-package"],
            &path,
            &volume,
            &[&package, "--metadata", "0"],
        );
        assert_status(&output, 0);
        let (output, plain) = decrypted(&path, &volume, &metadata);
        assert_status(&output, 5);
        assert!(text(&output.stderr).contains("where the volume begins"));
        assert!(plain.is_empty());
        let output = with_key(&["repair", "scan", "--json"], &path, &volume, &[]);
        assert_status(&output, 0);
        let found = &json(&output)["volumes"][0];
        assert_eq!(found["piece"], true);
        assert_eq!(found["start_is_proved"], false);
        assert_eq!(found["opens"], true);
    }
}

#[trial]
fn scan_prints_the_options_to_open_a_volume() {
    let volume = testdata::volume("xts-128");
    let directory = directory();
    // A complete volume opens without a start.
    let path = save(&directory, &VolumeCopy::of(&volume).bytes);
    let output = run(fve().args(["repair", "scan", "--json"]).arg(&path));
    assert_eq!(json(&output)["volumes"][0]["arguments"], "");
    // Damaged metadata needs --accept-damaged-metadata.
    let mut copy = VolumeCopy::of(&volume);
    copy.edit_all(0x28 + 0x40, &[0x55; 8]);
    copy.bytes[..512].fill(0);
    let path = save(&directory, &copy.bytes);
    let output = with_key(
        &["repair", "scan", "--json"],
        &path,
        &volume,
        &["--accept-damaged-metadata"],
    );
    assert_status(&output, 0);
    let answer = json(&output);
    let found = &answer["volumes"][0];
    assert_eq!(found["opens"], true);
    let opens = found["arguments"].as_str().expect("arguments");
    assert!(opens.contains("--accept-damaged-metadata"), "{opens}");
    let opens: Vec<&str> = opens.split(' ').collect();
    assert_status(&with_key(&["unlock"], &path, &volume, &opens), 0);
}

#[trial]
fn a_key_package_opens_a_volume_without_its_boot_record() {
    let volume = testdata::volume("xts-128");
    let directory = directory();
    let package = directory.path().join("package");
    let saved = package.display().to_string();
    let output = with_key(&["export", "key-package"], &volume.file, &volume, &[&saved]);
    assert_status(&output, 0);
    let mut copy = VolumeCopy::of(&volume);
    // The encrypted keys are damaged, and the checksum is wrong.
    let block = copy.offsets()[0];
    let sealed: Vec<usize> = copy
        .datums()
        .into_iter()
        .filter(|at| copy.u16(block + at + 2) == 3)
        .collect();
    let damage = sealed.first().expect("sector key") + 0x20;
    for offset in VolumeCopy::of(&volume).offsets() {
        copy.bytes[offset + damage..][..16].fill(0x5A);
    }
    copy.bytes[..512].fill(0);
    let path = save(&directory, &copy.bytes);
    let output = with_key(&["unlock"], &path, &volume, &["--volume-start", "0"]);
    assert_ne!(output.status.code(), Some(0));
    let with_package = ["--volume-start", "0", "--key-package", &saved];
    assert_status(&with_key(&["unlock"], &path, &volume, &with_package), 0);
    let output = with_key(
        &["repair", "scan", "--json"],
        &path,
        &volume,
        &["--key-package", &saved],
    );
    assert_eq!(json(&output)["volumes"][0]["opens"], true);
    let header = directory.path().join("header");
    let to = header.display().to_string();
    let output = with_key(
        &["repair", "rebuild-header"],
        &path,
        &volume,
        &["--key-package", &saved, "--to", &to],
    );
    assert_status(&output, 0);
    assert_eq!(std::fs::read(header).expect("header").len(), 512);
}
