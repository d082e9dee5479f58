//! Files that are no volume, but were saved of one.

use std::path::Path;

use fve::manage::SavedFile;

use super::InfoArgs;
use crate::cli::describe::SavedReport;
use crate::cli::failure::Failure;
use crate::cli::options::source;
use crate::cli::output::term;

/// Describes SOURCE if it is such a file. `false` if it is none.
pub(super) fn print(args: &InfoArgs) -> Result<bool, Failure> {
    let path = &args.source.source;
    let Some(size) = length_of(path) else {
        return Ok(false);
    };
    let bytes = fve::input::read(path, "content")?;
    let Some(file) = SavedFile::parse(bytes.expose(), path)? else {
        return Ok(false);
    };
    let path = source::absolute(path);
    let Some(report) = SavedReport::of(&path, size, &file) else {
        return Ok(false);
    };
    term::print(&match args.json {
        true => report.json(),
        false => report.text(),
    })?;
    Ok(true)
}

/// The length of a regular file that may be such a file.
fn length_of(path: &Path) -> Option<u64> {
    let metadata = path.metadata().ok()?;
    (metadata.is_file() && metadata.len() <= SavedFile::MAX_LEN).then_some(metadata.len())
}
