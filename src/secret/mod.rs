//! Types for keys and secret text: wiped when dropped, never printed, kept out of swap.
//!
//! Each meaning has its own type, so that a volume master key cannot stand where an external key
//! belongs. Bytes come out through `expose`, and only there, so that every use can be found. The
//! bytes lie in locked pages from the start (`arena`): moving a value leaves no copy behind. What
//! work on a key leaves on the stack is wiped after it (`stack`).

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

            /// A key of these bytes; the caller wipes its own copy.
            pub fn from_bytes(bytes: &[u8; $len]) -> Self {
                let mut key = Locked::new([0; $len]);
                key.copy_from_slice(bytes);
                Self(key)
            }

            /// A key of these bytes, if there are as many as it takes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                <&[u8; $len]>::try_from(bytes).ok().map(Self::from_bytes)
            }

            /// The key itself.
            pub fn expose(&self) -> &[u8; $len] {
                &self.0
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
    /// A volume master key: opens the sector key and proves the metadata (docs/format.md §4).
    ///
    /// Inside the library one is only made from a sealed datum whose tag matched; whoever brings
    /// the bytes from elsewhere has proved nothing until a tag matches under them.
    Vmk, 32;
    /// The key that 2^20 rounds of SHA-256 make of a password, recovery password or PIN.
    StretchedKey, 32;
    /// The key in a `.BEK` file.
    ExternalKey, 32;
    /// The 128 bits behind the 48 digits of a recovery password.
    RecoveryKey, 16;
    /// A key that lies on the disk in the open while protection is suspended.
    ClearKey, 32;
    /// The key that a system volume keeps for the keys of the data volumes beside it.
    AutoUnlockKey, 32;
    /// What a TPM releases of a protector that takes more than the TPM, or the private key of a
    /// certificate of its own.
    IntermediateKey, 32;
    /// SHA-256 of a PIN: whoever has it finds the PIN by trying all.
    PinHash, 32;
    /// The password that a TPM wants to see, made of a PIN.
    TpmPassword, 20;
    /// What Network Unlock brings: the key that the network gives back to its client.
    NetworkKey, 32;
    /// The key that a Network Unlock server seals its one reply with.
    SessionKey, 32;
}

/// Secret bytes of any length.
pub struct SecretBytes(LockedBytes);

impl SecretBytes {
    /// Takes the bytes over; the vector is wiped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(LockedBytes::of(&Zeroizing::new(bytes)))
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.len())
    }
}

/// Text that must not be seen: a password, a PIN, the digits of a recovery password.
pub struct SecretText(LockedBytes);

impl SecretText {
    /// Takes the text over; the string is wiped.
    pub fn new(text: String) -> Self {
        Self(LockedBytes::of(Zeroizing::new(text).as_bytes()))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        // They were a string's, and nobody changed them.
        std::str::from_utf8(&self.0).unwrap_or_default()
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
    fn takes_only_its_own_length() {
        assert!(Vmk::from_slice(&[0; 31]).is_none());
        assert!(Vmk::from_slice(&[0; 33]).is_none());
        assert!(Vmk::from_slice(&[0; 32]).is_some());
    }
}
