//! NTFS images, made with mkntfs and ntfs-3g. What these cannot make is patched.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::XattrFlags;

use super::records::{self, DATA, FILE_NAME, STANDARD_INFORMATION};
use super::tree::{Shown, Tree, noise, prose, tagged};
use super::{Geometry, Image};

/// Streams are part of names, new files in compressed directories are compressed, and links are
/// those of the Windows Subsystem for Linux.
const OPTIONS: &str = "compression,streams_interface=windows,special_files=wsl";

pub fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|error| panic!("{}: {name}: {error}", path.display()));
}

/// Makes the files that are created in a directory from now on compressed.
pub fn compress_new_files(directory: &Path) {
    set_attribute(directory, "system.ntfs_attrib_be", &0x800u32.to_be_bytes());
}

pub fn set_reparse_point(path: &Path, tag: u32, data: &[u8]) {
    let mut value = tag.to_le_bytes().to_vec();
    value.extend_from_slice(&(data.len() as u16).to_le_bytes());
    value.extend_from_slice(&[0; 2]);
    value.extend_from_slice(data);
    set_attribute(path, "system.ntfs_reparse_data", &value);
}

const JUNCTION: u32 = 0xA000_0003;
const SYMBOLIC_LINK: u32 = 0xA000_000C;
const WOF: u32 = 0x8000_0017;
const CLOUD: u32 = 0x9000_001A;
const DEDUPLICATED: u32 = 0x8000_0013;

/// The data of a junction or symbolic link: [MS-FSCC], sections 2.1.2.4 and 2.1.2.5.
fn link_data(target: &str, flags: Option<u32>) -> Vec<u8> {
    let shown = target.trim_start_matches(r"\??\");
    let units =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let (target, shown) = (units(target), units(shown));
    let (len, shown_len) = (target.len() as u16, shown.len() as u16);
    let mut data: Vec<u8> = [0, len, len + 2, shown_len]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    if let Some(flags) = flags {
        data.extend_from_slice(&flags.to_le_bytes());
    }
    data.extend_from_slice(&target);
    data.extend_from_slice(&[0; 2]);
    data.extend_from_slice(&shown);
    data.extend_from_slice(&[0; 2]);
    data
}

/// The stream WofCompressedData for this content, from libwim's compressors.
pub fn wof_stream(algorithm: u32, content: &[u8]) -> Vec<u8> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/wof.py");
    let mut child = Command::new("python3")
        .arg(script)
        .arg(algorithm.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(content));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "wof.py failed");
    output.stdout
}

impl Tree<'_> {
    /// A file that Windows has compressed with WOF ("CompactOS").
    fn wof(&mut self, path: &str, algorithm: u32, content: &[u8]) {
        let stream = wof_stream(algorithm, content);
        let file = fs::File::create(self.at(path)).unwrap();
        file.set_len(content.len() as u64).unwrap();
        drop(file);
        fs::write(self.at(&format!("{path}:WofCompressedData")), &stream).unwrap();
        let data: Vec<u8> = [1, 2, 1, algorithm]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        set_reparse_point(&self.at(path), WOF, &data);
        self.note(path, content);
    }

    fn reparse_file(&mut self, path: &str, tag: u32, data: &[u8], shown: Shown) {
        fs::write(self.at(path), b"").unwrap();
        set_reparse_point(&self.at(path), tag, data);
        self.listing.insert(path.to_owned(), shown);
    }
}

/// Names that Windows or other systems make.
const NAMES: &[&str] = &[
    "with spaces in it",
    "ends in a dot.",
    "ends in a space ",
    "-begins with a dash",
    "%41",
    "caf\u{e9}",
    "cafe\u{301}",
    "\u{3b5}\u{3bb}\u{3bb}\u{3b7}\u{3bd}\u{3b9}\u{3ba}\u{3ac}",
    "\u{65e5}\u{672c}\u{8a9e}\u{306e}\u{30d5}\u{30a1}\u{30a4}\u{30eb}",
    "\u{5d0}\u{5d1}\u{5d2}",
    "\u{1f389} outside the basic plane",
    "\u{df}",
    "I\u{307} and \u{131}",
    "$Not a system file",
    "a'b",
    "[brackets]*?.txt",
];

