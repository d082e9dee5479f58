//! Whether the Windows in a volume is hibernated.

use super::Unlocked;

/// Whether the volume holds the memory of a Windows that will go on from it: what is changed in the
/// file system before that is undone or torn. Fast startup leaves the same behind at every shutdown.
///
/// No where the volume holds no NTFS that can be followed, or in a program that was built without
/// the feature `ntfs`.
pub fn is_hibernated(volume: &Unlocked) -> bool {
    begins_with_an_image(volume).unwrap_or(false)
}

/// `hiberfil.sys` begins with `hibr` while it holds an image, and with `wake` or zeros when that
/// was used (Windows writes either case).
#[cfg(feature = "ntfs")]
fn begins_with_an_image(volume: &Unlocked) -> Option<bool> {
    use super::files::{FileFault, with_file};
    let mut mark = [0; 4];
    with_file(volume, &["hiberfil.sys"], |file, _| {
        file.read_exact(&mut mark).map_err(FileFault::Unreadable)
    })
    .ok()?;
    Some(mark.eq_ignore_ascii_case(b"hibr"))
}

#[cfg(not(feature = "ntfs"))]
fn begins_with_an_image(_volume: &Unlocked) -> Option<bool> {
    None
}
