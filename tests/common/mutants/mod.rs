//! Randomly changed volumes ("mutants"). They must give the plaintext of the original volume, or an
//! error.
//!
//! A mutant is made from one of the frozen volumes by changing its metadata, boot record or
//! conversion map, or by truncating it. Checksums are usually updated, because an attacker can do
//! the same. Some mutants are authenticated again with the volume master key. They may show
//! anything, because the owner of the key can do that, but must not cause a panic or use much
//! memory.
//!
//! A mutant is determined by the seed and its number, so that a single one can be created again.
//! Shared by `tests/mutation.rs` and `tests/common/mutants/run.rs`.

mod check;
mod mutate;

pub use check::check;
pub use mutate::mutant;

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

/// Longest time for a mutant of half a megabyte, with a margin for slow computers.
const LONGEST: Duration = Duration::from_secs(20);

/// An original volume, with everything that is needed to check its mutants.
pub struct Sample {
    name: String,
    bytes: Vec<u8>,
    plaintext: Vec<u8>,
    sector: usize,
    vmk: Option<[u8; 32]>,
    bek: Option<PathBuf>,
    clear_key: bool,
    /// Offsets of the metadata copies.
    copies: [usize; 3],
    /// Offset and size of the moved boot sectors, in bytes.
    moved: (usize, usize),
    /// The decrypted KEY datum with the SHA-256 of the metadata.
    hash_datum: Option<Vec<u8>>,
    /// The sector cipher; `None` for a volume without keys.
    cipher: Option<Box<dyn SectorCipher>>,
    /// Whether it has a conversion map.
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

    /// The physical offset of the byte at `offset` of the plaintext.
    fn position_of(&self, offset: usize) -> usize {
        let (start, len) = self.moved;
        if offset < len { start + offset } else { offset }
    }
}

/// All frozen volumes. This takes some seconds, for key stretching.
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
    /// Descriptions of the changes.
    pub changes: Vec<String>,
    /// Its metadata was authenticated again with the VMK.
    authenticated: bool,
    /// Its conversion map was changed, or the offsets of the map in the boot record.
    map: bool,
    /// Damaged metadata is accepted, so that no key confirms it.
    accept: bool,
    /// The startup key is used instead of the volume master key.
    by_protector: bool,
}

/// The result of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It cannot be unlocked or read.
    Refused,
    /// It shows the plaintext of the original, as far as it reaches.
    Same,
    /// It can be read, and may show anything: its metadata was authenticated again, or damage was
    /// accepted.
    NotChecked,
    /// Some sectors differ from the original, but only as a changed conversion map can cause it:
    /// each is shown as stored, decrypted, or as zeros. No key protects that map.
    ByMap,
    /// It shows something that was never on the volume.
    Wrong(String),
}

/// The number of mutants with each result.
#[derive(Debug, Default)]
pub struct Tally {
    pub refused: u64,
    pub same: u64,
    pub not_checked: u64,
    pub by_map: u64,
    /// Number and changes of each mutant that gave a wrong result, panicked, or took too long.
    pub wrong: Vec<(u64, String)>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.refused += other.refused;
        self.same += other.same;
        self.not_checked += other.not_checked;
        self.by_map += other.by_map;
        self.wrong.extend(other.wrong);
    }

    fn count(&mut self, samples: &[Sample], seed: u64, number: u64) {
        let (sample, mutant) = mutant(samples, seed, number);
        let changes = format!("{}: {}", sample.name, mutant.changes.join("; "));
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| check(sample, mutant)));
        let took = start.elapsed();
        match outcome {
            _ if took > LONGEST => self.wrong.push((number, format!("{took:?}: {changes}"))),
            Ok(Outcome::Refused) => self.refused += 1,
            Ok(Outcome::Same) => self.same += 1,
            Ok(Outcome::NotChecked) => self.not_checked += 1,
            Ok(Outcome::ByMap) => self.by_map += 1,
            Ok(Outcome::Wrong(why)) => self.wrong.push((number, format!("{why}: {changes}"))),
            Err(_) => self.wrong.push((number, format!("a panic: {changes}"))),
        }
    }
}

/// Creates and checks the mutants with these numbers, on all CPU cores. Calls `progress` from time
/// to time with the number of mutants that are done.
pub fn campaign(
    samples: &[Sample],
    seed: u64,
    numbers: Range<u64>,
    progress: &(dyn Fn(u64) + Sync),
) -> Tally {
    /// Mutants that a thread takes at a time.
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
            tally.add(thread.join().expect("a thread"));
        }
    });
    tally.wrong.sort();
    tally
}

/// Whether [`check`] detects that the volume with this name shows one wrong byte.
pub fn detects_wrong_plaintext(name: &str) -> bool {
    let mut sample = Sample::of(&testdata::volume(name));
    let same = |sample: &Sample| {
        let unchanged = Mutant {
            bytes: sample.bytes.clone(),
            changes: Vec::new(),
            authenticated: false,
            map: true,
            accept: false,
            by_protector: false,
        };
        check(sample, unchanged) == Outcome::Same
    };
    if !same(&sample) {
        return false;
    }
    let at = sample.plaintext.len() / 2;
    sample.plaintext[at] ^= 1;
    !same(&sample)
}
