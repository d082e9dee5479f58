//! The modules of `src` and their imports, found by reading the source text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The path of a module: `["volume", "unlock"]`. The root of the library or the binary is empty.
pub(crate) type Name = Vec<String>;

/// An import of one module by another.
pub(crate) struct Import {
    pub(crate) from: Name,
    /// The module that defines the imported item, after re-exports are resolved.
    pub(crate) to: Name,
    pub(crate) place: String,
}

/// All modules, with the text of each.
pub(crate) struct Modules(BTreeMap<Name, (PathBuf, String)>);

impl Modules {
    /// Reads every file below `src`, without unit tests.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut modules = BTreeMap::new();
        for path in sources(&root) {
            let inside = path.strip_prefix(&root).expect("below src");
            let mut name: Name = inside
                .with_extension("")
                .components()
                .map(|part| part.as_os_str().to_str().expect("text").to_owned())
                .collect();
            if name == ["lib"] || name == ["main"] {
                continue;
            }
            if name.last().is_some_and(|last| last == "mod") {
                name.pop();
            }
            let text = fs::read_to_string(&path).expect("source");
            modules.insert(name, (path, code_of(&text)));
        }
        Self(modules)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// All imports between modules.
    pub(crate) fn imports(&self) -> Vec<Import> {
        let exported = self.exported();
        let mut imports = Vec::new();
        for (from, (path, text)) in &self.0 {
            for (line, full) in self.paths(from, text) {
                let to = self.owner(&full, &exported);
                if to != *from && !to.is_empty() {
                    imports.push(Import {
                        from: from.clone(),
                        to,
                        place: format!("{}:{line}", path.display()),
                    });
                }
            }
        }
        imports
    }

    /// The absolute paths of everything in a file that begins with `crate::`, `super::`, `self::`
    /// or one of its own submodules, with line numbers.
    fn paths(&self, module: &Name, text: &str) -> Vec<(usize, Name)> {
        let mut found = Vec::new();
        for (at, _) in text.match_indices("::") {
            let head = word_before(text, at);
            // This is the middle of a path.
            if text[..at - head.len()].ends_with("::") {
                continue;
            }
            let own = [module.as_slice(), &[head.to_owned()]].concat();
            let base: Name = match head {
                "crate" => Vec::new(),
                "self" => module.clone(),
                "super" => module[..module.len() - 1].to_vec(),
                _ if self.0.contains_key(&own) => own,
                _ => continue,
            };
            let line = text[..at].matches('\n').count() + 1;
            found.extend(
                tree(&text[at + 2..], &base)
                    .into_iter()
                    .map(|path| (line, path)),
            );
        }
        found
    }

    /// Re-exports: from the path of the re-exported item to its original path.
    fn exported(&self) -> BTreeMap<Name, Name> {
        let mut exported = BTreeMap::new();
        for (module, (_, text)) in &self.0 {
            for (at, _) in text.match_indices("use ") {
                let statement = &text[at + 4..];
                let statement = &statement[..statement.find(';').unwrap_or(0)];
                for (_, path) in self.paths(module, statement) {
                    if let Some(item) = path.last() {
                        let here = [module.as_slice(), std::slice::from_ref(item)].concat();
                        exported.insert(here, path.clone());
                    }
                }
            }
        }
        exported
    }

    /// The module that defines the item at a path, after re-exports are resolved.
    fn owner(&self, path: &Name, exported: &BTreeMap<Name, Name>) -> Name {
        let mut path = path.clone();
        for _ in 0..8 {
            let Some(known) = (1..=path.len())
                .rev()
                .find(|len| self.0.contains_key(&path[..*len]))
            else {
                return Vec::new();
            };
            let next = path.get(..=known).and_then(|item| exported.get(item));
            match next {
                Some(from) if *from != path => {
                    let rest = path.get(known + 1..).unwrap_or_default().to_vec();
                    path = [from.clone(), rest].concat();
                }
                _ => return path[..known].to_vec(),
            }
        }
        path
    }
}

