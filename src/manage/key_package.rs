//! Writes key packages, in a form of our own (docs/format-recovery.md §3.1).
//!
//! | bytes | what |
//! |---|---|
//! | 48 | header of a dataset, as in the metadata: identifier of the volume, encryption method, time of creation |
//! | the rest | datums, unchanged from the metadata: description, chosen protectors, sealed FVEK, virtualization datum |
//!
//! The keys in it stay sealed: a package can be used only with the credential of one of its protectors.
//! But removing a protector from the volume does not change the packages that exist, so these
//! credentials work with them for good. Whether `repair-bde` of Windows reads this form is not known;
//! Windows' own form was never published.

use crate::enroll::unfit;
use crate::error::{Error, Remedy, Result};
use crate::format::block::{DATASET_HEADER_LEN, HEADER_LEN, MetadataBlock};
use crate::format::datum::{Body, Datum, roles};
use crate::format::encode::DatumBytes;
use crate::format::encode::block::{DatasetHeader, dataset};
use crate::format::key_package::KeyPackage;
use crate::format::protector::ProtectorKind;
use crate::guid::Guid;
use crate::secret::SecretBytes;
use crate::volume::{MasterKey, Volume};

/// The kinds of protector in a package if none are named: those that Windows puts into its packages.
const KINDS: [ProtectorKind; 2] = [ProtectorKind::RecoveryPassword, ProtectorKind::ExternalKey];

/// A key package, and the protectors whose credentials unlock a volume with it.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExportedKeyPackage {
    /// The content of the file.
    pub content: SecretBytes,
    /// The volume's identifier.
    pub volume: Guid,
    /// The protectors in it.
    pub protectors: Vec<(Guid, ProtectorKind)>,
}

/// Makes a key package of a volume, with the protectors that `names` name (identifiers, or their first
/// eight or more hex digits), or with every recovery password and external key if `names` is empty.
///
/// # Errors
/// [`Error::Unchangeable`] when no protector matches a name, or none is chosen; [`Error::Damaged`] when
/// the key was not obtained from the first sound metadata copy, or is not proved by it.
pub fn export_key_package(
    volume: &Volume,
    key: &MasterKey,
    names: &[String],
) -> Result<ExportedKeyPackage> {
    let block = volume.metadata()?;
    if !key.is_proved() || key.position() != block.position {
        return Err(Error::Damaged {
            what:
                "the first sound metadata copy does not match the hash sealed with the volume's key"
                    .to_owned(),
            copies: volume.copies().faults(),
        });
    }
    let protectors = chosen(block, names)?;
    let is_wanted = |datum: &&Datum| match &datum.body {
        Body::KeyProtector(protector) => protectors.iter().any(|(id, _)| *id == protector.id),
        Body::Virtualization(_) => true,
        _ => [roles::FVEK, roles::DESCRIPTION].contains(&datum.role),
    };
    let mut datums = Vec::new();
    for datum in block.datums.iter().filter(is_wanted) {
        datums.push(bytes_of(block, datum)?);
    }
    let head = DatasetHeader {
        id: block.dataset.id,
        next_nonce: block.dataset.next_nonce,
        method: block.dataset.method,
        created: block.dataset.created,
    };
    let content = dataset(&head, &datums).map_err(unfit)?;
    KeyPackage::parse(&content).map_err(unfit)?;
    Ok(ExportedKeyPackage {
        content: SecretBytes::new(content),
        volume: block.dataset.id,
        protectors,
    })
}

fn chosen(block: &MetadataBlock, names: &[String]) -> Result<Vec<(Guid, ProtectorKind)>> {
    let none = |what: String| Error::unchangeable(what, Remedy::ListProtectors);
    let all: Vec<_> = block.protectors().map(|one| (one.id, one.kind())).collect();
    for name in names {
        if !all.iter().any(|(id, _)| id.is_named_by(name)) {
            return Err(none(format!("no protector has the ID {name}")));
        }
    }
    let is_wanted = |(id, kind): &(Guid, ProtectorKind)| match names {
        [] => KINDS.contains(kind),
        names => names.iter().any(|name| id.is_named_by(name)),
    };
    let wanted: Vec<_> = all.into_iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        return Err(none(
            "the volume has neither a recovery password nor an external key for a key package"
                .to_owned(),
        ));
    }
    Ok(wanted)
}

/// The bytes of a top-level datum in the block.
fn bytes_of(block: &MetadataBlock, datum: &Datum) -> Result<DatumBytes> {
    let start = datum.position.checked_sub(block.position);
    let start = start
        .and_then(|start| usize::try_from(start).ok())
        .unwrap_or(usize::MAX);
    let end = start.saturating_add(datum.size.into());
    let inside = start >= HEADER_LEN + DATASET_HEADER_LEN;
    let bytes = block.bytes().get(start..end).filter(|_| inside);
    bytes
        .map(DatumBytes::as_read)
        .ok_or_else(|| Error::Damaged {
            what: "a datum is outside of the metadata block".to_owned(),
            copies: Vec::new(),
        })
}
