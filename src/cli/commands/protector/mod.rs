//! `fve protector`: lists, adds, changes and removes key protectors of a volume.

mod add;
mod args;
mod change;
mod session;
mod show;

pub(super) use self::args::ChangeArgs;
pub(crate) use self::args::ProtectorArgs;
pub(super) use self::session::Session;

use self::args::ProtectorCommand;
use crate::cli::failure::Failure;
use crate::cli::run::Run;

impl Run for ProtectorArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &ProtectorArgs) -> Result<(), Failure> {
    match &args.command {
        ProtectorCommand::List(args) => show::list(args),
        ProtectorCommand::Add(args) => add::add(args),
        ProtectorCommand::Remove(args) => change::remove(args),
        ProtectorCommand::ChangePassword(args) => change::change_password(args),
        ProtectorCommand::ChangeStartupKey(args) => change::change_startup_key(args),
        ProtectorCommand::ChangePin(args) => change::change_pin(args),
        ProtectorCommand::Reseal(args) => change::reseal(args),
        ProtectorCommand::RotateRecovery(args) => change::rotate(args),
        ProtectorCommand::Suspend(args) => change::suspend(args),
        ProtectorCommand::Resume(args) => change::resume(args),
        ProtectorCommand::ShowRecovery(args) => show::show_recovery(args),
        ProtectorCommand::SaveStartupKey(args) => show::save_startup_key(args),
    }
}
