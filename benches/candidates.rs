//! Measures how many candidates per second `fve recovery search` tries on all cores, compared with a loop
//! over the `sha2` crate on the same cores: `cargo bench --bench candidates`. The two are measured
//! alternately. Only the median of the ratios can be compared between runs; the rates depend on the
//! computer and its load.

use std::time::{Duration, Instant};

use fve::crypto::stretch::ROUNDS;
use fve::recovery_password::{Options, check_text};
use fve::source::FileSource;
use fve::unlock::search::Search;
use fve::volume::Volume;
use sha2::{Digest, Sha256};

/// How often each is measured.
const TURNS: usize = 7;
/// How long each measurement takes.
const TURN: Duration = Duration::from_secs(2);
/// The loop measures 1/32 of a key's rounds at a time, which takes some milliseconds.
const PART: u64 = 32;

fn main() {
    let source = FileSource::open("testdata/xts-128.img").expect("testdata");
    let volume = Volume::from_source(std::sync::Arc::new(source)).expect("volume");
    let pattern = "471207-278498-422125-177177-561902-537405-468006-??????";
    let check = check_text(pattern, &Options::default());
    let candidates = check
        .primary()
        .expect("pattern")
        .candidates()
        .expect("candidates");
    let search = Search::new(&candidates, &volume.protectors()).expect("search");
    let mut ratios = Vec::new();
    for _ in 0..TURNS {
        let ours = search.measure(TURN);
        let plain = plain_loop(search.threads());
        println!(
            "{ours:8.1} candidates/s ({}, {} threads)   {plain:8.1} with a loop over sha2   {:.2} times",
            search.lanes().name(),
            search.threads(),
            ours / plain
        );
        ratios.push(ours / plain);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median: {:.2} times", ratios[TURNS / 2]);
    whole_search(&search);
}

/// Candidates per second of the loop: for each round, a call of the crate over 88 bytes; on each thread,
/// one candidate after another.
fn plain_loop(threads: usize) -> f64 {
    let start = Instant::now();
    let work = || {
        let mut done = 0.0;
        while start.elapsed() < TURN {
            let mut message = std::hint::black_box([7u8; 88]);
            for count in 0..ROUNDS / PART {
                message[80..].copy_from_slice(&count.to_le_bytes());
                let hash = Sha256::digest(message);
                message[..32].copy_from_slice(&hash);
            }
            std::hint::black_box(message);
            done += 1.0;
        }
        done / start.elapsed().as_secs_f64()
    };
    let rate: f64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("thread"))
            .sum()
    });
    rate / PART as f64
}

/// Measures a whole search: candidates are made, stretched and tried on a sealed VMK.
fn whole_search(search: &Search<'_>) {
    let watch = search.watch(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let searching = scope.spawn(|| search.run(0, &watch));
        std::thread::sleep(3 * TURN);
        watch.stop();
        let _ = searching.join();
    });
    let rate = watch.tried() as f64 / start.elapsed().as_secs_f64();
    println!("a whole search: {rate:.1} candidates/s");
}
