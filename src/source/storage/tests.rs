use std::os::unix::fs::symlink;

use super::overlaid::OVERLAY_KIND;
use super::*;

/// Directories with files as in sysfs and proc.
struct Tree {
    root: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["sys/block", "sys/dev/block", "proc/self"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        Self { root }
    }

    fn system(&self) -> System {
        System {
            dev: "/dev".into(),
            ..System::below(self.root.path())
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A device of `sectors` sectors, at `place` below `sys/block`.
    fn device(&self, place: &str, minor: u32, sectors: u64) -> Node {
        let base = format!("sys/block/{place}");
        self.write(&format!("{base}/dev"), &format!("8:{minor}\n"));
        self.write(&format!("{base}/size"), &format!("{sectors}\n"));
        let link = self.root.path().join(format!("sys/dev/block/8:{minor}"));
        symlink(self.root.path().join(&base), link).unwrap();
        Node::Device { major: 8, minor }
    }

    fn partition(&self, place: &str, minor: u32, start: u64, sectors: u64) -> Node {
        let node = self.device(place, minor, sectors);
        self.write(&format!("sys/block/{place}/partition"), "1\n");
        self.write(&format!("sys/block/{place}/start"), &format!("{start}\n"));
        node
    }

    /// Makes the device at `lower` a part of the device at `upper`.
    fn made_of(&self, upper: &str, lower: &str) {
        let block = self.root.path().join("sys/block");
        let name = |place: &str| place.rsplit('/').next().unwrap().to_owned();
        for (from, directory, to) in [(upper, "slaves", lower), (lower, "holders", upper)] {
            let directory = block.join(from).join(directory);
            std::fs::create_dir_all(&directory).unwrap();
            symlink(block.join(to), directory.join(name(to))).unwrap();
        }
    }

    fn mapping(&self, place: &str, minor: u32, name: &str, lower: &str) -> Node {
        let node = self.device(place, minor, 1000);
        self.write(&format!("sys/block/{place}/dm/name"), &format!("{name}\n"));
        self.made_of(place, lower);
        node
    }

    fn loop_over(&self, place: &str, minor: u32, file: &Path, offset: u64) -> Node {
        let node = self.device(place, minor, 1000);
        let file = format!("{}\n", file.display());
        self.write(&format!("sys/block/{place}/loop/backing_file"), &file);
        let offset = format!("{offset}\n");
        self.write(&format!("sys/block/{place}/loop/offset"), &offset);
        node
    }

    fn mount(&self, number: &str, directory: &str, source: &str) {
        let row = format!("36 35 {number} / {directory} rw - some {source} rw\n");
        let table = self.root.path().join("proc/self/mountinfo");
        let rows = std::fs::read_to_string(table).unwrap_or_default();
        self.write("proc/self/mountinfo", &(rows + &row));
    }

    /// sda with sda1 and sda2, which are adjacent.
    fn disk(&self) -> [Node; 3] {
        [
            self.device("sda", 0, 100_000),
            self.partition("sda/sda1", 1, 2048, 1000),
            self.partition("sda/sda2", 2, 3048, 1000),
        ]
    }

    fn uses(&self, node: Node) -> Vec<Use> {
        let system = self.system();
        system.uses_of(&system.with_backing(NodeRange::whole(node)))
    }

    fn share(&self, one: Node, other: Node) -> bool {
        let system = self.system();
        let below = |node| system.with_backing(NodeRange::whole(node));
        let shared = share_bytes(&below(one), &below(other));
        assert_eq!(shared, share_bytes(&below(other), &below(one)));
        shared
    }
}

fn mapped(name: &str) -> Use {
    Use::Mapped {
        device: Path::new("/dev/mapper").join(name),
        writable: true,
    }
}

fn mounted(what: &str, directory: &str) -> Use {
    Use::Mounted {
        what: what.into(),
        directory: directory.into(),
        writable: true,
        own: false,
    }
}

#[test]
fn a_disk_shares_bytes_with_its_partitions_which_share_none_with_each_other() {
    let tree = Tree::new();
    let [disk, first, second] = tree.disk();
    assert!(tree.share(disk, first));
    assert!(tree.share(disk, second));
    assert!(!tree.share(first, second));
    assert!(tree.share(first, first));
}

#[test]
fn a_range_of_a_disk_shares_bytes_only_with_the_partition_there() {
    let tree = Tree::new();
    let [disk, first, second] = tree.disk();
    let system = tree.system();
    let volume = NodeRange {
        range: 3048 * 512..4048 * 512,
        ..NodeRange::whole(disk)
    };
    let volume = system.with_backing(volume);
    assert!(!share_bytes(
        &volume,
        &system.with_backing(NodeRange::whole(first))
    ));
    assert!(share_bytes(
        &volume,
        &system.with_backing(NodeRange::whole(second))
    ));
}

#[test]
fn mappings_of_one_part_share_bytes_with_it_and_not_with_each_other() {
    let tree = Tree::new();
    let [disk, first, second] = tree.disk();
    let one = tree.mapping("dm-0", 16, "vg-one", "sda/sda2");
    let other = tree.mapping("dm-1", 17, "vg-other", "sda/sda2");
    assert!(!tree.share(one, other));
    assert!(!tree.share(one, first));
    assert!(tree.share(one, second));
    assert!(tree.share(one, disk));
    // A mapping over a mapping.
    let top = tree.mapping("dm-2", 18, "crypt", "dm-0");
    assert!(tree.share(top, one));
    assert!(tree.share(top, disk));
    assert!(!tree.share(top, other));
}

#[test]
fn a_mapping_uses_its_part_and_the_disk_and_nothing_else() {
    let tree = Tree::new();
    let [disk, first, second] = tree.disk();
    let top = tree.mapping("dm-0", 16, "windows", "sda/sda2");
    assert_eq!(tree.uses(second), [mapped("windows")]);
    assert_eq!(tree.uses(disk), [mapped("windows")]);
    assert_eq!(tree.uses(first), []);
    assert_eq!(tree.uses(top), []);
}

#[test]
fn what_is_above_a_device_that_keeps_its_changes_does_not_write_below_it() {
    let tree = Tree::new();
    let [disk, _, second] = tree.disk();
    let overlay = tree.mapping("dm-0", 16, "windows-overlay", "sda/sda2");
    let top = tree.mapping("dm-1", 17, "windows", "dm-0");
    tree.mount("8:17", "/mnt/windows", "/dev/mapper/windows");
    let written = |node| -> Vec<bool> { tree.uses(node).iter().map(Use::may_write).collect() };
    assert_eq!(written(second), [true; 3]);
    let kind = format!("{OVERLAY_KIND}windows\n");
    tree.write("sys/block/dm-0/dm/uuid", &kind);
    // They use it all the same.
    assert_eq!(written(second), [false; 3]);
    assert_eq!(written(disk), [false; 3]);
    assert!(tree.share(top, second));
    assert_eq!(written(overlay), [true; 2]);
    assert!(
        tree.uses(second)
            .iter()
            .all(|found| found.newer_view().is_none())
    );
}

#[test]
fn parts_of_md_and_bcache_are_in_use() {
    let tree = Tree::new();
    let [_, first, second] = tree.disk();
    let array = tree.device("md0", 16, 1000);
    tree.made_of("md0", "sda/sda1");
    tree.device("bcache0", 17, 1000);
    tree.made_of("bcache0", "sda/sda2");
    let device = |path: &str| Use::Device {
        device: path.into(),
    };
    assert_eq!(tree.uses(first), [device("/dev/md0")]);
    assert_eq!(tree.uses(second), [device("/dev/bcache0")]);
    // A partition of the array.
    let inner = tree.partition("md0/md0p1", 18, 8, 100);
    assert!(tree.share(inner, array));
    assert!(tree.share(inner, first));
}

#[test]
fn finds_a_holder_that_does_not_list_its_parts() {
    let tree = Tree::new();
    let [_, first, _] = tree.disk();
    tree.mapping("dm-0", 16, "windows", "sda/sda1");
    let slaves = tree.root.path().join("sys/block/dm-0/slaves");
    std::fs::remove_dir_all(slaves).unwrap();
    assert_eq!(tree.uses(first), [mapped("windows")]);
}

#[test]
fn mounts_and_swap_space_use_the_devices_that_back_them() {
    let tree = Tree::new();
    let [disk, first, second] = tree.disk();
    tree.mount("8:1", r"/mnt/a\040b", "/dev/sda1");
    assert_eq!(tree.uses(first), [mounted("/dev/sda1", "/mnt/a b")]);
    assert_eq!(tree.uses(disk), [mounted("/dev/sda1", "/mnt/a b")]);
    assert_eq!(tree.uses(second), []);
    let tree = Tree::new();
    let [_, first, second] = tree.disk();
    // A file system on the whole disk.
    tree.mount("8:0", "/mnt", "/dev/sda");
    assert_eq!(tree.uses(first), [mounted("/dev/sda", "/mnt")]);
    assert_eq!(tree.uses(second), [mounted("/dev/sda", "/mnt")]);
}

#[test]
fn swap_files_are_in_use() {
    let tree = Tree::new();
    let file = tree.root.path().join("swap file");
    std::fs::write(&file, "").unwrap();
    let escaped = file.display().to_string().replace(' ', r"\040");
    let head = "Filename\tType\tSize\tUsed\tPriority\n";
    tree.write("proc/swaps", &format!("{head}{escaped} file 1024 0 -2\n"));
    let found = tree.uses(node_of(&file).unwrap());
    assert_eq!(found, [Use::Swap { what: file }]);
}

#[test]
fn loop_devices_share_bytes_with_the_range_of_their_file() {
    let tree = Tree::new();
    let file = tree.root.path().join("disk.img");
    std::fs::write(&file, "").unwrap();
    let node = node_of(&file).unwrap();
    let one = tree.loop_over("loop0", 16, &file, 0);
    let two = tree.loop_over("loop1", 17, &file, 1000 * 512);
    assert!(tree.share(one, node));
    assert!(tree.share(two, node));
    assert!(!tree.share(one, two));
    let shown = |path: &str| Use::Loop {
        device: path.into(),
    };
    let mut uses = tree.uses(node);
    uses.sort_by_key(Use::description);
    assert_eq!(uses, [shown("/dev/loop0"), shown("/dev/loop1")]);
    assert_eq!(tree.uses(one), []);
}

#[test]
fn files_on_a_device_share_bytes_with_it_and_not_with_each_other() {
    let tree = Tree::new();
    let [disk, first, second] = tree.disk();
    let file = |inode| Node::File {
        major: 8,
        minor: 1,
        inode,
    };
    tree.mount("8:1", "/mnt", "/dev/sda1");
    assert!(tree.share(file(1), first));
    assert!(tree.share(file(1), disk));
    assert!(!tree.share(file(1), file(2)));
    assert!(!tree.share(file(1), second));
    // The mount of its file system is not a use of the file.
    assert_eq!(tree.uses(file(1)), []);
}

#[test]
fn a_file_on_a_fuse_mount_is_backed_by_the_source_of_the_mount() {
    let tree = Tree::new();
    let image = tree.root.path().join("image");
    std::fs::write(&image, "").unwrap();
    let image_node = node_of(&image).unwrap();
    tree.mount("0:99", "/mnt/volume", &image.display().to_string());
    let shown = Node::File {
        major: 0,
        minor: 99,
        inode: 2,
    };
    assert!(tree.share(shown, image_node));
    let found = tree.uses(image_node);
    assert_eq!(
        found,
        [mounted(&image.display().to_string(), "/mnt/volume")]
    );
}

#[test]
fn finds_the_disk_or_partition_that_begins_at_an_offset() {
    let tree = Tree::new();
    let [disk, first, second] = tree.disk();
    let device = |node, sectors: Range<u64>| {
        let range = sectors.start * KERNEL_SECTOR..sectors.end * KERNEL_SECTOR;
        tree.system().device_of(&NodeRange {
            range,
            ..NodeRange::whole(node)
        })
    };
    assert_eq!(device(disk, 0..100_000), Some(disk));
    assert_eq!(device(disk, 3048..4048), Some(second));
    assert_eq!(device(disk, 3047..4048), None);
    assert_eq!(device(first, 0..1000), Some(first));
}

#[test]
fn a_circle_of_devices_ends() {
    let tree = Tree::new();
    let one = tree.mapping("dm-0", 16, "one", "dm-1");
    let other = tree.mapping("dm-1", 17, "other", "dm-0");
    assert!(tree.share(one, other));
}
