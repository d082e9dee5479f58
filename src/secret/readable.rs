//! Who can read a file that holds a secret.

use std::path::Path;

/// Permission of those who neither own a file nor are of its group to read it.
#[cfg(unix)]
const READ_BY_OTHERS: u32 = 0o004;

/// Whether the permissions of a file let every user of this computer read it. Pipes, terminals and
/// file descriptors of other kinds have no readers besides the one that they are given to.
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
