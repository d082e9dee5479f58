//! `fve cp`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use libtest_mimic::Failed;

use crate::command::{encrypted, fails, fve, output, shown};
use crate::common::output::{assert_status, run, text};
use crate::common::trials::{Trial, programs, trial, trials};
use crate::images::ntfs::set_attribute;
use crate::images::tree::{Shown, tagged};
use crate::images::{Geometry, Image};
use crate::ntfs::ASSORTED;
use crate::oracles::makers;

#[trials]
fn copies() -> Vec<Trial> {
    vec![
        trial(
            "fve cp -r copies every file of an encrypted volume that can be read",
            makers(),
            everything,
        ),
        trial(
            "a copy keeps times, read-only files and holes",
            makers(),
            properties,
        ),
        trial(
            "fve cp replaces nothing unless asked to, and follows no link in DEST",
            makers(),
            existing,
        ),
        trial(
            "fve cp --streams copies the streams of what is named, too",
            makers(),
            streams,
        ),
        trial(
            "fve cp does not replace its own list of hashes",
            makers(),
            own_list,
        ),
        trial(
            "links become links inside the copy, or are left out",
            makers(),
            links,
        ),
        trial(
            "names that Linux cannot have are escaped, and stay different",
            makers(),
            same_names,
        ),
        trial(
            "the names of a file become hard links to one copy",
            makers(),
            hard_links,
        ),
        trial(
            "the local times of FAT are those of this computer's time zone",
            programs(&["mkfs.vfat", "mcopy"]),
            local_times,
        ),
    ]
}

/// What is below a directory.
fn tree(root: &Path) -> BTreeMap<String, Shown> {
    let mut tree = BTreeMap::new();
    let mut next = vec![root.to_owned()];
    while let Some(directory) = next.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let kind = path.symlink_metadata().unwrap().file_type();
            let what = if kind.is_dir() {
                next.push(path);
                Shown::Directory
            } else if kind.is_symlink() {
                Shown::Link(fs::read_link(&path).unwrap().to_str().unwrap().to_owned())
            } else {
                Shown::content(&fs::read(&path).unwrap())
            };
            tree.insert(name, what);
        }
    }
    tree
}

