//! Comments and documents cite sections of the pages in `docs/`. Every cited page and section must
//! exist, and everything that is cited must be in the repository or published.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const DIRECTORIES: [&str; 6] = ["src", "tests", "examples", "benches", "fuzz", "docs"];

/// Directories with generated files or files that are not text.
const SKIPPED: [&str; 3] = ["corpus", "seeds", "target"];

const TEXTS: [&str; 5] = ["rs", "md", "py", "sh", "toml"];

/// Published texts with numbered sections.
const PUBLISHERS: [&str; 10] = [
    "RFC ",
    "FIPS ",
    "IEEE ",
    "ITU-T X.690",
    "UEFI specification",
    "TPM 2.0 library",
    "MS-FSCC",
    "MS-NKPU",
    "MS-XCA",
    "exFAT specification",
];

/// Words that cite texts which are not in the repository.
const FOREIGN: [&str; 9] = [
    "spec/",
    "format page",
    "recovery page",
    "TPM page",
    "Network Unlock page",
    "network page",
    "performance page",
    "design page",
    "command line's page",
];

/// The section numbers of each page, by path.
type Pages = BTreeMap<String, BTreeSet<String>>;

#[test]
fn cited_sections_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = pages(root);
    let mut faults = Vec::new();
    let mut cited = 0;
    for path in texts(root) {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let text = running_text(&fs::read_to_string(&path).expect("a text"));
        let mut check = Check {
            pages: &pages,
            name: &name,
            faults: &mut faults,
        };
        cited += check.citations(&text);
        check.foreign(&text);
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    assert!(cited > 100, "only {cited} citations were found");
}

#[test]
fn detects_wrong_citations() {
    let sections = ["1", "1.2", "10"].map(str::to_owned);
    let pages = Pages::from([("docs/a.md".to_owned(), BTreeSet::from(sections))]);
    let faults = |name: &str, text: &str| {
        let mut faults = Vec::new();
        let mut check = Check {
            pages: &pages,
            name,
            faults: &mut faults,
        };
        let text = running_text(text);
        check.citations(&text);
        check.foreign(&text);
        faults.len()
    };
    for (text, expected) in [
        (
            "/// Right (docs/a.md §1.2, step 3; docs/a.md §1 and §10).",
            0,
        ),
        ("//! Over two lines (docs/a.md\n//! §1.2).", 0),
        (
            "// RFC 8415, section 9.1, and (FIPS 197,\n// section 5.2).",
            0,
        ),
        ("// docs/b.md", 1),
        ("// docs/a.md §1.3", 1),
        ("// docs/a.md §1 to\n// §1.1", 1),
        ("// §1.2", 1),
        ("// (section 3.8)", 1),
        ("// Sections 3 to\n// 5.", 1),
        ("// the format\n// page", 1),
        ("// `spec/x.md`", 1),
    ] {
        assert_eq!(faults("src/x.rs", text), expected, "{text}");
    }
    assert_eq!(faults("docs/a.md", "as §1.2 says, not §2"), 1);
}

struct Check<'a> {
    pages: &'a Pages,
    name: &'a str,
    faults: &'a mut Vec<String>,
}

impl Check<'_> {
    /// Checks every `docs/NAME.md` with the sections after it, and on a page also sections without
    /// a page. Returns the number of cited sections.
    fn citations(&mut self, text: &str) -> usize {
        let mut cited = 0;
        let mut page = None;
        let mut rest = text;
        while let Some(at) = next(rest, &["docs/", "§"]) {
            let (before, here) = rest.split_at(at);
            // A list of sections continues as long as only these words separate them.
            if !["", " ", ", ", " and ", " to "].contains(&before) {
                page = None;
            }
            if let Some(section) = here.strip_prefix('§') {
                let len = number_len(section);
                let (number, after) = section.split_at(len);
                let page = page.as_deref().unwrap_or(self.name);
                let known = self.pages.get(page);
                if !known.is_some_and(|sections| sections.contains(number)) {
                    self.fault(format!("{page} has no §{number}"));
                }
                cited += 1;
                rest = after;
            } else {
                let len = here.find(".md").map_or(0, |end| end + ".md".len());
                let name = &here[..len];
                let is_name = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
                page = (len > 0 && name.chars().all(is_name)).then(|| name.to_owned());
                if let Some(page) = &page
                    && !self.pages.contains_key(page)
                {
                    self.fault(format!("{page} does not exist"));
                }
                rest = &here[page.as_ref().map_or("docs/".len(), String::len)..];
            }
        }
        cited
    }

    /// Reports citations of texts that are not in the repository.
    fn foreign(&mut self, text: &str) {
        for word in FOREIGN.iter().filter(|word| text.contains(**word)) {
            self.fault(format!("cites \"{word}\""));
        }
        let lower = text.to_ascii_lowercase();
        for (at, word) in lower.match_indices("section") {
            let after = lower[at + word.len()..].trim_start_matches('s');
            let number = after.strip_prefix(' ').unwrap_or_default();
            if !number.starts_with(|c: char| c.is_ascii_digit()) {
                continue;
            }
            let before: String = text[..at].chars().rev().take(60).collect();
            let before: String = before.chars().rev().collect();
            if !PUBLISHERS.iter().any(|name| before.contains(name)) {
                let rest: String = text[at..].chars().take(20).collect();
                self.fault(format!("cites a section without a page: {before}{rest}"));
            }
        }
    }

    fn fault(&mut self, what: String) {
        self.faults.push(format!("{}: {what}", self.name));
    }
}

/// Offset of the first of these words.
fn next(text: &str, words: &[&str]) -> Option<usize> {
    words.iter().filter_map(|word| text.find(word)).min()
}

/// Length of a number such as `3.8`.
fn number_len(text: &str) -> usize {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    text[..end.unwrap_or(text.len())]
        .trim_end_matches('.')
        .len()
}

/// The text on one line, without comment markers.
fn running_text(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.trim_start();
        let comment = line.strip_prefix("//").or_else(|| line.strip_prefix('#'));
        comment
            .map_or(line, |line| line.trim_start_matches(['/', '!', '#']))
            .trim()
    });
    lines.collect::<Vec<_>>().join(" ")
}

fn pages(root: &Path) -> Pages {
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let pages = files(&root.join("docs")).into_iter().filter(is_page);
    let sections = |path: &Path| {
        let text = fs::read_to_string(path).expect("a page");
        let headings = text.lines().filter(|line| line.starts_with("##"));
        let titles = headings.map(|line| line.trim_start_matches('#').trim_start());
        let numbers = titles.map(|title| title[..number_len(title)].to_owned());
        let mut seen = BTreeSet::new();
        for number in numbers.filter(|number| !number.is_empty()) {
            assert!(seen.insert(number.clone()), "two §{number} on one page");
        }
        seen
    };
    pages
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            (name, sections(&path))
        })
        .collect()
}

fn texts(root: &Path) -> Vec<PathBuf> {
    let itself = root.join(file!());
    let all = DIRECTORIES.iter().flat_map(|name| files(&root.join(name)));
    let is_text = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| TEXTS.contains(&extension)) && *path != itself
    };
    all.filter(is_text).collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .filter(|path| !SKIPPED.iter().any(|name| path.ends_with(name)))
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}
