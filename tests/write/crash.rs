//! The state after a crash: after a power failure at any moment, and after the server of a mount
//! was killed, the volume can be unlocked, all acknowledged writes are present, and nothing else
//! changed.
//!
//! `FVE_CRASH_RUNS` multiplies the number of runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::trials::{self, trial};
use crate::common::writing::{
    Random, SIZE, placement, plaintext_of, reserved, volume_with_clear_key, writable,
};
use crate::common::{fve, testdata};
use fve::crypto::sector::METHODS;
use fve::source::{ReadAt, WriteAt};

/// Power failures for each of the twelve kinds of volume.
const CUTS: u64 = 20;
/// Number of servers that are killed.
const KILLS: u64 = 25;

fn times(runs: u64) -> u64 {
    let factor = std::env::var("FVE_CRASH_RUNS").ok();
    runs * factor.map_or(1, |factor| factor.parse().expect("a number"))
}

/// The allowed contents after a crash, sector by sector: the acknowledged content, or any content
/// that was written to the sector later.
struct Model {
    sector: usize,
    /// The plaintext with all writes.
    current: Vec<u8>,
    /// For sectors that were written since the last acknowledgement, all their contents since then.
    versions: BTreeMap<usize, Vec<Vec<u8>>>,
}

impl Model {
    fn new(sector: usize, plaintext: Vec<u8>) -> Self {
        Self {
            sector,
            current: plaintext,
            versions: BTreeMap::new(),
        }
    }

    /// Records a write. Must be called before the write begins.
    fn write(&mut self, start: usize, bytes: &[u8]) {
        let sectors = start / self.sector..=(start + bytes.len() - 1) / self.sector;
        for sector in sectors.clone() {
            let before = self.content(sector).to_vec();
            self.versions.entry(sector).or_insert_with(|| vec![before]);
        }
        self.current[start..start + bytes.len()].copy_from_slice(bytes);
        for sector in sectors {
            let after = self.content(sector).to_vec();
            self.versions.entry(sector).or_default().push(after);
        }
    }

    fn acknowledged(&mut self) {
        self.versions.clear();
    }

    fn content(&self, sector: usize) -> &[u8] {
        &self.current[sector * self.sector..][..self.sector]
    }

    /// Compares with the content after a crash, and returns the number of sectors that lost
    /// unacknowledged writes.
    fn check(&self, found: &[u8], run: &str) -> usize {
        assert_eq!(found.len(), self.current.len());
        let mut lost = 0;
        for (sector, found) in found.chunks(self.sector).enumerate() {
            match self.versions.get(&sector) {
                None => assert!(found == self.content(sector), "{run}: sector {sector}"),
                Some(versions) => {
                    let known = versions.iter().any(|version| version == found);
                    assert!(
                        known,
                        "{run}: sector {sector} holds bytes that were never written"
                    );
                    lost += usize::from(found != self.content(sector));
                }
            }
        }
        lost
    }
}

/// A disk with a volatile write cache. It writes each sector completely or not at all, as disks do,
/// and the sectors of several writes in any order.
struct Volatile {
    sector: usize,
    state: Mutex<State>,
}

struct State {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: BTreeMap<usize, Vec<Vec<u8>>>,
}

impl Volatile {
    fn new(sector: usize, bytes: Vec<u8>) -> Self {
        Self {
            sector,
            state: Mutex::new(State {
                durable: bytes.clone(),
                current: bytes,
                pending: BTreeMap::new(),
            }),
        }
    }

    /// A possible content after a power failure: for every sector, the last flushed content or a
    /// later one.
    fn after_power_cut(&self, random: &mut Random) -> Vec<u8> {
        let state = self.state.lock().unwrap();
        let mut bytes = state.durable.clone();
        for (sector, versions) in &state.pending {
            let arrived = random.below(versions.len() as u64 + 1) as usize;
            if let Some(version) = arrived.checked_sub(1).map(|index| &versions[index]) {
                bytes[sector * self.sector..][..self.sector].copy_from_slice(version);
            }
        }
        bytes
    }
}

impl ReadAt for Volatile {
    fn size(&self) -> u64 {
        self.state.lock().unwrap().current.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock().unwrap();
        state.current.read_exact_at(offset, buf)
    }
}

impl WriteAt for Volatile {
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let start = offset as usize;
        assert!(start.is_multiple_of(self.sector) && bytes.len().is_multiple_of(self.sector));
        state.current[start..start + bytes.len()].copy_from_slice(bytes);
        for (sector, bytes) in (start / self.sector..).zip(bytes.chunks(self.sector)) {
            state
                .pending
                .entry(sector)
                .or_default()
                .push(bytes.to_vec());
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.durable = state.current.clone();
        state.pending.clear();
        Ok(())
    }
}

