use super::*;
use crate::files::memory::Memory;

const ROOT: u64 = 5;

fn shown(memory: Memory) -> Shown {
    Shown::new(memory.files(), Permissions::of_owner(false, false), (0, 0))
}

impl Shown {
    fn found(&self, directory: u64, name: &str) -> Result<u64, Errno> {
        let directory = FileId::from_number(directory);
        let (attr, _) = self.find(directory, OsStr::new(name))?;
        Ok(self.numbers.file(attr.ino).number)
    }

    fn text(&self, link: u64) -> String {
        let text = links::text(&self.files, FileId::from_number(link)).unwrap();
        String::from_utf8(text.unwrap()).unwrap()
    }
}

#[test]
fn names_are_found_as_they_are_shown_and_without_regard_to_case() {
    let mut memory = Memory::new();
    let readme = memory.file(ROOT, "Readme", b"");
    let slash = memory.file(ROOT, "a/b%c", b"");
    let literal = memory.file(ROOT, "a%2Fb%25c", b"");
    let dots = memory.directory(ROOT, "..");
    let shown = shown(memory);
    assert_eq!(shown.found(ROOT, "Readme"), Ok(readme));
    assert_eq!(shown.found(ROOT, "README"), Ok(readme));
    assert_eq!(shown.found(ROOT, "a%2Fb%25c"), Ok(slash));
    assert_eq!(shown.found(ROOT, "a%252Fb%2525c"), Ok(literal));
    assert_eq!(shown.found(ROOT, "%2E."), Ok(dots));
    assert_eq!(shown.found(ROOT, "a%2Fb"), Err(Errno::ENOENT));
    assert_eq!(shown.found(readme, "x"), Err(Errno::ENOTDIR));
    let long = "x".repeat(names::MAX_NAME + 1);
    assert_eq!(shown.found(ROOT, &long), Err(Errno::ENAMETOOLONG));
}

#[test]
fn a_directory_or_link_in_the_wrong_directory_is_damaged() {
    let mut memory = Memory::new();
    let outer = memory.directory(ROOT, "outer");
    let inner = memory.directory(outer, "inner");
    let link = memory.add_link(inner, "link", r"..\..\x", true);
    let file = memory.file(inner, "file", b"");
    memory.name(ROOT, "twice", inner);
    memory.name(inner, "loop", inner);
    memory.name(inner, "root", ROOT);
    memory.name(ROOT, "link", link);
    memory.name(ROOT, "file", file);
    let shown = shown(memory);
    assert_eq!(shown.found(outer, "inner"), Ok(inner));
    assert_eq!(shown.found(inner, "link"), Ok(link));
    for (directory, name) in [
        (ROOT, "twice"),
        (ROOT, "link"),
        (inner, "loop"),
        (inner, "root"),
    ] {
        assert_eq!(shown.found(directory, name), Err(Errno::EIO), "{name}");
    }
    assert_eq!(shown.found(ROOT, "file"), Ok(file));
}

#[test]
fn links_lead_to_their_targets_or_nowhere() {
    for (target, is_relative, text) in [
        ("c", true, "c"),
        (r"..\c", true, "../c"),
        (r"..\..\c\.\d", true, "../../c/d"),
        (r"x\..\c", true, "c"),
        (r"..", true, ".."),
        (r"..\..", true, "../.."),
        (r"..\..\..\c", true, r"..\..\..\c"),
        (r"\c", true, "../../c"),
        (r"\", true, "../.."),
        (r"\??\C:\a\b", false, "../../a/b"),
        (r"C:\a", false, "../../a"),
        (r"\??\C:\none", false, r"\??\C:\none"),
        (
            r"\??\Volume{00000000-0000-0000-0000-000000000000}\",
            false,
            r"\??\Volume{00000000-0000-0000-0000-000000000000}\",
        ),
        ("/etc/passwd", false, r"\etc\passwd"),
        ("../../../etc/passwd", true, r"..\..\..\etc\passwd"),
        ("../x/c", true, "../x/c"),
        ("..\\..\0\\etc", true, "../..%00/etc"),
    ] {
        let mut memory = Memory::new();
        let a = memory.directory(ROOT, "a");
        let b = memory.directory(a, "b");
        let link = memory.add_link(b, "link", target, is_relative);
        assert_eq!(shown(memory).text(link), text, "{target:?}");
    }
}

#[test]
fn a_large_directory_is_listed_in_parts() {
    const ENTRIES: usize = 70_000;
    const REQUEST: usize = 3000;
    let mut memory = Memory::new();
    for number in 0..ENTRIES {
        memory.file(ROOT, &format!("{number:06}"), b"");
    }
    let files = memory.files();
    let listing = Listing::new(files.root());
    let request = |position: usize| {
        let mut names = Vec::new();
        let mut end = position;
        let told = &mut |entry: &Entry, next| {
            if names.len() == REQUEST {
                return ControlFlow::Break(());
            }
            names.push(entry.name.to_text_lossy());
            end = next;
            ControlFlow::Continue(())
        };
        listing.from(&files, position, told).unwrap();
        (names, end)
    };
    let mut position = 0;
    loop {
        let (names, next) = request(position);
        for (at, name) in (position..).zip(&names) {
            assert_eq!(*name, format!("{at:06}"));
        }
        if names.is_empty() {
            break;
        }
        position = next;
    }
    assert_eq!(position, ENTRIES);
    let (names, _) = request(12);
    assert_eq!(names[0], "000012");
    assert!(request(ENTRIES + 5).0.is_empty());
}

#[test]
fn times_are_exact_and_may_be_before_1970() {
    let epoch = UNIX_EPOCH_TICKS.unsigned_abs();
    assert_eq!(time(FileTime(epoch)), UNIX_EPOCH);
    let step = Duration::from_nanos(100);
    assert_eq!(time(FileTime(epoch + 1)), UNIX_EPOCH + step);
    assert_eq!(time(FileTime(epoch - 1)), UNIX_EPOCH - step);
    let seconds = Duration::from_secs(11_644_473_600);
    assert_eq!(time(FileTime(0)), UNIX_EPOCH - seconds);
    let _ = time(FileTime(u64::MAX));
}
