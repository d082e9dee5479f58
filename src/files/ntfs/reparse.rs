//! Reparse points: what a file or directory is instead of its content (\[MS-FSCC\], section 2.1.2).
//!
//! | offset | field |
//! |---|---|
//! | 0x00, 0x04 | tag; length of what follows at 0x08 |
//! | 0x08 | links: offset and length of the substitute name, then of the print name (16 bits each) |
//! | 0x10 | junctions: the names; symbolic links: flags (bit 0: relative), and the names at 0x14 |
//! | 0x08 | links of the Windows Subsystem for Linux: 2, and the target in UTF-8 at 0x0C |
//! | 0x08 | NFS server: kind of the file in 8 bytes; for a link, the target in UTF-16 at 0x10 |
//! | 0x08 | WOF: version 1; provider 1 (a WIM file) or 2 (the file itself) |
//! | 0x10 | WOF, provider 2: version 1; algorithm |
//!
//! The substitute name is where a link leads; the print name is for users only, and may differ.

use super::interix::unix_link;
use crate::files::{Attributes, FileError, FileName, Link, LinkKind, Unreadable};
use crate::format::FormatError;
use crate::format::wire::Fields;

/// Tags of reparse points (\[MS-FSCC\], section 2.1.2.1).
pub(super) mod tags {
    pub(in super::super) const MOUNT_POINT: u32 = 0xA000_0003;
    pub(in super::super) const SYMBOLIC_LINK: u32 = 0xA000_000C;
    pub(in super::super) const WSL_LINK: u32 = 0xA000_001D;
    /// Special files of the NFS server of Windows.
    pub(in super::super) const NFS: u32 = 0x8000_0014;
    pub(in super::super) const WOF: u32 = 0x8000_0017;
    pub(in super::super) const DEDUPLICATED: u32 = 0x8000_0013;
    /// Files in the cloud; the bits of [`CLOUD_MASK`] differ.
    pub(in super::super) const CLOUD: u32 = 0x9000_001A;
    pub(in super::super) const CLOUD_MASK: u32 = 0x0000_F000;
    /// OneDrive before the cloud files.
    pub(in super::super) const ONE_DRIVE: u32 = 0x8000_0021;
}

/// Tags of reparse points that leave the content as it is, or whose file has none.
const WITH_PLAIN_CONTENT: &[u32] = &[
    tags::NFS,   // a link without content, or a device
    0x8000_001B, // an app of the Windows Store, beside an empty file
    0x8000_0023, // a socket
    0x8000_0024, // a FIFO of the Windows Subsystem for Linux
    0x8000_0025, // its character devices
    0x8000_0026, // its block devices
];

/// The kind of a link of the NFS server: `LNK`, 1.
const NFS_LINK: u64 = 0x014B_4E4C;

/// The length of the tag and the length.
const HEADER: usize = 8;
/// Longest reparse point in bytes, with its header.
pub(super) const MAX_LEN: u64 = 16 * 1024;

/// What a reparse point makes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reparse {
    /// A link.
    Link(Link),
    /// The content is compressed in a stream of its own.
    Compressed(Algorithm),
    /// The content is in the file, as if there were no reparse point.
    Plain,
    /// The content cannot be read.
    Unreadable(Unreadable),
}

/// How WOF compressed a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// XPRESS with Huffman codes, in chunks of 4 KiB.
    Xpress4K,
    /// LZX, in chunks of 32 KiB.
    Lzx,
    /// XPRESS with Huffman codes, in chunks of 8 KiB.
    Xpress8K,
    /// XPRESS with Huffman codes, in chunks of 16 KiB.
    Xpress16K,
}

/// Whether a tag is always that of a link.
pub(super) fn is_link(tag: u32) -> bool {
    matches!(
        tag,
        tags::MOUNT_POINT | tags::SYMBOLIC_LINK | tags::WSL_LINK
    )
}

/// Why the content of a file with this tag and these attributes cannot be read, as far as they say that.
pub(super) fn unreadable(tag: u32, attributes: Attributes) -> Option<Unreadable> {
    match tag {
        tags::MOUNT_POINT | tags::SYMBOLIC_LINK | tags::WSL_LINK | tags::WOF => None,
        tags::DEDUPLICATED => Some(Unreadable::Deduplicated),
        tags::ONE_DRIVE => Some(Unreadable::Cloud { tag }),
        _ if tag & !tags::CLOUD_MASK == tags::CLOUD => {
            // A file whose content was fetched keeps its tag.
            let is_fetched = !attributes.intersects(PLACEHOLDER);
            (!is_fetched).then_some(Unreadable::Cloud { tag })
        }
        _ if WITH_PLAIN_CONTENT.contains(&tag) => None,
        _ => Some(Unreadable::Reparse { tag }),
    }
}

