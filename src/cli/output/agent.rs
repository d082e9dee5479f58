//! Questions without a terminal, through systemd-ask-password(1): the boot screen, a desktop or another
//! terminal runs an agent that shows the question. The program is not asked to keep the answer in a keyring.

use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};

use fve::secret::SecretText;
use zeroize::Zeroizing;

use crate::cli::exit::Status;
use crate::cli::failure::Failure;

const PROGRAM: &str = "systemd-ask-password";

/// How long the agents may take for an answer, in seconds; this is also the program's default.
const SECONDS: u32 = 90;

/// Most bytes of an answer. Windows accepts passwords of 256 characters.
const MAX_LEN: usize = 4096;

/// Asks for a secret. `question` is one line.
///
/// # Errors
/// The program cannot be started, or no answer comes.
pub(crate) fn ask(question: &str) -> Result<SecretText, Failure> {
    let cannot = |error: io::Error| {
        failed(
            Status::Io,
            format!(
                "cannot ask through {PROGRAM}: {}",
                fve::shown::without_error_numbers(&error.to_string())
            ),
        )
    };
    let mut child = Command::new(PROGRAM)
        .args(["--no-tty", "--id=fve", "--icon=drive-harddisk"])
        .arg(format!("--timeout={SECONDS}"))
        .arg("--")
        .arg(question.trim_end())
        .env_clear()
        .envs(
            ["PATH", "XDG_RUNTIME_DIR"]
                .into_iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot)?;
    // Reserved at once: a vector that grows leaves copies of its content in memory.
    let mut answer = Zeroizing::new(Vec::with_capacity(MAX_LEN + 2));
    let read = match child.stdout.take() {
        Some(pipe) => pipe.take(MAX_LEN as u64 + 1).read_to_end(&mut answer),
        None => Ok(0),
    };
    let ended = child.wait().map_err(cannot)?;
    read.map_err(cannot)?;
    if !ended.success() {
        return Err(unanswered(ended));
    }
    let line = answer.strip_suffix(b"\n").unwrap_or(&answer);
    match std::str::from_utf8(line) {
        Ok(text) if line.len() < MAX_LEN => Ok(SecretText::new(text.to_owned())),
        _ => Err(failed(
            Status::Refused,
            format!("the answer of {PROGRAM} is too long, or not text in UTF-8"),
        )),
    }
}

fn unanswered(ended: ExitStatus) -> Failure {
    failed(
        Status::Refused,
        format!(
            "{PROGRAM} returned no answer ({ended}): the question was canceled, no agent answered within {SECONDS} seconds, or this user may not ask"
        ),
    )
}

fn failed(status: Status, what: String) -> Failure {
    Failure::Other {
        status,
        what,
        help: Some("give the secret in a file, as with '--password-file FILE'".to_owned()),
    }
}
