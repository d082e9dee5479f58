//! Power failures, full disks, many threads and wrong maps.

use std::collections::BTreeMap;

use super::super::binding::Binding;
use super::super::format;
use super::*;

/// Pseudorandom numbers, determined by the seed (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound.max(1)
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

const SECTOR: usize = 512;

/// A file whose sectors reach the disk in any order until it is synced. So does its length.
#[derive(Default)]
struct Volatile(Mutex<Content>);

#[derive(Default)]
struct Content {
    /// The disk is full: the file cannot get longer.
    full: bool,
    sync_fails: bool,
    durable: Vec<u8>,
    current: Vec<u8>,
    /// The contents of sectors since the last sync.
    pending: BTreeMap<usize, Vec<Vec<u8>>>,
}

impl Volatile {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(Content {
            durable: bytes.clone(),
            current: bytes,
            ..Content::default()
        }))
    }

    fn after_power_cut(&self, random: &mut Random) -> Vec<u8> {
        let content = self.0.lock().unwrap();
        let mut bytes = content.durable.clone();
        if random.below(2) == 0 {
            bytes.resize(content.current.len().max(bytes.len()), 0);
        }
        for (sector, versions) in &content.pending {
            let arrived = random.below(versions.len() as u64 + 1) as usize;
            let start = sector * SECTOR;
            if let Some(version) = arrived.checked_sub(1).map(|index| &versions[index]) {
                if bytes.len() < start + version.len() {
                    bytes.resize(start + version.len(), 0);
                }
                bytes[start..start + version.len()].copy_from_slice(version);
            }
        }
        bytes
    }
}

impl Storage for Arc<Volatile> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().current.len() as u64)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().current.resize(len as usize, 0);
        Ok(())
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.lock().unwrap().current.read_exact_at(offset, buf)
    }
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if content.current.len() < end {
            if content.full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            content.current.resize(end, 0);
        }
        content.current[start..end].copy_from_slice(bytes);
        for sector in start / SECTOR..end.div_ceil(SECTOR) {
            let end = content.current.len().min((sector + 1) * SECTOR);
            let now = content.current[sector * SECTOR..end].to_vec();
            content.pending.entry(sector).or_default().push(now);
        }
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        if content.sync_fails {
            return Err(io::ErrorKind::Other.into());
        }
        content.durable = content.current.clone();
        content.pending.clear();
        Ok(())
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_all_at(offset, &vec![0; len as usize])
    }
}

fn new_file(chunk: u64, source: &[u8]) -> Vec<u8> {
    let file = Arc::new(Volatile::default());
    let geometry = Geometry::new(chunk).unwrap();
    let binding = Binding::of(&source).unwrap();
    Store::create(&file, geometry, &format::header(geometry, &binding)).unwrap();
    file.0.lock().unwrap().current.clone()
}

fn load(file: &Arc<Volatile>, chunk: u64, size: u64) -> Result<Store<Arc<Volatile>>, LoadError> {
    Store::load(file.clone(), Geometry::new(chunk).unwrap(), size)
}

fn all(store: &Store<Arc<Volatile>>, source: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; source.len()];
    store.read(&source, 0, &mut bytes).unwrap();
    bytes
}

/// With the smallest chunks, a map area has 32 pairs, so many areas become full.
const CHUNKS: [u64; 3] = [512, 1024, 4096];