/// A placeholder has at least one of these attributes (\[MS-FSCC\], section 2.6). Windows 11 takes them all
/// away when it fetches the content.
const PLACEHOLDER: Attributes = Attributes(
    Attributes::SPARSE.0
        | Attributes::OFFLINE.0
        | Attributes::RECALL_ON_OPEN.0
        | Attributes::RECALL_ON_DATA_ACCESS.0,
);

/// The tag of a reparse point.
///
/// # Errors
/// It is too short.
pub(super) fn tag(bytes: &[u8]) -> Result<u32, FormatError> {
    fields(bytes).u32(0)
}

/// What a reparse point makes of its file, which has these attributes.
///
/// # Errors
/// [`FileError::Damaged`] when it breaks the rules of its tag.
pub(super) fn parse(bytes: &[u8], attributes: Attributes) -> Result<Reparse, FileError> {
    let reparse = fields(bytes);
    let tag = reparse.u32(0)?;
    let len = usize::from(reparse.u16(4)?);
    let all = reparse.part("reparse point", 0, len.saturating_add(HEADER))?;
    Ok(match tag {
        tags::SYMBOLIC_LINK => {
            let is_relative = all.u32(0x10)? & 1 != 0;
            let target = substitute_name(&all, 0x14)?;
            Reparse::Link(Link::new(LinkKind::Symbolic, target, is_relative))
        }
        tags::MOUNT_POINT => {
            let target = substitute_name(&all, 0x10)?;
            Reparse::Link(Link::new(LinkKind::Junction, target, false))
        }
        tags::WSL_LINK => {
            let version = all.u32(0x08)?;
            if version != 2 {
                return Err(all.fault(format!("unknown version {version}")).into());
            }
            let text = all.rest(0x0C)?;
            let target = FileName::from_wtf8(text).filter(|_| !text.is_empty());
            let target = target.ok_or_else(|| all.fault("its target is not valid UTF-8"))?;
            let is_relative = !text.starts_with(b"/");
            Reparse::Link(Link::new(LinkKind::Wsl, target, is_relative))
        }
        tags::NFS if all.u64(0x08)? == NFS_LINK => {
            let target = all.rest(0x10)?;
            if target.is_empty() || !target.len().is_multiple_of(2) {
                let len = target.len();
                return Err(all.fault(format!("its target has {len} bytes")).into());
            }
            Reparse::Link(unix_link(FileName::from_le_bytes(target)))
        }
        tags::WOF => wof(&all)?,
        tag => match unreadable(tag, attributes) {
            Some(reason) => Reparse::Unreadable(reason),
            None => Reparse::Plain,
        },
    })
}

fn fields(bytes: &[u8]) -> Fields<'_> {
    Fields::new("reparse point", bytes, 0)
}

/// The substitute name of a link whose names begin at `names`.
fn substitute_name(link: &Fields<'_>, names: usize) -> Result<FileName, FormatError> {
    let offset = usize::from(link.u16(0x08)?);
    let len = usize::from(link.u16(0x0A)?);
    let name = link.slice(names.saturating_add(offset), len)?;
    if len == 0 || len % 2 != 0 {
        return Err(link.fault(format!("its target has {len} bytes")));
    }
    Ok(FileName::from_le_bytes(name))
}

