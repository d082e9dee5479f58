//! Memory for secrets: pages of their own, locked once and shared by many secrets.
//!
//! Locks of the kernel do not count: whoever unlocks a page that two secrets share unlocks both.
//! So pages of the ordinary heap could only be locked for the life of the process, and a program
//! that makes many secrets would use up what it may lock. Here a page is mapped and locked when it
//! is needed, cut into 64 slots, and given back once all of its slots are free, but for a few.
//!
//! Pages are kept out of core dumps, too. Locking is best effort: where the limit on locked memory
//! is reached, a page is used as it is.
//!
//! Of the crates for this, `memsec` and `secrets` (on libsodium) take several pages for each secret,
//! and `region` locks pages without counting who uses them.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroize;

use super::pages::{map, page_size, unmap};

/// Slots in a page: the bits of a word that tells which are in use.
const SLOTS: usize = u64::BITS as usize;
/// Least bytes of a slot; what lies at the start of one is aligned to that.
const LEAST_SLOT: usize = 64;
/// Pages without any secret that are kept for the next.
const SPARE_PAGES: usize = 4;
/// Pages that are searched for several free slots in a row before a new one is mapped.
const SEARCHED: usize = 16;

struct Arena {
    /// Bytes of a page: 64 slots.
    page: usize,
    /// By address: which slots are in use.
    pages: BTreeMap<usize, u64>,
    /// Addresses of pages with a free slot.
    with_room: BTreeSet<usize>,
    /// How many pages have no slot in use.
    spare: usize,
}

static ARENA: LazyLock<Mutex<Arena>> = LazyLock::new(|| {
    Mutex::new(Arena {
        page: page_size().max(LEAST_SLOT * SLOTS),
        pages: BTreeMap::new(),
        with_room: BTreeSet::new(),
        spare: 0,
    })
});

fn arena() -> MutexGuard<'static, Arena> {
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arena {
    /// Room for `len` bytes, all zero.
    fn allocate(&mut self, len: usize) -> NonNull<u8> {
        let slot = self.page / SLOTS;
        let wanted = len.div_ceil(slot).max(1);
        if wanted > SLOTS {
            return map(len.next_multiple_of(self.page));
        }
        let mut found = None;
        for address in self.with_room.iter().take(SEARCHED) {
            let used = self.pages.get(address).copied().unwrap_or(u64::MAX);
            if let Some(first) = free_run(used, wanted) {
                found = Some((*address, used, first));
                break;
            }
        }
        let (address, used, first) = found.unwrap_or_else(|| {
            let address = map(self.page).as_ptr().expose_provenance();
            self.spare += 1;
            self.with_room.insert(address);
            (address, 0, 0)
        });
        if used == 0 {
            self.spare -= 1;
        }
        let used = used | mask(first, wanted);
        self.pages.insert(address, used);
        if used == u64::MAX {
            self.with_room.remove(&address);
        }
        let start = std::ptr::with_exposed_provenance_mut(address + first * slot);
        // A page never lies at address 0.
        NonNull::new(start).unwrap_or(NonNull::dangling())
    }

    /// Takes back what [`Arena::allocate`] gave for `len` bytes, which were set to zero.
    fn release(&mut self, start: NonNull<u8>, len: usize) {
        let slot = self.page / SLOTS;
        let wanted = len.div_ceil(slot).max(1);
        if wanted > SLOTS {
            return unmap(start.as_ptr(), len.next_multiple_of(self.page));
        }
        let at = start.as_ptr().addr();
        let address = at - at % self.page;
        let Some(used) = self.pages.get_mut(&address) else {
            return;
        };
        *used &= !mask((at - address) / slot, wanted);
        self.with_room.insert(address);
        if *used != 0 {
            return;
        }
        if self.spare < SPARE_PAGES {
            self.spare += 1;
            return;
        }
        self.pages.remove(&address);
        self.with_room.remove(&address);
        unmap(std::ptr::with_exposed_provenance_mut(address), self.page);
    }
}

