//! Key packages: the sealed keys of a volume, exported for the case that its metadata is damaged
//! (docs/format-recovery.md §3.1).
//!
//! **The format of Windows' key packages is not documented, and no sample was published.** What a
//! package must contain to be useful is known: a key protector with the sealed VMK, and the sealed
//! FVEK. [`KeyPackage::parse`] looks for them in three forms: a whole metadata block; a dataset (a
//! header of 48 bytes, then datums, as in `.BEK` files;
//! [`export_key_package`](crate::manage::export_key_package) writes this form); datums without any header. Each form may follow an unknown header of up to 64 bytes.

use super::FormatError;
use super::block::{Dataset, MetadataBlock};
use super::boot::SIGNATURE;
use super::datum::{Body, Datum, Virtualization, roles};
use super::protector::KeyProtector;
use super::wire::Fields;

/// Largest package accepted, in bytes: the limit of the attribute in Active Directory
/// (docs/format-recovery.md §2.2).
pub const MAX_LEN: usize = 102_400;

/// Longest unknown header that is skipped, in bytes. A guess, since no sample is known.
const MAX_HEAD: usize = 64;

/// The content of a key package.
#[derive(Debug)]
#[non_exhaustive]
pub struct KeyPackage {
    /// Header of the dataset, with the volume's identifier and the encryption method; `None` if the
    /// package has only datums.
    pub dataset: Option<Dataset>,
    /// The datums, key protectors and FVEK among them.
    pub datums: Vec<Datum>,
    /// If the package is a whole metadata block: that block, with its datums moved to `datums`.
    pub(crate) block: Option<MetadataBlock>,
}

impl KeyPackage {
    /// Parses a package.
    ///
    /// # Errors
    /// It is larger than [`MAX_LEN`], or no known form gives a key protector and a sealed FVEK.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let file = Fields::new("key package", bytes, 0);
        if bytes.len() > MAX_LEN {
            return Err(file.fault(format!(
                "its {} bytes are more than a key package can have",
                bytes.len()
            )));
        }
        for head in 0..=MAX_HEAD.min(bytes.len()) {
            let rest = file.part("key package", head, bytes.len())?;
            let forms = [Self::as_block, Self::as_dataset, Self::as_datums];
            let mut found = forms.into_iter().filter_map(|form| form(rest));
            if let Some(package) = found.find(Self::is_complete) {
                return Ok(package);
            }
        }
        Err(file.fault(what_is_wrong(file)))
    }

    /// The key protectors in the package.
    pub fn protectors(&self) -> impl Iterator<Item = &KeyProtector> {
        self.datums.iter().filter_map(|datum| match &datum.body {
            Body::KeyProtector(protector) => Some(protector),
            _ => None,
        })
    }

    /// The description of the volume, if the package contains it.
    pub fn description(&self) -> Option<&str> {
        let mut datums = self.datums.iter();
        datums
            .find(|datum| datum.role == roles::DESCRIPTION)?
            .text()
    }

    /// Whether the package is a whole metadata block.
    pub fn is_metadata_block(&self) -> bool {
        self.block.is_some()
    }

    /// Where the volume's first sectors were moved to, if the package contains that datum.
    pub fn virtualization(&self) -> Option<&Virtualization> {
        self.datums.iter().find_map(|datum| match &datum.body {
            Body::Virtualization(place) => Some(place),
            _ => None,
        })
    }

    /// Whether the datums can unlock a volume: a key protector with a sealed VMK, and a sealed FVEK.
    fn is_complete(&self) -> bool {
        let mut protectors = self.protectors();
        let sector_key = |datum: &Datum| datum.role == roles::FVEK && datum.sealed().is_some();
        protectors.any(|protector| protector.sealed_vmk().is_some())
            && self.datums.iter().any(sector_key)
    }

    fn as_block(bytes: Fields<'_>) -> Option<Self> {
        let mut block = MetadataBlock::parse(bytes.bytes(), bytes.position()).ok()?;
        Some(Self {
            dataset: Some(block.dataset.clone()),
            datums: std::mem::take(&mut block.datums),
            block: Some(block),
        })
    }

    fn as_dataset(bytes: Fields<'_>) -> Option<Self> {
        let dataset = Dataset::parse(bytes).ok()?;
        let (start, end) = dataset.datums;
        let list = bytes.part("datum list", start, end).ok()?;
        Some(Self {
            datums: Datum::parse_list(list.bytes(), list.position()).ok()?,
            dataset: Some(dataset),
            block: None,
        })
    }

    fn as_datums(bytes: Fields<'_>) -> Option<Self> {
        Some(Self {
            dataset: None,
            datums: Datum::parse_list(bytes.bytes(), bytes.position()).ok()?,
            block: None,
        })
    }
}

/// The most probable reason why a file cannot be parsed, for messages.
fn what_is_wrong(file: Fields<'_>) -> String {
    /// What a script that writes bytes as text puts for a byte that is not a character of its code
    /// page. Exporting a package in that way is a common mistake.
    const LOST: u8 = b'?';
    let bytes = file.bytes();
    let lost = bytes.iter().filter(|byte| **byte == LOST).count();
    let ascii = bytes.iter().all(u8::is_ascii);
    let size = file.u32(0).ok().map(|size| size as usize);
    let begins_as_dataset = file.u32(4) == Ok(1) && file.u32(8) == Ok(0x30);
    let block = bytes.starts_with(SIGNATURE);
    if (begins_as_dataset && size != Some(bytes.len())) || (ascii && lost > bytes.len() / 8) {
        return format!(
            "it has {} bytes and was probably damaged by the script that saved it",
            bytes.len()
        );
    }
    let what = if begins_as_dataset || block {
        "it contains no key protector with a sealed VMK and a sealed FVEK"
    } else {
        "its format is not known"
    };
    // None of its bytes are shown: it may be the file of a password, given here by mistake.
    format!("{what}; it has {} bytes", bytes.len())
}
