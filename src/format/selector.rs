//! How a user names one key protector, or all of one kind.

use std::fmt;
use std::str::FromStr;

use super::protector::{KeyProtector, ProtectorKind};
use crate::guid::{Guid, GuidPrefix};

/// Selects key protectors by identifier or by kind.
///
/// ```
/// use fve::{Guid, ProtectorKind, ProtectorSelector};
///
/// // As typed: the whole identifier, or its first eight or more hex digits.
/// let typed: ProtectorSelector = "8F595209".parse()?;
/// let id: Guid = "8f595209-f5b9-49a0-85d4-cb8f80258c27".parse()?;
/// assert_ne!(typed, ProtectorSelector::from(id));
/// let passwords = ProtectorSelector::from(ProtectorKind::RecoveryPassword);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtectorSelector {
    /// The key protector with this identifier.
    Id(Guid),
    /// Every key protector whose identifier begins with these digits.
    Prefix(GuidPrefix),
    /// Every key protector of this kind.
    Kind(ProtectorKind),
}

impl ProtectorSelector {
    /// Whether it selects this key protector.
    pub fn selects(&self, protector: &KeyProtector) -> bool {
        self.fits(protector.kind(), protector.id)
    }

    /// Whether it selects a key protector of this kind with this identifier.
    pub fn fits(&self, of_kind: ProtectorKind, with_id: Guid) -> bool {
        match self {
            Self::Id(id) => with_id == *id,
            Self::Prefix(prefix) => with_id.starts_with(*prefix),
            Self::Kind(kind) => of_kind == *kind,
        }
    }
}

impl From<Guid> for ProtectorSelector {
    fn from(id: Guid) -> Self {
        Self::Id(id)
    }
}

impl From<ProtectorKind> for ProtectorSelector {
    fn from(kind: ProtectorKind) -> Self {
        Self::Kind(kind)
    }
}

/// The text is neither an identifier nor the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the ID of a key protector: give the GUID, or the first 8 hex digits of it")]
pub struct ParseSelectorError;

impl FromStr for ProtectorSelector {
    type Err = ParseSelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        text.parse()
            .map(Self::Prefix)
            .map_err(|_| ParseSelectorError)
    }
}

/// Upper-case hex digits, as Windows shows them, or the stable word of the kind. [`FromStr`] reads the
/// digits only.
impl fmt::Display for ProtectorSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id:X}"),
            Self::Prefix(prefix) => write!(f, "{prefix}"),
            Self::Kind(kind) => f.write_str(kind.word()),
        }
    }
}
