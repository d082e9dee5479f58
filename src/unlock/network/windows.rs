//! Protectors that Windows makes for Network Unlock: a TPM and a server's certificate.
//!
//! Nobody has published one, and how the parts go together is not known
//! (docs/format-network-unlock.md §8). What is known of its parts, and what follows from other
//! protectors, is tried; the tag of the sealed master key decides, so that nothing wrong can come
//! of it. None was opened so far: treat all of this as unproven.

use std::path::Path;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::NetworkUnlock;
use crate::error::{Error, Failure, Reason, Remedy, Result};
use crate::format::datum::{Body, Datum, key_types};
use crate::format::protector::KeyProtector;
use crate::network::message::Thumbprint;
use crate::network::{Request, SealedRequest};
use crate::secret::{IntermediateKey, NetworkKey, SessionKey, Vmk};
use crate::unlock::raw_key::read_key;
use crate::unlock::{Answer, open_key};

const UNPROVEN: &str = "how Windows lays out such a protector is not proven";

/// What somebody knows of a protector from elsewhere.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Known {
    /// The key that the network would give.
    pub key: Option<NetworkKey>,
    /// A request, and the session key that opens its reply.
    pub request: Option<(SealedRequest, SessionKey)>,
}

impl Known {
    /// What is known, from files, in binary or in hex digits: the network's key; a request and the
    /// session key that goes with it.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read; [`Error::BadCredential`] when it holds something
    /// else, or of a request and its session key only one is given.
    pub fn from_files(
        key: Option<&Path>,
        request: Option<&Path>,
        session_key: Option<&Path>,
    ) -> Result<Self> {
        let key = match key {
            Some(path) => {
                let key = read_key(path, "network key", &[NetworkKey::LEN])?;
                NetworkKey::from_slice(key.expose())
            }
            None => None,
        };
        let request = match (request, session_key) {
            (Some(request), Some(session_key)) => {
                let block = read_key(request, "key protector", &[SealedRequest::LEN])?;
                let block = block.expose().try_into().map(SealedRequest::from_bytes);
                let key = read_key(session_key, "session key", &[SessionKey::LEN])?;
                block.ok().zip(SessionKey::from_slice(key.expose()))
            }
            (None, None) => None,
            _ => {
                return Err(Error::bad_credential(
                    super::NAME,
                    "a key protector and its session key go together",
                ));
            }
        };
        Ok(Self { key, request })
    }
}

/// Tries all that may open it.
pub(super) fn open(unlock: &NetworkUnlock, protector: &KeyProtector) -> Answer {
    let mut told = Vec::new();
    let released = unlock.tpm.as_ref().and_then(|tpm| {
        let released = tpm.release(protector);
        released.map_err(|failure| told.push(failure.message)).ok()
    });
    if unlock.tpm.is_none() {
        told.push("no TPM was given".to_owned());
    }
    let network = match network_key(unlock, protector, released.as_ref()) {
        Ok(key) => key,
        Err(failure) => {
            told.push(failure.message);
            None
        }
    };
    for (name, key) in combinations(released.as_ref(), network.as_ref()) {
        if let Some(vmk) = try_key(protector, &key) {
            tracing::warn!(
                "a protector of Windows' Network Unlock opened with {name}: please report it"
            );
            return Answer::Opened(vmk);
        }
    }
    told.push(UNPROVEN.to_owned());
    let remedy = match unlock.tpm {
        Some(_) => "use another protector, such as the recovery password".into(),
        None => Remedy::GiveTpm,
    };
    Answer::Failed(Failure::new(Reason::UnprovenLayout, told.join("; ")).with_remedy(remedy))
}

/// The network's part: known, or asked for with the one request that is at hand.
fn network_key(
    unlock: &NetworkUnlock,
    protector: &KeyProtector,
    released: Option<&IntermediateKey>,
) -> Result<Option<NetworkKey>, Failure> {
    if let Some(key) = &unlock.known.key {
        return Ok(Some(NetworkKey::from_bytes(key.expose())));
    }
    let Some(thumbprint) = thumbprint(protector) else {
        return Err(Failure::new(
            Reason::UnprovenLayout,
            "the protector names no certificate that could be asked for",
        ));
    };
    let (block, keys) = match &unlock.known.request {
        Some((block, key)) => (
            Some(block.clone()),
            vec![SessionKey::from_bytes(key.expose())],
        ),
        None => (request_block(protector), session_keys(protector, released)),
    };
    let Some(key_protector) = block.filter(|_| !keys.is_empty()) else {
        return Err(Failure::new(
            Reason::UnprovenLayout,
            "the protector holds no request that can be recognised, with its session key",
        ));
    };
    let request = Request {
        thumbprint,
        key_protector,
    };
    // Never more than one request: the same over the next transport.
    let again = || keys.iter().map(|key| SessionKey::from_bytes(key.expose()));
    unlock
        .ask(&mut || Ok((request.clone(), again().collect())))
        .map(Some)
}

