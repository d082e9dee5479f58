//! What can be said of a volume without a key, in the words of `manage-bde -status`
//! (docs/format-recovery.md §5.1).

use std::fmt;

use super::Volume;
use crate::crypto::sector::Method;
use crate::format::block::{MetadataBlock, State};
use crate::format::protector::ProtectorKind;

/// The volume at a glance.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// How far it is converted.
    pub conversion: Conversion,
    /// Share of the volume that is encrypted, in percent; `None` where it is not known.
    pub percentage: Option<f64>,
    /// Whether a key is needed.
    pub protection: Protection,
    /// `2.0` from Windows 7 on, `1.0` for Vista.
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
    /// Encryption stands still.
    EncryptionPaused,
    /// Decryption stands still.
    DecryptionPaused,
    /// Encrypt-on-write is under way; the disk does not tell in which direction.
    Converting,
    /// A state that is not known, or a map that cannot be read.
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

    /// The number of Windows' management interface, where it has one.
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

/// Whether a key is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protection {
    /// A key is needed.
    On,
    /// No key is needed: nothing is encrypted, or the key lies in the open.
    Off {
        /// Starts of Windows until it is on again, where they are counted.
        reboots_left: Option<u8>,
    },
    /// The metadata cannot be read.
    Unknown,
}

impl Volume {
    /// What can be said without a key.
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

    /// The size in bytes that metadata or boot record give the volume. `None` where they leave it to
    /// the file system inside: while the volume is converted, and where there is no metadata.
    pub fn declared_size(&self) -> Option<u64> {
        self.size_on_record(self.metadata_as_found()?)
    }

    /// The encryption method on record; `None` for none or an unknown one.
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

/// In percent; the loss of precision is beyond what anybody prints.
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
