//! The kernel's table of locks, /proc/locks: which process holds a lock of flock(2).

use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, fstat, major, minor};

use super::mount_table::MountEntry;

/// The process that holds a lock on the file at `path` whose access (`READ` or `WRITE`) is `wanted`.
pub(super) fn holder_of(path: &Path, wanted: impl Fn(&str) -> bool) -> Option<u32> {
    let place = place_of(path)?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|row| {
        let (access, process) = holder(row, &place)?;
        wanted(access).then_some(process)
    })
}

/// A file as /proc/locks names it: by the device number of the file system, and the number that the
/// kernel has for the inode. Those of stat(2) are others on btrfs and on overlayfs.
fn place_of(path: &Path) -> Option<String> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let meta = fstat(&file).ok()?;
    let about = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    let about = std::fs::read_to_string(about).unwrap_or_default();
    let field = |name: &str| -> Option<u64> {
        let mut lines = about.lines();
        lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    let mounted = field("mnt_id:").and_then(MountEntry::numbered);
    let (major, minor) = mounted.map_or_else(
        || (major(meta.st_dev), minor(meta.st_dev)),
        |entry| entry.device,
    );
    // Kernels before 5.14 do not report it.
    let inode = field("ino:").unwrap_or(meta.st_ino);
    Some(format!("{major:02x}:{minor:02x}:{inode}"))
}

/// Access and process of a row of /proc/locks (proc(5)) that is a lock on `place`. The columns are
/// number, kind, `ADVISORY`, access, process, device and inode, range. A process that waits for a
/// lock has an arrow after the number, and does not match.
fn holder<'a>(row: &'a str, place: &str) -> Option<(&'a str, u32)> {
    let columns: Vec<_> = row.split_whitespace().collect();
    match columns.as_slice() {
        [_, "FLOCK", _, access, process, at, ..] if *at == place => {
            Some((access, process.parse().ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_waits_for_a_lock_is_not_its_holder() {
        let held = "3: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF";
        assert_eq!(holder(held, "fe:00:1234"), Some(("WRITE", 4711)));
        assert_eq!(holder(held, "fe:00:123"), None);
        let waits = "3: -> FLOCK  ADVISORY  WRITE 4712 fe:00:1234 0 EOF";
        assert_eq!(holder(waits, "fe:00:1234"), None);
        let reads = "4: FLOCK  ADVISORY  READ  4713 fe:00:1234 0 EOF";
        assert_eq!(holder(reads, "fe:00:1234"), Some(("READ", 4713)));
    }
}
