//! The version of Windows that turned BitLocker on (docs/format-recovery.md §6.2).

use crate::format::block::MetadataBlock;

/// A version of Windows, as recorded in the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Windows {
    /// Major version: 6 or 10.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// Build number, which identifies the release.
    pub build: u32,
    /// 1 for a workstation, 2 for a domain controller, 3 for a server.
    pub product_type: u8,
}

/// The names of releases by build number (general knowledge of Windows). Servers share some build
/// numbers under other names.
const RELEASES: &[(u32, &str)] = &[
    (7600, "Windows 7"),
    (7601, "Windows 7 Service Pack 1"),
    (9200, "Windows 8"),
    (9600, "Windows 8.1"),
    (10240, "Windows 10 version 1507"),
    (10586, "Windows 10 version 1511"),
    (14393, "Windows 10 version 1607"),
    (15063, "Windows 10 version 1703"),
    (16299, "Windows 10 version 1709"),
    (17134, "Windows 10 version 1803"),
    (17763, "Windows 10 version 1809"),
    (18362, "Windows 10 version 1903"),
    (18363, "Windows 10 version 1909"),
    (19041, "Windows 10 version 2004"),
    (19042, "Windows 10 version 20H2"),
    (19043, "Windows 10 version 21H1"),
    (19044, "Windows 10 version 21H2"),
    (19045, "Windows 10 version 22H2"),
    (22000, "Windows 11 version 21H2"),
    (22621, "Windows 11 version 22H2"),
    (22631, "Windows 11 version 23H2"),
    (26100, "Windows 11 version 24H2"),
    (26200, "Windows 11 version 25H2"),
];

impl Windows {
    /// The version in the metadata; `None` if there is none: Windows 7 and earlier do not record it, nor
    /// do other programs.
    pub(super) fn of(block: &MetadataBlock) -> Option<Self> {
        let extension = block.virtualization()?.extension.as_ref()?;
        let (major, minor, build) = extension.windows;
        (major != 0).then_some(Self {
            major,
            minor,
            build,
            product_type: extension.product_type,
        })
    }

    /// The name of the release; `None` for unknown builds and for servers.
    pub fn release(&self) -> Option<&'static str> {
        let known = RELEASES.iter().find(|(build, _)| *build == self.build);
        let (_, name) = known.filter(|_| self.product_type == 1)?;
        Some(name)
    }

    /// A stable word for programs for the product type; `None` for an unknown one.
    pub fn product(&self) -> Option<&'static str> {
        match self.product_type {
            1 => Some("workstation"),
            2 => Some("domain-controller"),
            3 => Some("server"),
            _ => None,
        }
    }
}
