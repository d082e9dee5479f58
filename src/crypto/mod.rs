//! Cryptography: key stretching, sealed keys, RSA keys, random numbers and sector ciphers.
//!
//! The functions take keys and bytes. They do no I/O and know no structure on disk except the codes
//! of the encryption methods.
//!
//! # Precautions
//!
//! * Every secret has a type of [`secret`](crate::secret): it is kept in locked memory and wiped when
//!   dropped.
//! * What an operation leaves on the stack and in vector registers (round keys, intermediate hashes)
//!   is wiped when it ends, by [`leave_nothing`](crate::secret::leave_nothing). How deep it goes is
//!   measured by a unit test in each module.
//! * Tags and passwords are compared in constant time, so that timing says nothing about how many
//!   bytes agree.
//! * Code for special CPU instructions is used only after it has computed a known answer in this
//!   process; see [`faults`](faults()).

pub mod envelope;
mod faults;
pub mod hash;
#[cfg(target_arch = "x86_64")]
mod memory;
pub mod random;
#[cfg(feature = "certificates")]
pub mod rsa_key;
pub mod sector;
pub mod stretch;

pub use faults::faults;
