//! How much time and memory a hostile file may cost. Each run is a process with its own limit,
//! measured by its CPU time and its largest memory use. The bounds are those of docs/limits.md;
//! those of time have a margin for slow machines and unoptimized builds.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common;
use crate::common::trials::{Missing, programs, trial};
use crate::common::{ntfs, testdata};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use libtest_mimic::Failed;
use serde_json::Value;

const MIB: u64 = 1 << 20;
/// Size in bytes of the files that `info` reads.
const LEN: usize = 5 << 20;
/// CPU time that `info` may use, in seconds: five times the documented bound.
const INFO_SECONDS: f64 = 5.0;
/// The same for a disk with as many volumes as are described.
const SEVERAL_SECONDS: f64 = 15.0;
/// Memory that it may use, in bytes.
const INFO_MEMORY: u64 = 64 * MIB;

fn python() -> Option<Missing> {
    programs(&["python3"])
}

fn ntfs_tools() -> Option<Missing> {
    programs(&["python3", "mkntfs", "ntfs-3g"])
}

/// The result of a run.
struct Run {
    status: i32,
    stderr: String,
    stdout: String,
    /// Largest memory use, in bytes.
    memory: u64,
    /// CPU time, in seconds.
    seconds: f64,
}

/// Runs and measures `fve` with these arguments and at most `address_space` bytes of address space
/// (0: no limit).
fn run(address_space: u64, arguments: &[&str]) -> Run {
    const PROGRAM: &str = "
import json, os, resource, sys
limit = int(sys.argv[1])
child = os.fork()
if child == 0:
    resource.setrlimit(resource.RLIMIT_CPU, (300, 300))
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.execv(sys.argv[3], sys.argv[3:])
_, status, usage = os.wait4(child, 0)
with open(sys.argv[2], 'w') as out:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime], out)
";
    let measured = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("python3")
        .args(["-c", PROGRAM, &address_space.to_string()])
        .arg(measured.path())
        .arg(env!("CARGO_BIN_EXE_fve"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = fs::read_to_string(measured.path()).unwrap();
    let (status, memory, seconds): (i32, u64, f64) = serde_json::from_str(&text).unwrap();
    Run {
        status,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        memory,
        seconds,
    }
}

impl Run {
    #[track_caller]
    fn within(self, memory: u64, seconds: f64) -> Self {
        assert!(self.status >= 0, "ended by signal: {}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert!(
            self.memory <= memory && self.seconds <= seconds,
            "{} MiB, {} s: {}",
            self.memory / MIB,
            self.seconds,
            self.stderr
        );
        println!("{} MiB, {:.2} s", self.memory / MIB, self.seconds);
        self
    }

    #[track_caller]
    fn ends(self, status: i32, words: &str) -> Self {
        assert_eq!(self.status, status, "{}", self.stderr);
        assert!(self.stderr.contains(words), "{}", self.stderr);
        self
    }
}

struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Runs `info` on a file with this content, once for text and once for JSON.
    #[track_caller]
    fn info(&self, name: &str, content: impl AsRef<[u8]>) -> Run {
        let path = self.file(name, content);
        let path = path.to_str().unwrap();
        run(0, &["info", path]).within(INFO_MEMORY, INFO_SECONDS);
        let run = run(0, &["info", "--json", path]).within(INFO_MEMORY, INFO_SECONDS);
        assert!(serde_json::from_str::<Value>(&run.stdout).is_ok());
        run
    }
}

