//! libdevmapper, the library of lvm2 and cryptsetup, loaded when a mapping is made or removed: it talks to
//! the kernel, and waits for udev until the device has its name in /dev/mapper.
//!
//! The crate `devicemapper` was tried: building it needs libclang and the headers of libdevmapper, its
//! licence (MPL-2.0) is not among those that the program may contain, and it brings `env_logger` into a
//! library. Requests to the kernel without libdevmapper are not enough where udev names the devices.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use libloading::Library;

/// The names of the library: that of Debian, and that of most others.
const FILES: [&str; 2] = ["libdevmapper.so.1.02.1", "libdevmapper.so.1.02"];

// `libdevmapper.h`: the kinds of task.
const CREATE: c_int = 0;
const RELOAD: c_int = 1;
const REMOVE: c_int = 2;
const RESUME: c_int = 5;
const INFO: c_int = 6;

// `DM_UDEV_DISABLE_…_RULES_FLAG`: udev looks at the content of the device, and links to it by that.
const NO_SUBSYSTEM_RULES: u16 = 2;
const NO_DISK_RULES: u16 = 4;
const NO_OTHER_RULES: u16 = 8;

type Raw = *mut c_void;

/// A function for messages of the library: level, file, line, class or error number, format, and what the format needs.
type Log = extern "C" fn(c_int, *const c_char, c_int, c_int, *const c_char);

/// Drops a message. The library prints them to standard error otherwise, also those about what fve tries again
/// or reports itself.
extern "C" fn be_silent(_: c_int, _: *const c_char, _: c_int, _: c_int, _: *const c_char) {}

/// The functions that are used, as `libdevmapper.h` declares them. Those that return a number return 0 if
/// they fail.
struct Functions {
    dm_task_create: unsafe extern "C" fn(c_int) -> Raw,
    dm_task_destroy: unsafe extern "C" fn(Raw),
    dm_task_set_name: unsafe extern "C" fn(Raw, *const c_char) -> c_int,
    dm_task_set_uuid: unsafe extern "C" fn(Raw, *const c_char) -> c_int,
    dm_task_set_ro: unsafe extern "C" fn(Raw) -> c_int,
    dm_task_add_target: unsafe extern "C" fn(Raw, u64, u64, *const c_char, *const c_char) -> c_int,
    dm_task_set_cookie: unsafe extern "C" fn(Raw, *mut u32, u16) -> c_int,
    dm_task_run: unsafe extern "C" fn(Raw) -> c_int,
    dm_task_get_errno: unsafe extern "C" fn(Raw) -> c_int,
    dm_task_get_info: unsafe extern "C" fn(Raw, *mut Info) -> c_int,
    dm_task_get_uuid: unsafe extern "C" fn(Raw) -> *const c_char,
    dm_udev_wait: unsafe extern "C" fn(u32) -> c_int,
    dm_log_with_errno_init: unsafe extern "C" fn(Log),
}

/// `struct dm_info`. A newer library may have more fields at its end than these, so there is room.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct Info {
    exists: c_int,
    suspended: c_int,
    live_table: c_int,
    inactive_table: c_int,
    open_count: i32,
    event_number: u32,
    major: u32,
    minor: u32,
    read_only: c_int,
    target_count: i32,
    room: [u64; 16],
}

/// What is known of a device.
pub(super) struct Known {
    pub(super) uuid: String,
}

/// Why a task failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The library cannot be loaded.
    NoLibrary(String),
    /// The system's reason.
    System(io::Error),
}

static LOADED: OnceLock<Result<Functions, String>> = OnceLock::new();

fn functions() -> Result<&'static Functions, Failed> {
    let loaded = LOADED.get_or_init(|| load().map_err(|error| error.to_string()));
    loaded
        .as_ref()
        .map_err(|why| Failed::NoLibrary(format!("libdevmapper cannot be loaded: {why}")))
}

