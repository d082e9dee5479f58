//! Whether the Windows in a volume is hibernated.

use super::Unlocked;

/// Whether the volume has the memory image of a hibernated Windows. When that resumes, it undoes or
/// corrupts changes that were made to the file system meanwhile. Fast startup leaves such an image
/// at every shutdown.
///
/// `false` if the volume has no NTFS that can be read, or if the library was built without the
/// feature `ntfs`.
pub fn is_hibernated(volume: &Unlocked) -> bool {
    begins_with_an_image(volume).unwrap_or(false)
}

/// Whether `hiberfil.sys` begins with `hibr`: then it holds an image. After the image was used it
/// begins with `wake` or zeros. Windows writes these words in upper or lower case.
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
