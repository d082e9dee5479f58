//! Network Unlock as a credential (docs/format-network-unlock.md §8 to §10).
//!
//! Two kinds of key protector can be unlocked with a key from the network:
//!
//! * An external key that `protector add --network-unlock` made. The network returns its 32 bytes. On
//!   the volume it looks like any other external key; the requests are in a file, its [`Sidecar`].
//! * The key protector of Windows. Its layout is not known for certain: the layouts that follow from
//!   other key protectors are tried, with the [`KnownKeys`] if there are any.
//!
//! If no server answers, an attempt takes several seconds. The [`Prompt`] is told how many before the
//! first request. Reasons that scripts may rely on:
//!
//! | reason | what happened |
//! |---|---|
//! | `no-sidecar` | no request was sent: there is no sidecar file for this volume |
//! | `bad-sidecar` | no request was sent: the stock cannot be read, or is empty |
//! | `other-volume` | no request was sent: the stock belongs to another volume |
//! | `no-such-protector` | no request was sent: the volume does not have the protector that the stock is for |
//! | `no-address` | no request was sent: no interface is up and has an address |
//! | `not-asked` | no request was sent: the time was used up before |
//! | `no-answer` | requests were sent, and no server answered in time |
//! | `not-authentic` | there were replies, and none was authentic |
//! | `network-error` | the operating system refused to send or receive (exit status 5) |
//! | `wrong-key` | the network returned a key that does not unlock the protector |
//! | `unproven-layout` | a protector of Windows: none of the attempts unlocked it |

mod sidecar;
mod windows;

pub use sidecar::{DIRECTORY, STOCK, Sidecar, SidecarFile, TakenRequest};
pub use windows::KnownKeys;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::tpm::TpmUnlock;
use super::{Answer, Context, Credential, Prompt, Silent, VolumeKey, open_vmk};
use crate::error::{Error, Failure, Reason, Remedy, Result};
use crate::format::protector::{KeyProtector, ProtectorKind};
use crate::guid::Guid;
use crate::network::Request;
use crate::network::client::{self, Delivered, NoAnswer, Transport};
use crate::secret::{NetworkKey, SessionKey};
use crate::shown::ShowPath;

const NAME: &str = "Network Unlock";

/// The credential that obtains a key from the network.
pub struct NetworkUnlock {
    transports: Vec<Box<dyn Transport>>,
    sidecar: PathBuf,
    limit: Option<Duration>,
    prompt: Arc<dyn Prompt>,
    /// For the key protectors of Windows.
    tpm: Option<TpmUnlock>,
    known: KnownKeys,
    /// The results by key protector, so that no request is sent again when a second metadata copy is
    /// tried.
    results: Mutex<Vec<(Guid, Result<NetworkKey, Failure>)>>,
}

impl NetworkUnlock {
    /// Uses these transports in this order, and the sidecars in [`DIRECTORY`].
    pub fn new(transports: Vec<Box<dyn Transport>>) -> Self {
        Self {
            transports,
            sidecar: PathBuf::from(DIRECTORY),
            limit: None,
            prompt: Arc::new(Silent),
            tpm: None,
            known: KnownKeys::default(),
            results: Mutex::new(Vec::new()),
        }
    }

    /// Uses the sidecar at this path, or in this directory.
    #[must_use]
    pub fn sidecar(mut self, path: &Path) -> Self {
        self.sidecar = path.to_owned();
        self
    }

    /// Waits no longer than this for all transports together.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Reports how long the attempt may take, and warnings.
    #[must_use]
    pub fn prompt(mut self, prompt: Arc<dyn Prompt>) -> Self {
        self.prompt = prompt;
        self
    }

    /// Uses this TPM for key protectors of Windows.
    #[must_use]
    pub fn tpm(mut self, tpm: TpmUnlock) -> Self {
        self.tpm = Some(tpm);
        self
    }

    /// Uses these keys for key protectors of Windows.
    #[must_use]
    pub fn known(mut self, known: KnownKeys) -> Self {
        self.known = known;
        self
    }