fn load() -> Result<Functions, libloading::Error> {
    let [usual, other] = FILES;
    // SAFETY: the library has no constructors that depend on the state of this program.
    let open = |file| unsafe { Library::new(file) };
    let library = open(usual).or_else(|error| open(other).map_err(|_| error))?;
    macro_rules! table {
        ($($name:ident),* $(,)?) => {
            Functions {
                $(
                    // SAFETY: the type of the field is that of the declaration in `libdevmapper.h`.
                    $name: *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }?,
                )*
            }
        };
    }
    let functions = table!(
        dm_task_create,
        dm_task_destroy,
        dm_task_set_name,
        dm_task_set_uuid,
        dm_task_set_ro,
        dm_task_add_target,
        dm_task_set_cookie,
        dm_task_run,
        dm_task_get_errno,
        dm_task_get_info,
        dm_task_get_uuid,
        dm_udev_wait,
        dm_log_with_errno_init,
    );
    // SAFETY: the library calls the function with these arguments and variable ones after them. It does not
    // use those, and the caller of a function removes its arguments in the calling conventions of C on Linux.
    unsafe { (functions.dm_log_with_errno_init)(be_silent) };
    // The functions are used until the program ends.
    std::mem::forget(library);
    Ok(functions)
}

/// Held during a task: the library is not made for several threads at once.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A task of the library: one request to the kernel.
struct Task {
    functions: &'static Functions,
    raw: Raw,
    _alone: MutexGuard<'static, ()>,
}

impl Task {
    fn new(kind: c_int, name: &str) -> Result<Self, Failed> {
        let functions = functions()?;
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the function takes a number.
        let raw = unsafe { (functions.dm_task_create)(kind) };
        if raw.is_null() {
            return Err(Failed::System(io::Error::last_os_error()));
        }
        let task = Self {
            functions,
            raw,
            _alone: alone,
        };
        let name = text(name)?;
        // SAFETY: the task exists, and the library copies the text.
        let named = unsafe { (functions.dm_task_set_name)(task.raw, name.as_ptr()) };
        task.check(named)?;
        Ok(task)
    }

    /// The failure of the task if `returned` is 0.
    fn check(&self, returned: c_int) -> Result<(), Failed> {
        if returned != 0 {
            return Ok(());
        }
        // SAFETY: the task exists.
        let code = unsafe { (self.functions.dm_task_get_errno)(self.raw) };
        Err(Failed::System(match code {
            0 => io::ErrorKind::InvalidInput.into(),
            code => io::Error::from_raw_os_error(code),
        }))
    }

    fn run(&self) -> Result<(), Failed> {
        // SAFETY: the task exists.
        self.check(unsafe { (self.functions.dm_task_run)(self.raw) })
    }

    /// Runs the task, and waits until udev has named or forgotten the device.
    fn run_with_udev(&self, flags: u16) -> Result<(), Failed> {
        let mut cookie = 0;
        // SAFETY: the task exists, and so does the number, in which the library returns a cookie.
        self.check(unsafe { (self.functions.dm_task_set_cookie)(self.raw, &mut cookie, flags) })?;
        let done = self.run();
        // SAFETY: the cookie is that of the library. It is waited for after a failure, too: that frees it.
        let waited = unsafe { (self.functions.dm_udev_wait)(cookie) };
        if waited == 0 {
            tracing::warn!("waiting for udev failed; the device may get or lose its name later");
        }
        done
    }

    fn set_read_only(&self) -> Result<(), Failed> {
        // SAFETY: the task exists.
        self.check(unsafe { (self.functions.dm_task_set_ro)(self.raw) })
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // SAFETY: the task exists, and is not used afterwards.
        unsafe { (self.functions.dm_task_destroy)(self.raw) };
    }
}

fn text(text: &str) -> Result<CString, Failed> {
    CString::new(text).map_err(|_| Failed::System(io::ErrorKind::InvalidInput.into()))
}

