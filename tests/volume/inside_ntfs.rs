//! Files inside an NTFS volume: fve reads the same content as ntfscat, or refuses files whose content
//! it cannot know.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::common::ntfs;
use crate::common::trials::{Missing, programs, trial};
use fve::files::{self, FilePath};
use libtest_mimic::Failed;
use rustix::fs::XattrFlags;

fn ntfs_tools() -> Option<Missing> {
    programs(&["mkntfs", "ntfs-3g", "ntfscat"])
}

/// An NTFS image; `fill` writes files while ntfs-3g has it mounted with `options`.
struct Image {
    directory: tempfile::TempDir,
}

impl Image {
    fn new(options: &str, fill: impl FnOnce(&Path)) -> Self {
        let image = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let path = image.path();
        File::create(&path).unwrap().set_len(24 << 20).unwrap();
        ntfs::run(
            Command::new("mkntfs")
                .args(["--force", "--quick", "--quiet"])
                .args(["-p", "0", "-H", "255", "-S", "63", "-c", "4096"])
                .args(["-s", "512"])
                .arg(&path),
        );
        let mount = tempfile::tempdir().unwrap();
        ntfs::run(
            Command::new("ntfs-3g")
                .args(["-o", options])
                .arg(&path)
                .arg(mount.path()),
        );
        fill(mount.path());
        ntfs::run(Command::new("umount").arg(mount.path()));
        image
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ntfs.img")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// The content of a file according to ntfscat.
    fn ntfscat(&self, name: &str) -> Vec<u8> {
        let output = Command::new("ntfscat")
            .arg("--force")
            .arg(self.path())
            .arg(format!("/{name}"))
            .output()
            .unwrap();
        assert!(output.status.success());
        output.stdout
    }

    /// The content of a file according to fve, or the error.
    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        read(self.bytes(), name)
    }
}

fn read(image: Vec<u8>, name: &str) -> Result<Vec<u8>, String> {
    let files = files::open(Arc::new(image)).map_err(|error| error.with_causes().to_string())?;
    let read = files.read(&FilePath::parse(name), 64 << 20);
    read.map_err(|fault| fault.to_string())
}

/// Bytes that depend on their position.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at / 7 + at % 251) as u8).collect()
}

/// Offset of the header of an attribute with this type and a size of `len` bytes, in the record of
/// a file that is in use.
fn non_resident(image: &[u8], kind: u32, len: u64) -> usize {
    let u16_at = |at: usize| u16::from_le_bytes(image[at..at + 2].try_into().unwrap());
    let u32_at = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
    let mut found = Vec::new();
    for record in (0..image.len() - 1024).step_by(512) {
        if &image[record..record + 4] != b"FILE" || u16_at(record + 0x16) & 1 == 0 {
            continue;
        }
        let mut at = record + usize::from(u16_at(record + 0x14));
        while at + 0x40 < record + 1024 && u32_at(at) != u32::MAX {
            let size = u32_at(at + 4) as usize;
            if u32_at(at) == kind && image[at + 8] == 1 && u64_at(at + 0x30) == len {
                found.push(at);
            }
            if size == 0 {
                break;
            }
            at += size;
        }
    }
    let [at] = found.as_slice() else {
        panic!("{} attributes of {len} bytes", found.len());
    };
    *at
}

const DATA: u32 = 0x80;

#[trial("reads the same content as ntfscat", needs(ntfs_tools))]
fn sound() -> Result<(), Failed> {
    let image = Image::new("rw", |root| {
        fs::create_dir_all(root.join("a/b")).unwrap();
        for number in 0..80 {
            fs::write(root.join(format!("a/neighbour {number}")), b"x").unwrap();
        }
        fs::write(root.join("a/b/small"), b"in the record").unwrap();
        fs::write(root.join("a/large"), content(1_234_567)).unwrap();
        fs::write(root.join("empty"), b"").unwrap();
        let sparse = File::create(root.join("sparse")).unwrap();
        sparse.set_len(3 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, &content(5000), 1 << 20).unwrap();
        // Written alternately, so that they are fragmented.
        use std::io::Write;
        let mut pieces = [0, 1].map(|n| File::create(root.join(format!("pieces {n}"))).unwrap());
        for _ in 0..60 {
            for file in &mut pieces {
                file.write_all(&content(4096)).unwrap();
                file.sync_all().unwrap();
            }
        }
    });
    for name in [
        "a/b/small",
        "a/large",
        "empty",
        "sparse",
        "pieces 0",
        "pieces 1",
    ] {
        assert!(image.read(name)? == image.ntfscat(name), "{name}");
    }
    assert_eq!(image.read("A/B/SMALL")?, b"in the record");
    assert!(image.read("sparse")?[1 << 20..].starts_with(&content(5000)));
    let absent = image.read("a/none").unwrap_err();
    assert!(absent.contains("there is no such file"), "{absent}");
    Ok(())
}

#[trial("ranges that were never written are zeros", needs(ntfs_tools))]
fn never_written() -> Result<(), Failed> {
    const LEN: u64 = 70_001;
    let image = Image::new("rw", |root| {
        fs::write(root.join("file"), content(LEN as usize)).unwrap();
    });
    let mut bytes = image.bytes();
    let at = non_resident(&bytes, DATA, LEN);
    for initialised in [0, 1, 4096, 10_000, LEN] {
        bytes[at + 0x38..at + 0x40].copy_from_slice(&initialised.to_le_bytes());
        fs::write(image.path(), &bytes)?;
        let ours = image.read("file")?;
        let mut expected = content(LEN as usize);
        expected[initialised as usize..].fill(0);
        assert!(ours == expected, "{initialised}");
        assert!(ours == image.ntfscat("file"), "{initialised}");
    }
    Ok(())
}

