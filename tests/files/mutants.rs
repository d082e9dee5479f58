//! Randomly changed file systems: no panic, no endless loop, at most 256 MiB of memory, and no byte of
//! another file.
//!
//! The content of each file says in every 16 bytes which file it belongs to ([`tagged`]), so that a
//! reader that mixes up two files is caught. NTFS and FAT protect no pointer with a checksum: if a change
//! makes one point to the clusters of another file, no reader can know that. So there are two kinds of
//! mutants:
//!
//! * *free*: any bytes of the metadata change. Whatever is shown then is right by definition.
//! * *strict*: what changes does not say where content is. A file whose content shows another file's
//!   is a failure. Left out are, in NTFS, the run lists with the offset at which they begin, the length
//!   of an attribute and the offset of the first (both make other bytes the run list), and the boot
//!   sector, which says how large a cluster is; in FAT, the first clusters, the table and the boot
//!   sector. In exFAT, checksums protect the boot sector and the entries: there any byte of an entry
//!   and of the boot sector may change, and with a corrected checksum all fields but the first cluster,
//!   the length and whether the clusters are contiguous (with contiguous clusters, a larger length takes
//!   in those of the next file).
//!
//! NTFS mutants also get a record or a block of an index that was written to the place of another one,
//! as when a disk misdirects a write.
//!
//! A mutant is determined by its number. `FVE_FUZZ_TRIES=N` multiplies how many there are.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fve::files::{self, FileId, FileKind, FileName, FilePath, Files};
use libtest_mimic::Failed;
use rustix::process::{Resource, Rlimit};

use crate::common::trials::{Missing, programs, trial};
use crate::images::records::{self, protect, unprotect};
use crate::images::tree::{Tree, tag};
use crate::images::{Geometry, Image, ntfs};
use crate::oracles::makers;

/// Mutants of each file system in an ordinary run of the tests.
const MUTANTS: u64 = 400;

/// Private memory that the process of the mutants may have.
const MEMORY: u64 = 256 << 20;

/// Longest time for one mutant, with a margin for slow computers. Usual are some milliseconds.
const LONGEST: Duration = Duration::from_secs(20);

/// Most entries that a mutant may have. The originals have about a hundred.
const MOST_ENTRIES: usize = 20_000;

/// Most of each content that is compared.
const MOST_CONTENT: u64 = 1 << 20;

const VARIABLE: &str = "FVE_MUTANTS_OF";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ntfs,
    Exfat,
    Fat,
}

const KINDS: [(&str, Kind); 3] = [
    ("ntfs", Kind::Ntfs),
    ("exfat", Kind::Exfat),
    ("fat", Kind::Fat),
];

fn exfat_tools() -> Option<Missing> {
    let loops = crate::common::trials::loop_devices();
    loops.or_else(|| programs(&["mkfs.exfat", "mount.exfat-fuse"]))
}

fn fat_tools() -> Option<Missing> {
    programs(&["mkfs.vfat", "mcopy"])
}

#[trial("mutants of NTFS", needs(makers))]
fn of_ntfs() -> Result<(), Failed> {
    let mut image = Image::ntfs(Geometry {
        sector: 512,
        cluster: 1024,
        size: 6 << 20,
    });
    image.expected = image.with_ntfs_3g("compression,streams_interface=windows", |root| {
        let mut tree = Tree::new(root);
        fill(&mut tree);
        tree.directory("compressed");
        ntfs::compress_new_files(&tree.at("compressed"));
        for number in 0..4 {
            tree.tagged(&format!("compressed/{number}"), 50_000 + number * 3000);
        }
        let holes = tagged_like("holes", 4000);
        tree.sparse("holes", 300_000, &[(0, &holes), (200_000, &holes)]);
        for number in 0..30 {
            let stream = format!("with streams:stream number {number} with a long name");
            tree.file(&stream, &tagged_like("with streams", 500));
        }
        tree.listing
    });
    run("ntfs", &image.path())
}

#[trial("mutants of exFAT", needs(makers, exfat_tools))]
fn of_exfat() -> Result<(), Failed> {
    let image = Image::exfat(4 << 20, |root| fill(&mut Tree::new(root)));
    run("exfat", &image.path())
}

#[trial("mutants of FAT", needs(fat_tools))]
fn of_fat() -> Result<(), Failed> {
    let image = Image::fat(4 << 20, |root| fill(&mut Tree::new(root)));
    run("fat", &image.path())
}

fn tagged_like(path: &str, len: usize) -> Vec<u8> {
    crate::images::tree::tagged(path, len)
}