fn put(bytes: &mut [u8], at: usize, value: impl AsRef<[u8]>) {
    let value = value.as_ref();
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[trial("info: files without a volume", needs(python))]
fn no_volume() -> Result<(), Failed> {
    let bench = Bench::new();
    let mut dice = common::writing::Random::new(7);
    let noise: Vec<u8> = (0..LEN).map(|_| dice.next() as u8).collect();
    bench.info("noise", &noise).ends(3, "");
    bench.info("zeros", vec![0; LEN]).ends(3, "zeros");
    bench.info("text", b"text ".repeat(LEN / 5)).ends(3, "");
    bench.info("ones", vec![0xFF; LEN]).ends(3, "");
    Ok(())
}

/// A metadata block with as many entries as its size and the limit of a list allow.
fn block() -> Vec<u8> {
    const DATUM: [u8; 8] = [8, 0, 0, 0, 1, 0, 0, 0];
    let mut protector = vec![0; 0x24];
    protector.extend(DATUM.repeat(1000));
    let len = protector.len() as u16;
    put(&mut protector, 0, len.to_le_bytes());
    put(&mut protector, 2, [2, 0, 8, 0]);
    let datums = protector.repeat(7);
    let info_size = (0x70 + datums.len()).next_multiple_of(16);
    let mut block = vec![0; 0x1_0000];
    put(&mut block, 0, b"-FVE-FS-");
    put(&mut block, 8, (info_size as u16 / 16).to_le_bytes());
    put(&mut block, 0x0A, [2, 0, 4, 0, 4, 0]);
    let dataset = (0x30 + datums.len() as u32).to_le_bytes();
    put(&mut block, 0x40, dataset);
    put(&mut block, 0x44, [1, 0, 0, 0, 0x30, 0, 0, 0]);
    put(&mut block, 0x4C, dataset);
    put(&mut block, 0x70, &datums);
    block
}

/// A boot record with the same offset for all three metadata copies.
fn boot_record(metadata: u64) -> Vec<u8> {
    let mut sector = fs::read(testdata::volume("xts-128").file).unwrap();
    sector.truncate(512);
    for copy in 0..3 {
        put(&mut sector, 176 + 8 * copy, metadata.to_le_bytes());
    }
    sector
}

#[trial(
    "info: a metadata block with as many entries as possible",
    needs(python)
)]
fn entries() -> Result<(), Failed> {
    let bench = Bench::new();
    let mut bytes = vec![0; LEN];
    put(&mut bytes, 0, boot_record(0x1_0000));
    put(&mut bytes, 0x1_0000, block());
    bench
        .info("entries", &bytes)
        .ends(6, "no copy of it passes");
    // One entry more than the limit.
    let datum = [8, 0, 0, 0, 1, 0, 0, 0].repeat(1025);
    put(&mut bytes, 0x1_0000 + 0x70, datum);
    bench.info("more", &bytes).ends(6, "");
    Ok(())
}

/// A GPT with 256 partitions, which begin at the sectors that `start` returns.
fn gpt(bytes: &mut [u8], start: impl Fn(u64) -> u64) {
    let mut table = vec![0; 256 * 128];
    for number in 0..256u64 {
        let entry = &mut table[number as usize * 128..][..128];
        entry[..16].fill(7);
        put(entry, 32, start(number).to_le_bytes());
        put(entry, 40, (1u64 << 30).to_le_bytes());
    }
    let mut header = vec![0; 92];
    put(&mut header, 0, b"EFI PART");
    put(&mut header, 12, 92u32.to_le_bytes());
    put(&mut header, 24, 1u64.to_le_bytes());
    put(&mut header, 72, 2u64.to_le_bytes());
    put(&mut header, 80, 256u32.to_le_bytes());
    put(&mut header, 84, 128u32.to_le_bytes());
    put(&mut header, 88, crc32fast::hash(&table).to_le_bytes());
    let crc = crc32fast::hash(&header);
    put(&mut header, 16, crc.to_le_bytes());
    put(bytes, 512, &header);
    put(bytes, 1024, &table);
}

#[trial("info: 256 partitions, each with such a block", needs(python))]
fn partitions() -> Result<(), Failed> {
    const BLOCK: u64 = 1 << 20;
    let bench = Bench::new();
    let mut bytes = vec![0; LEN];
    gpt(&mut bytes, |number| 100 + number);
    for number in 0..256 {
        let start = (100 + number) * 512;
        put(&mut bytes, start as usize, boot_record(BLOCK - start));
    }
    put(&mut bytes, BLOCK as usize, block());
    let path = bench.file("partitions", &bytes);
    let path = path.to_str().unwrap();
    for arguments in [&["info", path][..], &["info", "--json", path]] {
        run(0, arguments)
            .within(INFO_MEMORY, SEVERAL_SECONDS)
            .ends(6, "224 further volumes are not described");
    }
    Ok(())
}

