//! Public types of the library can get new variants and fields without breaking programs that use
//! it.

use std::fs;
use std::path::Path;

use super::modules::{sources, without_tests};

/// Types that are complete as they are, with the reason. Programs build such a structure from its
/// fields, or match all variants of such an enumeration.
const COMPLETE: &[(&str, &[&str], &str)] = &[
    (
        "create/stage.rs",
        &["OnWrite", "Stage"],
        "only with the feature `testing`",
    ),
    (
        "create/testing.rs",
        &["ExtraDatum"],
        "only with the feature `testing`",
    ),
    (
        "create/placement.rs",
        &["Placement"],
        "the format has these places",
    ),
    (
        "crypto/sector/engine.rs",
        &["Engines"],
        "a choice for each operation of a sector cipher",
    ),
    (
        "format/datum.rs",
        &["SealedDatum"],
        "the format has these fields",
    ),
    (
        "network/crypto.rs",
        &["RequestKeys"],
        "the protocol has these keys",
    ),
    (
        "network/message",
        &[
            "Header", "Relay", "Reply4", "Reply6", "Request", "Request4", "Request6",
        ],
        "the protocol has these fields",
    ),
    (
        "network/policy.rs",
        &["Rule"],
        "the policy file has these rules",
    ),
    (
        "serve/export/written.rs",
        &["Written"],
        "a program stores and restores it",
    ),
    (
        "tpm/policy.rs",
        &["Policy"],
        "what a sealed object can require",
    ),
    (
        "unlock/auto_unlock.rs",
        &["SystemVolume"],
        "what an automatic unlock needs",
    ),
];

#[test]
fn public_types_can_grow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut excepted = 0;
    let mut seen = 0;
    for path in sources(&root) {
        let name = path.strip_prefix(&root).expect("below src");
        if name.starts_with("cli") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("source");
        for open in open_types(without_tests(&text)) {
            seen += 1;
            let is_complete = COMPLETE
                .iter()
                .any(|(file, types, _)| name.starts_with(file) && types.contains(&open.name));
            if open.can_grow {
                assert!(!is_complete, "{} is in COMPLETE and can grow", open.name);
            } else if is_complete {
                excepted += 1;
            } else {
                wrong.push(format!("{}: {}", name.display(), open.name));
            }
        }
    }
    assert!(seen > 100, "only {seen} types were found");
    let listed: usize = COMPLETE.iter().map(|(_, types, _)| types.len()).sum();
    assert_eq!(excepted, listed, "COMPLETE names a type that is not there");
    assert!(wrong.is_empty(), "without #[non_exhaustive]: {wrong:#?}");
}

/// A public enumeration, or a public structure with public fields.
struct OpenType<'t> {
    name: &'t str,
    /// Whether it is marked `non_exhaustive`.
    can_grow: bool,
}

fn open_types(text: &str) -> Vec<OpenType<'_>> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let is_enum = line.starts_with("pub enum ");
        let Some(rest) = line
            .strip_prefix("pub enum ")
            .or_else(|| line.strip_prefix("pub struct "))
            .filter(|rest| rest.ends_with('{'))
        else {
            continue;
        };
        let mut body = lines[number + 1..].iter().take_while(|line| **line != "}");
        if !is_enum && !body.any(|line| line.starts_with("    pub ")) {
            continue;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let attributes = lines[..number].iter().rev();
        found.push(OpenType {
            name: &rest[..end.unwrap_or(rest.len())],
            can_grow: attributes
                .take_while(|line| !line.is_empty() && **line != "}")
                .any(|line| *line == "#[non_exhaustive]"),
        });
    }
    found
}

#[test]
fn finds_types_that_cannot_grow() {
    let text = "#[non_exhaustive]\npub enum A {\n    X,\n}\n\n/// Text.\npub enum B {\n}\n\npub struct \
                C<T> {\n    pub x: T,\n}\n\npub struct D {\n    x: u8,\n}\n\npub struct E(pub u8);\n";
    let found: Vec<_> = open_types(text)
        .iter()
        .map(|open| (open.name, open.can_grow))
        .collect();
    assert_eq!(found, [("A", true), ("B", false), ("C", false)]);
}
