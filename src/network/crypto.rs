//! The encrypted parts of requests and replies (MS-NKPU 3.1.1, 3.2.1;
//! docs/format-network-unlock.md §3).
//!
//! * Request: RSAES-PKCS1-v1_5 of 64 bytes, the network key and the session key.
//! * Reply: AES-256-CCM with the session key and a nonce of zeros, of a key datum with the network
//!   key. The tag comes before the ciphertext.
//!
//! A constant nonce is safe only if a session key never encrypts two different keys. So
//! [`seal_request`], the only function that makes session keys, makes a new one for each request.

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
/// The header of the key datum: size 0x2C, role 0, value type 1 (key), flags 0, then the key type
/// 0x2006 and its flags. MS-NKPU and the known implementations agree on these bytes.
const DATUM_HEADER: [u8; 12] = [0x2C, 0, 0, 0, 1, 0, 0, 0, 0x06, 0x20, 0, 0];
const DATUM_LEN: usize = DATUM_HEADER.len() + NetworkKey::LEN;
/// The key type of a network key in the reply's datum.
pub const NETWORK_KEY_TYPE: u16 = 0x2006;

/// A private RSA key that decrypts requests. It may be in this process or in a device.
pub trait Decryptor: Send + Sync {
    /// Decrypts a block with RSAES-PKCS1-v1_5 padding. `None` if the padding is wrong.
    ///
    /// The time must not depend on the block, so that it does not reveal whether the padding was
    /// right. An implementation with implicit rejection returns random bytes for wrong padding, so
    /// a result does not prove that the block was valid.
    fn decrypt(&self, block: &[u8; SealedRequest::LEN]) -> Option<SecretBytes>;
}

/// The two keys in a request, 32 bytes each.
#[derive(Debug)]
pub struct RequestKeys {
    /// The key that the server is to return.
    pub network: NetworkKey,
    /// The key that encrypts the reply.
    pub session: SessionKey,
}

/// Encrypts `network` and a new session key with the public key of a certificate.
///
/// # Errors
/// If the operating system provides no random numbers.
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

/// Decrypts a request. `None` for wrong padding and for content of another length; callers cannot
/// tell the two apart, so that they cannot reveal which it was.
pub fn open_request(decryptor: &dyn Decryptor, sealed: &SealedRequest) -> Option<RequestKeys> {
    let content = decryptor.decrypt(sealed.as_bytes())?;
    let (network, session) = content.expose().split_at_checked(NetworkKey::LEN)?;
    Some(RequestKeys {
        network: NetworkKey::from_slice(network)?,
        session: SessionKey::from_slice(session)?,
    })
}

/// Encrypts the network key for the reply to a request with these keys.
pub fn seal_reply(keys: &RequestKeys) -> Option<SealedReply> {
    let mut datum = Zeroizing::new([0; DATUM_LEN]);
    datum[..DATUM_HEADER.len()].copy_from_slice(&DATUM_HEADER);
    datum[DATUM_HEADER.len()..].copy_from_slice(keys.network.expose());
    let (ciphertext, tag) = envelope::seal(keys.session.expose(), &NONCE, &datum[..])?;
    let mut sealed = [0; SealedReply::LEN];
    sealed[..TAG_LEN].copy_from_slice(&tag);
    sealed[TAG_LEN..].copy_from_slice(&ciphertext);
    Some(SealedReply::from_bytes(sealed))
}

/// The content of an authentic reply.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenedReply {
    /// The key from the request.
    pub network: NetworkKey,
    /// The key type in the datum. Every known server writes [`NETWORK_KEY_TYPE`].
    pub key_type: u16,
}

/// Why a reply cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The tag does not match: the reply is for another request, damaged or forged.
    #[error("the reply is not authentic: it answers another request, or is damaged or forged")]
    NotAuthentic,
    /// The server encrypted something other than a key datum.
    #[error("the reply is authentic, but holds no key")]
    NoKey,
}

/// Decrypts a reply with the session key of its request.
///
/// # Errors
/// [`ReplyError`] if the reply is not authentic or holds no key.
pub fn open_reply(session: &SessionKey, reply: &SealedReply) -> Result<OpenedReply, ReplyError> {
    let (tag, ciphertext) = reply
        .as_bytes()
        .split_first_chunk::<TAG_LEN>()
        .ok_or(ReplyError::NotAuthentic)?;
    let datum = envelope::open(session.expose(), &NONCE, tag, ciphertext)
        .ok_or(ReplyError::NotAuthentic)?;
    let (header, key) = datum
        .expose()
        .split_first_chunk::<{ DATUM_HEADER.len() }>()
        .ok_or(ReplyError::NoKey)?;
    // Size, role, value type and flags must match. The key type is returned to the caller.
    if header[..8] != DATUM_HEADER[..8] {
        return Err(ReplyError::NoKey);
    }
    Ok(OpenedReply {
        network: NetworkKey::from_slice(key).ok_or(ReplyError::NoKey)?,
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

    // The test vectors of docs/format-network-unlock.md §13.
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

    fn keys() -> RequestKeys {
        RequestKeys {
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
    fn seals_a_request_like_the_vector() {
        // The padding bytes of the vector are 1 to 189.
        struct Counting;
        impl TryRng for Counting {
            type Error = Infallible;
            fn try_next_u32(&mut self) -> Result<u32, Infallible> {
                unreachable!("the padding is requested as bytes")
            }
            fn try_next_u64(&mut self) -> Result<u64, Infallible> {
                unreachable!("the padding is requested as bytes")
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
        let RequestKeys { network, session } = keys();
        let sealed = seal_keys(&certificate, &network, &session, &mut Counting).unwrap();
        assert_eq!(sealed.as_bytes(), &KEY_PROTECTOR);
    }

    #[test]
    fn seals_and_opens_a_reply_like_the_vector() {
        let sealed = seal_reply(&keys()).unwrap();
        assert_eq!(sealed.as_bytes(), &REPLY);
        let opened = open_reply(&keys().session, &sealed).unwrap();
        assert_eq!(opened.network.expose(), keys().network.expose());
        assert_eq!(opened.key_type, NETWORK_KEY_TYPE);
    }

    #[test]
    fn refuses_a_reply_with_any_bit_flipped() {
        for bit in 0..8 * REPLY.len() {
            let mut reply = REPLY;
            reply[bit / 8] ^= 1 << (bit % 8);
            let opened = open_reply(&keys().session, &SealedReply::from_bytes(reply));
            assert_eq!(opened.unwrap_err(), ReplyError::NotAuthentic, "bit {bit}");
        }
        let mut tag_last = REPLY;
        tag_last.rotate_left(TAG_LEN);
        assert!(open_reply(&keys().session, &SealedReply::from_bytes(tag_last)).is_err());
    }

    #[test]
    fn reports_an_authentic_reply_without_a_key() {
        let mut datum = [0; DATUM_LEN];
        datum[..12].copy_from_slice(&DATUM_HEADER);
        // Another value type than a key.
        datum[4] = 2;
        let (ciphertext, tag) = envelope::seal(keys().session.expose(), &NONCE, &datum).unwrap();
        let sealed = [tag.as_slice(), &ciphertext].concat();
        let reply = SealedReply::from_bytes(sealed.try_into().unwrap());
        let opened = open_reply(&keys().session, &reply);
        assert_eq!(opened.unwrap_err(), ReplyError::NoKey);
    }

    #[test]
    fn encodes_the_packets_of_the_vectors() {
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
