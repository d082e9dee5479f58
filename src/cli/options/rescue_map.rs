//! `--rescue-map`: the map file of GNU ddrescue for SOURCE.

use std::io::Read;
use std::path::Path;

use fve::error::Error;
use fve::shown::ShowPath;
use fve::source::RescueMap;

use crate::cli::exit::Status;
use crate::cli::failure::Failure;

/// Most bytes of a map file: more than half a million blocks.
const MAX_LEN: u64 = 32 * 1024 * 1024;

/// Reads a map file.
pub(crate) fn read(path: &Path) -> Result<RescueMap, Failure> {
    let fail = |error| Error::io(format!("cannot read the map file {}", path.shown()), error);
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_LEN + 1)
        .read_to_string(&mut text)
        .map_err(fail)?;
    let unfit = |why: String| Failure::Other {
        status: Status::Usage,
        what: format!("{}: {why}", path.shown()),
        help: Some(
            "give the map file that ddrescue wrote beside the image; it begins with '# Mapfile'"
                .to_owned(),
        ),
    };
    if text.len() as u64 > MAX_LEN {
        return Err(unfit(format!("has more than {MAX_LEN} bytes")));
    }
    text.parse()
        .map_err(|error: fve::source::RescueMapError| unfit(error.to_string()))
}

/// A note if a source of `size` bytes lacks something.
pub(crate) fn note(map: &RescueMap, size: u64) -> Option<String> {
    let lost = map.lost(size);
    (lost > 0).then(|| {
        format!(
            "warning: {lost} of the {size} bytes of the source were not rescued and cannot be read"
        )
    })
}
