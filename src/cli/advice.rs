//! What the user can do about an error, in the words of the command line: which option to give and
//! which command to run.

use std::path::Path;

use fve::error::Remedy;
use fve::shown::ShowPath;

use crate::cli::mapped::how_to_close;

/// The sentence for a remedy.
pub(crate) fn words(remedy: &Remedy) -> String {
    match remedy {
        Remedy::NameVolume => {
            "name the partition that holds the volume, or give --offset or --partition; if the first sector of the volume is lost, use 'fve repair scan'"
        }
        Remedy::SearchDisk => {
            "if the volume was deleted or its first sector is lost, 'fve repair scan' looks for it on the whole disk"
        }
        Remedy::AssembleOrSearchDisk => {
            "if the firmware runs the disk in RAID mode (Intel RST or Optane), assemble it (mdadm -A -s) or turn that mode off; otherwise 'fve repair scan' looks for volumes on the whole disk"
        }
        Remedy::OffsetInBytes { sector, start } => {
            return format!(
                "{sector} may be a sector number: a volume begins at byte {start}; give --offset {start}"
            );
        }
        Remedy::NoFiles => {
            "'fve mount --volume' shows the decrypted volume as one file, and 'fve decrypt' writes it to one"
        }
        Remedy::ReadFiles => {
            "it is not encrypted: mount it directly, or read its files with 'fve ls', 'fve cp' and 'fve mount' (without --volume and --read-write); if it was formatted over a BitLocker volume, 'fve repair scan' looks for the rest of that"
        }
        Remedy::MountDirectly => {
            "it is not encrypted: mount it directly; if it was formatted over a BitLocker volume, 'fve repair scan' looks for the rest of that"
        }
        Remedy::NameDisk => "name an image file or a block device, such as /dev/sdb1",
        Remedy::ChoosePartition => "choose one with --partition N; mount, unlock and decrypt take all with --all",
        Remedy::ChooseFittingPartition {
            partition,
            protector,
            ..
        } => {
            return format!(
                "the volume in partition {partition} has the key protector {protector:X}: give --partition {partition}"
            );
        }
        Remedy::NameVolumeStart => {
            "choose one with --volume-start; 'fve repair scan' shows the evidence for each"
        }
        Remedy::ShowVolume => "'fve info' shows what can be read of it",
        Remedy::AttachWithQemu { file } => {
            let image = file.as_deref().unwrap_or(Path::new("IMAGE"));
            return format!(
                "let QEMU show the disk in it: qemu-nbd --read-only --persistent --fork --socket=\"$PWD/nbd.socket\" {}; then give 'nbd+unix:///?socket=nbd.socket' as SOURCE",
                image.shown()
            );
        }
        Remedy::NameFirstPart { file } => {
            return format!("name the first part of the image: {}", file.shown());
        }
        Remedy::AcceptDamagedMetadata => {
            "use --accept-damaged-metadata to unlock the volume read-only although the checks fail, if a credential still fits"
        }
        Remedy::RestoreMetadata => {
            "restore a backup with 'fve metadata restore', unlock the volume with a saved key package (--key-package), or search for other metadata with 'fve repair scan'"
        }
        Remedy::OpenByMetadata => {
            "run 'fve repair scan': the boot record is damaged or was changed, and the scan shows how to open the volume by its metadata alone"
        }
        Remedy::SearchVolumeStart => {
            "run 'fve repair scan' with the same credential: it tries every offset at which the volume may begin"
        }
        Remedy::RepairCopies => {
            "save a backup with 'fve metadata backup' and restore it with 'fve metadata restore', which writes the first sound copy over the others; or mount it read-only (without --read-write)"
        }
        Remedy::ReadOnly { unless: None } => "mount it read-only (without --read-write)",
        Remedy::ReadOnly { unless: Some(way) } => {
            return format!("{way}, or mount it read-only (without --read-write)");
        }
        Remedy::GiveCredential => {
            "give one of the credentials that the volume accepts, or run the command on a terminal to be asked for one"
        }
        Remedy::ShowProtectors => "'fve info' lists the key protectors of the volume",
        Remedy::GiveAsRecoveryPassword => "give the file as --recovery-password-file",
        Remedy::GiveAsStartupKey => "give the file as --startup-key",
        Remedy::GiveAsPassword => "if it is the password of the volume, give the file as --password-file",
        Remedy::CopyDigits => "copy the 48 digits into a text file, or type them when fve asks for them",
        Remedy::CheckRecoveryPassword => {
            "run 'fve recovery check': it explains each block and suggests corrections"
        }
        Remedy::CompareIdentifier { protector } => {
            return format!(
                "compare the ID of the password with that of the key protector, {protector:X}; 'fve recovery search SOURCE --try-near' tries all typing errors that the check digits do not detect"
            );
        }
        Remedy::ExportKeyPackage => {
            "use a key package from 'fve export key-package'; the format that Windows writes is not documented, so please report one that cannot be read"
        }
        Remedy::GiveHive => {
            "give another copy of Windows/System32/config/SYSTEM: --auto-unlock-hive FILE"
        }
        Remedy::GiveStartupKey => "give --startup-key with the file or its directory",
        Remedy::GivePin => "give --pin-file FILE, or run the command on a terminal to be asked for the PIN",
        Remedy::TypePin => "run the command on a terminal without --pin-file, and type the PIN",
        Remedy::GiveCertificatePassword => {
            "give --certificate-password-file FILE, or run the command on a terminal to be asked for the password"
        }
        Remedy::ShowCertificates => {
            "'fve info' shows the thumbprint and public key of each certificate that the volume accepts"
        }
        Remedy::NameTokenKey => {
            "give a URI such as --pkcs11 'pkcs11:token=NAME?module-path=/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so'; 'p11tool --list-tokens' lists the names"
        }
        Remedy::ChooseTpm => {
            "check that there is a TPM and that you may use it (as root, or in the group tss), or name another with --tpm=TCTI"
        }
        Remedy::InstallTpmLibrary => {
            "install libtss2: 'apt install libtss2-esys-3.0.2-0 libtss2-tctildr0' on Debian and Ubuntu, 'dnf install tpm2-tss' on Fedora"
        }
        Remedy::GiveTpm => {
            "use the TPM with --tpm, or another credential, such as the recovery password"
        }
        Remedy::ShowTpm => "'fve tpm status' shows the status of the TPM",
        Remedy::SealUnderNewStorageRootKey => {
            "use another credential, such as the recovery password; if the TPM was replaced or cleared, also run 'fve protector reseal' with it. --tpm-srk-name HEX requires that name instead of the stored one"
        }
        Remedy::CreateStorageRootKey => {
            "create it with --tpm-create-srk, or recreate it for each use with --tpm-recreate-srk"
        }
        Remedy::NamePinProtector { others } => {
            let options: Vec<_> = others
                .iter()
                .map(|id| format!("--protector {id:X}"))
                .collect();
            return format!(
                "check the PIN: every wrong one counts towards the TPM's lockout; if it is that of another key protector, name it: {}",
                options.join(" or ")
            );
        }
        Remedy::CompareStorageRootKey => {
            "compare it with 'fve tpm status': with another name, something may be intercepting the traffic between this computer and its TPM"
        }
        Remedy::RecreateStorageRootKey => {
            "use --tpm-recreate-srk to recreate the key for this one use, which changes nothing in the TPM; this does not help after the TPM was cleared"
        }
        Remedy::ExplainPcrs => "'fve tpm explain SOURCE' explains why",
        Remedy::ExplainPcrMismatch => {
            "'fve tpm explain SOURCE' explains why; the recovery password still unlocks the volume"
        }
        Remedy::ProbeNetwork => {
            "'fve network-unlock probe' finds out why; another credential, such as the recovery password, still unlocks the volume"
        }
        Remedy::RaiseNetworkTimeout => "give more time with --network-timeout SECONDS",
        Remedy::NameSidecar => {
            "name it with --network-sidecar FILE; 'fve protector add --network-unlock' creates one"
        }
        Remedy::AddNetworkProtector => {
            "add a new protector with a new sidecar: 'fve protector add --network-unlock'"
        }
        Remedy::ReplaceNetworkProtector => {
            "remove the protector and add a new one: 'fve protector add --network-unlock'"
        }
        Remedy::NameSearchBase => "give it with --lookup-base DN",
        Remedy::CompareSearchBase => "check --lookup-base and the rights of the user",
        Remedy::ListProtectors => "'fve protector list' shows the key protectors of the volume",
        Remedy::NameTpmProtector => "name a protector that uses a TPM; 'fve protector list' shows them",
        Remedy::AddTpmPinProtector => "add a protector with a PIN: 'fve protector add --tpm --new-pin'",
        Remedy::AddRecoveryPassword => "add one: 'fve protector add --recovery-password-to FILE'",
        Remedy::AddStartupKey => "add one: 'fve protector add --startup-key-to DIR'",
        Remedy::AddTpmStartupKey => {
            "add another protector with TPM and startup key ('fve protector add --tpm --tpm-startup-key-to DIR'), then remove the old one ('fve protector remove')"
        }
        Remedy::ChangePassword => "change it: 'fve protector change-password'",
        Remedy::ResumeProtection => "resume it: 'fve protector resume'",
        Remedy::RemoveBoundProtector => {
            "remove that protector, too (--drop-bound), and let Windows add it again"
        }
        Remedy::BackUpMetadata => "give a file that 'fve metadata backup' saved of this volume",
        Remedy::NameFileSystemImage => {
            "name the image of one file system, or leave out --from to create an empty volume"
        }
        Remedy::ChooseBank => "choose another with --bank",
        Remedy::LeaveOutPcr11 => "boot without a unified kernel image, or leave PCR 11 out: --pcrs 7",
        Remedy::Reseal => "seal it to the current PCR values: 'fve protector reseal'",
        Remedy::Unmount { directory } => {
            return format!("unmount it: fve unmount {}", directory.shown());
        }
        Remedy::UnmountOrNameAnother { directory } => {
            return format!(
                "unmount it (fve unmount {}), or name another directory",
                directory.shown()
            );
        }
        Remedy::Unmap { device } => {
            return format!("close {} first: {}", device.shown(), how_to_close(device));
        }
        Remedy::UseOrUnmap { device } => {
            return format!(
                "use {}, or close it first: {}",
                device.shown(),
                how_to_close(device)
            );
        }
        Remedy::NameOwnDirectory => "name an empty directory of your own, or mount as root",
        Remedy::PermitMount => {
            "run it as root; for --allow-other and --allow-root, and --uid or --gid of others, /etc/fuse.conf must contain user_allow_other"
        }
        Remedy::NameInterface => "bring one up, or name it with --interface",
        Remedy::ShareOrTap => "use --mode tap, or --share-port if the network segment has no DHCP relay",
        Remedy::UseUdp => "use --mode udp: --mode tap needs an Ethernet interface",
        Remedy::GiveKeyFilePassword => "give a file with its password with --certificate-password-file",
        // General advice, and remedies that are newer than this program.
        other => return other.to_string(),
    }
    .to_owned()
}
