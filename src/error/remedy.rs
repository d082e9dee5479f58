//! What the user can do about an error: a fact that each front end puts into its own words.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use crate::guid::Guid;
use crate::shown::ShowPath;

/// What the user can do about an error.
///
/// The command line turns it into a sentence that names an option or a command.
/// [`Display`](fmt::Display) is a sentence for programs that have neither.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    // Which volume is meant.
    /// The source is not a volume. The volume may be in a partition, or its first sector may be lost.
    NameVolume,
    /// The partition table of the disk was read, and no partition holds a volume. One may be deleted,
    /// or its first sector lost.
    SearchDisk,
    /// The partition table of the disk cannot be read as a whole, as that of a member of an array.
    AssembleOrSearchDisk,
    /// No volume begins at this number of bytes, but one does at this number of sectors.
    OffsetInBytes {
        /// The number.
        sector: u64,
        /// Where the volume begins, in bytes.
        start: u64,
    },
    /// The source is a file system that is not encrypted. It may have replaced a volume.
    MountDirectly,
    /// The same for NTFS, exFAT or FAT, whose files are read.
    ReadFiles,
    /// Show the decrypted volume as one file: its file system is not read.
    NoFiles,
    /// The source is a directory or anything else that has no bytes at offsets.
    NameDisk,
    /// The source is a disk with several volumes.
    ChoosePartition,
    /// The source is a disk with several volumes, and only this one has the key protector that the
    /// user's credential belongs to.
    #[non_exhaustive]
    ChooseFittingPartition {
        /// The number of its partition.
        partition: u32,
        /// The key protector.
        protector: Guid,
    },
    /// The metadata fits several offsets at which its volume may begin.
    NameVolumeStart,
    /// The volume is not supported, but its metadata can still be shown.
    ShowVolume,
    /// The source is a disk image with features that are not supported, and which QEMU may read: it shows
    /// the disk in it over NBD.
    AttachWithQemu {
        /// The image; `None` if it is not known.
        file: Option<PathBuf>,
    },
    /// The source is a later part of an image that consists of several files.
    NameFirstPart {
        /// The first of them.
        file: PathBuf,
    },

    // Damage.
    /// The checks of every metadata copy fail, but their structure can be followed.
    AcceptDamagedMetadata,
    /// No metadata copy can be followed.
    RestoreMetadata,
    /// The boot record contradicts the metadata.
    OpenByMetadata,
    /// The key fits, but the volume does not begin where it was opened.
    SearchVolumeStart,
    /// The volume can be read but must not be written to: not all copies of its metadata are sound and
    /// equal.
    RepairCopies,
    /// The volume can be read but must not be written to.
    ReadOnly {
        /// An imperative clause that says what would make it writable; `None` where nothing would.
        unless: Option<&'static str>,
    },

    // Credentials.
    /// No credential was given that any key protector of the volume accepts.
    GiveCredential,
    /// The volume has no key protector of the kind that the operation needs.
    ShowProtectors,
    /// A file holds something else: a recovery password.
    GiveAsRecoveryPassword,
    /// A file holds something else: a startup key.
    GiveAsStartupKey,
    /// A file holds no recovery password, but one line, which may be a password.
    GiveAsPassword,
    /// A document whose text is not read.
    CopyDigits,
    /// A recovery password is malformed.
    CheckRecoveryPassword,
    /// A recovery password is well formed but does not unlock the key protector.
    CompareIdentifier {
        /// The key protector that it was tried on.
        protector: Guid,
    },
    /// A file is not a readable key package.
    ExportKeyPackage,
    /// The registry hive of the system volume is damaged.
    GiveHive,
    /// The key protector needs a startup key besides the TPM, and no matching one was given.
    GiveStartupKey,
    /// The key protector or the token needs a PIN, and none was given.
    GivePin,
    /// The PIN comes from a file, and one more wrong PIN would lock the token.
    TypePin,

    // Certificates and tokens.
    /// The file of a certificate is protected by a password, and none was given.
    GiveCertificatePassword,
    /// None of the given private keys belongs to the key protector.
    ShowCertificates,
    /// The name of a key on a token is malformed.
    NameTokenKey,

    // The TPM.
    /// There is no TPM, or it cannot be used.
    ChooseTpm,
    /// libtss2 is not installed.
    InstallTpmLibrary,
    /// No TPM was given, and the key protector may need one.
    GiveTpm,
    /// The TPM refused an operation.
    ShowTpm,
    /// The address of a TPM is malformed.
    NameTpm,
    /// The storage root key of the TPM has another name than the required one.
    CompareStorageRootKey,
    /// The storage root key of the TPM has another name than the one that the key protector stores.
    SealUnderNewStorageRootKey,
    /// The TPM has no storage root key, and a key is to be sealed under it.
    CreateStorageRootKey,
    /// The PIN was wrong for one key protector, and may be that of another one.
    NamePinProtector {
        /// The other key protectors with a TPM and a PIN.
        others: Vec<Guid>,
    },
    /// The TPM has no storage root key.
    RecreateStorageRootKey,
    /// The TPM refuses to release the key because of the current PCR values.
    ExplainPcrs,
    /// The current PCR values differ from those that the key was sealed to.
    ExplainPcrMismatch,

    // Network Unlock, client side.
    /// No server returned the key.
    ProbeNetwork,
    /// The time was used up before a server was asked.
    RaiseNetworkTimeout,
    /// There is no sidecar for this volume.
    NameSidecar,
    /// The sidecar is for a key protector that the volume no longer has.
    AddNetworkProtector,
    /// The sidecar is empty or damaged, or belongs to an earlier key.
    ReplaceNetworkProtector,

    // Saved recovery passwords.
    /// The directory server does not publish the base of its entries.
    NameSearchBase,
    /// The directory server does not have the search base, or refuses the search.
    CompareSearchBase,

    // Changes of key protectors and metadata.
    /// The named key protector does not exist.
    ListProtectors,
    /// The named key protector does not use a TPM.
    NameTpmProtector,
    /// The named key protector has no PIN.
    AddTpmPinProtector,
    /// The volume has no recovery password.
    AddRecoveryPassword,
    /// Add a startup key: the volume has none.
    AddStartupKey,
    /// Add another protector with TPM and startup key, then remove the old one: only the TPM can make
    /// a new one.
    AddTpmStartupKey,
    /// The volume already has a password, and can have only one.
    ChangePassword,
    /// Protection is suspended already.
    ResumeProtection,
    /// The new volume master key cannot be sealed to this key protector on this computer.
    RemoveBoundProtector,
    /// A file is not a metadata backup.
    BackUpMetadata,

    // New volumes and key protectors.
    /// An image does not hold exactly one file system, as the content of a new volume must.
    NameFileSystemImage,
    /// The TPM has no PCR bank with the chosen hash algorithm.
    ChooseBank,
    /// PCR 11 was extended in this boot, so no key can be sealed to it.
    LeaveOutPcr11,
    /// The policy of the sealed object is not known well enough to seal another object to it.
    Reseal,

    // Mounts.
    /// A mount of ours is in the way, or its server has ended.
    Unmount {
        /// The mount point.
        directory: PathBuf,
    },
    /// Something is mounted on the mount point.
    UnmountOrNameAnother {
        /// The mount point.
        directory: PathBuf,
    },
    /// A device-mapper device is open above the source, such as the mapping of a volume.
    Unmap {
        /// Its path in /dev/mapper.
        device: PathBuf,
    },
    /// The same, and the device may be the one to use.
    UseOrUnmap {
        /// Its path in /dev/mapper, or the device that the source is a part of.
        device: PathBuf,
    },
    /// The operating system does not permit the mount.
    PermitMount,
    /// The user may not write to the mount point.
    NameOwnDirectory,

    // The Network Unlock server.
    /// No network interface is up.
    NameInterface,
    /// The port for requests is in use.
    ShareOrTap,
    /// Frames cannot be read from this interface.
    UseUdp,
    /// None of the given passwords opens the key file of a server.
    GiveKeyFilePassword,

    // Anything else.
    /// Advice that names no option and no command, such as "insert the card".
    Advice(Cow<'static, str>),
}

