//! The index `volumes.json`, and the words that the tests use in it.

use std::path::Path;

use serde::Serialize;

use crate::Result;
use crate::contents::Member;

pub(crate) const PASSWORD: &str = "password";
pub(crate) const RECOVERY_PASSWORD: &str = "recovery-password";
pub(crate) const STARTUP_KEY: &str = "startup-key-file";
pub(crate) const CLEAR_KEY: &str = "none (clear key)";

/// One volume.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) about: String,
    pub(crate) volume_id: String,
    pub(crate) method: String,
    pub(crate) sector_size: u32,
    pub(crate) size: u64,
    pub(crate) state: (u16, u16),
    pub(crate) encrypt_on_write: bool,
    pub(crate) file_system: String,
    pub(crate) credentials: Vec<Credential>,
    pub plaintext_sha256: String,
    pub(crate) files: Vec<Member>,
}

/// A credential; each one alone unlocks the volume.
#[derive(Debug, Serialize)]
pub(crate) struct Credential {
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    pub(crate) protector: String,
}

/// Removes the files of an earlier run, because startup keys have new names each time.
pub(crate) fn remove_old(directory: &Path) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(directory.join("volumes.json")) else {
        return Ok(());
    };
    let index: serde_json::Value = serde_json::from_str(&text)?;
    for volume in index["volumes"].as_array().into_iter().flatten() {
        let credentials = volume["credentials"].as_array().into_iter().flatten();
        let keys = credentials.filter(|credential| credential["kind"] == STARTUP_KEY);
        let names = keys.filter_map(|key| key["value"].as_str());
        for name in names.chain(volume["file"].as_str()) {
            std::fs::remove_file(directory.join(name)).ok();
        }
    }
    Ok(())
}

pub(crate) fn write(entries: &[Entry], directory: &Path) -> Result<()> {
    let about = "Volumes for tests. Every credential here is public. See README.md.";
    let index = serde_json::json!({ "about": about, "volumes": entries });
    let text = serde_json::to_string_pretty(&index)? + "\n";
    Ok(std::fs::write(directory.join("volumes.json"), text)?)
}