#[test]
fn what_was_flushed_survives_power_failures_and_nothing_else_appears() {
    let mut lost = 0;
    for (chunk, seed) in CHUNKS
        .iter()
        .flat_map(|chunk| (0..12).map(move |seed| (*chunk, seed)))
    {
        let mut random = Random::new(seed * 7 + chunk);
        let source = random.bytes(150_000 + random.0 % 700);
        let mut model = source.clone();
        let mut bytes = new_file(chunk, &source);
        for cut in 0..12 {
            let name = format!("chunk {chunk}, seed {seed}, cut {cut}");
            let file = Arc::new(Volatile::new(bytes));
            let store = load(&file, chunk, source.len() as u64).expect(&name);
            assert!(all(&store, &source) == model, "{name}");
            let mut versions: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
            for _ in 0..random.below(40) {
                if random.below(8) == 0 {
                    store.commit().unwrap();
                    versions.clear();
                    continue;
                }
                // Whole sectors, as the writer of a volume writes them.
                let longest = [1, 4, 30][random.below(3) as usize];
                let start = random.below((source.len() / SECTOR) as u64 - 30) * 512;
                let sectors = 1 + random.below(longest);
                let new = random.bytes(sectors * 512);
                let range = start as usize..start as usize + new.len();
                for sector in range.start / SECTOR..range.end / SECTOR {
                    let old = model[sector * SECTOR..][..SECTOR].to_vec();
                    versions.entry(sector).or_insert_with(|| vec![old]);
                }
                model[range.clone()].copy_from_slice(&new);
                for (sector, now) in (range.start / SECTOR..).zip(new.chunks(SECTOR)) {
                    versions.entry(sector).or_default().push(now.to_vec());
                }
                store.write(&source.as_slice(), start, &new).unwrap();
            }
            assert!(all(&store, &source) == model, "{name}");
            bytes = file.after_power_cut(&mut random);
            let after = Arc::new(Volatile::new(bytes.clone()));
            let found = all(
                &load(&after, chunk, source.len() as u64).expect(&name),
                &source,
            );
            for (sector, found) in found.chunks(SECTOR).enumerate() {
                let now = &model[sector * SECTOR..][..found.len()];
                match versions.get(&sector) {
                    None => assert!(found == now, "{name}: sector {sector}"),
                    Some(known) => {
                        assert!(known.iter().any(|one| one == found), "{name}: {sector}");
                        lost += usize::from(found != now);
                    }
                }
            }
            model = found;
        }
    }
    assert!(
        lost > 100,
        "{lost}: too few writes were lost for a useful test"
    );
}

#[test]
fn threads_that_write_the_same_chunks_lose_nothing() {
    let source: Vec<u8> = Random::new(3).bytes(200_000);
    let file = Arc::new(Volatile::new(new_file(4096, &source)));
    let store = load(&file, 4096, source.len() as u64).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (store, source) = (&store, source.as_slice());
            scope.spawn(move || {
                for at in (thread * 100..200_000).step_by(400) {
                    store.write(&source, at, &[thread as u8; 100]).unwrap();
                    let mut read = [9; 100];
                    store.read(&source, at, &mut read).unwrap();
                    assert_eq!(read, [thread as u8; 100]);
                    if at % 9000 == 0 {
                        store.commit().unwrap();
                    }
                }
            });
        }
    });
    store.commit().unwrap();
    drop(store);
    let again = load(&file, 4096, source.len() as u64).unwrap();
    let found = all(&again, &source);
    assert!((0..200_000).all(|at| found[at] == (at / 100 % 4) as u8));
}

