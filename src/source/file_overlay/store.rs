//! The changed chunks and their map, in a file.
//!
//! A chunk that is changed for the first time is copied to a free place of the file, with the change.
//! Later changes are written there. The map on disk gets a pair of a chunk and its place only after the
//! content of the place is on stable storage: a power failure before that leaves the chunk as it was.
//!
//! A power failure can also leave a part of the pairs that were written at once. The first place of 0
//! ends the map, so what is behind it does not count, and is overwritten with zeros before pairs are
//! added. For the same reason, the next map area is overwritten with zeros before an area becomes full.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard,
    RwLockWriteGuard,
};
use std::thread::JoinHandle;
use std::time::Duration;

use super::changes::Changes;
use super::format::{Fault, Geometry, HEADER_LEN, PAIR_LEN, encode_pairs, pairs};
use super::storage::Storage;
use crate::source::ReadAt;

/// How long a chunk stays out of the map on disk at most, if no one flushes.
const DELAY: Duration = Duration::from_secs(1);
/// How many chunks stay out of it at most.
const MAX_PENDING: usize = 4096;
/// The most bytes that are copied at a time.
const MAX_COPY: u64 = 1 << 20;

/// Why a store cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The chunks of a source that were changed.
pub(super) struct Store<F> {
    file: F,
    geometry: Geometry,
    changes: RwLock<Changes>,
    room: Mutex<Room>,
    /// A claimed chunk was stored or given back.
    unclaimed: Condvar,
    /// There is something to commit, or the store is closed.
    to_commit: Condvar,
    end: Mutex<MapEnd>,
    /// Whether something was written since the last sync.
    dirty: AtomicBool,
    /// Why a sync failed.
    lost: OnceLock<io::ErrorKind>,
}

/// Which places are free, and what is on its way to the map.
#[derive(Debug, Default)]
struct Room {
    /// The first place that was never used.
    next: u64,
    /// Places before it that are free.
    spare: Vec<u64>,
    /// Chunks that are being copied. Other writers wait for them.
    claimed: BTreeSet<u64>,
    /// Chunks that have been copied, and their places. The map on disk does not have them yet.
    pending: Vec<(u64, u64)>,
    closed: bool,
}

/// Where the map on disk ends.
#[derive(Debug, Clone, Copy)]
struct MapEnd {
    area: u64,
    /// Pairs in that area.
    used: usize,
}

/// What a writer does with a chunk and those after it.
enum Claim {
    /// They are stored from this place on: this many chunks.
    Stored { place: u64, chunks: u64 },
    /// They are to be copied to these places.
    New { places: Vec<u64> },
}

impl<F: Storage> Store<F> {
    /// Writes the first two chunks of a new store.
    pub(super) fn create(
        file: &F,
        geometry: Geometry,
        header: &[u8; HEADER_LEN],
    ) -> io::Result<()> {
        file.write_all_at(0, header)?;
        file.set_len(2 * geometry.chunk())
    }

