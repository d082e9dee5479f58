//! The entry of child processes (see [`child`](crate::child)), and all that they can be asked for.

#[cfg(all(target_os = "linux", any(feature = "directory", feature = "pkcs11")))]
use crate::child::{Service, prepare, serve};
#[cfg(feature = "directory")]
use crate::escrow;
#[cfg(all(target_os = "linux", feature = "pkcs11"))]
use crate::unlock;

/// What child processes of this build can do.
#[cfg(all(target_os = "linux", any(feature = "directory", feature = "pkcs11")))]
const SERVICES: &[&Service] = &[
    #[cfg(feature = "directory")]
    &escrow::DIRECTORY_SERVICE,
    #[cfg(feature = "kerberos")]
    &escrow::KERBEROS_SERVICE,
    #[cfg(feature = "pkcs11")]
    &unlock::certificate::TOKENS,
];

/// Must be the first call in `main` of a program that searches a directory server or uses a PKCS#11
/// token with [`Isolation::ChildProcess`](crate::child::Isolation::ChildProcess), the default: the
/// program is then started a second time, as a child process, for the code that a hostile server or a
/// faulty library can crash. In that process, this function does the work and does not return.
///
/// ```no_run
/// // The first statement in `main`:
/// fve::child_main::run_if_requested();
/// ```
pub fn run_if_requested() {
    #[cfg(all(target_os = "linux", any(feature = "directory", feature = "pkcs11")))]
    {
        serve(SERVICES);
        prepare();
    }
}