#[trial("info: an endless chain of logical partitions", needs(python))]
fn chain() -> Result<(), Failed> {
    let bench = Bench::new();
    let entry = |kind: u8, first: u32, sectors: u32| {
        let mut entry = vec![0; 16];
        entry[4] = kind;
        put(&mut entry, 8, first.to_le_bytes());
        put(&mut entry, 12, sectors.to_le_bytes());
        entry
    };
    let mut bytes = vec![0; LEN];
    let link = [entry(7, 1, 1000), entry(5, 1, 5000)].concat();
    put(&mut bytes, 0x1BE, entry(5, 8, 10_000));
    // The first link leads to the second, and the second to itself.
    for sector in [0, 8, 9] {
        put(&mut bytes, sector * 512 + 0x1FE, [0x55, 0xAA]);
    }
    put(&mut bytes, 8 * 512 + 0x1BE, &link);
    put(&mut bytes, 9 * 512 + 0x1BE, &link);
    bench.info("chain", &bytes).ends(3, "MBR disk");
    Ok(())
}

/// Headers that claim the largest tables that a field can express.
#[trial("info: containers with the largest tables", needs(python))]
fn tables() -> Result<(), Failed> {
    let bench = Bench::new();
    // Truncated, or without a volume.
    let refused = |run: Run| assert!([3, 5].contains(&run.status), "{}", run.stderr);
    let mut qcow2 = vec![0; LEN];
    put(&mut qcow2, 0, b"QFI\xFB\0\0\0\x02");
    put(&mut qcow2, 20, 9u32.to_be_bytes());
    put(&mut qcow2, 24, (1u64 << 46).to_be_bytes());
    put(&mut qcow2, 36, u32::MAX.to_be_bytes());
    put(&mut qcow2, 40, 4096u64.to_be_bytes());
    refused(bench.info("disk.qcow2", &qcow2));

    let sum = |header: &mut [u8], at: usize| {
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        put(header, at, (!sum).to_be_bytes());
    };
    let mut footer = vec![0; 512];
    put(&mut footer, 0, b"conectix");
    put(&mut footer, 16, 512u64.to_be_bytes());
    put(&mut footer, 48, (1u64 << 40).to_be_bytes());
    put(&mut footer, 60, 3u32.to_be_bytes());
    sum(&mut footer, 64);
    let mut header = vec![0; 1024];
    put(&mut header, 0, b"cxsparse");
    put(&mut header, 16, 2048u64.to_be_bytes());
    put(&mut header, 28, u32::MAX.to_be_bytes());
    put(&mut header, 32, 512u32.to_be_bytes());
    sum(&mut header, 36);
    let mut vhd = vec![0xFF; LEN];
    put(&mut vhd, 0, &footer);
    put(&mut vhd, 512, &header);
    put(&mut vhd, LEN - 512, &footer);
    refused(bench.info("disk.vhd", &vhd));

    let mut vmdk = vec![0; LEN];
    put(&mut vmdk, 0, b"KDMV\x01\0\0\0");
    put(&mut vmdk, 12, (1u64 << 40).to_le_bytes());
    put(&mut vmdk, 20, 4096u64.to_le_bytes());
    put(&mut vmdk, 28, 1u64.to_le_bytes());
    put(&mut vmdk, 36, (u64::MAX / 512).to_le_bytes());
    put(&mut vmdk, 44, u32::MAX.to_le_bytes());
    put(&mut vmdk, 56, 8u64.to_le_bytes());
    refused(bench.info("disk.vmdk", &vmdk));
    Ok(())
}

/// An E01 image with chunks of 16 MiB.
struct E01 {
    bytes: Vec<u8>,
    places: Vec<u32>,
}

impl E01 {
    const SECTORS: u32 = 32_768;

