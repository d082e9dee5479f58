//! The commands of `fve@.service`, for tests that run them without systemd.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::fve;

const UNIT: &str = include_str!("../../dist/systemd/fve@.service");

/// Longer than any step takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A volume that is served as the unit does it.
pub struct Service<'a> {
    /// Stands for the runtime directory.
    pub runtime: tempfile::TempDir,
    pub options: &'a [&'a str],
    pub source: &'a Path,
    pub directory: &'a Path,
    /// Whether the server can reach the network, where an emulated TPM is. A real one is a device.
    pub reaches_network: bool,
}

impl Service<'_> {
    /// The arguments of the first command of fve in this setting of the unit. Here, the tests are in the mount
    /// namespace of the mounter.
    fn words(&self, setting: &str) -> Vec<String> {
        let mut commands = UNIT.lines().filter_map(|line| line.strip_prefix(setting));
        let words = commands.find_map(|line| Some(line.split_once("/usr/bin/fve ")?.1));
        let words = words.expect("a command in the unit");
        let runtime = self.runtime.path().to_str().expect("path");
        let of_options = |word: &str| match word {
            "$OPTIONS" => self.options.iter().map(|word| (*word).to_owned()).collect(),
            "${SOURCE}" => vec![self.source.to_string_lossy().into_owned()],
            "${DIRECTORY}" => vec![self.directory.to_string_lossy().into_owned()],
            word => vec![word.replace("%t/fve/serve/%i", runtime)],
        };
        words.split(' ').flat_map(of_options).collect()
    }

    /// Unmounts what a killed server left.
    #[track_caller]
    pub fn prepare(&self) {
        let mut unmount = fve();
        unmount.args(self.words("ExecStartPre="));
        assert!(unmount.status().expect("fve").success());
    }

    /// Starts the server in a sandbox: without capabilities, and with namespaces of its own. Returns when it has told the service manager that it is ready. `server` may add to its
    /// environment.
    pub fn start(&self, server: impl FnOnce(&mut Command)) -> Child {
        let notices = self.runtime.path().join("notices");
        let notices_read = UnixDatagram::bind(&notices).expect("socket");
        notices_read.set_read_timeout(Some(LIMIT)).expect("timeout");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "slave"])
            .args((!self.reaches_network).then_some("--net"))
            .args(["setpriv", "--bounding-set=-all", "--inh-caps=-all"])
            .arg("--no-new-privs")
            .arg(env!("CARGO_BIN_EXE_fve"))
            .args(self.words("ExecStart="))
            .env("NOTIFY_SOCKET", &notices)
            .stdin(Stdio::null());
        server(&mut command);
        let child = command.spawn().expect("server");
        let mut notice = [0; 64];
        let len = notices_read.recv(&mut notice).expect("a notice");
        assert_eq!(notice[..len].trim_ascii(), b"READY=1");
        std::fs::remove_file(notices).expect("remove");
        child
    }

    /// Mounts for the server, outside of the sandbox. The process that stays to unmount keeps standard error.
    #[track_caller]
    pub fn mount(&self) {
        let mut mounter = self.mounter();
        assert!(mounter.status().expect("mounter").success());
    }

    /// The command that mounts for the server.
    pub fn mounter(&self) -> Command {
        let mut command = fve();
        command.args(self.words("ExecStartPost="));
        command
    }
}
