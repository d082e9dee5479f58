//! Where an output is written in order, piece by piece.

use std::io::{self, Write};

/// An output that is written in order.
pub(super) trait Sink {
    /// Memory for the next `len` bytes, whatever it contains.
    ///
    /// # Errors
    /// If the system has no memory.
    fn buffer(&mut self, len: usize) -> io::Result<&mut [u8]>;

    /// Writes the first `len` bytes of the memory that [`Sink::buffer`] gave last.
    ///
    /// # Errors
    /// If they cannot be written.
    fn send(&mut self, len: usize) -> io::Result<()>;

    /// Returns when everything was passed on.
    ///
    /// # Errors
    /// If it cannot be written.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream that copies what it is given.
pub(super) struct Copied<'a> {
    output: &'a mut dyn Write,
    bytes: Vec<u8>,
}

impl<'a> Copied<'a> {
    pub(super) fn new(output: &'a mut dyn Write) -> Self {
        let bytes = Vec::new();
        Self { output, bytes }
    }
}

impl Sink for Copied<'_> {
    fn buffer(&mut self, len: usize) -> io::Result<&mut [u8]> {
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        Ok(&mut self.bytes[..len])
    }

    fn send(&mut self, len: usize) -> io::Result<()> {
        self.output.write_all(&self.bytes[..len])
    }

    fn finish(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
