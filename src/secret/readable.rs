//! Checks who can read a file with a secret.

use std::path::Path;

/// The permission bit that lets users read a file who neither own it nor are in its group.
#[cfg(unix)]
const READ_BY_OTHERS: u32 = 0o004;

/// Whether the permissions of a file let every user of this computer read it. `false` for pipes and
/// terminals, which have no other readers.
///
/// Always `false` on Windows, whose access control lists are not read.
pub fn others_can_read(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        path.metadata()
            .is_ok_and(|meta| meta.is_file() && meta.mode() & READ_BY_OTHERS != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}
