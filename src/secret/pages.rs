//! Whole pages of memory from the system, for the arena.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::ptr::NonNull;

/// Bytes of a page.
#[cfg(unix)]
pub(super) fn page_size() -> usize {
    rustix::param::page_size()
}

/// Pages of zeros, locked and (on Linux) kept out of core dumps as far as the kernel allows. `len`
/// is a multiple of the page size.
#[cfg(unix)]
pub(super) fn map(len: usize) -> NonNull<u8> {
    use rustix::mm::{MapFlags, ProtFlags};

    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use; locking
    // it and keeping it out of dumps change neither its content nor what may be done with it.
    let start = unsafe {
        let start =
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::PRIVATE);
        if let Ok(start) = start {
            let _ = rustix::mm::mlock(start, len);
            #[cfg(target_os = "linux")]
            let _ = rustix::mm::madvise(start, len, rustix::mm::Advice::LinuxDontDump);
        }
        start
    };
    let start = start.ok().and_then(|start| NonNull::new(start.cast()));
    start.unwrap_or_else(|| handle_alloc_error(layout(len)))
}

/// Gives pages back, which unlocks them.
#[cfg(unix)]
pub(super) fn unmap(start: *mut u8, len: usize) {
    // SAFETY: `start` and `len` are those of a whole mapping from `map`, and nothing in it is in
    // use any more.
    let _ = unsafe { rustix::mm::munmap(start.cast(), len) };
}

/// Bytes of a page.
#[cfg(not(unix))]
pub(super) fn page_size() -> usize {
    PAGE
}

/// Pages of zeros. They are not locked: no crate that the library depends on wraps `VirtualLock`.
#[cfg(not(unix))]
pub(super) fn map(len: usize) -> NonNull<u8> {
    // SAFETY: `len` is at least a page, so the layout is not empty.
    let start = unsafe { std::alloc::alloc_zeroed(layout(len)) };
    NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout(len)))
}

/// Gives pages back. The arena has wiped them.
#[cfg(not(unix))]
pub(super) fn unmap(start: *mut u8, len: usize) {
    // SAFETY: `start` comes from `map` with the same `len`, and nothing in it is in use any more.
    unsafe { std::alloc::dealloc(start, layout(len)) };
}

/// Alignment of pages: the least page size of the systems that this is for.
const PAGE: usize = 4096;

fn layout(len: usize) -> Layout {
    // Only a length near `isize::MAX` has no layout, and no secret is that long.
    Layout::from_size_align(len, PAGE).unwrap_or(Layout::new::<[u8; PAGE]>())
}
