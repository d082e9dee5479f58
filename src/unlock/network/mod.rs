//! Network Unlock as a credential (docs/format-network-unlock.md §8 to §10).
//!
//! Two kinds of protector open with a key out of the network:
//!
//! * An external key that `protector add --network-unlock` made: its 32 bytes are what the network
//!   gives back. Nothing on the volume tells it from another external key; the requests lie beside
//!   it, in a [`Sidecar`].
//! * The one that Windows makes. Its layout is not proven: what follows from other protectors is
//!   tried, with whatever is [`Known`] from elsewhere.
//!
//! A network that is silent takes seconds, and no attempt ends earlier: the time is said before the
//! first request and after the last. Reasons that scripts may rely on:
//!
//! | reason | what happened |
//! |---|---|
//! | `no-sidecar` | nothing was asked: there is no stock of requests for this volume |
//! | `bad-sidecar` | nothing was asked: the stock cannot be read, or is empty |
//! | `other-volume` | nothing was asked: the stock is another volume's |
//! | `no-such-protector` | nothing was asked: the volume has no protector for which the stock was made |
//! | `no-address` | nothing was asked: no interface is up and has an address |
//! | `no-answer` | the requests were sent, and nobody answered in time |
//! | `not-authentic` | something answered, and nothing of it was the server's answer |
//! | `network-error` | the system refused to send or receive (exit status 5) |
//! | `wrong-key` | the network gave a key, and it does not open the protector |
//! | `unproven-layout` | a protector of Windows: nothing that was tried opens it |

mod sidecar;
mod windows;

pub use sidecar::{DIRECTORY, STOCK, Sidecar, SidecarFile, Taken};
pub use windows::Known;

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

/// A key out of the network.
pub struct NetworkUnlock {
    transports: Vec<Box<dyn Transport>>,
    sidecar: PathBuf,
    limit: Option<Duration>,
    prompt: Arc<dyn Prompt>,
    /// For protectors of Windows.
    tpm: Option<TpmUnlock>,
    known: Known,
    /// What was asked for already, by protector: metadata copies that differ are not asked for
    /// again.
    asked: Mutex<Vec<(Guid, Result<NetworkKey, Failure>)>>,
}

impl NetworkUnlock {
    /// Over these transports, one after the other, with the sidecars in [`DIRECTORY`].
    pub fn new(transports: Vec<Box<dyn Transport>>) -> Self {
        Self {
            transports,
            sidecar: PathBuf::from(DIRECTORY),
            limit: None,
            prompt: Arc::new(Silent),
            tpm: None,
            known: Known::default(),
            asked: Mutex::new(Vec::new()),
        }
    }

    /// With the sidecar there, or in that directory.
    #[must_use]
    pub fn sidecar(mut self, path: &Path) -> Self {
        self.sidecar = path.to_owned();
        self
    }

    /// Waiting no longer than this in all.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// With somebody who is told how long it may take.
    #[must_use]
    pub fn prompt(mut self, prompt: Arc<dyn Prompt>) -> Self {
        self.prompt = prompt;
        self
    }

    /// With a TPM, for protectors of Windows.
    #[must_use]
    pub fn tpm(mut self, tpm: TpmUnlock) -> Self {
        self.tpm = Some(tpm);
        self
    }

    /// With what is known of a protector of Windows already.
    #[must_use]
    pub fn known(mut self, known: Known) -> Self {
        self.known = known;
        self
    }

    /// The stock of requests that is for this volume, if there is anything to say about it.
    fn stock(&self, context: &Context<'_>) -> Result<(SidecarFile, Sidecar), Failure> {
        let volume = context.block.dataset.id;
        let file = SidecarFile::at(&self.sidecar, volume);
        if !file.exists() {
            return Err(Failure::new(
                Reason::NoSidecar,
                format!(
                    "there is no stock of requests for this volume: {} does not exist",
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
                    "the stock of requests in {} is for the volume {:X}",
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
                    "the volume has no protector {:X}, for which the stock of requests was made",
                    sidecar.protector()
                ),
            )
            .with_remedy(Remedy::AddNetworkProtector));
        }
        Ok((file, sidecar))
    }

    /// The external key that the network keeps, asked for once.
    fn external_key(&self, protector: Guid, file: &SidecarFile) -> Result<NetworkKey, Failure> {
        let again = |key: &NetworkKey| NetworkKey::from_bytes(key.expose());
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = asked.iter().find(|(id, _)| *id == protector) {
            return known.as_ref().map(again).map_err(Clone::clone);
        }
        let found = self.ask(&mut || self.take(file));
        let copy = found.as_ref().map(again).map_err(Clone::clone);
        asked.push((protector, copy));
        found
    }

