//! Compares JSON documents with their schemas in docs/json: every key must be described, and every value
//! have the type that is described. An independent validator checks the rest in
//! `tests/command_line/json.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// All schemas, by the names of their files.
pub struct Schemas(BTreeMap<String, Value>);

/// The directory with the schemas.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json")
}

/// Asserts that the schema of that name, such as `tpm-status`, describes the document.
#[track_caller]
pub fn assert_documented(schema: &str, document: &Value) {
    let faults = Schemas::read().faults(schema, document);
    assert!(faults.is_empty(), "docs/json/{schema}.json: {faults:#?}");
}

impl Schemas {
    /// Reads all schemas.
    pub fn read() -> Self {
        let files = fs::read_dir(directory()).expect("docs/json");
        let schemas = files.map(|file| {
            let path = file.expect("file").path();
            let name = path
                .file_name()
                .expect("name")
                .to_string_lossy()
                .into_owned();
            let text = fs::read(&path).expect("schema");
            let schema =
                serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, schema)
        });
        Self(schemas.collect())
    }

    /// Whether there is a schema of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(&format!("{name}.json"))
    }

    /// What the schema does not describe in the document.
    pub fn faults(&self, name: &str, document: &Value) -> Vec<String> {
        let file = format!("{name}.json");
        let Some(schema) = self.0.get(&file) else {
            return vec![format!("there is no docs/json/{file}")];
        };
        let mut faults = Vec::new();
        self.check(&file, schema, "", document, &mut faults);
        faults
    }

    fn check(
        &self,
        file: &str,
        schema: &Value,
        path: &str,
        value: &Value,
        faults: &mut Vec<String>,
    ) {
        if let Some(reference) = schema["$ref"].as_str() {
            let (name, pointer) = reference.split_once('#').unwrap_or((reference, ""));
            let name = if name.is_empty() { file } else { name };
            let target = self.0.get(name).and_then(|schema| schema.pointer(pointer));
            let target = target.unwrap_or_else(|| panic!("{file}: {reference}"));
            return self.check(name, target, path, value, faults);
        }
        if let Some(alternatives) = schema["anyOf"].as_array() {
            // That with the fewest faults is the one that is meant.
            let tried = alternatives.iter().map(|alternative| {
                let mut faults = Vec::new();
                self.check(file, alternative, path, value, &mut faults);
                faults
            });
            faults.extend(tried.min_by_key(Vec::len).unwrap_or_default());
            return;
        }
        let types: Vec<_> = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        if !types.iter().any(|name| is_of(name, value)) {
            faults.push(format!("{path}: {value} is not of the types {types:?}"));
        }
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    let path = format!("{path}.{key}");
                    let described = schema["properties"].get(key);
                    match described.or_else(|| schema.get("additionalProperties")) {
                        Some(described) => self.check(file, described, &path, member, faults),
                        None => faults.push(format!("{path} is not described")),
                    }
                }
                let required = schema["required"].as_array().into_iter().flatten();
                let missing = required
                    .filter_map(Value::as_str)
                    .filter(|key| !members.contains_key(*key));
                faults.extend(missing.map(|key| format!("{path}.{key} is missing")));
            }
            Value::Array(elements) => {
                for element in elements {
                    self.check(
                        file,
                        &schema["items"],
                        &format!("{path}[]"),
                        element,
                        faults,
                    );
                }
            }
            _ => {}
        }
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no such type: {other}"),
    }
}