fn fill(tree: &mut Tree<'_>) {
    for (number, len) in [100, 600, 1000, 5000, 20_000, 70_000]
        .into_iter()
        .enumerate()
    {
        tree.tagged(&format!("file {number}"), len);
    }
    tree.directory("directory");
    for number in 0..40 {
        tree.tagged(
            &format!("directory/file {number} with a long name"),
            300 + number * 50,
        );
    }
    tree.directory("directory/inner");
    tree.tagged("directory/inner/deep", 3000);
    tree.fragmented(["fragments 1", "fragments 2"], 30, 4096);
    let gone = tree.at("gone");
    std::fs::write(&gone, tagged_like("gone", 3000)).unwrap();
    std::fs::remove_file(&gone).unwrap();
}

impl Tree<'_> {
    fn tagged(&mut self, path: &str, len: usize) {
        self.file(path, &tagged_like(path, len));
    }
}

/// Runs the mutants of an image in a process of its own.
fn run(kind: &str, image: &Path) -> Result<(), Failed> {
    let times = std::env::var("FVE_FUZZ_TRIES").map_or(1, |times| times.parse().unwrap());
    let output = Command::new(std::env::current_exe()?)
        .env(
            VARIABLE,
            format!("{kind} {} {}", MUTANTS * times, image.display()),
        )
        .output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    println!("{stdout}");
    match output.status.success() {
        true => Ok(()),
        false => {
            // The image is needed to repeat it.
            let kept = crate::common::cache_dir().join(format!("mutants-of-{kind}"));
            std::fs::copy(image, &kept)?;
            let stderr = String::from_utf8_lossy(&output.stderr);
            let kept = kept.display();
            Err(format!("{}: {stdout}{stderr}\nof {kept}", output.status).into())
        }
    }
}

/// What the process does that [`run`] starts; `None` in other processes.
pub fn child() -> Option<ExitCode> {
    let text = std::env::var(VARIABLE).ok()?;
    let mut words = text.splitn(3, ' ');
    let kind = words.next()?;
    let (_, kind) = KINDS.iter().find(|(name, _)| *name == kind)?;
    let numbers = words.next()?;
    let numbers = match numbers.strip_prefix('=') {
        Some(one) => one.parse().ok()?..one.parse::<u64>().ok()? + 1,
        None => 0..numbers.parse().ok()?,
    };
    let limit = Rlimit {
        current: Some(MEMORY),
        maximum: Some(MEMORY),
    };
    rustix::process::setrlimit(Resource::Data, limit).unwrap();
    Some(campaign(*kind, numbers, Path::new(words.next()?)))
}

/// The number of the current mutant.
static CURRENT: AtomicU64 = AtomicU64::new(0);

fn campaign(kind: Kind, numbers: Range<u64>, image: &Path) -> ExitCode {
    std::thread::spawn(|| {
        let mut last = u64::MAX;
        loop {
            std::thread::sleep(LONGEST);
            let current = CURRENT.load(Ordering::Relaxed);
            if current == last {
                eprintln!("mutant {current} does not end");
                std::process::abort();
            }
            last = current;
        }
    });
    let sample = Sample::of(kind, std::fs::read(image).unwrap());
    let (mut refused, mut same, mut different, mut failed) = (0, 0, 0, 0);
    for number in numbers {
        CURRENT.store(number, Ordering::Relaxed);
        let (bytes, strict, change) = sample.mutant(number);
        let shown = catch_unwind(AssertUnwindSafe(|| sample.look_at(bytes)));
        let shown = match shown {
            Ok(shown) => shown,
            Err(_) => {
                println!("mutant {number} ({change}) panics");
                failed += 1;
                continue;
            }
        };
        match shown {
            Shown::Refused => refused += 1,
            Shown::Endless => {
                println!("mutant {number} ({change}) has too many entries");
                failed += 1;
            }
            Shown::Contents(found) => {
                let foreign = found.foreign.iter().take(3);
                if strict && !found.foreign.is_empty() {
                    let foreign: Vec<_> = foreign.map(String::as_str).collect();
                    println!("mutant {number} ({change}): {}", foreign.join(", "));
                    failed += 1;
                }
                match found.read == sample.read {
                    true => same += 1,
                    false => different += 1,
                }
            }
        }
    }
    println!(
        "{kind:?}: {refused} refused, {same} with all files, {different} with some, {failed} failed"
    );
    // The changes must have an effect, and not all the same one.
    let all = refused + same + different;
    let varied = all < 100 || [same, different].iter().all(|count| *count > all / 50);
    ExitCode::from(u8::from(failed > 0 || !varied))
}

