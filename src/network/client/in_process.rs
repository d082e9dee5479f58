//! A transport that calls a function instead of using a network: for tests, and for programs that
//! run the server's core themselves.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Exchange, Received, Schedule, Transport, TransportError};
use crate::network::Request;

/// What answers the requests of an [`InProcess`] transport.
pub trait Responder: Send + Sync {
    /// The packets that the client receives after it sent the request for the `nth` time (from 0),
    /// each with the delay after which it arrives.
    fn respond(&self, request: &Request, nth: usize) -> Vec<(Duration, Received)>;
}

impl<F> Responder for F
where
    F: Fn(&Request, usize) -> Vec<(Duration, Received)> + Send + Sync,
{
    fn respond(&self, request: &Request, nth: usize) -> Vec<(Duration, Received)> {
        self(request, nth)
    }
}

/// A transport to a responder in the same process.
#[derive(Debug, Clone)]
pub struct InProcess<R> {
    responder: R,
    schedule: Schedule,
}

impl<R: Responder> InProcess<R> {
    /// Sends twice and waits two seconds each time, as over DHCPv4.
    pub fn new(responder: R) -> Self {
        let waits = [Duration::from_secs(2); 2];
        Self::with_schedule(responder, Schedule::new(Duration::ZERO, waits))
    }

    /// Sends at other times.
    pub fn with_schedule(responder: R, schedule: Schedule) -> Self {
        Self {
            responder,
            schedule,
        }
    }
}

impl<R: Responder> Transport for InProcess<R> {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn schedule(&self) -> Schedule {
        self.schedule.clone()
    }

    fn begin(&self, request: &Request) -> Result<Box<dyn Exchange + '_>, TransportError> {
        Ok(Box::new(InProcessExchange {
            responder: &self.responder,
            request: request.clone(),
            sent: 0,
            pending: VecDeque::new(),
        }))
    }
}

struct InProcessExchange<'a> {
    responder: &'a dyn Responder,
    request: Request,
    sent: usize,
    /// Packets that have not arrived yet, in the order of their arrival.
    pending: VecDeque<(Instant, Received)>,
}

impl Exchange for InProcessExchange<'_> {
    fn send(&mut self) -> Result<(), TransportError> {
        let now = Instant::now();
        let packets = self.responder.respond(&self.request, self.sent);
        self.pending
            .extend(packets.into_iter().map(|(after, what)| (now + after, what)));
        self.pending
            .make_contiguous()
            .sort_by_key(|(when, _)| *when);
        self.sent += 1;
        Ok(())
    }

    fn receive(&mut self, until: Instant) -> Result<Option<Received>, TransportError> {
        let next = self.pending.front().map(|(when, _)| *when);
        let wake = next.map_or(until, |when| when.min(until));
        std::thread::sleep(wake.saturating_duration_since(Instant::now()));
        let arrived = next.is_some_and(|when| when <= until);
        Ok(arrived
            .then(|| self.pending.pop_front())
            .flatten()
            .map(|(_, what)| what))
    }
}
