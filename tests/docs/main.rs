//! Runs the command blocks of README.md and docs/ as they are printed, in an overlay of this system.
//! `run` does the work, and can also run them in another root directory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};
use std::sync::OnceLock;

use common::harness::{self, Missing, Trial, trial, trials};
use common::trials::{fuse, loop_devices, programs};

fn main() -> ExitCode {
    common::let_children_receive_hup();
    harness::main()
}

/// Runs the runner with these arguments. The expected output in the pages is updated with
/// `FVE_WRITE_TABLE=1`.
fn runner(arguments: &[&str]) -> Output {
    let mut command = Command::new("tests/docs/run");
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["--fve", env!("CARGO_BIN_EXE_fve")]);
    if std::env::var_os("FVE_WRITE_TABLE").is_some() {
        command.arg("--write");
    }
    command.args(arguments).output().expect("tests/docs/run")
}

#[track_caller]
fn assert_success(output: &Output) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("not run here"), "{text}");
}

#[trial(
    "every block is run or marked, and every link leads somewhere",
    needs(python)
)]
fn markers() {
    assert_success(&runner(&["--check"]));
}

/// A page with this text fails, and the output says why.
#[track_caller]
fn assert_fails(text: &str, why: &str) {
    let directory = harness::directory();
    std::fs::create_dir(directory.join("docs")).expect("docs");
    std::fs::write(directory.join("README.md"), text).expect("README.md");
    let pages = directory.to_str().expect("UTF-8");
    let output = runner(&["--base", base(), "--pages", pages, "/"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{text}: {printed}");
    assert!(printed.contains(why), "{text}: {printed}");
}

#[trial("a wrong block, marker or link is noticed", needs(namespaces))]
fn faults() {
    let cases = [
        (
            "```sh\nfve info /etc/passwd\ntrue\n```\n",
            "ends with status 3, not 0",
        ),
        (
            "```console\n$ fve --version\nfve 0.0.0\n```\n",
            "instead of\nfve 0.0.0",
        ),
        (
            "<!-- exit status: 2 -->\n```sh\nfalse\n```\n",
            "ends with status 1, not 2",
        ),
        (
            "```text\n/dev/sda3 /mnt fve ro\n```\n",
            "neither run nor marked",
        ),
        (
            "<!-- not run:  -->\n```sh\ntrue\n```\n",
            "no reason is given",
        ),
        (
            "<!-- never: x -->\n```sh\ntrue\n```\n",
            "unknown marker 'never'",
        ),
        ("[a](missing.md)\n", "missing.md does not exist"),
        ("[a](README.md#nowhere)\n", "there is no such heading"),
    ];
    for (text, why) in cases {
        assert_fails(text, why);
    }
}

#[trials]
fn blocks() -> Vec<Trial> {
    let missing = namespaces();
    if python().is_some() {
        return vec![trial("blocks of the pages", missing, || ())];
    }
    let list = runner(&["--list"]);
    assert!(list.status.success(), "{list:?}");
    let list = String::from_utf8(list.stdout).expect("UTF-8");
    let page = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let page = words.next()?;
        let needed: BTreeSet<_> = words.collect();
        let missing = missing.clone().or_else(|| needed.iter().find_map(absent));
        Some(trial(page.clone(), missing, move || {
            assert_success(&runner(&["--base", base(), "/", &page]));
        }))
    };
    list.lines().filter_map(page).collect()
}

/// The directory with the disks that all pages use. The first test that needs them makes them.
fn base() -> &'static str {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    let path = BASE.get_or_init(|| {
        let directory = harness::directory();
        let path = directory.to_str().expect("UTF-8");
        assert_success(&runner(&["--base", path, "/", "base"]));
        directory
    });
    path.to_str().expect("UTF-8")
}

/// A program or library that blocks need.
fn absent(name: &String) -> Option<Missing> {
    if !name.starts_with("lib") {
        return programs(&[name]);
    }
    let directories = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten();
    let found = directories
        .map(|directory| directory.path())
        .any(|directory| directory.join(name).exists());
    (!found).then(|| Missing::Tool(format!("{name} is not installed")))
}

fn python() -> Option<Missing> {
    programs(&["python3"])
}

/// What the runner needs: root, FUSE, loop devices, namespaces, and what the preparations use.
fn namespaces() -> Option<Missing> {
    let tools = [
        "python3",
        "unshare",
        "nsenter",
        "ip",
        "sfdisk",
        "mkntfs",
        "ntfs-3g",
        "qemu-img",
        "ewfacquire",
        "openssl",
        "swtpm",
        "tpm2_createprimary",
    ];
    let missing = fuse().or_else(loop_devices).or_else(|| programs(&tools));
    missing.or_else(|| {
        let overlay = "mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w /mnt/m && \
            mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w none /mnt/m";
        let tried = Command::new("unshare")
            .args(["--mount", "--pid", "--net", "--fork", "sh", "-c", overlay])
            .output();
        let works = tried.is_ok_and(|output| output.status.success());
        (!works).then(|| Missing::Tool("overlayfs does not work in a namespace".to_owned()))
    })
}