/// The server's certificate, as the protector names it.
fn thumbprint(protector: &KeyProtector) -> Option<Thumbprint> {
    let found = &protector.certificate()?.thumbprint;
    found.as_slice().try_into().ok().map(Thumbprint::from_bytes)
}

/// Whatever has the size of RSA's output: a box of its own, or what stands behind the thumbprint.
fn request_block(protector: &KeyProtector) -> Option<SealedRequest> {
    let boxed = protector.parts.iter().find_map(|datum| match &datum.body {
        Body::WrappedKey(bytes) => Some(bytes.as_slice()),
        _ => None,
    });
    let rest = protector.certificate().map(|one| one.rest.as_slice());
    [boxed, rest].into_iter().flatten().find_map(|bytes| {
        let block: &[u8; SealedRequest::LEN] = bytes.last_chunk()?;
        Some(SealedRequest::from_bytes(block))
    })
}

/// Keys in the open, and keys that the TPM's part opens.
fn session_keys(protector: &KeyProtector, released: Option<&IntermediateKey>) -> Vec<SessionKey> {
    let mut found = Vec::new();
    for datum in &protector.parts {
        match &datum.body {
            Body::Key(key) => found.extend(SessionKey::from_slice(key.data.expose())),
            Body::Sealed(sealed) => {
                let any = |key_type| open_key(sealed, released?.expose(), &[key_type]);
                let opened = [NETWORK_KEY, key_types::CLEAR_KEY]
                    .into_iter()
                    .find_map(any);
                found.extend(opened.and_then(|key| SessionKey::from_slice(key.data.expose())));
            }
            _ => {}
        }
    }
    found
}

/// The type of the key in a reply.
const NETWORK_KEY: u16 = crate::network::crypto::NETWORK_KEY_TYPE;

type Combination = (&'static str, Zeroizing<[u8; 32]>);

/// What both parts may make together, in the order of docs/format-network-unlock.md §8.3.
fn combinations(
    released: Option<&IntermediateKey>,
    network: Option<&NetworkKey>,
) -> Vec<Combination> {
    let mut all = Vec::new();
    if let (Some(tpm), Some(network)) = (released, network) {
        let mut joined = Zeroizing::new(*tpm.expose());
        for (byte, other) in joined.iter_mut().zip(network.expose()) {
            *byte ^= other;
        }
        all.push(("both parts, joined by XOR", joined));
    }
    let alone = [
        ("the network's part alone", network.map(NetworkKey::expose)),
        (
            "the TPM's part alone",
            released.map(IntermediateKey::expose),
        ),
    ];
    for (name, key) in alone {
        all.extend(key.map(|key| (name, Zeroizing::new(*key))));
    }
    if let (Some(tpm), Some(network)) = (released, network) {
        let hash = |first: &[u8; 32], second: &[u8; 32]| {
            let mut hash = Sha256::new();
            hash.update(first);
            hash.update(second);
            Zeroizing::new(hash.finalize().into())
        };
        let (tpm, network) = (tpm.expose(), network.expose());
        all.push((
            "SHA-256 of the TPM's and the network's part",
            hash(tpm, network),
        ));
        all.push((
            "SHA-256 of the network's and the TPM's part",
            hash(network, tpm),
        ));
    }
    all
}

fn try_key(protector: &KeyProtector, key: &[u8; 32]) -> Option<Vmk> {
    let mut sealed = protector.parts.iter().rev().filter_map(Datum::sealed);
    sealed.find_map(|sealed| {
        let opened = open_key(sealed, key, &[key_types::VMK])?;
        Vmk::from_slice(opened.data.expose())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::datum::SealedDatum;
    use hex_literal::hex;

    #[test]
    fn the_vector_opens_with_both_parts_joined() {
        // The combination vector of docs/format-network-unlock.md §13.
        let tpm = IntermediateKey::from_bytes(&std::array::from_fn(|at| 0x40 + at as u8));
        let network = NetworkKey::from_bytes(&std::array::from_fn(|at| at as u8));
        let sealed = SealedDatum {
            nonce: hex!("008e5c1f2a7bd60105000000"),
            tag: hex!("af5b501770faccd8738c85da909a4491"),
            ciphertext: hex!(
                "e49f4968e066b34f2d75f735c292151406580cf6d18b17811205b00be6b0f5a37cf2201341b954e4ad2a776b"
            )
            .to_vec(),
        };
        let opened: Vec<_> = combinations(Some(&tpm), Some(&network))
            .iter()
            .filter(|(_, key)| open_key(&sealed, key, &[key_types::VMK]).is_some())
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(opened, ["both parts, joined by XOR"]);
        assert_eq!(combinations(None, Some(&network)).len(), 1);
        assert!(combinations(None, None).is_empty());
    }
}