/// Every way in which NTFS stores files, as far as the size of the clusters allows it.
pub fn assorted(geometry: Geometry) -> Image {
    let mut image = Image::ntfs(geometry);
    let cluster = geometry.cluster as usize;
    image.expected = image.with_ntfs_3g(OPTIONS, |root| {
        let mut tree = Tree::new(root);
        plain(&mut tree, cluster);
        names(&mut tree);
        streams(&mut tree);
        links(&mut tree);
        if cluster <= 4096 {
            compressed(&mut tree);
        }
        if cluster <= 65_536 {
            wof(&mut tree);
        }
        fs::write(tree.at("deleted"), tagged("deleted", 70_000)).unwrap();
        fs::write(tree.at("deleted resident"), b"deleted").unwrap();
        fs::remove_file(tree.at("deleted")).unwrap();
        fs::remove_file(tree.at("deleted resident")).unwrap();
        tree.listing
    });
    image
}

fn plain(tree: &mut Tree<'_>, cluster: usize) {
    for len in [0, 1, 100, 500, 700, 3000] {
        let name = format!("small {len}");
        tree.file(&name, &tagged(&name, len));
    }
    for (name, len) in [
        ("one cluster", cluster),
        ("one byte less", cluster - 1),
        ("one byte more", cluster + 1),
        ("large", 1_234_567.max(2 * cluster + 5)),
    ] {
        tree.file(name, &tagged(name, len));
    }
    tree.directory("a");
    tree.directory("a/b");
    tree.directory("a/empty");
    let mut path = "a/b".to_owned();
    for level in 0..20 {
        path.push_str(&format!("/level {level}"));
        tree.directory(&path);
    }
    path.push_str("/at the bottom");
    tree.file(&path, b"deep");
    tree.directory("many");
    for number in 0..300 {
        let name = format!("many/file {number} of many with a long name");
        tree.file(&name, &tagged(&name, number));
    }
    let piece = tagged("piece", cluster.min(65_536) + 77);
    let unit = cluster.max(65_536);
    tree.sparse(
        "holes",
        5 * unit + 99,
        &[(unit + 5, &piece), (3 * unit, &piece)],
    );
    tree.sparse("hole at the end", 4 * unit, &[(0, &piece)]);
    tree.sparse("hole at the start", 3 * unit + 1, &[(3 * unit, b"x")]);
    tree.sparse("only a hole", 3 * unit, &[]);
    // The list of runs of each does not fit into one record.
    let pieces = if cluster > 65_536 { 20 } else { 500 };
    tree.fragmented(["fragments 1", "fragments 2"], pieces, cluster);
}

fn names(tree: &mut Tree<'_>) {
    tree.directory("names");
    for name in NAMES {
        tree.file(&format!("names/{name}"), name.as_bytes());
    }
    let longest = "names/".to_owned() + &"x".repeat(255);
    tree.file(&longest, b"255 characters");
    tree.directory("case");
    for name in [
        "case/file",
        "case/File",
        "case/FILE",
        "case/\u{e9}",
        "case/\u{c9}",
    ] {
        tree.file(name, &tagged(name, 900));
    }
    tree.hard_link("a/another name", "large");
    for number in 0..40 {
        tree.hard_link(&format!("a/b/name {number} of the same file"), "small 700");
    }
}

fn streams(tree: &mut Tree<'_>) {
    tree.file("with streams", &tagged("with streams", 100));
    tree.file("with streams:small", b"stream");
    tree.file("with streams:\u{3b1}\u{3b2}", b"another");
    tree.file("with streams:empty", b"");
    tree.file("with streams:large", &tagged("with streams:large", 300_001));
    tree.file("a:of a directory", b"directories have streams, too");
    tree.file("many streams", b"");
    for number in 0..60 {
        let name = format!("many streams:stream number {number} of many");
        tree.file(&name, &tagged(&name, 60 + number));
    }
}

