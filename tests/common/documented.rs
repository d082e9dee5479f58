//! Compares the JSON documents of commands that need a network or a TPM with their tables in
//! docs/json.md.

use std::path::Path;

use serde_json::Value;

/// Asserts that the section of docs/json.md has a row for every key of the document, with the type of
/// its value.
#[track_caller]
pub fn assert_documented(section: &str, document: &Value) {
    let rows = rows(section);
    let mut keys = Vec::new();
    collect(String::new(), document, &mut keys);
    for (path, kind) in keys {
        let row = rows.iter().find(|(documented, _)| *documented == path);
        let types = row.map(|(_, types)| types.as_str());
        assert!(
            types.is_some_and(|types| types.contains(kind)),
            "docs/json.md, {section}: {path} is {kind}, documented as {types:?}"
        );
    }
}

/// The type of a value, as docs/json.md names it.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Path and type of each key, as the tables write them.
fn collect(path: String, value: &Value, keys: &mut Vec<(String, &'static str)>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let path = match path.is_empty() {
                    true => key.clone(),
                    false => format!("{path}.{key}"),
                };
                keys.push((path.clone(), type_of(member)));
                collect(path, member, keys);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                collect(format!("{path}[]"), element, keys);
            }
        }
        _ => {}
    }
}

/// The first two columns of the section's tables: the path of a key, and the types of its value.
fn rows(section: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md");
    let page = std::fs::read_to_string(path).expect("docs/json.md");
    let heading = format!("## {section}");
    let rows: Vec<_> = page
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| {
            let (path, rest) = line.strip_prefix("| `")?.split_once('`')?;
            let types = rest.split('|').nth(1)?;
            Some((path.to_owned(), types.to_owned()))
        })
        .collect();
    assert!(!rows.is_empty(), "docs/json.md has no table for {section}");
    rows
}