/// The bits of `count` slots from `first` on.
fn mask(first: usize, count: usize) -> u64 {
    (u64::MAX >> (SLOTS - count)) << first
}

/// The first of `count` free slots in a row.
fn free_run(used: u64, count: usize) -> Option<usize> {
    (0..=SLOTS - count).find(|first| used & mask(*first, count) == 0)
}

/// Secret bytes in locked pages; wiped when dropped.
pub(crate) struct LockedBytes {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the bytes belong to this value alone.
unsafe impl Send for LockedBytes {}
// SAFETY: as above; a shared reference only reads.
unsafe impl Sync for LockedBytes {}

impl LockedBytes {
    /// That many zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        let start = arena().allocate(len);
        Self { start, len }
    }

    /// A copy of the bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }
}

impl Deref for LockedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes lie there, and belong to this value.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for LockedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else refers to them.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        self.zeroize();
        arena().release(self.start, self.len);
    }
}

/// A value in locked pages; dropped and wiped with this.
///
/// What is handed to [`Locked::new`] passes through the stack: whoever makes one of a secret works
/// inside [`leave_nothing`](super::leave_nothing).
pub(crate) struct Locked<T> {
    at: NonNull<T>,
}

// SAFETY: the value belongs to this one alone.
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: as above; a shared reference gives out a shared reference.
unsafe impl<T: Sync> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub(crate) fn new(value: T) -> Self {
        const { assert!(align_of::<T>() <= LEAST_SLOT) };
        let at = arena().allocate(size_of::<T>()).cast::<T>();
        // SAFETY: the place has room for the value, is aligned to a slot, and nobody else uses it.
        unsafe { at.write(value) };
        Self { at }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value lies there from `new` to `drop`.
        unsafe { self.at.as_ref() }
    }
}

impl<T> DerefMut for Locked<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and nobody else refers to it.
        unsafe { self.at.as_mut() }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        let len = size_of::<T>();
        // SAFETY: the value is dropped once, and its place is then bytes that nobody refers to.
        let bytes = unsafe {
            self.at.drop_in_place();
            std::slice::from_raw_parts_mut(
                self.at.as_ptr().cast::<std::mem::MaybeUninit<u8>>(),
                len,
            )
        };
        bytes.zeroize();
        arena().release(self.at.cast(), len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_runs_of_free_slots() {
        assert_eq!(free_run(0, 64), Some(0));
        assert_eq!(free_run(1, 64), None);
        assert_eq!(free_run(0b1011, 1), Some(2));
        assert_eq!(free_run(0b1011, 2), Some(4));
        assert_eq!(free_run(u64::MAX, 1), None);
        assert_eq!(mask(62, 2), 0b11 << 62);
    }

    #[test]
    fn secrets_of_every_size_keep_apart() {
        let mut kept = Vec::new();
        for round in 0..3 {
            for len in (0..300).chain([4095, 4096, 4097, 70_000]) {
                let mut bytes = LockedBytes::zeroed(len);
                assert!(bytes.iter().all(|byte| *byte == 0), "{len}");
                let fill = (len % 251) as u8 + round;
                bytes.fill(fill);
                kept.push((bytes, fill));
            }
            // Every other one goes, and its room is used again.
            let mut nth = 0;
            kept.retain(|_| {
                nth += 1;
                nth % 2 == 0
            });
            for (bytes, fill) in &kept {
                assert!(bytes.iter().all(|byte| byte == fill));
            }
        }
    }

    #[test]
    fn a_value_is_dropped_with_its_place() {
        let counted = std::sync::Arc::new(());
        let locked = Locked::new(counted.clone());
        assert_eq!(std::sync::Arc::strong_count(&*locked), 2);
        drop(locked);
        assert_eq!(std::sync::Arc::strong_count(&counted), 1);
    }
}