fn links(tree: &mut Tree<'_>) {
    symlink("large", tree.at("wsl link")).unwrap();
    tree.listing
        .insert("wsl link".to_owned(), Shown::Link("large".to_owned()));
    for (name, target, flags) in [
        ("relative link", r"a\b", 1),
        ("absolute link", r"\??\C:\large", 0),
        ("rooted link", r"\a\b", 1),
    ] {
        let data = link_data(target, Some(flags));
        let shown = Shown::Link(target.to_owned());
        tree.reparse_file(name, SYMBOLIC_LINK, &data, shown);
    }
    for (name, target) in [
        ("junction", r"\??\C:\a\b"),
        (
            "mount point",
            r"\??\Volume{11111111-2222-3333-4444-555555555555}\",
        ),
    ] {
        fs::create_dir(tree.at(name)).unwrap();
        set_reparse_point(&tree.at(name), JUNCTION, &link_data(target, None));
        let shown = Shown::Link(target.to_owned());
        tree.listing.insert(name.to_owned(), shown);
    }
    for (name, tag) in [("in the cloud", CLOUD), ("deduplicated", DEDUPLICATED)] {
        tree.reparse_file(name, tag, &[1; 40], Shown::Error(String::new()));
    }
    // "Offline": a file that was fetched has no such attribute.
    set_attribute(
        &tree.at("in the cloud"),
        "system.ntfs_attrib_be",
        &0x1020u32.to_be_bytes(),
    );
}

fn compressed(tree: &mut Tree<'_>) {
    tree.directory("compressed");
    compress_new_files(&tree.at("compressed"));
    let mut mixed = prose(1, 70_000);
    mixed.extend(noise(2, 140_000));
    mixed.extend([0; 200_000]);
    mixed.extend(prose(3, 33_333));
    let zeros_inside = [prose(4, 3000), vec![0; 90_000], prose(5, 3000)].concat();
    for (name, content) in [
        ("empty", Vec::new()),
        ("resident", prose(6, 300)),
        ("text", prose(7, 500_000)),
        ("noise", noise(8, 200_000)),
        ("mixed", mixed),
        ("zeros", vec![0; 300_000]),
        ("zeros inside", zeros_inside),
        ("one unit", prose(9, 65_536)),
        ("one byte more than a unit", prose(10, 65_537)),
        ("short", prose(11, 5000)),
        ("repeated byte", vec![b'a'; 123_456]),
    ] {
        tree.file(&format!("compressed/{name}"), &content);
    }
    tree.file("compressed/text:stream", &prose(12, 100_000));
    tree.sparse(
        "compressed/holes",
        400_000,
        &[(100_000, &prose(13, 40_000)), (300_000, &noise(14, 20_000))],
    );
    // Rewritten in the middle, so that the units are not in order on the volume.
    let mut content = prose(15, 400_000);
    tree.file("compressed/rewritten", &content);
    let mut options = fs::File::options();
    let file = options
        .write(true)
        .open(tree.at("compressed/rewritten"))
        .unwrap();
    for (seed, at) in [(16, 10_000), (17, 200_000), (18, 130_000), (19, 390_000)] {
        let piece = noise(seed, 9000);
        std::os::unix::fs::FileExt::write_all_at(&file, &piece, at as u64).unwrap();
        let end = content.len().max(at + piece.len());
        content.resize(end, 0);
        content[at..at + piece.len()].copy_from_slice(&piece);
    }
    tree.note("compressed/rewritten", &content);
}

fn wof(tree: &mut Tree<'_>) {
    tree.directory("wof");
    // LZX changes the targets of what looks like calls of x86 code.
    let mut code = Vec::new();
    for number in 0..9000u32 {
        code.extend_from_slice(&[0x55, 0xE8]);
        code.extend_from_slice(&(number * 77).to_le_bytes());
        code.extend_from_slice(&[0x8B, 0xEC, 0xE8, 0xFF]);
    }
    let mixed = [prose(30, 100_000), noise(31, 70_000), vec![0; 50_000]].concat();
    for (algorithm, kind) in ["xpress4k", "lzx", "xpress8k", "xpress16k"]
        .iter()
        .enumerate()
    {
        for (name, content) in [
            ("text", prose(20, 300_000)),
            ("code", code.clone()),
            ("mixed", mixed.clone()),
            ("noise", noise(21, 40_000)),
            ("one chunk", prose(22, 4096)),
            ("32 KiB", prose(23, 32_768)),
            ("short", prose(24, 700)),
        ] {
            let path = format!("wof/{kind} {name}");
            tree.wof(&path, algorithm as u32, &content);
        }
    }
}

