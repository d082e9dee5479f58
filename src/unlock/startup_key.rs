//! Startup keys, recovery keys and auto-unlock keys from `.BEK` files (docs/format.md §4.5).

use std::path::Path;
use std::sync::Arc;

use super::{Answer, Context, Credential, open_vmk};
use crate::error::{Error, Failure, Reason, Remedy, Result};
use crate::format::bek::{BekFile, MAX_LEN};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::guid::Guid;
use crate::recovery_password::{Options, Outcome, check_bytes};
use crate::secret::ExternalKey;
use crate::shown::ShowPath;

const NAME: &str = "startup key";

/// Most `.BEK` files read from one directory.
const MAX_FILES: usize = 1000;

/// One or more external keys. The one with the identifier of a key protector is tried on it.
///
/// Cloning is cheap: the clones share one copy of the secrets.
#[derive(Debug, Clone)]
pub struct StartupKey {
    keys: Arc<[BekFile]>,
    /// Why files of the directory could not be read.
    unread: Arc<[String]>,
}

impl StartupKey {
    /// A key from the content of a `.BEK` file.
    pub fn new(key: BekFile) -> Self {
        Self {
            keys: Arc::new([key]),
            unread: Arc::new([]),
        }
    }

    /// Reads a `.BEK` file, or every `.BEK` file in a directory.
    ///
    /// # Errors
    /// [`Error::Io`] where the file, or every file in the directory, cannot be read;
    /// [`Error::BadCredential`] where the file is not a startup key or the directory contains none.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            return Self::read_directory(path);
        }
        let key = read_file(path)?;
        Ok(Self::new(key))
    }

    fn read_directory(path: &Path) -> Result<Self> {
        let fail = |source| {
            Error::io(
                format!("cannot read the directory {}", path.shown()),
                source,
            )
        };
        let mut keys = Vec::new();
        let mut unread = Vec::new();
        for entry in std::fs::read_dir(path).map_err(fail)? {
            let entry = entry.map_err(fail)?.path();
            let is_bek = entry
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case("bek"));
            if !is_bek || keys.len() + unread.len() >= MAX_FILES {
                continue;
            }
            let size = entry
                .metadata()
                .map_err(|error| Error::io(format!("cannot read {}", entry.shown()), error));
            let read = match size {
                Ok(meta) if meta.is_file() && meta.len() <= MAX_LEN => read_file(&entry),
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            match read {
                Ok(key) => keys.push(key),
                // This file may be the right one: it is named where no other file fits.
                Err(error @ Error::Io { .. }) => unread.push(error),
                // A damaged file does not prevent the use of the others.
                Err(_) => {}
            }
        }
        if keys.is_empty() && !unread.is_empty() {
            return Err(unread.swap_remove(0));
        }
        if keys.is_empty() {
            return Err(Error::bad_credential(
                NAME,
                format!("{} contains no .BEK file", path.shown()),
            ));
        }
        let unread = unread.iter().map(|error| error.with_causes().to_string());
        Ok(Self {
            keys: keys.into(),
            unread: unread.collect(),
        })
    }

    fn named(&self, protector: &KeyProtector) -> Option<&BekFile> {
        self.keys.iter().find(|key| key.id == protector.id)
    }

    /// The keys that may unlock the key protector: the one with its identifier, else all that belong
    /// to no other key protector and to no other volume. The identifier in a file may have been
    /// changed, so those are tried.
    pub(super) fn candidates(
        &self,
        protector: &KeyProtector,
        context: &Context<'_>,
    ) -> Vec<&ExternalKey> {
        if let Some(key) = self.named(protector) {
            return vec![&key.key];
        }
        let ids: Vec<_> = context.block.protectors().map(|other| other.id).collect();
        let may_fit = |key: &&BekFile| {
            let volume = context.block.dataset.id;
            !ids.contains(&key.id) && key.volume.is_none_or(|other| other == volume)
        };
        let keys = self.keys.iter().filter(may_fit);
        keys.map(|key| &key.key).collect()
    }
}

impl Credential for StartupKey {
    fn name(&self) -> &str {
        NAME
    }

    fn belongs_to(&self) -> Vec<Guid> {
        self.keys.iter().map(|key| key.id).collect()
    }

    fn try_on(&self, protector: &KeyProtector, context: &Context<'_>) -> Answer {
        if protector.kind() != ProtectorKind::ExternalKey {
            return Answer::NotMine;
        }
        if let Some(key) = self.named(protector) {
            return match open_vmk(protector, key.key.expose()) {
                Answer::Failed(failure) if failure.reason == Reason::WrongKey => {
                    Answer::Failed(Failure::new(
                        Reason::WrongKey,
                        "the file with the ID of this key protector contains another key",
                    ))
                }
                answer => answer,
            };
        }
        for key in self.candidates(protector, context) {
            if let Answer::Opened(vmk) = open_vmk(protector, key.expose()) {
                return Answer::Opened(vmk);
            }
        }
        let mut message = format!(
            "none of the given startup keys belongs to this key protector, which needs {:X}.BEK",
            protector.id
        );
        for error in &*self.unread {
            message += &format!("; {error}");
        }
        Answer::Failed(
            Failure::new(Reason::OtherVolume, message)
                .with_remedy(format!("look for a file named {:X}.BEK", protector.id)),
        )
    }
}

fn read_file(path: &Path) -> Result<BekFile> {
    let bytes = crate::input::read(path, NAME)?;
    BekFile::parse(bytes.expose()).map_err(|fault| {
        let check = check_bytes(bytes.expose(), &Options::default());
        if check.is_ok_and(|check| check.result == Outcome::WellFormed) {
            return Error::BadCredential {
                credential: NAME.to_owned(),
                why: format!(
                    "{} holds a recovery password, not a startup key",
                    path.shown()
                ),
                remedy: Some(Remedy::GiveAsRecoveryPassword),
            };
        }
        Error::bad_credential(
            NAME,
            format!("{} is not a .BEK file: {fault}", path.shown()),
        )
    })
}
