//! What the sealed parts of requests and replies hold (MS-NKPU 3.1.1, 3.2.1;
//! docs/format-network-unlock.md §3).
//!
//! * Request: RSAES-PKCS1-v1_5 over network key, then session key; 64 bytes.
//! * Reply: AES-256-CCM with the session key and a nonce of zeros, over a key datum that holds the
//!   network key; the tag in front of the ciphertext.
//!
//! The nonce is constant: a session key belongs to one request and one network key, and
//! [`seal_request`] is the only function here that makes one.

use getrandom::SysRng;
use rsa::rand_core::TryCryptoRng;
use zeroize::Zeroizing;

use super::certificate::Certificate;
use super::message::{SealedReply, SealedRequest};
use crate::crypto::envelope;
use crate::crypto::rsa_key::Padding;
use crate::secret::{NetworkKey, SecretBytes, SessionKey};

const KEYS_LEN: usize = NetworkKey::LEN + SessionKey::LEN;
const TAG_LEN: usize = 16;
const NONCE: [u8; 12] = [0; 12];
/// Header of the key datum: size 0x2C, role 0, value type 1 (key), flags 0; then key type 0x2006
/// and its flags. Specification and implementations agree on the bytes.
const DATUM_HEADER: [u8; 12] = [0x2C, 0, 0, 0, 1, 0, 0, 0, 0x06, 0x20, 0, 0];
const DATUM_LEN: usize = DATUM_HEADER.len() + NetworkKey::LEN;
/// The datum's key type, a network key.
pub const NETWORK_KEY_TYPE: u16 = 0x2006;

/// The private RSA operation, wherever the key lies.
pub trait Decryptor: Send + Sync {
    /// The content of a block under RSAES-PKCS1-v1_5; `None` where its padding is wrong.
    ///
    /// A library with implicit rejection gives a random content instead: callers must not take
    /// content for proof. It must not take longer for one block than for another.
    fn decrypt(&self, block: &[u8; SealedRequest::LEN]) -> Option<SecretBytes>;
}

/// A request's keys.
#[derive(Debug)]
pub struct Keys {
    /// The key that the client wants back.
    pub network: NetworkKey,
    /// The key that the reply is sealed with.
    pub session: SessionKey,
}

/// Seals `network` and a new session key to a certificate's key. Fails only where the system gives
/// no random numbers.
pub fn seal_request(
    certificate: &Certificate,
    network: &NetworkKey,
) -> Result<(SealedRequest, SessionKey), getrandom::Error> {
    let mut random = Zeroizing::new([0; SessionKey::LEN]);
    getrandom::fill(&mut random[..])?;
    let session = SessionKey::from_bytes(&random);
    let sealed = seal_keys(certificate, network, &session, &mut SysRng);
    Ok((sealed.ok_or(getrandom::Error::UNEXPECTED)?, session))
}

fn seal_keys(
    certificate: &Certificate,
    network: &NetworkKey,
    session: &SessionKey,
    rng: &mut impl TryCryptoRng,
) -> Option<SealedRequest> {
    let mut keys = Zeroizing::new([0; KEYS_LEN]);
    keys[..NetworkKey::LEN].copy_from_slice(network.expose());
    keys[NetworkKey::LEN..].copy_from_slice(session.expose());
    let key = certificate.key();
    let sealed = key.encrypt_from(rng, Padding::Pkcs1, &keys[..])?;
    Some(SealedRequest::from_bytes(
        sealed.as_slice().try_into().ok()?,
    ))
}

/// Opens a request. Wrong padding and a content of another length are the same to everybody.
pub fn open_request(decryptor: &dyn Decryptor, sealed: &SealedRequest) -> Option<Keys> {
    let content = decryptor.decrypt(sealed.as_bytes())?;
    let (network, session) = content.expose().split_at_checked(NetworkKey::LEN)?;
    Some(Keys {
        network: NetworkKey::from_slice(network)?,
        session: SessionKey::from_slice(session)?,
    })
}

/// The reply to a request with these keys.
pub fn seal_reply(keys: &Keys) -> Option<SealedReply> {
    let mut datum = Zeroizing::new([0; DATUM_LEN]);
    datum[..DATUM_HEADER.len()].copy_from_slice(&DATUM_HEADER);
    datum[DATUM_HEADER.len()..].copy_from_slice(keys.network.expose());
    let (ciphertext, tag) = envelope::seal(keys.session.expose(), &NONCE, &datum[..])?;
    let mut sealed = [0; SealedReply::LEN];
    sealed[..TAG_LEN].copy_from_slice(&tag);
    sealed[TAG_LEN..].copy_from_slice(&ciphertext);
    Some(SealedReply::from_bytes(sealed))
}

