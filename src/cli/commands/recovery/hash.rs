//! `fve recovery hash`: prints what other programs need to search for a password of the volume.
//!
//! One line for each password and each recovery password, in the format of bitlocker2john:
//! `$bitlocker$`, then, separated by `$`, the kind, the length of the salt and the salt, the number
//! of rounds, the length of the nonce and the nonce, and the length of the sealed volume master key
//! and the key with its tag first. Kind 1 is a password and 3 a recovery password, both checked by
//! the tag. hashcat (mode 22100) supports only kind 1, the jumbo version of John the Ripper both.
//!
//! Keys of `--json`: `volume`, and `hashes`, each with `protector`, `type`, `hash`, `hashcat`
//! (whether hashcat supports it).

use base16ct::lower::encode_string as hex;
use clap::Args;
use fve::crypto::stretch::ROUNDS;
use fve::error::Error;
use fve::format::datum::STRETCH_FLAG_PBKDF2;
use fve::format::protector::{KeyProtector, ProtectorKind};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::options::source::{self, SourceArgs};
use crate::cli::output::json::document;
use crate::cli::output::term;
use crate::cli::run::Run;

/// Length of a sealed volume master key without its tag, in bytes: the programs refuse others.
const SEALED_VMK_LEN: usize = 44;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  Save the hashes for hashcat or John the Ripper:
    fve recovery hash /dev/sda3 > hashes.txt
  Show which program supports which hash:
    fve recovery hash /dev/sda3 --json")]
pub(crate) struct HashArgs {
    #[command(flatten)]
    source: SourceArgs,

    /// Print the result as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

impl Run for HashArgs {
    fn run(&self) -> Result<(), Failure> {
        run(self)
    }
}

fn run(args: &HashArgs) -> Result<(), Failure> {
    let opened = source::open(&args.source).print_notes()?;
    let block = opened.volume.metadata()?;
    let hashes: Vec<_> = block
        .protectors()
        .filter_map(|protector| Some((protector, hash(protector)?)))
        .collect();
    if hashes.is_empty() {
        return Err(Error::unsupported(
            "the volume has no password or recovery password that hashcat or John the Ripper can search for",
        )
        .into());
    }
    if args.json {
        let hashes: Vec<_> = hashes
            .iter()
            .map(|(protector, hash)| {
                json!({
                    "protector": format!("{:X}", protector.id),
                    "type": protector.kind().word(),
                    "hash": hash,
                    "hashcat": protector.kind() == ProtectorKind::Password,
                })
            })
            .collect();
        return term::print(&document(&json!({
            "volume": format!("{:X}", block.dataset.id),
            "hashes": hashes,
        })));
    }
    for (protector, _) in &hashes {
        let programs = match protector.kind() {
            ProtectorKind::Password => "hashcat -m 22100, John the Ripper (jumbo)",
            _ => "John the Ripper (jumbo) only",
        };
        term::note(format_args!(
            "{} {:X}: {programs}",
            protector.kind().name(),
            protector.id
        ));
    }
    let lines: Vec<_> = hashes.into_iter().map(|(_, hash)| hash + "\n").collect();
    term::print(&lines.concat())
}

/// The line for a key protector; `None` if no program supports it.
fn hash(protector: &KeyProtector) -> Option<String> {
    let kind = match protector.kind() {
        ProtectorKind::Password => 1,
        ProtectorKind::RecoveryPassword => 3,
        _ => return None,
    };
    let stretch = protector.stretch()?;
    let sealed = protector.sealed_vmk()?;
    let usable =
        stretch.flags & STRETCH_FLAG_PBKDF2 == 0 && sealed.ciphertext.len() == SEALED_VMK_LEN;
    usable.then(|| {
        let salt = hex(&stretch.salt);
        let nonce = hex(&sealed.nonce);
        let key = hex(&sealed.tag) + &hex(&sealed.ciphertext);
        let len = sealed.tag.len() + sealed.ciphertext.len();
        format!("$bitlocker${kind}$16${salt}${ROUNDS}$12${nonce}${len}${key}")
    })
}
