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
#[cfg(feature = "map")]
mod overlay;
#[cfg(feature = "map")]
mod remove;

use std::fmt::Write as _;
use std::ops::Range;

#[cfg(feature = "map")]
pub use device::{Mapping, check_free, check_name, device_path};
#[cfg(feature = "map")]
pub use overlay::Overlay;
#[cfg(feature = "map")]
pub use remove::{NotRemoved, remove};

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::secret::SecretText;
use crate::volume::layout::{Content, Extent};
use crate::volume::{Fvek, Unlocked, Writable};

/// Size of a sector in tables, in bytes, whatever the device has.
const SECTOR: u64 = 512;

/// More bytes than a line of a table has without its device and its key.
const LINE_LEN: usize = 192;

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
    /// The table for reading a volume that begins at byte `offset` of a device.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the kernel cannot map the volume: one of Windows Vista, whose first
    /// sector is nowhere on the disk as it is shown; one whose parts do not consist of whole sectors, or
    /// are too many.
    pub fn of(volume: &Unlocked, offset: u64) -> Result<Self> {
        Self::without(volume, offset, &[])
    }

    /// The same for writing to it. The areas that Windows reserves although they can be read
    /// ([`Writable::reserved`]) give errors: the kernel cannot protect them in another way. Zeros that stand for metadata
    /// stay zeros, and what is written there is lost.
    ///
    /// # Errors
    /// Those of [`Table::of`].
    pub fn of_writable(volume: &Writable, offset: u64) -> Result<Self> {
        Self::without(volume.unlocked(), offset, &volume.reserved())
    }

    fn without(volume: &Unlocked, offset: u64, reserved: &[Range<u64>]) -> Result<Self> {
        let cipher = volume.method().map(|method| Cipher {
            name: cipher_name(method.word),
            key_len: method.used_len(),
            sector_size: volume.sector_size(),
        });
        let mut targets = Targets {
            offset,
            available: volume.available(),
            sector_size: u64::from(volume.sector_size()),
            list: Vec::new(),
            encrypted: 0,
        };
        for extent in volume.layout().extents() {
            targets.add(extent, reserved)?;
        }
        Ok(Self {
            targets: targets.list,
            cipher,
        })
    }

    /// Whether a key is of the method that it needs, if it needs one.
    #[cfg(feature = "map")]
    fn fits(&self, fvek: Option<&Fvek>) -> bool {
        let cipher = self.cipher.as_ref().filter(|_| self.has_encrypted());
        match (cipher, fvek.map(Fvek::method)) {
            (None, _) => true,
            (Some(cipher), Some(method)) => {
                cipher.name == cipher_name(method.word) && cipher.key_len == method.used_len()
            }
            (Some(_), None) => false,
        }
    }

    #[cfg(feature = "map")]
    fn has_encrypted(&self) -> bool {
        let mut targets = self.targets.iter();
        targets.any(|target| matches!(target.content, Source::Crypt { .. }))
    }

    /// The size of the device, in bytes.
    pub fn size(&self) -> u64 {
        let last = self.targets.last();
        last.map_or(0, |target| target.range.end.saturating_mul(SECTOR))
    }

    /// The lines of the table, as `dmsetup create` reads them, for a device that is named by its path or by
    /// its numbers (`8:3`). With [`KeyText::Exposed`], they contain the key.
    pub fn text(&self, device: &str, key: KeyText<'_>) -> SecretText {
        // A longer text would be copied, and the copy that is freed not be wiped.
        let line = LINE_LEN + device.len() + key.len();
        let mut text = String::with_capacity(self.targets.len().saturating_mul(line));
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
                let mut text = String::with_capacity(LINE_LEN + device.len() + key.len());
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
    /// More bytes than it takes.
    fn len(&self) -> usize {
        match self {
            Self::Keyring { kind, description } => kind.len() + description.len() + 16,
            Self::Exposed(fvek) => 2 * fvek.method().key_len,
        }
    }

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

/// The targets of a volume, as they are made.
struct Targets {
    /// Where the volume begins on the device.
    offset: u64,
    /// How many bytes of the encrypted volume are there.
    available: u64,
    /// The unit of the cipher, in bytes.
    sector_size: u64,
    list: Vec<Target>,
    encrypted: usize,
}

impl Targets {
    /// Adds what an extent of the volume becomes, except where the volume is reserved and could be changed.
    fn add(&mut self, extent: &Extent, reserved: &[Range<u64>]) -> Result<()> {
        let range = extent.range.clone();
        let Content::Encrypted { from } = extent.content else {
            return self.add_part(range, &extent.content);
        };
        let mut at = range.start;
        for area in reserved {
            let (start, end) = (area.start.max(at), area.end.min(range.end));
            if start >= end {
                continue;
            }
            self.add_part(at..start, &encrypted(from, at - range.start))?;
            self.push(start..end, Source::Error)?;
            at = end;
        }
        self.add_part(at..range.end, &encrypted(from, at - range.start))
    }

    /// Adds a part of one content. An image that was cut off lacks the end: that cannot be read.
    fn add_part(&mut self, range: Range<u64>, content: &Content) -> Result<()> {
        let (from, unit) = match content {
            Content::Zero => return self.push(range, Source::Zero),
            Content::Unknown(_) => return self.push(range, Source::Error),
            Content::Literal(_) => {
                return Err(unmappable(
                    "its first sectors are not on the disk as Windows shows them, as on every volume of Windows Vista",
                ));
            }
            Content::Plain { from } => (*from, SECTOR),
            Content::Encrypted { from } => (*from, self.sector_size),
        };
        let present = self.available.saturating_sub(from);
        let present = present - present % unit;
        let end = range.end.min(range.start.saturating_add(present));
        let start = sectors(from.saturating_add(self.offset), SECTOR)?;
        let source = match content {
            Content::Plain { .. } => Source::Linear { start },
            _ => {
                for place in [from, range.start, end] {
                    sectors(place, unit)?;
                }
                let number = sectors(from, SECTOR)?;
                Source::Crypt { start, number }
            }
        };
        self.push(range.start..end, source)?;
        self.push(end..range.end, Source::Error)
    }

    fn push(&mut self, range: Range<u64>, content: Source) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        self.encrypted += usize::from(matches!(content, Source::Crypt { .. }));
        self.list.push(Target {
            range: sectors(range.start, SECTOR)?..sectors(range.end, SECTOR)?,
            content,
        });
        check_count(self.list.len(), self.encrypted)
    }
}