/// The network key of an authentic reply.
#[derive(Debug)]
pub struct Opened {
    /// The key.
    pub network: NetworkKey,
    /// Its type as the datum names it: [`NETWORK_KEY_TYPE`], as far as anybody has seen.
    pub key_type: u16,
}

/// Why a reply does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// Its tag does not match: another request's, garbled, or forged.
    #[error("the reply's tag does not match: it is not the answer to this request, or was garbled")]
    NotAuthentic,
    /// The server sealed something that is no key datum.
    #[error("the reply is authentic, but holds no key")]
    NoKey,
}

/// Opens a reply with the session key of its request.
pub fn open_reply(session: &SessionKey, reply: &SealedReply) -> Result<Opened, NotOpened> {
    let (tag, ciphertext) = reply
        .as_bytes()
        .split_first_chunk::<TAG_LEN>()
        .ok_or(NotOpened::NotAuthentic)?;
    let datum =
        envelope::open(session.expose(), &NONCE, tag, ciphertext).ok_or(NotOpened::NotAuthentic)?;
    let (header, key) = datum
        .expose()
        .split_first_chunk::<{ DATUM_HEADER.len() }>()
        .ok_or(NotOpened::NoKey)?;
    // Size, role, value type, flags as they must be; the key's type as it comes.
    if header[..8] != DATUM_HEADER[..8] {
        return Err(NotOpened::NoKey);
    }
    Ok(Opened {
        network: NetworkKey::from_slice(key).ok_or(NotOpened::NoKey)?,
        key_type: u16::from_le_bytes([header[8], header[9]]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::message::dhcp4::{Form, Header, Request4};
    use crate::network::message::dhcp6::Request6;
    use crate::network::message::{Request, Thumbprint};
    use hex_literal::hex;
    use rsa::rand_core::TryRng;
    use sha2::{Digest, Sha256};
    use std::convert::Infallible;

    // The vectors of docs/format-network-unlock.md §13.
    const CERTIFICATE: &[u8] = include_bytes!("../../tests/network/test.cer");
    const KEY_PROTECTOR: [u8; 256] = hex!(
        "39100ba194f4b106c0e990ff24f79fb5eedbb5a1fd3e4bb7c7033fd0edbaf90c2609130f6f2a442e2eaf3622811b16ae5894fa0bf6d92fdfb27a9183de94c493"
        "3a8079dd370097df98f5c006b4362759e6ad0f844a534a147c7a86ef2e34b91d0dcc81f3f995931fa36c16428a29c5696e44a89f3ac5ba0e1851a49688a3ca85"
        "56ab4577ba1f3999b269794fd6ef178eafd5645bc3c69109f4be4ea396c3170ae5d97f68edd93b44586407127aa306bcf4e3ad44eb85c3ac5dbe0a388b90027a"
        "4762ecc6c459b312efac10da11eace58d58e29c8c7612a9aad9aad900babb05af910338f2a35f11eb0133dfc25ff6d92a07b2378216e59339b04ad9fdb624df5"
    );
    const REPLY: [u8; 60] = hex!(
        "5449fffe856dde279e97887c5bb2ed4a"
        "c2f9186fdb529f98558d60e88d896faf9026e1440ecd80008b46d22774ea349fe5e874bba93f4c1961e5be3f"
    );

    fn keys() -> Keys {
        Keys {
            network: NetworkKey::from_bytes(&std::array::from_fn(|at| at as u8)),
            session: SessionKey::from_bytes(&std::array::from_fn(|at| 0x80 + at as u8)),
        }
    }

    fn request() -> Request {
        Request {
            thumbprint: "b44bf9cee0e91c92b027a18dea2d3573bd7f8506".parse().unwrap(),
            key_protector: SealedRequest::from_bytes(&KEY_PROTECTOR),
        }
    }

    fn header() -> Header {
        Header::ethernet(0x4e4b5055, [2, 0, 0, 0, 0, 1], [10, 77, 0, 50].into())
    }

    fn hash(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    #[test]
    fn seals_a_request_as_the_vector_has_it() {
        // The padding of the vector: 1 to 189.
        struct Counting;
        impl TryRng for Counting {
            type Error = Infallible;
            fn try_next_u32(&mut self) -> Result<u32, Infallible> {
                unreachable!("padding is asked for by bytes")
            }
            fn try_next_u64(&mut self) -> Result<u64, Infallible> {
                unreachable!("padding is asked for by bytes")
            }
            fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
                for (byte, number) in bytes.iter_mut().zip(1..) {
                    *byte = number;
                }
                Ok(())
            }
        }
        impl TryCryptoRng for Counting {}

        let certificate = Certificate::parse(CERTIFICATE).unwrap();
        assert_eq!(certificate.thumbprint(), request().thumbprint);
        assert_eq!(Thumbprint::of(certificate.der()), request().thumbprint);
        let Keys { network, session } = keys();
        let sealed = seal_keys(&certificate, &network, &session, &mut Counting).unwrap();
        assert_eq!(sealed.as_bytes(), &KEY_PROTECTOR);
    }

    #[test]
    fn seals_and_opens_the_reply_of_the_vector() {
        let sealed = seal_reply(&keys()).unwrap();
        assert_eq!(sealed.as_bytes(), &REPLY);
        let opened = open_reply(&keys().session, &sealed).unwrap();
        assert_eq!(opened.network.expose(), keys().network.expose());
        assert_eq!(opened.key_type, NETWORK_KEY_TYPE);
    }

    #[test]
    fn every_flipped_bit_of_a_reply_is_noticed() {
        for bit in 0..8 * REPLY.len() {
            let mut reply = REPLY;
            reply[bit / 8] ^= 1 << (bit % 8);
            let opened = open_reply(&keys().session, &SealedReply::from_bytes(reply));
            assert_eq!(opened.unwrap_err(), NotOpened::NotAuthentic, "bit {bit}");
        }
        let mut behind = REPLY;
        behind.rotate_left(TAG_LEN);
        assert!(open_reply(&keys().session, &SealedReply::from_bytes(behind)).is_err());
    }

    #[test]
    fn an_authentic_reply_without_a_key_is_told_apart() {
        let mut datum = [0; DATUM_LEN];
        datum[..12].copy_from_slice(&DATUM_HEADER);
        datum[4] = 2;
        let (ciphertext, tag) = envelope::seal(keys().session.expose(), &NONCE, &datum).unwrap();
        let sealed = [tag.as_slice(), &ciphertext].concat();
        let reply = SealedReply::from_bytes(sealed.try_into().unwrap());
        let opened = open_reply(&keys().session, &reply);
        assert_eq!(opened.unwrap_err(), NotOpened::NoKey);
    }

    #[test]
    fn the_four_packets_are_those_of_the_vectors() {
        let bootp = Request4 {
            header: header(),
            form: Form::Bootp,
            relay_information: None,
            request: request(),
        };
        let discover = Request4 {
            form: Form::Discover,
            ..bootp.clone()
        };
        let sealed = SealedReply::from_bytes(REPLY);
        let v6 = Request6 {
            relays: Vec::new(),
            xid: hex!("123456"),
            client: Some(hex!("0001000111223344020000000001").to_vec()),
            request: request(),
        };
        for (packet, len, sha256) in [
            (
                bootp.encode(),
                543,
                hex!("0dcc72cc3b71a47408d8dd99527593479df18d57edca276632417e3d6000345b"),
            ),
            (
                discover.encode(),
                546,
                hex!("2346a076e692fe03d5099d6079bd6af74ca20e6ca337304d22b2ec9792676fd7"),
            ),
            (
                bootp.reply(sealed).encode(),
                316,
                hex!("260868b1adabf9d8c54e9667896776b23c6716dc5c39307f627ad80eda784107"),
            ),
            (
                v6.encode(),
                339,
                hex!("b64e3cd6d67b30b72c8059364c6478b8227e82e07d823243e6c2af4ef9d16dec"),
            ),
            (
                v6.reply(&hex!("00030001020000000002"), sealed).encode(),
                127,
                hex!("f697ae116f099caa8640b602676e59b229b67ea25447628b53e4f8959cc692d7"),
            ),
        ] {
            assert_eq!(packet.len(), len);
            assert_eq!(hash(&packet), sha256, "{len} bytes");
        }
        assert_eq!(Request4::parse(&bootp.encode()).unwrap(), bootp);
        assert_eq!(Request4::parse(&discover.encode()).unwrap(), discover);
        assert_eq!(Request6::parse(&v6.encode()).unwrap(), v6);
    }
}
