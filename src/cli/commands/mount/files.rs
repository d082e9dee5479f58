//! The files in the volume.

use std::sync::Arc;

use fve::files::{self, Files};
use fve::serve::fuse::Mount;
use fve::shown::{ShowPath, WithCauses};
use fve::source::SharedHold;

use super::{MountArgs, server};
use crate::cli::exit::Status;
use crate::cli::failure::Failure;
use crate::cli::options::file_system::tell_conditions;
use crate::cli::options::source::{self, Shown};
use crate::cli::output::term::escaped;

/// Shows the files until the directory is unmounted. Other programs must not write to the source, mount
/// it or map it meanwhile: the kernel caches what the mount shows.
pub(super) fn serve(args: &MountArgs) -> Result<(), Failure> {
    args.check_mount_point()?;
    let _shared = SharedHold::take(&args.source.source)?;
    let shown = source::open_for_files(&args.source)
        .print_notes()
        .map_err(|failure| args.credentials.name_fitting(failure))?;
    let (files, path, _device) = match shown {
        Shown::Plain(plain) => (plain.files, plain.extent.path, plain.hold?),
        Shown::Encrypted(shown) => {
            let device = shown.hold?;
            let unlocked = args.credentials.unlock(&shown.opened.volume)?;
            let files = files::open(Arc::new(unlocked))?;
            (files, shown.opened.path, device)
        }
    };
    tell_conditions(&files);
    // Without it, the mount could show nothing.
    files.stat(files.root()).map_err(|fault| Failure::Other {
        status: Status::Io,
        what: format!("cannot read the root directory: {}", WithCauses(&fault)),
        help: None,
    })?;
    let what = format!("the files of {}", in_words(&files));
    let options = args.options(&path, None);
    server::serve(
        args,
        options,
        |options| Ok(Mount::files(files, &args.directory, options)?),
        || {
            let directory = args.directory.shown();
            format!("{what} are in {directory}; end with 'fve unmount {directory}'")
        },
    )
}

/// Kind and label of the file system.
fn in_words(files: &Files) -> String {
    let properties = files.properties();
    match properties.label.as_deref() {
        Some(label) if !label.is_empty() => {
            format!("the {} volume \"{}\"", properties.kind, escaped(label))
        }
        _ => format!("the {} volume", properties.kind),
    }
}
