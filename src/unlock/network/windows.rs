//! The key protectors that Windows makes for Network Unlock: a TPM and a server's certificate.
//!
//! No such key protector is published, and how its two keys are combined is not known
//! (docs/format-network-unlock.md §8). This module tries the combinations that the known parts and
//! other key protectors suggest. The tag of the encrypted VMK shows whether one is right, so a wrong
//! guess cannot produce a wrong key. No key protector of Windows has been unlocked this way so far.

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

const UNPROVEN: &str = "the layout of such a protector of Windows is not known for certain";

/// Keys of a key protector that were obtained by other means.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct KnownKeys {
    /// The key that the network would return, 32 bytes.
    pub key: Option<NetworkKey>,
    /// A request, and the session key that decrypts its reply.
    pub request: Option<(SealedRequest, SessionKey)>,
}

impl KnownKeys {
    /// Reads the keys from files, in binary or hexadecimal: the network key; a request and its session
    /// key.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read; [`Error::BadCredential`] if it has another length, or
    /// if only one of request and session key is given.
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
                    "a key protector and its session key must be given together",
                ));
            }
        };
        Ok(Self { key, request })
    }
}

/// Tries every combination of the TPM's key and the network key.
pub(super) fn open(unlock: &NetworkUnlock, protector: &KeyProtector) -> Answer {
    let mut messages = Vec::new();
    let released = unlock.tpm.as_ref().and_then(|tpm| {
        let released = tpm.release(protector);
        released
            .map_err(|failure| messages.push(failure.message))
            .ok()
    });
    if unlock.tpm.is_none() {
        messages.push("no TPM was given".to_owned());
    }
    let network = match network_key(unlock, protector, released.as_ref()) {
        Ok(key) => key,
        Err(failure) => {
            messages.push(failure.message);
            None
        }
    };
    for (name, key) in combinations(released.as_ref(), network.as_ref()) {
        if let Some(vmk) = try_key(protector, &key) {
            tracing::warn!(
                "a Network Unlock protector of Windows was unlocked with {name}: please report it"
            );
            return Answer::Opened(vmk);
        }
    }
    messages.push(UNPROVEN.to_owned());
    let remedy = match unlock.tpm {
        Some(_) => "use another protector, such as the recovery password".into(),
        None => Remedy::GiveTpm,
    };
    Answer::Failed(Failure::new(Reason::UnprovenLayout, messages.join("; ")).with_remedy(remedy))
}

/// The network key: the known one, or the one from the network for the request that is known or that
/// the key protector holds.
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
            "the protector names no certificate",
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
            "no request with its session key was found in the protector",
        ));
    };
    let request = Request {
        thumbprint,
        key_protector,
    };
    // There is only one request, so every transport sends the same.
    let copy_keys = || keys.iter().map(|key| SessionKey::from_bytes(key.expose()));
    unlock
        .ask(&mut || Ok((request.clone(), copy_keys().collect())))
        .map(Some)
}

/// The thumbprint of the server's certificate in the key protector.
fn thumbprint(protector: &KeyProtector) -> Option<Thumbprint> {
    let found = &protector.certificate()?.thumbprint;
    found.as_slice().try_into().ok().map(Thumbprint::from_bytes)
}

/// Bytes with the length of an RSA ciphertext: the end of an asymmetric datum, or of the bytes after
/// the thumbprint.
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

/// Unencrypted keys in the key protector, and keys in it that the TPM's key decrypts.
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

/// The key type of the key in a reply.
const NETWORK_KEY: u16 = crate::network::crypto::NETWORK_KEY_TYPE;

type Combination = (&'static str, Zeroizing<[u8; 32]>);

/// The keys that the TPM's key and the network key may be combined to, in the order of
/// docs/format-network-unlock.md §8.3.
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
        all.push(("both keys, combined by XOR", joined));
    }
    let alone = [
        ("the network's key alone", network.map(NetworkKey::expose)),
        ("the TPM's key alone", released.map(IntermediateKey::expose)),
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
            "SHA-256 of the TPM's and the network's key",
            hash(tpm, network),
        ));
        all.push((
            "SHA-256 of the network's and the TPM's key",
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
    fn unlocks_the_vector_with_the_xor_of_both_keys() {
        // The vector for combinations in docs/format-network-unlock.md §13.
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
        assert_eq!(opened, ["both keys, combined by XOR"]);
        assert_eq!(combinations(None, Some(&network)).len(), 1);
        assert!(combinations(None, None).is_empty());
    }
}
