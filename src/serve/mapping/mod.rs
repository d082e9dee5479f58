//! An unlocked volume as a device of the kernel's device-mapper: dm-crypt decrypts the sectors, so that the
//! plaintext is read at the kernel's own speed and no process has to serve it.
//!
//! [`Table`] says which bytes of the device come from where, in the form of the kernel (its documentation,
//! `admin-guide/device-mapper`). It is the table that cryptsetup makes for the volumes that cryptsetup
//! opens.

#[cfg(feature = "map")]
mod device;
#[cfg(feature = "map")]
mod libdevmapper;

use std::fmt::Write as _;
use std::ops::Range;

#[cfg(feature = "map")]
pub use device::{Mapping, NotRemoved, check_free, check_name, device_path, remove};

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::secret::SecretText;
use crate::volume::layout::Content;
use crate::volume::{Fvek, Unlocked};

/// Size of a sector in tables, in bytes, whatever the device has.
const SECTOR: u64 = 512;

/// Most parts of a volume that dm-crypt decrypts separately: the kernel starts threads for each.
const MAX_ENCRYPTED: usize = 256;

/// Most parts of a volume.
const MAX_TARGETS: usize = 1 << 16;

/// A device-mapper table: the parts of a volume, in order and without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    targets: Vec<Target>,
    /// The cipher and its options; `None` if nothing of the volume is encrypted.
    cipher: Option<Cipher>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Cipher {
    /// The name that dm-crypt has for it.
    name: &'static str,
    /// Length of the key in bytes.
    key_len: usize,
    /// Size of a sector in bytes.
    sector_size: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    /// In sectors.
    range: Range<u64>,
    content: Source,
}

/// Where a part of the volume comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Zero,
    /// Bytes that cannot be read.
    Error,
    /// Sectors of the device from `start` on.
    Linear {
        start: u64,
    },
    /// Encrypted sectors of the device from `start` on, the first of which has the number `number` for the
    /// cipher.
    Crypt {
        start: u64,
        number: u64,
    },
}

/// How a table names the key of the sectors.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum KeyText<'a> {
    /// A key of this type and description in the kernel's keyrings, as in keyrings(7): the table then
    /// contains no secret.
    Keyring {
        /// `logon` or `user`.
        kind: &'a str,
        /// Its description; the kernel wants a prefix with a colon for a `logon` key.
        description: &'a str,
    },
    /// The key itself, in hex digits: the table is a secret.
    Exposed(&'a Fvek),
}

impl Table {
    /// The table for a volume that begins at byte `offset` of a device.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the kernel cannot map the volume: one of Windows Vista, whose first
    /// sector is nowhere on the disk as it is shown; one whose parts do not consist of whole sectors, or
    /// are too many.
    pub fn of(volume: &Unlocked, offset: u64) -> Result<Self> {
        let sector_size = volume.sector_size();
        let cipher = volume.method().map(|method| Cipher {
            name: match method.word {
                word if word.contains("xts") => "aes-xts-plain64",
                word if word.contains("elephant") => "aes-cbc-elephant",
                _ => "aes-cbc-eboiv",
            },
            key_len: method.used_len(),
            sector_size,
        });
        let mut targets: Vec<Target> = Vec::new();
        let mut encrypted = 0_usize;
        let available = volume.available();
        for extent in volume.layout().extents() {
            let range = extent.range.clone();
            let (present, from) = match &extent.content {
                Content::Encrypted { from } | Content::Plain { from } => {
                    (available.saturating_sub(*from), *from)
                }
                _ => (u64::MAX, 0),
            };
            let number = sectors(from, SECTOR)?;
            let start = sectors(from.saturating_add(offset), SECTOR)?;
            let content = match &extent.content {
                Content::Zero => Source::Zero,
                Content::Unknown(_) => Source::Error,
                Content::Plain { .. } => Source::Linear { start },
                Content::Encrypted { from } => {
                    for place in [*from, range.start] {
                        sectors(place, u64::from(sector_size))?;
                    }
                    Source::Crypt { start, number }
                }
                Content::Literal(_) => {
                    return Err(unmappable(
                        "its first sectors are not on the disk as Windows shows them, as on every volume of Windows Vista",
                    ));
                }
            };
            // An image that was cut off: what is beyond its end cannot be read.
            let end = range.end.min(range.start.saturating_add(present));
            let end = end - (end - range.start) % u64::from(sector_size).max(SECTOR);
            for (part, content) in [(range.start..end, content), (end..range.end, Source::Error)] {
                if part.is_empty() {
                    continue;
                }
                encrypted += usize::from(matches!(content, Source::Crypt { .. }));
                targets.push(Target {
                    range: sectors(part.start, SECTOR)?..sectors(part.end, SECTOR)?,
                    content,
                });
            }
            check_count(targets.len(), encrypted)?;
        }
        Ok(Self { targets, cipher })
    }

