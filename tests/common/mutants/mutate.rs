//! Creates mutants: changes metadata, boot record and conversion map at random.

use fve::crypto::envelope;
use sha2::{Digest, Sha256};

use super::{Mutant, Sample};

/// Size of the region of a metadata copy, in bytes.
const REGION: usize = 0x1_0000;
const HEADER: usize = 0x40;
const DATUMS: usize = 0x70;
/// Bytes of the header of a datum: size, role, type, flags.
const DATUM_HEADER: usize = 8;
/// Identifying GUIDs of a boot record: normal, and encrypt-on-write (docs/format.md §1.2).
const IDENTIFIERS: [[u8; 16]; 2] = [
    [
        0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0,
        0x01,
    ],
    [
        0x3b, 0x4d, 0xa8, 0x92, 0x80, 0xdd, 0x0e, 0x4d, 0x9e, 0x4e, 0xb1, 0xe3, 0x28, 0x4e, 0xae,
        0xd8,
    ],
];

/// Pseudorandom numbers, determined by a seed (SplitMix64).
struct Rng(u64);

impl Rng {
    fn new(seed: u64, number: u64) -> Self {
        let mut rng = Self(seed);
        Self(rng.next() ^ number.wrapping_mul(0xD134_2543_DE82_EF95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..end`.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Creates the mutant with this number.
pub fn mutant(samples: &[Sample], seed: u64, number: u64) -> (&Sample, Mutant) {
    let mut rng = Rng::new(seed, number);
    let sample = &samples[rng.below(samples.len())];
    let mut mutant = Mutant {
        bytes: sample.bytes.clone(),
        changes: Vec::new(),
        authenticated: false,
        map: false,
        accept: rng.chance(10),
        by_protector: rng.chance(50),
    };
    for _ in 0..if rng.chance(30) { 2 } else { 1 } {
        match rng.below(100) {
            0..60 => change_metadata(samples, sample, &mut mutant, &mut rng),
            60..75 => change_boot_record(sample, &mut mutant, &mut rng),
            75..95 if sample.map => change_map(&mut mutant, &mut rng),
            75..95 => change_metadata(samples, sample, &mut mutant, &mut rng),
            _ => truncate(sample, &mut mutant, &mut rng),
        }
    }
    (sample, mutant)
}

fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    let mut value = [0; 8];
    if let Some(bytes) = bytes.get(at..at + width) {
        value[..width].copy_from_slice(bytes);
    }
    u64::from_le_bytes(value)
}

fn put(bytes: &mut [u8], at: usize, width: usize, value: u64) {
    if let Some(bytes) = bytes.get_mut(at..at + width) {
        bytes.copy_from_slice(&value.to_le_bytes()[..width]);
    }
}

/// Writes a boundary value into a field: a fixed one, or one derived from the old value.
fn boundary_value(bytes: &mut [u8], at: usize, width: usize, rng: &mut Rng) -> String {
    const FIXED: [u64; 22] = [
        0,
        1,
        2,
        3,
        4,
        7,
        8,
        9,
        15,
        16,
        0x7F,
        0xFF,
        0x100,
        0x1FF,
        0x200,
        0x7FFF,
        0x8000,
        0xFFFF,
        0x7FFF_FFFF,
        0xFFFF_FFFF,
        u64::MAX >> 1,
        u64::MAX,
    ];
    const STEPS: [u64; 8] = [1, 8, 16, 0x100, 0x200, 0x800, 0x1000, 0x1_0000];
    let old = number(bytes, at, width);
    let value = match rng.below(6) {
        0 => rng.one_of(&FIXED),
        1 => old.wrapping_add(rng.one_of(&STEPS)),
        2 => old.wrapping_sub(rng.one_of(&STEPS)),
        3 => old.wrapping_mul(2),
        4 => old / 2,
        _ => old ^ 1 << rng.below(width * 8),
    };
    put(bytes, at, width, value);
    format!("{value:#x} for {old:#x} in {width} bytes at {at:#x}")
}

/// Changes one, two or all copies of the metadata.
fn change_metadata(samples: &[Sample], sample: &Sample, mutant: &mut Mutant, rng: &mut Rng) {
    let copies: &[usize] = match rng.below(10) {
        0 | 1 => &sample.copies[..1],
        2 => &sample.copies[1..],
        _ => &sample.copies,
    };
    let Some(region) = mutant.bytes.get(copies[0]..copies[0] + REGION) else {
        return;
    };
    let mut block = Block::of(region);
    for _ in 0..1 + rng.below(3) {
        let done = block.change(samples, rng);
        mutant.changes.push(format!("metadata: {done}"));
    }
    let mut region = block.lay_out(!rng.chance(10));
    if rng.chance(25)
        && let Some(vmk) = &sample.vmk
        && let Some(hash) = &sample.hash_datum
        && authenticate(&mut region, vmk, hash).is_some()
    {
        mutant.authenticated = true;
        mutant.changes.push("authenticated again".to_owned());
    }
    if !rng.chance(5) {
        repair_block(&mut region);
    }
    for copy in copies {
        if let Some(place) = mutant.bytes.get_mut(*copy..copy + REGION) {
            place.copy_from_slice(&region);
        }
    }
    mutant.changes.push(format!("{} copies", copies.len()));
}

/// The parts of a metadata block.
struct Block {
    /// Information header and dataset header.
    head: Vec<u8>,
    datums: Vec<Vec<u8>>,
    /// The bytes between the datums and the validation part.
    padding: Vec<u8>,
    /// The validation part and the rest of the region.
    rest: Vec<u8>,
}

impl Block {
    fn of(region: &[u8]) -> Self {
        let size = (number(region, 8, 2) as usize * 16).clamp(DATUMS, REGION - 0x100);
        let end = (HEADER + number(region, 0x4C, 4) as usize).clamp(DATUMS, size);
        let mut at = DATUMS;
        let mut datums = Vec::new();
        while at + DATUM_HEADER <= end {
            let len = number(region, at, 2) as usize;
            let len = len.clamp(DATUM_HEADER, end - at);
            datums.push(region[at..at + len].to_vec());
            at += len;
        }
        Self {
            head: region[..DATUMS].to_vec(),
            datums,
            padding: region[at..size].to_vec(),
            rest: region[size..].to_vec(),
        }
    }

    /// Applies one change, and returns its description.
    fn change(&mut self, samples: &[Sample], rng: &mut Rng) -> String {
        const FIELDS: [(usize, usize); 20] = [
            (0x08, 2),
            (0x0A, 2),
            (0x0C, 2),
            (0x0E, 2),
            (0x10, 8),
            (0x18, 4),
            (0x1C, 4),
            (0x20, 8),
            (0x28, 8),
            (0x30, 8),
            (0x38, 8),
            (0x40, 4),
            (0x44, 4),
            (0x48, 4),
            (0x4C, 4),
            (0x50, 8),
            (0x60, 4),
            (0x64, 2),
            (0x66, 2),
            (0x68, 8),
        ];
        if self.datums.is_empty() || rng.chance(20) {
            let (at, width) = rng.one_of(&FIELDS);
            return boundary_value(&mut self.head, at, width, rng);
        }
        let chosen = rng.below(self.datums.len());
        let other = rng.below(self.datums.len());
        let datum = &mut self.datums[chosen];
        match rng.below(11) {
            0 => {
                let at = rng.below(datum.len());
                datum[at] ^= 1 << rng.below(8);
                format!("a bit of datum {chosen} at {at:#x}")
            }
            1 | 2 => {
                // The fields of a datum are in its first bytes.
                let at = rng.below(datum.len().min(0x60)) & !1;
                let width = rng.one_of(&[2, 2, 4, 8]);
                format!("datum {chosen}: {}", boundary_value(datum, at, width, rng))
            }
            3 => {
                // Changes a nested datum.
                let Some(inner) = inner(datum, rng) else {
                    return "nothing nested".to_owned();
                };
                let at = inner + (rng.below(0x30) & !1);
                let width = rng.one_of(&[2, 2, 4, 8]);
                format!(
                    "nested in datum {chosen}: {}",
                    boundary_value(datum, at, width, rng)
                )
            }
            4 => {
                self.datums.remove(chosen);
                format!("without datum {chosen}")
            }
            5 => {
                let datum = datum.clone();
                let many = rng.one_of(&[1, 2, 17, 600]);
                for _ in 0..many {
                    self.datums.insert(other, datum.clone());
                }
                format!("datum {chosen} {many} times more at {other}")
            }
            6 => {
                self.datums.swap(chosen, other);
                format!("datums {chosen} and {other} change places")
            }
            7 => {
                let len = match rng.below(3) {
                    0 => rng.below(datum.len() + 1),
                    1 => datum.len() + rng.one_of(&[1, 2, 8, 100, 5000]),
                    _ => rng.one_of(&[0, 4, 8, 12, 36, 44]),
                };
                datum.resize(len, 0);
                if rng.chance(80) {
                    put(datum, 0, 2, len as u64);
                }
                format!("{len} bytes of datum {chosen}")
            }
            8 => {
                let depth = rng.one_of(&[1, 2, 7, 8, 9, 400]);
                for _ in 0..depth {
                    wrap(datum, rng);
                }
                format!("datum {chosen} nested {depth} deep")
            }
            9 => {
                let from = &samples[rng.below(samples.len())];
                let region = &from.bytes[from.copies[0]..][..REGION];
                let mut theirs = Self::of(region).datums;
                if theirs.is_empty() {
                    return "nothing to take over".to_owned();
                }
                let taken = rng.below(theirs.len());
                let taken = theirs.swap_remove(taken);
                if rng.chance(50) {
                    self.datums[chosen] = taken;
                } else {
                    self.datums.insert(chosen, taken);
                }
                format!("a datum of {} at {chosen}", from.name)
            }
            _ => {
                let part = rng.below(datum.len());
                let len = rng.below(64).min(datum.len() - part);
                let to = rng.below(datum.len() - len + 1);
                datum.copy_within(part..part + len, to);
                format!("{len} bytes of datum {chosen} from {part:#x} to {to:#x}")
            }
        }
    }

    /// The whole region; `sizes` says whether the size fields are updated.
    fn lay_out(mut self, sizes: bool) -> Vec<u8> {
        let mut datums = self.datums.concat();
        datums.truncate(REGION - 0x200);
        let end = DATUMS + datums.len();
        if sizes {
            self.padding = vec![0; end.next_multiple_of(16) - end];
            put(&mut self.head, 8, 2, (end + self.padding.len()) as u64 / 16);
            put(&mut self.head, 0x40, 4, (end - HEADER) as u64);
            put(&mut self.head, 0x4C, 4, (end - HEADER) as u64);
        }
        let mut region = [self.head, datums, self.padding, self.rest].concat();
        region.resize(REGION, 0);
        region
    }
}

/// Offset of a random nested datum; they follow the fixed part of the type (docs/format.md §3.2).
fn inner(datum: &[u8], rng: &mut Rng) -> Option<usize> {
    let fixed = match number(datum, 4, 2) {
        0x03 => 20,
        0x04 => 4,
        0x08 => 28,
        0x09 => 24,
        _ => return None,
    };
    let mut starts = Vec::new();
    let mut at = DATUM_HEADER + fixed;
    while at + DATUM_HEADER <= datum.len() {
        starts.push(at);
        at += (number(datum, at, 2) as usize).max(DATUM_HEADER);
    }
    (!starts.is_empty()).then(|| rng.one_of(&starts))
}

/// Nests a datum in a new one, of a type that contains datums.
fn wrap(datum: &mut Vec<u8>, rng: &mut Rng) {
    let (kind, fixed) = rng.one_of(&[(0x03u16, 20), (0x04, 4), (0x08, 28), (0x09, 24)]);
    let len = DATUM_HEADER + fixed + datum.len();
    let mut whole = vec![0; DATUM_HEADER + fixed];
    put(&mut whole, 0, 2, len as u64);
    put(&mut whole, 4, 2, u64::from(kind));
    put(&mut whole, 6, 2, 1);
    whole.append(datum);
    *datum = whole;
}

/// Number of bytes of a region that CRC-32 and SHA-256 cover, if the size field is valid.
fn covered(region: &[u8]) -> Option<usize> {
    let size = number(region, 8, 2) as usize * 16;
    (size + 0x60 <= region.len()).then_some(size)
}

fn repair_block(region: &mut [u8]) {
    if let Some(size) = covered(region) {
        let crc = crc32fast::hash(&region[..size]);
        put(region, size + 4, 4, crc.into());
    }
}

/// Encrypts the SHA-256 of a changed region, with the nonce that is stored there.
fn authenticate(region: &mut [u8], vmk: &[u8; 32], hash_datum: &[u8]) -> Option<()> {
    let size = covered(region)?;
    let mut content = hash_datum.to_vec();
    let hash = Sha256::digest(&region[..size]);
    let start = content.len() - hash.len();
    content[start..].copy_from_slice(&hash);
    let datum = region.get_mut(size + 8..)?;
    let nonce: [u8; 12] = datum.get(8..20)?.try_into().ok()?;
    let (sealed, tag) = envelope::seal(vmk, &nonce, &content)?;
    datum.get_mut(20..36)?.copy_from_slice(&tag);
    datum
        .get_mut(36..36 + sealed.len())?
        .copy_from_slice(&sealed);
    Some(())
}

fn change_boot_record(sample: &Sample, mutant: &mut Mutant, rng: &mut Rng) {
    const FIELDS: [(usize, usize); 15] = [
        (0x00, 2),
        (0x0B, 2),
        (0x0D, 1),
        (0x0E, 2),
        (0x20, 4),
        (0x28, 8),
        (0x38, 8),
        (0xB0, 8),
        (0xB8, 8),
        (0xC0, 8),
        (0xC8, 8),
        (0xD0, 8),
        (0x1B8, 8),
        (0x1C0, 8),
        (0x1C8, 8),
    ];
    let boot = &mut mutant.bytes[..512];
    let done = match rng.below(6) {
        0 => {
            let at = rng.below(boot.len());
            boot[at] ^= 1 << rng.below(8);
            format!("a bit at {at:#x}")
        }
        1 => {
            let (from, to) = (
                rng.one_of(&[0xB0, 0xB8, 0xC0]),
                rng.one_of(&[0xB0, 0xB8, 0xC0, 0xC8]),
            );
            boot.copy_within(from..from + 8, to);
            format!("the offset at {from:#x} at {to:#x}, too")
        }
        2 => {
            let at = rng.one_of(&[0xA0, 0xA0, 0x1A8]);
            let identifier = rng.one_of(&IDENTIFIERS);
            boot[at..at + 16].copy_from_slice(&identifier);
            if at == 0x1A8 {
                boot.copy_within(0xB0..0xC8, 0x1B8);
            }
            format!("another identifier at {at:#x}")
        }
        _ => {
            let (at, width) = rng.one_of(&FIELDS);
            boundary_value(boot, at, width, rng)
        }
    };
    // The offsets of the map are stored only in the boot record.
    mutant.map |= boot[0xC8..0xD8] != sample.bytes[0xC8..0xD8];
    mutant.changes.push(format!("boot record: {done}"));
}

/// Changes the header of the conversion map, a bitmap or a record (docs/format.md §5.6).
fn change_map(mutant: &mut Mutant, rng: &mut Rng) {
    const HEAD: [(usize, usize); 12] = [
        (0x08, 2),
        (0x0A, 2),
        (0x0C, 4),
        (0x10, 4),
        (0x14, 4),
        (0x18, 4),
        (0x1C, 4),
        (0x20, 4),
        (0x28, 8),
        (0x30, 8),
        (0x38, 8),
        (0x40, 8),
    ];
    const BITMAP: [(usize, usize); 9] = [
        (0x0A, 2),
        (0x0C, 4),
        (0x10, 4),
        (0x14, 8),
        (0x1C, 8),
        (0x24, 8),
        (0x2C, 4),
        (0x30, 4),
        (0x34, 4),
    ];
    const RECORD: [(usize, usize); 7] = [
        (0x0A, 2),
        (0x0C, 4),
        (0x10, 4),
        (0x14, 8),
        (0x1C, 4),
        (0x24, 4),
        (0x28, 4),
    ];
    mutant.map = true;
    let bytes = &mut mutant.bytes;
    let heads = [0xC8, 0xD0].map(|at| number(bytes, at, 8) as usize);
    let first = heads[0];
    let regions = (number(bytes, first.saturating_add(0x20), 4) as usize).clamp(1, 64);
    let bitmap = first.saturating_add(0x38 + 8 * rng.below(regions));
    let bitmap = number(bytes, bitmap, 8) as usize;
    let done = match rng.below(4) {
        0 | 1 => {
            let (at, width) = rng.one_of(&HEAD);
            let Some(head) = bytes.get_mut(first..first.saturating_add(0x1000)) else {
                return;
            };
            let done = boundary_value(head, at, width, rng);
            let len = number(head, 0x0A, 2) as usize;
            repair(head, 0x24, len);
            let head = head.to_vec();
            if rng.chance(80)
                && let Some(other) = bytes.get_mut(heads[1]..heads[1].saturating_add(head.len()))
            {
                other.copy_from_slice(&head);
            }
            format!("header of the map: {done}")
        }
        2 => {
            let (at, width) = rng.one_of(&BITMAP);
            let Some(bitmap) = bytes.get_mut(bitmap..bitmap.saturating_add(0x600)) else {
                return;
            };
            let done = boundary_value(bitmap, at, width, rng);
            let len = number(bitmap, 0x2C, 4) as usize;
            repair(bitmap, 0x38, len);
            format!("bitmap: {done}")
        }
        _ => {
            let (at, width) = rng.one_of(&RECORD);
            let record = bitmap.saturating_add(rng.one_of(&[0x200, 0x400]));
            let Some(record) = bytes.get_mut(record..record.saturating_add(0x200)) else {
                return;
            };
            let done = boundary_value(record, at, width, rng);
            let len = number(record, 0x0C, 4) as usize;
            repair(record, 0x20, len);
            format!("record: {done}")
        }
    };
    mutant.changes.push(done);
}

/// Updates a CRC-32 at `at` that covers `len` bytes, with its own field as zeros.
fn repair(bytes: &mut [u8], at: usize, len: usize) {
    put(bytes, at, 4, 0);
    if let Some(covered) = bytes.get(..len) {
        let crc = crc32fast::hash(covered);
        put(bytes, at, 4, crc.into());
    }
}

fn truncate(sample: &Sample, mutant: &mut Mutant, rng: &mut Rng) {
    let len = if rng.chance(50) {
        rng.below(sample.bytes.len())
    } else {
        rng.below(sample.bytes.len() / sample.sector) * sample.sector
    };
    if len < 512 || len > mutant.bytes.len() {
        return;
    }
    mutant.bytes.truncate(len);
    mutant.changes.push(format!("truncated to {len:#x}"));
}
