//! [`ReadAt`] and [`WriteAt`] for pointers to sources, and for bytes in memory.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use super::{ReadAt, WriteAt};

/// Implements both traits for a pointer type by passing every call on.
macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<T: ReadAt + ?Sized> ReadAt for $pointer {
            fn size(&self) -> u64 {
                (**self).size()
            }
            fn sector_size(&self) -> Option<u32> {
                (**self).sector_size()
            }
            fn readable(&self, offset: u64, len: u64) -> u64 {
                (**self).readable(offset, len)
            }
            fn modified(&self) -> Option<SystemTime> {
                (**self).modified()
            }
            fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
                (**self).read_exact_at(offset, buf)
            }
        }

        impl<T: WriteAt + ?Sized> WriteAt for $pointer {
            fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
                (**self).write_all_at(offset, bytes)
            }
            fn flush(&self) -> io::Result<()> {
                (**self).flush()
            }
            fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
                (**self).discard(offset, len)
            }
        }
    )+};
}

forward!(&T, Box<T>, Arc<T>);

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buf.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}

impl<const N: usize> ReadAt for [u8; N] {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_exact_at(offset, buf)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_exact_at(offset, buf)
    }
}

/// Copies `new` over the bytes from `offset` on, if there are as many.
fn overwrite(bytes: &mut [u8], offset: u64, new: &[u8]) -> io::Result<()> {
    let old = usize::try_from(offset)
        .ok()
        .and_then(|start| bytes.get_mut(start..start.checked_add(new.len())?))
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    old.copy_from_slice(new);
    Ok(())
}

/// Implements both traits for bytes in memory behind a lock. A poisoned lock is used all the same:
/// whatever panicked, the bytes are still bytes.
macro_rules! locked_bytes {
    ($lock:ident, $read:ident, $write:ident) => {
        impl ReadAt for $lock<Vec<u8>> {
            fn size(&self) -> u64 {
                let bytes = self.$read().unwrap_or_else(PoisonError::into_inner);
                bytes.size()
            }
            fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
                let bytes = self.$read().unwrap_or_else(PoisonError::into_inner);
                bytes.read_exact_at(offset, buf)
            }
        }

        impl WriteAt for $lock<Vec<u8>> {
            fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
                let mut all = self.$write().unwrap_or_else(PoisonError::into_inner);
                overwrite(&mut all, offset, bytes)
            }
            fn flush(&self) -> io::Result<()> {
                Ok(())
            }
        }
    };
}

locked_bytes!(Mutex, lock, lock);
locked_bytes!(RwLock, read, write);
