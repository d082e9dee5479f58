//! Other programs that have a file or device open for writing, as far as the system shows them: an
//! ordinary user sees only programs of the same user.

use std::fs::read_dir;
use std::path::Path;

use super::storage::{Node, NodeRange, System, share_bytes};
use crate::shown::ShowPath;

/// A program that may write to a file or device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Writer {
    /// Its process identifier.
    pub process: u32,
    /// Its name from /proc/PID/comm, which a program can set to anything.
    pub name: String,
}

impl Writer {
    /// The process with this identifier.
    pub(super) fn of_process(process: u32) -> Self {
        let name = std::fs::read_to_string(format!("/proc/{process}/comm"));
        Self {
            process,
            name: name.unwrap_or_default().trim_end().to_owned(),
        }
    }
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "process {}", self.process),
            name => write!(f, "{} (process {})", Path::new(name).shown(), self.process),
        }
    }
}

impl System {
    /// Another program that has a file or device open for writing that shares bytes with `target`:
    /// a range with its backing ([`System::with_backing`]).
    pub(super) fn writer_of(&self, target: &[NodeRange]) -> Option<Writer> {
        // A file on the same device as the target does not share bytes with it: only exact ranges
        // count.
        let own: Vec<_> = target.iter().filter(|part| part.exact).cloned().collect();
        let changes_own = |node: Node| match node {
            Node::File { .. } => own.iter().any(|part| part.node == node),
            Node::Device { .. } => share_bytes(&own, &self.with_backing(NodeRange::whole(node))),
        };
        let own_process = std::process::id();
        read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let process: u32 = entry.file_name().to_str()?.parse().ok()?;
            let other = process != own_process;
            (other && writes(&entry.path(), &changes_own)).then(|| Writer::of_process(process))
        })
    }
}

/// Whether a process has such a file or device open for writing.
fn writes(process: &Path, wanted: &dyn Fn(Node) -> bool) -> bool {
    // The open files of other users' processes cannot be listed.
    let files = read_dir(process.join("fd")).into_iter().flatten().flatten();
    files.into_iter().any(|file| {
        super::storage::node_of(&file.path()).is_some_and(wanted)
            && is_for_writing(&process.join("fdinfo").join(file.file_name()))
    })
}

/// The files that this process has open read-only: the sources, with all parts of a split image.
pub(super) fn read_by_this_process() -> Vec<Node> {
    /// First file descriptor after standard input, output and error, which are never a source.
    const STANDARD: u32 = 3;
    let process = Path::new("/proc/self");
    let files = read_dir(process.join("fd")).into_iter().flatten().flatten();
    files
        .filter(|file| {
            let number = file.file_name().to_str().and_then(|name| name.parse().ok());
            number.is_some_and(|number: u32| number >= STANDARD)
                && !is_for_writing(&process.join("fdinfo").join(file.file_name()))
        })
        .filter_map(|file| super::storage::node_of(&file.path()))
        .filter(|node| matches!(node, Node::File { .. }))
        .collect()
}

/// Whether a file descriptor may be written to. `about` is its file in /proc/PID/fdinfo: `flags:` has
/// the flags of open(2) in octal (proc_pid_fdinfo(5)), of which the lowest two bits are the access
/// mode.
fn is_for_writing(about: &Path) -> bool {
    const ACCESS: u32 = 0o3;
    const READ_ONLY: u32 = 0;
    let text = std::fs::read_to_string(about).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok())
        .is_some_and(|flags| flags & ACCESS != READ_ONLY)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::source::storage::node_of;

    /// A process that has the file open as its standard input.
    fn holder(file: std::fs::File) -> std::process::Child {
        let mut sleep = Command::new("sleep");
        sleep.arg("60").stdin(Stdio::from(file)).spawn().unwrap()
    }

    #[test]
    fn names_a_program_that_has_a_file_open_for_writing_and_not_one_that_reads_it() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let system = System::default();
        let find =
            || system.writer_of(&system.with_backing(NodeRange::whole(node_of(&path).unwrap())));
        let mut reader = holder(std::fs::File::open(&path).unwrap());
        let found = find();
        reader.kill().unwrap();
        reader.wait().unwrap();
        assert_eq!(found, None);
        let mut writer = holder(
            std::fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .unwrap(),
        );
        let found = find();
        let process = writer.id();
        writer.kill().unwrap();
        writer.wait().unwrap();
        let name = "sleep".to_owned();
        assert_eq!(found, Some(Writer { process, name }));
        assert_eq!(find(), None);
    }
}
