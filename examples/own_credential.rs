//! A custom credential: recovery passwords from a list, found by the identifier of their key
//! protector, as a help desk has it. `cargo run --example own_credential`.
//!
//! If the list is on a server, fetch it before unlocking: the identifiers can be read without a key.

use std::collections::HashMap;

use fve::error::{Failure, Reason};
use fve::recovery_password::{Options, check_bytes};
use fve::unlock::{Answer, Context};
use fve::{
    Credential, Guid, KeyProtector, ProtectorKind, RecoveryPassword, RecoveryPasswords,
    UnlockOptions, Volume,
};

/// Recovery passwords by the identifier of the key protector that they unlock.
struct HelpDesk(HashMap<Guid, RecoveryPassword>);

impl Credential for HelpDesk {
    fn name(&self) -> &str {
        "help desk list"
    }

    fn try_on(&self, protector: &KeyProtector, context: &Context<'_>) -> Answer {
        match self.0.get(&protector.id) {
            Some(password) => RecoveryPasswords::new(password).try_on(protector, context),
            None if protector.kind() == ProtectorKind::RecoveryPassword => {
                Answer::Failed(Failure::new(
                    Reason::Other("not-listed"),
                    "the list has no password for this key protector",
                ))
            }
            None => Answer::NotMine,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let testdata = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let volume = Volume::open(format!("{testdata}/ntfs-xts-128.img"))?;

    let text = std::fs::read(format!("{testdata}/ntfs-xts-128.recovery.txt"))?;
    let listed = check_bytes(&text, &Options::default())?;
    let password = listed.primary().ok_or("no password")?.to_password()?;
    let id = volume
        .metadata()?
        .protectors()
        .find(|protector| protector.kind() == ProtectorKind::RecoveryPassword)
        .ok_or("no recovery password on the volume")?
        .id;

    let list = HelpDesk(HashMap::from([(id, password)]));
    let plaintext = volume.unlock(&[list], &UnlockOptions::new())?;
    println!("unlocked with {:?}", plaintext.opened_by().credential);
    Ok(())
}