#[trial("decompresses files as ntfscat does", needs(ntfs_tools))]
fn compressed() -> Result<(), Failed> {
    /// FILE_ATTRIBUTE_COMPRESSED, high byte first.
    const COMPRESSED: [u8; 4] = [0, 0, 0x08, 0];
    let text = b"again and again ".repeat(20_000);
    let image = Image::new("rw,compression", |root| {
        let directory = root.join("compressed");
        fs::create_dir(&directory).unwrap();
        rustix::fs::setxattr(
            &directory,
            "system.ntfs_attrib_be",
            &COMPRESSED,
            XattrFlags::empty(),
        )
        .unwrap();
        fs::write(directory.join("file"), &text).unwrap();
        fs::write(root.join("plain"), &text).unwrap();
    });
    // Check that it is really compressed: the text is there only once.
    let bytes = image.bytes();
    let whole = bytes.windows(4096).step_by(4096);
    let copies = whole.filter(|cluster| text.starts_with(cluster)).count();
    assert_eq!(copies, text.len() / 4096);
    assert!(image.read("compressed/file")? == text);
    assert!(image.read("plain")? == text);
    assert!(image.ntfscat("compressed/file") == text);
    Ok(())
}

#[trial("refuses files encrypted by Windows", needs(ntfs_tools))]
fn encrypted() -> Result<(), Failed> {
    const LEN: u64 = 20_002;
    let image = Image::new("rw", |root| {
        fs::write(root.join("file"), content(LEN as usize)).unwrap();
    });
    let mut bytes = image.bytes();
    let at = non_resident(&bytes, DATA, LEN);
    assert!(read(bytes.clone(), "file")? == content(LEN as usize));
    bytes[at + 0x0D] |= 0x40;
    let refused = read(bytes, "file").unwrap_err();
    assert!(refused.contains("encrypted with EFS"), "{refused}");
    Ok(())
}

#[trial("refuses a file whose content is not in it", needs(ntfs_tools))]
fn reparse_points() -> Result<(), Failed> {
    let point = |tag: u32, data: &[u8]| {
        let mut bytes = tag.to_le_bytes().to_vec();
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes
    };
    // The content of "compact" should be in a stream that is missing.
    let compact = point(
        0x8000_0017,
        &[1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
    );
    let cloud = point(0x9000_001A, &[0; 16]);
    let image = Image::new("rw", |root| {
        for (name, point) in [("compact", &compact), ("cloud", &cloud)] {
            let path = root.join(name);
            File::create(&path).unwrap().set_len(50_000).unwrap();
            rustix::fs::setxattr(
                &path,
                "system.ntfs_reparse_data",
                point,
                XattrFlags::empty(),
            )
            .unwrap();
        }
    });
    assert!(image.read("compact").is_err());
    let refused = image.read("cloud").unwrap_err();
    assert!(
        refused.contains("in the cloud (reparse tag 0x9000001a)"),
        "{refused}"
    );
    Ok(())
}

/// The records of an index get the largest possible size, and one points to itself.
#[trial("refuses an index of 4 GiB, or without an end", needs(ntfs_tools))]
fn indexes() -> Result<(), Failed> {
    let image = Image::new("rw", |root| {
        let directory = root.join("directory");
        fs::create_dir(&directory).unwrap();
        for number in 0..200 {
            fs::write(directory.join(format!("file {number:03}")), b"x").unwrap();
        }
    });
    let bytes = image.bytes();
    assert_eq!(read(bytes.clone(), "directory/file 100")?, b"x");
    let u32_at =
        |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());

    // Type of the indexed attribute (file names), order of names, bytes of a record, clusters.
    let root: Vec<u8> = [0x30u32, 1, 4096, 1]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    let mut large = bytes.clone();
    for at in 0..bytes.len() - root.len() {
        if bytes[at..].starts_with(&root) {
            large[at + 8..at + 12].copy_from_slice(&0xFE00_0000u32.to_le_bytes());
        }
    }
    assert_ne!(large, bytes);
    let refused = read(large, "directory/file 100").unwrap_err();
    assert!(refused.contains("damaged"), "{refused}");

    // The last entry of each record points to the same record as the last entry of the directory.
    let mut endless = bytes.clone();
    let mut changed = 0;
    for record in (0..bytes.len() - 4096).step_by(4096) {
        if &bytes[record..record + 4] != b"INDX" {
            continue;
        }
        let node = record + 0x18;
        let mut entry = node + u32_at(&bytes, node) as usize;
        let end = node + u32_at(&bytes, node + 4) as usize;
        while entry + 16 <= end {
            let len = u16::from_le_bytes(bytes[entry + 8..entry + 10].try_into().unwrap());
            let last = bytes[entry + 12] & 2 != 0;
            if last && bytes[entry + 12] & 1 == 0 && end + 8 < record + 4096 && end % 512 < 480 {
                // Eight more bytes for the number of the child record, which is the first.
                endless[entry + 8] = len as u8 + 8;
                endless[entry + 12] |= 1;
                endless[entry + 16..entry + 24].fill(0);
                let size = (end - node + 8) as u32;
                endless[node + 4..node + 8].copy_from_slice(&size.to_le_bytes());
                changed += 1;
            }
            if last || len == 0 {
                break;
            }
            entry += usize::from(len);
        }
    }
    assert!(changed > 0);
    // A name after all others, so that the search descends forever.
    let refused = read(endless, "directory/zzz").unwrap_err();
    assert!(refused.contains("damaged"), "{refused}");
    Ok(())
}