    /// Reads the map of a store for a source of `size` bytes.
    pub(super) fn load(file: F, geometry: Geometry, size: u64) -> Result<Self, LoadError> {
        let limits = Limits {
            source: size.div_ceil(geometry.chunk()),
            file: file.len()? / geometry.chunk(),
        };
        let mut changes = Changes::default();
        let mut places = Vec::new();
        let mut area = vec![0; geometry.chunk_len()];
        let mut number = 0;
        let (end, offset) = loop {
            let chunk = geometry.area(number).filter(|chunk| *chunk < limits.file);
            let offset = chunk.and_then(|chunk| geometry.offset(chunk));
            let offset = offset.ok_or(Fault::CutOff { area: number })?;
            file.read_exact_at(offset, &mut area)?;
            let mut used = 0;
            for (chunk, place) in pairs(&area) {
                let fault = |what| Fault::Pair {
                    area: number,
                    pair: used,
                    what,
                };
                limits.check(geometry, chunk, place).map_err(fault)?;
                if !changes.insert(chunk, place) {
                    return Err(fault("is about a chunk that has a place already").into());
                }
                places.push(place);
                used += 1;
            }
            if used < geometry.pairs() {
                let end = MapEnd { area: number, used };
                break (end, offset);
            }
            number += 1;
        };
        places.sort_unstable();
        if let Some(shared) = places.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Fault::SharedPlace(shared[0]).into());
        }
        // The rest of an interrupted commit must not become a part of the map.
        let rest = end.used * PAIR_LEN;
        if area[rest..].iter().any(|byte| *byte != 0) {
            area[rest..].fill(0);
            file.write_all_at(offset + rest as u64, &area[rest..])?;
            file.sync()?;
        }
        let last = places.last().map_or(1, |last| *last);
        Ok(Self {
            file,
            geometry,
            changes: RwLock::new(changes),
            room: Mutex::new(Room {
                next: last + 1,
                ..Room::default()
            }),
            unclaimed: Condvar::new(),
            to_commit: Condvar::new(),
            end: Mutex::new(end),
            dirty: AtomicBool::new(false),
            lost: OnceLock::new(),
        })
    }

    /// Bytes of a chunk.
    pub(super) fn chunk_size(&self) -> u64 {
        self.geometry.chunk()
    }

    /// How many bytes of the source are stored, in whole chunks.
    pub(super) fn changed(&self) -> u64 {
        self.stored().count().saturating_mul(self.geometry.chunk())
    }

    /// Fills `buf` with the bytes from `offset` on; unchanged ones come from `source`. The range must be
    /// inside the source. No lock is held while anything is read.
    pub(super) fn read(&self, source: &dyn ReadAt, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let (chunk, within) = self.split(at);
            let (place, chunks) = self.stored().stretch(chunk);
            let (now, later) = rest.split_at_mut(self.bytes_in(chunks, within, rest.len()));
            match place {
                None => source.read_exact_at(at, now)?,
                Some(place) => self.file.read_exact_at(self.offset(place)? + within, now)?,
            }
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Stores `bytes` as those from `offset` on. The range must be inside the source.
    pub(super) fn write(&self, source: &dyn ReadAt, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_kept()?;
        // Bounds the memory of what is pending, and what a killed process loses. An error means that the
        // map cannot grow, so nothing more is accepted.
        if self.room().pending.len() >= MAX_PENDING {
            self.commit()?;
        }
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (chunk, within) = self.split(at);
            let last = self.split(at + (rest.len() as u64 - 1)).0;
            let len = match self.claim(chunk, last) {
                Claim::Stored { place, chunks } => {
                    let len = self.bytes_in(chunks, within, rest.len());
                    let written = self
                        .file
                        .write_all_at(self.offset(place)? + within, &rest[..len]);
                    self.dirty.store(true, Ordering::SeqCst);
                    written?;
                    len
                }
                Claim::New { places } => {
                    let len = self.bytes_in(places.len() as u64, within, rest.len());
                    let copied = self.copy(source, chunk, &places, within, &rest[..len]);
                    self.settle(chunk, places, copied.is_ok());
                    copied?;
                    len
                }
            };
            at += len as u64;
            rest = &rest[len..];
        }
        Ok(())
    }

    /// Frees the space of the stored chunks that are in the range as a whole; they read as zeros then.
    pub(super) fn discard(&self, offset: u64, len: u64, size: u64) -> io::Result<()> {
        let end = offset + len;
        let (mut chunk, within) = self.split(offset);
        chunk += u64::from(within != 0);
        // The last chunk of the source may be shorter than others.
        let last = match end == size {
            true => end.div_ceil(self.geometry.chunk()),
            false => self.split(end).0,
        };
        while chunk < last {
            let (place, chunks) = self.stored().stretch(chunk);
            let chunks = chunks.min(last - chunk);
            if let Some(place) = place {
                let len = chunks.saturating_mul(self.geometry.chunk());
                let punched = self.file.punch(self.offset(place)?, len);
                self.dirty.store(true, Ordering::SeqCst);
                punched?;
            }
            chunk += chunks;
        }
        Ok(())
    }

    /// Returns when all chunks that were stored before are on stable storage, and in the map there. Without
    /// space for the map, the chunks wait for the next commit. Once the file could not be synced, this
    /// fails always: it is not known what was lost.
    pub(super) fn commit(&self) -> io::Result<()> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_kept()?;
        let pending = std::mem::take(&mut self.room().pending);
        let dirty = self.dirty.swap(false, Ordering::SeqCst);
        if !dirty && pending.is_empty() {
            return Ok(());
        }
        let mut rest = pending.as_slice();
        let committed = self.commit_pairs(&mut end, &mut rest);
        if committed.is_err() {
            self.dirty.store(true, Ordering::SeqCst);
            // In the same order: a part of these pairs may be in the map, where they are written again.
            self.room().pending.splice(..0, rest.iter().copied());
        }
        committed
    }

    /// Writes pairs to the map, and leaves in `rest` those that are not there.
    fn commit_pairs(&self, end: &mut MapEnd, rest: &mut &[(u64, u64)]) -> io::Result<()> {
        self.round_up()?;
        loop {
            let room = self.geometry.pairs() - end.used;
            let (now, later) = rest.split_at(rest.len().min(room));
            let becomes_full = now.len() == room;
            if becomes_full {
                let next = self.area(end.area + 1)?;
                self.file
                    .write_all_at(next, &vec![0; self.geometry.chunk_len()])?;
            }
            self.sync()?;
            if now.is_empty() {
                return Ok(());
            }
            let offset = self.area(end.area)? + (end.used * PAIR_LEN) as u64;
            self.file.write_all_at(offset, &encode_pairs(now))?;
            self.sync()?;
            match becomes_full {
                true => {
                    *end = MapEnd {
                        area: end.area + 1,
                        used: 0,
                    }
                }
                false => end.used += now.len(),
            }
            *rest = later;
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// After a failure, the system may take what it could not write for written, so another attempt that
    /// succeeds proves nothing.
    fn sync(&self) -> io::Result<()> {
        self.file.sync().inspect_err(|error| {
            let _ = self.lost.set(error.kind());
        })
    }

    fn check_kept(&self) -> io::Result<()> {
        self.lost.get().map_or(Ok(()), |kind| Err((*kind).into()))
    }

    /// Makes the size of the file a multiple of that of a chunk: a write that failed may have ended
    /// anywhere.
    fn round_up(&self) -> io::Result<()> {
        let len = self.file.len()?;
        match len.is_multiple_of(self.geometry.chunk()) {
            true => Ok(()),
            false => self
                .file
                .set_len(len.next_multiple_of(self.geometry.chunk())),
        }
    }

    /// Claims chunks from `chunk` to `last` at most, or says where they are. Waits while another writer
    /// copies the first one.
    fn claim(&self, chunk: u64, last: u64) -> Claim {
        let mut room = self.room();
        let chunks = loop {
            let (place, chunks) = self.stored().stretch(chunk);
            if let Some(place) = place {
                return Claim::Stored { place, chunks };
            }
            if !room.claimed.contains(&chunk) {
                break chunks;
            }
            room = self
                .unclaimed
                .wait(room)
                .unwrap_or_else(PoisonError::into_inner);
        };
        let next_claimed = room.claimed.range(chunk..).next();
        let free = next_claimed.map_or(u64::MAX, |next| next - chunk);
        let most = (MAX_COPY / self.geometry.chunk()).max(1);
        let chunks = chunks.min(free).min(last - chunk + 1).min(most);
        room.claimed.extend(chunk..chunk + chunks);
        let places = (0..chunks).map(|_| room.place(self.geometry)).collect();
        Claim::New { places }
    }

    /// Writes whole chunks: `bytes` begin `within` bytes into the first one, and the source has the rest.
    fn copy(
        &self,
        source: &dyn ReadAt,
        first: u64,
        places: &[u64],
        within: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let size = self.geometry.chunk_len();
        let start = self.offset(first)?;
        let mut copy = vec![0; places.len() * size];
        // The source may end in the last chunk.
        let present = source.size().saturating_sub(start).min(copy.len() as u64);
        let present = usize::try_from(present).unwrap_or(copy.len());
        let from = usize::try_from(within).unwrap_or(0);
        let to = from + bytes.len();
        if from > 0 && to < present && places.len() == 1 {
            source.read_exact_at(start, &mut copy[..present])?;
        } else {
            source.read_exact_at(start, &mut copy[..from])?;
            if to < present {
                source.read_exact_at(start + to as u64, &mut copy[to..present])?;
            }
        }
        copy[from..to].copy_from_slice(bytes);
        let mut rest = copy.as_slice();
        for run in places.chunk_by(|place, next| place + 1 == *next) {
            let (now, later) = rest.split_at(run.len() * size);
            if let Some(place) = run.first() {
                self.file.write_all_at(self.offset(*place)?, now)?;
            }
            rest = later;
        }
        Ok(())
    }

    /// Ends a claim: the chunks are stored at their places, or the places are free again.
    fn settle(&self, first: u64, places: Vec<u64>, is_copied: bool) {
        let mut room = self.room();
        let chunks = first..first + places.len() as u64;
        for chunk in chunks.clone() {
            room.claimed.remove(&chunk);
        }
        if is_copied {
            let mut changes = self.changes_for_writing();
            for (chunk, place) in chunks.zip(places) {
                changes.insert(chunk, place);
                room.pending.push((chunk, place));
            }
            self.to_commit.notify_one();
        } else {
            room.spare.extend(places);
        }
        self.unclaimed.notify_all();
    }

    /// The chunk that contains a byte, and where in it.
    fn split(&self, offset: u64) -> (u64, u64) {
        let size = self.geometry.chunk();
        (offset / size, offset % size)
    }

    /// How many of `len` bytes are in `chunks` chunks, if they begin `within` bytes into the first one.
    fn bytes_in(&self, chunks: u64, within: u64, len: usize) -> usize {
        let bytes = chunks.saturating_mul(self.geometry.chunk()) - within;
        usize::try_from(bytes).unwrap_or(len).min(len)
    }

    fn offset(&self, chunk: u64) -> io::Result<u64> {
        let offset = self.geometry.offset(chunk);
        offset.ok_or_else(|| io::ErrorKind::FileTooLarge.into())
    }

    fn area(&self, number: u64) -> io::Result<u64> {
        let offset = self
            .geometry
            .area(number)
            .and_then(|chunk| self.geometry.offset(chunk));
        offset.ok_or_else(|| io::ErrorKind::FileTooLarge.into())
    }

    fn stored(&self) -> RwLockReadGuard<'_, Changes> {
        self.changes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Storage> Store<F> {
    fn changes_for_writing(&self) -> RwLockWriteGuard<'_, Changes> {
        self.changes.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits what is pending, [`DELAY`] after it was stored, until the store is closed.
    fn commit_until_closed(&self) {
        let mut room = self.room();
        while !room.closed {
            room = match room.pending.is_empty() {
                true => self
                    .to_commit
                    .wait(room)
                    .unwrap_or_else(PoisonError::into_inner),
                false => {
                    let waiting = self
                        .to_commit
                        .wait_timeout_while(room, DELAY, |room| !room.closed);
                    drop(waiting.unwrap_or_else(PoisonError::into_inner));
                    // The next flush reports a failure.
                    let _ = self.commit();
                    self.room()
                }
            };
        }
    }
}

impl Room {
    fn place(&mut self, geometry: Geometry) -> u64 {
        if let Some(place) = self.spare.pop() {
            return place;
        }
        while geometry.is_map(self.next) {
            self.next += 1;
        }
        self.next += 1;
        self.next - 1
    }
}

/// Numbers of chunks of the source and of the file.
struct Limits {
    source: u64,
    file: u64,
}

impl Limits {
    fn check(&self, geometry: Geometry, chunk: u64, place: u64) -> Result<(), &'static str> {
        if chunk >= self.source {
            return Err("is about a chunk outside the source");
        }
        if place >= self.file {
            return Err("names a place outside the file");
        }
        match geometry.is_map(place) {
            true => Err("names the place of the header or of a map area"),
            false => Ok(()),
        }
    }
}

/// The thread that commits what no one flushes. It is started with the first change, so by a thread that
/// answers requests, and has no more capabilities than that one.
#[derive(Default)]
pub(super) struct Committer(OnceLock<Option<JoinHandle<()>>>);

impl Committer {
    /// Starts the thread if it does not run. Without it, chunks are committed at a flush, or
    /// when many are pending.
    pub(super) fn start<F: Storage>(&self, store: &Arc<Store<F>>) {
        self.0.get_or_init(|| {
            let store = store.clone();
            let thread = std::thread::Builder::new().name("fve-commit".to_owned());
            thread.spawn(move || store.commit_until_closed()).ok()
        });
    }

    /// Ends the thread, and commits what is left.
    pub(super) fn close<F: Storage>(&mut self, store: &Store<F>) -> io::Result<()> {
        store.room().closed = true;
        store.to_commit.notify_all();
        if let Some(thread) = self.0.take().flatten() {
            let _ = thread.join();
        }
        store.commit()
    }
}

#[cfg(test)]
mod tests {
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
        let path = std::path::Path::new("/nonexistent");
        let binding = Binding::of(path, &source).unwrap();
        Store::create(&file, geometry, &format::header(geometry, &binding)).unwrap();
        file.0.lock().unwrap().current.clone()
    }

    fn load(
        file: &Arc<Volatile>,
        chunk: u64,
        size: u64,
    ) -> Result<Store<Arc<Volatile>>, LoadError> {
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
}