#[test]
fn a_full_disk_is_an_error_and_with_space_again_nothing_is_missing() {
    for places in 25..40 {
        let source: Vec<u8> = Random::new(4).bytes(60 * SECTOR as u64);
        let size = source.len() as u64;
        let file = Arc::new(Volatile::new(new_file(512, &source)));
        let store = load(&file, 512, size).unwrap();
        let mut model = source.clone();
        let write = |model: &mut Vec<u8>, chunk: usize| {
            let at = chunk * SECTOR;
            let written = store.write(&source.as_slice(), at as u64, &[chunk as u8; 512]);
            if written.is_ok() {
                model[at..at + SECTOR].fill(chunk as u8);
            }
            written
        };
        for chunk in 0..places {
            write(&mut model, chunk).unwrap();
        }
        file.0.lock().unwrap().full = true;
        let error = write(&mut model, 50).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(all(&store, &source) == model);
        // With 32 pairs, the map needs another area, which has no space.
        let committed = store.commit();
        assert_eq!(committed.is_ok(), places != 32, "{places}");
        let now = file.0.lock().unwrap().durable.clone();
        let found = load(&Arc::new(Volatile::new(now)), 512, size).unwrap();
        match committed {
            Ok(()) => assert!(all(&found, &source) == model, "{places}"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
        }
        file.0.lock().unwrap().full = false;
        write(&mut model, 50).unwrap();
        store.commit().unwrap();
        let now = file.0.lock().unwrap().durable.clone();
        let found = load(&Arc::new(Volatile::new(now)), 512, size).unwrap();
        assert!(all(&found, &source) == model, "{places}");
    }
}

#[test]
fn after_a_failed_sync_nothing_is_accepted_any_more() {
    let source = Random::new(5).bytes(100_000);
    let file = Arc::new(Volatile::new(new_file(4096, &source)));
    let store = load(&file, 4096, source.len() as u64).unwrap();
    let write = || store.write(&source.as_slice(), 5000, &[1; 512]);
    write().unwrap();
    file.0.lock().unwrap().sync_fails = true;
    store.commit().unwrap_err();
    file.0.lock().unwrap().sync_fails = false;
    store.commit().unwrap_err();
    write().unwrap_err();
}

#[test]
fn the_kernel_may_use_the_file_in_between() {
    let source = Random::new(6).bytes(40 * SECTOR as u64);
    let size = source.len() as u64;
    let mut bytes = new_file(512, &source);
    // It was made longer, and the kernel has put chunk 9 into place 3 and then chunk 7 into place 2.
    bytes.resize(100 * SECTOR, 0);
    for (at, number) in [9, 3, 7, 2_u64].iter().enumerate() {
        bytes[SECTOR + at * 8..][..8].copy_from_slice(&number.to_le_bytes());
    }
    bytes[2 * SECTOR..3 * SECTOR].fill(0x77);
    bytes[3 * SECTOR..4 * SECTOR].fill(0x99);
    let file = Arc::new(Volatile::new(bytes));
    let store = load(&file, 512, size).unwrap();
    let mut model = source.clone();
    model[7 * SECTOR..8 * SECTOR].fill(0x77);
    model[9 * SECTOR..10 * SECTOR].fill(0x99);
    assert!(all(&store, &source) == model);
    model[8 * SECTOR..9 * SECTOR].fill(0x88);
    store
        .write(&source.as_slice(), 8 * 512, &[0x88; 512])
        .unwrap();
    store.commit().unwrap();
    assert!(all(&load(&file, 512, size).unwrap(), &source) == model);
    assert_eq!(file.0.lock().unwrap().current.len(), 100 * SECTOR);
}

/// A store with two full map areas and a part of a third.
fn filled() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let source: Vec<u8> = Random::new(8).bytes(100_000);
    let file = Arc::new(Volatile::new(new_file(512, &source)));
    let store = load(&file, 512, source.len() as u64).unwrap();
    let mut model = source.clone();
    for at in (0..75_000).step_by(1000) {
        model[at..at + 600].fill(0xAA);
        store
            .write(&source.as_slice(), at as u64, &[0xAA; 600])
            .unwrap();
    }
    store.commit().unwrap();
    let bytes = file.0.lock().unwrap().durable.clone();
    (source, bytes, model)
}

#[test]
fn wrong_maps_are_refused() {
    let (source, good, _) = filled();
    let fault = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let file = Arc::new(Volatile::new(bytes));
        match load(&file, 512, source.len() as u64) {
            Ok(_) => "none".to_owned(),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(fault(&|_| {}), "none");
    let set = |at: usize, value: u64| {
        fault(&move |bytes| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes()))
    };
    // Pair 1 of area 0 is at byte 528.
    assert!(set(528, 500).contains("outside the source"));
    assert!(set(528, u64::MAX).contains("outside the source"));
    assert!(set(536, 1 << 40).contains("outside the file"));
    assert!(set(536, u64::MAX).contains("outside the file"));
    assert!(set(536, 1).contains("map area"));
    assert!(set(536, 34).contains("map area"));
    assert!(set(528, 0).contains("a place already"));
    assert!(set(536, 2).contains("two chunks the place"));
    for len in [0, 512, 1000, 34 * 512, 40 * 512] {
        assert_ne!(fault(&|bytes| bytes.truncate(len)), "none", "{len}");
    }
}

#[test]
fn a_cut_off_or_changed_file_never_yields_other_bytes_than_its_map_says() {
    let (source, good, model) = filled();
    for len in (0..good.len()).step_by(97) {
        let file = Arc::new(Volatile::new(good[..len].to_vec()));
        if let Ok(store) = load(&file, 512, source.len() as u64) {
            assert!(all(&store, &source) == model, "{len}");
        }
    }
    let mut random = Random::new(77);
    for _ in 0..2000 {
        let mut bytes = good.clone();
        let area = [1, 34, 67][random.below(3) as usize] * 512;
        let at = area + random.below(512) as usize;
        bytes[at] ^= 1 << random.below(8);
        let file = Arc::new(Volatile::new(bytes));
        if let Ok(store) = load(&file, 512, source.len() as u64) {
            let _ = all(&store, &source);
        }
    }
}
