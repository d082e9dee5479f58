//! Volumes changed at random, and what they may show: the plaintext of the volume as it was, or an
//! error.
//!
//! A mutant is made from one of the frozen volumes. Its metadata, its boot record or its conversion
//! map is changed, or its end is cut off. Checksums are made right again, for they keep nobody out.
//! Some mutants are sealed again with the volume master key: those speak for whoever holds the key
//! and may show anything, but not stop the program or take much memory.
//!
//! A mutant depends on the seed and on its number alone, so that one of many can be made again.
//! Shared by `tests/mutation.rs` and `tests/common/mutants/run.rs`.

mod change;
mod judge;

pub use change::mutant;
pub use judge::judge;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fve::crypto::envelope;
use fve::crypto::sector::{Method, SectorCipher};
use fve::format::block::ValidationHash;
use fve::secret::SecretBytes;
use fve::volume::{UnlockOptions, Volume};
use sha2::{Digest, Sha256};

use super::testdata::{self, Entry, Kind};

/// No mutant of half a megabyte takes longer, however busy the machine is.
const LONGEST: Duration = Duration::from_secs(20);

/// A volume to be changed, and all that is needed to judge what comes out.
pub struct Sample {
    name: String,
    bytes: Vec<u8>,
    plaintext: Vec<u8>,
    sector: usize,
    vmk: Option<[u8; 32]>,
    bek: Option<PathBuf>,
    clear_key: bool,
    /// Where the metadata copies lie.
    copies: [usize; 3],
    /// Where the moved sectors lie, and how many bytes of them there are.
    moved: (usize, usize),
    /// The KEY datum that the metadata's SHA-256 is sealed in, opened.
    hash_datum: Option<Vec<u8>>,
    /// What deciphers its sectors; none for a volume without keys.
    cipher: Option<Box<dyn SectorCipher>>,
    /// Whether a conversion map belongs to it.
    map: bool,
}

impl Sample {
    fn of(entry: &Entry) -> Self {
        let bytes = std::fs::read(&entry.file).expect("volume");
        let volume = Volume::from_source(Arc::new(bytes.clone())).expect("open");
        let options = UnlockOptions::default();
        let quick = [Kind::StartupKey, Kind::ClearKey];
        let credential = entry
            .credentials
            .iter()
            .min_by_key(|credential| !quick.contains(&credential.kind));
        let credentials: Vec<_> = credential.iter().map(|found| found.protector()).collect();
        let unlocked = volume.unlock(&credentials, &options).expect("unlock");
        let mut plaintext = vec![0; unlocked.size() as usize];
        unlocked.read_exact_at(0, &mut plaintext).expect("read");
        let hash = Sha256::digest(&plaintext);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, entry.plaintext_sha256, "{}", entry.name);

        let block = volume.metadata().expect("metadata");
        let sector = volume.sector_size() as usize;
        let vmk = volume
            .unlock_master_key(&credentials, &options)
            .ok()
            .map(|key| *key.expose().expose());
        let open = |sealed: &fve::format::datum::SealedDatum| {
            let key = vmk.as_ref()?;
            let content = envelope::open(key, &sealed.nonce, &sealed.tag, &sealed.ciphertext);
            Some(content.expect("sealed with this key").expose().to_vec())
        };
        let hash_datum = match &block.validation.hash {
            ValidationHash::Sealed(sealed) => open(sealed),
            _ => None,
        };
        let cipher = block.sealed_fvek().and_then(open).map(|key| {
            let code = u16::from_le_bytes([key[8], key[9]]);
            let method = Method::by_code(code).expect("method");
            let key = SecretBytes::new(key[12..].to_vec());
            method.cipher(&key, sector as u32).expect("cipher")
        });
        let bek = entry
            .credentials
            .iter()
            .find(|credential| credential.kind == Kind::StartupKey)
            .map(|credential| Path::new(&credential.value).to_owned());
        Self {
            name: entry.name.clone(),
            plaintext,
            sector,
            vmk,
            bek,
            clear_key: credential.is_some_and(|found| found.kind == Kind::ClearKey),
            copies: block.copies.map(|copy| copy as usize),
            moved: (
                block.header_source as usize,
                block.moved_sectors as usize * sector,
            ),
            hash_datum,
            cipher,
            map: entry.encrypt_on_write,
            bytes,
        }
    }

    /// Where the byte at `offset` of the plaintext lies on the volume.
    fn place(&self, offset: usize) -> usize {
        let (start, len) = self.moved;
        if offset < len { start + offset } else { offset }
    }
}

