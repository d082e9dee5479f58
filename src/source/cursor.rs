//! The traits of `std::io` over a source.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{ReadAt, WriteAt};

/// A source with a position: `Read` and `Seek`, and `Write` where the source can be written to.
///
/// It owns what it reads, so a program can keep it in a struct: `T` is a source, or a reference,
/// `Box` or `Arc` of one. Each cursor has its own position, and any number of them may use the same
/// source at the same time.
///
/// ```
/// use std::io::{Read, Seek, SeekFrom, Write};
/// use std::sync::{Arc, Mutex};
///
/// use fve::source::Cursor;
///
/// let disk = Arc::new(Mutex::new(vec![0; 512]));
/// let mut cursor = Cursor::new(disk.clone());
/// cursor.seek(SeekFrom::Start(500))?;
/// cursor.write_all(b"text")?;
/// cursor.seek(SeekFrom::Current(-4))?;
/// let mut text = [0; 4];
/// cursor.read_exact(&mut text)?;
/// assert_eq!(&text, b"text");
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug, Clone)]
pub struct Cursor<T> {
    source: T,
    position: u64,
}

impl<T: ReadAt> Cursor<T> {
    /// A cursor at the first byte of `source`.
    pub fn new(source: T) -> Self {
        Self {
            source,
            position: 0,
        }
    }

    /// Bytes from the position to the end of the source, but at most `len`.
    fn left(&self, len: usize) -> u64 {
        let left = self.source.size().saturating_sub(self.position);
        left.min(len as u64)
    }
}

impl<T> Cursor<T> {
    /// The source that the cursor reads.
    pub fn get_ref(&self) -> &T {
        &self.source
    }

    /// Gives the source back.
    pub fn into_inner(self) -> T {
        self.source
    }
}

impl<T: ReadAt> Read for Cursor<T> {
    /// Reads up to the next byte that is known to be unreadable ([`ReadAt::readable`]), and fails if
    /// the byte at the position is that one. Any other error of the source fails the whole read. At
    /// the end of the source it reads 0 bytes.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = self.left(buf.len());
        if wanted == 0 {
            return Ok(0);
        }
        let readable = match self.source.readable(self.position, wanted) {
            // Read all the same: the error says why this cannot be read.
            0 => wanted,
            readable => readable.min(wanted),
        };
        let len = usize::try_from(readable).unwrap_or(buf.len());
        self.source.read_exact_at(self.position, &mut buf[..len])?;
        self.position += len as u64;
        Ok(len)
    }
}

impl<T: WriteAt> Write for Cursor<T> {
    /// Writes as much as there is room for before the end of the source, which never becomes
    /// longer. At the end it writes 0 bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = usize::try_from(self.left(bytes.len())).unwrap_or(bytes.len());
        if len == 0 {
            return Ok(0);
        }
        self.source.write_all_at(self.position, &bytes[..len])?;
        self.position += len as u64;
        Ok(len)
    }

    /// Returns when everything written before is on stable storage.
    fn flush(&mut self) -> io::Result<()> {
        self.source.flush()
    }
}

impl<T: ReadAt> Seek for Cursor<T> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(by) => self.source.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, RwLock};

    use super::*;

    #[test]
    fn reads_and_seeks_like_a_file() {
        let mut cursor = Cursor::new(*b"0123456789");
        let mut four = [0; 4];
        cursor.read_exact(&mut four).unwrap();
        assert_eq!(&four, b"0123");
        let mut same_position = cursor.clone();
        assert_eq!(cursor.seek(SeekFrom::End(-3)).unwrap(), 7);
        let mut rest = Vec::new();
        cursor.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"789");
        assert_eq!(same_position.read(&mut four).unwrap(), 4);
        assert_eq!(&four, b"4567");
        assert!(cursor.seek(SeekFrom::Current(-11)).is_err());
        assert_eq!(cursor.seek(SeekFrom::Start(20)).unwrap(), 20);
        assert_eq!(cursor.read(&mut four).unwrap(), 0);
        assert_eq!(cursor.into_inner(), *b"0123456789");
    }

    #[test]
    fn writes_what_fits() {
        let disk = Arc::new(Mutex::new(vec![0; 10]));
        let mut cursor = Cursor::new(disk.clone());
        cursor.seek(SeekFrom::Start(8)).unwrap();
        assert_eq!(cursor.write(b"abc").unwrap(), 2);
        assert_eq!(cursor.write(b"c").unwrap(), 0);
        cursor.flush().unwrap();
        assert_eq!(*disk.lock().unwrap(), b"\0\0\0\0\0\0\0\0ab");
    }

    #[test]
    fn reads_up_to_the_first_byte_that_cannot_be_read() {
        /// Ten bytes, of which those from the fifth on cannot be read.
        struct Half;
        impl ReadAt for Half {
            fn size(&self) -> u64 {
                10
            }
            fn readable(&self, offset: u64, len: u64) -> u64 {
                len.min(5u64.saturating_sub(offset))
            }
            fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
                if offset + buf.len() as u64 > 5 {
                    return Err(io::Error::other("unreadable"));
                }
                buf.fill(7);
                Ok(())
            }
        }
        // Every wrapper passes the question on.
        let sources: [Box<dyn ReadAt>; 3] = [
            Box::new(Half),
            Box::new(Arc::new(Half)),
            Box::new(super::super::Window::new(Half, 0, 10)),
        ];
        for source in sources {
            let mut cursor = Cursor::new(source);
            let mut buf = [0; 10];
            assert_eq!(cursor.read(&mut buf).unwrap(), 5);
            assert_eq!(cursor.read(&mut buf).unwrap_err().to_string(), "unreadable");
        }
    }

    #[test]
    fn memory_behind_a_lock_can_be_written_but_not_made_longer() {
        let sources: [Box<dyn WriteAt>; 2] = [
            Box::new(Mutex::new(vec![0; 10])),
            Box::new(RwLock::new(vec![0; 10])),
        ];
        for disk in sources {
            disk.write_all_at(8, &[1, 2]).unwrap();
            for offset in [9, u64::MAX] {
                let error = disk.write_all_at(offset, &[3, 4]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{offset}");
            }
            let mut buf = [9; 3];
            disk.read_exact_at(7, &mut buf).unwrap();
            assert_eq!(buf, [0, 1, 2]);
            assert_eq!(disk.size(), 10);
        }
    }
}
