//! File systems full of files, made with the tools of other programs, and what must be found in them.

pub mod ntfs;
pub mod records;
pub mod tree;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::loop_device::LoopDevice;
use crate::common::output::run;
use tree::Listing;

/// A file system in a file.
pub struct Image {
    directory: tempfile::TempDir,
    /// What was written into it.
    pub expected: Listing,
}

/// Bytes in a sector, a cluster and the whole file system.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    pub sector: u32,
    pub cluster: u32,
    pub size: u64,
}

impl Image {
    /// An NTFS file system without files.
    pub fn ntfs(geometry: Geometry) -> Self {
        let image = Self {
            directory: tempfile::tempdir().unwrap(),
            expected: Listing::new(),
        };
        let path = image.path();
        File::create(&path).unwrap().set_len(geometry.size).unwrap();
        run(Command::new("mkntfs")
            .args(["--force", "--quick", "--quiet"])
            .args(["-p", "0", "-H", "255", "-S", "63"])
            .args(["-c", &geometry.cluster.to_string()])
            .args(["-s", &geometry.sector.to_string()])
            .arg(&path));
        image
    }

    /// An exFAT file system, which `fill` fills.
    pub fn exfat(size: u64, fill: impl FnOnce(&Path)) -> Self {
        let image = Self {
            directory: tempfile::tempdir().unwrap(),
            expected: Listing::new(),
        };
        let path = image.path();
        File::create(&path).unwrap().set_len(size).unwrap();
        let mut mkfs = Command::new("mkfs.exfat");
        run(mkfs.args(["-c", "4K", "-b", "64K"]).arg(&path));
        // The server takes block devices only.
        let device = LoopDevice::writable(&path).unwrap();
        let mount = tempfile::tempdir().unwrap();
        let mut server = Command::new("mount.exfat-fuse");
        run(server.arg(device.path()).arg(mount.path()));
        fill(mount.path());
        // On a block device, umount waits until everything is written.
        run(Command::new("umount").arg(mount.path()));
        device.detach().unwrap();
        image
    }

    /// A FAT16 file system, with what `fill` writes into a directory.
    pub fn fat(size: u64, fill: impl FnOnce(&Path)) -> Self {
        let image = Self {
            directory: tempfile::tempdir().unwrap(),
            expected: Listing::new(),
        };
        let path = image.path();
        File::create(&path).unwrap().set_len(size).unwrap();
        let mut mkfs = Command::new("mkfs.vfat");
        run(mkfs.args(["-F", "16", "-s", "1"]).arg(&path));
        let tree = tempfile::tempdir().unwrap();
        fill(tree.path());
        for entry in fs::read_dir(tree.path()).unwrap() {
            let mut mcopy = Command::new("mcopy");
            mcopy.arg("-s").arg("-i").arg(&path);
            run(mcopy.arg(entry.unwrap().path()).arg("::"));
        }
        image
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// Calls `fill` while ntfs-3g has the image mounted.
    pub fn with_ntfs_3g<T>(&self, options: &str, fill: impl FnOnce(&Path) -> T) -> T {
        let mounted = NtfsMount::new(&self.path(), options);
        fill(mounted.path())
    }

    /// Changes bytes of the file.
    pub fn patch(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path()).unwrap();
        change(&mut bytes);
        fs::write(self.path(), bytes).unwrap();
    }
}

/// A mount of ntfs-3g that ends with this value.
pub struct NtfsMount {
    directory: tempfile::TempDir,
    server: Child,
}

impl NtfsMount {
    pub fn new(image: &Path, options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let before = fs::metadata(directory.path()).unwrap().dev();
        // umount returns before ntfs-3g has written everything: the end of the process says that.
        let mut server = Command::new("ntfs-3g")
            .args(["-o", &format!("no_detach,{options}")])
            .arg(image)
            .arg(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while fs::metadata(directory.path()).unwrap().dev() == before {
            if server.try_wait().unwrap().is_some() || begun.elapsed() > Duration::from_secs(20) {
                let _ = server.kill();
                let output = server.wait_with_output().unwrap();
                panic!("ntfs-3g: {}", String::from_utf8_lossy(&output.stderr));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { directory, server }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for NtfsMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.directory.path()).output();
        let _ = self.server.wait();
    }
}