/// Import cycles among the modules with the same parent.
pub(crate) fn cycles(imports: &[Import]) -> Vec<String> {
    let mut graphs: BTreeMap<Name, BTreeMap<String, BTreeMap<String, String>>> = BTreeMap::new();
    for import in imports {
        let pairs = import.from.iter().zip(&import.to);
        let shared = pairs.take_while(|(a, b)| a == b).count();
        if let (Some(from), Some(to)) = (import.from.get(shared), import.to.get(shared)) {
            let graph = graphs.entry(import.from[..shared].to_vec()).or_default();
            let edges = graph.entry(from.clone()).or_default();
            edges
                .entry(to.clone())
                .or_insert_with(|| import.place.clone());
        }
    }
    let mut found = Vec::new();
    for (parent, graph) in &graphs {
        for module in graph.keys() {
            if let Some(path) = path_back(graph, module) {
                let parent = parent.join("::");
                found.push(format!("in '{parent}': {}", path.join(" -> ")));
            }
        }
    }
    found
}

/// A path of imports from a module back to itself, with the positions of the imports.
fn path_back(
    graph: &BTreeMap<String, BTreeMap<String, String>>,
    start: &str,
) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut open = vec![(start.to_owned(), vec![start.to_owned()])];
    while let Some((at, path)) = open.pop() {
        for (next, place) in graph.get(&at).into_iter().flatten() {
            let mut path = path.clone();
            path.push(format!("{next} ({place})"));
            if next == start {
                return Some(path);
            }
            if seen.insert(next.clone()) {
                open.push((next.clone(), path));
            }
        }
    }
    None
}

/// The identifier that ends at the offset `end`.
fn word_before(text: &str, end: usize) -> &str {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let start = text[..end].trim_end_matches(word).len();
    &text[start..end]
}

/// All paths in a `use` tree such as `a::{b, c::d}`, relative to `base`.
fn tree(text: &str, base: &Name) -> Vec<Name> {
    let text = text.trim_start();
    if let Some(inside) = text.strip_prefix('{') {
        return items(inside)
            .iter()
            .flat_map(|item| tree(item, base))
            .collect();
    }
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let next: Name = match word {
        "self" => base.clone(),
        "super" => base[..base.len().saturating_sub(1)].to_vec(),
        _ => [base.as_slice(), &[word.to_owned()]].concat(),
    };
    match rest.strip_prefix("::") {
        Some(rest) => tree(rest, &next),
        None => vec![next],
    }
}

/// The parts between commas, up to the closing brace.
fn items(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut start = 0;
    let mut found = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(&text[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|item| !item.trim().is_empty());
    found
}

/// The text before the module with unit tests, whose attribute may name features.
pub(crate) fn without_tests(text: &str) -> &str {
    text.split("\nmod tests").next().unwrap_or_default()
}

/// The text without comments and unit tests, with the same line numbers.
fn code_of(text: &str) -> String {
    let lines = without_tests(text)
        .lines()
        .map(|line| match line.trim_start() {
            comment if comment.starts_with("//") => "",
            _ => line,
        });
    lines.collect::<Vec<_>>().join("\n")
}

/// All Rust files below a directory, except `tests.rs` with unit tests.
pub(crate) fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("src") {
        let path = entry.expect("src").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn reads_every_form_of_path() {
    let base = Vec::new();
    let read = |text: &str| {
        let paths = tree(text, &base);
        paths.iter().map(|path| path.join("/")).collect::<Vec<_>>()
    };
    assert_eq!(read("volume::Volume;"), ["volume/Volume"]);
    assert_eq!(
        read("{format, unlock::{self, tpm::Pin}, source::ReadAt as Source};"),
        ["format", "unlock", "unlock/tpm/Pin", "source/ReadAt"]
    );
}

#[test]
fn finds_a_cycle() {
    let import = |from: &str, to: &str| Import {
        from: from.split('/').map(str::to_owned).collect(),
        to: to.split('/').map(str::to_owned).collect(),
        place: format!("{from}.rs:1"),
    };
    let straight = [import("a/x", "b/y"), import("b/y", "c"), import("a/x", "c")];
    assert_eq!(cycles(&straight).len(), 0);
    let round = [import("a/x", "b/y"), import("b/z", "c"), import("c", "a/x")];
    assert_eq!(cycles(&round).len(), 3);
}
