//! A running `fve serve nbd`, and running other programs on it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::common;
use crate::common::documented::assert_documented;
use crate::common::fve;
use crate::common::output::{run, text};
use crate::common::trials::{Missing, programs};

/// Clients of libnbd.
pub fn libnbd() -> Option<Missing> {
    programs(&["nbdinfo", "nbdcopy"])
}

/// The Python that the distribution's module of libnbd belongs to, and its shell.
const PYTHON: &str = "/usr/bin/python3";

/// The Python shell of libnbd.
pub fn nbdsh() -> Option<Missing> {
    let imported = Command::new(PYTHON).args(["-c", "import nbd"]).output();
    let there = imported.is_ok_and(|output| output.status.success());
    (!there).then(|| Missing::Tool("the Python module of libnbd is not installed".to_owned()))
}

/// What the lines of Python can use.
const PRELUDE: &str = "
import os, nbd, errno
def refused(number, call):
    try:
        call()
    except nbd.Error as error:
        assert error.errnum == number, error
    else:
        raise AssertionError('not refused')
";

/// Runs lines of Python. With a URI, `h` is a connection to that server.
pub fn run_nbdsh(uri: Option<&str>, lines: &str) {
    let mut command = Command::new(PYTHON);
    command.args(["-m", "nbd", "-c", PRELUDE]);
    if let Some(uri) = uri {
        command.args(["-u", uri]);
    }
    run(command.args(["-c", lines]));
}

pub fn qemu() -> Option<Missing> {
    programs(&["qemu-img", "qemu-io", "qemu-nbd"])
}

/// A server in a process of its own, with a socket in a temporary directory.
pub struct Server {
    child: Child,
    pub document: Value,
    directory: tempfile::TempDir,
}

impl Server {
    /// Serves a volume. `arguments` follow those for source and socket.
    pub fn start(source: impl AsRef<Path>, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let socket = directory.path().join("a socket");
        let mut command = fve();
        command.args(["serve", "nbd"]).arg(source.as_ref());
        command.arg("--socket").arg(socket).args(arguments);
        Self::run(command, directory)
    }

    /// Runs the command of a server, until clients can connect.
    pub fn run(mut command: Command, directory: tempfile::TempDir) -> Self {
        command.args(["--json", "-q"]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("server");
        let mut output = BufReader::new(child.stdout.take().expect("output"));
        let mut said = String::new();
        // The document ends with a brace that is not indented.
        while !said.ends_with("\n}\n") {
            if output.read_line(&mut said).expect("output") == 0 {
                panic!("the server has ended: {:?} {said}", child.wait());
            }
        }
        let document = serde_json::from_str(&said).expect("JSON");
        assert_documented("serve-nbd", &document);
        Self {
            child,
            document,
            directory,
        }
    }

    pub fn uri(&self) -> String {
        self.document["uris"][0].as_str().expect("URI").to_owned()
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("a socket")
    }

    pub fn signal(&self, signal: Signal) {
        common::send(signal, self.child.id());
    }

    /// Ends the server as a user does, and waits for it.
    pub fn stop(mut self) -> ExitStatus {
        self.stop_in_place()
    }

    /// The same, and keeps the directory of its socket until the value is dropped.
    pub fn stop_in_place(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().expect("end")
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn nbdinfo(&self, arguments: &[&str]) -> Value {
        let said = run(Command::new("nbdinfo").args(arguments).arg(self.uri()));
        serde_json::from_slice(&said).expect("JSON")
    }

    /// Copies the volume with nbdcopy.
    pub fn nbdcopy(&self) -> Vec<u8> {
        let out = self.directory.path().join("copy");
        run(Command::new("nbdcopy").arg(self.uri()).arg(&out));
        std::fs::read(out).expect("copy")
    }

    /// Runs lines of Python, in which `h` is a connection to the server.
    pub fn nbdsh(&self, lines: &str) {
        run_nbdsh(Some(&self.uri()), lines);
    }

    pub fn qemu_io(&self, commands: &[&str]) -> String {
        let mut command = Command::new("qemu-io");
        command.args(["-f", "raw"]);
        for line in commands {
            command.args(["-c", line]);
        }
        let output = command.arg(self.uri()).output().expect("qemu-io");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("verification failed"), "{said}");
        said
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a process that has ended has written.
pub fn rest_of(child: &mut Child) -> String {
    let mut said = String::new();
    if let Some(mut output) = child.stderr.take() {
        let _ = output.read_to_string(&mut said);
    }
    said
}