    fn adler32(bytes: &[u8]) -> u32 {
        let (a, b) = bytes.iter().fold((1, 0), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (b + a) % 65521)
        });
        b << 16 | a
    }

    fn section(&mut self, kind: &str, data: &[u8]) {
        let at = self.bytes.len() as u64;
        let len = 76 + data.len() as u64;
        let mut head = vec![0; 72];
        put(&mut head, 0, kind);
        put(&mut head, 16, (at + len).to_le_bytes());
        put(&mut head, 24, len.to_le_bytes());
        let sum = Self::adler32(&head);
        self.bytes.extend(head);
        self.bytes.extend(sum.to_le_bytes());
        self.bytes.extend(data);
    }

    /// A disk whose first chunk begins with `start`, followed by `chunks` chunks of zeros.
    fn of(start: &[u8], chunks: u32) -> Vec<u8> {
        let mut image = Self {
            bytes: b"EVF\x09\x0D\x0A\xFF\0\x01\x01\0\0\0".to_vec(),
            places: Vec::new(),
        };
        let len = Self::SECTORS as usize * 512;
        let deflate = |content: &[u8]| {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        };
        let mut first = vec![0; len];
        put(&mut first, 0, start);
        let zeros = deflate(&vec![0; len]);
        let mut sectors = Vec::new();
        let base = image.bytes.len() + (76 + 24) + 76;
        for chunk in [deflate(&first)]
            .iter()
            .chain(std::iter::repeat_n(&zeros, chunks as usize))
        {
            image.places.push((base + sectors.len()) as u32 | 1 << 31);
            sectors.extend(chunk);
        }
        let count = image.places.len() as u32;
        let mut volume = vec![0; 24];
        put(&mut volume, 4, count.to_le_bytes());
        put(&mut volume, 8, Self::SECTORS.to_le_bytes());
        put(&mut volume, 12, 512u32.to_le_bytes());
        put(
            &mut volume,
            16,
            (u64::from(count) * u64::from(Self::SECTORS)).to_le_bytes(),
        );
        image.section("volume", &volume);
        image.section("sectors", &sectors);
        let mut table = vec![0; 20];
        put(&mut table, 0, count.to_le_bytes());
        let sum = Self::adler32(&table);
        table.extend(sum.to_le_bytes());
        let places: Vec<u8> = image
            .places
            .iter()
            .flat_map(|at| at.to_le_bytes())
            .collect();
        table.extend(&places);
        table.extend(Self::adler32(&places).to_le_bytes());
        image.section("table", &table);
        image.section("done", &[]);
        image.bytes
    }
}

#[trial("info: 256 partitions in the largest chunks of an E01", needs(python))]
fn chunks() -> Result<(), Failed> {
    let bench = Bench::new();
    let mut start = vec![0; 64 << 10];
    gpt(&mut start, |number| (1 + number) * u64::from(E01::SECTORS));
    let image = E01::of(&start, 256);
    assert!(image.len() < LEN, "{}", image.len());
    bench
        .info("disk.E01", &image)
        .ends(3, "a GPT disk without a BitLocker volume");
    Ok(())
}

#[trial("lookup: 60 MiB of LDIF, CSV and JSON", needs(python))]
fn exports() -> Result<(), Failed> {
    const LEN: usize = 60 << 20;
    let bench = Bench::new();
    let many = |text: &str| text.repeat(LEN / text.len());
    let id = "6DC6C38E-994D-41BF-B678-7E88509980E9";
    let password = "471207-278498-422125-177177-561902-537405-468006-693451";
    let lookup = |name: &str, content: String| {
        let path = bench.file(name, content);
        let path = path.to_str().unwrap();
        let run = run(0, &["recovery", "lookup", path, "--id", id]).within(64 * MIB, 60.0);
        fs::remove_file(path).unwrap();
        run
    };
    lookup("empty.ldif", many("dn: x\n\n")).ends(1, "no saved recovery password");
    lookup("one.ldif", "dn: x\n".to_owned() + &many("a: b\n"))
        .ends(1, "no saved recovery password");
    lookup("line.ldif", "dn: x\nlong: ".to_owned() + &many("y"))
        .ends(1, "no saved recovery password");
    lookup("rows.csv", many("a,b\n")).ends(1, "");
    lookup("quote.csv", "a,b\n\"".to_owned() + &many("x,")).ends(1, "");
    lookup("objects.json", format!("[{}{{}}]", many("{},"))).ends(1, "no saved recovery password");
    lookup("texts.json", format!("{{\"a\": [{}\"\"]}}", many("\"x\",")))
        .ends(1, "no saved recovery password");
    // The entry is found although it is the last one.
    let entry = format!(
        "dn: CN=2024-01-01T10:00:00\\+00:00{{{id}}},CN=PC01,DC=x\nmsFVE-RecoveryPassword: {password}\n"
    );
    lookup("last.ldif", many("dn: x\n\n") + &entry).ends(0, "");
    lookup(
        "last.csv",
        format!("id,key\n{}{id},{password}\n", many("a,b\n")),
    )
    .ends(0, "");
    let object = format!("{{\"id\": \"{id}\", \"key\": \"{password}\"}}");
    lookup("last.json", format!("[{}{object}]", many("{},"))).ends(0, "");
    // One MiB more than the limit.
    let path = bench.file("large.ldif", "dn: x\n\n");
    File::options().write(true).open(&path)?.set_len(65 << 20)?;
    run(
        0,
        &["recovery", "lookup", path.to_str().unwrap(), "--id", id],
    )
    .within(64 * MIB, 10.0)
    .ends(5, "is larger than 64 MiB");
    Ok(())
}

