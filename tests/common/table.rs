//! Tables in documents that tests make: `FVE_WRITE_TABLE=1` writes them, every other run compares.

use std::path::Path;

/// Where a table stands.
pub struct Place {
    /// The document, from the package's root.
    pub file: &'static str,
    /// Lines around the table.
    pub begin: &'static str,
    pub end: &'static str,
    /// What makes the table.
    pub made_by: &'static str,
}

/// Compares the table with the one in the document, or writes it.
pub fn settle(place: &Place, table: &str) -> Result<(), String> {
    let Place {
        file,
        begin,
        end,
        made_by,
    } = place;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let document = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let (before, rest) = document
        .split_once(begin)
        .ok_or_else(|| format!("{file} has no place for the table: no line {begin}"))?;
    let (old, after) = rest
        .split_once(end)
        .ok_or_else(|| format!("{file} has no end of the table: no line {end}"))?;
    if old == table {
        return Ok(());
    }
    if std::env::var_os("FVE_WRITE_TABLE").is_none() {
        return Err(format!(
            "a table in {file} is out of date: run {made_by} with FVE_WRITE_TABLE=1"
        ));
    }
    std::fs::write(&path, format!("{before}{begin}{table}{end}{after}"))
        .map_err(|error| error.to_string())
}