/// A target of a new device: its first sector, how many sectors it has, its kind and parameters.
pub(super) type Target<'a> = (u64, u64, &'a str, String);

/// What a device is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ReadOnly,
    Writable,
    /// A writable device below another one, which other programs need not look at.
    Internal,
}

/// Makes a device. Each step is a task of its own: the library can do them all in one, but then it does not say
/// why the kernel refused the table.
pub(super) fn create(
    name: &str,
    uuid: &str,
    kind: Kind,
    targets: &[Target<'_>],
) -> Result<(), Failed> {
    create_empty(name, uuid)?;
    let done = load_table(name, kind, targets).and_then(|()| resume(name, kind));
    if done.is_err()
        && let Err(error) = remove(name)
    {
        tracing::warn!("a device {name} without content is left: {error:?}");
    }
    done
}

fn create_empty(name: &str, uuid: &str) -> Result<(), Failed> {
    let task = Task::new(CREATE, name)?;
    let uuid = text(uuid)?;
    // SAFETY: the task exists, and the library copies the text.
    task.check(unsafe { (task.functions.dm_task_set_uuid)(task.raw, uuid.as_ptr()) })?;
    task.run()
}

fn load_table(name: &str, kind: Kind, targets: &[Target<'_>]) -> Result<(), Failed> {
    let task = Task::new(RELOAD, name)?;
    let (functions, raw) = (task.functions, task.raw);
    if kind == Kind::ReadOnly {
        task.set_read_only()?;
    }
    for (start, len, target, parameters) in targets {
        let (target, parameters) = (text(target)?, text(parameters)?);
        let (target, parameters) = (target.as_ptr(), parameters.as_ptr());
        // SAFETY: the task exists, and the library copies both texts.
        task.check(unsafe {
            (functions.dm_task_add_target)(raw, *start, *len, target, parameters)
        })?;
    }
    task.run()
}

/// Starts the device, which gets its name then.
fn resume(name: &str, kind: Kind) -> Result<(), Failed> {
    let task = Task::new(RESUME, name)?;
    if kind == Kind::ReadOnly {
        task.set_read_only()?;
    }
    task.run_with_udev(match kind {
        Kind::Internal => NO_SUBSYSTEM_RULES | NO_DISK_RULES | NO_OTHER_RULES,
        Kind::ReadOnly | Kind::Writable => 0,
    })
}

/// How often removing a device that is in use is tried again, and how long after the last time.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Removes a device. It is tried again for two seconds while something has it open: udev looks at a device for a moment
/// when another program has closed it.
pub(super) fn remove(name: &str) -> Result<(), Failed> {
    let mut tries = 0;
    loop {
        let done = Task::new(REMOVE, name)?.run_with_udev(0);
        tries += 1;
        match done {
            Err(Failed::System(error))
                if error.kind() == io::ErrorKind::ResourceBusy && tries < TRIES => {}
            done => return done,
        }
        std::thread::sleep(PAUSE);
    }
}

/// What is known of a device; `None` if there is none with this name.
pub(super) fn known(name: &str) -> Result<Option<Known>, Failed> {
    let task = Task::new(INFO, name)?;
    task.run()?;
    let mut info = Info::default();
    // SAFETY: the task was run, and `info` has room for everything that the library writes.
    task.check(unsafe { (task.functions.dm_task_get_info)(task.raw, &mut info) })?;
    if info.exists == 0 {
        return Ok(None);
    }
    // SAFETY: the task was run.
    let uuid = unsafe { (task.functions.dm_task_get_uuid)(task.raw) };
    let uuid = match uuid.is_null() {
        true => String::new(),
        // SAFETY: it is a text that belongs to the task.
        false => unsafe { CStr::from_ptr(uuid) }
            .to_string_lossy()
            .into_owned(),
    };
    Ok(Some(Known { uuid }))
}
