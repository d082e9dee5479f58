//! Types for keys and secret text: wiped when dropped, never printed, kept out of swap.
//!
//! Each kind of key has its own type, so that a volume master key cannot be passed where an external
//! key is expected. The bytes are reachable only through `expose`, so that a search for that word
//! finds every use. They are in locked pages from the start (`arena`), so that moving a value leaves
//! no copy. What a computation with a key leaves on the stack is wiped after it (`stack`).
//!
//! None of the types is `Clone`: a copy of a key should be visible in the code, as `duplicate`.

mod arena;
mod pages;
mod readable;
mod stack;

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub(crate) use arena::{Locked, LockedBytes};
pub use readable::others_can_read;
#[cfg(test)]
pub(crate) use stack::depth;
pub use stack::{KIB, leave_nothing};

macro_rules! secret_keys {
    ($($(#[$doc:meta])* $name:ident, $len:literal;)*) => {$(
        $(#[$doc])*
        pub struct $name(Locked<[u8; $len]>);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Copies these bytes into locked memory. The caller wipes its own copy.
            pub fn from_bytes(bytes: &[u8; $len]) -> Self {
                let mut key = Locked::new([0; $len]);
                key.copy_from_slice(bytes);
                Self(key)
            }

            /// The same from a slice; `None` unless its length is [`Self::LEN`].
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                <&[u8; $len]>::try_from(bytes).ok().map(Self::from_bytes)
            }

            /// The bytes of the key.
            pub fn expose(&self) -> &[u8; $len] {
                &self.0
            }

            /// A second copy of the key, in locked memory of its own.
            #[must_use]
            pub fn duplicate(&self) -> Self {
                Self::from_bytes(self.expose())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({} bytes)"), $len)
            }
        }

        impl ConstantTimeEq for $name {
            fn ct_eq(&self, other: &Self) -> subtle::Choice {
                self.expose().ct_eq(other.expose())
            }
        }
    )*};
}

secret_keys! {
    /// A volume master key (VMK): unseals the FVEK and proves the metadata (docs/format.md §4).
    ///
    /// The library itself makes one only from a sealed datum whose authentication tag matched. A
    /// VMK from any other place is unproven until it unseals a datum of the volume.
    Vmk, 32;
    /// A password, recovery password or PIN after 2^20 rounds of SHA-256 (docs/format.md §4.1).
    StretchedKey, 32;
    /// The external key in a startup key (`.BEK`) file.
    ExternalKey, 32;
    /// The 128 bits that the 48 digits of a recovery password encode.
    RecoveryKey, 16;
    /// A key that is stored unencrypted on the disk while protection is suspended.
    ClearKey, 32;
    /// The key of a system volume under which it seals the external keys of its data volumes.
    AutoUnlockKey, 32;
    /// The key that a TPM releases where a second factor is needed, too, or that the private key of
    /// a certificate decrypts. With it, the sealed VMK is opened.
    IntermediateKey, 32;
    /// SHA-256 of a PIN. As secret as the PIN, which a search over all PINs finds from it.
    PinHash, 32;
    /// The authorization value that a TPM checks, derived from a PIN.
    TpmPassword, 20;
    /// The key that a Network Unlock server decrypts for its client.
    NetworkKey, 32;
    /// The session key: a Network Unlock server encrypts its only reply with it.
    SessionKey, 32;
}

/// Secret bytes of any length.
pub struct SecretBytes(LockedBytes);

impl SecretBytes {
    /// Moves the bytes into locked memory and wipes the vector.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(LockedBytes::of(&Zeroizing::new(bytes)))
    }

    /// The secret bytes. They are wiped when this value is dropped.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// A second copy of the bytes, in locked memory of its own.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(LockedBytes::of(self.expose()))
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.len())
    }
}

/// Secret text: a password, a PIN, the digits of a recovery password.
pub struct SecretText(LockedBytes);

impl SecretText {
    /// Moves the text into locked memory and wipes the string.
    pub fn new(text: String) -> Self {
        Self(LockedBytes::of(Zeroizing::new(text).as_bytes()))
    }

    /// The secret text. It is wiped when this value is dropped.
    pub fn expose(&self) -> &str {
        // The bytes come from a `str` and never change, so they are valid UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// A second copy of the text, in locked memory of its own.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::from(self.expose())
    }
}

/// Copies the text into locked memory. The caller wipes its own copy.
impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        Self(LockedBytes::of(text.as_bytes()))
    }
}

/// Moves the text into locked memory and wipes the string.
impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let vmk = Vmk::from_bytes(&[0xA5; 32]);
        assert_eq!(format!("{vmk:?}"), "Vmk(32 bytes)");
        let text = SecretText::new("anaconda".into());
        assert_eq!(format!("{text:?}"), "SecretText");
        let bytes = SecretBytes::new(vec![1, 2, 3]);
        assert_eq!(format!("{bytes:?}"), "SecretBytes(3 bytes)");
    }

    #[test]
    fn refuses_keys_of_another_length() {
        assert!(Vmk::from_slice(&[0; 31]).is_none());
        assert!(Vmk::from_slice(&[0; 33]).is_none());
        assert!(Vmk::from_slice(&[0; 32]).is_some());
    }

    #[test]
    fn duplicates_are_equal_and_independent() {
        let text = SecretText::from("anaconda");
        let copy = text.duplicate();
        drop(text);
        assert_eq!(copy.expose(), "anaconda");
        let vmk = Vmk::from_bytes(&[0xA5; 32]);
        let copy = vmk.duplicate();
        drop(vmk);
        assert_eq!(copy.expose(), &[0xA5; 32]);
    }
}
