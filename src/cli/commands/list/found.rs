//! A volume in the list, and its uses.

use std::path::{Path, PathBuf};

use fve::format::protector::ProtectorKind;
use fve::guid::Guid;
use fve::source::Use;
use fve::volume::devices::{OnDevice, Surveyed};
use fve::volume::{Protection, Status};
use serde_json::{Value, json};

use crate::cli::describe;
use crate::cli::mapped::is_overlay;

/// What is kept of a volume.
pub(crate) struct Found {
    pub(super) device: PathBuf,
    pub(super) partition: Option<u32>,
    offset: i64,
    pub(super) size: u64,
    pub(super) id: Option<Guid>,
    pub(super) description: Option<String>,
    protectors: Vec<(ProtectorKind, Guid)>,
    pub(super) method: String,
    method_word: Option<&'static str>,
    pub(super) status: Option<Status>,
    locked: Option<bool>,
    /// Why it cannot be unlocked.
    pub(super) fault: Option<String>,
}

impl Found {
    pub(super) fn of(found: OnDevice) -> Self {
        let candidate = &found.candidate;
        let volume = found.volume.as_ref();
        let opened = volume.ok();
        let fault = match volume {
            Ok(volume) => volume
                .metadata()
                .err()
                .map(|error| error.with_causes().to_string()),
            Err(error) => Some(error.with_causes().to_string()),
        };
        let block = opened.and_then(|volume| volume.metadata_as_found());
        Self {
            partition: candidate.partition,
            offset: candidate.offset,
            size: opened
                .and_then(|volume| volume.declared_size())
                .or(candidate.len)
                .unwrap_or(0),
            id: candidate.identifier(),
            description: block.and_then(|block| block.description().map(str::to_owned)),
            protectors: candidate.protectors().to_vec(),
            method: opened.map_or_else(|| "Unknown".to_owned(), describe::method_name),
            method_word: opened
                .and_then(|volume| volume.method())
                .map(|method| method.word),
            status: opened.map(|volume| volume.status()),
            locked: opened.map(|volume| volume.needs_key()),
            fault,
            device: found.device,
        }
    }

    /// Whether it is the volume below a mapping with the changes in a file. It is on another device, too.
    pub(super) fn is_layer(&self, uses: Option<&Uses>) -> bool {
        uses.is_none_or(|uses| !uses.mapped.is_empty()) && is_overlay(&self.device)
    }

    /// The identifiers that a recovery screen shows.
    pub(super) fn recovery_ids(&self) -> impl Iterator<Item = String> {
        let protectors = self.protectors.iter();
        protectors
            .filter(|(kind, _)| *kind == ProtectorKind::RecoveryPassword)
            .map(|(_, id)| format!("{id:X}"))
    }

    /// The volume in the document of the command.
    pub(super) fn json(&self, uses: Option<&Uses>) -> Value {
        let protectors = self.protectors.iter().map(|(kind, id)| {
            json!({ "id": format!("{id:X}"), "type": kind.word(), "name": kind.name() })
        });
        let protection = self.status.as_ref().map(|status| status.protection);
        json!({
            "device": self.device.to_string_lossy(),
            "partition": self.partition,
            "offset": self.offset,
            "size": self.size,
            "volume": self.id.map(|id| format!("{id:X}")),
            "description": self.description,
            "recovery_key_ids": self.recovery_ids().collect::<Vec<_>>(),
            "protectors": protectors.collect::<Vec<_>>(),
            "encryption_method": self.method,
            "encryption_method_word": self.method_word,
            "conversion": self.status.as_ref().map(|status| status.conversion.name()),
            "percentage_encrypted": self.status.as_ref().and_then(|status| status.percentage),
            "protection": protection.map(describe::protection_words),
            "protection_on": protection.and_then(|protection| match protection {
                Protection::On => Some(true),
                Protection::Off { .. } => Some(false),
                _ => None,
            }),
            "locked": self.locked,
            "mounts": uses.map(Uses::mounts_json),
            "mapped_as": uses.map(|uses| names(&uses.mapped)),
            "attached_as": uses.map(|uses| names(&uses.attached)),
            "other_uses": uses.map(|uses| &uses.others),
            "fault": self.fault,
        })
    }
}

