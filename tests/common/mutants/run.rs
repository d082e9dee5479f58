//! Tests any number of randomly changed volumes of `testdata/`, and prints each that gives wrong
//! plaintext: `cargo run --release --example mutate -- 1000000 [SEED [FIRST]]`.

#[path = "mod.rs"]
#[allow(dead_code, clippy::expect_used, unreachable_pub)]
mod mutants;
#[path = "../testdata.rs"]
#[allow(dead_code, clippy::expect_used, unreachable_pub)]
mod testdata;

use std::process::ExitCode;

fn main() -> Result<ExitCode, std::num::ParseIntError> {
    let numbers = std::env::args().skip(1).map(|argument| argument.parse());
    let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
    let given = |index: usize, default| numbers.get(index).copied().unwrap_or(default);
    let (count, seed, first) = (given(0, 10_000), given(1, 1), given(2, 0));

    let samples = mutants::samples();
    let range = first..first.saturating_add(count);
    let tally = mutants::campaign(&samples, seed, range, &|done| {
        if done % 65_536 == 0 {
            eprintln!("{done} of {count}");
        }
    });
    for (number, changes) in &tally.wrong {
        println!("mutant {number} of seed {seed}: {changes}");
    }
    println!(
        "{count} mutants: {} refused, {} unchanged, {} authenticated again or accepted as damaged, {} read as a changed map says, {} wrong",
        tally.refused,
        tally.same,
        tally.not_checked,
        tally.by_map,
        tally.wrong.len()
    );
    Ok(match tally.wrong.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