/// All frozen volumes. Takes as long as stretching some passwords.
pub fn samples() -> Vec<Sample> {
    let volumes = testdata::volumes();
    std::thread::scope(|scope| {
        let halves = volumes.chunks(volumes.len().div_ceil(2));
        let threads: Vec<_> = halves
            .map(|half| scope.spawn(|| half.iter().map(Sample::of).collect::<Vec<_>>()))
            .collect();
        let parts = threads.into_iter().map(|thread| thread.join());
        parts.flat_map(|part| part.expect("a sample")).collect()
    })
}

/// A changed volume.
pub struct Mutant {
    bytes: Vec<u8>,
    /// What was done to it, for whoever looks at it.
    pub story: Vec<String>,
    /// Its metadata was sealed again.
    sealed: bool,
    /// Its conversion map was changed, or where the boot record says that it lies.
    map: bool,
    /// Damage is to be accepted: then nothing is proved.
    accept: bool,
    /// The startup key is used instead of the volume master key.
    by_protector: bool,
}

/// What came of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It does not open, or cannot be read.
    Refused,
    /// It shows the plaintext of the volume as it was, as far as it reaches.
    Same,
    /// It opens, and speaks for whoever holds the key, or damage was accepted.
    NotJudged,
    /// Some sectors are shown otherwise than they were, each in a way that only the conversion map
    /// decides: as it is stored, deciphered, or hidden. Nothing proves that map.
    ByMap,
    /// It shows what was never on the volume.
    Wrong(String),
}

/// How many mutants came out how.
#[derive(Debug, Default)]
pub struct Tally {
    pub refused: u64,
    pub same: u64,
    pub not_judged: u64,
    pub by_map: u64,
    /// Number and story of each mutant that showed what was never there, stopped the program, or
    /// took too long.
    pub wrong: Vec<(u64, String)>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.refused += other.refused;
        self.same += other.same;
        self.not_judged += other.not_judged;
        self.by_map += other.by_map;
        self.wrong.extend(other.wrong);
    }

    fn count(&mut self, samples: &[Sample], seed: u64, number: u64) {
        let (sample, mutant) = mutant(samples, seed, number);
        let story = format!("{}: {}", sample.name, mutant.story.join("; "));
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| judge(sample, mutant)));
        let took = start.elapsed();
        match outcome {
            _ if took > LONGEST => self.wrong.push((number, format!("{took:?}: {story}"))),
            Ok(Outcome::Refused) => self.refused += 1,
            Ok(Outcome::Same) => self.same += 1,
            Ok(Outcome::NotJudged) => self.not_judged += 1,
            Ok(Outcome::ByMap) => self.by_map += 1,
            Ok(Outcome::Wrong(why)) => self.wrong.push((number, format!("{why}: {story}"))),
            Err(_) => self.wrong.push((number, format!("a panic: {story}"))),
        }
    }
}

/// Makes and judges the mutants of these numbers, on all processors. `progress` is told how many are
/// done, now and then.
pub fn campaign(
    samples: &[Sample],
    seed: u64,
    numbers: Range<u64>,
    progress: &(dyn Fn(u64) + Sync),
) -> Tally {
    /// So many are taken at once.
    const STEP: u64 = 256;
    let next = AtomicU64::new(numbers.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut tally = Tally::default();
        loop {
            let first = next.fetch_add(STEP, Ordering::Relaxed);
            if first >= numbers.end {
                return tally;
            }
            progress(first - numbers.start);
            for number in first..(first + STEP).min(numbers.end) {
                tally.count(samples, seed, number);
            }
        }
    };
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            tally.add(thread.join().expect("a thread of the campaign"));
        }
    });
    tally.wrong.sort();
    tally
}

/// Whether the judge notices that the volume of that name shows other bytes than it held: one byte,
/// or two halves of sectors that changed places.
pub fn other_plaintext_is_noticed(name: &str) -> bool {
    let mut sample = Sample::of(&testdata::volume(name));
    let same = |sample: &Sample| {
        let untouched = Mutant {
            bytes: sample.bytes.clone(),
            story: Vec::new(),
            sealed: false,
            map: true,
            accept: false,
            by_protector: false,
        };
        judge(sample, untouched) == Outcome::Same
    };
    if !same(&sample) {
        return false;
    }
    let at = sample.plaintext.len() / 2;
    sample.plaintext[at] ^= 1;
    !same(&sample)
}