/// Each power failure follows on the state after the previous one.
#[trial("flushed data survives power failures")]
fn survives_power_cuts() {
    let mut cuts = 0;
    let mut lost = 0;
    for (method, sector) in METHODS.iter().flat_map(|m| [(m, 512), (m, 4096)]) {
        let (mut bytes, plaintext) = volume_with_clear_key(method, sector as u32);
        let metadata = bytes.clone();
        let mut model = Model::new(sector, plaintext);
        for run in 0..times(CUTS) {
            let name = format!("{} {sector}, run {run}", method.word);
            let mut random = Random::new(run ^ u64::from(method.code) << 16 ^ sector as u64);
            let disk = Arc::new(Volatile::new(sector, bytes));
            let volume = writable(disk.clone()).expect(&name);
            for _ in 0..random.below(60) {
                let start = random.below(SIZE as u64);
                let longest = [30, 1000, 9000][random.below(3) as usize];
                let len = 1 + random.below(longest);
                let end = (start + len).min(SIZE as u64);
                if random.below(6) == 0 {
                    volume.flush().unwrap();
                    model.acknowledged();
                } else if !reserved().iter().any(|r| r.start < end && start < r.end) {
                    let bytes = random.bytes((end - start) as usize);
                    model.write(start as usize, &bytes);
                    volume.write_all_at(start, &bytes).unwrap();
                }
            }
            drop(volume);
            bytes = disk.after_power_cut(&mut random);
            assert!(bytes[..0x2000] == metadata[..0x2000], "{name}");
            for (what, range) in placement().ranges() {
                let range = range.start as usize..range.end as usize;
                let same = bytes[range.clone()] == metadata[range];
                assert!(same || what == "the moved boot sectors", "{name}: {what}");
            }
            let again = writable(Arc::new(Volatile::new(sector, bytes.clone()))).expect(&name);
            let found = plaintext_of(&again);
            lost += model.check(&found, &name);
            model = Model::new(sector, found);
            cuts += 1;
        }
    }
    println!("{cuts} power failures, {lost} sectors with unacknowledged writes lost");
    assert!(
        cuts >= 200 && lost > 100,
        "the disk lost too few writes for a useful test"
    );
}

/// A mount whose server is killed.
struct Server {
    child: Child,
    directory: tempfile::TempDir,
}

impl Server {
    fn start(volume: &Path, key: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = fve()
            .args(["mount", "--volume"])
            .arg(volume)
            .arg(directory.path())
            .args(["--read-write", "--foreground", "--startup-key"])
            .arg(key)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, directory };
        let start = Instant::now();
        while !server.directory.path().join("volume").exists() {
            assert!(start.elapsed() < Duration::from_secs(20), "no mount");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    fn file(&self) -> File {
        let mut options = File::options();
        let path = self.directory.path().join("volume");
        options.read(true).write(true).open(path).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for command in [&["umount", "--lazy"][..], &["fusermount3", "-u", "-z"]] {
            let mut unmount = Command::new(command[0]);
            unmount.args(&command[1..]).arg(self.directory.path());
            if unmount.output().is_ok_and(|output| output.status.success()) {
                return;
            }
        }
    }
}

/// A range without BitLocker structures.
const FREE: std::ops::Range<u64> = 0x4_8000..0x6_0000;

/// Writes until the server is gone. Every write that returned counts as acknowledged, because it
/// has reached the source.
fn write_until_it_ends(file: &File, model: &mut Model, random: &mut Random) -> u64 {
    let mut done = 0;
    loop {
        let len = 1 + random.below(3000);
        let start = FREE.start + random.below(FREE.end - FREE.start - len);
        let bytes = random.bytes(len as usize);
        model.write(start as usize, &bytes);
        if file.write_all_at(&bytes, start).is_err() {
            return done;
        }
        model.acknowledged();
        done += 1;
        if random.below(3) == 0 && file.sync_all().is_err() {
            return done;
        }
    }
}

#[trial("acknowledged writes survive a killed server", needs(trials::fuse))]
fn survives_a_killed_server() {
    let sample = testdata::volume("cbc-128");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("volume.img");
    fs::copy(&sample.file, &path).unwrap();
    let original = fs::read(&path).unwrap();
    let read = || {
        let key = sample.credential(testdata::Kind::StartupKey).protector();
        let volume = testdata::open(&path);
        volume.check_writable().expect("sound metadata");
        plaintext_of(&volume.unlock(&[key], &Default::default()).unwrap())
    };
    let mut model = Model::new(512, read());
    let mut writes = 0;
    for run in 0..times(KILLS) {
        let mut random = Random::new(run + 1000);
        let mut server = Server::start(&path, &sample.bek());
        let file = server.file();
        let delay = Duration::from_micros(500 + random.below(40_000));
        writes += std::thread::scope(|scope| {
            let writer = scope.spawn(|| write_until_it_ends(&file, &mut model, &mut random));
            std::thread::sleep(delay);
            // SIGKILL.
            server.child.kill().unwrap();
            writer.join().unwrap()
        });
        drop((file, server));
        let found = read();
        model.check(&found, &format!("run {run}"));
        model = Model::new(512, found);
    }
    let bytes = fs::read(&path).unwrap();
    for (at, (old, new)) in original.chunks(512).zip(bytes.chunks(512)).enumerate() {
        assert!(
            old == new || FREE.contains(&(at as u64 * 512)),
            "sector {at}"
        );
    }
    println!("{writes} writes before {} kills", times(KILLS));
    assert!(
        writes > times(KILLS),
        "the servers ended too early for a useful test"
    );
}
