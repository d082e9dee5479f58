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

/// Where the copy of the header is in a file of `len` bytes.
pub(super) fn copy_at(len: u64) -> u64 {
    len.saturating_sub(HEADER_LEN as u64)
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

    /// The file that it is in.
    pub(super) fn file(&self) -> &F {
        &self.file
    }

    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
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

    /// Makes the file so long that each chunk of a source of `size` bytes has a place in it, and puts a copy of the
    /// header at its end, where no place is.
    pub(super) fn make_room(&self, size: u64, header: &[u8; HEADER_LEN]) -> io::Result<()> {
        let chunks = size.div_ceil(self.geometry.chunk());
        let areas = chunks / self.geometry.pairs() as u64;
        let without = chunks.saturating_sub(self.stored().count());
        let end = self.room().next.saturating_add(without + areas + 4);
        let len = self.offset(end)?.max(self.file.len()?);
        let len = len.next_multiple_of(self.geometry.chunk());
        self.file.set_len(len)?;
        self.file.write_all_at(copy_at(len), header)?;
        self.file.sync()
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
mod tests;
