//! An allocator for secrets: separate pages, locked once and shared by many secrets.
//!
//! The kernel does not count locks: unlocking a page that two secrets share unlocks it for both. So
//! pages of the ordinary heap could never be unlocked, and a program with many secrets would use up
//! its limit on locked memory. Here a page is mapped and locked when it is needed, and divided into 64
//! slots. It is unmapped when all its slots are free, except for a few spare pages.
//!
//! Pages are also excluded from core dumps. At the limit on locked memory, a page is used unlocked.
//!
//! Of the existing crates, `memsec` and `secrets` (on libsodium) use several pages for each secret,
//! and `region` locks pages without counting their users.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroize;

use super::pages::{map, page_size, unmap};

/// Slots in a page: one for each bit of the word that marks those in use.
const SLOTS: usize = u64::BITS as usize;
/// Least bytes of a slot, and the alignment of each.
const LEAST_SLOT: usize = 64;
/// Empty pages that stay mapped for later secrets.
const SPARE_PAGES: usize = 4;
/// Pages that are searched for several free slots in a row before a new one is mapped.
const SEARCHED: usize = 16;

struct Arena {
    /// Bytes of a page.
    page: usize,
    /// For the address of each page, a bit mask of the slots in use.
    pages: BTreeMap<usize, u64>,
    /// Addresses of pages with a free slot.
    with_room: BTreeSet<usize>,
    /// Number of pages without a slot in use.
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
    /// Allocates `len` bytes, all zero.
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
        // No page is mapped at address 0.
        NonNull::new(start).unwrap_or(NonNull::dangling())
    }

    /// Frees `len` bytes from [`Arena::allocate`]. They must be zero.
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

// SAFETY: this value is the only owner of the bytes.
unsafe impl Send for LockedBytes {}
// SAFETY: as above, and a shared reference only reads.
unsafe impl Sync for LockedBytes {}

impl LockedBytes {
    /// `len` zero bytes.
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
        // SAFETY: the `len` bytes are initialized, and owned by this value.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for LockedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is the only reference to them.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        self.zeroize();
        arena().release(self.start, self.len);
    }
}

/// A value in locked pages, dropped and wiped with this owner.
///
/// The argument of [`Locked::new`] passes through the stack, so a caller with a secret value works
/// inside [`leave_nothing`](super::leave_nothing).
pub(crate) struct Locked<T> {
    at: NonNull<T>,
}

// SAFETY: this is the only owner of the value.
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: as above, and a shared reference gives only shared references to the value.
unsafe impl<T: Sync> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub(crate) fn new(value: T) -> Self {
        const { assert!(align_of::<T>() <= LEAST_SLOT) };
        let at = arena().allocate(size_of::<T>()).cast::<T>();
        // SAFETY: the allocation is large enough, aligned to a slot, and not used otherwise.
        unsafe { at.write(value) };
        Self { at }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value is initialized from `new` to `drop`.
        unsafe { self.at.as_ref() }
    }
}

impl<T> DerefMut for Locked<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `&mut self` is the only reference to it.
        unsafe { self.at.as_mut() }
    }
}

impl<T> Drop for Locked<T> {
    fn drop(&mut self) {
        let len = size_of::<T>();
        // SAFETY: the value is dropped once; after that, nothing refers to its bytes.
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
    fn secrets_of_every_size_do_not_overlap() {
        let mut kept = Vec::new();
        for round in 0..3 {
            for len in (0..300).chain([4095, 4096, 4097, 70_000]) {
                let mut bytes = LockedBytes::zeroed(len);
                assert!(bytes.iter().all(|byte| *byte == 0), "{len}");
                let fill = (len % 251) as u8 + round;
                bytes.fill(fill);
                kept.push((bytes, fill));
            }
            // Drops every other secret, so that its slots are used again.
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
    fn drops_the_value_once() {
        let counted = std::sync::Arc::new(());
        let locked = Locked::new(counted.clone());
        assert_eq!(std::sync::Arc::strong_count(&*locked), 2);
        drop(locked);
        assert_eq!(std::sync::Arc::strong_count(&counted), 1);
    }
}
