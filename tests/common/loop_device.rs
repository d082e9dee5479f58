//! Loop devices.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A loop device over a file. It is detached when this value is dropped.
pub struct LoopDevice(PathBuf);

impl LoopDevice {
    /// Attaches a device that can be written to.
    pub fn writable(file: &Path) -> io::Result<Self> {
        let device = Self::attach(&[], file)?;
        if !device.is_protected()? {
            return Ok(device);
        }
        // `blockdev --setro` by an earlier user of the device stays in effect after a detach.
        device.detach()?;
        let device = Self::attach(&[], file)?;
        match device.is_protected()? {
            false => Ok(device),
            true => Err(io::Error::other("the loop device is write-protected")),
        }
    }

    /// Attaches a read-only device.
    pub fn read_only(file: &Path) -> io::Result<Self> {
        Self::attach(&["--read-only"], file)
    }

    /// Makes a device for a partition, as the kernel does where it can read partition tables. It ends
    /// with this one.
    pub fn add_partition(&self, number: u32, start: u64, sectors: u64) -> io::Result<PathBuf> {
        let mut addpart = Command::new("addpart");
        addpart.arg(&self.0);
        run(addpart.args([u64::from(number), start, sectors].map(|n| n.to_string())))?;
        Ok(format!("{}p{number}", self.0.display()).into())
    }

    /// Write-protects the device until it is detached.
    pub fn protect(&self) -> io::Result<()> {
        run(Command::new("blockdev").arg("--setro").arg(&self.0)).map(drop)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    fn attach(options: &[&str], file: &Path) -> io::Result<Self> {
        let mut losetup = Command::new("losetup");
        let stdout = run(losetup.args(options).args(["--find", "--show"]).arg(file))?;
        Ok(Self(stdout.trim().into()))
    }

    fn is_protected(&self) -> io::Result<bool> {
        let stdout = run(Command::new("blockdev").arg("--getro").arg(&self.0))?;
        Ok(stdout.trim() != "0")
    }

    /// Detaches the device now, and returns whether that worked.
    pub fn detach(self) -> io::Result<()> {
        let result = detach(&self.0);
        std::mem::forget(self);
        result
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = detach(&self.0);
    }
}

fn detach(device: &Path) -> io::Result<()> {
    for number in partitions_of(device) {
        run(Command::new("delpart").arg(device).arg(number))?;
    }
    // Otherwise the write protection stays in effect for the next user of the device.
    run(Command::new("blockdev").arg("--setrw").arg(device))?;
    let backing = backing_of(device);
    run(Command::new("losetup").arg("--detach").arg(device))?;
    // The kernel detaches the device only when no process has it open any more, such as udev or a
    // test that looks at all devices.
    for _ in 0..100 {
        if backing.is_none() || backing_of(device) != backing {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}

/// The numbers of the partitions that have a device.
fn partitions_of(device: &Path) -> Vec<String> {
    let name = device.file_name().unwrap_or_default();
    let inside = std::fs::read_dir(Path::new("/sys/block").join(name));
    let inside = inside.into_iter().flatten().flatten();
    inside
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("partition")).ok())
        .map(|number| number.trim().to_owned())
        .collect()
}

fn backing_of(device: &Path) -> Option<String> {
    let name = device.file_name()?.to_str()?;
    std::fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()
}

fn run(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}", stderr.trim())))
}
