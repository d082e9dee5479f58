//! Serving a mount: in the foreground, or in a child process that detaches from the terminal.

use std::io::{self, IsTerminal, Read, Write};
use std::process::Stdio;
use std::sync::mpsc::channel;

use fve::error::Error;
use fve::privileges::give_up_capabilities;
use fve::serve::fuse::{Mount, MountOptions, Stopper};
use signal_hook::iterator::Signals;

use super::MountArgs;
use super::apart::Mounter;
use crate::cli::commands::unmount::Unmounter;
use crate::cli::failure::Failure;
use crate::cli::invocation;
use crate::cli::output::{keyboard, term};
use crate::cli::signals;

/// What the child writes when the mount is ready.
const READY: &[u8] = b"ready\n";

/// Mounts with `start`, and serves until the directory is unmounted. On a terminal, the user is told
/// `what` is shown. `start` gets `options`, in which the connection to the kernel is set if another process
/// mounts.
pub(super) fn serve(
    args: &MountArgs,
    options: MountOptions,
    start: impl FnOnce(&MountOptions) -> Result<Mount, Failure>,
    what: impl FnOnce() -> String,
) -> Result<(), Failure> {
    serve_with(args, options, start, what, || Ok(()))
}

/// The same; the mount is ready when `then` has returned, which runs with all capabilities while requests
/// are answered. If it fails, it must unmount what was mounted.
pub(super) fn serve_with(
    args: &MountArgs,
    mut options: MountOptions,
    start: impl FnOnce(&MountOptions) -> Result<Mount, Failure>,
    what: impl FnOnce() -> String,
    then: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    keyboard::leave_to_others(&signals::ending());
    let mut mounter = None;
    if let Some(socket) = &args.mounted_by {
        // Nothing is mounted yet: a signal may end the process.
        let (waited, device) = Mounter::wait(socket, options.source_name())?;
        options = options.device(device);
        mounter = Some(waited);
    }
    // From here on, a signal must not end the process without unmounting.
    let mut signals = Signals::new(signals::ending())
        .map_err(|error| Error::io("cannot watch for signals", error))?;
    let mount = start(&options)?;
    // It would keep the connection to the kernel open after the server has ended.
    drop(options);
    let stopper = mount.stopper();
    let waited = mounter.as_ref().map(Mounter::try_clone).transpose()?;
    let unmounter = match &mounter {
        None => Unmounter::start(mount.directory(), args.foreground),
        Some(mounter) => mounter.unmounter(),
    };
    let unmounter =
        unmounter.map_err(|error| Error::io("cannot start the process that unmounts", error))?;
    let no_thread = |error| Error::io("cannot start a thread", error);
    let what = io::stderr().is_terminal().then(what);
    let in_background = args.background_child;
    // In the background, the process that the user started prints it.
    let document = args.document().filter(|_| !in_background);
    let auto_unmount = args.auto_unmount;
    let (serving, is_serving) = channel();
    let told = unmounter.clone();
    // Each thread has its own capabilities.
    let starter = std::thread::Builder::new()
        .spawn(move || {
            // The other thread has ended without serving.
            if is_serving.recv().is_err() {
                return Ok(());
            }
            then()?;
            mounter.map_or(Ok(()), |mounter| mounter.serves())?;
            if auto_unmount {
                told.unmount_after_death();
            }
            told.files_are_shown();
            if let Some(what) = what {
                term::note(what);
            }
            announce(in_background)?;
            document.map_or(Ok(()), |text| term::print(&text))
        })
        .map_err(no_thread)?;
    // The server parses what is on the disk, which may be hostile.
    give_up_capabilities().map_err(|error| Error::io("cannot give up capabilities", error))?;
    let watching = signals.handle();
    let stopping = unmounter.clone();
    let watcher = std::thread::Builder::new()
        .spawn(move || watch(&mut signals, &stopper, &stopping))
        .map_err(no_thread)?;
    // Requests that arrive before `serve` wait in the kernel, so the mount can be used now.
    let _ = serving.send(());
    let served = mount.serve();
    unmounter.has_served();
    // The mounter may have failed, and what it mounted may be unmounted already.
    if let Some(waited) = waited.filter(|_| !starter.is_finished()) {
        waited.give_up();
    }
    let started = starter.join();
    watching.close();
    let _ = watcher.join();
    unmounter.end();
    match started {
        Ok(started) => started?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    Ok(served?)
}

/// Has the directory unmounted when a signal arrives.
fn watch(signals: &mut Signals, stopper: &Stopper, unmounter: &Unmounter) {
    for _ in signals.forever() {
        // The process that unmounts could take a later mount of the same volume for this one.
        if stopper.has_ended() {
            continue;
        }
        // Without a service manager, this does nothing.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        if let Err(error) = unmounter.stop_when_free() {
            term::say(format_args!(
                "still mounted, because the process that unmounts has ended ({error}); use 'fve unmount'"
            ));
        }
    }
}

/// Notifies the parent process or systemd that the mount is ready.
fn announce(in_background: bool) -> Result<(), Failure> {
    if in_background {
        return leave_terminal()
            .map_err(|error| Error::io("cannot go to the background", error).into());
    }
    // Without a service manager, this does nothing.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    Ok(())
}

fn leave_terminal() -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(READY)?;
    out.flush()?;
    // In a new session, closing the terminal does not end the mount.
    let _ = rustix::process::setsid();
    let nowhere = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    // The file system of the current directory must remain unmountable.
    std::env::set_current_dir("/")
}

/// Starts this command again as the server, and waits until the mount is ready.
pub(super) fn start_in_background(args: &MountArgs) -> Result<(), Failure> {
    let fail = |error| Error::io("cannot start the server of the mount", error);
    let mut child = invocation::program()
        .map_err(fail)?
        .args(invocation::arguments())
        .arg("--background-child")
        .stdout(Stdio::piped())
        .spawn()
        .map_err(fail)?;
    let mut said = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        // The child closes the pipe when it goes to the background or ends.
        pipe.read_to_end(&mut said).map_err(fail)?;
    }
    if said == READY {
        return args.announce();
    }
    if args.json {
        // The document of the failure.
        term::print(&String::from_utf8_lossy(&said))?;
    }
    let ended = child.wait().map_err(fail)?;
    Err(Failure::Silent(term::status_of_failed(
        ended,
        "the server of the mount",
    )))
}