/// Files that only patches make: a short initialised size, EFS, and a volume that was not unmounted,
/// with a hibernated Windows.
pub fn patched() -> Image {
    let geometry = Geometry {
        sector: 512,
        cluster: 4096,
        size: 24 << 20,
    };
    let mut image = Image::ntfs(geometry);
    image.expected = image.with_ntfs_3g(OPTIONS, |root| {
        let mut tree = Tree::new(root);
        for name in [
            "initialised",
            "initialised in a cluster",
            "nothing initialised",
        ] {
            let content = tagged(name, 100_000);
            tree.file(name, &content);
        }
        tree.file("efs", &tagged("efs", 20_000));
        let hibernated = [b"HIBR".as_slice(), &[0; 4092]].concat();
        tree.file("hiberfil.sys", &hibernated);
        tree.listing
    });
    image.patch(|bytes| {
        for (name, len) in INITIALISED {
            records::change_record(bytes, name, |record| {
                record.attribute(DATA, "")[0x38..0x40].copy_from_slice(&len.to_le_bytes());
            });
        }
        records::change_record(bytes, "efs", |record| {
            record.attribute(DATA, "")[12..14].copy_from_slice(&0x4000u16.to_le_bytes());
            let standard = record.attribute(STANDARD_INFORMATION, "");
            standard[0x18 + 0x21] |= 0x40;
        });
        // $Volume: the flags after the version in $VOLUME_INFORMATION.
        records::change_record(bytes, "$Volume", |record| {
            record.attribute(records::VOLUME_INFORMATION, "")[0x18 + 10] |= 1;
        });
    });
    for (name, len) in INITIALISED {
        let mut content = tagged(name, 100_000);
        content[*len as usize..].fill(0);
        image
            .expected
            .insert(name.to_string(), Shown::content(&content));
    }
    let efs = Shown::Error(String::new());
    image.expected.insert("efs".to_owned(), efs);
    image
}

/// Links as ntfs-3g makes them unless it is told otherwise, those of the NFS server of Windows, and files
/// that look like one of them. And a file of the cloud that was fetched.
pub fn unix_links() -> Image {
    const NFS: u32 = 0x8000_0014;
    const SYSTEM: [u8; 4] = 4u32.to_be_bytes();
    let mut image = Image::ntfs(Geometry {
        sector: 512,
        cluster: 4096,
        size: 16 << 20,
    });
    image.expected = image.with_ntfs_3g("rw", |root| {
        let mut tree = Tree::new(root);
        tree.directory("a");
        tree.file("a/file", b"content");
        let long = format!("a/{}", "../a/".repeat(200) + "file");
        for (name, target) in [
            ("link", "a/file"),
            ("a/up", "../a"),
            ("absolute", "/etc/passwd"),
            ("backslash", r"a\file"),
            ("long", &long),
        ] {
            symlink(target, tree.at(name)).unwrap();
            let shown = Shown::Link(target.to_owned());
            tree.listing.insert(name.to_owned(), shown);
        }
        let link = [b"IntxLNK\x01".as_slice(), b"a\0"].concat();
        tree.file("not system", &link);
        tree.file("system", b"IntxLNK\x02a\0");
        set_attribute(&tree.at("system"), "system.ntfs_attrib_be", &SYSTEM);
        tree.listing
    });
    // ntfs-3g shows these as links to nowhere.
    let more = image.with_ntfs_3g("rw", |root| {
        let mut tree = Tree::new(root);
        let target: Vec<u8> = "../x".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let link = [b"LNK\x01\0\0\0\0".as_slice(), &target].concat();
        tree.reparse_file("nfs link", NFS, &link, Shown::Link("../x".to_owned()));
        tree.reparse_file("nfs fifo", NFS, b"FIFO\0\0\0\0", Shown::content(b""));
        tree.file("fetched", &tagged("fetched", 30_000));
        set_reparse_point(&tree.at("fetched"), CLOUD, &[1; 40]);
        tree.listing
    });
    image.expected.extend(more);
    image
}

