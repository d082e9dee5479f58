//! `--auto-unlock-from`, and where its hive is.

use super::kind::{Addition, CredentialKind, Given, Read};
use fve::error::{Error, Result};
use fve::format::protector::ProtectorKind;
use fve::unlock::Credential;
use fve::unlock::auto_unlock::AutoUnlock;

/// The option that names the system volume.
pub(crate) const OPTION: &str = "auto-unlock-from";

/// Options that say where the system volume and its hive are.
pub(crate) const HIVE: &str = "auto-unlock-hive";
pub(crate) const PARTITION: &str = "auto-unlock-partition";
pub(crate) const OFFSET: &str = "auto-unlock-offset";

pub(crate) const KIND: CredentialKind = CredentialKind {
    option: OPTION,
    value: "OSVOLUME",
    value_is_optional: false,
    additions: &[
        Addition {
            option: HIVE,
            value: Some("FILE"),
            help: "With --auto-unlock-from: the registry hive SYSTEM, where it is not to be read from OSVOLUME",
            systemd: None,
        },
        Addition {
            option: PARTITION,
            value: Some("N"),
            help: "With --auto-unlock-from: the system volume is this partition of OSVOLUME",
            systemd: None,
        },
        Addition {
            option: OFFSET,
            value: Some("BYTES"),
            help: "With --auto-unlock-from: the system volume begins this many bytes into OSVOLUME",
            systemd: None,
        },
    ],
    help: "The system volume (C:) of the same computer, which keeps the keys of its data volumes. All other credentials are then those of OSVOLUME; --protector still names one of SOURCE",
    systemd: None,
    environment: None,
    read: Read::Given(read),
    typed: None,
    opens: &[ProtectorKind::ExternalKey],
};

fn read(given: &Given<'_>) -> Result<Box<dyn Credential>> {
    let system = given.system.ok_or_else(|| {
        Error::bad_credential("auto-unlock key", "nobody opened the system volume")
    })?;
    Ok(Box::new(AutoUnlock::new(system)?))
}
