//! `fve repair`: volumes whose boot record or place is lost, found again. SOURCE is only read.
//!
//! Keys of `repair scan --json`: `searched`, `unreadable` (each with `start`, `end`),
//! `boot_records`, and `volumes`, the likeliest first, each with `volume`, `start`,
//! `start_is_proved`, `other_starts`, `partition`, `boot_record`, `size`, `sector_size`, `state`,
//! `encryption_method`, `description`, `created`, `copies` (each with `copy`, `offset`, `sound`,
//! `next_nonce`, `last_written`, `current`), `piece` (whether only what needs no sector can be told),
//! `arguments` (what opens it; empty where SOURCE alone does), `fault` (why it cannot be opened), and
//! with credentials `opens` (true, or false with `refusal`). `start` is below zero where SOURCE lacks
//! the volume's first bytes, and a guess where `start_is_proved` is false.
//!
//! Keys of `repair rebuild-header --json`: `volume`, `start`, `file`, `size`, `whole`, `proved`.

mod args;
mod json;
mod rebuild;
mod scan;
mod search;
mod text;

pub(crate) use self::args::RepairArgs;

use self::args::RepairCommand;
use crate::cli::failure::Failure;
use crate::cli::output::json as documents;
use crate::cli::run::{FailureDocument, Run};

impl Run for RepairArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }

    fn failure_document(&self) -> Option<FailureDocument> {
        self.json().then_some(documents::failure)
    }
}

fn run(args: &RepairArgs) -> Result<(), Failure> {
    match &args.command {
        RepairCommand::Scan(args) => scan::run(args),
        RepairCommand::RebuildHeader(args) => rebuild::run(args),
    }
}
