//! Symbolic links in the form of Interix, the Unix subsystem of Windows (Services for UNIX): files with the
//! attribute "system", whose content is a mark and the target. ntfs-3g makes its links so, unless it is told
//! otherwise.
//!
//! | offset | field |
//! |---|---|
//! | 0x00 | `IntxLNK`, 1 |
//! | 0x08 | the target in UTF-16, with `/` between names |
//!
//! Source: what ntfs-3g writes.

use crate::files::{FileName, Link, LinkKind};

/// Longest link in bytes: 4096 units.
pub(super) const MAX_LEN: u64 = 8 + 2 * 4096;

const MARK: &[u8] = b"IntxLNK\x01";

/// The link in the content of a file with the attribute "system"; `None` if it is none.
pub(super) fn link(content: &[u8]) -> Option<Link> {
    let target = content.strip_prefix(MARK)?;
    if target.is_empty() || !target.len().is_multiple_of(2) {
        return None;
    }
    Some(unix_link(FileName::from_le_bytes(target)))
}

/// A link of a Unix system to this target.
pub(super) fn unix_link(target: FileName) -> Link {
    let is_relative = target.units().first() != Some(&u16::from(b'/'));
    Link::new(LinkKind::Unix, target, is_relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_a_mark_and_a_target() {
        let content = |target: &str| {
            let units = target.encode_utf16().flat_map(u16::to_le_bytes);
            MARK.iter().copied().chain(units).collect::<Vec<_>>()
        };
        let relative = Link::new(LinkKind::Unix, "../a b".into(), true);
        assert_eq!(link(&content("../a b")), Some(relative));
        let absolute = Link::new(LinkKind::Unix, "/etc".into(), false);
        assert_eq!(link(&content("/etc")), Some(absolute));
        assert_eq!(link(&content("")), None);
        assert_eq!(link(&content("a")[..9]), None);
        assert_eq!(link(b"IntxCHR\x01a\0"), None);
    }
}