fn wof(reparse: &Fields<'_>) -> Result<Reparse, FormatError> {
    let unknown = |what: String| {
        Ok(Reparse::Unreadable(Unreadable::Compression {
            what: format!("Windows Overlay Filter, {what}"),
        }))
    };
    let (version, provider) = (reparse.u32(0x08)?, reparse.u32(0x0C)?);
    match (version, provider) {
        (1, 2) => {}
        (1, 1) => return unknown("in a WIM file outside the file".to_owned()),
        _ => return unknown(format!("version {version}, provider {provider}")),
    }
    let (version, algorithm) = (reparse.u32(0x10)?, reparse.u32(0x14)?);
    Ok(Reparse::Compressed(match (version, algorithm) {
        (1, 0) => Algorithm::Xpress4K,
        (1, 1) => Algorithm::Lzx,
        (1, 2) => Algorithm::Xpress8K,
        (1, 3) => Algorithm::Xpress16K,
        _ => return unknown(format!("version {version}, algorithm {algorithm}")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(tag: u32, fields: &[u32], names: &[&[u16]]) -> Vec<u8> {
        let mut content: Vec<u8> = fields.iter().flat_map(|f| f.to_le_bytes()).collect();
        content.extend(
            names
                .iter()
                .copied()
                .flatten()
                .flat_map(|u| u.to_le_bytes()),
        );
        let mut bytes = tag.to_le_bytes().to_vec();
        bytes.extend((content.len() as u32).to_le_bytes());
        bytes.extend(content);
        bytes
    }

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn the_substitute_name_is_the_target() {
        // The print name comes first; its place says so.
        let bytes = point(
            tags::SYMBOLIC_LINK,
            &[2 | 8 << 16, 2 << 16, 1],
            &[&units("x"), &units(r"..\a")],
        );
        let link = Link::new(LinkKind::Symbolic, r"..\a".into(), true);
        assert_eq!(
            parse(&bytes, Attributes::default()).unwrap(),
            Reparse::Link(link)
        );
        let bytes = point(
            tags::MOUNT_POINT,
            &[16 << 16, 16],
            &[&units(r"\??\C:\a"), &units(r"C:\a")],
        );
        let link = Link::new(LinkKind::Junction, r"\??\C:\a".into(), false);
        assert_eq!(
            parse(&bytes, Attributes::default()).unwrap(),
            Reparse::Link(link)
        );
        let mut bytes = point(tags::WSL_LINK, &[2], &[]);
        bytes[4] += 3;
        bytes.extend(b"a/b");
        let link = Link::new(LinkKind::Wsl, "a/b".into(), true);
        assert_eq!(
            parse(&bytes, Attributes::default()).unwrap(),
            Reparse::Link(link)
        );
    }

    #[test]
    fn the_nfs_server_has_links_and_other_files() {
        let parse = |bytes: &[u8]| parse(bytes, Attributes::default());
        let bytes = point(tags::NFS, &[0x014B_4E4C, 0], &[&units("../a")]);
        let link = Link::new(LinkKind::Unix, "../a".into(), true);
        assert_eq!(parse(&bytes).unwrap(), Reparse::Link(link));
        let fifo = point(tags::NFS, &[0x4F46_4946, 0], &[]);
        assert_eq!(parse(&fifo).unwrap(), Reparse::Plain);
        let empty = point(tags::NFS, &[0x014B_4E4C, 0], &[]);
        assert!(parse(&empty).is_err());
        assert!(parse(&empty[..12]).is_err());
    }

    #[test]
    fn a_name_outside_of_the_reparse_point_is_an_error() {
        for place in [40 << 16, 9, 8 << 16 | 8, 3 << 16, 0, 0xFFFF_FFFF] {
            let bytes = point(tags::MOUNT_POINT, &[place, 0], &[&units("abcd")]);
            let fault = parse(&bytes, Attributes::default());
            assert!(matches!(fault, Err(FileError::Damaged { .. })), "{place}");
        }
        let bytes = point(tags::SYMBOLIC_LINK, &[], &[]);
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len], Attributes::default()).is_err());
        }
    }

    #[test]
    fn ways_of_compression_are_told_apart() {
        let wof =
            |fields: &[u32]| parse(&point(tags::WOF, fields, &[]), Attributes::default()).unwrap();
        assert_eq!(wof(&[1, 2, 1, 0]), Reparse::Compressed(Algorithm::Xpress4K));
        assert_eq!(wof(&[1, 2, 1, 1]), Reparse::Compressed(Algorithm::Lzx));
        assert!(matches!(wof(&[1, 2, 1, 4]), Reparse::Unreadable(_)));
        assert!(matches!(wof(&[1, 1, 1, 0]), Reparse::Unreadable(_)));
        assert!(matches!(wof(&[2, 2, 1, 0]), Reparse::Unreadable(_)));
    }

    #[test]
    fn unknown_tags_are_refused() {
        let parsed =
            |tag, attributes| parse(&point(tag, &[0], &[]), Attributes(attributes)).unwrap();
        let known = |tag| parsed(tag, 0x400);
        assert_eq!(known(0x8000_0023), Reparse::Plain);
        assert_eq!(
            known(0x8000_0021),
            Reparse::Unreadable(Unreadable::Cloud { tag: 0x8000_0021 })
        );
        for tag in [0x9000_001A, 0x9000_701A] {
            assert_eq!(known(tag), Reparse::Plain);
            // The last ones are those of a file that OneDrive did not fetch.
            for attributes in [0x200, 0x1000, 0x4_0000, 0x40_0000, 0x50_1620] {
                let placeholder = Reparse::Unreadable(Unreadable::Cloud { tag });
                assert_eq!(parsed(tag, attributes), placeholder);
            }
        }
        assert_eq!(
            known(0x8000_0013),
            Reparse::Unreadable(Unreadable::Deduplicated)
        );
        assert_eq!(
            known(0x1234),
            Reparse::Unreadable(Unreadable::Reparse { tag: 0x1234 })
        );
    }
}
