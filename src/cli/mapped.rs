//! What a device in /dev/mapper is, by its identifier.

use std::path::Path;

use fve::shown::ShowPath;

/// The identifier of a device-mapper device, as the kernel has it; empty for other files.
fn identifier(device: &Path) -> String {
    let node = device.canonicalize().unwrap_or_default();
    let about = Path::new("/sys/block").join(node.file_name().unwrap_or_default());
    std::fs::read_to_string(about.join("dm/uuid")).unwrap_or_default()
}

/// Whether a device shows a source with the changes in a file, below the mapping of a volume.
pub(crate) fn is_overlay(device: &Path) -> bool {
    identifier(device).starts_with("FVE-OVERLAY-")
}

/// Whether `fve unmap` removes a device: the mapping of a volume, or the device below one that shows the
/// changes in a file.
pub(crate) fn is_ours(device: &Path) -> bool {
    let is_mapping = || identifier(device).starts_with("CRYPT-BITLK-");
    cfg!(feature = "map") && (is_mapping() || is_overlay(device))
}

/// How to close a device: a command, or a hint.
pub(crate) fn how_to_close(device: &Path) -> String {
    let path = device.shown();
    match is_ours(device) {
        true => format!("fve unmap {path}"),
        false if identifier(device).starts_with("CRYPT-") => format!("cryptsetup close {path}"),
        false => "use the program that made it".to_owned(),
    }
}
