//! A disk in memory that records every write and flush and can fail at any of them, and the states
//! in which a power failure can leave it.

use std::io;
use std::sync::Mutex;

use fve::source::{ReadAt, WriteAt};

/// An operation on the disk. A write has an offset and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Write(u64, Vec<u8>),
    Flush,
}

/// Which operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Number of the operation, writes and flushes counted together, from 0.
    pub at: usize,
    /// How many bytes of a failing write still reach the disk.
    pub written: usize,
}

pub struct Disk {
    state: Mutex<State>,
}

struct State {
    bytes: Vec<u8>,
    events: Vec<Event>,
    fault: Option<Fault>,
}

/// Bytes that a disk writes completely or not at all.
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
        let written = match state.fault {
            Some(fault) if fault.at == state.events.len() => fault.written,
            _ => bytes.len(),
        };
        state.bytes[offset as usize..][..written].copy_from_slice(&bytes[..written]);
        state.events.push(Event::Write(offset, bytes.to_vec()));
        if written < bytes.len() {
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
            return Err(io::Error::other("the flush failed"));
        }
        Ok(())
    }
}

/// Sector numbers at which a write is interrupted: all of the first eight, which hold the headers,
/// and then every 13th, to bound the time that the tests take.
fn interruption_points(from: usize, to: usize) -> impl Iterator<Item = usize> {
    const EACH: usize = 8;
    (from..to.min(EACH)).chain((EACH..to).step_by(13))
}

/// All states in which a power failure can leave a disk with the content `before` during `events`,
/// each with a description: after every event, with the unflushed writes present, missing, or
/// present in part.
pub fn after_power_cuts(before: &[u8], events: &[Event]) -> Vec<(String, Vec<u8>)> {
    let mut states = vec![("before the first event".to_owned(), before.to_vec())];
    let mut durable = before.to_vec();
    let mut unflushed: Vec<(u64, &[u8])> = Vec::new();
    let mut random = 0x2545_F491_4F6C_DD1Du64;
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
                let prefixes = interruption_points(0, count + 1).map(|n| {
                    let present: Box<dyn Fn(usize) -> bool> = Box::new(move |i| i < n);
                    (format!("the first {n} sectors"), present)
                });
                let suffixes = interruption_points(1, count).map(|n| {
                    let present: Box<dyn Fn(usize) -> bool> = Box::new(move |i| i >= n);
                    (format!("all but the first {n} sectors"), present)
                });
                let scattered = (0..12).map(|n| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let (low, high) = (random, random.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                    let present: Box<dyn Fn(usize) -> bool> =
                        Box::new(move |i| [low, high][i / 64 % 2] >> (i % 64) & 1 == 1);
                    (format!("random sectors, {n}"), present)
                });
                for (name, present) in prefixes.chain(suffixes).chain(scattered) {
                    let mut state = durable.clone();
                    for (offset, bytes) in &unflushed {
                        for (i, sector) in bytes
                            .chunks(SECTOR)
                            .enumerate()
                            .filter(|(i, _)| present(*i))
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