    /// The sidecar file of this volume, after checking that it belongs to the volume and to one
    /// of its key protectors.
    fn stock(&self, context: &Context<'_>) -> Result<(SidecarFile, Sidecar), Failure> {
        let volume = context.block.dataset.id;
        let file = SidecarFile::at(&self.sidecar, volume);
        if !file.exists() {
            return Err(Failure::new(
                Reason::NoSidecar,
                format!(
                    "there is no sidecar file for this volume: {} does not exist",
                    file.path().shown()
                ),
            )
            .with_remedy(Remedy::NameSidecar));
        }
        let sidecar = file.load().map_err(|error| bad_sidecar(&error))?;
        if sidecar.volume() != volume {
            return Err(Failure::new(
                Reason::OtherVolume,
                format!(
                    "the sidecar file {} belongs to the volume {:X}",
                    file.path().shown(),
                    sidecar.volume()
                ),
            ));
        }
        let mut protectors = context.block.protectors();
        if !protectors.any(|one| one.id == sidecar.protector()) {
            return Err(Failure::new(
                Reason::NoSuchProtector,
                format!(
                    "the sidecar file was made for the protector {:X}, which the volume does not have",
                    sidecar.protector()
                ),
            )
            .with_remedy(Remedy::AddNetworkProtector));
        }
        Ok((file, sidecar))
    }

    /// The external key from the network. Further calls return the result of the first.
    fn external_key(&self, protector: Guid, file: &SidecarFile) -> Result<NetworkKey, Failure> {
        let copy = |key: &NetworkKey| NetworkKey::from_bytes(key.expose());
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = results.iter().find(|(id, _)| *id == protector) {
            return known.as_ref().map(copy).map_err(Clone::clone);
        }
        let result = self.ask(&mut || self.take(file));
        let kept = result.as_ref().map(copy).map_err(Clone::clone);
        results.push((protector, kept));
        result
    }

