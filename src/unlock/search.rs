//! Tries many recovery passwords on the key protectors of a volume, on all CPUs and in all SIMD lanes
//! (docs/format-recovery-password.md §1.9).
//!
//! Threads take batches of candidates in the order of their numbers. A [`Watch`] lets another thread
//! read their progress, and the number from which a later search must continue to leave no candidate
//! out. A hit is proved by the authentication tag of the sealed VMK; the caller then unlocks the
//! volume with it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Answer, open_vmk};
use crate::crypto::stretch::{InitialHash, Lanes, ROUNDS};
use crate::error::{Error, Remedy, Result};
use crate::format::datum::STRETCH_FLAG_PBKDF2;
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::guid::Guid;
use crate::recovery_password::{Candidates, RecoveryPassword};
use crate::secret::RecoveryKey;

/// A search: the candidates and the key protectors to try them on.
pub struct Search<'a> {
    candidates: &'a Candidates,
    targets: Vec<Target<'a>>,
    lanes: Lanes,
    threads: usize,
}

/// A recovery password protector. Each has its own salt, so every candidate must be stretched again
/// for each of them.
struct Target<'a> {
    protector: &'a KeyProtector,
    salt: [u8; 16],
}

/// A recovery password that unlocks a key protector.
#[derive(Debug)]
#[non_exhaustive]
pub struct Hit {
    /// The recovery password.
    pub password: RecoveryPassword,
    /// The key protector that it unlocks.
    pub protector: Guid,
    /// Number of the candidate, from 0.
    pub number: u64,
}

/// Progress of a search, for other threads to read while it runs.
#[derive(Debug)]
pub struct Watch {
    /// Number of the first candidate of the search.
    from: u64,
    /// First candidate of the current batch of each thread, or [`NOT_STARTED`]. All candidates before
    /// the least of them were tried.
    at: Vec<AtomicU64>,
    tried: AtomicU64,
    stop: AtomicBool,
}

/// Marks a thread that has taken no candidate yet, and may never start.
const NOT_STARTED: u64 = u64::MAX;

/// Most threads of a search, since each needs memory.
const MAX_THREADS: usize = 1024;

impl Watch {
    /// Number of candidates that were tried.
    pub fn tried(&self) -> u64 {
        self.tried.load(Ordering::Relaxed)
    }

    /// Number of the candidate from which a later search must continue.
    pub fn resume_at(&self) -> u64 {
        let at = self.at.iter().map(|at| at.load(Ordering::SeqCst));
        let started = at.filter(|at| *at != NOT_STARTED);
        started.min().unwrap_or(self.from)
    }

