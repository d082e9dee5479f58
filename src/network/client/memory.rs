//! A network of one process: for tests, and for whoever has a server's core at hand.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Exchange, Received, Timetable, Transport, TransportError};
use crate::network::Request;

/// Whatever is at the other end of a [`Memory`].
pub trait Network: Send + Sync {
    /// What comes of the request when it is sent the `nth` time (from 0): each after that time.
    fn sent(&self, request: &Request, nth: usize) -> Vec<(Duration, Received)>;
}

impl<F> Network for F
where
    F: Fn(&Request, usize) -> Vec<(Duration, Received)> + Send + Sync,
{
    fn sent(&self, request: &Request, nth: usize) -> Vec<(Duration, Received)> {
        self(request, nth)
    }
}

/// A transport to a function in the same process.
pub struct Memory<N> {
    network: N,
    timetable: Timetable,
}

impl<N: Network> Memory<N> {
    /// To that function, with two sendings as DHCP has them.
    pub fn new(network: N) -> Self {
        Self::with_timetable(
            network,
            Timetable {
                delay: Duration::ZERO,
                waits: vec![Duration::from_secs(2); 2],
            },
        )
    }

    /// The same with other times.
    pub fn with_timetable(network: N, timetable: Timetable) -> Self {
        Self { network, timetable }
    }
}

impl<N: Network> Transport for Memory<N> {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn timetable(&self) -> Timetable {
        self.timetable.clone()
    }

    fn begin(&self, request: &Request) -> Result<Box<dyn Exchange + '_>, TransportError> {
        Ok(Box::new(UnderWay {
            network: &self.network,
            request: request.clone(),
            sent: 0,
            coming: VecDeque::new(),
        }))
    }
}

struct UnderWay<'a> {
    network: &'a dyn Network,
    request: Request,
    sent: usize,
    /// In the order in which they come.
    coming: VecDeque<(Instant, Received)>,
}

impl Exchange for UnderWay<'_> {
    fn send(&mut self) -> Result<(), TransportError> {
        let now = Instant::now();
        let come = self.network.sent(&self.request, self.sent);
        self.coming
            .extend(come.into_iter().map(|(after, what)| (now + after, what)));
        self.coming.make_contiguous().sort_by_key(|(when, _)| *when);
        self.sent += 1;
        Ok(())
    }

    fn receive(&mut self, until: Instant) -> Result<Option<Received>, TransportError> {
        let next = self.coming.front().map(|(when, _)| *when);
        let wake = next.map_or(until, |when| when.min(until));
        std::thread::sleep(wake.saturating_duration_since(Instant::now()));
        let here = next.is_some_and(|when| when <= until);
        Ok(here
            .then(|| self.coming.pop_front())
            .flatten()
            .map(|(_, what)| what))
    }
}
