//! Other programs that have a file or device open for writing, as far as the system lets them be
//! seen: an ordinary user sees his own.

use std::fs::read_dir;
use std::path::Path;

use super::storage::{Node, NodeRange, System, share_bytes};
use crate::shown::ShowPath;

/// A program that may write to a file or device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Writer {
    /// Its process.
    pub process: u32,
    /// Its name; any bytes that a program likes.
    pub name: String,
}

impl Writer {
    /// The process of that number.
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
    /// A program other than this one that has open for writing what shares bytes with `target`,
    /// which is a range with all that it lies on.
    pub(super) fn writer_of(&self, target: &[NodeRange]) -> Option<Writer> {
        // Files beside it on the same device are others' own.
        let own: Vec<_> = target.iter().filter(|part| part.exact).cloned().collect();
        let changes_own = |node: Node| match node {
            Node::File { .. } => own.iter().any(|part| part.node == node),
            Node::Device { .. } => share_bytes(&own, &self.with_backing(NodeRange::whole(node))),
        };
        read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let process: u32 = entry.file_name().to_str()?.parse().ok()?;
            let other = process != std::process::id();
            (other && writes(&entry.path(), &changes_own)).then(|| Writer::of_process(process))
        })
    }
}

/// Whether a process has such a file or device open for writing.
fn writes(process: &Path, wanted: &dyn Fn(Node) -> bool) -> bool {
    // Those of other users cannot be listed.
    let files = read_dir(process.join("fd")).into_iter().flatten().flatten();
    files.into_iter().any(|file| {
        super::storage::node_of(&file.path()).is_some_and(wanted)
            && is_for_writing(&process.join("fdinfo").join(file.file_name()))
    })
}

/// The files that this process has open for reading alone: sources, with all parts of an image that
/// has several.
pub(super) fn read_by_this_process() -> Vec<Node> {
    /// Standard input, output and errors are not what the source is read from.
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

/// proc_pid_fdinfo(5): the flags of open(2) in octal digits; the lowest two bits are how it may be
/// accessed.
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
    fn who_has_a_file_open_for_writing_is_named_and_who_reads_it_is_not() {
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