/// What a mutant shows.
enum Shown {
    /// It is no file system that can be opened.
    Refused,
    /// More entries than it can have.
    Endless,
    Contents(Contents),
}

#[derive(Default)]
struct Contents {
    /// Bytes read in all.
    read: u64,
    /// Files that show the content of others.
    foreign: Vec<String>,
}

/// An original.
struct Sample {
    kind: Kind,
    bytes: Vec<u8>,
    /// The number of the file with each tag.
    owners: HashMap<[u8; 8], u64>,
    /// Bytes read of all its files.
    read: u64,
    /// Where the metadata is.
    metadata: Vec<Range<usize>>,
}

impl Sample {
    fn of(kind: Kind, bytes: Vec<u8>) -> Self {
        let mut sample = Self {
            kind,
            owners: HashMap::new(),
            read: 0,
            metadata: metadata(kind, &bytes),
            bytes,
        };
        let files = files::open(Arc::new(sample.bytes.clone())).unwrap();
        for walked in files.walk(files.root(), FilePath::root()) {
            let walked = walked.unwrap();
            if files.is_internal(&walked.entry) {
                continue;
            }
            let path = walked.path.to_string();
            let path = path.trim_start_matches('/');
            sample.owners.insert(tag(path), walked.entry.id.number);
        }
        // Of a deleted file.
        sample.owners.insert(tag("gone"), u64::MAX);
        match sample.look_at(sample.bytes.clone()) {
            Shown::Contents(found) => {
                assert_eq!(found.foreign, [""; 0]);
                sample.read = found.read;
            }
            _ => panic!("the original cannot be read"),
        }
        assert!(sample.read > 300_000, "{}", sample.read);
        sample
    }

    /// Reads everything in a mutant.
    fn look_at(&self, bytes: Vec<u8>) -> Shown {
        let Ok(files) = files::open(Arc::new(bytes)) else {
            return Shown::Refused;
        };
        let mut found = Contents::default();
        let _ = (files.free(), format!("{:?}", files.properties()));
        let mut count = 0;
        for walked in files.walk(files.root(), FilePath::root()) {
            count += 1;
            if count > MOST_ENTRIES {
                return Shown::Endless;
            }
            let Ok(walked) = walked else { continue };
            // $MFT has the content of all files that are in their records.
            if files.is_internal(&walked.entry) {
                continue;
            }
            let id = walked.entry.id;
            let _ = (files.stat(id), files.depth(id), files.link(id));
            let _ = files.look_up(files.root(), &walked.entry.name);
            if walked.entry.kind == FileKind::Directory {
                let _ = files.list(id, &mut |_| ControlFlow::Continue(()));
            }
            self.read(&files, id, None, &mut found);
            for stream in files.streams(id).iter().flatten() {
                self.read(&files, id, Some(&stream.name), &mut found);
            }
        }
        Shown::Contents(found)
    }

    fn read(&self, files: &Files, id: FileId, stream: Option<&FileName>, found: &mut Contents) {
        let Ok(content) = files.open(id, stream) else {
            return;
        };
        // What a change turned into a file has no content of its own to compare.
        let is_original = self.owners.values().any(|owner| *owner == id.number);
        let size = content.size();
        let ranges = match size > MOST_CONTENT {
            true => vec![0..MOST_CONTENT / 2, size - MOST_CONTENT / 2..size],
            false => vec![0..size; 1],
        };
        let mut buffer = vec![0; 1 << 16];
        for range in ranges {
            for at in range.clone().step_by(buffer.len()) {
                let len = (range.end - at).min(buffer.len() as u64) as usize;
                let piece = &mut buffer[..len];
                if content.read_exact_at(at, piece).is_ok() {
                    found.read += len as u64;
                    if is_original {
                        self.find_foreign(id, at, piece, found);
                    }
                }
                let stored = content.stored_from(at);
                assert!(stored.is_none_or(|range| range.end > at));
            }
        }
    }

    fn find_foreign(&self, id: FileId, at: u64, piece: &[u8], found: &mut Contents) {
        for (place, sixteen) in piece.chunks_exact(16).enumerate() {
            let tag = sixteen.first_chunk().unwrap();
            let owner = self.owners.get(tag);
            if let Some(owner) = owner.filter(|owner| **owner != id.number) {
                let at = at + 16 * place as u64;
                let text = format!("file {} at {at} shows file {owner}", id.number);
                found.foreign.push(text);
                return;
            }
        }
    }

