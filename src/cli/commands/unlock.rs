//! `fve unlock`: which credential opens which protector.

use crate::cli::args::UnlockArgs;
use crate::cli::{Failure, json, source, term};

pub(in crate::cli) fn run(args: &UnlockArgs) -> Result<(), Failure> {
    let opened = source::open(&args.source)?;
    let unlocked = args.credentials.unlock(&opened.volume)?;
    if args.json {
        return term::print(&json::unlocked(&unlocked));
    }
    let by = unlocked.opened_by();
    let text = match (&by.credential, &by.protector) {
        (Some(credential), Some((id, kind))) => {
            format!(
                "unlocked with the {credential}: {} {{{id:X}}}\n",
                kind.name()
            )
        }
        (Some(credential), None) => format!("unlocked with the {credential}\n"),
        (None, _) => "not encrypted: no credential is needed\n".to_owned(),
    };
    term::print(&text)
}
