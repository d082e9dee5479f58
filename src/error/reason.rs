//! Why a credential did not unlock a volume: a type for programs and a word for scripts.

use std::fmt;

/// Defines [`Reason`] with one line for each reason and its word.
macro_rules! reasons {
    ($($(#[doc = $text:literal])+ $name:ident = $word:literal,)+) => {
        /// Why a credential did not unlock a key protector, or the volume.
        ///
        /// [`Reason::word`] and `Display` give a word that never changes. docs/json.md lists them all.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[doc = $text])+ $name,)+
            /// A reason of a credential from outside this library, with a word that it chooses.
            /// It equals none of the other variants, whatever its word.
            Other(&'static str),
        }

        impl Reason {
            /// The stable word, such as `wrong-key`.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                    Self::Other(word) => word,
                }
            }

            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

reasons! {
    // Any credential.
    /// The credential is well formed, but does not unlock the key protector.
    WrongKey = "wrong-key",
    /// The credential has a length that no key of the volume has.
    WrongLength = "wrong-length",
    /// The volume has no key protector that accepts the credential.
    NoSuchProtector = "no-such-protector",
    /// None of the recovery passwords belongs to the key protector.
    NoPasswordForProtector = "no-password-for-protector",
    /// The recovery passwords could not be looked up.
    LookupFailed = "lookup-failed",
    /// The startup key or the Network Unlock sidecar belongs to another volume.
    OtherVolume = "other-volume",
    /// The system volume stores no key for the key protector.
    NotAutoUnlocked = "not-auto-unlocked",

    // The key protector itself.
    /// The key protector lacks a datum that every key protector of its kind has.
    DamagedProtector = "damaged-protector",
    /// The key protector has an undocumented form.
    UnsupportedProtector = "unsupported-protector",
    /// The password or PIN is stretched with PBKDF2, with inputs that are not documented.
    UnsupportedStretch = "unsupported-stretch",
    /// The encryption method of the volume is unknown.
    UnknownMethod = "unknown-method",

    // The TPM.
    /// There is no TPM, or it cannot be used.
    NoTpm = "no-tpm",
    /// libtss2, through which a TPM is reached, is not installed.
    NoTpmLibrary = "no-tpm-library",
    /// The key was sealed by another TPM, or by this one before it was cleared, or it is damaged.
    OtherTpm = "other-tpm",
    /// The TPM has no storage root key.
    NoSrk = "no-srk",
    /// The storage root key of the TPM has another name than the required one.
    OtherSrk = "other-srk",
    /// The storage root key of the TPM has another name than the one that the key protector stores.
    SrkChanged = "srk-changed",
    /// The PCRs are not those that the key was sealed to.
    PcrMismatch = "pcr-mismatch",
    /// The policy of the sealed object is unknown.
    UnknownPolicy = "unknown-policy",
    /// The sealed object is not that of a TPM 2.0.
    UnsupportedTpmBlob = "unsupported-tpm-blob",
    /// The TPM is locked out and refuses all PINs for some time.
    Lockout = "lockout",
    /// The TPM failed in another way.
    TpmError = "tpm-error",
    /// The key protector needs a startup key besides the TPM, and none was given.
    NoStartupKey = "no-startup-key",

    // The TPM and tokens.
    /// A PIN is needed, and none was given.
    NoPin = "no-pin",
    /// The PIN is wrong, and the TPM or the token counted it.
    WrongPin = "wrong-pin",
    /// The PIN was wrong for another key protector, so it was not tried on this one.
    PinNotTried = "pin-not-tried",

    // Certificates and tokens.
    /// None of the given private keys belongs to the key protector.
    OtherCertificate = "other-certificate",
    /// The private key fits, but the padding of the decrypted data is unknown.
    UnknownPadding = "unknown-padding",
    /// The PKCS#11 library cannot be loaded.
    NoModule = "no-module",
    /// No token with this name is present.
    NoToken = "no-token",
    /// More than one token matches the name.
    SeveralTokens = "several-tokens",
    /// An operation of the token failed.
    TokenFailed = "token-failed",
    /// One more wrong PIN would lock the token, so no PIN was tried.
    LastPinTry = "last-pin-try",
    /// The token is locked after too many wrong PINs.
    PinLocked = "pin-locked",
    /// The PIN of the token has expired.
    PinExpired = "pin-expired",
    /// The user canceled the login on the reader of the token.
    LoginCanceled = "login-canceled",

    // Network Unlock.
    /// There is no Network Unlock sidecar for the volume.
    NoSidecar = "no-sidecar",
    /// The Network Unlock sidecar is empty or damaged.
    BadSidecar = "bad-sidecar",
    /// There is no network interface with an address.
    NoAddress = "no-address",
    /// The time was used up before a request was sent.
    NotAsked = "not-asked",
    /// No server answered.
    NoAnswer = "no-answer",
    /// A host answered that does not have the private key of the server.
    NotAuthentic = "not-authentic",
    /// The operating system refused to send or to receive.
    NetworkError = "network-error",
    /// A key protector that Windows made, whose layout is only partly known, was not unlocked.
    UnprovenLayout = "unproven-layout",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_in_the_documentation() {
        let document = include_str!("../../docs/json.md");
        for reason in Reason::ALL {
            let row = format!("\n| `{reason}` |");
            assert!(document.contains(&row), "{reason}");
        }
    }

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let words: std::collections::HashSet<_> =
            Reason::ALL.iter().map(|one| one.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}