#[trial("lookup: a directory of disk images", needs(python))]
fn images() -> Result<(), Failed> {
    let bench = Bench::new();
    for number in 0..50 {
        let path = bench.file(&format!("{number}.img"), [0xEB, 0x58, 0x90, 0, 1, 2, 3]);
        File::options().write(true).open(&path)?.set_len(1 << 30)?;
    }
    let id = "6DC6C38E-994D-41BF-B678-7E88509980E9";
    let password = "471207-278498-422125-177177-561902-537405-468006-693451";
    bench.file("key.txt", format!("ID: {id}\nKey: {password}\n"));
    let directory = bench.directory.path().to_str().unwrap();
    run(0, &["recovery", "lookup", directory, "--id", id])
        .within(64 * MIB, 5.0)
        .ends(0, "nor are 49 other files");
    Ok(())
}

#[trial("a password file has at most 1 MiB", needs(python))]
fn password_file() -> Result<(), Failed> {
    let bench = Bench::new();
    let large = bench.file("large", vec![b'a'; (1 << 20) + 1]);
    let volume = testdata::volume("xts-128").file;
    let volume = volume.to_str().unwrap();
    let large = large.to_str().unwrap();
    for option in ["--password-file", "--recovery-password-file"] {
        run(0, &["unlock", volume, option, large])
            .within(64 * MIB, 5.0)
            .ends(4, "too large for a");
    }
    Ok(())
}

#[trial("finds a recovery password in 1 MiB of digits", needs(python))]
fn digits() -> Result<(), Failed> {
    let bench = Bench::new();
    let mut dice = common::writing::Random::new(11);
    let blocks = |bench: &Bench, name, of: &mut dyn FnMut() -> u64| {
        let text: String = (0..149_000).map(|_| format!("{:06} ", of())).collect();
        bench.file(name, text)
    };
    let well_formed = blocks(&bench, "well-formed", &mut || 11 * dice.below(65_536));
    let any = blocks(&bench, "any", &mut || dice.below(1_000_000));
    let volume = testdata::volume("two-recovery-passwords").file;
    for path in [&well_formed, &any] {
        let path = path.to_str().unwrap();
        let option = ["--recovery-password-file", path];
        run(
            0,
            &["unlock", volume.to_str().unwrap(), option[0], option[1]],
        )
        .within(64 * MIB, 60.0)
        .ends(4, "recovery password");
        // The JSON document lists each block, and so needs more memory.
        run(0, &["recovery", "check", "--file", path, "--json"]).within(512 * MIB, 60.0);
    }
    Ok(())
}