    /// The mutant with this number, whether it is strict, and a description.
    fn mutant(&self, number: u64) -> (Vec<u8>, bool, String) {
        let mut random = Random::new(number);
        let mut bytes = self.bytes.clone();
        if random.below(4) == 0 {
            let change = self.change_freely(&mut bytes, &mut random);
            return (bytes, false, change);
        }
        let mut changes = Vec::new();
        for _ in 0..1 + random.below(2) {
            changes.push(match self.kind {
                Kind::Ntfs => change_ntfs(&mut bytes, &mut random),
                Kind::Exfat => change_exfat(&mut bytes, &self.metadata, &mut random),
                Kind::Fat => change_fat(&mut bytes, &self.metadata, &mut random),
            });
        }
        (bytes, true, changes.join("; "))
    }

    fn change_freely(&self, bytes: &mut Vec<u8>, random: &mut Random) -> String {
        if random.below(10) == 0 {
            let len = random.below(bytes.len());
            bytes.truncate(len);
            return format!("cut to {len}");
        }
        let mut changes = Vec::new();
        for _ in 0..1 + random.below(4) {
            let range = random.choose(&self.metadata).clone();
            let at = range.start + random.below(range.len());
            let width = 1 << random.below(4);
            changes.push(random.change(bytes, at, width));
        }
        changes.join("; ")
    }
}

/// Where the metadata of a file system is.
fn metadata(kind: Kind, bytes: &[u8]) -> Vec<Range<usize>> {
    match kind {
        Kind::Ntfs => {
            let size = records::record_size(bytes);
            let mut found: Vec<_> = std::iter::once(0..84).collect();
            let sectors = (0..bytes.len() - 4096).step_by(512);
            for at in sectors {
                match &bytes[at..at + 4] {
                    b"FILE" => found.push(at..at + size),
                    b"INDX" => found.push(at..at + 4096),
                    _ => {}
                }
            }
            found
        }
        // Everything that has entries, and the first sectors with the tables.
        Kind::Exfat | Kind::Fat => {
            let mut found = vec![0..512; 3];
            for at in (512..bytes.len()).step_by(512) {
                let sector = &bytes[at..at + 512];
                let has_entries = sector.chunks(32).any(|entry| is_entry(kind, entry));
                if has_entries {
                    found.push(at..at + 512);
                }
            }
            found
        }
    }
}

/// Whether 32 bytes look like the entry of a file in a directory.
fn is_entry(kind: Kind, entry: &[u8]) -> bool {
    match kind {
        Kind::Exfat => entry[0] == 0x85 && (2..=18).contains(&entry[1]) && entry[5] == 0,
        _ => {
            let name = &entry[..11];
            let attributes = entry[11];
            name.iter().all(|byte| (0x20..0x7F).contains(byte))
                && attributes & 0xC0 == 0
                && entry[12] & !0x18 == 0
                && attributes & 0x0F != 0x0F
        }
    }
}

fn change_ntfs(bytes: &mut [u8], random: &mut Random) -> String {
    let size = records::record_size(bytes);
    let all = records::records(bytes);
    let offset = *random.choose(&all);
    let other = *random.choose(&all);
    match random.below(12) {
        0 => {
            bytes.copy_within(other..other + size, offset);
            return format!("the record at {other:#x} also at {offset:#x}");
        }
        1 => {
            let (one, two) = (bytes[offset..offset + size].to_vec(), other);
            bytes.copy_within(two..two + size, offset);
            bytes[two..two + size].copy_from_slice(&one);
            return format!("the records at {other:#x} and {offset:#x} exchanged");
        }
        2 | 3 => {
            let blocks = (0..bytes.len() - 4096).step_by(512);
            let blocks: Vec<usize> = blocks.filter(|at| &bytes[*at..at + 4] == b"INDX").collect();
            let (one, two) = (*random.choose(&blocks), *random.choose(&blocks));
            if random.below(3) == 0 {
                bytes.copy_within(two..two + 4096, one);
                return format!("the index block at {two:#x} also at {one:#x}");
            }
            let at = 24 + random.below(2000);
            let block = &mut bytes[one..one + 4096];
            unprotect(block);
            let width = 1 << random.below(4);
            let change = random.change(block, at, width);
            protect(block);
            return format!("index block at {one:#x}: {change}");
        }
        _ => {}
    }
    let record = records::Record {
        bytes: &mut bytes[offset..offset + size],
    };
    unprotect(record.bytes);
    let attributes = record.attributes();
    let (at, width) = if random.below(4) == 0 {
        // Sequence number, links, flags, used and allocated size, base record, next identifier,
        // number of the record.
        let fields = [
            (16, 2),
            (18, 2),
            (22, 2),
            (24, 4),
            (28, 4),
            (32, 8),
            (40, 2),
            (44, 4),
        ];
        *random.choose(&fields)
    } else if attributes.is_empty() {
        (22, 2)
    } else {
        let attribute = random.choose(&attributes);
        let start = attribute.range.start;
        let field = match attribute.resident {
            // Type, length and offset of the name, flags, identifier, length and offset of the
            // value, and the value.
            true => {
                let value = (
                    24 + random.below(attribute.range.len().saturating_sub(24)),
                    1 << random.below(4),
                );
                let fields = [(0, 4), (9, 1), (10, 2), (12, 2), (14, 2), (16, 4), (20, 2)];
                let header = *random.choose(&fields);
                if random.below(2) == 0 { value } else { header }
            }
            // The same without a value; first and last cluster, compression unit, and sizes.
            false => {
                let fields = [
                    (0, 4),
                    (9, 1),
                    (10, 2),
                    (12, 2),
                    (14, 2),
                    (16, 8),
                    (24, 8),
                    (34, 1),
                    (40, 8),
                    (48, 8),
                    (56, 8),
                ];
                *random.choose(&fields)
            }
        };
        (start + field.0, field.1)
    };
    let width = width.min(size.saturating_sub(at));
    let change = random.change(record.bytes, at, width);
    protect(record.bytes);
    format!("record at {offset:#x}: {change}")
}

