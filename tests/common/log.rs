//! A writer that keeps what is written to it.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// A buffer shared by all clones.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Everything that was written so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("log").clone()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("log").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