    /// The size of the device, in bytes.
    pub fn size(&self) -> u64 {
        let last = self.targets.last();
        last.map_or(0, |target| target.range.end.saturating_mul(SECTOR))
    }

    /// The lines of the table, as `dmsetup create` reads them, for a device that is named by its path or by
    /// its numbers (`8:3`). With [`KeyText::Exposed`], they contain the key.
    pub fn text(&self, device: &str, key: KeyText<'_>) -> SecretText {
        let mut text = String::with_capacity(self.targets.len().saturating_mul(320));
        for target in &self.targets {
            let Range { start, end } = target.range;
            let (kind, parameters) = self.parameters(target, device, key);
            let _ = write!(text, "{start} {} {kind}", end - start);
            if !parameters.is_empty() {
                text.push(' ');
                text.push_str(&parameters);
            }
            text.push('\n');
        }
        SecretText::new(text)
    }

    /// The kind of a target, and its parameters.
    fn parameters(
        &self,
        target: &Target,
        device: &str,
        key: KeyText<'_>,
    ) -> (&'static str, Zeroizing<String>) {
        let (kind, text) = match (&target.content, &self.cipher) {
            (Source::Zero, _) => ("zero", String::new()),
            (Source::Linear { start }, _) => ("linear", format!("{device} {start}")),
            (Source::Crypt { start, number }, Some(cipher)) => {
                let mut text = String::with_capacity(320);
                let _ = write!(text, "{} ", cipher.name);
                key.write(&mut text, cipher.key_len);
                let _ = write!(text, " {number} {device} {start}");
                if u64::from(cipher.sector_size) != SECTOR {
                    let _ = write!(
                        text,
                        " 2 sector_size:{} iv_large_sectors",
                        cipher.sector_size
                    );
                }
                ("crypt", text)
            }
            (Source::Error | Source::Crypt { .. }, _) => ("error", String::new()),
        };
        (kind, Zeroizing::new(text))
    }
}

impl KeyText<'_> {
    fn write(&self, text: &mut String, key_len: usize) {
        match self {
            Self::Keyring { kind, description } => {
                let _ = write!(text, ":{key_len}:{kind}:{description}");
            }
            Self::Exposed(fvek) => {
                for byte in fvek.used().expose() {
                    let _ = write!(text, "{byte:02x}");
                }
            }
        }
    }
}

/// Checks that the kernel can map so many parts, of which so many are encrypted.
fn check_count(targets: usize, encrypted: usize) -> Result<()> {
    match targets > MAX_TARGETS || encrypted > MAX_ENCRYPTED {
        true => Err(unmappable(&format!(
            "it has more than {MAX_ENCRYPTED} encrypted parts, or more than {MAX_TARGETS} parts"
        ))),
        false => Ok(()),
    }
}

/// How many sectors of `size` bytes `bytes` are.
fn sectors(bytes: u64, size: u64) -> Result<u64> {
    match bytes.is_multiple_of(size) {
        true => Ok(bytes / size),
        false => Err(unmappable(&format!(
            "byte {bytes} of it is not the start of a sector, but another kind of content begins there"
        ))),
    }
}

fn unmappable(why: &str) -> Error {
    Error::unsupported(format!("the kernel cannot map this volume: {why}"))
        .with_remedy(crate::error::Remedy::NoFiles)
}

#[cfg(test)]
mod tests {
    use super::{MAX_ENCRYPTED, MAX_TARGETS, check_count, sectors};
    use crate::error::Error;

    #[test]
    fn too_many_parts_and_parts_of_sectors_are_refused() {
        assert!(check_count(MAX_TARGETS, MAX_ENCRYPTED).is_ok());
        for (targets, encrypted) in [(MAX_TARGETS + 1, 0), (MAX_TARGETS, MAX_ENCRYPTED + 1)] {
            let refused = check_count(targets, encrypted);
            assert!(matches!(refused, Err(Error::Unsupported { .. })));
        }
        assert_eq!(sectors(8192, 4096).ok(), Some(2));
        assert!(matches!(sectors(512, 4096), Err(Error::Unsupported { .. })));
    }
}
