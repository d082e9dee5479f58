//! What can be done about an error, in the words of the command line: which option to give and which
//! command to run.

use fve::error::Remedy;
use fve::shown::ShowPath;

/// The sentence for a remedy.
pub(crate) fn words(remedy: &Remedy) -> String {
    match remedy {
        Remedy::NameVolume => {
            "name the partition that holds the volume, or give --offset or --partition; 'fve repair scan' finds a volume whose first sector is lost"
        }
        Remedy::ChoosePartition => "choose one with --partition N",
        Remedy::NameVolumeStart => {
            "name it with --volume-start; 'fve repair scan' shows what speaks for each"
        }
        Remedy::ShowVolume => "'fve info' shows all that can be read of it",
        Remedy::AcceptDamagedMetadata => {
            "--accept-damaged-metadata opens a volume whose checks fail, read-only, if a credential still fits"
        }
        Remedy::RestoreMetadata => {
            "'fve metadata restore' puts a backup of the metadata back, --key-package opens the volume with a key package that was saved, and 'fve repair scan' searches for other metadata"
        }
        Remedy::OpenByMetadata => {
            "the boot record is damaged or was changed; 'fve repair scan' shows how to open the volume by its metadata alone"
        }
        Remedy::SearchVolumeStart => {
            "'fve repair scan' with the same credential tries all places where the volume may begin"
        }
        Remedy::ReadOnly { unless: None } => "mount it read-only (without --read-write)",
        Remedy::ReadOnly { unless: Some(way) } => {
            return format!("{way}, or mount it read-only (without --read-write)");
        }
        Remedy::GiveCredential => {
            "give one of the credentials that the volume takes, or run the command on a terminal to be asked"
        }
        Remedy::ShowProtectors => "'fve info' shows what opens the volume",
        Remedy::CheckRecoveryPassword => {
            "'fve recovery check' explains each block and suggests corrections"
        }
        Remedy::CompareIdentifier { protector } => {
            return format!(
                "compare the password's identifier with that of the protector, {protector:X}; 'fve recovery search SOURCE --try-near' tries all slips that the check digits let pass"
            );
        }
        Remedy::ExportKeyPackage => {
            "'fve export key-package' writes one that is read for certain; the form that Windows writes was never published, so please report one that is not read"
        }
        Remedy::GiveHive => {
            "give another copy of Windows/System32/config/SYSTEM: --auto-unlock-hive FILE"
        }
        Remedy::GiveStartupKey => "give --startup-key FILE, or the directory that holds it",
        Remedy::GivePin => "give --pin-file FILE, or run the command on a terminal to be asked",
        Remedy::TypePin => "run the command on a terminal without --pin-file, and type the PIN",
        Remedy::GiveCertificatePassword => {
            "give --certificate-password-file FILE, or run the command on a terminal to be asked"
        }
        Remedy::ShowCertificates => {
            "'fve info' shows thumbprint and public key of every certificate that the volume takes"
        }
        Remedy::NameTokenKey => {
            "such as --pkcs11 'pkcs11:token=NAME?module-path=/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so'; 'p11tool --list-tokens' shows names"
        }
        Remedy::ChooseTpm => {
            "is there a TPM, and may you use it (root, or the group tss)? --tpm=TCTI names another"
        }
        Remedy::GiveTpm => {
            "give it with --tpm, or use another protector, such as the recovery password"
        }
        Remedy::ShowTpm => "'fve tpm status' shows what the TPM says",
        Remedy::CompareStorageRootKey => {
            "somebody may stand between this computer and its TPM; 'fve tpm status' shows the name"
        }
        Remedy::RecreateStorageRootKey => {
            "--tpm-recreate-srk makes the key again for this one use, and changes nothing in the TPM; after a clear nothing helps"
        }
        Remedy::ExplainPcrs => "'fve tpm explain SOURCE' says why",
        Remedy::ExplainPcrMismatch => {
            "'fve tpm explain SOURCE' says more; the recovery password opens the volume all the same"
        }
        Remedy::ProbeNetwork => {
            "'fve network-unlock probe' finds out why; another protector, such as the recovery password, opens the volume"
        }
        Remedy::NameSidecar => {
            "name it with --network-sidecar FILE; 'fve protector add --network-unlock' makes one"
        }
        Remedy::AddNetworkProtector => {
            "'fve protector add --network-unlock' adds one, with a new stock"
        }
        Remedy::ReplaceNetworkProtector => {
            "remove the protector and add it anew: 'fve protector add --network-unlock'"
        }
        Remedy::NameSearchBase => "say it with --lookup-base DN",
        Remedy::CompareSearchBase => "compare --lookup-base, and the rights of the user",
        Remedy::ListProtectors => "'fve protector list' shows what the volume has",
        Remedy::NameTpmProtector => "name one that is; 'fve protector list' shows them",
        Remedy::AddTpmPinProtector => "'fve protector add --tpm --pin' adds one that does",
        Remedy::AddRecoveryPassword => "'fve protector add --recovery-password-to FILE' adds one",
        Remedy::ChangePassword => "'fve protector change-password' gives it a new one",
        Remedy::ResumeProtection => "'fve protector resume' ends it",
        Remedy::RemoveBoundProtector => {
            "remove that protector too (--drop-bound), and let Windows add it again"
        }
        Remedy::BackUpMetadata => "'fve metadata backup' makes one",
        Remedy::NameFileSystemImage => {
            "name the image of one file system; without --from the volume is made empty"
        }
        Remedy::ChooseBank => "choose another with --bank",
        Remedy::LeaveOutPcr11 => "boot without a unified kernel image, or leave it out: --pcrs 7",
        Remedy::Reseal => "'fve protector reseal' binds it to the present state",
        Remedy::Unmount { directory } => {
            return format!("end it: fve unmount {}", directory.shown());
        }
        Remedy::UnmountOrNameAnother { directory } => {
            return format!(
                "end it: fve unmount {}; or name another directory",
                directory.shown()
            );
        }
        Remedy::PermitMount => {
            "run it as root, or see whether /etc/fuse.conf has user_allow_other for --allow-other"
        }
        Remedy::NameInterface => "bring one up, or name it with --interface",
        Remedy::ShareOrTap => "use --mode tap, or --share-port where the segment has no relay",
        Remedy::UseUdp => "--mode tap needs an Ethernet interface: use --mode udp",
        Remedy::GiveKeyFilePassword => "name the file with its password by --pfx-password-file",
        // General advice, and remedies that are newer than this program.
        other => return other.to_string(),
    }
    .to_owned()
}