fn everything() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let volume = encrypted(&ASSORTED.path(), directory.path());
    let out = directory.path().join("out");
    let sums = directory.path().join("sums");
    let out_name = out.to_str().ok_or("a path")?;
    let arguments = [
        "/",
        out_name,
        "-r",
        "--streams",
        "--sha256",
        sums.to_str().ok_or("a path")?,
    ];
    let copied = output("cp", &volume, &arguments);
    // The two files whose content is not on the volume.
    assert_status(&copied, 5);
    let messages = text(&copied.stderr);
    assert!(
        messages.contains("cannot copy /in the cloud: "),
        "{messages}"
    );
    assert!(
        messages.contains("cannot copy /deduplicated: "),
        "{messages}"
    );
    assert!(
        messages.contains("2 files or directories could not be copied"),
        "{messages}"
    );
    let found = tree(&out);
    let mut wrong = Vec::new();
    for (path, expected) in &ASSORTED.expected {
        let fits = match (expected, found.get(path)) {
            // Compared in a test of its own.
            (Shown::Link(_), _) | (Shown::Error(_), None) => true,
            (expected, Some(found)) => expected == found,
            (_, None) => false,
        };
        if !fits {
            wrong.push((path, expected, found.get(path)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    let more: Vec<_> = found
        .keys()
        .filter(|path| !ASSORTED.expected.contains_key(*path))
        .collect();
    assert!(more.is_empty(), "{more:?}");
    run(Command::new("sha256sum")
        .args(["--check", "--quiet"])
        .arg(&sums));
    let files = found
        .values()
        .filter(|what| matches!(what, Shown::Content(..)));
    assert_eq!(fs::read_to_string(&sums)?.lines().count(), files.count());
    Ok(())
}

fn plain() -> Image {
    Image::ntfs(Geometry {
        sector: 512,
        cluster: 4096,
        size: 64 << 20,
    })
}

fn properties() -> Result<(), Failed> {
    let image = plain();
    image.with_ntfs_3g("permissions", |root| {
        fs::create_dir(root.join("dir")).unwrap();
        fs::write(root.join("dir/file"), tagged("file", 9_000_001)).unwrap();
        fs::write(root.join("dir/read-only"), b"x").unwrap();
        set_attribute(
            &root.join("dir/read-only"),
            "system.ntfs_attrib_be",
            &[0, 0, 0, 1],
        );
        let sparse = File::create(root.join("dir/sparse")).unwrap();
        sparse.set_len(40 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 30 << 20).unwrap();
        set_attribute(&root.join("dir/file"), "user.stream", b"12345");
        for (time, name) in [
            ("1965-05-06 07:08:09.1234567 UTC", "dir/file"),
            ("2020-01-02 03:04:05.1234567 UTC", "dir"),
        ] {
            run(Command::new("touch")
                .args(["-d", time])
                .arg(root.join(name)));
        }
    });
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("copy");
    let name = out.to_str().ok_or("a path")?;
    let copied = output("cp", &image.path(), &["-r", "DIR", name]);
    assert_status(&copied, 0);
    assert!(
        text(&copied.stderr).contains("1 named stream was left out"),
        "{}",
        text(&copied.stderr)
    );
    let time = |name: &str| {
        let metadata = fs::metadata(out.join(name)).unwrap();
        (metadata.mtime(), metadata.mtime_nsec())
    };
    assert_eq!(time("file"), (-146_940_711, 123_456_700));
    assert_eq!(time("."), (1_577_934_245, 123_456_700));
    assert!(fs::read(out.join("file"))? == tagged("file", 9_000_001));
    let mode = fs::metadata(out.join("read-only"))?.permissions().mode();
    assert_eq!(mode & 0o222, 0);
    let sparse = fs::metadata(out.join("sparse"))?;
    assert_eq!(sparse.len(), 40 << 20);
    assert!(
        sparse.blocks() * 512 < 4 << 20,
        "{} blocks",
        sparse.blocks()
    );
    assert_eq!(&fs::read(out.join("sparse"))?[30 << 20..][..4], b"end\0");
    // Nothing temporary is left.
    assert_eq!(tree(&out).len(), 3);
    Ok(())
}

fn existing() -> Result<(), Failed> {
    let image = plain();
    image.with_ntfs_3g("permissions", |root| {
        fs::create_dir_all(root.join("dir/sub")).unwrap();
        fs::write(root.join("dir/file"), b"new").unwrap();
        fs::write(root.join("dir/sub/file"), b"new").unwrap();
    });
    let image = image.path();
    let directory = tempfile::tempdir()?;
    let place = |name: &str| directory.path().join(name);
    let text_of = |name: &str| place(name).to_str().unwrap().to_owned();
    fs::write(place("file"), b"old")?;
    let file = text_of("file");
    fails(
        "cp",
        &image,
        &["dir/file", &file],
        2,
        &["already exists", "--force"],
    );
    assert_eq!(fs::read(place("file"))?, b"old");
    let into = text_of("");
    fails(
        "cp",
        &image,
        &["dir/file", &into],
        5,
        &["already exists there"],
    );
    assert_eq!(fs::read(place("file"))?, b"old");
    shown("cp", &image, &["dir/file", &into, "--force"]);
    assert_eq!(fs::read(place("file"))?, b"new");
    fails(
        "cp",
        &image,
        &["dir", &text_of("d")],
        2,
        &["/dir is a directory", "-r"],
    );
    fails(
        "cp",
        &image,
        &["dir/file", "dir/sub/file", &text_of("none")],
        2,
        &["no directory"],
    );
    fails("cp", &image, &["dir/file", "-"], 2, &["fve cat"]);
    fails(
        "cp",
        &image,
        &["dir/file", &text_of("none/x")],
        5,
        &["none"],
    );
    // Only a directory is named with a slash at the end, and no link is replaced.
    for name in ["none/", "file/"] {
        fails(
            "cp",
            &image,
            &["dir/file", &text_of(name), "--force"],
            2,
            &["there is no directory"],
        );
    }
    assert!(!place("none").exists());
    symlink(place("file"), place("link"))?;
    fails(
        "cp",
        &image,
        &["dir/file", &text_of("link"), "--force"],
        2,
        &["is a link"],
    );
    assert!(place("link").is_symlink());
    fs::remove_file(place("link"))?;
    // What cannot be written is named, not only what is copied.
    fails(
        "cp",
        &image,
        &["dir/file", "/proc/none"],
        5,
        &["cannot copy /dir/file: cannot write /proc/none: "],
    );
    // A directory of the copy that is a link to elsewhere.
    fs::create_dir(place("elsewhere"))?;
    fs::create_dir(place("dir"))?;
    symlink(place("elsewhere"), place("dir/sub"))?;
    symlink(place("elsewhere/file"), place("dir/file"))?;
    fails(
        "cp",
        &image,
        &["-r", "dir", &into],
        5,
        &["not a directory", "already exists there"],
    );
    fails(
        "cp",
        &image,
        &["-r", "dir", &into, "--force"],
        5,
        &["not a directory"],
    );
    assert_eq!(fs::read_dir(place("elsewhere"))?.count(), 0);
    // The link itself was replaced.
    assert!(place("dir/file").symlink_metadata()?.is_file());
    // The source is never replaced.
    let source = place("file.img");
    fs::copy(&image, &source)?;
    let name = text_of("file.img");
    let before = fs::metadata(&source)?.ino();
    fails(
        "cp",
        &source,
        &["dir/file", &name, "--force"],
        5,
        &["the source itself"],
    );
    assert_eq!(fs::metadata(&source)?.ino(), before);
    Ok(())
}

fn streams() -> Result<(), Failed> {
    let image = plain();
    image.with_ntfs_3g("permissions", |root| {
        fs::create_dir(root.join("dir")).unwrap();
        fs::write(root.join("dir/file"), b"x").unwrap();
        for name in ["dir/file", "dir"] {
            set_attribute(&root.join(name), "user.more", name.as_bytes());
        }
    });
    let directory = tempfile::tempdir()?;
    let out = |name: &str| directory.path().join(name);
    let name = |name: &str| out(name).to_str().unwrap().to_owned();
    shown("cp", &image.path(), &["--streams", "dir/file", &name("")]);
    assert_eq!(fs::read(out("file:more"))?, b"dir/file");
    shown("cp", &image.path(), &["--streams", "dir/file", &name("x")]);
    assert_eq!(fs::read(out("x:more"))?, b"dir/file");
    shown("cp", &image.path(), &["-r", "--streams", "dir", &name("d")]);
    assert_eq!(fs::read(out("d:more"))?, b"dir");
    assert_eq!(fs::read(out("d/file:more"))?, b"dir/file");
    // Those of directories are counted, too.
    let copied = output("cp", &image.path(), &["-r", "dir", &name("e")]);
    assert_status(&copied, 0);
    let messages = text(&copied.stderr);
    assert!(
        messages.contains("2 named streams were left out"),
        "{messages}"
    );
    assert_eq!(tree(&out("e")).len(), 1);
    Ok(())
}

fn own_list() -> Result<(), Failed> {
    let image = plain();
    image.with_ntfs_3g("permissions", |root| {
        fs::write(root.join("file"), b"new").unwrap();
    });
    let directory = tempfile::tempdir()?;
    let into = directory.path().to_str().ok_or("a path")?;
    let list = directory.path().join("file");
    // Once the list is created by the command, once it replaces an older one.
    for _ in 0..2 {
        let list = list.to_str().ok_or("a path")?;
        let arguments = ["file", into, "--force", "--sha256", list];
        fails(
            "cp",
            &image.path(),
            &arguments,
            5,
            &["cannot copy /file: it would replace the list of hashes"],
        );
        assert_eq!(fs::read(list)?, b"");
    }
    Ok(())
}

fn links() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let out = directory.path().to_str().ok_or("a path")?;
    let copied = output("cp", &ASSORTED.path(), &["-r", "/", out]);
    let link = |name: &str| fs::read_link(directory.path().join(name)).ok();
    assert_eq!(link("relative link").as_deref(), Some(Path::new("a/b")));
    assert_eq!(link("absolute link").as_deref(), Some(Path::new("large")));
    assert_eq!(link("rooted link").as_deref(), Some(Path::new("a/b")));
    assert_eq!(link("junction").as_deref(), Some(Path::new("a/b")));
    assert_eq!(link("wsl link").as_deref(), Some(Path::new("large")));
    assert_eq!(link("mount point"), None);
    let messages = text(&copied.stderr);
    assert!(messages.contains("the link /mount point to "), "{messages}");
    assert!(
        messages.contains("it leads out of the volume"),
        "{messages}"
    );
    // A part of the volume: what leads out of that part is left out.
    let image = plain();
    image.with_ntfs_3g("special_files=wsl", |root| {
        fs::create_dir_all(root.join("part/sub/deep")).unwrap();
        fs::write(root.join("part/file"), b"x").unwrap();
        fs::write(root.join("outside"), b"x").unwrap();
        symlink("../../file", root.join("part/sub/deep/inside")).unwrap();
        symlink("../../../outside", root.join("part/sub/deep/outside")).unwrap();
        symlink("/etc/passwd", root.join("part/sub/system")).unwrap();
        symlink("../../../../../etc/passwd", root.join("part/sub/above")).unwrap();
    });
    let copied = output("cp", &image.path(), &["-r", "part", out]);
    assert_status(&copied, 0);
    let link = |name: &str| fs::read_link(directory.path().join("part/sub").join(name)).ok();
    assert_eq!(
        link("deep/inside").as_deref(),
        Some(Path::new("../../file"))
    );
    for name in ["deep/outside", "system", "above"] {
        assert_eq!(link(name), None, "{name}");
    }
    Ok(())
}

fn hard_links() -> Result<(), Failed> {
    let image = plain();
    let names = ["one/first", "one/second", "two/third"];
    image.with_ntfs_3g("permissions", |root| {
        fs::create_dir(root.join("one")).unwrap();
        fs::create_dir(root.join("two")).unwrap();
        fs::write(root.join(names[0]), tagged("first", 9_000_001)).unwrap();
        for name in &names[1..] {
            fs::hard_link(root.join(names[0]), root.join(name)).unwrap();
        }
        fs::write(root.join("two/other"), tagged("first", 9_000_001)).unwrap();
    });
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("out");
    let out_name = out.to_str().ok_or("a path")?;
    let sums = directory.path().join("sums");
    let sums_name = sums.to_str().ok_or("a path")?;
    // The second time, all of them are replaced.
    for _ in 0..2 {
        let arguments = ["-r", "/", out_name, "--sha256", sums_name, "--force"];
        assert_status(&output("cp", &image.path(), &arguments), 0);
        assert_eq!(tree(&out).len(), 6, "{:?}", tree(&out).keys());
        let number = |name: &str| out.join(name).metadata().unwrap().ino();
        for name in names {
            assert_eq!(number(name), number(names[0]));
            assert!(fs::read(out.join(name))? == tagged("first", 9_000_001));
        }
        assert_ne!(number("two/other"), number(names[0]));
        let mut check = Command::new("sha256sum");
        run(check.args(["--check", "--quiet"]).arg(&sums));
        assert_eq!(fs::read_to_string(&sums)?.lines().count(), 4);
    }
    Ok(())
}

fn local_times() -> Result<(), Failed> {
    let image = Image::fat(4 << 20, |root| fs::write(root.join("file"), "x").unwrap());
    let path = image.path();
    let directory = tempfile::tempdir()?;
    let out = directory.path().to_str().ok_or("a path")?;
    let modified = |zone: &str| {
        let mut cp = fve();
        cp.env("TZ", zone).arg("cp").arg(&path);
        run(cp.args(["file", out, "--force"]));
        fs::metadata(directory.path().join("file")).unwrap().mtime()
    };
    assert_eq!(modified("UTC") - modified("EAST-5"), 5 * 3600);
    // The same in a search: what was changed an hour ago in UTC was changed six hours ago in the east.
    let found = |zone: &str, since: &str| {
        let mut find = fve();
        find.env("TZ", zone).arg("find").arg(&path);
        find.args(["--type", "f", "--newer", since]);
        text(&run(&mut find))
    };
    let stored = modified("UTC");
    let since = |earlier: i64| {
        let mut date = Command::new("date");
        date.args(["-u", "+%FT%TZ", "-d"]);
        let date = run(date.arg(format!("@{}", stored - earlier)));
        text(&date).trim().to_owned()
    };
    assert_eq!(found("UTC", &since(3600)), "/file\n");
    assert_eq!(found("EAST-5", &since(3600)), "");
    assert_eq!(found("EAST-5", &since(6 * 3600)), "/file\n");
    Ok(())
}

fn same_names() -> Result<(), Failed> {
    let image = plain();
    image.with_ntfs_3g("permissions", |root| {
        // ntfs-3g refuses a slash in a name; it is put in below.
        for (name, content) in [("%2Fetc", "1"), ("Xetc", "2"), ("XXXX", "3")] {
            fs::write(root.join(name), content).unwrap();
        }
    });
    let name = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    image.patch(|bytes| {
        for (from, to) in [("Xetc", "/etc"), ("XXXX", "../x")] {
            let (from, to) = (name(from), name(to));
            for at in 0..bytes.len() - from.len() {
                if bytes[at..].starts_with(&from) {
                    bytes[at..at + to.len()].copy_from_slice(&to);
                }
            }
        }
    });
    let directory = tempfile::tempdir()?;
    let inner = directory.path().join("inner");
    fs::create_dir(&inner)?;
    let copied = output(
        "cp",
        &image.path(),
        &["-r", "/", inner.to_str().ok_or("a path")?],
    );
    assert_status(&copied, 0);
    let found = tree(&inner);
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(
        found.get("..%2Fx"),
        Some(&Shown::content(b"3")),
        "{found:?}"
    );
    assert!(
        found.get("%2Fetc") == Some(&Shown::content(b"2"))
            && found.get("%252Fetc") == Some(&Shown::content(b"1")),
        "{found:?}"
    );
    assert_eq!(fs::read_dir(directory.path())?.count(), 1);
    assert!(text(&copied.stderr).contains("cannot keep its name"));
    Ok(())
}
