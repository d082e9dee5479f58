//! `--auto-unlock-from` and the options that belong to it.

use fve::error::{Error, Result};
use fve::format::protector::ProtectorKind;
use fve::unlock::Credential;
use fve::unlock::auto_unlock::AutoUnlock;

use super::kind::{Addition, CredentialKind, Group, OptionValues, Read};

/// The option that names the system volume.
pub(crate) const OPTION: &str = "auto-unlock-from";

/// The options that say where the system volume and its registry hive are.
pub(crate) const HIVE: &str = "auto-unlock-hive";
pub(crate) const PARTITION: &str = "auto-unlock-partition";
pub(crate) const OFFSET: &str = "auto-unlock-offset";

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: OPTION,
    group: Group::AutoUnlock,
    value: "OSVOLUME",
    value_is_optional: false,
    additions: &[
        Addition {
            option: HIVE,
            group: Group::AutoUnlock,
            value: Some("FILE"),
            help: "With --auto-unlock-from: read the registry hive SYSTEM from this file instead of OSVOLUME",
            systemd: None,
        },
        Addition {
            option: PARTITION,
            group: Group::AutoUnlock,
            value: Some("N"),
            help: "With --auto-unlock-from: the system volume is this partition of OSVOLUME",
            systemd: None,
        },
        Addition {
            option: OFFSET,
            group: Group::AutoUnlock,
            value: Some("BYTES"),
            help: "With --auto-unlock-from: the system volume begins this many bytes into OSVOLUME",
            systemd: None,
        },
    ],
    help: "The system volume (C:) of the same computer, which stores the keys of its data volumes. All other credentials then unlock OSVOLUME; --protector still names a key protector of SOURCE",
    systemd: None,
    environment: None,
    read: Read::Options(read),
    typed: None,
    opens: &[ProtectorKind::ExternalKey],
};

fn read(given: &OptionValues<'_>) -> Result<Box<dyn Credential>> {
    let system = given.system.ok_or_else(|| {
        Error::bad_credential("auto-unlock key", "the system volume was not unlocked")
    })?;
    Ok(Box::new(AutoUnlock::new(system)?))
}
