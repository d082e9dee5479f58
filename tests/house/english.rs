//! Plain English: words and phrases that made texts hard to understand must not return, and doc
//! comments must say more than the name of the item.

use std::fs;
use std::path::{Path, PathBuf};

/// Words that must not occur in comments, strings, identifiers or documents, and what to write
/// instead. A word also matches a part of an identifier: `Judgement`, `judge_all`.
const WORDS: &[(&str, &str)] = &[
    ("affair", "name the thing"),
    ("anew", "again, new"),
    ("anybody", "anyone, an attacker, every user"),
    ("judge", "check, verify, decide"),
    ("judged", "checked, verified, decided"),
    ("judgement", "check, decision, result"),
    ("judges", "checks, verifies, decides"),
    ("judging", "checking, verifying, deciding"),
    ("nobody", "no one, no program, no server"),
    ("seam", "interface, trait"),
    ("somebody", "another process, an attacker, the user"),
    ("stranger", "another user, an attacker"),
    ("strangers", "other users, attackers"),
    ("testifies", "confirms"),
    ("testify", "confirm"),
    ("whoever", "the caller, the user, an attacker"),
    ("workshop", "module"),
];

/// Phrases that must not occur in comments, strings or documents, and what to write instead. They are
/// not looked for in identifiers.
const PHRASES: &[(&str, &str)] = &[
    ("a person", "the user"),
    ("as it lies", "unchanged"),
    ("as they lie", "unchanged"),
    ("bear out", "confirm"),
    ("bears out", "confirms"),
    ("for want of", "without"),
    ("in the open", "unencrypted"),
    ("is asked of", "must"),
    ("is told of", "is given, receives"),
    ("lie at", "are at"),
    ("lie in", "are in"),
    ("lie on", "are on"),
    ("lie there", "are there"),
    ("lies at", "is at"),
    ("lies behind", "follows"),
    ("lies in", "is in"),
    ("lies on", "is on"),
    ("lies there", "is there"),
    ("not ours to say", "not known"),
    ("stand in", "are in"),
    ("stand there", "are there"),
    ("stands at", "is at"),
    ("stands behind", "follows"),
    ("stands beside", "is next to"),
    ("stands in", "is in"),
    ("stands there", "is there"),
    ("to be had", "available"),
];

/// Places where a word is correct: the beginning of the file's path, the word or phrase, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("tests/house/english.rs", "", "the lists themselves"),
    (
        "tests/network/server",
        "nobody",
        "a user of the system, and the word of check-policy",
    ),
    (
        "tests/cases/18-comma-in-name.sh",
        "nobody",
        "a user of the system",
    ),
    (
        "docs/json.md",
        "nobody",
        "a word of the document of check-policy",
    ),
    (
        "src/cli/commands/network_unlock/check_policy.rs",
        "nobody",
        "a word of its document",
    ),
];

/// Directories and files with text of this project. Generated files and data are left out.
const TEXTS: &[&str] = &[
    ".ci",
    ".github",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.toml",
    "README.md",
    "SECURITY.md",
    "benches",
    "clippy.toml",
    "deny.toml",
    "dist",
    "docs",
    "examples",
    "fuzz/README.md",
    "fuzz/fuzz_targets",
    "src",
    "testdata/README.md",
    "testdata/make",
    "tests",
];

#[test]
fn texts_are_in_plain_english() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in texts(root) {
        let name = path.strip_prefix(root).expect("below the root");
        let name = name.to_str().expect("UTF-8");
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        seen += 1;
        for (line, marker, better) in markers(&text) {
            if !is_exception(name, marker) {
                wrong.push(format!("{name}:{line}: '{marker}': {better}"));
            }
        }
    }
    assert!(seen > 300, "only {seen} texts were found");
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count}:\n{}", wrong.join("\n"));
}

fn is_exception(name: &str, marker: &str) -> bool {
    EXCEPTIONS
        .iter()
        .any(|(file, word, _)| name.starts_with(file) && (word.is_empty() || *word == marker))
}

/// The line, marker and replacement of every marker in a text.
fn markers(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let mut found = Vec::new();
    let mut before = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        let parts = parts_of_identifiers(line);
        for (word, better) in WORDS {
            if parts.iter().any(|part| part == word) {
                found.push((number, *word, *better));
            }
        }
        // A phrase may begin at the end of the previous line.
        let words = format!("{} ", prose(line));
        let joined = format!(" {before}{words}");
        for (phrase, better) in PHRASES {
            let spaced = format!(" {phrase} ");
            let ends_here = |at| at + spaced.len() > before.len() + 1;
            if joined.find(&spaced).is_some_and(ends_here) {
                found.push((number, *phrase, *better));
            }
        }
        before = words;
    }
    found
}

/// The words of a line, with identifiers unchanged, separated by single blanks.
fn prose(line: &str) -> String {
    let is_separator = |c: char| !c.is_alphanumeric() && !"_{}".contains(c);
    let words = line.split(is_separator).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// The words of a line in lower case. Identifiers are split: `JudgeAll` and `judge_all` are two words.
fn parts_of_identifiers(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut after_lower = false;
    for c in line.chars() {
        let begins = c.is_uppercase() && after_lower;
        if (!c.is_alphanumeric() || begins) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn texts(root: &Path) -> Vec<PathBuf> {
    const ENDINGS: [&str; 8] = ["rs", "md", "py", "sh", "toml", "txt", "yml", "service"];
    let mut found = Vec::new();
    let mut open: Vec<_> = TEXTS.iter().map(|name| root.join(name)).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
            continue;
        }
        let ending = path.extension().and_then(|ending| ending.to_str());
        // Scripts in .ci have no ending.
        if ending.is_none_or(|ending| ENDINGS.contains(&ending)) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Documentation such as "The key." only repeats the name: it has to say the unit, range or origin,
/// or which of several it is.
#[test]
fn doc_comments_say_more_than_the_name() {
    const ARTICLES: [&str; 12] = [
        "a", "all", "an", "at", "for", "how", "its", "one", "the", "what", "when", "which",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for path in super::modules::sources(&root) {
        let text = fs::read_to_string(&path).expect("source");
        let name = path.strip_prefix(&root).expect("below src").display();
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for (number, line) in (1..).zip(&lines) {
            let Some(documentation) = line.strip_prefix("/// ") else {
                continue;
            };
            let is_doc = |line: Option<&&str>| line.is_some_and(|line| line.starts_with("///"));
            let alone = !is_doc(lines.get(number)) && !is_doc(lines.get(number.wrapping_sub(2)));
            let item = lines[number..].iter().find(|line| !line.starts_with("#["));
            if !alone || !item.is_some_and(|item| item.starts_with("pub ")) {
                continue;
            }
            let words = parts_of_identifiers(documentation);
            if words.len() <= 2 && ARTICLES.contains(&words[0].as_str()) {
                wrong.push(format!("{name}:{number}: {documentation}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn finds_words_and_phrases() {
    let found = |text: &str| -> Vec<_> {
        let found = markers(text).into_iter();
        found.map(|(line, marker, _)| (line, marker)).collect()
    };
    assert_eq!(
        found("fn judge_all(x: &Judgement)"),
        [(1, "judge"), (1, "judgement")]
    );
    assert_eq!(found("/// sent in the\n/// open"), [(2, "in the open")]);
    assert_eq!(
        found("// It lies\n// on the disk, in a doorway."),
        [(2, "lies on")]
    );
    assert!(found("a stranglehold; openness in theory").is_empty());
}