/// A private key encrypted with scrypt, whose memory parameter is then changed to 1 GiB.
#[trial("a private key cannot choose how much memory is used", needs(python))]
fn private_key() -> Result<(), Failed> {
    let bench = Bench::new();
    let path = bench.directory.path().join("key.der");
    let made = Command::new("sh")
        .args(["-c", "openssl genrsa 2048 | openssl pkcs8 -topk8 -scrypt -scrypt_N 65536 -scrypt_r 2 -scrypt_p 1 -passout pass:x -outform DER -out \"$0\""])
        .arg(&path)
        .output()?;
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let mut key = fs::read(&path)?;
    let volume = testdata::volume("xts-128").file;
    let password = bench.file("password", "x");
    let arguments = [
        "unlock",
        volume.to_str().unwrap(),
        "--certificate",
        path.to_str().unwrap(),
        "--certificate-password-file",
        password.to_str().unwrap(),
    ];
    // Unchanged it can be read, but the volume has no certificate protector.
    run(0, &arguments)
        .within(64 * MIB, 20.0)
        .ends(4, "certificate");
    let cost = [2, 3, 1, 0, 0];
    let at = key.windows(5).position(|bytes| bytes == cost).unwrap();
    key[at + 2] = 0x40;
    fs::write(&path, &key)?;
    run(0, &arguments).within(64 * MIB, 5.0).ends(4, "scrypt");
    Ok(())
}

#[trial("repair scan: a signature in every sector", needs(python))]
fn signatures() -> Result<(), Failed> {
    let bench = Bench::new();
    let block = block();
    let scan = |name: &str, sector: &[u8]| {
        let path = bench.file(name, sector.repeat((64 << 20) / sector.len()));
        run(0, &["repair", "scan", path.to_str().unwrap()]).within(256 * MIB, 120.0)
    };
    scan("blocks", &block);
    scan("signatures", &block[..512]);
    // Trying a password on each of thousands of volumes would take the time of key stretching each
    // time.
    let volume = fs::read(&common::testdata::volume("xts-128").file)?;
    let many = bench.file("many", volume[0x1_0000..][..2048].repeat(2000));
    run(0, &["info", many.to_str().unwrap()]).within(64 * MIB, 10.0);
    let password = bench.file("password", "wrong");
    let words = ["repair", "scan", many.to_str().unwrap(), "--password-file"];
    let words = [&words[..], &[password.to_str().unwrap()]].concat();
    run(0, &words).within(256 * MIB, 120.0);
    scan("boot-records", &boot_record(0x1_0000));
    let mut map = vec![0; 512];
    put(&mut map, 0, b"FVE-EOW\0");
    scan("maps", &map);
    Ok(())
}

#[trial("report: an NTFS index whose records have 4 GiB", needs(ntfs_tools))]
fn index_records() -> Result<(), Failed> {
    let bench = Bench::new();
    let image = bench.directory.path().join("ntfs.img");
    ntfs::format(&image, 512, 24 << 20);
    {
        let mounted = common::mount::Mounted::ntfs_for_writing(&image);
        let logs = mounted.path().join("Windows/System32/winevt/Logs");
        fs::create_dir_all(&logs)?;
        for number in 0..100 {
            fs::write(mounted.path().join(format!("file {number}")), b"")?;
        }
    }
    let mut bytes = fs::read(&image)?;
    let root: Vec<u8> = [0x30u32, 1, 4096, 1]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    let places: Vec<usize> = (0..bytes.len() - 16)
        .step_by(8)
        .filter(|at| bytes[*at..].starts_with(&root))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        put(&mut bytes, at + 8, 0xFE00_0000u32.to_le_bytes());
    }
    let image = bench.file("hostile.img", &bytes);
    let volume = bench.directory.path().join("volume.img");
    let password = bench.file("password", "correct horse");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let password = path(&password);
    let volume = path(&volume);
    run(
        0,
        &[
            "create",
            &volume,
            "--from",
            &path(&image),
            "--new-password-file",
            &password,
        ],
    )
    .ends(0, "");
    let stdout = run(
        512 * MIB,
        &["report", &volume, "--password-file", &password, "--json"],
    )
    .within(128 * MIB, 30.0)
    .ends(0, "")
    .stdout;
    let stdout: Value = serde_json::from_str(&stdout)?;
    let fault = stdout["event_logs"]["logs"][0]["fault"].as_str().unwrap();
    assert!(
        fault.contains("index records of 4261412864 bytes"),
        "{fault}"
    );
    Ok(())
}