    /// Ends the search after the current batches.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether [`Watch::stop`] was called, or a password was found.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Search<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl<'a> Search<'a> {
    /// A search on those of these key protectors that have a recovery password.
    ///
    /// # Errors
    /// [`Error::BadCredential`] if none of them has.
    pub fn new(candidates: &'a Candidates, protectors: &[&'a KeyProtector]) -> Result<Self> {
        let targets: Vec<_> = protectors
            .iter()
            .filter(|protector| protector.kind() == ProtectorKind::RecoveryPassword)
            .filter_map(|protector| {
                let stretch = protector.stretch()?;
                // FIPS mode stretches with PBKDF2, with undocumented inputs.
                let known = stretch.flags & STRETCH_FLAG_PBKDF2 == 0;
                known.then_some(Target {
                    protector,
                    salt: stretch.salt,
                })
            })
            .collect();
        if targets.is_empty() {
            return Err(Error::BadCredential {
                credential: "recovery password".to_owned(),
                why: "the volume has no recovery password to search for".to_owned(),
                remedy: Some(Remedy::ShowProtectors),
            });
        }
        Ok(Self {
            candidates,
            targets,
            lanes: Lanes::best(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }

    /// The same on this many threads, at most 1024; on fewer if the system does not start as many.
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads.clamp(1, MAX_THREADS);
        self
    }

    /// The SIMD lanes in which each thread stretches candidates.
    pub fn lanes(&self) -> Lanes {
        self.lanes
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Identifiers of the key protectors that are tried.
    pub fn protectors(&self) -> impl Iterator<Item = Guid> {
        self.targets.iter().map(|target| target.protector.id)
    }

    /// Measures for about this long how many candidates all threads together try in a second. A small
    /// search does not fill its batches and is slower.
    pub fn measure(&self, time: Duration) -> f64 {
        /// 1/32 of the rounds takes some milliseconds.
        const PART: u64 = 32;
        let hash = |nth: usize| {
            let key = RecoveryKey::from_bytes(&[nth as u8; 16]);
            InitialHash::of_recovery_key(&key)
        };
        let batch: Vec<_> = (0..self.lanes.width()).map(hash).collect();
        let start = Instant::now();
        let rate = Mutex::new(0.0);
        let work = || {
            let mut done = 0;
            while start.elapsed() < time {
                self.lanes.stretch_rounds(&batch, &[0; 16], ROUNDS / PART);
                done += batch.len();
            }
            let mut rate = rate.lock().unwrap_or_else(PoisonError::into_inner);
            *rate += done as f64 / start.elapsed().as_secs_f64();
        };
        crate::threads::share(self.threads - 1, work);
        let rate = rate.into_inner().unwrap_or_else(PoisonError::into_inner);
        rate / PART as f64 / self.targets.len() as f64
    }

    /// The progress of a search that begins with candidate `from`.
    pub fn watch(&self, from: u64) -> Watch {
        Watch {
            from,
            at: (0..self.threads)
                .map(|_| AtomicU64::new(NOT_STARTED))
                .collect(),
            tried: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Tries all candidates from `from` on. Ends with the first that unlocks a key protector, after the
    /// last one, or when the watch stops it.
    pub fn run(&self, from: u64, watch: &Watch) -> Option<Hit> {
        let count = u64::try_from(self.candidates.count()).unwrap_or(u64::MAX);
        // In a small search, every thread gets candidates, even if it does not fill its lanes.
        let share = count.saturating_sub(from).div_ceil(self.threads as u64);
        let batch = share.clamp(1, self.lanes.width() as u64);
        let next = AtomicU64::new(from);
        let found = Mutex::new(None);
        let places = Mutex::new(watch.at.iter());
        crate::threads::share(watch.at.len().saturating_sub(1), || {
            let place = places.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(at) = place else { return };
            // Stored before the batch is taken, or `resume_at` could skip the batch for a moment.
            at.store(next.load(Ordering::SeqCst), Ordering::SeqCst);
            while !watch.is_stopped() {
                let start = next.fetch_add(batch, Ordering::SeqCst).min(count);
                at.store(start, Ordering::SeqCst);
                if start == count {
                    return;
                }
                let end = start.saturating_add(batch).min(count);
                if let Some(hit) = self.try_batch(start, end) {
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.get_or_insert(hit);
                    watch.stop();
                }
                watch.tried.fetch_add(end - start, Ordering::Relaxed);
            }
        });
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same on another thread, while this thread calls `tick` 20 times a second: to show progress,
    /// to save [`Watch::resume_at`], or to end the search with [`Watch::stop`]. If no thread can be
    /// started, the search runs on this thread, and `tick` is never called.
    pub fn run_watched(&self, from: u64, watch: &Watch, tick: &mut dyn FnMut()) -> Option<Hit> {
        /// Time between two calls of `tick`.
        const INTERVAL: Duration = Duration::from_millis(50);
        std::thread::scope(|scope| {
            let work = || self.run(from, watch);
            let Ok(search) = std::thread::Builder::new().spawn_scoped(scope, work) else {
                return self.run(from, watch);
            };
            while !search.is_finished() {
                std::thread::sleep(INTERVAL);
                tick();
            }
            search.join().unwrap_or_default()
        })
    }

    fn try_batch(&self, start: u64, end: u64) -> Option<Hit> {
        let hash = |number| {
            let password = self.candidates.nth(number)?;
            Some(InitialHash::of_recovery_key(&password.to_key()))
        };
        let hashes: Vec<_> = (start..end).map_while(hash).collect();
        self.targets.iter().find_map(|target| {
            let keys = self.lanes.stretch(&hashes, &target.salt);
            let opens = |key: &[u8; 32]| {
                let answer = open_vmk(target.protector, key);
                matches!(answer, Answer::Opened(_))
            };
            let (number, _) = (start..).zip(&keys).find(|(_, key)| opens(key.expose()))?;
            Some(Hit {
                password: self.candidates.nth(number)?,
                protector: target.protector.id,
                number,
            })
        })
    }
}