fn change_exfat(bytes: &mut [u8], metadata: &[Range<usize>], random: &mut Random) -> String {
    if random.below(6) == 0 {
        // The volume flags and the percentage in use are not in the checksum.
        let at = random.below(106);
        return format!("boot sector: {}", random.change(bytes, at, 1));
    }
    let entries = entries(Kind::Exfat, bytes, metadata);
    let at = *random.choose(&entries);
    let len = 32 * (1 + usize::from(bytes[at + 1]));
    if random.below(2) == 0 {
        let place = at + random.below(len);
        return format!("without a checksum: {}", random.change(bytes, place, 1));
    }
    // Everything but flags, first cluster and length in the second entry.
    let places: Vec<usize> = (4..len)
        .filter(|place| *place != 33 && !(52..64).contains(place))
        .collect();
    let place = at + *random.choose(&places);
    let change = random.change(bytes, place, 1);
    let mut sum = 0u16;
    for (place, byte) in bytes[at..at + len].iter().enumerate() {
        if !matches!(place, 2 | 3) {
            sum = sum.rotate_right(1).wrapping_add(u16::from(*byte));
        }
    }
    bytes[at + 2..at + 4].copy_from_slice(&sum.to_le_bytes());
    format!("with a checksum: {change}")
}

fn change_fat(bytes: &mut [u8], metadata: &[Range<usize>], random: &mut Random) -> String {
    let entries = entries(Kind::Fat, bytes, metadata);
    let at = *random.choose(&entries);
    let places: Vec<usize> = (0..32)
        .filter(|place| !matches!(place, 20 | 21 | 26 | 27))
        .collect();
    let place = at + *random.choose(&places);
    random.change(bytes, place, 1)
}

fn entries(kind: Kind, bytes: &[u8], metadata: &[Range<usize>]) -> Vec<usize> {
    let sectors = metadata.iter().filter(|range| range.start > 0);
    sectors
        .flat_map(|range| range.clone().step_by(32))
        .filter(|at| is_entry(kind, &bytes[*at..at + 32]))
        .collect()
}

/// Random numbers, the same for each seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ value >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Changes `width` bytes to something random, or something that is near a limit.
    fn change(&mut self, bytes: &mut [u8], at: usize, width: usize) -> String {
        let Some(target) = bytes
            .get_mut(at..at + width)
            .filter(|found| !found.is_empty())
        else {
            return format!("nothing at {at:#x}");
        };
        let mut old = [0; 8];
        old[..width].copy_from_slice(target);
        let old = u64::from_le_bytes(old);
        let new = match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => old ^ 1 << self.below(8 * width),
            3 => old.wrapping_add(1),
            4 => old.wrapping_sub(1),
            5 => old.wrapping_mul(2),
            6 => i64::MAX as u64 >> (8 * (8 - width)),
            _ => self.next() >> self.below(64),
        };
        target.copy_from_slice(&new.to_le_bytes()[..width]);
        format!("{old:#x} to {new:#x} at {at:#x}")
    }
}