impl Remedy {
    /// Of several volumes, to choose the one in this partition, which alone has the key protector.
    pub fn choose_partition(partition: u32, protector: Guid) -> Self {
        Self::ChooseFittingPartition {
            partition,
            protector,
        }
    }
}

impl From<&'static str> for Remedy {
    fn from(advice: &'static str) -> Self {
        Self::Advice(advice.into())
    }
}

impl From<String> for Remedy {
    fn from(advice: String) -> Self {
        Self::Advice(advice.into())
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameVolume => {
                "open the partition that holds the volume; if its first sector is lost, search the whole source"
            }
            Self::SearchDisk => {
                "search the whole disk for a volume that was deleted or whose first sector is lost"
            }
            Self::AssembleOrSearchDisk => {
                "if the firmware runs the disk in RAID mode (Intel RST or Optane), assemble the array or turn that mode off; otherwise search the whole disk for volumes"
            }
            Self::OffsetInBytes { sector, start } => {
                return write!(
                    f,
                    "{sector} may be a sector number: a volume begins at byte {start}"
                );
            }
            Self::NoFiles => {
                "use the decrypted volume itself: its file system is not read here"
            }
            Self::ReadFiles => {
                "it is not encrypted: read its files, or mount it directly; search the source for a volume that was formatted over"
            }
            Self::MountDirectly => {
                "it is not encrypted: mount it directly; search the source for a volume that was formatted over"
            }
            Self::NameDisk => "name an image file or a block device",
            Self::ChoosePartition => "choose one of the partitions",
            Self::ChooseFittingPartition {
                partition,
                protector,
            } => {
                return write!(
                    f,
                    "choose partition {partition}, whose volume has the key protector {protector:X}"
                );
            }
            Self::NameVolumeStart => {
                "choose one of the starts; a search of the whole source shows the evidence for each"
            }
            Self::ShowVolume => "look at its metadata, which can still be read",
            Self::AttachWithQemu { .. } => {
                "let QEMU show the disk in it over NBD (qemu-nbd), and open the address of that"
            }
            Self::NameFirstPart { file } => {
                return write!(f, "open the first part of the image: {}", file.shown());
            }
            Self::AcceptDamagedMetadata => {
                "accept damaged metadata to unlock the volume read-only although the checks fail, if a credential still fits"
            }
            Self::RestoreMetadata => {
                "restore a backup of the metadata, unlock the volume with a saved key package, or search the source for other metadata"
            }
            Self::OpenByMetadata => {
                "search the source: the boot record is damaged or was changed, and the search shows how to open the volume by its metadata alone"
            }
            Self::SearchVolumeStart => {
                "search the source with the same credential, which tries every offset at which the volume may begin"
            }
            Self::RepairCopies => {
                "save a backup of the metadata and restore it, which writes the first sound copy over the others; or open it read-only"
            }
            Self::ReadOnly { unless: None } => "open it read-only",
            Self::ReadOnly { unless: Some(way) } => {
                return write!(f, "{way}, or open it read-only");
            }
            Self::GiveCredential => "give one of the credentials that the volume accepts",
            Self::ShowProtectors => "list the key protectors of the volume",
            Self::GiveAsRecoveryPassword => "give it as a recovery password",
            Self::GiveAsStartupKey => "give it as a startup key",
            Self::GiveAsPassword => "if it is the password of the volume, give it as that",
            Self::CopyDigits => "copy the 48 digits into a text file",
            Self::CheckRecoveryPassword => {
                "check the recovery password: the check of each block suggests corrections"
            }
            Self::CompareIdentifier { protector } => {
                return write!(
                    f,
                    "compare the ID of the password with that of the key protector, {protector:X}; a search for similar passwords tries all typing errors that the check digits do not detect"
                );
            }
            Self::ExportKeyPackage => {
                "use a key package that this library wrote; the format that Windows writes is not documented, so please report one that cannot be read"
            }
            Self::GiveHive => "give another copy of Windows/System32/config/SYSTEM",
            Self::GiveStartupKey => {
                "give the file of the startup key, or the directory that holds it"
            }
            Self::GivePin => "give the PIN",
            Self::TypePin => "let the user type the PIN",
            Self::GiveCertificatePassword => "give the password of the certificate file",
            Self::ShowCertificates => {
                "compare the certificate with the thumbprints and public keys that the volume lists"
            }
            Self::NameTokenKey => {
                "name it like pkcs11:token=NAME?module-path=/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so"
            }
            Self::ChooseTpm => {
                "check that there is a TPM and that you may use it (as root, or in the group tss), or name another TPM"
            }
            Self::InstallTpmLibrary => "install libtss2, or use another credential",
            Self::GiveTpm => {
                "give a TPM, or use another credential, such as the recovery password"
            }
            Self::ShowTpm => "look at the status of the TPM",
            Self::NameTpm => {
                "give an address such as device:/dev/tpmrm0, swtpm:host=127.0.0.1,port=2321, mssim or tabrmd"
            }
            Self::SealUnderNewStorageRootKey => {
                "use another credential, such as the recovery password; if the TPM was replaced or cleared, seal the key again"
            }
            Self::CreateStorageRootKey => {
                "create the storage root key in the TPM, or recreate it for each use"
            }
            Self::NamePinProtector { others } => {
                return write!(
                    f,
                    "check the PIN, or, if it is that of another key protector, select it: {}",
                    in_words(others)
                );
            }
            Self::CompareStorageRootKey => {
                "compare the name of the storage root key: with another name, something may be intercepting the traffic between this computer and its TPM"
            }
            Self::RecreateStorageRootKey => {
                "recreate the key for this one use, which changes nothing in the TPM; this does not help after the TPM was cleared"
            }
            Self::ExplainPcrs => "look at the explanation of the PCRs",
            Self::ExplainPcrMismatch => {
                "look at the explanation of the PCRs, or unlock the volume with the recovery password"
            }
            Self::ProbeNetwork => {
                "probe the network to find out why, or use another credential, such as the recovery password"
            }
            Self::RaiseNetworkTimeout => "give Network Unlock more time",
            Self::NameSidecar => {
                "name the sidecar file; adding a Network Unlock protector creates one"
            }
            Self::AddNetworkProtector => {
                "add a Network Unlock protector, which creates a new sidecar"
            }
            Self::ReplaceNetworkProtector => {
                "remove the protector and add a new Network Unlock protector"
            }
            Self::NameSearchBase => "name the search base",
            Self::CompareSearchBase => {
                "check the search base and the rights of the user"
            }
            Self::ListProtectors => "list the key protectors of the volume",
            Self::NameTpmProtector => "name a key protector that uses a TPM",
            Self::AddTpmPinProtector => "add a TPM protector with a PIN",
            Self::AddRecoveryPassword => "add a recovery password",
            Self::AddStartupKey => "add a startup key",
            Self::AddTpmStartupKey => {
                "add a protector with TPM and another startup key, then remove the old one"
            }
            Self::ChangePassword => "change the existing password",
            Self::ResumeProtection => "resume protection",
            Self::RemoveBoundProtector => {
                "remove that protector, too, and let Windows add it again"
            }
            Self::BackUpMetadata => "give a backup that was taken of this volume's metadata",
            Self::NameFileSystemImage => {
                "name the image of one file system, or create the volume empty"
            }
            Self::ChooseBank => "choose another PCR bank",
            Self::LeaveOutPcr11 => {
                "boot without a unified kernel image, or seal to PCR 7 alone"
            }
            Self::Reseal => "seal it again, to the current PCR values",
            Self::Unmount { directory } => {
                return write!(f, "unmount {}", directory.shown());
            }
            Self::UnmountOrNameAnother { directory } => {
                return write!(f, "unmount {}, or name another directory", directory.shown());
            }
            Self::Unmap { device } => {
                return write!(
                    f,
                    "close {} first, with what it was opened with",
                    device.shown()
                );
            }
            Self::UseOrUnmap { device } => {
                return write!(f, "use {}, or close it first", device.shown());
            }
            Self::NameOwnDirectory => "name an empty directory of your own, or mount as root",
            Self::PermitMount => {
                "run it as root; to let other users use the mount, set user_allow_other in /etc/fuse.conf"
            }
            Self::NameInterface => "bring a network interface up, or name one",
            Self::ShareOrTap => {
                "receive requests from packet sockets, or share the port if the network segment has no DHCP relay"
            }
            Self::UseUdp => "receive requests from UDP sockets",
            Self::GiveKeyFilePassword => "give the password of the key file",
            Self::Advice(advice) => advice,
        })
    }
}

fn in_words(ids: &[Guid]) -> String {
    let ids: Vec<_> = ids.iter().map(|id| format!("{id:X}")).collect();
    ids.join(" or ")
}
