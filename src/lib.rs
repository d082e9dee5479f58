//! Reads, explains, mounts, creates and changes BitLocker volumes (Full Volume Encryption, FVE).
//!
//! ```no_run
//! use fve::{RecoveryPasswords, UnlockOptions, Volume};
//!
//! # fn main() -> fve::Result<()> {
//! let volume = Volume::open("disk.vhdx")?;
//! let password = RecoveryPasswords::from_file("saved.txt")?;
//! let plaintext = volume.unlock(&[password], &UnlockOptions::new())?;
//! let mut boot_sector = [0; 512];
//! plaintext.read_exact_at(0, &mut boot_sector)
//! # }
//! ```
//!
//! # Which type do I want?
//!
//! * To learn about a volume and its key protectors without a key: [`Volume`], from a path
//!   ([`Volume::open`]) or from anything that implements [`ReadAt`] ([`Volume::from_source`]).
//! * To list the volumes of a disk with their partitions: [`Disk`].
//! * To list the volumes on all block devices of this machine: `volume::devices::survey`.
//! * To read plaintext, at any offset and from any number of threads: [`Unlocked`], from
//!   [`Volume::unlock`]. For the traits of `std::io` (`Read`, `Seek`, `Write`): [`source::Cursor`].
//! * To write plaintext: [`Writable`], from [`Volume::open_exclusive`], which locks the source, or
//!   [`Volume::from_exclusive`] with a source of your own, and [`Unlocked::into_writable`].
//! * Credentials: [`RecoveryPasswords`], [`Password`], [`StartupKey`], [`TpmUnlock`],
//!   [`unlock::RawVmk`] (also for the key of a [`MasterKey`]), [`unlock::RawFvek`]; with the feature
//!   `certificates` also `unlock::certificate::CertificateKey`, with `network` also
//!   `unlock::network::NetworkUnlock`. For a custom credential, implement [`Credential`]. A volume
//!   whose protection is suspended needs none ([`unlock::NO_CREDENTIAL`]).
//! * To choose key protectors, the number of threads, or damaged metadata: [`UnlockOptions`] and
//!   [`ProtectorSelector`].
//! * To check, explain and correct the 48 digits of a recovery password, without a volume:
//!   [`RecoveryPassword`] and [`recovery_password::check_text`].
//! * To look up saved recovery passwords in files and in Active Directory: [`escrow`]. A program that
//!   asks a directory server, or uses a PKCS#11 token, calls [`child_main::run_if_requested`] first in
//!   `main`.
//! * To find out why Windows asked for the recovery password: [`analysis::Analysis`], and [`tpm`]
//!   for the TPM.
//! * To add, remove and replace key protectors: [`manage`], with those that [`enroll`] creates.
//! * To create a volume: [`create::NewVolume`].
//! * To find a volume whose boot record or partition table is lost: [`repair`].
//! * To mount a volume from your program: `serve::fuse::Mount`. To have the kernel decrypt it:
//!   `serve::mapping`. To write the whole plaintext to a
//!   file: [`serve::export`].
//! * Network Unlock, client and server: `network`.
//!
//! # Errors
//!
//! A program matches [`Error::kind`], an [`ErrorKind`] without payload, or the variant of [`Error`]
//! where it needs the details. A user reads the `Display` text, one sentence that says what was
//! found, and the [`Remedy`] from [`Error::remedy`], which each front end puts into its own words.
//! [`Error::Refused`] lists for every credential and key protector why it failed, with a typed
//! [`Reason`].
//!
//! The text of an I/O error names the operation, and [`source`](std::error::Error::source) gives its
//! cause, so that a program which walks the chain prints each once. [`Error::with_causes`] is the
//! whole chain in one line, and [`Error::io_error`] the cause itself.
//!
//! A wrong key is never `Damaged`, and neither is data that could not be read: it may be sound. No
//! error contains a secret or a part of one.
//!
//! # Features
//!
//! | feature | what it adds | builds with |
//! |---|---|---|
//! | `containers` (default) | VHD, VHDX, qcow2, E01, S01, VMDK, split raw images | Rust |
//! | `fuse` (default) | the FUSE mount | Rust |
//! | `cli` (default) | the `fve` command | Rust |
//! | `map` (default) | volumes as devices of the kernel, through libdevmapper | Rust |
//! | `certificates` | certificates and their private keys, from files | Rust |
//! | `pkcs11` | private keys on smart cards and other tokens | Rust |
//! | `event-logs` | Windows' event logs, read from an unlocked volume | Rust |
//! | `network` | Network Unlock: messages and client | Rust |
//! | `network-server` | the Network Unlock server | a C compiler |
//! | `directory` | recovery passwords from Active Directory | a C compiler |
//! | `tpm` | TPM 2.0 through libtss2 | libtss2-dev, pkg-config |
//! | `kerberos` | Active Directory with a Kerberos ticket | libkrb5-dev, libclang-dev |
//!
//! `full` is all of them but `kerberos`. A program that only reads volumes sets
//! `default-features = false`: at most 55 crates, no C compiler and no C library.
//!
//! # Operating systems
//!
//! Everything works on Linux. On macOS and Windows the library compiles, and CI checks that it does,
//! but it has not been run there. These parts are for Linux only:
//!
//! * [`serve`], [`output`], and the command line;
//! * block devices as sources ([`FileSource`] opens image files only), and in [`source`] everything
//!   that writes to a file or device or finds out who else uses it (`ExclusiveFile`, `DeviceHold`,
//!   `check_overwrite` and others) or which devices there are (`Devices`, `volume::devices`). [`Writable`], [`manage`] and [`create`] work there with a
//!   [`WriteAt`] from your program;
//! * what stores a new key in a file (`Enrollment`, `PendingSecrets` and `save_key` in [`enroll`]) and
//!   what opens the place for a new volume (`Target` in [`create`]);
//! * the features `fuse`, `map`, `network`, `network-server`, `tpm` and `cli`.
//!
//! On Windows, keys in memory are wiped but not locked, and [`secret::others_can_read`] always says
//! no.
//!
//! # How data flows
//!
//! ```text
//! a path ─► source ─► format ─► unlock ─► volume ─► serve ─► a file, a directory
//!           bytes     what they  VMK,      plaintext  other programs
//!                     mean       then FVEK at any offset
//!                       └─── crypto ───┘
//! ```
//!
//! # Promises
//!
//! Opening a volume never writes to it. No input makes the library panic. Plaintext comes only from
//! a key that the metadata of the volume proved (a raw sector key is checked by decrypting the first
//! sector). Where it is not known whether bytes are encrypted, reading them is an error.
//!
//! # Speed
//!
//! The sector ciphers are generic code compiled with *your* profile: set `codegen-units = 1` and
//! `lto = true` in it, or they run at a fraction of their speed.