/// A file whose name is `lone `, and half of a surrogate pair.
pub fn lone_surrogate() -> Image {
    let mut image = Image::ntfs(Geometry {
        sector: 512,
        cluster: 4096,
        size: 16 << 20,
    });
    image.with_ntfs_3g("rw", |root| fs::write(root.join("lone X"), LONE).unwrap());
    image.patch(|bytes| {
        let half = 0xD800u16.to_le_bytes();
        records::change_record(bytes, "lone X", |record| {
            record.attribute(FILE_NAME, "")[0x18 + 0x42 + 10..][..2].copy_from_slice(&half);
        });
        // The same in the index of the root directory.
        let name: Vec<u8> = "lone X".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let places: Vec<usize> = (0..bytes.len() - name.len())
            .filter(|at| bytes[*at..].starts_with(&name))
            .collect();
        assert!(!places.is_empty(), "the name is not in an index");
        for at in places {
            bytes[at + 10..at + 12].copy_from_slice(&half);
        }
    });
    image.expected = [("lone \u{fffd}".to_owned(), Shown::content(LONE))].into();
    image
}

/// The content of the file of [`lone_surrogate`].
pub const LONE: &[u8] = b"a lone surrogate";

/// How many bytes of each of these files of [`patched`] are initialised.
pub const INITIALISED: &[(&str, u64)] = &[
    ("initialised", 50_000),
    ("initialised in a cluster", 4097),
    ("nothing initialised", 0),
];

/// A directory of `count` entries.
pub fn crowded(count: usize) -> Image {
    let geometry = Geometry {
        sector: 512,
        cluster: 4096,
        size: (16 << 20) + count as u64 * 2048,
    };
    let mut image = Image::ntfs(geometry);
    image.expected = image.with_ntfs_3g("rw", |root| {
        let mut tree = Tree::new(root);
        tree.directory("crowded");
        for number in 0..count {
            // Not in order, so that the blocks of the index are split in all ways.
            let name = format!("crowded/{:x} file", (number * 7919) % (16 * count));
            tree.file(&name, name.as_bytes());
        }
        tree.listing
    });
    image
}

/// An $MFT in pieces, whose run list is in several records. The free space is in single clusters when it
/// grows.
pub fn fragmented_mft() -> Image {
    let geometry = Geometry {
        sector: 512,
        cluster: 1024,
        size: 8 << 20,
    };
    let mut image = Image::ntfs(geometry);
    image.expected = image.with_ntfs_3g("rw", |root| {
        let mut tree = Tree::new(root);
        // Two files that take turns, until nothing is free.
        let names = ["one", "two"];
        let mut content = [Vec::new(), Vec::new()];
        let mut files = names.map(|name| fs::File::create(tree.at(name)).unwrap());
        'full: loop {
            for (file, content) in files.iter_mut().zip(&mut content) {
                let piece = noise(content.len() as u64, 1024);
                if file.write_all(&piece).is_err() {
                    break 'full;
                }
                content.extend_from_slice(&piece);
            }
        }
        drop(files);
        fs::remove_file(tree.at("two")).unwrap();
        tree.note("one", &content[0]);
        tree.directory("late");
        for number in 0..3000 {
            let name = format!("late/{number}");
            let content = tagged(&name, 200);
            if fs::write(tree.at(&name), &content).is_err() {
                let _ = fs::remove_file(tree.at(&name));
                break;
            }
            tree.note(&name, &content);
        }
        assert!(tree.listing.len() > 500, "{}", tree.listing.len());
        tree.listing
    });
    image.patch(|bytes| records::split_mft(bytes, 3));
    image
}
