//! The status of a volume, which is known without a key, in the words of `manage-bde -status`
//! (docs/format-recovery.md §5.1).

use std::fmt;

use super::Volume;
use crate::crypto::sector::Method;
use crate::format::block::{MetadataBlock, State};
use crate::format::protector::ProtectorKind;

/// The status of a volume, as `manage-bde -status` shows it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// How far it is converted.
    pub conversion: Conversion,
    /// Share of the volume that is encrypted, in percent; `None` if it is not known.
    pub percentage: Option<f64>,
    /// Whether reading the volume needs a key.
    pub protection: Protection,
    /// Version of BitLocker: `2.0` for Windows 7 and later, `1.0` for Windows Vista.
    pub version: &'static str,
}

/// How far a volume is converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Conversion {
    /// All of it is encrypted.
    FullyEncrypted,
    /// Nothing of it is encrypted.
    FullyDecrypted,
    /// It is being encrypted.
    EncryptionInProgress,
    /// It is being decrypted.
    DecryptionInProgress,
    /// Encryption is paused.
    EncryptionPaused,
    /// Decryption is paused.
    DecryptionPaused,
    /// A conversion by encrypt-on-write is in progress. The metadata does not say in which direction.
    Converting,
    /// The state is unknown, or the conversion map cannot be read.
    Unknown,
}

impl Conversion {
    /// The words of `manage-bde`.
    pub fn name(self) -> &'static str {
        match self {
            Self::FullyEncrypted => "Fully Encrypted",
            Self::FullyDecrypted => "Fully Decrypted",
            Self::EncryptionInProgress => "Encryption In Progress",
            Self::DecryptionInProgress => "Decryption In Progress",
            Self::EncryptionPaused => "Encryption Paused",
            Self::DecryptionPaused => "Decryption Paused",
            Self::Converting => "Conversion In Progress",
            Self::Unknown => "Unknown",
        }
    }

    /// The `ConversionStatus` of the class `Win32_EncryptableVolume` in the management interface of
    /// Windows; `None` if it has no such status.
    pub fn wmi(self) -> Option<u8> {
        match self {
            Self::FullyDecrypted => Some(0),
            Self::FullyEncrypted => Some(1),
            Self::EncryptionInProgress => Some(2),
            Self::DecryptionInProgress => Some(3),
            Self::EncryptionPaused => Some(4),
            Self::DecryptionPaused => Some(5),
            Self::Converting | Self::Unknown => None,
        }
    }
}

/// The words of `manage-bde`.
impl fmt::Display for Conversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether reading a volume needs a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protection {
    /// It needs a key.
    On,
    /// It needs no key: nothing is encrypted, or a clear key is on the disk (suspended protection).
    Off {
        /// How many more times Windows starts before it resumes protection, if that is limited.
        reboots_left: Option<u8>,
    },
    /// The metadata cannot be read.
    Unknown,
}

impl Volume {
    /// The status of the volume.
    pub fn status(&self) -> Status {
        let Some(block) = self.metadata_as_found() else {
            return Status {
                conversion: Conversion::Unknown,
                percentage: None,
                protection: Protection::Unknown,
                version: "Unknown",
            };
        };
        Status {
            conversion: self.conversion_status(block),
            percentage: self.percentage(block),
            protection: protection(block),
            version: if block.version == 1 { "1.0" } else { "2.0" },
        }
    }

    /// Size of the volume in bytes according to its metadata or boot record. `None` if they do not
    /// say: while the volume is being converted, and if there is no metadata.
    pub fn declared_size(&self) -> Option<u64> {
        self.size_on_record(self.metadata_as_found()?)
    }

    /// The encryption method in the metadata; `None` for none or an unknown one.
    pub fn method(&self) -> Option<&'static Method> {
        Method::by_code(self.metadata_as_found()?.dataset.method)
    }

    fn conversion_status(&self, block: &MetadataBlock) -> Conversion {
        if self.conversion.is_some() {
            return match self.conversion_map().map(super::ConversionMap::progress) {
                _ if block.state == State::DECRYPTED => Conversion::FullyDecrypted,
                Some((done, all)) if done == all => Conversion::FullyEncrypted,
                Some((0, _)) => Conversion::FullyDecrypted,
                Some(_) => Conversion::Converting,
                None => Conversion::Unknown,
            };
        }
        let decrypting = block.next_state == State::DECRYPTED;
        match block.state {
            State::DECRYPTED => Conversion::FullyDecrypted,
            State::ENCRYPTED => Conversion::FullyEncrypted,
            State::PAUSED if decrypting => Conversion::DecryptionPaused,
            State::PAUSED => Conversion::EncryptionPaused,
            State::SWITCHING | State::SWITCHING_DETACHED if decrypting => {
                Conversion::DecryptionInProgress
            }
            State::SWITCHING | State::SWITCHING_DETACHED => Conversion::EncryptionInProgress,
            _ => Conversion::Unknown,
        }
    }

    fn percentage(&self, block: &MetadataBlock) -> Option<f64> {
        if self.conversion.is_some() && block.state != State::DECRYPTED {
            let (done, all) = self.conversion_map()?.progress();
            return (all > 0).then(|| share(done, all));
        }
        match block.state {
            State::DECRYPTED => Some(0.0),
            State::ENCRYPTED => Some(100.0),
            State::PAUSED | State::SWITCHING | State::SWITCHING_DETACHED => {
                let size = self.source.size();
                (size > 0).then(|| share(block.encrypted_extent.min(size), size))
            }
            _ => None,
        }
    }
}

/// A share in percent.
fn share(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}

fn protection(block: &MetadataBlock) -> Protection {
    let clear_key = block
        .protectors()
        .find(|protector| protector.kind() == ProtectorKind::ClearKey);
    match clear_key {
        Some(protector) => Protection::Off {
            reboots_left: protector.reboots_left(),
        },
        None if block.protectors().next().is_none() => Protection::Off { reboots_left: None },
        None => Protection::On,
    }
}
