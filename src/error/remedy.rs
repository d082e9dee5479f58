//! What can be done about an error: a fact, which every program says in words of its own.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use crate::guid::Guid;
use crate::shown::ShowPath;

/// What can be done about an error.
///
/// The command line turns it into a sentence that names the option to give or the command to run.
/// [`Display`](fmt::Display) says the same for a program that has neither.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    // Which volume is meant.
    /// The source is no volume: the volume may lie in a partition, or its first sector may be lost.
    NameVolume,
    /// The source is a disk with several volumes.
    ChoosePartition,
    /// The metadata fits more than one place where its volume may begin.
    NameVolumeStart,
    /// The volume is not supported, but its metadata can still be shown.
    ShowVolume,

    // Damage.
    /// The checks of every metadata copy fail, but their structure can be followed.
    AcceptDamagedMetadata,
    /// No metadata copy can be followed.
    RestoreMetadata,
    /// The boot record contradicts the metadata.
    OpenByMetadata,
    /// The key fits, but the volume does not begin where it was opened.
    SearchVolumeStart,
    /// The volume can be read but must not be written to.
    ReadOnly {
        /// What would make it writable, as half a sentence; `None` where nothing would.
        unless: Option<&'static str>,
    },

    // Credentials.
    /// No credential was given that any of the volume's key protectors takes.
    GiveCredential,
    /// No key protector of the volume is of the kind that the operation needs.
    ShowProtectors,
    /// A recovery password is malformed.
    CheckRecoveryPassword,
    /// A recovery password is well formed but does not open the key protector.
    CompareIdentifier {
        /// The key protector that it was tried on.
        protector: Guid,
    },
    /// A file is no key package that can be read.
    ExportKeyPackage,
    /// The registry hive of the system volume is damaged.
    GiveHive,
    /// The key protector takes a startup key besides the TPM, and none was given that fits.
    GiveStartupKey,
    /// The key protector or the token takes a PIN, and none was given.
    GivePin,
    /// The PIN comes from a file, and the token would lock itself if it were wrong.
    TypePin,

    // Certificates and tokens.
    /// A certificate's file takes a password, and none was given.
    GiveCertificatePassword,
    /// No private key that was given fits the key protector.
    ShowCertificates,
    /// The name of a key on a token is malformed.
    NameTokenKey,

    // The TPM.
    /// There is no TPM, or it cannot be used.
    ChooseTpm,
    /// No TPM was given, and the key protector may need one.
    GiveTpm,
    /// The TPM refuses to do what it was asked to do.
    ShowTpm,
    /// The storage root key of the TPM has another name than the one that was required.
    CompareStorageRootKey,
    /// The storage root key is gone from the TPM.
    RecreateStorageRootKey,
    /// The TPM refuses to release a key to the present PCRs.
    ExplainPcrs,
    /// The PCRs are known to differ from those that a key was sealed to.
    ExplainPcrMismatch,

    // Network Unlock, from the client's side.
    /// No server gave a key.
    ProbeNetwork,
    /// There is no stock of requests for this volume.
    NameSidecar,
    /// The stock of requests is for a key protector that the volume does not have any more.
    AddNetworkProtector,
    /// The stock of requests is empty or damaged, or belongs to an earlier key.
    ReplaceNetworkProtector,

    // Saved recovery passwords.
    /// The directory server does not say where its entries are.
    NameSearchBase,
    /// The directory server does not have the place to search below, or refuses the search.
    CompareSearchBase,

    // Changes of key protectors and metadata.
    /// The volume does not have the key protector that was named.
    ListProtectors,
    /// The key protector that was named is not bound to a TPM.
    NameTpmProtector,
    /// The key protector that was named takes no PIN.
    AddTpmPinProtector,
    /// The volume has no recovery password.
    AddRecoveryPassword,
    /// The volume has a password, and cannot have another.
    ChangePassword,
    /// Protection is suspended already.
    ResumeProtection,
    /// A key protector cannot be given a new volume master key here.
    RemoveBoundProtector,
    /// A file is no metadata backup.
    BackUpMetadata,

    // New volumes and key protectors.
    /// An image holds no single file system that could become the content of a new volume.
    NameFileSystemImage,
    /// The TPM does not have PCRs of the hash algorithm that was chosen.
    ChooseBank,
    /// PCR 11 cannot be sealed to in this boot.
    LeaveOutPcr11,
    /// What an object of the TPM is sealed to is not known well enough to seal another to it.
    Reseal,

    // Mounts.
    /// The mount point holds a mount whose server is gone.
    Unmount {
        /// The mount point.
        directory: PathBuf,
    },
    /// Something is mounted on the mount point.
    UnmountOrNameAnother {
        /// The mount point.
        directory: PathBuf,
    },
    /// The system does not permit the mount.
    PermitMount,

    // The Network Unlock server.
    /// No network interface is up.
    NameInterface,
    /// The port that requests come to is in use.
    ShareOrTap,
    /// The interface is not one whose frames can be read.
    UseUdp,
    /// None of the passwords given opens a server's key file.
    GiveKeyFilePassword,

    // Anything else.
    /// Advice that names nothing of any program's own, such as "insert the card".
    Advice(Cow<'static, str>),
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
                "open the partition that holds the volume; a search of the whole source finds a volume whose first sector is lost"
            }
            Self::ChoosePartition => "choose one of the partitions",
            Self::NameVolumeStart => {
                "choose one of the starts; a search of the whole source shows the evidence for each"
            }
            Self::ShowVolume => "its metadata can still be shown",
            Self::AcceptDamagedMetadata => {
                "accept damaged metadata: the volume then opens although the checks fail, read-only, if a credential still fits"
            }
            Self::RestoreMetadata => {
                "restore a backup of the metadata, open the volume with a saved key package, or search the source for other metadata"
            }
            Self::OpenByMetadata => {
                "the boot record is damaged or was changed; a search of the source shows how to open the volume by its metadata alone"
            }
            Self::SearchVolumeStart => {
                "a search of the source with the same credential tries all places where the volume may begin"
            }
            Self::ReadOnly { unless: None } => "open it read-only",
            Self::ReadOnly { unless: Some(way) } => {
                return write!(f, "{way}, or open it read-only");
            }
            Self::GiveCredential => "give one of the credentials that the volume takes",
            Self::ShowProtectors => "look at the volume's key protectors",
            Self::CheckRecoveryPassword => {
                "check the recovery password: a check of each block suggests corrections"
            }
            Self::CompareIdentifier { protector } => {
                return write!(
                    f,
                    "compare the password's identifier with that of the protector, {protector:X}; a search for near passwords tries all slips that the check digits let pass"
                );
            }
            Self::ExportKeyPackage => {
                "a key package that this library wrote is read for certain; the form that Windows writes was never published, so please report one that is not read"
            }
            Self::GiveHive => "give another copy of Windows/System32/config/SYSTEM",
            Self::GiveStartupKey => {
                "give the file of the startup key, or the directory that holds it"
            }
            Self::GivePin => "give the PIN",
            Self::TypePin => "let a person type the PIN",
            Self::GiveCertificatePassword => "give the password of the certificate's file",
            Self::ShowCertificates => {
                "compare thumbprint and public key of the certificates that the volume takes"
            }
            Self::NameTokenKey => {
                "name it like pkcs11:token=NAME?module-path=/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so"
            }
            Self::ChooseTpm => {
                "is there a TPM, and may you use it (root, or the group tss)? Another can be named"
            }
            Self::GiveTpm => {
                "give a TPM, or use another protector, such as the recovery password"
            }
            Self::ShowTpm => "look at the state of the TPM",
            Self::CompareStorageRootKey => {
                "somebody may stand between this computer and its TPM; compare the name of its storage root key"
            }
            Self::RecreateStorageRootKey => {
                "the key can be made again for this one use, which changes nothing in the TPM; after the TPM was cleared nothing helps"
            }
            Self::ExplainPcrs => "an explanation of the PCRs says why",
            Self::ExplainPcrMismatch => {
                "an explanation of the PCRs says more; the recovery password opens the volume all the same"
            }
            Self::ProbeNetwork => {
                "a probe of the network finds out why; another protector, such as the recovery password, opens the volume"
            }
            Self::NameSidecar => {
                "name its file; adding a Network Unlock protector makes one"
            }
            Self::AddNetworkProtector => {
                "add a Network Unlock protector, which makes a new stock"
            }
            Self::ReplaceNetworkProtector => {
                "remove the protector and add a new Network Unlock protector"
            }
            Self::NameSearchBase => "name the entry to search below",
            Self::CompareSearchBase => {
                "compare the entry to search below, and the rights of the user"
            }
            Self::ListProtectors => "look at the key protectors that the volume has",
            Self::NameTpmProtector => "name a key protector that is bound to a TPM",
            Self::AddTpmPinProtector => "add a TPM protector that takes a PIN",
            Self::AddRecoveryPassword => "add a recovery password",
            Self::ChangePassword => "change the password that it has",
            Self::ResumeProtection => "resume protection",
            Self::RemoveBoundProtector => {
                "remove that protector too, and let Windows add it again"
            }
            Self::BackUpMetadata => "take a backup of the volume's metadata",
            Self::NameFileSystemImage => {
                "name the image of one file system, or make the volume empty"
            }
            Self::ChooseBank => "choose another bank of PCRs",
            Self::LeaveOutPcr11 => {
                "boot without a unified kernel image, or seal to PCR 7 alone"
            }
            Self::Reseal => "seal it again, to the present state",
            Self::Unmount { directory } => {
                return write!(f, "unmount {}", directory.shown());
            }
            Self::UnmountOrNameAnother { directory } => {
                return write!(f, "unmount {}, or name another directory", directory.shown());
            }
            Self::PermitMount => {
                "run it as root; where other users may use the mount, see whether /etc/fuse.conf has user_allow_other"
            }
            Self::NameInterface => "bring an interface up, or name one",
            Self::ShareOrTap => {
                "take the requests from packet sockets, or share the port where the segment has no relay"
            }
            Self::UseUdp => "take the requests from UDP sockets",
            Self::GiveKeyFilePassword => "give the password of the key file",
            Self::Advice(advice) => advice,
        })
    }
}