    /// Asks over one transport after the other. `next` returns the request and session keys for each.
    fn ask(
        &self,
        next: &mut dyn FnMut() -> Result<(Request, Vec<SessionKey>), Failure>,
    ) -> Result<NetworkKey, Failure> {
        let deadline = self.limit.map(|limit| Instant::now() + limit);
        self.announce();
        let mut refusals = Vec::new();
        for (at, transport) in self.transports.iter().enumerate() {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                refusals.push(NoAnswer::NotAsked {
                    transport: transport.name(),
                });
                continue;
            }
            let (request, keys) = next()?;
            let keys: Vec<_> = keys.iter().collect();
            let rest = self.transports.get(at..).unwrap_or_default();
            let until = client::share_of_time(rest, deadline);
            let report = client::ask(transport.as_ref(), &request, &keys, until);
            for skipped in &report.skipped {
                tracing::info!("skipped from {}: {}", skipped.from, skipped.what);
            }
            match report.outcome {
                Ok(Delivered { key, from, .. }) => {
                    tracing::info!("{from} answered over {}", report.transport);
                    return Ok(key);
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        Err(refused(&refusals))
    }

    /// Reports how long the attempt may take.
    fn announce(&self) {
        self.prompt
            .tell(&announcement(&self.transports, self.limit));
    }

    /// Takes the next request from the stock, and marks it there as sent before it is sent.
    fn take(&self, file: &SidecarFile) -> Result<(Request, Vec<SessionKey>), Failure> {
        let taken = match file.change(|sidecar| Ok(sidecar.take())) {
            Ok(taken) => taken,
            // The file cannot be written, for example on a read-only file system. Sending a request
            // twice reveals nothing new, so the volume is unlocked all the same.
            Err(error @ Error::Io { .. }) => {
                let error = error.with_causes();
                self.prompt.tell(&format!(
                    "warning: a request cannot be marked as sent: {error}"
                ));
                tracing::warn!("a request cannot be marked as sent: {error}");
                file.load().map_err(|error| bad_sidecar(&error))?.take()
            }
            Err(error) => return Err(bad_sidecar(&error)),
        };
        let taken = taken.ok_or_else(|| {
            Failure::new(Reason::BadSidecar, "the sidecar file contains no request")
                .with_remedy(Remedy::ReplaceNetworkProtector)
        })?;
        if taken.sent_before {
            self.prompt
                .tell("warning: no unused request is left: an old one is sent again");
            tracing::warn!("no unused request is left: an old one is sent again");
        }
        Ok((taken.request, vec![taken.session_key]))
    }

    /// Replaces the requests that were sent with new ones, which is possible now that the key is
    /// known.
    fn refill(&self, file: &SidecarFile, key: &NetworkKey) {
        if let Err(error) = file.change(|sidecar| sidecar.refill(key)) {
            let error = error.with_causes();
            self.prompt.tell(&format!(
                "warning: the sidecar file could not be refilled with new requests: {error}"
            ));
            tracing::warn!("the sidecar file could not be refilled with new requests: {error}");
        }
    }

    /// Unlocks an external-key protector with the key from the network.
    fn open(&self, protector: &KeyProtector, context: &Context<'_>) -> Result<Answer, Failure> {
        let (file, sidecar) = self.stock(context)?;
        if sidecar.protector() != protector.id {
            return Ok(Answer::NotMine);
        }
        let key = self.external_key(protector.id, &file)?;
        match open_vmk(protector, key.expose()) {
            Answer::Failed(failure) if failure.reason == Reason::WrongKey => Err(Failure::new(
                Reason::WrongKey,
                "the key from the network does not unlock this protector: the sidecar file was made for an earlier one",
            )
            .with_remedy(Remedy::ReplaceNetworkProtector)),
            Answer::Opened(vmk) => {
                self.refill(&file, &key);
                Ok(Answer::Opened(vmk))
            }
            other => Ok(other),
        }
    }
}

impl Credential for NetworkUnlock {
    fn name(&self) -> &str {
        NAME
    }

    fn try_on(&self, protector: &KeyProtector, context: &Context<'_>) -> Answer {
        match protector.kind() {
            ProtectorKind::Network => windows::open(self, protector),
            ProtectorKind::ExternalKey => {
                self.open(protector, context).unwrap_or_else(Answer::Failed)
            }
            _ => Answer::NotMine,
        }
    }

    fn without_protector(&self, context: &Context<'_>) -> Option<Result<VolumeKey, Failure>> {
        // Reported here, once, because in `try_on` it would be repeated for each external key.
        let mut protectors = context.block.protectors();
        if protectors.any(|one| one.kind() == ProtectorKind::Network) {
            return None;
        }
        self.stock(context).err().map(Err)
    }
}

impl std::fmt::Debug for NetworkUnlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.transports.iter().map(|one| one.name()).collect();
        write!(f, "NetworkUnlock({})", names.join(", "))
    }
}

/// A sentence for the user that names the transports, and how long they take if no server answers.
pub fn announcement(transports: &[Box<dyn Transport>], limit: Option<Duration>) -> String {
    let names: Vec<_> = transports.iter().map(|one| one.name()).collect();
    let all: Duration = transports.iter().map(|one| one.schedule().total()).sum();
    let all = limit.map_or(all, |limit| limit.min(all));
    format!(
        "asking for the key over {}: at most {} seconds",
        names.join(", then "),
        all.as_secs_f32().ceil()
    )
}

fn bad_sidecar(error: &Error) -> Failure {
    let failure = Failure::new(Reason::BadSidecar, error.with_causes().to_string());
    match error.remedy() {
        Some(remedy) => failure.with_remedy(remedy),
        None => failure,
    }
}

/// The failure when no transport returned a key, with the most telling reason.
fn refused(refusals: &[NoAnswer]) -> Failure {
    let reason = NoAnswer::most_telling(refusals).map(NoAnswer::reason);
    let texts: Vec<_> = refusals.iter().map(NoAnswer::to_string).collect();
    let failure = Failure::new(
        reason.unwrap_or(Reason::NotAsked),
        if texts.is_empty() {
            "no request was sent: there is no transport to send it over".to_owned()
        } else {
            texts.join("; ")
        },
    );
    let remedy = refusals.iter().find_map(|refusal| match refusal {
        NoAnswer::Socket { remedy, .. } => remedy.clone(),
        _ => None,
    });
    let otherwise = match reason {
        Some(Reason::NotAsked) => Remedy::RaiseNetworkTimeout,
        _ => Remedy::ProbeNetwork,
    };
    failure.with_remedy(remedy.unwrap_or(otherwise))
}
