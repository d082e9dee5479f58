//! The side of the child process in an exchange of messages.

use std::os::unix::net::UnixStream;

use zeroize::Zeroizing;

use super::frames::{receive_message, send_message};

/// The requests of the process that started this one.
pub(crate) struct Conversation {
    stream: UnixStream,
    max_request: usize,
}

impl Conversation {
    pub(super) fn new(stream: UnixStream, max_request: usize) -> Self {
        Self {
            stream,
            max_request,
        }
    }

    /// The next request; `None` when there is none left.
    pub(crate) fn next(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        receive_message(&mut self.stream, self.max_request, || Ok(())).ok()?
    }

    /// Answers the last request.
    pub(crate) fn answer(&mut self, answer: &[u8]) {
        // If the other process is gone, there is no further request either.
        let _ = send_message(&self.stream, answer);
    }
}
