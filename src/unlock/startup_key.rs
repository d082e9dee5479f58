//! Startup keys: `.BEK` files (docs/format.md §4.5).

use std::path::Path;

use super::{Answer, Context, Credential, open_vmk};
use crate::error::{Error, Failure, Reason, Result};
use crate::format::bek::{BekFile, MAX_LEN};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::secret::ExternalKey;
use crate::shown::ShowPath;

const NAME: &str = "startup key";

/// Most `.BEK` files read from one directory.
const MAX_FILES: usize = 1000;

/// One or more external keys; those whose identifier fits a protector of the volume are tried.
#[derive(Debug)]
pub struct StartupKey {
    keys: Vec<BekFile>,
    /// Files of the directory that could not be read, and why.
    unread: Vec<String>,
}

impl StartupKey {
    /// A key from the content of a `.BEK` file.
    pub fn new(key: BekFile) -> Self {
        Self {
            keys: vec![key],
            unread: Vec::new(),
        }
    }

    /// Reads a `.BEK` file, or all those in a directory.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, or none of those in the directory;
    /// [`Error::BadCredential`] when the file is no startup key or the directory holds none.
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
                // What cannot be read may be the right one, and is told of where none fits.
                Err(error @ Error::Io { .. }) => unread.push(error),
                // One damaged file must not hide the right one.
                Err(_) => {}
            }
        }
        if keys.is_empty() && !unread.is_empty() {
            return Err(unread.swap_remove(0));
        }
        if keys.is_empty() {
            return Err(Error::bad_credential(
                NAME,
                format!("there is no .BEK file in {}", path.shown()),
            ));
        }
        let unread = unread
            .iter()
            .map(|error| error.with_causes().to_string())
            .collect();
        Ok(Self { keys, unread })
    }

    fn named(&self, protector: &KeyProtector) -> Option<&BekFile> {
        self.keys.iter().find(|key| key.id == protector.id)
    }

    /// The keys that may be the protector's: the one with its identifier, or all that are no other
    /// protector's. A renamed or rewritten identifier: the key itself decides, unless the file says
    /// that it belongs to another volume or another protector of this one takes it.
    pub(super) fn candidates(
        &self,
        protector: &KeyProtector,
        context: &Context<'_>,
    ) -> Vec<&ExternalKey> {
        if let Some(key) = self.named(protector) {
            return vec![&key.key];
        }
        let ids: Vec<_> = context.block.protectors().map(|other| other.id).collect();
        let stray = |key: &&BekFile| {
            let volume = context.block.dataset.id;
            !ids.contains(&key.id) && key.volume.is_none_or(|other| other == volume)
        };
        let strays = self.keys.iter().filter(stray);
        strays.map(|key| &key.key).collect()
    }
}

impl Credential for StartupKey {
    fn name(&self) -> &str {
        NAME
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
                        "the file with this protector's identifier holds another key",
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
        let mut told = format!(
            "no startup key given is for this protector: it takes {:X}.BEK",
            protector.id
        );
        for file in &self.unread {
            told += &format!("; {file}");
        }
        Answer::Failed(
            Failure::new(Reason::OtherVolume, told)
                .with_remedy(format!("look for a file named {:X}.BEK", protector.id)),
        )
    }
}

fn read_file(path: &Path) -> Result<BekFile> {
    let bytes = crate::input::read(path, NAME)?;
    BekFile::parse(bytes.expose()).map_err(|fault| {
        Error::bad_credential(NAME, format!("{} is no .BEK file: {fault}", path.shown()))
    })
}
