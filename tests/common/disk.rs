//! A disk in memory that keeps account of every write and flush, can fail at any of them, and can
//! say what a power cut at any moment may leave.

use std::io;
use std::sync::Mutex;

use fve::source::{ReadAt, WriteAt};

/// What was done to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Write(u64, Vec<u8>),
    Flush,
}

/// What fails, counted over writes and flushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Number of the event, from 0.
    pub at: usize,
    /// How many bytes of a write still arrive.
    pub arrive: usize,
}

pub struct Disk {
    state: Mutex<State>,
}

struct State {
    bytes: Vec<u8>,
    events: Vec<Event>,
    fault: Option<Fault>,
}

/// A sector: what a disk writes whole or not at all.
const SECTOR: usize = 512;

impl Disk {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self::failing(bytes, None)
    }

    pub fn failing(bytes: Vec<u8>, fault: Option<Fault>) -> Self {
        Self {
            state: Mutex::new(State {
                bytes,
                events: Vec::new(),
                fault,
            }),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap().bytes.clone()
    }

    pub fn events(&self) -> Vec<Event> {
        self.state.lock().unwrap().events.clone()
    }
}

impl ReadAt for Disk {
    fn size(&self) -> u64 {
        self.state.lock().unwrap().bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.state.lock().unwrap().bytes.read_exact_at(offset, buf)
    }
}

impl WriteAt for Disk {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let arrive = match state.fault {
            Some(fault) if fault.at == state.events.len() => fault.arrive,
            _ => bytes.len(),
        };
        state.bytes[offset as usize..][..arrive].copy_from_slice(&bytes[..arrive]);
        state.events.push(Event::Write(offset, bytes.to_vec()));
        if arrive < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let fails = state
            .fault
            .is_some_and(|fault| fault.at == state.events.len());
        state.events.push(Event::Flush);
        if fails {
            return Err(io::Error::other("the flush was lost"));
        }
        Ok(())
    }
}

/// Sectors to tear a write at: each of the first, where what matters is, then some.
fn few(from: usize, to: usize) -> impl Iterator<Item = usize> {
    const EACH: usize = 8;
    (from..to.min(EACH)).chain((EACH..to).step_by(13))
}

/// What may be on a disk that held `before`, was told `events` and lost power: after every event,
/// with what was not flushed yet there, not there, or there in parts. A name for each.
pub fn after_power_cuts(before: &[u8], events: &[Event]) -> Vec<(String, Vec<u8>)> {
    let mut states = vec![("before anything".to_owned(), before.to_vec())];
    let mut durable = before.to_vec();
    let mut unflushed: Vec<(u64, &[u8])> = Vec::new();
    let mut dice = 0x2545_F491_4F6C_DD1Du64;
    for (number, event) in events.iter().enumerate() {
        match event {
            Event::Flush => {
                for (offset, bytes) in unflushed.drain(..) {
                    durable[offset as usize..][..bytes.len()].copy_from_slice(bytes);
                }
                states.push((format!("event {number}, flushed"), durable.clone()));
            }
            Event::Write(offset, bytes) => {
                unflushed.push((*offset, bytes));
                let count = bytes.len() / SECTOR;
                let prefixes = few(0, count + 1).map(|n| {
                    let arrived: Box<dyn Fn(usize) -> bool> = Box::new(move |i| i < n);
                    (format!("the first {n} sectors"), arrived)
                });
                let suffixes = few(1, count).map(|n| {
                    let arrived: Box<dyn Fn(usize) -> bool> = Box::new(move |i| i >= n);
                    (format!("all but the first {n} sectors"), arrived)
                });
                let random = (0..12).map(|n| {
                    dice ^= dice << 13;
                    dice ^= dice >> 7;
                    dice ^= dice << 17;
                    let (low, high) = (dice, dice.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                    let arrived: Box<dyn Fn(usize) -> bool> =
                        Box::new(move |i| [low, high][i / 64 % 2] >> (i % 64) & 1 == 1);
                    (format!("random sectors, {n}"), arrived)
                });
                for (name, arrived) in prefixes.chain(suffixes).chain(random) {
                    let mut state = durable.clone();
                    for (offset, bytes) in &unflushed {
                        for (i, sector) in bytes
                            .chunks(SECTOR)
                            .enumerate()
                            .filter(|(i, _)| arrived(*i))
                        {
                            let at = *offset as usize + i * SECTOR;
                            state[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                    states.push((format!("event {number}, {name}"), state));
                }
            }
        }
    }
    states
}
