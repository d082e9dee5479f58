//! A PKCS#11 library that was started, and the requests to it.
//!
//! The library is code from outside: it believes what a card sends, and may crash, hang, or end its
//! process. So it runs in a child process, which is asked one step at a time.

use std::time::Duration;

use super::failures::{failure, impossible, lost};
use super::message::{Answer, MAX_LEN, Request};
use super::module::Module;
use crate::child::{Child, Conversation, Environment, Isolation, Limits, Service};
use crate::error::{Failure, Result};

/// How long logging out and finalizing the library may take. Nothing is waiting for the result.
const CLOSING: Duration = Duration::from_secs(2);

/// The child process that runs a PKCS#11 library.
///
/// Its rights are those of the user: a library opens devices, sockets and files of its own, and writes
/// to some of them. Which environment variables it reads (SOFTHSM2_CONF, OPENSC_CONF, those of p11-kit
/// and of each vendor) is not known.
pub(crate) const TOKENS: Service = Service {
    name: "pkcs11",
    environment: Environment::All,
    max_request: MAX_LEN,
    max_answer: MAX_LEN,
    limits: Limits {
        memory: 1 << 30,
        processor_seconds: 120,
        files: 1024,
        writes_files: true,
        becomes_unprivileged: false,
        keeps_capabilities: true,
    },
    serve,
};

/// Answers requests in the child process.
fn serve(conversation: &mut Conversation) {
    let mut module = Module::default();
    while let Some(bytes) = conversation.next() {
        let Some(request) = Request::decode(&bytes) else {
            return;
        };
        drop(bytes);
        let answer = module.answer(request);
        conversation.answer(answer.encode().as_bytes());
    }
}

/// A library that answers requests.
pub(super) struct Library {
    place: Place,
}

/// Where a library runs.
enum Place {
    InChild(Child),
    Here(Module),
    /// Its process is gone.
    Lost,
}

impl Library {
    /// Starts a process for the library. The library may take `allowed` for all its answers together.
    pub(super) fn start(isolation: Isolation, allowed: Duration) -> Result<Self, Failure> {
        let place = match isolation {
            Isolation::ChildProcess => {
                Place::InChild(Child::start(&TOKENS, allowed).map_err(lost)?)
            }
            Isolation::SameProcess => Place::Here(Module::default()),
        };
        Ok(Self { place })
    }

    pub(super) fn ask(&mut self, request: Request) -> Result<Answer, Failure> {
        self.exchange(request, None)
    }

    /// The same for a step that waits for the user, whose time is not counted with that of the others.
    pub(super) fn ask_within(
        &mut self,
        request: Request,
        time: Duration,
    ) -> Result<Answer, Failure> {
        self.exchange(request, Some(time))
    }

    fn exchange(&mut self, request: Request, time: Option<Duration>) -> Result<Answer, Failure> {
        let answer = match &mut self.place {
            Place::Here(module) => module.answer(request),
            Place::Lost => return Err(impossible()),
            Place::InChild(child) => {
                let request = request.encode();
                let bytes = match time {
                    Some(time) => child.ask_within(request.as_bytes(), time),
                    None => child.ask(request.as_bytes()),
                };
                let answer = bytes
                    .map_err(lost)
                    .and_then(|bytes| Answer::decode(&bytes).ok_or_else(impossible));
                match answer {
                    Ok(answer) => answer,
                    Err(failure) => {
                        self.place = Place::Lost;
                        return Err(failure);
                    }
                }
            }
        };
        match answer {
            Answer::Failed(fault) => Err(failure(fault)),
            answer => Ok(answer),
        }
    }

    /// Whether no further request will be answered.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.place, Place::Lost)
    }
}

impl Drop for Library {
    /// Logs out, so that the card does not stay unlocked for other programs.
    fn drop(&mut self) {
        let _ = self.ask_within(Request::Close, CLOSING);
    }
}