    /// Asks over one transport after the other, each time with another request.
    fn ask(
        &self,
        next: &mut dyn FnMut() -> Result<(Request, Vec<SessionKey>), Failure>,
    ) -> Result<NetworkKey, Failure> {
        let deadline = self.limit.map(|limit| Instant::now() + limit);
        self.announce();
        let mut refusals = Vec::new();
        for transport in &self.transports {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            let (request, keys) = next()?;
            let keys: Vec<_> = keys.iter().collect();
            let answer = client::ask(transport.as_ref(), &request, &keys, deadline);
            for skipped in &answer.skipped {
                tracing::info!("skipped from {}: {}", skipped.from, skipped.what);
            }
            match answer.outcome {
                Ok(Delivered { key, from, .. }) => {
                    tracing::info!("{from} answered over {}", answer.place);
                    return Ok(key);
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        Err(refused(&refusals))
    }

    /// Says how long it may take.
    fn announce(&self) {
        self.prompt
            .tell(&announcement(&self.transports, self.limit));
    }

    /// The next request of the stock, marked before it is sent.
    fn take(&self, file: &SidecarFile) -> Result<(Request, Vec<SessionKey>), Failure> {
        let taken = match file.change(|sidecar| Ok(sidecar.take())) {
            Ok(taken) => taken,
            // A request that is sent twice gives nobody more than he has: better than no key.
            Err(error @ Error::Io { .. }) => {
                let error = error.with_causes();
                self.prompt.tell(&format!(
                    "warning: a request is used without being marked: {error}"
                ));
                tracing::warn!("a request is used without being marked: {error}");
                file.load().map_err(|error| bad_sidecar(&error))?.take()
            }
            Err(error) => return Err(bad_sidecar(&error)),
        };
        let taken = taken.ok_or_else(|| {
            Failure::new(Reason::BadSidecar, "the stock of requests is empty")
                .with_remedy(Remedy::ReplaceNetworkProtector)
        })?;
        if taken.again {
            self.prompt
                .tell("warning: no fresh request is left in stock, an old one is sent again");
            tracing::warn!("no fresh request is left in stock, an old one is sent again");
        }
        Ok((taken.request, vec![taken.session_key]))
    }

    /// New requests in the place of those that were sent: now the key is known.
    fn refill(&self, file: &SidecarFile, key: &NetworkKey) {
        if let Err(error) = file.change(|sidecar| sidecar.refill(key)) {
            let error = error.with_causes();
            self.prompt.tell(&format!(
                "warning: no new requests could be put in stock: {error}"
            ));
            tracing::warn!("no new requests could be put in stock: {error}");
        }
    }

    fn open(&self, protector: &KeyProtector, context: &Context<'_>) -> Result<Answer, Failure> {
        let (file, sidecar) = self.stock(context)?;
        if sidecar.protector() != protector.id {
            return Ok(Answer::NotMine);
        }
        let key = self.external_key(protector.id, &file)?;
        match open_vmk(protector, key.expose()) {
            Answer::Failed(failure) if failure.reason == Reason::WrongKey => Err(Failure::new(
                Reason::WrongKey,
                "the network gave a key, and it does not open this protector: the stock of requests was made for an earlier one",
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
        // Said once, and not of every external key of the volume.
        let mut protectors = context.block.protectors();
        if protectors.any(|one| one.kind() == ProtectorKind::Network) {
            return None;
        }
        self.stock(context).err().map(Err)
    }
}

impl std::fmt::Debug for NetworkUnlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let places: Vec<_> = self.transports.iter().map(|one| one.place()).collect();
        write!(f, "NetworkUnlock({})", places.join(", "))
    }
}

/// What is asked of whom, and how long it takes when nobody answers.
pub fn announcement(transports: &[Box<dyn Transport>], limit: Option<Duration>) -> String {
    let places: Vec<_> = transports.iter().map(|one| one.place()).collect();
    let all: Duration = transports.iter().map(|one| one.timetable().total()).sum();
    let all = limit.map_or(all, |limit| limit.min(all));
    format!(
        "asking the network for the key, over {}: at most {} seconds",
        places.join(", then "),
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

/// Why no transport brought a key, with the reason that says most of what can be done.
fn refused(refusals: &[NoAnswer]) -> Failure {
    let reason = NoAnswer::most_telling(refusals).map(NoAnswer::reason);
    let texts: Vec<_> = refusals.iter().map(NoAnswer::to_string).collect();
    let failure = Failure::new(
        reason.unwrap_or(Reason::NoAnswer),
        if texts.is_empty() {
            "nobody was asked: there was no time".to_owned()
        } else {
            texts.join("; ")
        },
    );
    let remedy = refusals.iter().find_map(|refusal| match refusal {
        NoAnswer::Socket { remedy, .. } => remedy.clone(),
        _ => None,
    });
    failure.with_remedy(remedy.unwrap_or(Remedy::ProbeNetwork))
}
