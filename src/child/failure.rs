//! Why a child process gave no answer.

use std::io;
use std::time::Duration;

/// Why a child process gave no answer. It is the cause of the [`Error`](crate::Error) that the
/// operation returns.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildFailure {
    /// The program does not call `run_if_requested` first in `main`, so no process was started.
    #[error(
        "this program starts no child processes: it does not call fve::child_main::run_if_requested first in main"
    )]
    NotPrepared,
    /// The process could not be started.
    #[error("no child process could be started")]
    NotStarted(#[source] io::Error),
    /// There was no answer within this time.
    #[error("there was no answer within {} seconds", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The process needed more memory than it may have.
    #[error("the child process for it needed more memory than it may have")]
    OutOfMemory,
    /// The recursion in the process was too deep.
    #[error("the recursion in the child process for it was too deep")]
    StackOverflow,
    /// The process was ended by this signal.
    #[error("the child process for it was ended by signal {0}")]
    Signal(i32),
    /// The code in the process panicked.
    #[error("the code in the child process for it failed on what it received")]
    Panicked,
    /// The process ended with this status before it answered.
    #[error("the child process for it ended early with status {0}")]
    Exited(i32),
    /// The request or the answer was too long or not well formed.
    #[error("the request to a child process or its answer was too long or malformed")]
    Malformed,
}

impl From<ChildFailure> for io::Error {
    fn from(failure: ChildFailure) -> Self {
        let kind = match &failure {
            ChildFailure::TimedOut(_) => io::ErrorKind::TimedOut,
            ChildFailure::OutOfMemory => io::ErrorKind::OutOfMemory,
            ChildFailure::Malformed => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, failure)
    }
}
