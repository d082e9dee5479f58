//! `fve repair`: finds volumes whose boot record or position is lost. SOURCE is only read.
//!
//! Keys of `repair scan --json`: `searched`, `unreadable` (each with `start`, `end`),
//! `boot_records`, and `volumes`, the likeliest first, each with `volume`, `start`,
//! `start_is_proved`, `other_starts`, `partition`, `boot_record`, `size`, `sector_size`, `state`,
//! `encryption_method`, `description`, `created`, `copies` (each with `copy`, `offset`, `sound`,
//! `next_nonce`, `last_written`, `current`), `piece` (whether SOURCE lacks the start of the volume,
//! so that nothing can be decrypted), `arguments` (options that open the volume; empty if SOURCE
//! alone is enough), `fault` (why it cannot be opened), and with credentials `opens` (true, or
//! false with `refusal`). `start` is negative if SOURCE lacks the first bytes of the volume, and a
//! guess if `start_is_proved` is false.
//!
//! Keys of `repair rebuild-header --json`: `volume`, `start`, `file`, `size`, `whole`, `proved`.

mod args;
mod json;
mod rebuild;
mod scan;
mod scanned;
mod search;
mod text;

pub(crate) use self::args::RepairArgs;

use self::args::RepairCommand;
use crate::cli::failure::Failure;
use crate::cli::run::Run;

impl Run for RepairArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &RepairArgs) -> Result<(), Failure> {
    match &args.command {
        RepairCommand::Scan(args) => scan::run(args),
        RepairCommand::RebuildHeader(args) => rebuild::run(args),
    }
}
