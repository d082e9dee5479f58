//! Why a credential did not open a volume, as a type for programs and a word for scripts.

use std::fmt;

/// Defines [`Reason`], so that each reason stands in one place with its word.
macro_rules! reasons {
    ($($(#[doc = $text:literal])+ $name:ident = $word:literal,)+) => {
        /// Why a credential did not open a key protector, or the volume.
        ///
        /// [`Reason::word`] and `Display` give a word that never changes: docs/json.md lists all.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[doc = $text])+ $name,)+
            /// A reason that only a credential from outside this library knows, in a word of its
            /// own. It never equals any other reason, whatever its word.
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
    /// The credential is well formed and opens nothing.
    WrongKey = "wrong-key",
    /// The credential has a length that no key of the volume has.
    WrongLength = "wrong-length",
    /// The volume has no key protector that takes the credential.
    NoSuchProtector = "no-such-protector",
    /// None of the recovery passwords has the key protector's identifier.
    NoPasswordForProtector = "no-password-for-protector",
    /// The recovery passwords could not be looked up.
    LookupFailed = "lookup-failed",
    /// The startup key or the stock of requests belongs to another volume.
    OtherVolume = "other-volume",
    /// The system volume keeps no key of the key protector.
    NotAutoUnlocked = "not-auto-unlocked",

    // The key protector itself.
    /// The key protector lacks something that every one of its kind has.
    DamagedProtector = "damaged-protector",
    /// The key protector has a form that nobody has described.
    UnsupportedProtector = "unsupported-protector",
    /// The password or PIN is stretched with PBKDF2, whose inputs are not published.
    UnsupportedStretch = "unsupported-stretch",
    /// The volume's encryption method is not known.
    UnknownMethod = "unknown-method",

    // The TPM.
    /// There is no TPM, or it cannot be used.
    NoTpm = "no-tpm",
    /// The key was sealed by another TPM, or by this one before it was cleared, or it is damaged.
    OtherTpm = "other-tpm",
    /// The TPM has no storage root key.
    NoSrk = "no-srk",
    /// The TPM's storage root key has another name than the one required.
    OtherSrk = "other-srk",
    /// The PCRs are not those that the key was sealed to.
    PcrMismatch = "pcr-mismatch",
    /// The policy of the sealed object is not known.
    UnknownPolicy = "unknown-policy",
    /// The sealed object is not one of a TPM 2.0.
    UnsupportedTpmBlob = "unsupported-tpm-blob",
    /// The TPM refuses all PINs for a while.
    Lockout = "lockout",
    /// The TPM failed in another way.
    TpmError = "tpm-error",
    /// The key protector takes a startup key besides the TPM, and none was given.
    NoStartupKey = "no-startup-key",

    // The TPM and tokens.
    /// A PIN is needed, and none was given.
    NoPin = "no-pin",
    /// The PIN is wrong, and the TPM or the token counted it.
    WrongPin = "wrong-pin",

    // Certificates and tokens.
    /// No private key that was given fits the key protector.
    OtherCertificate = "other-certificate",
    /// The private key fits, but the padding of what it decrypts is not known.
    UnknownPadding = "unknown-padding",
    /// The PKCS#11 library cannot be loaded.
    NoModule = "no-module",
    /// No token of the name is there.
    NoToken = "no-token",
    /// More than one token fits the name.
    SeveralTokens = "several-tokens",
    /// The token does not do what it was asked to do.
    TokenFailed = "token-failed",
    /// One more wrong PIN would lock the token, so that none was tried.
    LastPinTry = "last-pin-try",
    /// The token locked itself.
    PinLocked = "pin-locked",

    // Network Unlock.
    /// There is no stock of requests for the volume.
    NoSidecar = "no-sidecar",
    /// The stock of requests is empty or damaged.
    BadSidecar = "bad-sidecar",
    /// There is no network interface with an address.
    NoAddress = "no-address",
    /// Nobody answered.
    NoAnswer = "no-answer",
    /// Somebody answered without knowing the session key.
    NotAuthentic = "not-authentic",
    /// The system refused to send or to receive.
    NetworkError = "network-error",
    /// A key protector of Windows whose layout is known only in part did not open.
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
    fn no_word_stands_for_two_reasons() {
        let words: std::collections::HashSet<_> =
            Reason::ALL.iter().map(|one| one.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}
