//! A credential of one's own: recovery passwords looked up by protector identifier in a list, as a
//! help desk keeps them. `cargo run --example own_protector`.

use std::collections::HashMap;
use std::sync::Arc;

use fve::crypto::stretch::InitialHash;
use fve::error::{Failure, Reason};
use fve::format::protector::{KeyProtector, ProtectorKind};
use fve::guid::Guid;
use fve::recovery_password::{Options, RecoveryPassword, check_bytes};
use fve::source::FileSource;
use fve::unlock::{Answer, Context, Credential, open_vmk};
use fve::volume::{UnlockOptions, Volume};

/// Passwords by the identifier of the protector that they open.
struct HelpDesk(HashMap<Guid, RecoveryPassword>);

impl Credential for HelpDesk {
    fn name(&self) -> &str {
        "the help desk's list"
    }

    fn try_on(&self, protector: &KeyProtector, _context: &Context<'_>) -> Answer {
        if protector.kind() != ProtectorKind::RecoveryPassword {
            return Answer::NotMine;
        }
        let (Some(password), Some(stretch)) = (self.0.get(&protector.id), protector.stretch())
        else {
            return Answer::Failed(Failure::new(
                Reason::Other("not-listed"),
                "the list does not have it",
            ));
        };
        let hash = InitialHash::of_recovery_key(&password.to_key());
        open_vmk(protector, hash.stretch(&stretch.salt).expose())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let testdata = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let volume = Volume::from_source(Arc::new(FileSource::open(format!(
        "{testdata}/ntfs-xts-128.img"
    ))?))?;

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
    let plaintext = volume.unlock(&[Box::new(list)], &UnlockOptions::default())?;
    println!("opened by {:?}", plaintext.opened_by().credential);
    Ok(())
}