/// Encrypted bytes that begin `by` bytes after `from`.
fn encrypted(from: u64, by: u64) -> Content {
    Content::Encrypted {
        from: from.saturating_add(by),
    }
}

/// The name that dm-crypt has for the method with this word.
fn cipher_name(word: &str) -> &'static str {
    match word {
        word if word.contains("xts") => "aes-xts-plain64",
        word if word.contains("elephant") => "aes-cbc-elephant",
        _ => "aes-cbc-eboiv",
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
            "one of its parts begins or ends at byte {bytes}, which is no multiple of {size}"
        ))),
    }
}

fn unmappable(why: &str) -> Error {
    Error::unsupported(format!("the kernel cannot map this volume: {why}"))
        .with_remedy(crate::error::Remedy::NoFiles)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::{MAX_ENCRYPTED, MAX_TARGETS, Source, Targets, check_count, sectors};
    use crate::error::{Error, Result};
    use crate::volume::layout::{Content, Extent};

    /// The targets of a volume of these extents, in words: first sector, number of sectors, content.
    fn targets(
        sector_size: u64,
        available: u64,
        offset: u64,
        extents: &[(Range<u64>, Content)],
        reserved: &[Range<u64>],
    ) -> Result<String> {
        let mut targets = Targets {
            offset,
            available,
            sector_size,
            list: Vec::new(),
            encrypted: 0,
        };
        for (range, content) in extents.iter().cloned() {
            targets.add(&Extent { range, content }, reserved)?;
        }
        let words = targets.list.iter().map(|target| {
            let Range { start, end } = target.range;
            let content = match &target.content {
                Source::Zero => "zero".to_owned(),
                Source::Error => "error".to_owned(),
                Source::Linear { start } => format!("linear {start}"),
                Source::Crypt { start, number } => format!("crypt {number} {start}"),
            };
            format!("{start}+{} {content}", end - start)
        });
        Ok(words.collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn each_part_begins_where_it_is_on_the_device() {
        let encrypted = |from| Content::Encrypted { from };
        let moved = [
            (0..8192, encrypted(65_536)),
            (8192..65_536, encrypted(8192)),
            (65_536..73_728, Content::Zero),
            (73_728..131_072, Content::Plain { from: 73_728 }),
        ];
        let of = |sector, available, reserved: &[Range<u64>]| {
            targets(sector, available, 1 << 20, &moved, reserved).unwrap()
        };
        assert_eq!(
            of(512, 1 << 20, &[]),
            "0+16 crypt 128 2176, 16+112 crypt 16 2064, 128+16 zero, 144+112 linear 2192"
        );
        // An image that ends within the moved sectors, not at the end of a sector.
        assert_eq!(
            of(512, 65_536 + 700, &[]),
            "0+1 crypt 128 2176, 1+15 error, 16+112 crypt 16 2064, 128+16 zero, 144+112 error"
        );
        // With sectors of 4096 bytes, only whole ones can be decrypted; plain bytes can be read up to the end.
        assert_eq!(
            of(4096, 74_752, &[]),
            "0+16 crypt 128 2176, 16+112 crypt 16 2064, 128+16 zero, 144+2 linear 2192, 146+110 error"
        );
        // Reserved areas: in the middle, at the end, and those that are zeros anyway.
        assert_eq!(
            of(512, 1 << 20, &[4096..8192, 12_288..16_384, 65_536..73_728]),
            "0+8 crypt 128 2176, 8+8 error, 16+8 crypt 16 2064, 24+8 error, 32+96 crypt 32 2080, \
             128+16 zero, 144+112 linear 2192"
        );
    }

    #[test]
    fn what_the_kernel_cannot_map_is_refused() {
        let one = |sector, range: Range<u64>, content| {
            targets(sector, 1 << 20, 0, &[(range, content)], &[])
        };
        let refused = [
            one(4096, 512..8192, Content::Encrypted { from: 512 }),
            one(4096, 0..8192, Content::Encrypted { from: 512 }),
            one(4096, 0..512, Content::Encrypted { from: 0 }),
            one(512, 0..100, Content::Zero),
            one(512, 0..512, Content::Plain { from: 100 }),
            one(512, 0..512, Content::Literal([0; 512].as_slice().into())),
        ];
        for result in refused {
            assert!(
                matches!(result, Err(Error::Unsupported { .. })),
                "{result:?}"
            );
        }
        // Zeros need no whole sector of the cipher.
        assert_eq!(one(4096, 0..512, Content::Zero).unwrap(), "0+1 zero");
    }

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
