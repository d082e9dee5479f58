//! BitLocker volumes (Full Volume Encryption, FVE) on Linux: opened, explained, read, mounted.
//!
//! ```no_run
//! use fve::unlock::recovery_password::RecoveryPasswords;
//! use fve::volume::{UnlockOptions, Volume};
//!
//! # fn main() -> fve::Result<()> {
//! let volume = Volume::open("disk.vhdx")?;
//! let password = RecoveryPasswords::from_file("saved.txt".as_ref())?;
//! let plaintext = volume.unlock(&[Box::new(password)], &UnlockOptions::new())?;
//! let mut boot_sector = [0; 512];
//! plaintext.read_exact_at(0, &mut boot_sector)
//! # }
//! ```
//!
//! # Which type do I want?
//!
//! * To know what a volume is and what opens it, without a key: [`volume::Volume`].
//! * Its plaintext, at any offset and from any number of threads: [`volume::Unlocked`], from
//!   [`volume::Volume::unlock`]. With `Read + Seek`: [`volume::Unlocked::cursor`].
//! * Its plaintext, written too: [`volume::Writable`], from [`volume::Unlocked::into_writable`] with
//!   a [`source::WriteAt`] that is held exclusively.
//! * Credentials: [`unlock::recovery_password::RecoveryPasswords`], [`unlock::password::Password`],
//!   [`unlock::startup_key::StartupKey`], [`unlock::clear_key::Suspended`], [`unlock::raw_key`]
//!   (which also takes the key of a [`volume::MasterKey`]), with the feature `certificates` also
//!   `unlock::certificate::CertificateKey`. A credential of your own: [`unlock::Credential`]. A
//!   volume whose protection is suspended opens without any.
//! * The 48 digits themselves, checked, explained and corrected, without any volume:
//!   [`recovery_password::RecoveryPassword`] and [`recovery_password::check_text`].
//! * A volume that is not a file: implement [`source::ReadAt`].
//! * Why it went into recovery: [`analysis::Analysis`].
//! * Its protectors added, removed, replaced, and what they keep shown: [`manage`].
//! * A volume whose first sector is lost, or that lies somewhere in a disk: [`repair`].
//! * A mount held by your program: `serve::fuse::Mount`. The whole plaintext in a file:
//!   [`serve::export`].
//!
//! # The way of the data
//!
//! ```text
//! a path ─► source ─► format ─► unlock ─► volume ─► serve ─► a file, a directory
//!           bytes     what they  VMK,      plaintext  the outside world
//!                     mean       then FVEK at any offset
//!                       └─── crypto ───┘
//! ```
//!
//! # Promises
//!
//! Opening a volume never writes to it. No input makes the library panic. Plaintext comes only from
//! a key that the volume's own metadata proved (a raw sector key is checked by what it decrypts),
//! and where it cannot be known whether bytes are encrypted, reading them is an error.
//!
//! # Speed
//!
//! The sector ciphers are generic code compiled with *your* profile: set `codegen-units = 1` and
//! `lto = true` in it, or they run at a fraction of their speed.

// The documentation says which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Not for the tests, which may give up as they like; `format` and `source::partition` deny more.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod analysis;
pub mod create;
pub mod crypto;
pub mod enroll;
pub mod error;
pub mod escrow;
pub mod format;
pub mod guid;
pub mod input;
pub mod manage;
#[cfg(feature = "network")]
pub mod network;
pub mod output;
pub mod recovery_password;
pub mod repair;
pub mod secret;
pub mod serve;
pub mod shown;
pub mod source;
mod threads;
pub mod tpm;
pub mod unlock;
pub mod volume;

pub use error::{Error, Result};
pub use guid::Guid;
pub use source::ReadAt;
pub use unlock::Credential;
pub use volume::{Unlocked, Volume};

/// The examples of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
