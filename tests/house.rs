//! The plan of the house: which room may know which. A module that reaches up, or across, is found
//! here, with file and line.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules that everybody may use.
const EVERYWHERE: &[&str] = &["error", "guid", "output", "secret", "shown", "threads"];

/// What else each module may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("guid", &[]),
    ("output", &[]),
    ("secret", &[]),
    ("shown", &[]),
    ("threads", &[]),
    ("source", &[]),
    ("format", &[]),
    ("crypto", &[]),
    ("network", &["crypto"]),
    ("unlock", &["format", "crypto", "network"]),
    ("volume", &["source", "format", "crypto", "unlock"]),
    (
        "analysis",
        &["source", "format", "crypto", "unlock", "volume"],
    ),
    (
        "create",
        &["source", "format", "crypto", "network", "unlock", "volume"],
    ),
    (
        "manage",
        &["source", "format", "crypto", "unlock", "volume", "create"],
    ),
    ("repair", &["source", "format", "volume"]),
    ("serve", &["volume", "source"]),
    (
        "cli",
        &[
            "source", "format", "crypto", "network", "unlock", "volume", "analysis", "create",
            "manage", "repair", "serve",
        ],
    ),
];

#[test]
fn every_room_knows_only_those_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut edges = 0;
    for path in sources(&root) {
        let inside = path.strip_prefix(&root).expect("below src");
        let module = inside.components().next().expect("a component").as_os_str();
        let module = module.to_str().expect("text").trim_end_matches(".rs");
        if ["lib", "main"].contains(&module) {
            continue;
        }
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("the module {module} has no place in the plan"));
        let text = fs::read_to_string(&path).expect("source");
        // What only the tests use does not count.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for used in line.split("crate::").skip(1) {
                let used = used
                    .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .next()
                    .unwrap_or_default();
                edges += 1;
                let fine = used == module
                    || EVERYWHERE.contains(&used)
                    || allowed.contains(&used)
                    || !ALLOWED.iter().any(|(name, _)| *name == used);
                if !fine {
                    wrong.push(format!("{}:{number}: {module} uses {used}", path.display()));
                }
            }
        }
    }
    assert!(edges > 50, "the search finds nothing any more");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("src") {
        let path = entry.expect("src").path();
        if path.is_dir() {
            // Tests in files of their own do not count either.
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found
}

/// A name may hold what a terminal acts on: messages show it by `shown()`.
#[test]
fn no_message_shows_a_path_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for path in sources(&root) {
        let text = fs::read_to_string(&path).expect("source");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
        if !path.ends_with("tests.rs") && code.contains(".display()") {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Most test programs have a harness of their own (`tests/common/harness.rs`): what is marked with
/// `#[test]` there is never run.
#[test]
fn no_test_is_left_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml");
    let tests = root.join("tests");
    let mut wrong = Vec::new();
    for path in sources(&tests) {
        let inside = path.strip_prefix(&tests).expect("below tests");
        let program = inside.components().next().expect("a component").as_os_str();
        let program = program.to_str().expect("text").trim_end_matches(".rs");
        let text = fs::read_to_string(&path).expect("source");
        let marked = text.lines().any(|line| line.trim() == "#[test]");
        if marked && manifest.contains(&format!("[[test]]\nname = \"{program}\"\nharness = false"))
        {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "#[trial] instead of #[test]: {wrong:?}");
}
