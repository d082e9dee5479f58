//! Loop devices: block devices whose content is a file. Drivers of the kernel need one to mount the
//! file system in a volume.
//!
//! rustix has no functions for them. losetup(8) cannot set the flag with which the kernel detaches the
//! device when it is closed for the last time ("autoclear"), and that of BusyBox cannot say which file a
//! device has. So these are the requests of ioctl(2) from loop(4) and `linux/loop.h`, and this file
//! may use `unsafe`.
//!
//! | offset in `loop_info64` | field |
//! |---|---|
//! | 0, 8 | device and inode number of the file |
//! | 24, 32 | offset in the file and size limit in bytes, 0 for none |
//! | 52 | flags |
//! | 56 | name of the file, 64 bytes |

#![allow(unsafe_code)]

use std::ffi::{OsString, c_void};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};
use rustix::io::Errno;
use rustix::ioctl::{Getter, Ioctl, IoctlOutput, Opcode, Setter, ioctl};

const CONTROL: &str = "/dev/loop-control";
/// Major device number of loop devices.
pub(crate) const MAJOR: u32 = 7;

const LOOP_CTL_GET_FREE: Opcode = 0x4C82;
const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_GET_STATUS64: Opcode = 0x4C05;
const BLKROSET: Opcode = 0x125D;

const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;

/// How often another device is tried while other programs take the free ones.
const TRIES: usize = 100;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Config {
    file: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Info>() == 232 && size_of::<Config>() == 304);

/// The request for the number of a free device, which is the result of the call itself.
struct GetFree;

// SAFETY: the request takes no argument, and the kernel writes to no memory.
unsafe impl Ioctl for GetFree {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(number: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(number)
    }
}

/// A loop device that was attached to a file. The kernel detaches it when it is closed for the last time:
/// when this is dropped, and no file system is mounted from it.
#[derive(Debug)]
pub(crate) struct LoopDevice {
    path: PathBuf,
    _open: File,
}

impl LoopDevice {
    /// Attaches a free device to a file. The device bypasses the page cache of the file: what is read
    /// through it is cached once, by the file system on it.
    pub(crate) fn attach(file: &File, read_only: bool) -> io::Result<Self> {
        let control = OpenOptions::new().read(true).write(true).open(CONTROL)?;
        for _ in 0..TRIES {
            // SAFETY: `GetFree` is the request that the file takes, see there.
            let number = unsafe { ioctl(&control, GetFree) }?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let open = OpenOptions::new().read(true).write(true).open(&path)?;
            match configure(&open, file, read_only) {
                Ok(()) => return Ok(Self { path, _open: open }),
                // Another program was faster.
                Err(Errno::BUSY) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::BUSY.into())
    }

    /// The path of the device.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn configure(device: &File, file: &File, read_only: bool) -> rustix::io::Result<()> {
    let access = if read_only { READ_ONLY } else { 0 };
    match configure_with(device, file, access | AUTOCLEAR | DIRECT_IO) {
        // Kernels before 6.14 leave out direct I/O by themselves where it is not possible.
        Err(Errno::INVAL) => configure_with(device, file, access | AUTOCLEAR)?,
        other => other?,
    }
    if !read_only {
        // The write protection by an earlier user of the device is still in effect.
        // SAFETY: the request takes a pointer to an `int`: 0 for a device that can be written to.
        unsafe { ioctl(device, Setter::<BLKROSET, i32>::new(0)) }?;
    }
    Ok(())
}

fn configure_with(device: &File, file: &File, flags: u32) -> rustix::io::Result<()> {
    let config = Config {
        file: u32::try_from(file.as_raw_fd()).map_err(|_| Errno::BADF)?,
        block_size: 512,
        info: Info {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: the request takes a pointer to a `loop_config`, which `Config` is.
    unsafe { ioctl(device, Setter::<LOOP_CONFIGURE, Config>::new(config)) }
}

/// The device number of the file system that the file of a loop device is on. `None` if the device has no
/// file, or the file system does not answer.
pub(crate) fn file_system_of(device: &Path) -> Option<(u32, u32)> {
    let device = File::open(device).ok()?;
    // SAFETY: the request writes a `loop_info64`, which `Info` is.
    let info = unsafe { ioctl(&device, Getter::<LOOP_GET_STATUS64, Info>::new()) }.ok()?;
    Some((major(info.device), minor(info.device)))
}

/// The path of the file of the loop device with this device number.
pub(crate) fn file_of(device: (u32, u32)) -> Option<PathBuf> {
    backing_file(&about(device))
}

/// The path of the loop device with this device number.
pub(crate) fn path_of(device: (u32, u32)) -> Option<PathBuf> {
    let about = std::fs::read_link(about(device)).ok()?;
    Some(Path::new("/dev").join(about.file_name()?))
}

fn about((major, minor): (u32, u32)) -> PathBuf {
    Path::new("/sys/dev/block").join(format!("{major}:{minor}"))
}

/// The path of the file of a loop device, from its directory in /sys.
fn backing_file(device: &Path) -> Option<PathBuf> {
    let mut path = std::fs::read(device.join("loop/backing_file")).ok()?;
    if path.last() == Some(&b'\n') {
        path.pop();
    }
    Some(PathBuf::from(OsString::from_vec(path)))
}