// The documentation says which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
// The tests may use all three. `format` and `source::partition` deny more.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod analysis;
#[cfg(any(feature = "directory", feature = "pkcs11"))]
pub mod child;
pub mod child_main;
pub mod create;
pub mod crypto;
pub mod enroll;
pub mod error;
pub mod escrow;
pub mod files;
pub mod format;
pub mod guid;
pub mod input;
pub mod manage;
#[cfg(target_os = "linux")]
mod nbd;
#[cfg(feature = "network")]
pub mod network;
#[cfg(target_os = "linux")]
pub mod output;
#[cfg(target_os = "linux")]
pub mod privileges;
pub mod recovery_password;
pub mod repair;
pub mod secret;
#[cfg(target_os = "linux")]
pub mod serve;
pub mod shown;
pub mod source;
mod threads;
pub mod tpm;
pub mod unlock;
pub mod volume;

pub use crypto::sector::Method;
pub use error::{Candidate, Error, ErrorKind, Reason, Remedy, Result};
pub use format::protector::{KeyProtector, ProtectorKind, UnknownProtectorKind};
pub use format::selector::ProtectorSelector;
pub use guid::Guid;
pub use recovery_password::RecoveryPassword;
pub use secret::SecretText;
pub use source::{FileSource, ReadAt, WriteAt};
pub use unlock::tpm::TpmUnlock;
pub use unlock::{Credential, Password, Prompt, RecoveryPasswords, StartupKey, UnlockOptions};
pub use volume::{Disk, MasterKey, Unlocked, Volume, Writable};

/// Compiles the examples of the guide.
#[cfg(doctest)]
#[doc = include_str!("../docs/guides/program.md")]
struct Guide;