fn names(paths: &[PathBuf]) -> Vec<String> {
    let paths = paths.iter();
    paths
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

/// How a volume is used.
pub(super) struct Uses {
    pub(super) mounts: Vec<MountPoint>,
    /// Devices of the device mapper.
    pub(super) mapped: Vec<PathBuf>,
    /// Loop devices.
    pub(super) attached: Vec<PathBuf>,
    /// Anything else, in words.
    pub(super) others: Vec<String>,
}

/// Where a volume is mounted.
pub(super) struct MountPoint {
    pub(super) directory: PathBuf,
    pub(super) what: PathBuf,
    /// `false` if it may be another volume of the same disk: a mount does not say which partition of the
    /// disk it shows.
    pub(super) certain: bool,
}

impl Uses {
    /// The uses of all volumes; `None` where they are not known.
    pub(super) fn of_all(volumes: &[Surveyed<Found>]) -> Vec<Option<Self>> {
        let uses = volumes.iter().map(|volume| volume.uses.as_deref());
        let mut all: Vec<_> = uses.map(|uses| uses.map(Self::of)).collect();
        let mut seen: Vec<PathBuf> = Vec::new();
        let mut shared: Vec<PathBuf> = Vec::new();
        for mount in all.iter().flatten().flat_map(|uses| &uses.mounts) {
            match seen.contains(&mount.directory) {
                true => shared.push(mount.directory.clone()),
                false => seen.push(mount.directory.clone()),
            }
        }
        for (volume, uses) in volumes.iter().zip(&mut all) {
            let Some(uses) = uses else { continue };
            for mount in &mut uses.mounts {
                let is_own =
                    mount.what == volume.volume.device && volume.volume.partition.is_none();
                mount.certain = is_own || !shared.contains(&mount.directory);
            }
        }
        all
    }

    fn of(found: &[Use]) -> Self {
        let mut uses = Self {
            mounts: Vec::new(),
            mapped: Vec::new(),
            attached: Vec::new(),
            others: Vec::new(),
        };
        for found in found {
            match found {
                Use::Mounted {
                    what, directory, ..
                } => uses.add_mount(what, directory),
                // Of these layers, the user knows only the mapping of the volume.
                Use::Mapped { device, .. } if is_overlay(device) => {}
                Use::Mapped { device, .. } => uses.mapped.push(device.clone()),
                Use::Loop { device, .. } => uses.attached.push(device.clone()),
                other => uses.others.push(other.description()),
            }
        }
        // With a driver of the kernel, one of the layers of a mount is a loop device.
        let mounted: Vec<_> = uses.mounts.iter().map(|mount| mount.what.clone()).collect();
        uses.attached.retain(|device| !mounted.contains(device));
        // Of these layers, the user knows only the directory with the files.
        let mut directories = Vec::new();
        uses.mounts.retain(|mount| {
            let is_new = !directories.contains(&mount.directory);
            directories.push(mount.directory.clone());
            is_new
        });
        uses
    }

    fn add_mount(&mut self, what: &Path, directory: &Path) {
        self.mounts.push(MountPoint {
            directory: shown_on(directory),
            what: what.to_owned(),
            certain: true,
        });
    }

    fn mounts_json(&self) -> Vec<Value> {
        let mounts = self.mounts.iter().map(|mount| {
            json!({
                "directory": mount.directory.to_string_lossy(),
                "source": mount.what.to_string_lossy(),
                "certain": mount.certain,
            })
        });
        mounts.collect()
    }
}

/// Where the user sees what is mounted on a directory.
#[cfg(feature = "fuse")]
fn shown_on(directory: &Path) -> PathBuf {
    crate::cli::commands::unmount::shown_on(directory).unwrap_or_else(|| directory.to_owned())
}

#[cfg(not(feature = "fuse"))]
fn shown_on(directory: &Path) -> PathBuf {
    directory.to_owned()
}
